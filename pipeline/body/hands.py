"""A hand of an SMPL-X body as a part that cameras see: where its joints and finger tips are, and how they move.

Unknowns of a frame: a turn of the whole hand against the fitted body's (3, rotation vector), a shift of it (3, metres),
which says only that the body's wrist is not exact, and 21 anatomical angles: of each finger the flexion of its three
joints and its spread, of the thumb five.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.rotations import exponential, logarithm_jacobian, skew
from pipeline.skeletons import SMPLX55

if TYPE_CHECKING:
    from nets.body import BodyModel

FINGERS = ("index", "middle", "pinky", "ring", "thumb")
"""In the order of ``left_hand_pose``."""
ANGLES = 4 * 4 + 5
TURN, SHIFT = slice(0, 3), slice(3, 6)
FIRST_ANGLE = 6

_DEGREES = {  # mean is the relaxed hand's; deviation, least and greatest of each kind of angle
    "flexion": (35.0, -25.0, 105.0),
    "spread": (10.0, -25.0, 25.0),
    "thumb": (20.0, -50.0, 70.0),
}
TURN_DEVIATION = np.radians([60.0, 30.0, 30.0])
"""Of the hand against what the fit without hands says: about the forearm it knows next to nothing."""
SHIFT_DEVIATION = 0.015
SLOW_TURN, SLOW_SHIFT, SLOW_ANGLE = 80.0, 3.0, 120.0
"""Typical accelerations: rad/s^2, m/s^2, rad/s^2."""


def _angle_table() -> tuple[np.ndarray, list[str]]:
    """(45, 21) directions in the left hand's pose, and the kind of each angle.

    In the T-pose a finger flexes about -z and spreads about y; the thumb flexes about an axis of its own and also turns
    about the two axes across it at its root.
    """
    columns, kinds = [], []

    def add(finger: int, joint: int, axis: np.ndarray, kind: str) -> None:
        column = np.zeros((5, 3, 3))
        column[finger, joint] = axis / np.linalg.norm(axis)
        columns.append(column.ravel())
        kinds.append(kind)

    thumb = np.array([0.35, -0.85, -0.35])
    for finger in range(5):
        flexion = thumb if finger == 4 else np.array([0.0, 0.0, -1.0])
        for joint in range(3):
            add(finger, joint, flexion, "thumb" if finger == 4 else "flexion")
        if finger < 4:
            add(finger, 0, np.array([0.0, 1.0, 0.0]), "spread")
    across = np.cross(thumb, [1.0, 0.0, 0.0])
    add(4, 0, across, "thumb")
    add(4, 0, np.cross(thumb, across), "thumb")
    return np.stack(columns, 1), kinds


class Hand:
    """Points of one hand, the wrist first, then of each finger its three joints and its tip.

    Attributes:
        names: of the points: ``<side>_hand_root``, ``<side>_index1`` ... ``<side>_index`` (the tip) and so on.
        rigid: (21,) bool, those that hardly move against the wrist.
        mean, deviation, low, high, acceleration: as ``pipeline.body.series.Part`` has them.
    """

    def __init__(
        self, model: BodyModel, side: str, betas: np.ndarray, rotations: np.ndarray, positions: np.ndarray
    ) -> None:
        """``rotations`` (F, 3, 3) and ``positions`` (F, 3) of the fitted body's wrist in the world."""
        self.rotations, self.positions = rotations, positions
        wrist = SMPLX55.index(f"{side}_wrist")
        first = SMPLX55.index(f"{side}_index1")
        joints = _numpy(model.joint_template) + _numpy(model.joint_shapedirs)[..., :10] @ betas
        tips = np.array([model.keypoint_vertices[f"{side}_{finger}"] for finger in FINGERS])
        skin = _numpy(model.template[tips]) + _numpy(model.shapedirs[tips])[..., :10] @ betas
        chain = np.concatenate([joints[first : first + 15].reshape(5, 3, 3), skin[:, None]], 1) - joints[wrist]
        self._bones = np.diff(chain, axis=1, prepend=0.0)  # (5, 4, 3)
        hands = _numpy(model.relaxed_hands)
        mirror = np.tile([1.0, -1.0, -1.0], 15)  # the image of a rotation in the plane x = 0
        table, kinds = _angle_table()
        self._pose = hands[:45] if side == "left" else hands[45:]
        self._table = table if side == "left" else table * mirror[:, None]
        named = [f"{side}_{f}{k}" for f in FINGERS for k in ("1", "2", "3", "")]
        self.names = (f"{side}_hand_root", *named)
        self.rigid = np.array([n.endswith(("root", "1", "thumb2")) for n in self.names])
        spread, low, high = (np.radians([_DEGREES[k][i] for k in kinds]) for i in range(3))
        relaxed = table.T @ hands[:45]
        self.mean = np.zeros(FIRST_ANGLE + ANGLES)
        self.deviation = np.concatenate([TURN_DEVIATION, np.full(3, SHIFT_DEVIATION), spread])
        none = np.full(FIRST_ANGLE, np.inf)
        self.low, self.high = np.concatenate([-none, low - relaxed]), np.concatenate([none, high - relaxed])
        self.acceleration = np.concatenate(
            [np.full(3, SLOW_TURN), np.full(3, SLOW_SHIFT), np.full(ANGLES, SLOW_ANGLE)]
        )

    def pose(self, unknowns: np.ndarray) -> np.ndarray:
        """(F, 45) axis-angle as in ``left_hand_pose``."""
        return self._pose + unknowns[:, FIRST_ANGLE:] @ self._table.T

    def turned(self, unknowns: np.ndarray) -> np.ndarray:
        """(F, 3, 3) the hand in the world."""
        return self.rotations @ exponential(unknowns[:, TURN])

    def still(self) -> np.ndarray:
        """(21, 3) the relaxed hand about its wrist, unturned."""
        relaxed = self._forward(self.mean[None].repeat(len(self.rotations), 0))[0][0]
        return (relaxed - relaxed[0]) @ self.rotations[0]

    def points(self, unknowns: np.ndarray) -> np.ndarray:
        return self._forward(unknowns)[0]

    def _forward(self, unknowns: np.ndarray):
        """Points (F, 21, 3), rotations (F, 5, 3, 3, 3) of the finger joints, rotation vectors (F, 5, 3, 3)."""
        frames = len(unknowns)
        vectors = self.pose(unknowns).reshape(frames, 5, 3, 3)
        local = exponential(vectors)
        wrist = self.turned(unknowns)
        place = np.broadcast_to((self.positions + unknowns[:, SHIFT])[:, None], (frames, 5, 3))
        rotation = np.broadcast_to(wrist[:, None], (frames, 5, 3, 3))
        points, rotations = [], []
        for k in range(4):
            place = place + (rotation @ self._bones[None, :, k, :, None])[..., 0]
            points.append(place)
            if k < 3:
                rotation = rotation @ local[:, :, k]
                rotations.append(rotation)
        fingers = np.stack(points, 2).reshape(frames, 20, 3)
        root = (self.positions + unknowns[:, SHIFT])[:, None]
        return np.concatenate([root, fingers], 1), np.stack(rotations, 2), vectors

    def linearised(self, unknowns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        points, rotations, vectors = self._forward(unknowns)
        frames = len(unknowns)
        slope = np.zeros((frames, 21, 3, len(self.mean)))
        turn = self.turned(unknowns) @ np.linalg.inv(logarithm_jacobian(unknowns[:, TURN]))
        slope[..., TURN] = -skew(points - points[:, :1]) @ turn[:, None]
        slope[..., SHIFT] = np.eye(3)
        # A turn of a finger's joint k moves the points beyond it.
        axes = rotations @ np.linalg.inv(logarithm_jacobian(vectors))  # (F, 5, 3, 3, 3)
        fingers = points[:, 1:].reshape(frames, 5, 4, 3)
        by_pose = np.zeros((frames, 5, 4, 3, 5, 3, 3))
        for finger in range(5):
            for k in range(3):
                lever = fingers[:, finger, k + 1 :] - fingers[:, finger, k, None]
                by_pose[:, finger, k + 1 :, :, finger, k] = -skew(lever) @ axes[:, finger, k, None]
        slope[:, 1:, :, FIRST_ANGLE:] = by_pose.reshape(frames, 20, 3, 45) @ self._table
        return points, slope


def _numpy(tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)
