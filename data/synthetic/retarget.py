"""Recorded motions on our bodies: from where a motion's joints are to the pose of a body with its own proportions.

Files differ in units, axes, names and rest poses; the places of the joints mean the same in all of them. Bones are
turned to point where the recorded ones do, elbows and knees bend about the recorded hinge.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from data.bvh import Motion, read_bvh
from data.synthetic.acts import Act, Build, Maker
from data.synthetic.motion import segment
from pipeline.errors import InputError
from pipeline.skeletons import SMPLX55

_NAMES = {
    "pelvis": ("Hips", "Root", "Pelvis"),
    "neck": ("Neck", "Neck1"),
    "head": ("Head",),
    "hip": ("{}UpLeg", "{}Thigh", "{}Hip"),
    "knee": ("{}Leg", "{}Shin", "{}Knee"),
    "ankle": ("{}Foot", "{}Ankle"),
    "toe": ("{}ToeBase", "{}Toe", "{}FootIndex"),
    "shoulder": ("{}Arm", "{}UpArm", "{}Shoulder"),
    "elbow": ("{}ForeArm", "{}LowArm", "{}Elbow"),
    "wrist": ("{}Hand", "{}Wrist"),
}
"""Names that files give to the joints, the likeliest first; {} is Left or Right."""


def read_motions(folder: Path) -> list[tuple[str, Motion]]:
    """All motions of a folder. Raises InputError if there is none, or one that cannot be used."""
    paths = sorted(folder.glob("*.bvh")) if folder.is_dir() else []
    if not paths:
        raise InputError(folder, "holds no *.bvh file", "Give a folder of BVH motions")
    motions = [(path.stem, read_bvh(path)) for path in paths]
    for path, (_, motion) in zip(paths, motions, strict=True):
        _marks(motion, str(path))
    return motions


def recorded(motions: Sequence[tuple[str, Motion]]) -> list[Maker]:
    """Acts that perform a piece of a motion, somewhere in it, in any direction."""

    def maker(name: str, motion: Motion) -> Maker:
        def act(times: np.ndarray, g: np.random.Generator, builds: Sequence[Build]) -> Act:
            spare = max(0.0, (len(motion.positions) - 1) * motion.frame_s - times[-1])
            moved = retargeted(motion, builds[0], times + g.uniform(0, spare), g.uniform(-np.pi, np.pi))
            return Act(name, [moved])

        return act

    return [maker(name, motion) for name, motion in motions]


def retargeted(motion: Motion, build: Build, times: np.ndarray, heading: float = 0.0) -> dict[str, np.ndarray]:
    """SMPL-X parameters (global_orient (F, 3), body_pose (F, 63), transl (F, 3)) of a motion at times (F,) seconds.

    World z is up; the lowest that the feet come in the whole motion is the floor, and the motion is about the origin.
    ``heading``: radians by which it is turned about the vertical.
    """
    marks = _upright(_marks(motion, "motion"))
    spent = np.arange(len(motion.positions)) * motion.frame_s
    at = {n: np.stack([np.interp(times, spent, p[:, k]) for k in range(3)], 1) for n, p in marks.items()}
    turn = Rotation.from_euler("z", heading)
    at = {n: turn.apply(p) for n, p in at.items()}
    leg = np.median(sum(np.linalg.norm(marks[f"left_{a}"] - marks[f"left_{b}"], axis=1)
                        for a, b in (("hip", "knee"), ("knee", "ankle"))))  # fmt: skip
    scale = build.leg / leg
    pelvis = _pelvis(at)
    chest = _frame(at["left_shoulder"] - at["right_shoulder"], at["neck"] - at["pelvis"])
    local = {name: Rotation.identity(len(times)) for name in SMPLX55.joints[:22]}
    local |= dict.fromkeys(("spine1", "spine2", "spine3"), Rotation.from_rotvec((pelvis.inv() * chest).as_rotvec() / 3))
    facing = _frame(at["left_shoulder"] - at["right_shoulder"], at["head_end"] - at["neck"])
    local |= dict.fromkeys(("neck", "head"), Rotation.from_rotvec((chest.inv() * facing).as_rotvec() / 2))
    for side in ("left", "right"):
        local |= _arm(build, at, side, chest) | _leg(build, at, side, pelvis)
    middle = (at["left_hip"] + at["right_hip"]) / 2
    hips = (build.joint("left_hip") + build.joint("right_hip")) / 2 - build.joint("pelvis")
    root = scale * middle - pelvis.apply(hips)
    floor = np.quantile(np.concatenate([marks["left_ankle"], marks["right_ankle"]])[:, 2], 0.02) * scale
    root[:, 2] += build.above_floor("left_ankle") - floor
    root[:, :2] -= turn.apply(np.append(scale * np.median(_middle(marks), 0)[:2], 0))[:2]
    return {
        "global_orient": pelvis.as_rotvec(),
        "body_pose": np.concatenate([local[n].as_rotvec() for n in SMPLX55.joints[1:22]], 1),
        "transl": root - build.joint("pelvis"),
    }


def _middle(marks: dict[str, np.ndarray]) -> np.ndarray:
    return (marks["left_hip"] + marks["right_hip"]) / 2


def _marks(motion: Motion, where: str) -> dict[str, np.ndarray]:
    """Positions (F, 3) by our names."""
    by_name = {n.lower(): k for k, n in enumerate(motion.names)}

    def find(kind: str, side: str = "") -> int:
        # A thigh that is called a hip has a knee below it, not a thigh.
        for pattern in _NAMES[kind]:
            row = by_name.get(pattern.format(side).lower())
            if row is not None:
                return row
        raise InputError(where, f"has no joint like {_NAMES[kind][0].format(side)}", "Use a file with the usual names")

    rows = {"pelvis": find("pelvis"), "neck": find("neck"), "head": find("head")}
    for side in ("Left", "Right"):
        for kind in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
            rows[f"{side.lower()}_{kind}"] = find(kind, side)
        rows[f"{side.lower()}_toe"] = find("toe", side)
    if by_name.get("leftarm") is None:  # files that call the clavicle a collar and the upper arm a shoulder
        rows |= {f"{s.lower()}_shoulder": by_name[f"{s.lower()}shoulder"] for s in ("Left", "Right")}
    rows["head_end"] = by_name.get(f"{motion.names[rows['head']]}.end".lower(), rows["head"])
    return {name: motion.positions[:, row] for name, row in rows.items()}


def _upright(marks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with z up, whichever axis of the file is."""
    feet = (marks["left_ankle"] + marks["right_ankle"]) / 2
    up = (marks["head"] - feet).mean(0)
    axis = int(np.abs(up).argmax())
    sign = np.sign(up[axis])
    order = [(axis + 1) % 3, (axis + 2) % 3, axis]
    turn = np.zeros((3, 3))
    turn[[0, 1, 2], order] = 1
    if sign < 0:
        turn = np.diag([1.0, -1, -1]) @ turn
    return {name: p @ turn.T for name, p in marks.items()}


def _frame(left: np.ndarray, up: np.ndarray) -> Rotation:
    """World from body rotations: x to the left, y up as nearly as that allows, z forward."""
    left = left / np.linalg.norm(left, axis=1, keepdims=True)
    up = up - (up * left).sum(1, keepdims=True) * left
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    return Rotation.from_matrix(np.stack([left, up, np.cross(left, up)], -1))


def _pelvis(at: dict[str, np.ndarray]) -> Rotation:
    trunk = at["neck"] - (at["left_hip"] + at["right_hip"]) / 2
    return _frame(at["left_hip"] - at["right_hip"], trunk)


def _hinge(first: np.ndarray, second: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Unit axes (F, 3) about which a limb bends: recorded where it is bent, ``usual`` where it is straight."""
    across = np.cross(first, second) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))[:, None]
    usual = usual - (usual * first).sum(1, keepdims=True) / (first**2).sum(1, keepdims=True) * first
    axis = across + 0.12 * usual / np.linalg.norm(usual, axis=1, keepdims=True)
    axis = gaussian_filter1d(axis, 1.0, axis=0, mode="nearest") if len(axis) > 3 else axis
    return axis / np.linalg.norm(axis, axis=1, keepdims=True)


def _arm(build: Build, at: dict[str, np.ndarray], side: str, chest: Rotation) -> dict[str, Rotation]:
    sign = 1 if side == "left" else -1
    upper, lower = at[f"{side}_elbow"] - at[f"{side}_shoulder"], at[f"{side}_wrist"] - at[f"{side}_elbow"]
    pole = chest.apply([0.3 * sign, -0.5, -1.0])
    hinge = _hinge(upper, lower, np.cross(pole, upper))
    flexes = (0.0, float(-sign), 0.0)
    joint = {j: build.joint(f"{side}_{j}") for j in ("shoulder", "elbow", "wrist")}
    first = segment(joint["elbow"] - joint["shoulder"], upper, hinge, flexes)
    second = segment(joint["wrist"] - joint["elbow"], lower, hinge, flexes)
    return {f"{side}_shoulder": chest.inv() * first, f"{side}_elbow": first.inv() * second}


def _leg(build: Build, at: dict[str, np.ndarray], side: str, pelvis: Rotation) -> dict[str, Rotation]:
    thigh, shank = at[f"{side}_knee"] - at[f"{side}_hip"], at[f"{side}_ankle"] - at[f"{side}_knee"]
    foot = at[f"{side}_toe"] - at[f"{side}_ankle"]
    hinge = _hinge(thigh, shank, pelvis.apply([1.0, 0, 0]))
    joint = {j: build.joint(f"{side}_{j}") for j in ("hip", "knee", "ankle", "foot")}
    first = segment(joint["knee"] - joint["hip"], thigh, hinge)
    second = segment(joint["ankle"] - joint["knee"], shank, hinge)
    third = segment(joint["foot"] - joint["ankle"], foot, hinge)
    return {
        f"{side}_hip": pelvis.inv() * first,
        f"{side}_knee": first.inv() * second,
        f"{side}_ankle": second.inv() * third,
    }
