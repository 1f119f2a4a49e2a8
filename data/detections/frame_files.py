"""Folders of one JSON file a frame, and JSON files from others."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError

MAX_FRAME_BYTES = 16 << 20
"""A frame's file; a hundred people with hands and faces are a quarter of a megabyte."""

MAX_CAPTURE_BYTES = 512 << 20
"""A file of all frames of a camera."""

MAX_FRAME = 10_000_000
"""No capture is longer: higher numbers are time stamps or other names."""

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")
_ENDING = re.compile(
    r"[_.\- ]*(keypoints?|poses?|body_?25b?|coco_?17|openpose|alphapose|mmpose|results?|predictions?|instances?)$", re.I
)


def frame_number(name: str) -> int | None:
    """The last number in a file's name, without its suffix and endings such as _keypoints; None if there is none.

    Raises:
        InputError: the number is no frame number.
    """
    stem = _SUFFIX.sub("", name)
    while (shorter := _ENDING.sub("", stem)) != stem:
        stem = shorter
    found = re.findall(r"[0-9]+", stem)
    if not found:
        return None
    return checked_number(name, found[-1])


def checked_number(where: object, digits: str | int) -> int:
    """A frame number from digits or a whole number. Raises InputError for one that no capture reaches."""
    number = int(digits) if isinstance(digits, int) or len(digits) <= 40 else MAX_FRAME + 1
    if not 0 <= number <= MAX_FRAME:
        raise InputError(where, f"{str(digits)[:40]} is no frame number", "Number frames from 0, or as the video does")
    return number


def json_files(folder: Path) -> list[str]:
    """Names of the folder's JSON files, sorted, hidden ones left out.

    Raises:
        InputError: no such folder, or there are none in it.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.name.lower().endswith(".json") and e.name[0] != ".")
    except OSError as error:
        raise InputError(folder, f"cannot be read ({error.strerror})", "Check keypoints.detections") from error
    if not names:
        raise InputError(folder, "holds no .json files", "Point keypoints.detections at the folder of one camera")
    return names


def numbered_json(folder: Path) -> dict[int, Path]:
    """The folder's JSON files by frame number, ascending.

    Raises:
        InputError: no such folder, no JSON files, names without a number, or two files of one frame.
    """
    found: dict[int, Path] = {}
    for name in json_files(folder):
        try:
            number = frame_number(name)
        except InputError as error:
            raise InputError(folder / name, error.problem, "Put the frame number last in the name") from error
        if number is None:
            raise InputError(folder / name, "has no frame number in its name", "Name files like cam_000000000012.json")
        if number in found:
            raise InputError(
                folder,
                f"two files are of frame {number}: {found[number].name} and {name}",
                "Keep one capture and one camera a folder, with the frame number last in the name",
            )
        found[number] = folder / name
    return dict(sorted(found.items()))


def read_json(path: Path, max_bytes: int) -> Any:
    """Parsed JSON of a file that is not trusted. Raises InputError naming the file."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check keypoints.detections") from error
    if len(data) > max_bytes:
        raise InputError(path, f"is larger than {max_bytes >> 20} MB", "Check that these are detections of one camera")
    if not data.strip():
        raise InputError(path, "is empty", "Detect this frame again")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise InputError(path, "is nested too deeply for detections", "Check that these are detections") from error
    except ValueError as error:
        message = " ".join(str(error).split())[:120]
        problem = f"is not valid JSON ({message})"
        raise InputError(path, problem, "Detect again: writing may have been cut off") from error

class NumberedFolder:
    """One camera's folder with a JSON file a frame. A file is read when its frame is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = numbered_json(path)
        self.numbers = np.array(list(self._files), np.int64)
        self.count = int(self.numbers[-1]) + 1

    def where(self, frame: int) -> str:
        return str(self._files.get(frame, self.path))

    def candidates(self, frames: Sequence[int]) -> None:
        return None
