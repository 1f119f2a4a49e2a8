"""MPII Human Pose: people in photographs with 16 keypoints and the size of their heads.

    ROOT/mpii_human_pose_v1_u12_1.mat     (or in a folder below, as the archive has it)
    ROOT/images/<name>.jpg

The file holds a struct RELEASE with annolist (image.name, annorect: head box x1 y1 x2 y2, annopoints.point with x, y,
id and is_visible) and img_train. Pictures kept for testing have no keypoints and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.files import folder, read_mat
from data.datasets.stills import Still, StillPerson, person
from pipeline.errors import InputError
from pipeline.skeletons import MPII16

FILE = "mpii_human_pose_v1_u12_1.mat"
HEAD_SHARE = 0.6  # of the head box's diagonal: what PCKh calls the size of a head


class Mpii:
    """``data.datasets.stills.StillsDataset`` over the pictures with keypoints."""

    joint_set = MPII16

    def __init__(self, root: Path) -> None:
        found = [root / FILE, *sorted(root.glob(f"*/{FILE}"))]
        self.path = next((p for p in found if p.is_file()), found[0])
        content = read_mat(self.path)
        try:
            release = content["RELEASE"][0, 0]
            self._pictures = release["annolist"].ravel()
            self._known = np.asarray(release["img_train"]).ravel() == 1
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise InputError(self.path, f"holds no RELEASE of MPII ({error})", "Unpack the data set again") from None
        self._folder = folder(root / "images", "every image")

    def stills(self) -> Iterator[Still]:
        for picture, known in zip(self._pictures, self._known, strict=True):
            if not known:
                continue
            name = str(_first(_first(picture["image"])["name"]))
            rects = picture["annorect"]
            people = [_person(r) for r in np.ravel(rects)] if rects.dtype.names else []
            yield Still(Path(name).stem, "", self._folder / Path(name).name, None, None,
                        tuple(p for p in people if p is not None))  # fmt: skip


def _first(value: Any) -> Any:
    """MATLAB wraps everything in arrays."""
    return value.ravel()[0] if isinstance(value, np.ndarray) and value.size else value


def _number(record: Any, name: str) -> float:
    value = record[name] if name in (record.dtype.names or ()) else np.zeros(0)
    return float(_first(value)) if np.size(value) and np.asarray(_first(value)).dtype.kind in "biuf" else float("nan")


def _person(rect: Any) -> StillPerson | None:
    names = rect.dtype.names or ()
    if "annopoints" not in names or not np.size(rect["annopoints"]):
        return None
    points = _first(rect["annopoints"])
    if not (getattr(points, "dtype", None) is not None and points.dtype.names and "point" in points.dtype.names):
        return None
    keypoints, visible = np.full((16, 2), np.nan), np.zeros(16, bool)
    for point in np.ravel(points["point"]):
        joint = int(_number(point, "id"))
        keypoints[joint] = _number(point, "x"), _number(point, "y")
        flag = point["is_visible"] if "is_visible" in point.dtype.names else np.zeros(0)
        visible[joint] = bool(np.size(flag)) and str(_first(flag)) in ("1", "1.0")
    head = np.array([_number(rect, k) for k in ("x1", "y1", "x2", "y2")])
    size = HEAD_SHARE * float(np.hypot(head[2] - head[0], head[3] - head[1]))
    return person(MPII16, keypoints=keypoints, visible=visible, head_px=size)
