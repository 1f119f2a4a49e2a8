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


def mask_overlap(a: Pose, b: Pose) -> tuple[float, float]:
    """Intersection of two masks over their union and over the smaller of them, each 0..1."""
    scale = _GRID / a.region.side
    area_b = float((b.mask > 0.5).mean() * (b.region.side * scale) ** 2)
    mask_a = cv2.resize(a.mask, (_GRID, _GRID), interpolation=cv2.INTER_AREA) > 0.5
    mask_b = move_mask(b.mask, b.region, a.region, _GRID) > 0.5
    both, area_a = float((mask_a & mask_b).sum()), float(mask_a.sum())
    return both / max(area_a + area_b - both, 1.0), both / max(min(area_a, area_b), 1.0)


def same_person(a: Pose, b: Pose) -> bool:
    """Two poses of one image that cannot both be kept.

    Joints decide; masks of people who hug or hide each other run together, so they count only where joints agree too.
    """
    alike = unlabelled_similarity(a, b)
    return alike > 0.5 or (alike > 0.25 and mask_overlap(a, b)[0] > 0.6)


def may_hide(a: Pose, b: Pose) -> bool:
    """Do two people touch in the image, so that each confuses what the network says of the other?"""
    if np.hypot(*(a.region.centre - b.region.centre)) > 0.5 * (a.region.side + b.region.side):
        return False
    return mask_overlap(a, b)[1] > 0.1 or unlabelled_similarity(a, b) > 0.3
