"""The body's joint tree in closed form: where the regressed points are, and how they move with every unknown.

Unknowns of a frame (N = 69): translation (3) and a right-multiplied turn of each of the 22 joints,
``R_j <- R_j exp(w_j)``. Unknowns of a track: 10 betas, then point offsets (``OffsetBasis``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from pipeline.body.parameters import BodyTrack
from pipeline.body.regressor import BODY_JOINTS, Regressor
from pipeline.body.rotations import exponential, skew
from pipeline.skeletons import SMPLX55_PARENTS

if TYPE_CHECKING:
    from nets.body import BodyModel

PARENTS = SMPLX55_PARENTS[:BODY_JOINTS]
UNKNOWNS = 3 + 3 * BODY_JOINTS


def _ancestry() -> np.ndarray:
    """(22, 22): entry [j, k] is 1 where k is j or above it in the tree."""
    matrix = np.eye(BODY_JOINTS)
    for j in range(1, BODY_JOINTS):
        matrix[j] += matrix[PARENTS[j]]
    return matrix


ANCESTRY = _ancestry()


@dataclass(frozen=True)
class State:
    """Parameters of F frames: transl (F, 3), rotations (F, 22, 3, 3), betas (10,), offsets (O,)."""

    transl: np.ndarray
    rotations: np.ndarray
    betas: np.ndarray
    offsets: np.ndarray

    def moved(self, step: np.ndarray, shared: np.ndarray) -> State:
        """After a step (F, 69) of the frames and (10 + O,) of the track."""
        turns = exponential(step[:, 3:].reshape(-1, BODY_JOINTS, 3))
        return State(
            self.transl + step[:, :3], self.rotations @ turns, self.betas + shared[:10], self.offsets + shared[10:]
        )

    def part(self, rows: slice | np.ndarray) -> State:
        return replace(self, transl=self.transl[rows], rotations=self.rotations[rows])


def state_of(body: BodyTrack, rows: np.ndarray) -> State:
    """Frames ``rows`` of a track, which must have parameters, without landmark offsets."""
    vectors = np.concatenate([body.global_orient[rows], body.body_pose[rows]], 1).reshape(-1, BODY_JOINTS, 3)
    return State(
        body.transl[rows].astype(np.float64), exponential(vectors.astype(np.float64)), body.betas.astype(np.float64),
        np.zeros(0),
    )  # fmt: skip


@dataclass(frozen=True)
class OffsetBasis:
    """How O unknowns move the offsets of K points: (K, 3, O). Left and right share theirs, mirrored."""

    matrix: np.ndarray

    @classmethod
    def none(cls, points: int) -> OffsetBasis:
        return cls(np.zeros((points, 3, 0)))

    @classmethod
    def symmetric(cls, regressor: Regressor) -> OffsetBasis:
        """Three unknowns a pair of mirrored points (x changes sign), two (y, z) a point on the midline."""
        mirror = regressor.joint_set.mirror
        columns = []
        for k, other in enumerate(mirror):
            if other < k:
                continue
            for axis in range(3):
                column = np.zeros((len(mirror), 3))
                if other == k and axis == 0:
                    continue
                column[k, axis] = 1.0
                column[other, axis] = -1.0 if axis == 0 else 1.0
                columns.append(column)
        return cls(np.stack(columns, -1))


class Kinematics:
    """Points of a regressor on one body model, with derivatives."""

    def __init__(self, model: BodyModel, regressor: Regressor, basis: OffsetBasis | None = None) -> None:
        self.regressor = regressor
        self.basis = basis or OffsetBasis.none(len(regressor.weights))
        self.rest_mean = model.joint_template[:BODY_JOINTS].cpu().numpy().astype(np.float64)
        self.rest_shape = model.joint_shapedirs[:BODY_JOINTS, :, :10].cpu().numpy().astype(np.float64)
        self._pose_shape = regressor.pose_shape.reshape(-1, regressor.pose_shape.shape[2]).T
        # Most points hang on one or two joints: keep the pairs that count.
        self._point, self._joint = np.nonzero(regressor.weights > 1e-6)
        self._weight = regressor.weights[self._point, self._joint]
        self._local = regressor.local[self._point, self._joint]
        self._local_shape = regressor.local_shape[self._point, self._joint]
        count, pairs = len(regressor.weights), np.arange(len(self._point))
        self._sum = csr_matrix((self._weight, (self._point, pairs)), (count, len(pairs)))
        # For lever arms: which pairs of each point lie below each joint, (K * 22, E), and how much of the point.
        below = np.nonzero(ANCESTRY[self._joint])
        rows = self._point[below[0]] * BODY_JOINTS + below[1]
        self._below = csr_matrix((self._weight[below[0]], (rows, below[0])), (count * BODY_JOINTS, len(pairs)))
        self._mass = np.asarray(self._below.sum(1)).reshape(count, BODY_JOINTS)

    @property
    def shared_count(self) -> int:
        return 10 + self.basis.matrix.shape[2]

    def rest(self, betas: np.ndarray) -> np.ndarray:
        """(22, 3) joints of the unposed body."""
        return self.rest_mean + self.rest_shape @ betas

    def joints(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (F, 22, 3, 3) world_from_joint and positions (F, 22, 3)."""
        rest = self.rest(state.betas)
        rotations, positions = np.empty_like(state.rotations), np.empty((*state.rotations.shape[:2], 3))
        rotations[:, 0], positions[:, 0] = state.rotations[:, 0], rest[0] + state.transl
        for j in range(1, BODY_JOINTS):
            p = PARENTS[j]
            rotations[:, j] = rotations[:, p] @ state.rotations[:, j]
            positions[:, j] = positions[:, p] + rotations[:, p] @ (rest[j] - rest[p])
        return rotations, positions

    def points(self, state: State) -> np.ndarray:
        """(F, K, 3) metres."""
        rotations, positions = self.joints(state)
        return self._summed(self._terms(state, rotations, positions)) + self._offset_points(state, rotations)

    def _summed(self, terms: np.ndarray, matrix: csr_matrix | None = None) -> np.ndarray:
        """Values (F, E, D) of pairs, summed to (F, rows of the matrix, D)."""
        matrix = self._sum if matrix is None else matrix
        frames, _, width = terms.shape
        flat = matrix @ terms.transpose(1, 0, 2).reshape(-1, frames * width)
        return flat.reshape(-1, frames, width).transpose(1, 0, 2)

    def _terms(self, state: State, rotations: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """(F, E, 3): every pair's point, as if it were rigid in the pair's joint alone."""
        local = self._local + self._local_shape @ state.betas
        if self._pose_shape.any():
            feature = (state.rotations[:, 1:] - np.eye(3)).reshape(len(rotations), -1)
            shaped = feature @ self._pose_shape
            local = local + shaped.reshape(len(rotations), -1, 3)[:, self._point]
        return (rotations[:, self._joint] @ np.broadcast_to(local, (len(rotations), *local.shape[-2:]))[..., None])[
            ..., 0
        ] + positions[:, self._joint]

    def _offset_points(self, state: State, rotations: np.ndarray) -> np.ndarray:
        offsets = self.regressor.offsets + self.basis.matrix @ state.offsets
        return (rotations[:, self.regressor.offset_bones] @ offsets[..., None])[..., 0]

    def linearised(self, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (F, K, 3), their derivatives by the frame's unknowns (F, K, 3, 69), by the track's (F, K, 3, 10 + O).

        Pose blend shapes count in the points; their small share of the derivative is left out.
        """
        rotations, positions = self.joints(state)
        frames, count = len(rotations), len(self.regressor.weights)
        terms = self._terms(state, rotations, positions)
        offset_points = self._offset_points(state, rotations)
        points = self._summed(terms) + offset_points

        # A turn w of joint j moves a point x below it by (R_j w) x (x - P_j): sum over the pairs below each joint.
        lever = self._summed(terms, self._below).reshape(frames, count, BODY_JOINTS, 3)
        if offset_points.any():
            lever = lever + ANCESTRY[self.regressor.offset_bones][None, :, :, None] * offset_points[:, :, None, :]
        lever = lever - self._mass[None, :, :, None] * positions[:, None]
        turning = -skew(lever) @ rotations[:, None]  # (F, K, 22, 3, 3)
        by_frame = np.empty((frames, count, 3, UNKNOWNS))
        by_frame[..., :3] = np.eye(3)
        by_frame[..., 3:] = turning.transpose(0, 1, 3, 2, 4).reshape(frames, count, 3, -1)

        by_track = np.empty((frames, count, 3, self.shared_count))
        by_track[..., :10] = self._by_betas(rotations)
        by_track[..., 10:] = rotations[:, self.regressor.offset_bones] @ self.basis.matrix
        return points, by_frame, by_track

    def _by_betas(self, rotations: np.ndarray) -> np.ndarray:
        """(F, K, 3, 10)."""
        moved = np.empty((len(rotations), BODY_JOINTS, 3, 10))
        moved[:, 0] = self.rest_shape[0]
        for j in range(1, BODY_JOINTS):
            p = PARENTS[j]
            moved[:, j] = moved[:, p] + rotations[:, p] @ (self.rest_shape[j] - self.rest_shape[p])
        terms = rotations[:, self._joint] @ self._local_shape + moved[:, self._joint]
        summed = self._summed(terms.reshape(*terms.shape[:2], 30))
        return summed.reshape(len(rotations), -1, 3, 10)
