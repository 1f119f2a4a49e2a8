"""Walking skeletons and what detectors would see of them: captures with exact answers, for tests and benchmarks.

No body model and no rendering: joints move by a plain gait, are projected, and are spoilt on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.cameras import Camera, Rig, project
from pipeline.keypoints.detections import Candidates, Detections
from pipeline.skeletons import SETS, SKEL19, map_joints

_REST = {  # forward x, left y, up z, for a body one metre high
    "mid_hip": (0.0, 0.0, 0.53), "neck": (0.0, 0.0, 0.82), "right_hip": (0.0, -0.055, 0.52),
    "left_hip": (0.0, 0.055, 0.52), "nose": (0.06, 0.0, 0.91), "right_shoulder": (0.0, -0.10, 0.81),
    "left_shoulder": (0.0, 0.10, 0.81), "right_ear": (0.0, -0.045, 0.92), "left_ear": (0.0, 0.045, 0.92),
}  # fmt: skip
_THIGH, _SHIN, _UPPER_ARM, _FOREARM, _FOOT = 0.245, 0.24, 0.165, 0.15, 0.10


def walk(path: np.ndarray, fps: float, height: float = 1.75, phase: float = 0.0, facing: np.ndarray | None = None):
    """Joints of a person whose feet follow ``path``.

    Args:
        path: (F, 2) metres on the ground.
        fps: frames a second.
        height: metres.
        phase: of the gait, radians.
        facing: (F,) heading in radians; along the path if None.

    Returns:
        (F, 19, 3) metres, z up.
    """
    path = np.asarray(path, np.float64)
    F = len(path)
    step = np.gradient(path, axis=0) if F > 1 else np.zeros((F, 2))
    speed = np.linalg.norm(step, axis=1) * fps
    if facing is None:
        facing = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    swing_phase = phase + 2 * np.pi * np.cumsum(speed) / fps / (0.8 * height)
    amplitude = np.clip(speed, 0, 1.2) / 1.2
    local = np.zeros((F, 19, 3))
    for name, offset in _REST.items():
        local[:, SKEL19.index(name)] = offset
    for side, sign in (("right", 0.0), ("left", np.pi)):
        leg = 0.5 * amplitude * np.sin(swing_phase + sign)
        bend = 0.6 * amplitude * np.maximum(0, np.cos(swing_phase + sign))
        hip = local[:, SKEL19.index(f"{side}_hip")]
        knee = hip + _THIGH * _down(leg)
        ankle = knee + _SHIN * _down(leg - bend)
        toe = ankle + _FOOT * np.stack([np.cos(leg - bend), np.zeros(F), np.sin(leg - bend)], 1) - [0, 0, 0.03]
        arm = -0.5 * amplitude * np.sin(swing_phase + sign)
        elbow = local[:, SKEL19.index(f"{side}_shoulder")] + _UPPER_ARM * _down(arm)
        wrist = elbow + _FOREARM * _down(arm + 0.3)
        for name, joint in (("knee", knee), ("ankle", ankle), ("big_toe", toe), ("elbow", elbow), ("wrist", wrist)):
            local[:, SKEL19.index(f"{side}_{name}")] = joint
    c, s = np.cos(facing), np.sin(facing)
    turn = np.stack([np.stack([c, -s, 0 * c], 1), np.stack([s, c, 0 * c], 1), np.tile([0.0, 0.0, 1.0], (F, 1))], 1)
    world = np.einsum("fij,fkj->fki", turn, local) * height
    world[..., :2] += path[:, None]
    return world


def _down(angle: np.ndarray) -> np.ndarray:
    """(F, 3) unit vectors hanging down, swung forward by the angle."""
    return np.stack([np.sin(angle), np.zeros_like(angle), -np.cos(angle)], 1)


def ring_rig(cameras: int, radius: float = 5.0, height: float = 2.2, size=(1280, 960), focal: float = 900.0) -> Rig:
    """Cameras on a circle around the origin, looking at a point one metre above it."""
    out = []
    for k in range(cameras):
        angle = 2 * np.pi * k / cameras + 0.3
        centre = np.array([radius * np.cos(angle), radius * np.sin(angle), height + 0.3 * (k % 2)])
        forward = np.array([0, 0, 1.0]) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(forward, right), forward])
        K = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
        out.append(Camera(f"cam{k + 1:02d}", size, K, R, -R @ centre))
    return Rig(tuple(out))


@dataclass(frozen=True)
class Flaws:
    """How detections are spoilt.

    Attributes:
        noise_px: standard deviation of positions.
        missed: share of joints that are not found.
        occlusion: whether a person hides those behind.
        wrong: share of extra candidates anywhere in the picture, relative to true ones (bottom-up), or of joints put
            somewhere else within the person's box (top-down).
        blind: (camera index, first frame, end frame) spans in which a camera sees nothing.
        turned: share of (camera, person, second) pieces in which left and right are taken for each other.
        confused: share of affinities between limbs of different people nearby that are high (bottom-up), or of joints
            taken from a person nearby (top-down).
    """

    noise_px: float = 2.0
    missed: float = 0.03
    occlusion: bool = True
    wrong: float = 0.0
    blind: tuple[tuple[int, int, int], ...] = ()
    turned: float = 0.0
    confused: float = 0.0


def visible(rig: Rig, joints: np.ndarray) -> np.ndarray:
    """(C, F, P, 19) bool: not hidden behind another person's trunk (a capsule of 0.16 m) and inside the picture."""
    F, P = joints.shape[:2]
    seen = np.ones((len(rig), F, P, 19), bool)
    low, high = joints[:, :, 0], joints[:, :, 1]
    for c, camera in enumerate(rig.cameras):
        pixels = project(camera.P, joints)
        with np.errstate(invalid="ignore"):
            seen[c] &= ((pixels >= 0) & (pixels <= np.array(camera.size) - 1)).all(-1)
        for hider in range(P):
            for s in np.linspace(-0.2, 1.3, 8):
                ball = low[:, hider] + s * (high[:, hider] - low[:, hider])
                to_joint = joints - camera.centre
                length = np.linalg.norm(to_joint, axis=-1)
                along = np.einsum("fpji,fi->fpj", to_joint, ball - camera.centre) / length
                nearest = camera.centre + to_joint * (along / length)[..., None]
                distance = np.linalg.norm(nearest - ball[:, None, None], axis=-1)
                hidden = (distance < 0.16) & (along < length - 0.25)
                hidden[:, hider] = False
                seen[c] &= ~hidden
    return seen & np.isfinite(joints[..., 0])


def detect(
    rig: Rig,
    joints: np.ndarray,
    rng: np.random.Generator,
    flaws: Flaws | None = None,
    joint_set: str | Sequence[str] = "skel19",
    bottom_up: bool = False,
    frames: np.ndarray | None = None,
) -> list[Detections]:
    """Detections of joints (F, P, 19, 3) metres (NaN: absent) in every camera, in shuffled order.

    ``joint_set`` may differ between cameras (one name each); joints that SKEL-19 lacks are missing in it.
    """
    flaws = flaws or Flaws()
    names = [joint_set] * len(rig) if isinstance(joint_set, str) else list(joint_set)
    frames = np.arange(len(joints)) if frames is None else np.asarray(frames)
    seen = visible(rig, joints) if flaws.occlusion else np.isfinite(joints[None, ..., 0]).repeat(len(rig), 0)
    out = []
    for c, (camera, name) in enumerate(zip(rig.cameras, names, strict=True)):
        pixels = project(camera.P, joints) + rng.normal(0, flaws.noise_px, (*joints.shape[:3], 2))
        found = seen[c] & (rng.random(seen[c].shape) >= flaws.missed)
        for camera_index, first, end in flaws.blind:
            if camera_index == c:
                found[first:end] = False
        scores = np.where(found, rng.uniform(0.5, 1.0, found.shape), 0.0)
        for p in range(joints.shape[1]):
            for first in range(0, len(joints), 25):
                if rng.random() < flaws.turned:
                    piece = slice(first, first + 25)
                    pixels[piece, p] = pixels[piece, p][:, SKEL19.mirror]
                    scores[piece, p] = scores[piece, p][:, SKEL19.mirror]
        if bottom_up:
            out.append(_as_candidates(camera, pixels, scores, frames, name, flaws, rng))
        else:
            out.append(_as_instances(camera, pixels, scores, frames, name, flaws, rng))
    return out


def _as_instances(camera, pixels, scores, frames, name, flaws, rng) -> Detections:
    keypoints, rows, offsets = [], [], [0]
    for f in range(len(frames)):
        people = rng.permutation([p for p in range(pixels.shape[1]) if (scores[f, p] > 0).sum() >= 4]).astype(int)
        for p in people:
            xy, s = pixels[f, p].copy(), scores[f, p].copy()
            low, high = xy[s > 0].min(0), xy[s > 0].max(0)
            bad = (s > 0) & (rng.random(19) < flaws.wrong)
            xy[bad] = rng.uniform(low, high, (bad.sum(), 2))
            for q in people:
                near = np.linalg.norm(pixels[f, q] - xy, axis=1) < 80
                stolen = near & (scores[f, q] > 0) & (q != p) & (rng.random(19) < flaws.confused)
                xy[stolen], s[stolen] = pixels[f, q][stolen], scores[f, q][stolen]
            xy[s <= 0] = np.nan
            keypoints.append(xy)
            rows.append(s)
        offsets.append(offsets[-1] + len(people))
    xy = np.array(keypoints).reshape(-1, 19, 2)
    xy, s = map_joints(xy, np.array(rows).reshape(-1, 19), SKEL19, SETS[name])
    boxes = np.zeros((len(xy), 4), np.float32)
    if len(xy):
        boxes = np.concatenate([np.nanmin(xy, 1), np.nanmax(xy, 1)], 1).astype(np.float32)
    n = len(xy)
    return Detections(
        name, frames.astype(np.int64), np.array(offsets, np.int64), xy.astype(np.float32), s.astype(np.float32), boxes,
        np.ones(n, np.float32), np.full(n, -1, np.int32),
    )  # fmt: skip


def _as_candidates(camera, pixels, scores, frames, name, flaws, rng) -> Detections:
    target = SETS[name]
    source = [SKEL19.index(j) if j in SKEL19.joints else None for j in target.joints]
    points, owners, offsets, affinities, ends = [], [], [0], [], [0]
    for f in range(len(frames)):
        per_joint = []
        for j in source:
            own = [] if j is None else [(*pixels[f, p, j], scores[f, p, j], p) for p in np.flatnonzero(scores[f, :, j])]
            false = rng.binomial(max(len(own), 1), flaws.wrong) if j is not None else 0
            own += [(*rng.uniform(0, camera.size), rng.uniform(0.2, 0.7), -1 - k) for k in range(false)]
            own = [own[i] for i in rng.permutation(len(own))]
            per_joint.append(own)
            points += [o[:3] for o in own]
            offsets.append(offsets[-1] + len(own))
        owners = [np.array([o[3] for o in own]) for own in per_joint]
        for a, b in target.limb_indices:
            same = (owners[a][:, None] == owners[b][None, :]) & (owners[a][:, None] >= 0)
            values = np.where(same, rng.uniform(0.4, 1.0, same.shape), 0.0)
            stray = rng.random(same.shape) < 0.05
            values = np.where(~same & stray, rng.uniform(0.05, 0.3, same.shape), values)
            if flaws.confused and same.size:
                ends_a, ends_b = (np.array([o[:2] for o in per_joint[k]]) for k in (a, b))
                gap = np.linalg.norm(ends_a[:, None] - ends_b[None], axis=-1)
                usual = 1.3 * np.max(gap[same], initial=0)
                mixed = ~same & (gap < usual) & (rng.random(same.shape) < flaws.confused)
                values = np.where(mixed, rng.uniform(0.4, 1.0, same.shape), values)
            affinities.append(values.ravel())
            ends.append(ends[-1] + values.size)
    F, J = len(frames), len(target)
    candidates = Candidates(
        np.array(points, np.float32).reshape(-1, 3),
        np.array(offsets, np.int64),
        np.concatenate([np.zeros(0), *affinities]).astype(np.float32),
        np.array(ends, np.int64),
    )
    return Detections(
        name, frames.astype(np.int64), np.zeros(F + 1, np.int64), np.zeros((0, J, 2), np.float32),
        np.zeros((0, J), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32),
        candidates=candidates,
    )  # fmt: skip
