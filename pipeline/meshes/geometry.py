"""What every mesh format needs: a check before writing, normals, and axes."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from nets import meshes

Y_UP = np.array([0.0, 1.0, 0.0])


def check_mesh(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (F, 3) as float32 and int32.

    Raises:
        ValueError: wrong shapes, vertices that are not finite, or faces that point outside the vertices.
    """
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices have the shape {vertices.shape} instead of (V, 3)")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"faces have the shape {faces.shape} instead of (F, 3)")
    if not np.isfinite(vertices).all():
        raise ValueError(f"{int((~np.isfinite(vertices)).any(1).sum())} of {len(vertices)} vertices are not finite")
    if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise ValueError(f"faces use vertices {faces.min()} to {faces.max()} of a mesh of {len(vertices)}")
    return np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Smooth unit normals (V, 3) float32: the area-weighted mean of the triangles around each vertex.

    Triangles are counter-clockwise seen from outside. A vertex without any area gets +z, so that every normal has
    unit length, as file formats demand.
    """
    normals = meshes.vertex_normals(vertices, np.asarray(faces))
    return np.where(normals.any(1, keepdims=True), normals, (0.0, 0.0, 1.0)).astype(np.float32)


def vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V,) square metres that belong to each vertex: a third of each triangle's at its corners."""
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(area, 3), len(vertices))


def neighbours(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    """(count, count) sparse, 1 where two vertices share an edge of triangles (F, 3)."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    links = sparse.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))
    links.data[:] = 1.0
    return links


def y_up_from_world(up: np.ndarray) -> np.ndarray:
    """(3, 3) rotation from a world in which ``up`` (3,) points up to one in which +y does; the smallest such turn.

    For a z-up world that is (x, y, z) -> (x, z, -y). A world with y downwards turns half around x.
    """
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    cosine = float(up @ Y_UP)
    if cosine < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    x, y, z = np.cross(up, Y_UP)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)
