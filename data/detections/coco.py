"""COCO-17 keypoints as JSON, in the layouts that detectors and datasets use.

One file a camera:
    [{"image_id": 12 or "img_0012.jpg", "keypoints": [51 numbers], "score": s, "bbox": [x, y, width, height]}, ...]
    the same list under "annotations", where "images" may name the files;
    [{"frame_id": 12, "instances": [...]}, ...], or that list under "instance_info", where MMPose counts from 1.
A folder with a file a frame, the frame number in its name: a list of people, or one under "people", "instances",
"annotations" or "predictions".

A person's keypoints are 51 numbers x, y, score or 17 rows of them, or 17 rows x, y with "keypoint_scores" apart. A
bbox is x, y, width, height as in COCO, but two corners where scores stand apart or it is nested, as in MMPose.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.detections.frame_files import (
    MAX_CAPTURE_BYTES,
    MAX_FRAME_BYTES,
    NumberedFolder,
    checked_number,
    frame_number,
    json_files,
    read_json,
)
from data.detections.people import NO_BOX, Person, numbers_of, person, track_of
from pipeline.errors import InputError
from pipeline.skeletons import COCO17

PEOPLE_KEYS = ("people", "instances", "annotations", "predictions", "results")
FRAME_KEYS = ("image_id", "frame_id", "frame_index", "frame")
_JOINTS = len(COCO17)
OTHER_SETS = {14: "CrowdPose", 16: "MPII", 18: "COCO_18", 25: "BODY_25: detector openpose_json reads OpenPose's files",
              26: "Halpe 26", 133: "COCO-WholeBody", 136: "Halpe 136"}  # fmt: skip
_KINDS = "Give COCO keypoints: a list of results, or a file a frame; see keypoints.detector"


def open_coco(path: Path) -> CocoFile | CocoFolder:
    """A camera's detections in whichever layout they have. Raises InputError naming the file."""
    if path.is_dir():
        names = json_files(path)
        if len(names) == 1 and frame_number(names[0]) is None:
            return open_coco(path / names[0])
        return CocoFolder(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check keypoints.detections") from error
    return _opened(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=4)
def _opened(path: Path, stamp: object) -> CocoFile:
    """A long capture is parsed once a process, not once for each of its chunks."""
    return CocoFile(path)


class CocoFile:
    """One camera's whole capture in one file."""

    joint_set = COCO17.name

    def __init__(self, path: Path) -> None:
        self.path = path
        self._people: dict[int, list[Person]] = {}
        for frame, entries in _frames(path, read_json(path, MAX_CAPTURE_BYTES)):
            people = self._people.setdefault(frame, [])
            people.extend(_person(f"{path}, frame {frame}", e) for e in entries)
        if not self._people:
            raise InputError(path, "holds no results", "Check that the detector has run on this camera")
        self.numbers = np.array(sorted(self._people), np.int64)
        self.count = int(self.numbers[-1]) + 1

    def where(self, frame: int) -> str:
        return f"{self.path}, frame {frame}"

    def candidates(self, frames: Sequence[int]) -> None:
        return None

    def people(self, frame: int) -> list[Person]:
        return self._people.get(frame, [])


class CocoFolder(NumberedFolder):
    """One camera's folder with a file a frame. Reads a file when its frame is asked for."""

    joint_set = COCO17.name

    def people(self, frame: int) -> list[Person]:
        if frame not in self._files:
            return []
        path = self._files[frame]
        return [_person(path, e) for e in _listed(path, read_json(path, MAX_FRAME_BYTES), PEOPLE_KEYS)]


def _listed(where: object, content: Any, keys: Sequence[str]) -> list[Any]:
    """A list as it is, or the one under the first of ``keys`` that is there."""
    if isinstance(content, dict):
        content = next((content[k] for k in keys if k in content), None)
    if not isinstance(content, list):
        raise InputError(where, f"holds no list of people (nor one under {', '.join(keys)})", _KINDS)
    if len(content) == 1 and isinstance(content[0], list):  # MMPose wraps the people of an image once more
        content = content[0]
    return content


def _frames(path: Path, content: Any) -> Iterator[tuple[int, list[Any]]]:
    """(frame, its entries) of a file of a whole capture; a frame may come several times."""
    names = _image_names(content)
    first = 1 if isinstance(content, dict) and "instance_info" in content else 0
    for row, entry in enumerate(_listed(path, content, ("instance_info", *PEOPLE_KEYS))):
        if not isinstance(entry, dict):
            raise InputError(path, f"entry {row} is not an object", _KINDS)
        key = next((k for k in FRAME_KEYS if k in entry), None)
        if key is None:
            raise InputError(
                path, f"entry {row} does not say of which frame it is (image_id or frame_id)",
                "Export with image_id, or write a file a frame",
            )  # fmt: skip
        value = entry[key]
        named = names.get(value) if isinstance(value, (int, str)) else None
        frame = _frame(path, row, key, value if named is None else named) - first
        if frame < 0:
            raise InputError(path, f"entry {row}: frames under instance_info count from 1", "Detect again")
        nested = next((k for k in ("instances", "people") if k in entry), None)
        yield frame, [entry] if nested is None else _listed(path, entry, (nested,))


def _frame(path: Path, row: int, key: str, value: Any) -> int:
    where = f"{path}, entry {row}, {key}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int:
        return checked_number(where, value)
    found = frame_number(Path(value).name) if isinstance(value, str) else None
    if found is None:
        raise InputError(where, f"{str(value)[:40]!r} holds no frame number", "Number the images, or give numbers")
    return found


def _image_names(content: Any) -> dict[int | str, str]:
    """Of a COCO dataset: image id to file name, for names that end in a number."""
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        return {}
    named = {
        i["id"]: i["file_name"]
        for i in images
        if isinstance(i, dict) and isinstance(i.get("id"), (int, str)) and isinstance(i.get("file_name"), str)
    }
    return {k: v for k, v in named.items() if frame_number(Path(v).name) is not None}


def _person(where: object, entry: Any) -> Person:
    if not isinstance(entry, dict) or "keypoints" not in entry:
        raise InputError(where, "a person has no keypoints", _KINDS)
    table = numbers_of(where, "keypoints", entry["keypoints"])
    apart = entry.get("keypoint_scores", entry.get("keypoints_scores"))
    width = 3 if apart is None else 2
    if table.ndim == 1 and table.size % width == 0:
        table = table.reshape(-1, width)
    if table.shape != (_JOINTS, width):
        joints = len(table) if table.ndim == 2 else None
        known = f" ({OTHER_SETS[joints]})" if joints in OTHER_SETS else ""
        problem = f"keypoints hold {table.size} numbers, not {_JOINTS} joints of {width}{known}"
        raise InputError(where, problem, "Detect the 17 joints of COCO")
    points, scores = table[:, :2], table[:, 2] if apart is None else numbers_of(where, "keypoint_scores", apart)
    if scores.size != _JOINTS:
        raise InputError(where, f"{scores.size} keypoint_scores, not {_JOINTS}", "Detect the 17 joints of COCO")
    scores = scores.reshape(-1)
    score = numbers_of(where, "score", entry.get("score", entry.get("bbox_score", np.nan))).reshape(-1)[:1]
    box = _box(where, entry, points, corners=apart is not None)
    track = track_of(next((entry[k] for k in ("track_id", "idx", "person_id") if k in entry), None))
    return person(points, scores, box, float(np.clip(score[0], 0, 1)) if len(score) else np.nan, track)


def _box(where: object, entry: Any, points: np.ndarray, corners: bool) -> np.ndarray:
    """x0 y0 x1 y1; NaN where there is none, or none that fits the person."""
    if entry.get("bbox") is None:
        return NO_BOX
    box = numbers_of(where, "bbox", entry["bbox"])
    corners = corners or box.ndim == 2
    box = box.reshape(-1)
    if len(box) == 5:  # with a score
        box = box[:4]
    if len(box) != 4 or not np.isfinite(box).all():
        return NO_BOX
    if not corners:
        box = np.concatenate([box[:2], box[:2] + box[2:]])
    usable = points[np.isfinite(points).all(-1) & points.any(-1)]
    middle = np.median(usable, 0) if len(usable) else np.full(2, np.nan)
    return box if np.all(box[:2] <= middle) and np.all(middle <= box[2:]) else NO_BOX
