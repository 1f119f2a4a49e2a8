"""OpenCV FileStorage calibrations: a file a camera (in a folder, named for the camera), or one file of named cameras.

Names of entries vary between programs; those in common use are understood, whatever their case and underscores.
Poses are world to camera, metres unless told otherwise; the format says nothing of the up direction.
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
from pipeline.cameras import FISHEYE, RADIAL_TANGENTIAL
from pipeline.errors import InputError

SUFFIXES = (".yml", ".yaml", ".xml")

_NAMES = {
    "K": "k cameramatrix intrinsicmatrix intrinsics intrinsic mtx cameraintrinsics intrinsicparameters m",
    "D": "d distortioncoefficients distcoeffs distcoeff distcoef distcoefs distortion distortioncoeffs dist "
    "distortionparameters",
    "R": "r rotation rotationmatrix rot rmat rvec rotationvector",
    "t": "t translation tvec translationvector tran",
    "RT": "rt extrinsic extrinsics extrinsicmatrix extrinsicparameters camfromworld worldtocamera world2cam w2c",
    "size": "imagesize size imgsize resolution framesize",
    "width": "imagewidth width w imgwidth",
    "height": "imageheight height h imgheight",
    "lens": "distortionmodel cameramodel lensmodel fisheye fisheyemodel",
    "name": "cameraname name",
}
_MEANING = {alias: meaning for meaning, aliases in _NAMES.items() for alias in aliases.split()}
_FISHEYE_WORDS = {"fisheye", "equidistant", "kannalabrandt", "kannalabrandt4", "1", "true"}
_PERSPECTIVE_WORDS = {
    "plumbbob", "radtan", "radialtangential", "rationalpolynomial", "pinhole", "opencv", "perspective", "standard",
    "brownconrady", "0", "false", "none",
}  # fmt: skip


def meanings(entries: dict[str, Any]) -> dict[str, str]:
    """What each entry is (a key of ``_NAMES``) -> its name in the file; the first of several wins."""
    out: dict[str, str] = {}
    for key in entries:
        meaning = _MEANING.get(_plain(key))
        if meaning is not None:
            out.setdefault(meaning, key)
    return out


def read_opencv(path: Path) -> Reading:
    """A folder of files, one of them (a file a camera stands for itself alone), or a file of several cameras."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise InputError(path, f"holds no file ending in {', '.join(SUFFIXES)}", "Give a file for each camera")
        cameras = [camera for file in files for camera in _cameras(file)]
    else:
        cameras = _cameras(path)
    return Reading(cameras)


def _cameras(path: Path) -> list[RawCamera]:
    content = read_storage(path)
    if "K" in meanings(content):
        return [_camera(path, path.stem, content)]
    groups = {k: v for k, v in content.items() if isinstance(v, dict) and "K" in meanings(v)}
    if groups:
        return [_camera(path, name, entries) for name, entries in groups.items()]
    nested = [v for v in content.values() if isinstance(v, list) and v and all(isinstance(c, dict) for c in v)]
    if len(nested) == 1:
        return [_camera(path, f"{path.stem}_{i}", entries) for i, entries in enumerate(nested[0])]
    problem = f"is missing (there are {', '.join(map(repr, list(content)[:12]))})"
    raise Place(path).error("camera_matrix", problem, "Add it, or name the file's calibration_format")


def _camera(path: Path, default_name: str, entries: dict[str, Any]) -> RawCamera:
    found = meanings(entries)
    name = entries[found["name"]] if isinstance(entries.get(found.get("name", "")), str) else default_name
    place = Place(path, name)

    def entry(meaning: str, example: str) -> tuple[str, Any]:
        if meaning not in found:
            place.get(entries, example)
        return found[meaning], entries[found[meaning]]

    K = intrinsics(place, *entry("K", "camera_matrix"))
    model = _lens(place, found, entries)
    allowed = (4,) if model == FISHEYE else LENGTHS
    d = distortion(place, *entry("D", "distortion_coefficients"), allowed) if "D" in found else np.zeros(0)
    if "RT" in found and "R" not in found:
        R, t = _pose(place, *entry("RT", "extrinsics"))
    else:
        R = rotation(place, *entry("R", "R"))
        t = numbers(place, *entry("t", "T"), [(3,)])
    return RawCamera(name, _size(place, found, entries), K, R, t, d, model)


def _pose(place: Place, key: str, value: Any) -> tuple[np.ndarray, np.ndarray]:
    pose = numbers(place, key, value, [(3, 4), (4, 4), (1, 6)])
    if pose.shape == (1, 6):  # OpenCV's calibration sample: a row of rotation and translation vectors for each view
        return rotation(place, key, pose[0, :3]), pose[0, 3:]
    return rotation(place, key, pose[:3, :3]), pose[:3, 3]


def _size(place: Place, found: dict[str, str], entries: dict[str, Any]) -> tuple[int, int] | None:
    if "width" in found and "height" in found:
        key = f"{found['width']}, {found['height']}"
        return image_size(place, key, [entries[found["width"]], entries[found["height"]]])
    if "size" in found:
        return image_size(place, found["size"], entries[found["size"]])
    return None


def _lens(place: Place, found: dict[str, str], entries: dict[str, Any]) -> str:
    if "lens" not in found:
        return RADIAL_TANGENTIAL
    word = _plain(str(entries[found["lens"]]))
    if word in _FISHEYE_WORDS:
        return FISHEYE
    if word in _PERSPECTIVE_WORDS:
        return RADIAL_TANGENTIAL
    problem = f"is {entries[found['lens']]!r}, a lens model this reader does not know"
    raise place.error(found["lens"], problem, "Use OpenCV's radial-tangential or fisheye model")


def _plain(key: str) -> str:
    return "".join(c for c in key.lower() if c.isalnum())
