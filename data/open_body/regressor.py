"""The joint regressor: joints as non-negative sparse combinations of vertices that hold for every shape."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from pipeline.skeletons import SMPLX55, SMPLX55_PARENTS

CANDIDATES, DEEP_CANDIDATES = 250, 800
"""Vertices nearest to the joint among those that move with it or its neighbours; more where joints lie deep."""
DEEP = tuple(
    SMPLX55.index(joint)
    for joint in "pelvis left_hip spine1 spine2 spine3 neck head jaw left_collar left_shoulder".split()
)
RING = 24
"""The distance of the nearest so many vertices is the unit in which a vertex is far."""
SMOOTHING = 2e-2
"""Metres: pull towards weights spread over the vertices around the joint, so that it does not hang on a few."""


def joint_regressor(
    weights: np.ndarray, basis: np.ndarray, joints: np.ndarray, still: np.ndarray, mirror: np.ndarray
) -> np.ndarray:
    """(55, V) rows that are non-negative and sum to one.

    A model is linear in its shape, so it is enough that the rows reproduce the joints of the template and their change
    with each shape component; for expressions (``still``) the joints must not move. MakeHuman's joint markers wander
    against the skin with shape (most at the spine, by 25 mm on average); rows of vertices around the joint, as here,
    follow the skin instead and so stay in the middle of it.

    Args:
        weights: (V, 55) skinning weights.
        basis: (1 + B, V, 3) template and shape components, metres.
        joints: (1 + B, 55, 3) their joints.
        still: (E, V, 3) expression components.
        mirror: (V,) vertex on the other side.
    """
    rows = np.zeros((len(SMPLX55), len(weights)))
    children = [np.flatnonzero(j == SMPLX55_PARENTS) for j in range(len(SMPLX55))]
    for joint, other in enumerate(SMPLX55.mirror):
        if other < joint:
            rows[joint] = rows[other, mirror]
            continue
        near = [joint, max(SMPLX55_PARENTS[joint], 0), *children[joint]]
        moving = weights[:, near].sum(1) > 0.4
        distance = np.linalg.norm(basis[0] - joints[0, joint], axis=-1)
        chosen = np.flatnonzero(moving)
        reach = DEEP_CANDIDATES if joint in DEEP else CANDIDATES
        chosen = chosen[np.argsort(distance[chosen], kind="stable")[:reach]]
        rows[joint, chosen] = _solve(basis[:, chosen], joints[:, joint], still[:, chosen], distance[chosen])
        if other == joint:
            rows[joint] = 0.5 * (rows[joint] + rows[joint, mirror])
    rows = np.where(rows < 1e-6, 0.0, rows).round(7)
    return rows / rows.sum(1, keepdims=True)


def _solve(basis: np.ndarray, joint: np.ndarray, still: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Weights (C,) with Σ w = 1 and Σ w·basis ≈ joint, by non-negative least squares; far vertices cost more."""
    count = basis.shape[1]
    centred = np.concatenate([basis - joint[:, None], still]).transpose(0, 2, 1).reshape(-1, count)
    cost = 0.5 * SMOOTHING * (1.0 + (distance / distance[min(RING, count) - 1]) ** 2)
    matrix = np.vstack([centred, np.diag(cost), np.ones((1, count))])
    values, _ = nnls(matrix, np.r_[np.zeros(len(matrix) - 1), 1.0])
    return values / values.sum()
