"""From MakeHuman's 163 bones to the 55 SMPL-X joints."""

from __future__ import annotations

import numpy as np

from data.open_body.makehuman import Rig
from pipeline.skeletons import SMPLX55

_TORSO = {
    "pelvis": "root pelvis.L pelvis.R spine05",
    "spine1": "spine04 spine03",
    "spine2": "spine02",
    "spine3": "spine01 breast.L breast.R",
    "neck": "neck01 neck02 neck03",
    "jaw": "jaw special04 oris01 oris02 oris06.L oris06.R oris07.L oris07.R tongue00 tongue01 tongue02 tongue03 "
    "tongue04 tongue05.L tongue05.R tongue06.L tongue06.R tongue07.L tongue07.R",
}
_SIDE = {
    "hip": "upperleg01 upperleg02",
    "knee": "lowerleg01 lowerleg02",
    "ankle": "foot",
    "foot": " ".join(f"toe{t}-{k}" for t in range(1, 6) for k in (1, 2, 3) if (t, k) != (1, 3)),
    "collar": "clavicle shoulder01",
    "shoulder": "upperarm01 upperarm02",
    "elbow": "lowerarm01 lowerarm02",
    "wrist": "wrist metacarpal1 metacarpal2 metacarpal3 metacarpal4",
    "eye": "eye",
    **{
        f"{finger}{k}": f"finger{number}-{k}"
        for number, finger in enumerate(("thumb", "index", "middle", "ring", "pinky"), 1)
        for k in (1, 2, 3)
    },
}
SIDES = {"left": ".L", "right": ".R"}

BONES_OF = {joint: tuple(bones.split()) for joint, bones in _TORSO.items()} | {
    f"{side}_{part}": tuple(bone + end for bone in bones.split())
    for part, bones in _SIDE.items()
    for side, end in SIDES.items()
}
"""Bones whose weights each joint takes; the head takes all that no joint names (face muscles)."""

_PIVOT_BONES = {f"{side}_foot": tuple(f"toe{t}-1{end}" for t in (1, 2, 3, 4)) for side, end in SIDES.items()} | {
    "head": ("head",)
}


def merged_weights(rig: Rig) -> np.ndarray:
    """(N, 55) skinning weights."""
    merged = np.zeros((len(rig.weights), len(SMPLX55)))
    taken = {bone: joint for joint, bones in BONES_OF.items() for bone in bones}
    for column, bone in enumerate(rig.bones):
        merged[:, SMPLX55.index(taken.get(bone, "head"))] += rig.weights[:, column]
    return merged


def joint_positions(rig: Rig, positions: np.ndarray) -> np.ndarray:
    """(..., 55, 3) joints of base-mesh positions (..., N, 3).

    A joint sits where its first bone starts, the ball of the foot in the middle of its toes, and the pelvis halfway
    between the hips and the lowest spine joint, as it does in SMPL-X.
    """
    joints = np.stack(
        [
            np.mean([rig.head(b, positions) for b in _PIVOT_BONES.get(j, BONES_OF.get(j, ())[:1])], axis=0)
            for j in SMPLX55.joints
        ],
        axis=-2,
    )
    hips = joints[..., [SMPLX55.index("left_hip"), SMPLX55.index("right_hip")], :].mean(-2)
    joints[..., 0, :] = 0.5 * (hips + joints[..., SMPLX55.index("spine1"), :])
    return joints
