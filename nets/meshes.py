"""Normals of triangle meshes."""

from __future__ import annotations

from typing import Literal

import numpy as np


def vertex_normals(
    vertices: np.ndarray, faces: np.ndarray, by: Literal["area", "angle"] = "area", weld: np.ndarray | None = None
) -> np.ndarray:
    """(V, 3) float64 unit normals, to the side from which triangles run counter-clockwise; zero where there are none.

    Args:
        vertices: (V, 3). faces: (T, 3).
        by: what each triangle counts at a vertex: its area, for smooth shading; or its angle, with which the side of a
            point that is nearest to the vertex is right at sharp corners too (Baerentzen and Aanaes 2005).
        weld: (V,) numbers; vertices with the same one share their normal.
    """
    vertices = np.asarray(vertices, np.float64)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    edges = b - a, c - b, a - c
    (x0, y0, z0), (x1, y1, z1) = edges[0].T, edges[1].T
    across = np.stack([y0 * z1 - z0 * y1, z0 * x1 - x0 * z1, x0 * y1 - y0 * x1], 1)
    if by == "angle":
        across /= np.maximum(_lengths(across), 1e-30)[:, None]
        lengths = [_lengths(e) for e in edges]
        cosines = [
            -np.einsum("ij,ij->i", edges[k], edges[k - 1]) / np.maximum(lengths[k] * lengths[k - 1], 1e-30)
            for k in range(3)
        ]
        weights = [np.arccos(np.clip(x, -1, 1)) for x in cosines]
    else:
        weights = [np.ones(len(across))] * 3
    corners = faces if weld is None else weld[faces]
    count = len(vertices) if weld is None else int(weld.max()) + 1
    sums = np.zeros((count, 3))
    for k in range(3):
        for axis in range(3):
            sums[:, axis] += np.bincount(corners[:, k], weights[k] * across[:, axis], count)
    sums /= np.maximum(_lengths(sums), 1e-30)[:, None]
    return sums if weld is None else sums[weld]


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
