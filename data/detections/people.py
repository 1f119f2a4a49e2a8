"""People of one frame as a file gives them, before they become ``Detections``: pixels of the distorted image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.errors import InputError
from pipeline.keypoints.detections import Candidates

FARTHEST_PIXEL = 1e6
"""Coordinates beyond this are no pixels; such a point counts as missing."""

NO_BOX = np.full(4, np.nan)


@dataclass(frozen=True)
class Person:
    """One instance.

    Attributes:
        keypoints: (J, 2) float64 pixels of the distorted image, NaN where missing.
        scores: (J,) float64 in 0..1, 0 where missing.
        box: (4,) x0 y0 x1 y1 pixels of the distorted image, NaN if the file gives none.
        box_score: how sure the detector is that this is a person, 0..1; NaN if the file does not say.
        track: the detector's number of this person over frames, -1 if it gives none.
        spoilt: how many joints were left out because score or position are no usable numbers (zero is one).
    """

    keypoints: np.ndarray
    scores: np.ndarray
    box: np.ndarray
    box_score: float
    track: int
    spoilt: int

    @property
    def is_there(self) -> bool:
        return bool(np.any(self.scores > 0))


class Source(Protocol):
    """One camera's detections on disk. ``numbers`` are the frames that it holds something about, ascending."""

    path: Path
    joint_set: str
    numbers: np.ndarray
    count: int

    def people(self, frame: int) -> list[Person]:
        """Instances of a frame; a frame that the files do not hold has none. InputError names the file."""
        ...

    def where(self, frame: int) -> str:
        """File (and frame) for messages."""
        ...

    def candidates(self, frames: Sequence[int]) -> Candidates | None:
        """Joint candidates of a bottom-up detector in pixels of the distorted image, an entry a given frame."""
        ...


def person(points: np.ndarray, scores: np.ndarray, box: np.ndarray = NO_BOX, box_score: float = np.nan,
           track: int = -1) -> Person:  # fmt: skip
    """A person from joints (J, 2) and scores (J,) as read: what is not usable becomes missing.

    A score that is negative or no number makes its joint missing, and so does a position that is no number of pixels.
    Scores above 1 count as 1: OpenPose's exceed it a little, and COCO annotations write 2 for visible.
    """
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(points).all(-1) & (np.abs(points) < FARTHEST_PIXEL).all(-1) & np.isfinite(scores)
        sound &= scores >= 0
    kept = sound & (np.where(sound, scores, 0.0) > 0)
    return Person(
        np.where(kept[:, None], points, np.nan),
        np.where(kept, np.minimum(scores, 1.0), 0.0),
        box,
        box_score,
        track,
        int(np.sum(~sound)),
    )


def numbers_of(where: object, what: str, value: Any) -> np.ndarray:
    """JSON numbers in lists as float64; null is NaN.

    Raises:
        InputError: something else than numbers, or rows of unequal length.
    """
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(where, f"{what} are not numbers, or rows of unequal length", "Detect again") from error
    return array


def track_of(value: Any) -> int:
    """A detector's number of a person (a number, or a list that begins with one) as int32; -1 for none."""
    while isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**31 else -1
