"""Hand pose space: a relaxed mean and an orthonormal basis whose first vectors are the natural synergies."""

from __future__ import annotations

import numpy as np

RELAXED_CURL = np.radians([18.0, 22.0, 14.0])
"""Flexion of the three joints of each finger in a hanging hand."""
_FINGERS = 5
_THUMB = 4  # index, middle, pinky, ring, thumb


def hand_arrays() -> dict[str, np.ndarray]:
    """``hands_componentsl/r`` (45, 45), one component a row, and ``hands_meanl/r`` (45,) axis-angle radians.

    In T-pose a finger curls about the axis that points forwards (z): by negative angles on the left, positive ones on
    the right.
    """
    flexion = np.zeros((_FINGERS, 3, 3))
    flexion[:, :, 2] = -1.0
    flexion[_THUMB] = np.array([0.35, -0.85, -0.35]) / np.linalg.norm([0.35, -0.85, -0.35])
    mean = (flexion * RELAXED_CURL[None, :, None]).copy()
    mean[_THUMB] *= 0.4
    spread = np.zeros((_FINGERS, 3, 3))
    spread[[0, 2, 3], 0, 1] = [-1.0, 1.0, 0.5]
    seeds = [flexion * (np.arange(_FINGERS) != _THUMB)[:, None, None]]
    seeds += [flexion * (np.arange(_FINGERS) == f)[:, None, None] for f in (_THUMB, 0, 1, 3)]
    seeds.append(spread)
    basis = _completed(np.array([s.ravel() for s in seeds]))
    turn = np.tile([1.0, -1.0, -1.0], 15)  # mirror image of a rotation through x = 0
    return {
        "hands_componentsl": basis.round(9),
        "hands_componentsr": (basis * turn).round(9),
        "hands_meanl": mean.ravel().round(9),
        "hands_meanr": (mean.ravel() * turn).round(9),
    }


def _completed(seeds: np.ndarray) -> np.ndarray:
    """Orthonormal basis of R^45 that starts with the span of ``seeds``, in order (Gram-Schmidt)."""
    basis: list[np.ndarray] = []
    for vector in (*seeds, *np.eye(seeds.shape[1])):
        rest = vector - sum((b * (b @ vector) for b in basis), np.zeros_like(vector))
        rest -= sum((b * (b @ rest) for b in basis), np.zeros_like(vector))
        if np.linalg.norm(rest) > 1e-6:
            basis.append(rest / np.linalg.norm(rest))
    return np.array(basis)
