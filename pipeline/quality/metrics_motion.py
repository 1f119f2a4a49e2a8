"""How steady surfaces and joints are over time, and how much of their detail is left."""

from __future__ import annotations

import numpy as np


def offsets_along_normals(
    points: np.ndarray, normals: np.ndarray, vertices: np.ndarray, faces: np.ndarray, reach_m: float = 0.04
) -> np.ndarray:
    """(N,) signed metres from points on a body along its normals to a mesh, the nearer way; NaN beyond ``reach_m``.

    Only triangles that face as the body does there count, else a thin thing's two sides would take turns. Points that
    ride on a body carry these offsets from frame to frame: what changes in them is not the body's motion.
    """
    from pipeline.raster_open3d import RayScene

    if not len(faces):
        return np.full(len(points), np.nan)
    origin = np.asarray(vertices, np.float64).mean(0)
    scene = RayScene(vertices - origin, faces, threads=1)
    out, back = (_first_that_faces(scene, points - origin, sign * normals, normals) for sign in (1, -1))
    nearer = np.where(out <= back, out, -back)
    return np.where(np.abs(nearer) < reach_m, nearer, np.nan)


def _first_that_faces(scene, starts: np.ndarray, directions: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(N,) metres to the first triangle hit; infinite where it faces the other way, or nothing is there."""
    hit = scene.cast(starts, directions)
    facing = np.einsum("ni,ni->n", hit["normal"], normals) > 0
    return np.where(facing, hit["distance"].astype(np.float64), np.inf)


def flicker_mm(offsets: np.ndarray) -> float:
    """Flicker of a surface: root mean square second difference of offsets (F, N) metres over frames, millimetres.

    Points that are NaN in one of three frames in a row do not count there. NaN if none is left.
    """
    second = offsets[:-2] - 2 * offsets[1:-1] + offsets[2:]
    known = np.isfinite(second)
    return 1000 * float(np.sqrt((second[known] ** 2).mean())) if known.any() else float("nan")


def amplitude_ratio(offsets: np.ndarray, pattern: np.ndarray) -> float:
    """How much of a known relief is left: the regression of offsets (..., N) on the pattern (N,), 1 if all of it.

    Both are taken from their means, so that a surface which is too large everywhere does not count as relief.
    """
    known = np.isfinite(offsets)
    pattern = np.broadcast_to(pattern, offsets.shape)[known]
    if not len(pattern):
        return float("nan")
    offsets, pattern = offsets[known] - offsets[known].mean(), pattern - pattern.mean()
    spread = float(pattern @ pattern)
    return float(offsets @ pattern) / spread if spread > 0 else float("nan")


def acceleration_mm(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean length of the difference of second differences of points (F, ..., 3) metres over frames, in millimetres a
    frame squared; NaN where either is missing does not count."""
    gap = found - truth
    second = np.linalg.norm(gap[:-2] - 2 * gap[1:-1] + gap[2:], axis=-1)
    known = np.isfinite(second)
    return 1000 * float(second[known].mean()) if known.any() else float("nan")
