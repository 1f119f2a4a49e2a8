"""Fewer triangles within a stated distance of the mesh that was there, and vertices that ride on another mesh.

Triangles are collapsed by quadric errors (Garland and Heckbert 1997, Open3D's), which state no distance; so the
distance is measured, from points of either surface to the other, and the fewest triangles that keep it are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.meshes.geometry import check_mesh, vertex_normals
from pipeline.raster import blend

SHARE = 0.999
"""Of the points measured, so many keep the bound: a crease between chin and neck does not decide for all the rest."""
COUNTS = tuple(round(500 * 2 ** (k / 3)) for k in range(26))
"""Numbers of triangles that are tried, up to 160 000."""
_COARSE = 24_000  # every mesh is first brought down to this, so that a trial costs little
_MOST_POINTS = 40_000


@dataclass(frozen=True)
class Simplified:
    """A mesh with fewer triangles: vertices (W, 3) float64 metres, faces (G, 3) int32.

    ``error_m``: within that distance lie ``SHARE`` of the points of either surface from the other, and ``farthest_m``
    the farthest.
    """

    vertices: np.ndarray
    faces: np.ndarray
    error_m: float = 0.0
    farthest_m: float = 0.0


def simplified(vertices: np.ndarray, faces: np.ndarray, bound_m: float, guess: int | None = None) -> Simplified:
    """The fewest triangles (of ``COUNTS``) whose surface is within ``bound_m`` of the one given, for ``SHARE`` of it.

    A mesh of several pieces keeps those that matter at that distance; borders stay where they are. Where nothing can be
    left out the mesh comes back as it is.

    Args:
        guess: triangles that a similar mesh needed; saves time and changes nothing.

    Raises:
        ValueError: no faces, or what ``check_mesh`` refuses.
    """
    check_mesh(vertices, faces)
    if not len(faces):
        raise ValueError("a mesh without faces cannot be simplified")
    whole = Simplified(np.asarray(vertices, np.float64), np.asarray(faces, np.int32))
    measure = _Measure(whole.vertices, whole.faces)
    trials: dict[int, Simplified] = {}
    coarse = _collapsed(whole.vertices, whole.faces, _COARSE) if len(faces) > 1.5 * _COARSE else None

    def keeps(k: int) -> bool:
        if k not in trials:
            start = coarse if coarse is not None and COUNTS[k] < _COARSE else (whole.vertices, whole.faces)
            trials[k] = measure(*_collapsed(*start, COUNTS[k]))
        return trials[k].error_m <= bound_m

    last = next((k for k, count in enumerate(COUNTS) if count >= len(faces)), len(COUNTS)) - 1
    k = _first(keeps, last, next((k for k, c in enumerate(COUNTS) if c >= (guess or 4000)), last))
    return whole if k is None else trials[k]


def _first(keeps: Callable[[int], bool], last: int, start: int) -> int | None:
    """The first k up to ``last`` that keeps the bound, walking from ``start``; None if none does."""
    if last < 0:
        return None
    k = min(start, last)
    while not keeps(k):
        k += 1
        if k > last:
            return None
    while k > 0 and keeps(k - 1):
        k -= 1
    return k


def _collapsed(vertices: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    import open3d as o3d

    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(np.ascontiguousarray(vertices, np.float64)),
        o3d.utility.Vector3iVector(np.ascontiguousarray(faces, np.int32)),
    )
    mesh = mesh.simplify_quadric_decimation(count)
    return np.asarray(mesh.vertices).copy(), np.asarray(mesh.triangles).astype(np.int32)


class _Measure:
    """Distances between a mesh and others that stand for it."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        from pipeline.raster_open3d import RayScene

        self._scene_of = RayScene
        self._scene = RayScene(vertices, faces, threads=1)
        self._points = _surface_points(vertices, faces)

    def __call__(self, vertices: np.ndarray, faces: np.ndarray) -> Simplified:
        if not len(faces):
            return Simplified(vertices, faces, np.inf, np.inf)
        back = _surface_points(vertices, faces)
        there = _distances(self._scene_of(vertices, faces, threads=1), self._points)
        return Simplified(vertices, faces, *_told(there, _distances(self._scene, back)))


def _surface_points(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Corners and middles of triangles, some of them where there are very many."""
    points = np.concatenate([vertices[np.unique(faces)], vertices[faces].mean(1)])
    return points[:: max(1, len(points) // _MOST_POINTS)]


def _distances(scene, points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(scene.nearest(points)["point"] - points, axis=1)


def _told(*distances: np.ndarray) -> tuple[float, float]:
    return max(float(np.quantile(d, SHARE)) for d in distances), max(float(d.max()) for d in distances)


@dataclass(frozen=True)
class Riding:
    """Vertices (K, 3) that ride on triangles of another mesh, wherever that one moves.

    Attributes:
        corners: (K, 3) vertices of the other mesh. weights: (K, 3), rows sum to 1. away: (K,) metres off its surface,
            along its normal. faces: (G, 3) of the K.
    """

    corners: np.ndarray
    weights: np.ndarray
    away: np.ndarray
    faces: np.ndarray

    @classmethod
    def of(cls, vertices: np.ndarray, carried_by: np.ndarray, faces: np.ndarray, carrier_faces: np.ndarray) -> Riding:
        """Vertices (K, 3) with their ``faces``, on the nearest places of the mesh ``carried_by`` (V, 3)."""
        from pipeline.raster_open3d import RayScene

        found = RayScene(carried_by, carrier_faces, threads=1).nearest(vertices)
        corners = carrier_faces[found["triangle"]]
        weights = np.column_stack([1 - found["uv"].sum(1), found["uv"]]).astype(np.float64)
        normals = _unit(blend(weights, corners, vertex_normals(carried_by, carrier_faces)))
        places = blend(weights, corners, np.asarray(carried_by, np.float64))
        return cls(corners, weights, ((vertices - places) * normals).sum(1), faces)

    def places(self, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """(K, 3) where they are when the other mesh has ``vertices`` (V, 3)."""
        normals = _unit(blend(self.weights, self.corners, vertex_normals(vertices, faces)))
        return self.values(np.asarray(vertices, np.float64)) + normals * self.away[:, None]

    def values(self, values: np.ndarray) -> np.ndarray:
        """(K, D) mixtures of what the other mesh's vertices (V, D) have."""
        return blend(self.weights, self.corners, values)


def riding_simplified(poses: Sequence[np.ndarray], faces: np.ndarray, bound_m: float) -> tuple[Riding, float] | None:
    """One light topology for a mesh in all its poses (V, 3), within ``bound_m`` in each of them as ``simplified`` has
    it, and the largest error; None if there is none."""
    for share in (1.0, 0.85, 0.6, 0.4):
        light = simplified(poses[0], faces, bound_m * share)
        riding = Riding.of(light.vertices, poses[0], light.faces, np.asarray(faces))
        errors = [_Measure(p, faces)(riding.places(p, faces), riding.faces).error_m for p in poses]
        if max(errors) <= bound_m:
            return riding, max(errors)
    return None


def _unit(directions: np.ndarray) -> np.ndarray:
    return directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
