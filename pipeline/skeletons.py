"""Joint sets and the maps between them: the only place in the project that knows joint numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class JointSet:
    """Named joints, the limbs drawn between them, and which joints mirror each other.

    ``limbs`` are pairs of joint names. ``SETS`` holds every set by name.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        return self.joints.index(joint)

    @cached_property
    def limb_indices(self) -> np.ndarray:
        """(L, 2) int."""
        return np.array([(self.index(a), self.index(b)) for a, b in self.limbs])

    @cached_property
    def mirror(self) -> np.ndarray:
        """(J,) int: the joint on the other side, itself for joints on the midline."""

        def other(name: str) -> str:
            for a, b in (("left_", "right_"), ("right_", "left_")):
                if name.startswith(a):
                    return b + name[len(a) :]
            return name

        return np.array([self.index(other(j)) for j in self.joints])


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(tuple(p.split("-")) for p in text.split())


SKEL19 = JointSet(
    "skel19",
    tuple(
        "mid_hip neck right_hip left_hip nose right_shoulder left_shoulder right_knee left_knee right_ear left_ear "
        "right_elbow left_elbow right_ankle left_ankle right_wrist left_wrist left_big_toe right_big_toe".split()
    ),
    _pairs(
        "neck-mid_hip right_hip-right_knee right_knee-right_ankle mid_hip-right_hip mid_hip-left_hip "
        "left_hip-left_knee left_knee-left_ankle neck-right_shoulder right_shoulder-right_elbow "
        "right_elbow-right_wrist right_shoulder-right_ear neck-left_shoulder left_shoulder-left_elbow "
        "left_elbow-left_wrist left_shoulder-left_ear neck-nose left_ankle-left_big_toe right_ankle-right_big_toe"
    ),
)
"""The project's own set, in the order of the 4D association program. Its limbs are that program's part affinities."""

SKEL17 = JointSet(
    "skel17",
    tuple(
        "mid_hip neck right_hip left_hip nose right_shoulder left_shoulder right_knee left_knee right_elbow left_elbow "
        "right_ankle left_ankle right_wrist left_wrist left_big_toe right_big_toe".split()
    ),
    tuple(p for p in SKEL19.limbs if "ear" not in p[1]),
)

SKEL15 = JointSet("skel15", SKEL17.joints[:15], tuple(p for p in SKEL17.limbs if "toe" not in p[1]))

BODY25 = JointSet(
    "body25",
    tuple(
        "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip "
        "right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe "
        "left_small_toe left_heel right_big_toe right_small_toe right_heel".split()
    ),
    _pairs(
        "neck-mid_hip right_hip-right_knee right_knee-right_ankle mid_hip-right_hip mid_hip-left_hip "
        "left_hip-left_knee left_knee-left_ankle neck-right_shoulder right_shoulder-right_elbow "
        "right_elbow-right_wrist right_shoulder-right_ear neck-left_shoulder left_shoulder-left_elbow "
        "left_elbow-left_wrist left_shoulder-left_ear neck-nose nose-right_eye nose-left_eye right_eye-right_ear "
        "left_eye-left_ear left_ankle-left_big_toe left_big_toe-left_small_toe left_ankle-left_heel "
        "right_ankle-right_big_toe right_big_toe-right_small_toe right_ankle-right_heel"
    ),
)
"""OpenPose BODY_25; the limbs are its 26 part affinities in OpenPose's order."""

_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_OPENPOSE_HAND = ("hand_root", *(f"{f}{k}" for f in "thumb index middle ring pinky".split() for k in (1, 2, 3, "")))
BODY25_HANDS_FACE = JointSet(
    "body25_hands_face",
    (
        *BODY25.joints,
        *(f"{side}_{point}" for side in ("left", "right") for point in _OPENPOSE_HAND),
        *(f"face_{k}" for k in range(70)),
    ),
    BODY25.limbs,
)
"""OpenPose with ``--hand --face``: BODY_25, 21 points a hand (a finger's name alone is its tip), 70 of the face."""

COCO17 = JointSet(
    "coco17",
    tuple(
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
        "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle".split()
    ),
    _pairs(
        "nose-left_eye nose-right_eye left_eye-left_ear right_eye-right_ear left_shoulder-right_shoulder "
        "left_shoulder-left_elbow left_elbow-left_wrist right_shoulder-right_elbow right_elbow-right_wrist "
        "left_shoulder-left_hip right_shoulder-right_hip left_hip-right_hip left_hip-left_knee left_knee-left_ankle "
        "right_hip-right_knee right_knee-right_ankle"
    ),
)

BLAZEPOSE33 = JointSet(
    "blazepose33",
    tuple(
        "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear "
        "left_mouth right_mouth left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_pinky "
        "right_pinky left_index right_index left_thumb right_thumb left_hip right_hip left_knee right_knee left_ankle "
        "right_ankle left_heel right_heel left_big_toe right_big_toe".split()
    ),
    _pairs(
        "nose-left_eye nose-right_eye left_eye-left_ear right_eye-right_ear left_mouth-right_mouth "
        "left_shoulder-right_shoulder left_shoulder-left_elbow left_elbow-left_wrist right_shoulder-right_elbow "
        "right_elbow-right_wrist left_wrist-left_pinky left_wrist-left_index left_wrist-left_thumb "
        "right_wrist-right_pinky right_wrist-right_index right_wrist-right_thumb left_shoulder-left_hip "
        "right_shoulder-right_hip left_hip-right_hip left_hip-left_knee left_knee-left_ankle right_hip-right_knee "
        "right_knee-right_ankle left_ankle-left_heel left_ankle-left_big_toe left_heel-left_big_toe "
        "right_ankle-right_heel right_ankle-right_big_toe right_heel-right_big_toe"
    ),
)
"""BlazePose (MediaPipe Pose); its ``foot_index`` landmarks are called big toes here."""

H36M17 = JointSet(
    "h36m17",
    tuple(
        "mid_hip right_hip right_knee right_ankle left_hip left_knee left_ankle spine neck nose head_top left_shoulder "
        "left_elbow left_wrist right_shoulder right_elbow right_wrist".split()
    ),
    _pairs(
        "mid_hip-right_hip right_hip-right_knee right_knee-right_ankle mid_hip-left_hip left_hip-left_knee "
        "left_knee-left_ankle mid_hip-spine spine-neck neck-nose nose-head_top neck-left_shoulder "
        "left_shoulder-left_elbow left_elbow-left_wrist neck-right_shoulder right_shoulder-right_elbow "
        "right_elbow-right_wrist"
    ),
)
"""Human3.6M's 17 joints, in the order of its usual annotations."""

MPI17 = JointSet(
    "mpi17",
    tuple(
        "head_top neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee "
        "right_ankle left_hip left_knee left_ankle mid_hip spine head".split()
    ),
    _pairs(
        "neck-head_top neck-spine neck-right_shoulder right_shoulder-right_elbow right_elbow-right_wrist "
        "neck-left_shoulder left_shoulder-left_elbow left_elbow-left_wrist mid_hip-right_hip right_hip-right_knee "
        "right_knee-right_ankle mid_hip-left_hip left_hip-left_knee left_knee-left_ankle spine-mid_hip neck-head"
    ),
)
"""MPI-INF-3DHP's 17 "relevant" joints, which MuPoTS-3D has too."""

MPII16 = JointSet(
    "mpii16",
    tuple(
        "right_ankle right_knee right_hip left_hip left_knee left_ankle mid_hip thorax neck head_top right_wrist "
        "right_elbow right_shoulder left_shoulder left_elbow left_wrist".split()
    ),
    _pairs(
        "right_ankle-right_knee right_knee-right_hip right_hip-mid_hip left_hip-mid_hip left_hip-left_knee "
        "left_knee-left_ankle mid_hip-thorax thorax-neck neck-head_top right_wrist-right_elbow "
        "right_elbow-right_shoulder right_shoulder-thorax left_shoulder-thorax left_shoulder-left_elbow "
        "left_elbow-left_wrist"
    ),
)

PANOPTIC19 = JointSet(
    "panoptic19",
    tuple(
        "neck nose mid_hip left_shoulder left_elbow left_wrist left_hip left_knee left_ankle right_shoulder "
        "right_elbow right_wrist right_hip right_knee right_ankle left_eye left_ear right_eye right_ear".split()
    ),
    _pairs(
        "neck-nose neck-mid_hip neck-left_shoulder left_shoulder-left_elbow left_elbow-left_wrist mid_hip-left_hip "
        "left_hip-left_knee left_knee-left_ankle neck-right_shoulder right_shoulder-right_elbow "
        "right_elbow-right_wrist mid_hip-right_hip right_hip-right_knee right_knee-right_ankle nose-left_eye "
        "left_eye-left_ear nose-right_eye right_eye-right_ear"
    ),
)
"""CMU Panoptic Studio's ``joints19``."""

SMPLX55 = JointSet(
    "smplx55",
    (
        *(
            "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot "
            "right_foot neck left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow "
            "left_wrist right_wrist jaw left_eye right_eye"
        ).split(),
        *(f"{side}_{finger}{k}" for side in ("left", "right") for finger in _FINGERS for k in (1, 2, 3)),
    ),
    (),
)
SMPLX55_PARENTS = np.array(
    [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15]
    + [p for wrist, first in ((20, 25), (21, 40)) for f in range(5) for p in (wrist, first + 3 * f, first + 3 * f + 1)]
)

SETS: Mapping[str, JointSet] = {
    s.name: s
    for s in (
        SKEL19, SKEL17, SKEL15, BODY25, BODY25_HANDS_FACE, COCO17, BLAZEPOSE33, SMPLX55, H36M17, MPI17, MPII16,
        PANOPTIC19,
    )
}  # fmt: skip


def body_set(name: str) -> str:
    """The set whose landmarks stand for the body in a set that has hands and face beside it."""
    return BODY25.name if name == BODY25_HANDS_FACE.name else name

_MEANS = {"mid_hip": ("left_hip", "right_hip"), "neck": ("left_shoulder", "right_shoulder")}
"""Joints that a set without them gets as the mean of two others."""


def map_matrix(source: JointSet, target: JointSet) -> np.ndarray:
    """(T, S) weights: target joints as means of source joints; rows of joints the source lacks are zero."""
    matrix = np.zeros((len(target), len(source)))
    for row, joint in zip(matrix, target.joints, strict=True):
        parts = (joint,) if joint in source.joints else _MEANS.get(joint, ())
        if parts and all(p in source.joints for p in parts):
            row[[source.index(p) for p in parts]] = 1.0 / len(parts)
    return matrix


def map_joints(
    points: np.ndarray, scores: np.ndarray, source: JointSet, target: JointSet
) -> tuple[np.ndarray, np.ndarray]:
    """Map points (..., S, D) with scores (..., S) to the target set.

    Returns:
        points (..., T, D), NaN where missing; scores (..., T): the least of the joints used, 0 where missing.
    """
    matrix = map_matrix(source, target)
    used = matrix > 0
    mapped = np.einsum("ts,...sd->...td", matrix, np.nan_to_num(points))
    least = np.where(used, np.asarray(scores)[..., None, :], np.inf).min(-1)
    least = np.where(np.isfinite(least), least, 0.0)
    return np.where(least[..., None] > 0, mapped, np.nan), least
