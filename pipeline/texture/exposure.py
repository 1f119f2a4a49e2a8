"""Exposure and white balance of the cameras against one another, from surface that several of them see."""

from __future__ import annotations

import numpy as np

DARKEST, BRIGHTEST = 12.0, 243.0
"""Colours outside are too noisy or clipped to compare."""
MOST_GAIN = 2.5
_ROUNDS = 12


def camera_gains(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Factors (C, 3) by which each camera's colour channels are multiplied to agree with the others; their geometric
    mean is 1.

    Least absolute differences of logarithms (iteratively reweighted), so that highlights and wrong places do not pull.
    A camera that shares nothing with the others keeps 1.

    Args:
        colours: (N, C, 3) of the same surface points. weights: (N, C), 0 where a camera does not see a point.
    """
    count = colours.shape[1]
    gains = np.ones((count, 3))
    usable = (weights[..., None] > 0) & (colours > DARKEST) & (colours < BRIGHTEST)
    for channel in range(3):
        good = usable[..., channel]
        logs = np.log(np.where(good, colours[..., channel], 1.0))
        first, second = np.triu_indices(count, 1)
        rows, a, b = [], [], []
        for i, j in zip(first, second, strict=True):
            both = good[:, i] & good[:, j]
            rows.append(logs[both, j] - logs[both, i])  # = g_i - g_j
            a.append(np.full(both.sum(), i))
            b.append(np.full(both.sum(), j))
        gains[:, channel] = np.exp(_solved(np.concatenate(rows), np.concatenate(a), np.concatenate(b), count))
    return np.clip(gains, 1 / MOST_GAIN, MOST_GAIN)


def _solved(differences: np.ndarray, a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    g = np.zeros(count)
    weight = np.ones(len(differences))
    for _ in range(_ROUNDS):
        matrix = np.zeros((count, count))
        np.add.at(matrix, (a, a), weight)
        np.add.at(matrix, (b, b), weight)
        np.add.at(matrix, (a, b), -weight)
        np.add.at(matrix, (b, a), -weight)
        right = np.bincount(a, weight * differences, count) - np.bincount(b, weight * differences, count)
        # The least of all solutions: the mean of cameras that are compared is 0, and so is one that is not.
        g = np.linalg.lstsq(matrix, right, rcond=1e-9)[0]
        weight = 1 / np.maximum(np.abs(g[a] - g[b] - differences), 0.02)
    return g
