"""Connected pieces of a surface."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def label_faces(faces: np.ndarray, vertices: int) -> np.ndarray:
    """(F,) int32, which piece each face belongs to; pieces share no vertex."""
    ends = faces[:, :2].T, faces[:, 1:].T
    rows, columns = np.concatenate([ends[0][0], ends[1][0]]), np.concatenate([ends[0][1], ends[1][1]])
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(vertices, vertices))
    return connected_components(graph, directed=False)[1][faces[:, 0]]


def kept_faces(vertices: np.ndarray, faces: np.ndarray, smallest: float, cavities: bool) -> np.ndarray:
    """(F,) bool: faces of pieces with at least ``smallest`` of the largest one's area.

    Args:
        vertices: (V, 3) metres. faces: (F, 3), counter-clockwise outside.
        cavities: whether pieces that enclose negative volume are kept.
    """
    if not len(faces):
        return np.zeros(0, bool)
    _, labels = np.unique(label_faces(faces, len(vertices)), return_inverse=True)
    a, b, c = (vertices[faces[:, i]].astype(np.float64) - vertices.mean(0) for i in range(3))
    normals = np.cross(b - a, c - a)
    areas = np.bincount(labels, np.linalg.norm(normals, axis=1) / 2)
    volumes = np.bincount(labels, (a * normals).sum(1) / 6)
    good = np.ones(len(areas), bool) if cavities else volumes >= 0
    if not good.any():
        return np.zeros(len(faces), bool)
    good &= areas >= smallest * areas[good].max()
    return good[labels]


def compact(vertices: int, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices (V',) of those of so many vertices that faces use, and the faces (F, 3) that name them."""
    used = np.zeros(vertices, bool)
    used[faces] = True
    number = np.cumsum(used) - 1
    return np.flatnonzero(used), number[faces]
