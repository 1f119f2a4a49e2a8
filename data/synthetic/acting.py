"""Bodies that do what they are told: where they stand, how they bend, where their hands and feet are.

A ``Part`` says it in the world's terms over some frames, ``perform`` solves arms and legs for it. World z is up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from data.synthetic.motion import BODY_AXES, about, bones, gaze, segment, two_bone
from pipeline.skeletons import SMPLX55

SIDES = ("left", "right")
_REACH = 0.985  # of a leg's length, standing


@dataclass(frozen=True)
class Part:
    """What somebody does over F frames; metres and radians.

    Attributes:
        ground: (F, 2) where the pelvis is over the floor.
        heading: (F,) which way the pelvis looks, from the world's +x.
        lean: (F, 3) turn of the pelvis on top of that about the body's axes (x: forward, y: left, z: to the right).
        drop: (F,) how far below standing the pelvis is.
        seat: (F,) height of the pelvis joint when it does not hang on the legs; NaN where they carry it.
        spine: (F, 3) turn of the chest against the pelvis, in the body's axes.
        feet: (F, 2, 2) where the ankles are over the floor, left and right.
        lift: (F, 2) how high the feet are off it; pitch: (F, 2) toes up.
        toes: (F, 2) headings of the feet.
        hands: by side, (F, 3) where the wrist is; without one the arm hangs as in ``arms``.
        arms: by side, (F, 3): how far the arm is raised aside and ahead from hanging, and how far the elbow bends.
        elbows: by side, (3,) direction in the body's axes that the elbow of a guided arm points to.
        wrists: by side, (F, 3) turn of the hand against the forearm, in the body's axes.
        look: (F, 3) what the head turns to; None: straight ahead.
    """

    ground: np.ndarray
    heading: np.ndarray
    lean: np.ndarray
    drop: np.ndarray
    seat: np.ndarray
    spine: np.ndarray
    feet: np.ndarray
    lift: np.ndarray
    pitch: np.ndarray
    toes: np.ndarray
    hands: dict[str, np.ndarray] = field(default_factory=dict)
    arms: dict[str, np.ndarray] = field(default_factory=dict)
    elbows: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    wrists: dict[str, np.ndarray] = field(default_factory=dict)
    look: np.ndarray | None = None

    @classmethod
    def standing(
        cls, frames: int, at=(0.0, 0.0), heading: float = 0.0, width: float = 0.2, stride: float = 0.0
    ) -> Part:
        """Somebody who stands: feet ``width`` apart, the left ``stride`` ahead of the right."""
        left = np.array([-np.sin(heading), np.cos(heading)])
        ahead = np.array([np.cos(heading), np.sin(heading)])
        feet = np.stack([at + s * (left * width + ahead * stride) / 2 for s in (1, -1)])

        def still(value, *shape) -> np.ndarray:
            return np.broadcast_to(np.asarray(value, np.float64), (frames, *shape)).copy()

        return cls(
            still(at, 2),
            still(heading),
            still(0, 3),
            still(0),
            still(np.nan),
            still(0, 3),
            still(feet, 2, 2),
            still(0, 2),
            still(0, 2),
            still([heading + 0.12, heading - 0.12], 2),
            arms={s: still([0.14, 0.05, 0.25], 3) for s in SIDES},
        )


def perform(rest: np.ndarray, soles: np.ndarray, part: Part) -> dict[str, np.ndarray]:
    """SMPL-X parameters by name (global_orient (F, 3), body_pose (F, 63), transl (F, 3)) of a part.

    Args:
        rest: (55, 3) joints of the unposed body, metres; ``soles`` (2,) heights of the lowest points of the shoes.
    """
    joint = dict(zip(SMPLX55.joints, rest, strict=True))
    pelvis = about("z", part.heading) * Rotation.from_matrix(BODY_AXES) * Rotation.from_rotvec(part.lean)
    ankles = _ankles(joint, soles, part)
    root = np.column_stack([part.ground, _height(joint, part, pelvis, ankles)])
    local = {name: Rotation.identity(len(root)) for name in SMPLX55.joints[:22]}
    for side, name in enumerate(SIDES):
        local |= _leg(joint, name, side, root, pelvis, ankles, part)
    local |= dict.fromkeys(("spine1", "spine2", "spine3"), Rotation.from_rotvec(part.spine / 3))
    local |= gaze(local, pelvis, root, part.look)
    chest, place = pelvis, root
    for parent, name in (("pelvis", "spine1"), ("spine1", "spine2"), ("spine2", "spine3")):
        place = place + chest.apply(joint[name] - joint[parent])
        chest = chest * local[name]
    for name in SIDES:
        local |= _arm(joint, name, chest, place, part)
    return {
        "global_orient": pelvis.as_rotvec(),
        "body_pose": np.concatenate([local[n].as_rotvec() for n in SMPLX55.joints[1:22]], 1),
        "transl": root - joint["pelvis"],
    }


def _foot(part: Part, side: int) -> Rotation:
    return about("z", part.toes[:, side]) * Rotation.from_matrix(BODY_AXES) * about("x", -part.pitch[:, side])


def _ankles(joint: Mapping[str, np.ndarray], soles: np.ndarray, part: Part) -> np.ndarray:
    """(F, 2, 3): toes that point down lift the ankle."""
    out = []
    for side, name in enumerate(SIDES):
        high = joint[f"{name}_ankle"][1] - soles[side]
        ball = np.linalg.norm((joint[f"{name}_foot"] - joint[f"{name}_ankle"])[[1, 2]])
        up = high + part.lift[:, side] + ball * np.sin(np.clip(-part.pitch[:, side], 0, 1.4))
        out.append(np.column_stack([part.feet[:, side], up]))
    return np.stack(out, 1)


def _height(joint, part: Part, pelvis: Rotation, ankles: np.ndarray) -> np.ndarray:
    """(F,) of the pelvis: as high as the legs reach, less the drop; or the seat's."""
    highest = np.full(len(part.drop), np.inf)
    for side, name in enumerate(SIDES):
        hip = pelvis.apply(joint[f"{name}_hip"] - joint["pelvis"])
        flat = np.linalg.norm(part.ground + hip[:, :2] - ankles[:, side, :2], axis=1)
        up = np.sqrt(np.maximum((_REACH * sum(bones(joint, name))) ** 2 - flat**2, 0.01))
        high = ankles[:, side, 2] + up - hip[:, 2]
        highest = np.minimum(highest, np.where(part.lift[:, side] > 0.02, np.inf, high))
    return np.where(np.isnan(part.seat), highest - part.drop, part.seat)


def _leg(joint, name: str, side: int, root, pelvis: Rotation, ankles, part: Part) -> dict[str, Rotation]:
    hip = root + pelvis.apply(joint[f"{name}_hip"] - joint["pelvis"])
    ankle = ankles[:, side]
    toward = part.toes[:, side]
    forward = np.column_stack([np.cos(toward), np.sin(toward), np.full(len(toward), 0.15)])
    lengths = bones(joint, name)
    knee = two_bone(hip, ankle, lengths, forward)
    # A leg that cannot reach is straight, and its foot is where it ends.
    far = knee - hip + (ankle - knee)
    hinge = np.cross(far, forward)
    hinge = -hinge / np.linalg.norm(hinge, axis=1, keepdims=True)
    thigh = segment(joint[f"{name}_knee"] - joint[f"{name}_hip"], knee - hip, hinge)
    shank = segment(joint[f"{name}_ankle"] - joint[f"{name}_knee"], ankle - knee, hinge)
    return {
        f"{name}_hip": pelvis.inv() * thigh,
        f"{name}_knee": thigh.inv() * shank,
        f"{name}_ankle": shank.inv() * _foot(part, side),
        f"{name}_foot": about("x", np.clip(part.pitch[:, side], -0.8, 0)),
    }


def _arm(joint, name: str, chest: Rotation, place: np.ndarray, part: Part) -> dict[str, Rotation]:
    """``chest``: rotation of spine3, which is at ``place`` (F, 3)."""
    sign = 1 if name == "left" else -1
    turn = part.wrists.get(name)
    wrist = Rotation.from_rotvec(turn) if turn is not None else Rotation.identity(len(place))
    if name not in part.hands:
        aside, ahead, bend = part.arms[name].T
        raised = np.clip(aside - 0.9, 0, 1.2) / 3
        collar = about("z", sign * (raised - 0.06))
        hanging = about("x", -ahead) * about("z", -sign * (np.pi / 2 - 0.10 - aside + raised))
        return {
            f"{name}_collar": collar,
            f"{name}_shoulder": hanging * about("x", np.full(len(bend), -0.0)),
            f"{name}_elbow": about("y", -sign * bend),
            f"{name}_wrist": wrist,
        }
    target = part.hands[name]
    base = place + chest.apply(joint[f"{name}_collar"] - joint["spine3"])
    reach = chest.inv().apply(target - base)
    # The collar bone goes along when the hand is high or across the body.
    high = np.clip((reach[:, 1] - 0.05) / 0.5, 0, 1) * 0.35
    across = np.clip((0.05 - sign * reach[:, 0]) / 0.4, 0, 1) * 0.25
    collar = about("z", sign * (high - 0.04)) * about("y", -sign * across)
    upper = chest * collar
    shoulder = base + upper.apply(joint[f"{name}_shoulder"] - joint[f"{name}_collar"])
    arm, forearm = joint[f"{name}_elbow"] - joint[f"{name}_shoulder"], joint[f"{name}_wrist"] - joint[f"{name}_elbow"]
    lengths = (float(np.linalg.norm(arm)), float(np.linalg.norm(forearm)))
    away = target - shoulder
    far = np.linalg.norm(away, axis=1, keepdims=True)
    target = shoulder + away / far * np.clip(far, 0.35 * sum(lengths), 0.995 * sum(lengths))
    pole = chest.apply(part.elbows.get(name, (0.35 * sign, -1.0, -0.35)))
    elbow = two_bone(shoulder, target, lengths, pole)
    hinge = np.cross(pole, target - shoulder)
    hinge /= np.linalg.norm(hinge, axis=1, keepdims=True)
    flexes = (0.0, float(-sign), 0.0)
    first = segment(arm, elbow - shoulder, hinge, flexes)
    second = segment(forearm, target - elbow, hinge, flexes)
    return {
        f"{name}_collar": collar,
        f"{name}_shoulder": upper.inv() * first,
        f"{name}_elbow": first.inv() * second,
        f"{name}_wrist": wrist,
    }
