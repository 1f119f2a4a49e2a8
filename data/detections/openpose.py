"""OpenPose's BODY_25 output: a folder with one JSON file a frame (``--write_json``).

``{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, score, ... 75 numbers]}, ...]}``. Files carry the frame
number in their names; a number without file is a frame without people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.detections.frame_files import MAX_FRAME_BYTES, NumberedFolder, read_json
from data.detections.people import Person, numbers_of, person, track_of
from pipeline.errors import InputError
from pipeline.skeletons import BODY25

OTHER_SETS = {45: "MPI_15", 48: "MPI_16", 51: "COCO_17", 54: "COCO_18", 57: "BODY_19", 78: "Halpe 26", 405: "BODY_135"}


class OpenPoseFolder(NumberedFolder):
    """One camera's folder. Reads a file when its frame is asked for."""

    joint_set = BODY25.name

    def people(self, frame: int) -> list[Person]:
        if frame not in self._files:
            return []
        path = self._files[frame]
        content = read_json(path, MAX_FRAME_BYTES)
        entries = content.get("people") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise InputError(
                path, 'is not OpenPose output: there is no list "people"', "Check keypoints.detector and the folder"
            )
        return [p for e in entries if (p := _person(path, e)) is not None]


def _person(path: Path, entry: Any) -> Person | None:
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
    table = table.reshape(-1, 3)
    return person(table[:, :2], table[:, 2], track=track_of(entry.get("person_id")))
