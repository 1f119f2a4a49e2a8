"""Procedural motion of SMPL-X bodies in a world whose z axis points up.

Walking is planned from the ground up: footprints along a path, feet that stay planted while they carry weight, a
pelvis that keeps both feet in reach, and legs solved to match. Nothing slides by construction. The proportions of
the gait cycle are those of textbooks (Whittle, *Gait Analysis*: stance 60 % of the cycle, two bobs a cycle).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d
from scipy.spatial.transform import Rotation

from pipeline.skeletons import SMPLX55, SMPLX55_PARENTS

BODY_AXES = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
"""World from body at heading zero: the body looks along its +z and the world's +x, and its +y is up."""

STANCE = 0.62  # of the gait cycle
HEEL_LANDS, HEEL_LEAVES = 0.14, 0.58  # of the stance: before, toes are up; after, the heel is
LANDING_PITCH, LEAVING_PITCH = 0.32, -0.75  # rad, toes up positive
_NEARLY_STRAIGHT = 0.992  # of the leg's length


@dataclass(frozen=True)
class Gait:
    """How somebody walks. Lengths in metres, angles in radians, times in seconds."""

    cycle: float = 1.08
    step_width: float = 0.16
    sway: float = 0.022
    pelvis_yaw: float = 0.10
    pelvis_roll: float = 0.06
    arm_swing: float = 0.42
    elbow: float = 0.26
    arm_down: float = 1.30
    lean: float = 0.05
    toe_out: float = 0.10

    @classmethod
    def sample(cls, generator: np.random.Generator) -> Gait:
        """A gait like most, a little different from each."""
        spread = generator.uniform(-1, 1, 8)
        return cls(
            cycle=1.08 + 0.06 * spread[0],
            step_width=0.16 + 0.03 * spread[1],
            pelvis_yaw=0.10 + 0.03 * spread[2],
            arm_swing=0.42 + 0.12 * spread[3],
            elbow=0.26 + 0.10 * spread[4],
            arm_down=1.30 + 0.05 * spread[5],
            lean=0.05 + 0.03 * spread[6],
            toe_out=0.10 + 0.06 * spread[7],
        )


@dataclass(frozen=True)
class Path:
    """A smooth way over the floor: a straight line with a sideways swerve, walked at a steady speed.

    Attributes:
        start: (2,) metres, at time 0.
        heading: radians from the world's +x towards +y.
        speed: metres a second.
        swerve: metres to the left, at its largest half a swerve's length after ``start``.
        swerve_length: metres along the way; the path is straight again after it.
    """

    start: np.ndarray
    heading: float
    speed: float
    swerve: float = 0.0
    swerve_length: float = 3.0

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (..., 2) and headings (...) at times in seconds, before and after the path's ends as well."""
        along = self.speed * np.asarray(times, np.float64)
        phase = np.clip(along / self.swerve_length, 0, 1)
        aside = self.swerve * 0.5 * (1 - np.cos(2 * np.pi * phase))
        slope = self.swerve * np.pi / self.swerve_length * np.sin(2 * np.pi * phase)
        forward = np.array([np.cos(self.heading), np.sin(self.heading)])
        left = np.array([-forward[1], forward[0]])
        position = self.start + along[..., None] * forward + aside[..., None] * left
        return position, self.heading + np.arctan(slope)


@dataclass(frozen=True)
class Feet:
    """Where the feet must be: for left and right, ankles (F, 2, 3) in the world, pitches (F, 2), headings (F, 2)
    and how far the toes bend up (F, 2)."""

    ankles: np.ndarray
    pitches: np.ndarray
    headings: np.ndarray
    toes: np.ndarray


def walk(
    rest: np.ndarray,
    soles: np.ndarray,
    path: Path,
    times: np.ndarray,
    gait: Gait,
    phase: float = 0.0,
    look_at: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Walk a body along a path.

    Args:
        rest: (55, 3) joints of the unposed body, metres (y up, facing +z).
        soles: (2,) heights in the same frame of the lowest points of the left and right shoe.
        path, times: where, and (F,) seconds.
        phase: 0..1, where in its cycle the left foot is at time 0.
        look_at: (F, 3) points in the world that the head turns to, as far as is comfortable.

    Returns:
        SMPL-X parameters by name: global_orient (F, 3), body_pose (F, 63), transl (F, 3); radians and metres.
    """
    joint = {name: rest[i] for i, name in enumerate(SMPLX55.joints)}
    feet = plan_feet(joint, soles, path, times, gait, phase)
    swing = 2 * np.pi * (times / gait.cycle + phase)  # left heel lands at 0
    ground, pelvis = _pelvis_over_ground(path, times, gait, phase)
    root = np.column_stack([ground, _pelvis_height(joint, soles, path, times, gait, phase)])

    local = {name: Rotation.identity(len(times)) for name in SMPLX55.joints[:22]}
    for side, name in enumerate(("left", "right")):
        local |= _leg(joint, name, root, pelvis, feet, side)
    local |= _spine(swing, gait) | _arms(swing, gait)
    local |= gaze(local, pelvis, root, look_at)
    return {
        "global_orient": pelvis.as_rotvec(),
        "body_pose": np.concatenate([local[n].as_rotvec() for n in SMPLX55.joints[1:22]], 1),
        "transl": root - joint["pelvis"],
    }


def plan_feet(
    joint: dict[str, np.ndarray], soles: np.ndarray, path: Path, times: np.ndarray, gait: Gait, phase: float
) -> Feet:
    """Footprints and what happens between them."""
    columns = []
    for side, name in enumerate(("left", "right")):
        ankle, ball = joint[f"{name}_ankle"], joint[f"{name}_foot"]
        up = np.array([0, 1.0, 0])
        forward = np.array([0, 0, 1.0])
        over_sole = (ankle[1] - soles[side]) * up
        heel = -0.065 * forward - over_sole  # from the ankle
        toe = (ball - ankle) * (up + forward)  # the foot turns about the toes' joint, and they stay where they are
        cycles = times / gait.cycle + phase + 0.5 * side
        index, within = np.floor(cycles), cycles % 1.0
        prints = [_footprint(index + k, gait, phase, side, path) for k in (0, 1)]
        sign = 1 - 2 * side
        aside = sign * gait.step_width / 2
        yaw = [h + sign * gait.toe_out for _, h in prints]
        base = [_on_floor(p, h, aside) for p, h in prints]

        stance = np.clip(within / STANCE, 0, 1)
        swing = np.clip((within - STANCE) / (1 - STANCE), 0, 1)
        down_pitch, down_toes = _stance_pitch(stance)
        ease = swing**3 * (10 - 15 * swing + 6 * swing**2)
        pitch = np.where(swing > 0, _mix(LEAVING_PITCH, LANDING_PITCH, np.clip(1.25 * ease, 0, 1)), down_pitch)
        toes = np.where(swing > 0, -LEAVING_PITCH * np.clip(1 - 3 * swing, 0, 1), down_toes)
        planted = _ankle(base[0], yaw[0], down_pitch, heel, toe)
        leaves = _ankle(base[0], yaw[0], np.full_like(times, LEAVING_PITCH), heel, toe)
        lands = _ankle(base[1], yaw[1], np.full_like(times, LANDING_PITCH), heel, toe)
        lift = 0.055 * np.sin(np.pi * swing) ** 2
        flying = _mix(leaves, lands, ease[:, None]) + lift[:, None] * np.array([0, 0, 1.0])
        ankles = np.where((swing > 0)[:, None], flying, planted)
        headings = _mix(yaw[0], yaw[1], ease)
        columns.append((ankles, pitch, headings, toes))
    return Feet(*(np.stack(c, 1) for c in zip(*columns, strict=True)))


def two_bone(hip: np.ndarray, ankle: np.ndarray, lengths: tuple[float, float], pole: np.ndarray) -> np.ndarray:
    """Knee positions (F, 3) of legs from hips to ankles (F, 3) that bend towards the directions ``pole`` (F, 3).

    Ankles out of reach are taken as if the leg were straight.
    """
    upper, lower = lengths
    along = ankle - hip
    distance = np.linalg.norm(along, axis=-1, keepdims=True)
    along = along / distance
    distance = np.minimum(distance, (upper + lower) * 0.9995)
    reach = (upper**2 - lower**2 + distance**2) / (2 * distance)
    side = pole - (pole * along).sum(-1, keepdims=True) * along
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    return hip + reach * along + np.sqrt(np.maximum(upper**2 - reach**2, 0)) * side


def joint_rotations(global_orient: np.ndarray, body_pose: np.ndarray) -> Rotation:
    """World rotations of all 55 joints, hands and face unposed: a stack of F * 55, frame after frame."""
    local = np.zeros((len(global_orient), 55, 3))
    local[:, 0], local[:, 1:22] = global_orient, body_pose.reshape(len(body_pose), 21, 3)
    matrices = Rotation.from_rotvec(local.reshape(-1, 3)).as_matrix().reshape(-1, 55, 3, 3)
    for child, parent in enumerate(SMPLX55_PARENTS):
        if parent >= 0:
            matrices[:, child] = matrices[:, parent] @ matrices[:, child]
    return Rotation.from_matrix(matrices.reshape(-1, 3, 3))


def _mix(a, b, w):
    return a + (b - a) * w


def _footprint(index: np.ndarray, gait: Gait, phase: float, side: int, path: Path):
    """The path's point and heading at the middle of stances number ``index``."""
    return path.at((index + 0.5 * STANCE - phase - 0.5 * side) * gait.cycle)


def _on_floor(point: np.ndarray, heading: np.ndarray, aside: float) -> np.ndarray:
    left = np.stack([-np.sin(heading), np.cos(heading)], -1)
    return np.concatenate([point + aside * left, np.zeros_like(point[..., :1])], -1)


def _foot_rotation(heading: np.ndarray, pitch: np.ndarray) -> Rotation:
    upright = Rotation.from_matrix(BODY_AXES)
    return about("z", heading) * upright * about("x", -pitch)


def _stance_pitch(stance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch of the foot and bend of the toes over the stance 0..1: on the heel, flat, on the toes."""
    early = np.clip(1 - stance / HEEL_LANDS, 0, 1)
    late = np.clip((stance - HEEL_LEAVES) / (1 - HEEL_LEAVES), 0, 1)
    pitch = LANDING_PITCH * early**1.5 + LEAVING_PITCH * late**2
    return pitch, -LEAVING_PITCH * late**2


def _ankle(floor: np.ndarray, heading: np.ndarray, pitch: np.ndarray, heel: np.ndarray, toe: np.ndarray) -> np.ndarray:
    """Ankle (F, 3) over a footprint when the foot turns about its heel (toes up) or its ball (heel up).

    ``floor`` is the point under the ankle of the flat foot; heel and toe are offsets from the ankle in the body frame.
    """
    flat, turned = _foot_rotation(heading, 0 * pitch), _foot_rotation(heading, pitch)
    over = floor + np.array([0, 0, -heel[1]])  # the heel is on the floor
    ankle = over
    for offset, moves in ((heel, pitch > 0), (toe, pitch < 0)):
        pivot = over + flat.apply(offset)
        ankle = np.where(moves[:, None], pivot - turned.apply(offset), ankle)
    return ankle


def _pelvis_over_ground(path: Path, times: np.ndarray, gait: Gait, phase: float) -> tuple[np.ndarray, Rotation]:
    """Where the pelvis is over the floor (F, 2), and how it is turned."""
    position, heading = path.at(times)
    swing = 2 * np.pi * (times / gait.cycle + phase)
    left = np.stack([-np.sin(heading), np.cos(heading)], -1)
    # The body rides over the foot that carries it.
    return position + (gait.sway * np.sin(swing))[:, None] * left, _pelvis_rotations(swing, heading, gait)


def _pelvis_rotations(swing: np.ndarray, heading: np.ndarray, gait: Gait) -> Rotation:
    yaw = -gait.pelvis_yaw * np.cos(swing)  # the left hip is forward when the left foot lands
    roll = gait.pelvis_roll * np.sin(swing)  # and the unloaded side drops
    upright = Rotation.from_matrix(BODY_AXES)
    tilt = about("x", np.full_like(swing, gait.lean))
    return about("z", heading) * upright * about("y", yaw) * about("z", roll) * tilt


def about(axis: str, angles: np.ndarray) -> Rotation:
    """Rotations by angles (F,) about the axis x, y or z."""
    return Rotation.from_rotvec(np.asarray(angles)[:, None] * np.eye(3)["xyz".index(axis)])


def _pelvis_height(joint, soles: np.ndarray, path: Path, times: np.ndarray, gait: Gait, phase: float) -> np.ndarray:
    """(F,) heights that keep both ankles in reach of legs that are almost straight, smooth in time.

    The pelvis sinks where the feet are far apart and rises over the standing leg: the bob of walking.
    """
    fine = np.arange(times.min() - 0.6, times.max() + 0.6, 0.01)
    feet = plan_feet(joint, soles, path, fine, gait, phase)
    ground, pelvis = _pelvis_over_ground(path, fine, gait, phase)
    highest = np.full(len(fine), np.inf)
    for side, name in enumerate(("left", "right")):
        hip = pelvis.apply(joint[f"{name}_hip"] - joint["pelvis"])
        flat = np.linalg.norm(ground + hip[:, :2] - feet.ankles[:, side, :2], axis=-1)
        vertical = np.sqrt(np.maximum((_NEARLY_STRAIGHT * sum(bones(joint, name))) ** 2 - flat**2, 1e-4))
        highest = np.minimum(highest, feet.ankles[:, side, 2] + vertical - hip[:, 2])
    smooth = gaussian_filter1d(minimum_filter1d(highest, 11, mode="nearest"), 7, mode="nearest")
    return np.interp(times, fine, smooth)


def bones(joint, side: str) -> tuple[float, float]:
    """Metres of thigh and shank."""
    chain = [joint[f"{side}_{j}"] for j in ("hip", "knee", "ankle")]
    return tuple(float(np.linalg.norm(b - a)) for a, b in pairwise(chain))


def _leg(joint, name: str, root: np.ndarray, pelvis: Rotation, feet: Feet, side: int) -> dict[str, Rotation]:
    hip = root + pelvis.apply(joint[f"{name}_hip"] - joint["pelvis"])
    ankle, heading = feet.ankles[:, side], feet.headings[:, side]
    forward = np.column_stack([np.cos(heading), np.sin(heading), 0 * heading])
    knee = two_bone(hip, ankle, bones(joint, name), forward)
    hinge = np.cross(knee - hip, forward)  # towards the body's left: world up is the body's up
    hinge = -hinge / np.linalg.norm(hinge, axis=-1, keepdims=True)
    thigh = segment(joint[f"{name}_knee"] - joint[f"{name}_hip"], knee - hip, hinge)
    shank = segment(joint[f"{name}_ankle"] - joint[f"{name}_knee"], ankle - knee, hinge)
    foot = _foot_rotation(heading, feet.pitches[:, side])
    return {
        f"{name}_hip": pelvis.inv() * thigh,
        f"{name}_knee": thigh.inv() * shank,
        f"{name}_ankle": shank.inv() * foot,
        f"{name}_foot": about("x", -feet.toes[:, side]),
    }


def segment(
    rest: np.ndarray, posed: np.ndarray, hinge: np.ndarray, rest_hinge: tuple[float, float, float] = (1.0, 0.0, 0.0)
) -> Rotation:
    """World rotations (F) that take a bone's rest direction to ``posed`` (F, 3), and ``rest_hinge``, by default
    the body's left, to ``hinge`` (F, 3)."""

    def frame(d, left):
        d = d / np.linalg.norm(d, axis=-1, keepdims=True)
        left = left - (left * d).sum(-1, keepdims=True) * d
        left = left / np.linalg.norm(left, axis=-1, keepdims=True)
        return np.stack([d, left, np.cross(d, left)], -1)

    return Rotation.from_matrix(frame(posed, hinge) @ frame(rest[None], np.array([rest_hinge])).swapaxes(-1, -2))


def _spine(swing: np.ndarray, gait: Gait) -> dict[str, Rotation]:
    """The shoulders turn against the pelvis; the chest stays level."""
    yaw = gait.pelvis_yaw * 1.9 * np.cos(swing) / 3
    roll = -gait.pelvis_roll * np.sin(swing) / 3
    part = about("y", yaw) * about("z", roll)
    return dict.fromkeys(("spine1", "spine2", "spine3"), part)


def _arms(swing: np.ndarray, gait: Gait) -> dict[str, Rotation]:
    """Arms hang and swing against the legs, elbows bending more in front."""
    out = {}
    for name, sign in (("left", 1), ("right", -1)):
        ahead = -sign * np.cos(swing + 0.15)  # the right arm is forward when the left foot lands
        swung = about("x", -gait.arm_swing * (0.12 + ahead))
        bend = gait.elbow * (1 + 0.55 * ahead)
        out[f"{name}_collar"] = about("z", np.full_like(swing, -0.06 * sign))
        out[f"{name}_shoulder"] = swung * about("z", np.full_like(swing, -sign * gait.arm_down))
        out[f"{name}_elbow"] = about("y", -sign * bend)
        out[f"{name}_wrist"] = about("z", np.full_like(swing, 0.06 * sign))
    return out


def gaze(local, pelvis: Rotation, root: np.ndarray, look_at: np.ndarray | None) -> dict[str, Rotation]:
    """Neck and head: level and forward, or turned by at most 45 degrees towards what is looked at."""
    chest = pelvis * local["spine1"] * local["spine2"] * local["spine3"]
    level = pelvis.apply([0, 0, 1.0])
    level[:, 2] = 0
    aim = level / np.linalg.norm(level, axis=-1, keepdims=True)
    if look_at is not None:
        eyes = root + np.array([0, 0, 0.62])
        wanted = look_at - eyes
        wanted = wanted / np.linalg.norm(wanted, axis=-1, keepdims=True)
        turn = np.arctan2(np.cross(aim[:, :2], wanted[:, :2]), (aim[:, :2] * wanted[:, :2]).sum(-1))
        # What is behind is not stared at: the turn fades out where it would be uncomfortable.
        turn = np.clip(turn, -0.8, 0.8) * np.clip((2.4 - np.abs(turn)) / 0.8, 0, 1)
        aim = about("z", turn).apply(aim)
    left = np.column_stack([-aim[:, 1], aim[:, 0], 0 * aim[:, 0]])
    up = np.broadcast_to([0, 0, 1.0], aim.shape)
    half = (chest.inv() * Rotation.from_matrix(np.stack([left, up, aim], -1))).as_rotvec() / 2
    return {"neck": Rotation.from_rotvec(half), "head": Rotation.from_rotvec(half)}
