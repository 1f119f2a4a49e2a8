"""Known bodies in motion and what cameras around would report of them: scenes for measuring the fit of bodies.

No picture is drawn: the bodies' SKEL-19 joints are projected, spoilt as detectors spoil them and triangulated.
Whoever is who is given, so that what is measured is the fit alone. z is up, the floor is z = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.spatial.transform import Rotation

from data.synthetic.motion import BODY_AXES, Gait, Path, two_bone, walk
from data.synthetic.walkers import ring_rig, visible
from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.body.regressor import regress, regressor_for
from pipeline.cameras import Rig, project, triangulate
from pipeline.skeletons import SMPLX55

if TYPE_CHECKING:
    from nets.body import BodyModel
    from pipeline.body.silhouette import Outline

FPS = 30.0
SCENES = ("walking", "crouching", "arms_crossed", "hugging", "half_hidden")


@dataclass(frozen=True)
class Setting:
    """How a scene is seen: ``cameras`` on a ring, keypoint noise (standard deviation), share of keypoints missing."""

    cameras: int
    noise_px: float = 2.0
    missing: float = 0.0


SETTINGS: Mapping[str, Setting] = {
    "six_cameras": Setting(6),
    "four_cameras_gaps": Setting(4, missing=0.2),
}


@dataclass(frozen=True)
class BodyScene:
    """People whose bodies are known.

    Attributes:
        rig: cameras, z up.
        people: the truth; tracks: what was seen of each of them.
        floor: its height as the lab gives it, for scenes in which feet are hidden from most cameras; else "auto": the
            fit has to find it.
    """

    rig: Rig
    people: tuple[BodyTrack, ...]
    tracks: tuple[Tracks, ...]
    floor: float | Literal["auto"]
    fps: float = FPS


def body_scene(model: BodyModel, name: str, setting: Setting, seed: int, frames: int = 60) -> BodyScene:
    """One of ``SCENES``.

    Args:
        model: the bodies' model; shapes are drawn from its shape space.
        seed: of shapes, gaits, noise and gaps.
    """
    rng = np.random.default_rng(seed)
    betas = np.clip(rng.normal(size=(2, 10)), -2, 2)
    figures = [_Figure.of(model, b) for b in betas]
    moves = {
        "walking": _walking, "crouching": _crouching, "arms_crossed": _arms_crossed, "hugging": _hugging,
        "half_hidden": _reaching,
    }[name](figures, np.arange(frames) / FPS, rng)  # fmt: skip
    hands = model.relaxed_hands.cpu().numpy()
    people = tuple(_known(figure, move, hands) for figure, move in zip(figures, moves, strict=False))
    rig = ring_rig(setting.cameras, radius=3.5, height=1.3, focal=1100.0)
    joints = np.stack([regress(model, regressor_for(model), _parameters(p)) for p in people], 1).astype(np.float64)
    seen = visible(rig, joints)  # (C, F, P, 19)
    if name == "half_hidden":
        seen[: round(2 * len(rig) / 3)] &= joints[..., 2] > 0.95  # a table: hips, legs and hanging hands are behind it
    tracks = tuple(observed(rig, joints[:, p], seen[:, :, p], setting, rng) for p in range(len(people)))
    return BodyScene(rig, people, tracks, 0.0 if name == "half_hidden" else "auto")


def true_outlines(model: BodyModel, rig: Rig, body: BodyTrack, frames: int = 4) -> list[Outline]:
    """Exact masks of a scene's body, unclothed and with nobody in front, in some of its frames."""
    from pipeline.body.silhouette import Outline
    from pipeline.export.bodies import posed_vertices
    from pipeline.raster_open3d import Open3DRaster

    found, raster = [], Open3DRaster(threads=1)
    for row in np.linspace(0, len(body.frames) - 1, frames).astype(int):
        vertices = posed_vertices(model, body, np.array([row]))[0]
        for c, camera in enumerate(rig.cameras):
            hit = raster.render(vertices, model.faces.cpu().numpy(), camera).hit
            y, x = np.nonzero(hit)
            if len(y):
                box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
                inside = hit[box[1] : box[3], box[0] : box[2]].astype(np.uint8) * 255
                found.append(Outline.of(int(row), c, inside, box))
    return [o for o in found if o is not None]


def observed(rig: Rig, joints: np.ndarray, seen: np.ndarray, setting: Setting, rng: np.random.Generator) -> Tracks:
    """What is reported of joints (F, 19, 3) of which cameras see (C, F, 19)."""
    pixels = project(rig.projections[None, :, None], joints[:, None])
    pixels = pixels + rng.normal(scale=setting.noise_px, size=pixels.shape)
    found = seen.swapaxes(0, 1) & (rng.random(pixels.shape[:3]) >= setting.missing)
    scores = np.where(found, rng.uniform(0.6, 1.0, found.shape), 0.0)
    pixels[~found] = np.nan
    located = triangulate(rig.projections, pixels.swapaxes(1, 2), scores.swapaxes(1, 2))
    frames, cameras = scores.shape[:2]
    confidence = np.where(np.isfinite(located[..., 0]), 0.9, 0.0)
    values = (a[:, None].astype(np.float32) for a in (located, confidence, pixels, scores, np.zeros_like(scores)))
    instances = np.zeros((frames, 1, cameras), np.int32)
    return Tracks(np.arange(frames), np.zeros(1, np.int32), *values, instances=instances)


@dataclass(frozen=True)
class _Figure:
    """A shape: ``rest`` (55, 3) joints, ``soles`` (2,) heights of the lowest points of the feet, ``front`` and ``back``
    metres from the chest's joint to the skin."""

    betas: np.ndarray
    rest: dict[str, np.ndarray]
    soles: np.ndarray
    front: float
    back: float

    @classmethod
    def of(cls, model: BodyModel, betas: np.ndarray) -> _Figure:
        template = (model.template + model.shapedirs[:, :, :10] @ model.template.new_tensor(betas)).cpu().numpy()
        joints = (model.joint_template + model.joint_shapedirs[:, :, :10] @ model.template.new_tensor(betas)).cpu()
        rest = dict(zip(SMPLX55.joints, joints.numpy().astype(np.float64), strict=True))
        soles = [template[template[:, 0] > 0, 1].min(), template[template[:, 0] < 0, 1].min()]
        chest = template[(np.abs(template[:, 1] - rest["spine3"][1]) < 0.12) & (np.abs(template[:, 0]) < 0.12), 2]
        depth = rest["spine3"][2]
        return cls(betas, rest, np.array(soles), float(chest.max() - depth), float(depth - chest.min()))


@dataclass
class _Move:
    """Local rotations of joints by name (a missing one is at rest), the pelvis in the world, and the translation."""

    pelvis: Rotation
    joints: dict[str, Rotation]
    transl: np.ndarray


def _turns(axis: str, degrees: np.ndarray | float, count: int) -> Rotation:
    return Rotation.from_euler(axis, np.broadcast_to(np.asarray(degrees, float), (count,))[:, None], degrees=True)


def _heading(angle: np.ndarray) -> Rotation:
    """The pelvis upright and facing a heading, radians from the world's x."""
    return Rotation.from_euler("z", np.asarray(angle)[:, None]) * Rotation.from_matrix(BODY_AXES)


def _known(figure: _Figure, move: _Move, hands: np.ndarray) -> BodyTrack:
    frames = len(move.transl)
    still = Rotation.identity(frames)
    pose = np.concatenate([move.joints.get(n, still).as_rotvec() for n in SMPLX55.joints[1:22]], 1)
    left, right = (np.tile(h.astype(np.float32), (frames, 1)) for h in (hands[:45], hands[45:]))
    none = np.zeros((frames, 10), np.float32)
    return BodyTrack(
        np.arange(frames), figure.betas.astype(np.float32), move.pelvis.as_rotvec().astype(np.float32),
        pose.astype(np.float32), left, right, none[:, :3], none,
        move.transl.astype(np.float32), np.ones(frames, bool), np.zeros(frames, np.int8), np.zeros(frames, np.float32),
    )  # fmt: skip


def _parameters(body: BodyTrack) -> dict[str, np.ndarray]:
    return {f: getattr(body, f) for f in ("global_orient", "body_pose", "transl", "betas")}


def _posed(figure: _Figure, move: _Move, *names: str) -> tuple[Rotation, np.ndarray]:
    """World rotation and position (F, 3) of the last of ``names``, a chain that starts below the pelvis."""
    turn, place, above = move.pelvis, figure.rest["pelvis"] + move.transl, "pelvis"
    for name in names:
        place = place + turn.apply(figure.rest[name] - figure.rest[above])
        turn, above = turn * move.joints.get(name, Rotation.identity(len(move.transl))), name
    return turn, place


def _stand(figure: _Figure, move: _Move, at: np.ndarray) -> _Move:
    """The move with the left ankle over the point ``at`` (2,) and its flat foot on the floor."""
    _, ankle = _posed(figure, move, "left_hip", "left_knee", "left_ankle")
    goal = np.array([*at, figure.rest["left_ankle"][1] - figure.soles[0]])
    return _Move(move.pelvis, move.joints, move.transl + goal - ankle)


def _squat(count: int, hip: np.ndarray | float, knee: np.ndarray | float, spread: float = 0.0) -> dict[str, Rotation]:
    """Legs bent alike with the feet flat; degrees of flexion, and how far the knees point outwards."""
    joints = {}
    for side, sign in (("left", 1), ("right", -1)):
        out = _turns("z", sign * spread, count)
        joints[f"{side}_hip"] = out * _turns("x", -np.asarray(hip), count)
        joints[f"{side}_knee"] = _turns("x", knee, count)
        joints[f"{side}_ankle"] = (joints[f"{side}_hip"] * joints[f"{side}_knee"]).inv()
    return joints


def _arms(count: int, down: float = 68.0, bend: float = 18.0) -> dict[str, Rotation]:
    joints = {}
    for side, sign in (("left", 1), ("right", -1)):
        joints[f"{side}_shoulder"] = _turns("z", -sign * down, count)
        joints[f"{side}_elbow"] = _turns("y", -sign * bend, count)
    return joints


def _walking(figures: list[_Figure], times: np.ndarray, rng: np.random.Generator) -> list[_Move]:
    """One person walks a swerve through the middle."""
    figure = figures[0]
    rest = np.array(list(figure.rest.values()))
    half = 0.5 * 1.15 * times[-1]
    path = Path(np.array([-half, -0.1 * half]), 0.1, 1.15, swerve=0.3)
    values = walk(rest, figure.soles, path, times, Gait.sample(rng), phase=rng.random())
    pose = values["body_pose"].reshape(len(times), 21, 3)
    joints = {n: Rotation.from_rotvec(pose[:, k]) for k, n in enumerate(SMPLX55.joints[1:22])}
    return [_Move(Rotation.from_rotvec(values["global_orient"]), joints, values["transl"])]


def _crouching(figures: list[_Figure], times: np.ndarray, rng: np.random.Generator) -> list[_Move]:
    """Down until the knees are bent by some 130 degrees and up again on feet that stay, arms forward for balance."""
    figure, count = figures[0], len(times)
    down = 0.5 - 0.5 * np.cos(2 * np.pi * times / 2.4)
    joints = _arms(count)
    for side, sign in (("left", 1), ("right", -1)):
        lowered = _turns("z", -sign * (68 - 40 * down), count)
        joints[f"{side}_shoulder"] = _turns("y", -sign * 35 * down, count) * lowered
    joints["spine1"] = joints["spine2"] = _turns("x", 12 * down, count)
    heading = _heading(0.4 + 0 * times)
    move = _Move(heading * _turns("x", 25 * down, count), joints, np.zeros((count, 3)))
    leg = np.ptp([figure.rest[j][1] for j in ("left_hip", "left_knee", "left_ankle")])
    for side, sign in (("left", 1), ("right", -1)):
        ankle = figure.rest["left_ankle"]
        foot = heading.apply([sign * 1.35 * ankle[0], ankle[1] - figure.soles[0], ankle[2]])
        if side == "left":
            above = heading.apply(np.stack([0 * down, 0.965 * leg - 0.58 * leg * down, -0.10 * down], 1))
            hip = move.pelvis.apply(figure.rest["left_hip"] - figure.rest["pelvis"]) * [0, 0, 1]
            move.transl += above - hip + [0, 0, foot[0, 2]] - figure.rest["pelvis"]
        _stand_on(figure, move, side, foot, heading, heading.apply([sign * 0.35, 0.0, 1.0]))
    return [move]


def _arms_crossed(figures: list[_Figure], times: np.ndarray, rng: np.random.Generator) -> list[_Move]:
    """Standing, the arms are folded in front of the chest and the trunk turns."""
    figure, count = figures[0], len(times)
    fold = np.clip(times / 0.8, 0, 1)
    fold = fold**2 * (3 - 2 * fold)
    joints = _squat(count, 3.0, 5.0)
    joints["spine2"] = _turns("y", 12 * np.sin(2 * np.pi * times / 2), count)
    move = _stand(figure, _Move(_heading(-0.6 + 0 * times), joints, np.zeros((count, 3))), np.zeros(2))
    chest, place = _posed(figure, move, "spine1", "spine2", "spine3")
    for side, sign, height, ahead in (("left", 1, 0.03, 0.14), ("right", -1, -0.06, 0.08)):
        folded = place + chest.apply([-sign * 0.09, height, figure.front + ahead])
        hanging = place + chest.apply([sign * 0.26, -0.42, 0.08])
        wrist = (1 - fold)[:, None] * hanging + fold[:, None] * folded
        out = chest.apply([sign * 0.8, -1.0, 0.3])
        _reach(figure, move, side, wrist, out)
    return [move]


def _hugging(figures: list[_Figure], times: np.ndarray, rng: np.random.Generator) -> list[_Move]:
    """Two people stand close, embrace and sway together; their feet stay."""
    count = len(times)
    close = np.clip(times / 1.0, 0, 1)
    close = close**2 * (3 - 2 * close)
    apart = figures[0].front + figures[1].front + 0.06
    sway = np.deg2rad(5) * np.sin(2 * np.pi * times / 1.7)
    facing = np.array([np.cos(0.3), np.sin(0.3), 0.0])
    aside = 0.06 * np.array([-facing[1], facing[0], 0.0])  # half a step, so that heads pass each other
    moves = []
    for k, (figure, sign) in enumerate(zip(figures, (-1, 1), strict=True)):
        upright = _heading(0.3 + np.pi * k + 0 * times)
        move = _Move(_heading(0.3 + np.pi * k + sway), {}, np.zeros((count, 3)))
        _, chest = _posed(figure, move, "spine1", "spine2", "spine3")
        place = sign * (0.5 * apart * facing + aside)
        move.transl += place - chest * [1, 1, 0] + [0, 0, -figure.soles[0] - 0.015]
        for side in ("left", "right"):
            foot = place + upright.apply(figure.rest[f"{side}_ankle"] * [1, 0, 1] - figure.rest["spine3"] * [0, 0, 1])
            foot[:, 2] = figure.rest["left_ankle"][1] - figure.soles[0]
            _stand_on(figure, move, side, foot, upright, upright.apply([0, 0, 1.0]))
        moves.append(move)
    for k, (figure, move) in enumerate(zip(figures, moves, strict=True)):
        other, theirs = figures[1 - k], moves[1 - k]
        own, _ = _posed(figure, move, "spine1", "spine2", "spine3")
        chest, place = _posed(other, theirs, "spine1", "spine2", "spine3")
        for side, sign, height in (("left", 1, 0.27), ("right", -1, -0.17)):
            around = place + chest.apply([-sign * 0.20, height, -0.5 * other.back - 0.08])
            open_arms = place + chest.apply([-sign * 0.46, height, 0.05])
            wrist = (1 - close)[:, None] * open_arms + close[:, None] * around
            _reach(figure, move, side, wrist, own.apply([sign * 1.0, -0.35, 0.0]))
    return moves


def _reaching(figures: list[_Figure], times: np.ndarray, rng: np.random.Generator) -> list[_Move]:
    """Standing, the trunk bends and turns, one arm reaches out."""
    figure, count = figures[0], len(times)
    swing = np.sin(2 * np.pi * times / 2.0)
    joints = _squat(count, 8 + 6 * swing, 12 + 10 * swing, spread=4) | _arms(count)
    joints["spine1"] = _turns("x", 8 + 6 * swing, count)
    joints["spine2"] = _turns("y", 14 * swing, count)
    joints["left_shoulder"] = _turns("y", -50 - 25 * swing, count) * _turns("z", -30.0, count)
    joints["head"] = _turns("y", -15 * swing, count)
    return [_stand(figure, _Move(_heading(0.9 + 0 * times), joints, np.zeros((count, 3))), np.array([0.1, -0.1]))]


def _stand_on(
    figure: _Figure, move: _Move, side: str, ankle: np.ndarray, foot: Rotation, pole: np.ndarray
) -> None:
    """Set hip, knee and ankle: the ankle is at (F, 3), the foot turned like ``foot``, the knee points to ``pole``."""
    _, hip = _posed(figure, move, f"{side}_hip")
    upper = figure.rest[f"{side}_knee"] - figure.rest[f"{side}_hip"]
    lower = figure.rest[f"{side}_ankle"] - figure.rest[f"{side}_knee"]
    knee = two_bone(hip, ankle, (float(np.linalg.norm(upper)), float(np.linalg.norm(lower))), pole)
    left = np.cross(knee - hip, ankle - hip)
    left *= np.sign((left * foot.apply([1.0, 0, 0])).sum(-1, keepdims=True))
    world = [_frame(d, left) * _frame(r[None], np.eye(3)[:1]).inv() for d, r in (
        (knee - hip, upper), (ankle - knee, lower)
    )]  # fmt: skip
    move.joints[f"{side}_hip"] = move.pelvis.inv() * world[0]
    move.joints[f"{side}_knee"] = world[0].inv() * world[1]
    move.joints[f"{side}_ankle"] = world[1].inv() * foot


def _reach(figure: _Figure, move: _Move, side: str, wrist: np.ndarray, pole: np.ndarray) -> None:
    """Set shoulder and elbow so that the wrist is at (F, 3); the elbow points towards ``pole`` (F, 3)."""
    chest, shoulder = _posed(figure, move, "spine1", "spine2", "spine3", f"{side}_collar", f"{side}_shoulder")
    chest, _ = _posed(figure, move, "spine1", "spine2", "spine3", f"{side}_collar")
    upper = figure.rest[f"{side}_elbow"] - figure.rest[f"{side}_shoulder"]
    lower = figure.rest[f"{side}_wrist"] - figure.rest[f"{side}_elbow"]
    elbow = two_bone(shoulder, wrist, (float(np.linalg.norm(upper)), float(np.linalg.norm(lower))), pole)
    wrist = elbow + np.linalg.norm(lower) * _unit(wrist - elbow)
    hinge = np.array([0.0, -1.0 if side == "left" else 1.0, 0.0])
    bend = np.cross(elbow - shoulder, wrist - elbow)
    world = [_frame(d, bend) * _frame(r[None], hinge[None]).inv() for d, r in (
        (elbow - shoulder, upper), (wrist - elbow, lower)
    )]  # fmt: skip
    move.joints[f"{side}_shoulder"] = chest.inv() * world[0]
    move.joints[f"{side}_elbow"] = world[0].inv() * world[1]


def _frame(along: np.ndarray, hinge: np.ndarray) -> Rotation:
    """Rotations whose first axis is ``along`` (F, 3) and whose second is as near ``hinge`` as that allows."""
    x = _unit(along)
    y = _unit(hinge - (hinge * x).sum(-1, keepdims=True) * x)
    return Rotation.from_matrix(np.stack([x, y, np.cross(x, y)], -1))


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)
