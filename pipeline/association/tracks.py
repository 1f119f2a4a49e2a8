"""What association delivers: people over time in 3D, and which 2D observation each joint came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Tracks:
    """People tracked in 3D. All arrays are dense over F frames, P people, C cameras and the 19 joints of SKEL-19.

    Attributes:
        frames: (F,) int64 absolute frame numbers.
        person_ids: (P,) int32.
        joints: (F, P, 19, 3) float32 metres, world; NaN where not known.
        confidence: (F, P, 19) float32 in [0, 1]: how well the joint was observed; 0 where it was filled in or unknown.
        keypoints: (F, P, C, 19, 2) float32 pixels of the undistorted image that were given to the person; NaN if none.
        scores: (F, P, C, 19) float32 score of those detections; 0 if none.
        residuals: (F, P, C, 19) float32 pixels between detection and projected joint; NaN if either is missing.
        instances: (F, P, C) int32 row of the instance in that camera's ``Detections``; -1 if none.
    """

    FIELDS = ("frames", "person_ids", "joints", "confidence", "keypoints", "scores", "residuals", "instances")

    frames: np.ndarray
    person_ids: np.ndarray
    joints: np.ndarray
    confidence: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    residuals: np.ndarray
    instances: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(F, P) bool: the person has at least one joint in that frame."""
        return np.isfinite(self.joints[..., 0]).any(-1)

    def person(self, index: int) -> Tracks:
        """The same with the one person at ``index`` (P = 1)."""
        one = slice(index, index + 1)
        return Tracks(self.frames, self.person_ids[one], *(getattr(self, f)[:, one] for f in self.FIELDS[2:]))

    def part(self, rows: np.ndarray) -> Tracks:
        """The same in some of the frames, by row; rows may repeat."""
        cut = {f: getattr(self, f)[rows] for f in self.FIELDS if f != "person_ids"}
        return replace(self, **cut)

    @classmethod
    def together(cls, people: Sequence[Tracks]) -> Tracks:
        """Tracks of several people over the same frames as one."""
        values = (np.concatenate([getattr(t, f) for t in people], 1) for f in cls.FIELDS[2:])
        return cls(people[0].frames, np.concatenate([t.person_ids for t in people]), *values)

    def updated(self, later: Tracks) -> Tracks:
        """The same with what ``later`` says of these people in its frames, as far as this has them."""
        _, rows, theirs = np.intersect1d(self.frames, later.frames, return_indices=True)
        _, mine, others = np.intersect1d(self.person_ids, later.person_ids, return_indices=True)
        values = {f: getattr(self, f).copy() for f in self.FIELDS[2:]}
        for name, array in values.items():
            array[np.ix_(rows, mine)] = getattr(later, name)[np.ix_(theirs, others)]
        return replace(self, **values)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {f: np.asarray(getattr(self, f)) for f in self.FIELDS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Tracks:
        return cls(*(arrays[f] for f in cls.FIELDS))
