"""OpenPose's BODY_25 output: a folder with one JSON file a frame (``--write_json``).

``{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, score, ... 75 numbers]}, ...]}``. Files carry the frame
number in their names; a number without file is a frame without people. With ``--hand`` and ``--face`` a person also
has ``hand_left_keypoints_2d``, ``hand_right_keypoints_2d`` (63 numbers) and ``face_keypoints_2d`` (210): they are read
where the first file with people has any of them.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data.detections.frame_files import MAX_FRAME_BYTES, NumberedFolder, read_json
from data.detections.people import Person, numbers_of, person, track_of
from pipeline.errors import InputError
from pipeline.skeletons import BODY25, BODY25_HANDS_FACE

OTHER_SETS = {45: "MPI_15", 48: "MPI_16", 51: "COCO_17", 54: "COCO_18", 57: "BODY_19", 78: "Halpe 26", 405: "BODY_135"}


MORE = {"hand_left_keypoints_2d": 21, "hand_right_keypoints_2d": 21, "face_keypoints_2d": 70}
"""In the order of ``BODY25_HANDS_FACE``."""


class OpenPoseFolder(NumberedFolder):
    """One camera's folder. Reads a file when its frame is asked for."""

    @cached_property
    def joint_set(self) -> str:
        for path in self._files.values():
            if entries := [e for e in _entries(path) if isinstance(e, dict) and e]:
                more = any(e.get(key) for e in entries for key in MORE)
                return (BODY25_HANDS_FACE if more else BODY25).name
        return BODY25.name

    def people(self, frame: int) -> list[Person]:
        if frame not in self._files:
            return []
        path = self._files[frame]
        more = self.joint_set != BODY25.name
        return [p for e in _entries(path) if (p := _person(path, e, more)) is not None]


def _entries(path: Path) -> list:
    content = read_json(path, MAX_FRAME_BYTES)
    entries = content.get("people") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise InputError(
            path, 'is not OpenPose output: there is no list "people"', "Check keypoints.detector and the folder"
        )
    return entries


def _person(path: Path, entry: Any, more: bool) -> Person | None:
    """None for an empty entry, as programs that sort people leave them for whoever is not seen."""
    if entry == {}:
        return None
    values = entry.get("pose_keypoints_2d") if isinstance(entry, dict) else None
    if values is None:
        raise InputError(path, "a person has no pose_keypoints_2d", "Export 2D body keypoints")
    if values == []:
        return None
    table = numbers_of(path, "pose_keypoints_2d", values)
    if table.shape != (3 * len(BODY25),):
        known = OTHER_SETS.get(table.size)
        raise InputError(
            path,
            f"pose_keypoints_2d holds {table.size} numbers, not {3 * len(BODY25)}{f' ({known}?)' if known else ''}",
            "Run OpenPose with --model_pose BODY_25; for 17 COCO joints use detector: coco_json",
        )
    if more:
        table = np.concatenate([table, *(_more(path, entry, key, count) for key, count in MORE.items())])
    table = table.reshape(-1, 3)
    return person(table[:, :2], table[:, 2], track=track_of(entry.get("person_id")))


def _more(path: Path, entry: dict, key: str, count: int) -> np.ndarray:
    """Points of a hand or the face, zeros (missing) where the person has none."""
    values = entry.get(key)
    if values is None or values == []:
        return np.zeros(3 * count)
    table = numbers_of(path, key, values)
    if table.shape != (3 * count,):
        raise InputError(path, f"{key} holds {table.size} numbers, not {3 * count}", "Run OpenPose with --hand --face")
    return table
