"""EasyMocap calibrations: intri.yml and extri.yml side by side (OpenCV FileStorage).

``names`` lists the cameras; for each there are K_name, dist_name (or D_name), optionally H_name and W_name, and
R_name (rotation vector) or Rot_name (matrix) with T_name, world to camera, metres, z up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data.calibration.fields import (
    LENGTHS,
    Place,
    RawCamera,
    Reading,
    distortion,
    image_size,
    intrinsics,
    numbers,
    rotation,
)
from data.calibration.storage import read_storage
from pipeline.errors import InputError


def file_pair(path: Path) -> tuple[Path, Path]:
    """The intri and extri files of a folder, or of one of them."""
    folder = path if path.is_dir() else path.parent
    pair = []
    for stem in ("intri", "extri"):
        found = [folder / f"{stem}{suffix}" for suffix in (".yml", ".yaml") if (folder / f"{stem}{suffix}").is_file()]
        if not found:
            remedy = "An EasyMocap calibration is intri.yml and extri.yml"
            raise InputError(folder / f"{stem}.yml", "is missing", remedy)
        pair.append(found[0])
    return pair[0], pair[1]


def read_easymocap(path: Path) -> Reading:
    intri_path, extri_path = file_pair(path)
    intri, extri = read_storage(intri_path), read_storage(extri_path)
    names = Place(intri_path).get(intri, "names")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise InputError(f"{intri_path}, names", "is not a list of camera names", 'Write names: - "01" - "02" ...')
    cameras = [_camera(intri_path, extri_path, intri, extri, name) for name in names]
    return Reading(cameras, up=np.array([0.0, 0.0, 1.0]))


def _camera(intri_path: Path, extri_path: Path, intri: dict[str, Any], extri: dict[str, Any], name: str) -> RawCamera:
    inside, outside = Place(intri_path, name), Place(extri_path, name)
    K = intrinsics(inside, f"K_{name}", inside.get(intri, f"K_{name}"))
    d = np.zeros(0)
    for key in (f"dist_{name}", f"D_{name}"):
        if key in intri:
            d = distortion(inside, key, intri[key], LENGTHS)
            break
    # The matrix where there is one: it keeps more digits than the vector.
    key = f"Rot_{name}" if f"Rot_{name}" in extri else f"R_{name}"
    R = rotation(outside, key, outside.get(extri, key))
    t = numbers(outside, f"T_{name}", outside.get(extri, f"T_{name}"), [(3,)])
    return RawCamera(name, _size(inside, intri, name), K, R, t, d)


def _size(place: Place, intri: dict[str, Any], name: str) -> tuple[int, int] | None:
    width, height = intri.get(f"W_{name}"), intri.get(f"H_{name}")
    if width is None or height is None or numbers(place, f"W_{name}, H_{name}", [width, height]).min() <= 0:
        return None  # EasyMocap writes -1 for a size it does not know
    return image_size(place, f"W_{name}, H_{name}", [width, height])
