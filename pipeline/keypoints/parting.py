"""Two people who are one to the networks: who hugs somebody from the first frame to the last was never seen apart.

Looked at a little to the side, the landmark network often sees the nearer of the two alone. Their masks run together,
but what lies along one's limbs is his: with that painted over, the network sees the other. A single person leaves
nobody: few joints are in sight then, and those are his own. What this finds need not be there; association asks that
three views agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from pipeline.keypoints.likeness import LIMB_JOINTS, joint_confidence, may_hide, unlabelled_similarity
from pipeline.keypoints.masks import Cover
from pipeline.keypoints.pose_landmarks import Pose, PoseLandmarks
from pipeline.keypoints.regions import Region, transform
from pipeline.skeletons import BLAZEPOSE33

BESIDE = (-0.12, 0.12, -0.2, 0.2)
"""Where to look beside somebody, as shares of the side of his square."""
NARROW, CLOSER = 0.8, 0.85
"""Sides of the squares for a first and a second look there, of that of the square."""
SURE = 0.5
"""Landmark network's score of each of the two."""
CLEAR = 6
"""Of 15 limb joints, how many must be in sight of each; a single person leaves five at most."""
APART, OTHERS = 0.2, 0.3
"""Likeness up to which the two share no limbs; and up to which neither is anybody who is known."""
SAME = 0.8
"""Likeness from which the look beside shows whom the square shows."""
LIMB, HEAD = 0.07, 0.055
"""Width of limbs, radius of heads, as shares of the side of the square."""
_LIMBS = [
    (BLAZEPOSE33.index(f"{side}_{a}"), BLAZEPOSE33.index(f"{side}_{b}"))
    for side in ("left", "right")
    for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"),
        ("ankle", "big_toe"),
    )
]  # fmt: skip
_TRUNK = [BLAZEPOSE33.index(j) for j in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
_FACE = [BLAZEPOSE33.index(j) for j in ("left_ear", "right_ear", "nose")]


def limb_cover(pose: Pose) -> Cover:
    """What is to be painted over of somebody whose mask holds others too: that of it which lies along his limbs."""
    whole = Cover.of(pose.mask, pose.region)
    size = whole.values.shape[0]
    points = transform(cv2.invertAffineTransform(pose.region.to_image(size)), pose.points)
    points = np.clip(np.round(points), -size, 2 * size).astype(np.int32)
    along = np.zeros((size, size), np.uint8)
    for a, b in _LIMBS:
        cv2.line(along, points[a].tolist(), points[b].tolist(), 255, round(LIMB * size))
    cv2.fillPoly(along, [points[_TRUNK]], 255)
    cv2.circle(along, np.round(points[_FACE].mean(0)).astype(int).tolist(), round(HEAD * size), 255, -1)
    return Cover(np.minimum(whole.values, along), pose.region)


def unknown_people(landmarks: PoseLandmarks, image: np.ndarray, known: Sequence[Pose]) -> list[tuple[Pose, int]]:
    """Both of two people whom the networks took for one who is ``known`` in the RGB ``image``.

    Returns:
        each with the index of the known one, who was the other of the two, seen less well, or a mixture.
    """
    found: list[tuple[Pose, int]] = []
    for k, pose in enumerate(known):
        others = [*known[:k], *known[k + 1 :], *(p for p, _ in found)]
        found += [(person, k) for person in two_people(landmarks, image, pose, others) or ()]
    return found


def two_people(
    landmarks: PoseLandmarks, image: np.ndarray, pose: Pose, others: Sequence[Pose], beside: Sequence[float] = BESIDE
) -> tuple[Pose, Pose] | None:
    """Both people, if the place of ``pose`` in the RGB ``image`` holds two.

    Each is there, and is nobody else, with the other painted over.

    Args:
        others: known people, of whom neither may be one.
        beside: shares of the square's side by which to look beside it.
    """

    def is_somebody(found: Pose, *not_again: Pose) -> bool:
        return (
            found.score > SURE
            and found.next_region.is_usable
            and int((joint_confidence(found)[LIMB_JOINTS] > 0.5).sum()) >= CLEAR
            and all(unlabelled_similarity(found, o) < OTHERS for o in others)
            and all(unlabelled_similarity(found, o) < APART for o in not_again)
        )

    square, known = pose.next_region, [limb_cover(o) for o in others if may_hide(pose, o)]
    for near in _looks(landmarks, image, pose, beside, known):
        rest = landmarks.run(image, square, [*known, limb_cover(near)])
        if not is_somebody(rest, near):
            continue
        alone = landmarks.run(image, near.region, [*known, limb_cover(rest)])
        if not is_somebody(alone, rest):
            continue
        rest = landmarks.run(image, closer(rest), [*known, limb_cover(alone)])
        alone = landmarks.run(image, closer(alone), [*known, limb_cover(rest)])
        if is_somebody(rest, alone) and is_somebody(alone, rest):
            return alone, rest
    return None


def _looks(
    landmarks: PoseLandmarks, image: np.ndarray, pose: Pose, beside: Sequence[float], known: Sequence[Cover]
) -> Iterator[Pose]:
    """Who might be one of two: the person as he is, and whom looks beside him show."""
    yield pose
    square = pose.next_region
    across = square.side * np.array([np.cos(square.angle), np.sin(square.angle)])
    for share in beside:
        near = landmarks.run(image, Region(square.centre + share * across, NARROW * square.side, square.angle), known)
        if near.score < 0.5 or not near.next_region.is_usable or unlabelled_similarity(near, pose) > SAME:
            continue
        near = landmarks.run(image, closer(near), known)
        if near.score >= 0.5 and near.next_region.is_usable:
            yield near


def closer(pose: Pose) -> Region:
    """The square for a closer look at a person."""
    there = pose.next_region
    return Region(there.centre, CLOSER * there.side, there.angle)
