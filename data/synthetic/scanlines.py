"""Which points of a square grid lie in which triangles of a plane. Numpy alone."""

from __future__ import annotations

import numpy as np


def covering(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Grid points (integers) inside triangles.

    Args:
        triangles: (T, 3, 2) corners. Of two triangles on the two sides of an edge whose ends they share exactly, one
            and only one holds a point near it (points exactly on it aside).

    Returns:
        which (K,) triangle, its points ``i`` (K,) and ``j`` (K,), weights (K, 3) of its corners there, and whether it
        runs counter-clockwise (K,).
    """
    low = np.ceil(triangles.min(1)).astype(np.int64)
    span = np.maximum(np.floor(triangles.max(1)).astype(np.int64) - low + 1, 0)
    number = span.prod(1)
    which = np.repeat(np.arange(len(triangles)), number)
    within = np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number)
    wide = np.maximum(span[which, 1], 1)
    i, j = low[which, 0] + within // wide, low[which, 1] + within % wide
    x, y = i.astype(np.float64), j.astype(np.float64)
    sides = [_side(triangles[:, p], triangles[:, q], which, x, y) for p, q in ((1, 2), (2, 0), (0, 1))]
    up = sides[0] > 0
    hit = (up == (sides[1] > 0)) & (up == (sides[2] > 0))
    hit &= (sides[0] + sides[1] + sides[2]) != 0
    weights = np.stack([s[hit] for s in sides], 1)
    return which[hit], i[hit], j[hit], weights / weights.sum(1, keepdims=True), up[hit]


def _side(p: np.ndarray, q: np.ndarray, which: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(K,) twice the area of p, q, point; exactly the opposite for q, p, so that shared edges are seen alike."""
    swap = (p[:, 0] > q[:, 0]) | ((p[:, 0] == q[:, 0]) & (p[:, 1] > q[:, 1]))
    a, b = np.where(swap[:, None], q, p), np.where(swap[:, None], p, q)
    sign = np.where(swap, -1.0, 1.0)
    dx, dy = sign * (b[:, 0] - a[:, 0]), sign * (b[:, 1] - a[:, 1])
    return dx[which] * (y - a[which, 1]) - dy[which] * (x - a[which, 0])
