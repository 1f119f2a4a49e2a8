"""What a human joint can do: ranges of motion and a weak Gaussian around rest, for the 21 joints of ``body_pose``.

Angles are components of the joint's rotation vector in SMPL-X axes (x to the body's left, y up, z forward in the
T-pose): ranges are the usual clinical ones, widened for the crudeness of boxes in rotation vectors. They are a floor
that keeps unobserved joints human, not a description of typical motion.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.skeletons import SMPLX55

# joint: least and greatest x, y, z; mean x, y, z; standard deviation x, y, z. Degrees. Left side; the right mirrors it.
_TABLE = {
    # flexion is -x, abduction +z
    "hip": ((-135, -50, -35), (35, 50, 65), (-15, 0, 3), (45, 20, 20)),
    # flexion is +x
    "knee": ((-5, -15, -10), (155, 15, 10), (25, 0, 0), (45, 6, 5)),
    "ankle": ((-35, -25, -25), (55, 25, 25), (0, 0, 0), (18, 9, 9)),
    "foot": ((-40, -10, -10), (25, 10, 10), (0, 0, 0), (7, 3, 3)),
    # raising the arm is +z, bringing it forward -y; rest is an arm hanging down
    "collar": ((-15, -30, -20), (15, 25, 40), (0, 0, -2), (5, 8, 8)),
    "shoulder": ((-100, -135, -110), (100, 60, 95), (0, -10, -60), (40, 45, 45)),
    # flexion is -y, pronation x
    "elbow": ((-95, -155, -12), (95, 5, 12), (0, -40, 0), (25, 45, 6)),
    "wrist": ((-40, -35, -80), (40, 35, 80), (0, 0, 0), (9, 9, 14)),
    # bending forward is +x
    "spine1": ((-20, -20, -20), (45, 20, 20), (3, 0, 0), (12, 7, 7)),
    "spine2": ((-20, -20, -20), (40, 20, 20), (2, 0, 0), (9, 7, 7)),
    "spine3": ((-20, -20, -20), (35, 20, 20), (2, 0, 0), (8, 7, 7)),
    "neck": ((-35, -45, -30), (40, 45, 30), (5, 0, 0), (13, 14, 10)),
    "head": ((-35, -45, -25), (35, 45, 25), (0, 0, 0), (13, 14, 10)),
}


class JointRanges(NamedTuple):
    """low, high, mean, deviation: (21, 3) radians, in the order of ``body_pose``."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    def beyond(self, vectors: np.ndarray) -> np.ndarray:
        """How far components of rotation vectors (F, 21, 3) lie outside the ranges, radians, with their sign."""
        return np.maximum(vectors - self.high, 0) + np.minimum(vectors - self.low, 0)


def joint_ranges() -> JointRanges:
    rows = []
    for name in SMPLX55.joints[1:22]:
        side, _, joint = name.rpartition("_")
        low, high, mean, deviation = (np.array(v, np.float64) for v in _TABLE[joint])
        if side == "right":  # a mirror image turns the other way about y and z
            mirror = np.array([1.0, -1.0, -1.0])
            low, high, mean = (np.where(mirror < 0, -high, low), np.where(mirror < 0, -low, high), mean * mirror)
        rows.append((low, high, mean, deviation))
    return JointRanges(*(np.deg2rad(np.stack(column)) for column in zip(*rows, strict=True)))
