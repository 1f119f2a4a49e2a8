"""Where a body's skin goes when it is moved out to its clothes: along normals that are smooth over some centimetres.

Along the skin's own normals lips, toes and ears would burst when they are moved by more than their size; along smooth
ones they go together. Smoothing is one implicit step of diffusion over the skin (Desbrun et al. 1999), with cotangent
weights, so that it reaches as far where the mesh is fine as where it is coarse. What cannot be seen from outside (the
inside of the mouth) has no say and goes along.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from pipeline.meshes.geometry import vertex_areas, vertex_normals

REACH_M = 0.03
"""Over so much of the skin a direction is smooth, and an offset."""
_RAYS = 64
_LEAST = 1e-4  # of a vertex' say, so that pieces that are never seen are determined


class Outwards:
    """Smooth directions of a body in any pose, and offsets smoothed alike."""

    def __init__(self, rest: np.ndarray, faces: np.ndarray, reach_m: float = REACH_M) -> None:
        """``rest``: (V, 3) metres, at rest; faces (F, 3)."""
        self._rest, self.faces = np.asarray(rest, np.float64), np.asarray(faces, np.int64)
        self._spread = reach_m**2 * _stiffness(self._rest, self.faces)

    @cached_property
    def seen(self) -> np.ndarray:
        """(V,) bool, whether a vertex can be seen from anywhere outside."""
        from pipeline.raster_open3d import RayScene

        scene, normals = RayScene(self._rest, self.faces, threads=1), vertex_normals(self._rest, self.faces)
        k = np.arange(_RAYS) + 0.5  # evenly over the sphere (Vogel 1979)
        z, turn = 1 - 2 * k / _RAYS, np.pi * (1 + 5**0.5) * k
        flat = np.sqrt(1 - z**2)
        seen = np.zeros(len(self._rest), bool)
        for way in np.stack([flat * np.cos(turn), flat * np.sin(turn), z], 1).astype(np.float32):
            asked = np.flatnonzero(~seen & (normals @ way > 0.1))
            origins = (self._rest[asked] + 1e-4 * normals[asked]).astype(np.float32)
            free = scene.cast(origins, np.broadcast_to(way, origins.shape))["triangle"] < 0
            seen[asked[free]] = True
        return seen

    @cached_property
    def _say(self) -> np.ndarray:
        """(V,) square metres, how much each vertex counts."""
        return (vertex_areas(self._rest, self.faces) + 1e-12) * np.where(self.seen, 1.0, _LEAST)

    @cached_property
    def _solver(self):
        return splu((sparse.diags(self._say) + self._spread).tocsc())

    def directions(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) unit vectors of the body with vertices (V, 3), posed or not."""
        normals = vertex_normals(vertices, self.faces).astype(np.float64)
        smooth = self._solver.solve(self._say[:, None] * normals)
        length = np.linalg.norm(smooth, axis=1, keepdims=True)
        return np.where(length > 1e-6, smooth / np.maximum(length, 1e-6), normals)

    def moved(self, vertices: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """(V, 3) vertices of the body with its skin moved out by ``offsets`` (V,) metres."""
        return vertices + self.directions(vertices) * np.asarray(offsets)[:, None]

    def smoothed(self, values: np.ndarray, trust: np.ndarray) -> np.ndarray:
        """(V,) values as smooth as directions are, those that are trusted (V,) 0..1 little taken from around them."""
        say = self._say * np.maximum(trust, _LEAST)
        return splu((sparse.diags(say) + self._spread).tocsc()).solve(say * values)


def _stiffness(vertices: np.ndarray, faces: np.ndarray) -> sparse.csr_matrix:
    """(V, V), the cotangent Laplacian, rows summing to 0; weights that would be negative are 0."""
    rows, columns, weights = [], [], []
    for k in range(3):
        a, b, c = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        u, v = vertices[b] - vertices[a], vertices[c] - vertices[a]
        across = np.linalg.norm(np.cross(u, v), axis=1)
        weight = np.clip((u * v).sum(1) / np.maximum(across, 1e-12), 0, 20) / 2
        rows += [b, c]
        columns += [c, b]
        weights += [weight, weight]
    links = sparse.csr_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), (len(vertices),) * 2
    )
    return sparse.diags(np.asarray(links.sum(1)).ravel()) - links
