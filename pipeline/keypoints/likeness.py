"""Are two poses, found in one image or in two successive ones, of one person?"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.keypoints.masks import move_mask
from pipeline.keypoints.pose_landmarks import Pose
from pipeline.skeletons import BLAZEPOSE33

_COMPARED = (
    "nose left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip "
    "right_hip left_knee right_knee left_ankle right_ankle"
)
LIMB_JOINTS = np.array([BLAZEPOSE33.index(j) for j in _COMPARED.split()])
_MIRROR = BLAZEPOSE33.mirror
_TOLERANCE = 0.03  # of the side of the square, which is about 1.6 times a person's height
_GRID = 64


def joint_confidence(pose: Pose) -> np.ndarray:
    """(33,) 0..1: visible and inside the square."""
    return pose.visibility * pose.presence


def similarity(a: Pose, b: Pose, mirrored: bool = False) -> float:
    """Object keypoint similarity (0..1) of two poses over the limbs, weighted by what both see.

    With ``mirrored`` the left joints of ``b`` are compared with the right ones of ``a`` and the reverse.
    """
    points, confidence = b.points, joint_confidence(b)
    if mirrored:
        points, confidence = points[_MIRROR], confidence[_MIRROR]
    sigma = _TOLERANCE * np.sqrt(a.region.side * b.region.side)
    distance2 = ((a.points - points) ** 2).sum(1)[LIMB_JOINTS]
    weight = (joint_confidence(a) * confidence)[LIMB_JOINTS] + 0.05
    return float((weight * np.exp(-distance2 / (2 * sigma**2))).sum() / weight.sum())


def unlabelled_similarity(a: Pose, b: Pose) -> float:
    """The better of both ways to name left and right."""
    return max(similarity(a, b), similarity(a, b, mirrored=True))


def mask_overlap(a: Pose, b: Pose) -> float:
    """Intersection of two masks over the smaller of them, 0..1."""
    scale = _GRID / a.region.side
    area_b = (b.mask > 0.5).mean() * (b.region.side * scale) ** 2
    mask_a = cv2.resize(a.mask, (_GRID, _GRID), interpolation=cv2.INTER_AREA) > 0.5
    mask_b = move_mask(b.mask, b.region, a.region, _GRID) > 0.5
    smaller = min(mask_a.sum(), area_b)
    return float((mask_a & mask_b).sum() / smaller) if smaller > 0 else 0.0
