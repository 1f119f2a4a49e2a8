"""Parameters of an SMPL-X body over a track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class BodyTrack:
    """One person's SMPL-X parameters over F frames: one shape, a pose a frame. Rotations are axis-angle, radians.

    Frames in which the person is absent or the fit failed are not ``valid`` and say why in ``reason``. In short gaps
    their parameters bridge the valid frames around them; elsewhere they are NaN. Those with a limb in doubt
    (``UNSEEN_LIMB``) keep the body that was fitted.

    Attributes:
        frames: (F,) int64 absolute frame numbers.
        betas: (10,) float32 shape.
        global_orient: (F, 3) float32.
        body_pose: (F, 63) float32, 21 joints.
        left_hand_pose, right_hand_pose: (F, 45) float32, full axis-angle (no PCA).
        jaw_pose: (F, 3) float32.
        expression: (F, 10) float32.
        transl: (F, 3) float32 metres.
        valid: (F,) bool.
        reason: (F,) int8, an index into ``REASONS``.
        fit_error_m: (F,) float32 median distance between the body's landmarks and the triangulated ones, metres.
    """

    FIELDS = (
        "frames betas global_orient body_pose left_hand_pose right_hand_pose jaw_pose expression transl valid reason "
        "fit_error_m"
    ).split()
    POSED = "global_orient body_pose left_hand_pose right_hand_pose jaw_pose expression transl".split()
    """Those of ``FIELDS`` that move the body model, one a frame."""
    REASONS = (
        "", "absent", "too few joints", "large residual", "implausible shape", "implausible speed",
        "joint beyond its range", "below the floor", "among others, a limb not seen in two views",
    )  # fmt: skip
    UNSEEN_LIMB = 8
    """Index of the last: the rest of the body is as good as any, so it stays."""

    frames: np.ndarray
    betas: np.ndarray
    global_orient: np.ndarray
    body_pose: np.ndarray
    left_hand_pose: np.ndarray
    right_hand_pose: np.ndarray
    jaw_pose: np.ndarray
    expression: np.ndarray
    transl: np.ndarray
    valid: np.ndarray
    reason: np.ndarray
    fit_error_m: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """(F,) bool: frames that were observed and hold a body, valid or with a limb in doubt."""
        return np.asarray(self.valid, bool) | (np.asarray(self.reason) == self.UNSEEN_LIMB)

    def part(self, rows: np.ndarray) -> BodyTrack:
        """The same in some of the frames, by row."""
        return replace(self, **{f: getattr(self, f)[rows] for f in self.FIELDS if f != "betas"})

    def parameters(self, row: int) -> dict[str, np.ndarray]:
        """One frame's, by row, as ``nets.body.BodyModel`` takes them: leading axis 1."""
        return {f: getattr(self, f)[row : row + 1] for f in self.POSED} | {"betas": self.betas[None]}

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {f: np.asarray(getattr(self, f)) for f in self.FIELDS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> BodyTrack:
        return cls(*(arrays[f] for f in cls.FIELDS))
