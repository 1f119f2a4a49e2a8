"""Fewer triangles within a stated distance of the mesh that was there.

Triangles are collapsed by quadric errors (Garland and Heckbert 1997), which state no distance; so the distance is
measured, from points of either surface to the other, and the fewest triangles that keep it are taken. Large meshes are
first brought down by fast_simplification, which takes edges below rising thresholds instead of keeping them in order
and needs a tenth of the time; the order, Open3D's, decides among the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.meshes.geometry import check_mesh

SHARE = 0.999
"""Of the points measured, so many keep the bound: a crease between chin and neck does not decide for all the rest."""
COUNTS = tuple(round(500 * 2 ** (k / 3)) for k in range(26))
"""Numbers of triangles that are tried, up to 160 000."""
_COARSE = 24_000  # every mesh is first brought down to this, so that a trial costs little
_PATIENCE = 5  # how fast thresholds rise there: at 7 errors are twice as large, below nothing is gained
_POINTS = 40_000


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
    measure = Measure(whole.vertices, whole.faces)
    trials: dict[int, Simplified] = {}
    coarse = _coarse(whole.vertices, whole.faces) if len(faces) > 1.5 * _COARSE else None

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


def _coarse(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """About ``_COARSE`` triangles of a mesh, its borders as they are."""
    import fast_simplification

    points, triangles = np.ascontiguousarray(vertices, np.float64), np.ascontiguousarray(faces, np.int32)
    found = fast_simplification.simplify(
        points, triangles, target_count=_COARSE, agg=_PATIENCE, preserve_border=True
    )
    return found[0].astype(np.float64), found[1].astype(np.int32)


def _collapsed(vertices: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    import open3d as o3d

    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(np.ascontiguousarray(vertices, np.float64)),
        o3d.utility.Vector3iVector(np.ascontiguousarray(faces, np.int32)),
    )
    mesh = mesh.simplify_quadric_decimation(count)
    return np.asarray(mesh.vertices).copy(), np.asarray(mesh.triangles).astype(np.int32)


class Measure:
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
    """Points spread evenly over the surface by area, the same for the same mesh: no triangle's share of them is by more
    than one from its share of the surface."""
    corners = np.asarray(vertices, np.float64)[faces]
    along, across = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.cumsum(np.linalg.norm(np.cross(along, across), axis=1))
    number = np.arange(_POINTS)
    at = np.minimum(np.searchsorted(area, (number + 0.5) / _POINTS * area[-1]), len(faces) - 1)
    u, v = (number * 0.7548776662466927) % 1, (number * 0.5698402909980532) % 1  # the R2 sequence (Roberts 2018)
    over = u + v > 1
    u, v = np.where(over, 1 - u, u)[:, None], np.where(over, 1 - v, v)[:, None]
    return corners[at, 0] + u * along[at] + v * across[at]


def _distances(scene, points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(scene.nearest(points)["point"] - points, axis=1)


def _told(*distances: np.ndarray) -> tuple[float, float]:
    return max(float(np.quantile(d, SHARE)) for d in distances), max(float(d.max()) for d in distances)
