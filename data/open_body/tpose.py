"""Re-posing MakeHuman's rest figure (arms hanging at 45°, elbows and fingers bent, feet apart) into the T-pose.

Every rotation follows from the figure's own joints, so that each shape reaches the same pose: upper arms along ±x with
the elbow crease facing forward, palms down, fingers straight, legs nearly vertical. The left side is worked out and the
right mirrored.
"""

from __future__ import annotations

import numpy as np

from data.open_body.makehuman import MIRROR, BaseMesh, Rig, other_side
from data.open_body.rotations import between, frame, from_axis_angle

CLAVICLE_RAISE = np.radians(6.0)
SHOULDER_RAISE = np.radians(6.0)
"""How far the shoulder girdle rises with the arm; without it the top of the shoulder folds."""
LEG_SPREAD = np.radians(2.5)
"""Angle of the line from hip to ankle against the vertical, about that of SMPL-X."""
FINGER_SPLAY = 0.5
"""Share of the fingers' sideways spread that is kept."""

Motion = tuple[np.ndarray, np.ndarray]
"""Rotation (n, 3, 3) and translation (n, 3) of a bone: ``x → R x + t``."""


def to_tpose(mesh: BaseMesh, rig: Rig, positions: np.ndarray) -> np.ndarray:
    """Positions (n, N, 3) of symmetric figures → the same vertices in T-pose.

    Helper vertices inside the body (joint markers) follow the bone that starts in them, so joints come out exactly.
    """
    motions = _left_motions(rig, positions)
    motions |= {other_side(bone): _mirrored(motion) for bone, motion in motions.items()}
    posed = positions.copy()
    groups: dict[int, tuple[Motion, np.ndarray]] = {}
    for bone, motion in motions.items():
        weight = rig.weights[:, rig.bones.index(bone)]
        shared = groups.get(id(motion[0]))
        groups[id(motion[0])] = (motion, weight if shared is None else shared[1] + weight)
    for (rotation, translation), weight in groups.values():
        rows = np.flatnonzero(weight > 0)
        here = positions[:, rows]
        moved = here @ np.swapaxes(rotation, -1, -2) + translation[:, None]
        posed[:, rows] += weight[rows, None] * (moved - here)
    inside = np.concatenate([ids for name, ids in mesh.groups.items() if name.startswith("joint-")])
    for bone, (rotation, translation) in motions.items():
        markers = np.intersect1d(rig.heads[bone], inside)
        posed[:, markers] = positions[:, markers] @ np.swapaxes(rotation, -1, -2) + translation[:, None]
    return posed


def _mirrored(motion: Motion) -> Motion:
    rotation, translation = motion
    return rotation * np.outer(MIRROR, MIRROR), translation * MIRROR


def _about(pivot: np.ndarray, rotation: np.ndarray, parent: Motion | None = None) -> Motion:
    """The motion that turns by ``rotation`` and takes ``pivot`` where its parent bone takes it."""
    carried = pivot if parent is None else np.einsum("nij,nj->ni", parent[0], pivot) + parent[1]
    return rotation, carried - np.einsum("nij,nj->ni", rotation, pivot)


def _left_motions(rig: Rig, positions: np.ndarray) -> dict[str, Motion]:
    return _left_arm(rig, positions) | _left_leg(rig, positions)


def _left_arm(rig: Rig, positions: np.ndarray) -> dict[str, Motion]:
    def at(bone: str) -> np.ndarray:
        return rig.head(f"{bone}.L", positions)

    count = len(positions)
    x, y, z = (np.broadcast_to(axis, (count, 3)) for axis in np.eye(3))
    shoulder, elbow, wrist = at("upperarm01"), at("lowerarm01"), at("wrist")
    hinge = np.cross(elbow - shoulder, wrist - elbow)
    straight = np.swapaxes
    motions: dict[str, Motion] = {}
    motions["clavicle"] = _about(at("clavicle"), from_axis_angle(CLAVICLE_RAISE * z))
    motions["shoulder01"] = _about(
        at("shoulder01"), from_axis_angle((CLAVICLE_RAISE + SHOULDER_RAISE) * z), motions["clavicle"]
    )
    upper = frame(x, -y) @ straight(frame(elbow - shoulder, hinge), -1, -2)
    fore = frame(x, -y) @ straight(frame(wrist - elbow, hinge), -1, -2)
    across = at("finger2-1") - at("finger5-1")
    hand = frame(x, z) @ straight(frame(at("finger3-1") - wrist, across), -1, -2)
    motions["upperarm01"] = motions["upperarm02"] = _about(shoulder, upper, motions["shoulder01"])
    motions["lowerarm01"] = _about(elbow, fore, motions["upperarm01"])
    # the twist of palm against elbow spreads over the forearm, as in the living one
    motions["lowerarm02"] = _about(elbow, _half_twist(fore, hand), motions["upperarm01"])
    motions["wrist"] = _about(wrist, hand, motions["lowerarm01"])
    for bone in ("metacarpal1", "metacarpal2", "metacarpal3", "metacarpal4", "finger1-1", "finger1-2", "finger1-3"):
        motions[bone] = motions["wrist"]
    for finger in range(2, 6):
        motions |= _straight_finger(rig, positions, finger, motions["wrist"])
    return {f"{bone}.L": motion for bone, motion in motions.items()}


def _half_twist(fore: np.ndarray, hand: np.ndarray) -> np.ndarray:
    """Forearm rotation plus half of the hand's turn about the arm's axis (x)."""
    relative = hand @ np.swapaxes(fore, -1, -2)
    angle = np.arctan2(relative[:, 2, 1] - relative[:, 1, 2], relative[:, 1, 1] + relative[:, 2, 2])
    return from_axis_angle(0.5 * angle[:, None] * np.array([1.0, 0.0, 0.0])) @ fore


def _straight_finger(rig: Rig, positions: np.ndarray, finger: int, hand: Motion) -> dict[str, Motion]:
    """The three bones of a finger laid in one horizontal line."""
    names = [f"finger{finger}-{k}.L" for k in (1, 2, 3)]
    knuckle = rig.head(names[0], positions)
    turned = np.einsum("nij,nj->ni", hand[0], rig.tail(names[0], positions) - knuckle)
    line = np.stack([turned[:, 0], np.zeros(len(turned)), FINGER_SPLAY * turned[:, 2]], -1)
    motions, parent = {}, hand
    for name in names:
        start, end = rig.head(name, positions), rig.tail(name, positions)
        aim = between(np.einsum("nij,nj->ni", hand[0], end - start), line)
        parent = motions[name.removesuffix(".L")] = _about(start, aim @ hand[0], parent)
    return motions


def _left_leg(rig: Rig, positions: np.ndarray) -> dict[str, Motion]:
    hip, ankle = rig.head("upperleg01.L", positions), rig.head("foot.L", positions)
    line = ankle - hip
    angle = np.arctan2(line[:, 0], -line[:, 1]) - LEG_SPREAD
    count = len(positions)
    leg = _about(hip, from_axis_angle(-angle[:, None] * np.array([0.0, 0.0, 1.0])))
    foot = _about(ankle, np.broadcast_to(np.eye(3), (count, 3, 3)), leg)
    bones = {f"{bone}.L": leg for bone in ("upperleg01", "upperleg02", "lowerleg01", "lowerleg02")}
    toes = [bone for bone in rig.bones if bone.startswith("toe") and bone.endswith(".L")]
    return bones | dict.fromkeys(["foot.L", *toes], foot)
