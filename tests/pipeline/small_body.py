"""A small body in SMPL-X format for tests: an octahedron around each of the 55 joints of a rough upright figure."""

from __future__ import annotations

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.skeletons import SMPLX55_PARENTS

_OCTAHEDRON = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
_SIDES = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])


def small_body_arrays(influences: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays as in an ``SMPLX_*.npz``: 330 vertices, each moved by ``influences`` joints, no pose shapes."""
    rng = np.random.default_rng(seed)
    joints = np.zeros((55, 3))
    for j in range(1, 55):
        joints[j] = joints[SMPLX55_PARENTS[j]] + rng.normal(size=3) * 0.12 + (0, 0.05, 0)
    vertices = (joints[:, None] + 0.05 * _OCTAHEDRON).reshape(-1, 3)
    weights = np.zeros((len(vertices), 55))
    for v in range(len(vertices)):
        joint = v // 6
        others = rng.permutation(np.delete(np.arange(55), joint))[: influences - 1]
        weights[v, joint] = 4.0
        weights[v, others] = rng.uniform(0.1, 1.0, len(others))
    return {
        "v_template": vertices,
        "shapedirs": rng.normal(size=(len(vertices), 3, 20)) * 0.005,
        "J_regressor": np.kron(np.eye(55), np.full((1, 6), 1 / 6)),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.stack([SMPLX55_PARENTS, np.arange(55)]),
        "f": (np.arange(55)[:, None, None] * 6 + _SIDES).reshape(-1, 3),
    }


def moving_body(frames: np.ndarray, seed: int = 0, absent: tuple[int, ...] = ()) -> BodyTrack:
    """A track with smooth random motion; the frames in ``absent`` are not valid and hold NaN."""
    rng = np.random.default_rng(seed)
    frames = np.asarray(frames, np.int64)
    n = len(frames)
    valid = ~np.isin(frames, absent)

    def swing(width: int, size: float) -> np.ndarray:
        phase, rate = rng.uniform(0, 6, width), rng.uniform(0.1, 0.6, width)
        values = size * np.sin(phase + rate * np.arange(n)[:, None])
        return np.where(valid[:, None], values, np.nan).astype(np.float32)

    turns = np.where(valid, 0.5 * np.arange(n), np.nan).astype(np.float32)  # more than once around: signs must not jump
    return BodyTrack(
        frames=frames,
        betas=rng.normal(size=10).astype(np.float32),
        global_orient=np.stack([turns, 0.3 * turns, 0 * turns], -1),
        body_pose=swing(63, 0.7),
        left_hand_pose=swing(45, 0.3),
        right_hand_pose=swing(45, 0.3),
        jaw_pose=swing(3, 0.1),
        expression=np.where(valid[:, None], 0.0, np.nan).repeat(10, 1).astype(np.float32),
        transl=swing(3, 1.5) + np.array([0, 0, 1], np.float32),
        valid=valid,
        reason=np.where(valid, 0, 1).astype(np.int8),
        fit_error_m=np.where(valid, 0.02, np.nan).astype(np.float32),
    )
