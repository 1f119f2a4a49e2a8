"""How far a reconstructed surface is from the true one.

As the DeepMultiCap paper measures it (section 6.2): the scene is brought to people of 180 cm, point-to-surface is the
mean distance from points on the reconstruction to the true surface, Chamfer the mean of both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from pipeline.cameras import Camera

MEAN_HEIGHT_M = 1.80
SAMPLES = 100_000
EMPTY_CM = 20.0
"""What a surface that is not there scores, in both directions."""
_LIFT_M = 1e-3  # a point's own triangle does not hide it


@dataclass(frozen=True)
class SurfaceScore:
    """One reconstruction against the truth, centimetres at a mean height of 180 cm.

    Attributes:
        chamfer_cm: mean of both directions.
        p2s_cm: from the reconstruction to the true surface.
        normal_consistency: mean |cosine| of the angle between the normals of a point and of the nearest point on the
            other surface, both directions (Mescheder et al. 2019, Occupancy Networks).
        seen_cm, unseen_cm: Chamfer over the part of the true surface that some camera sees or none does; points of
            the reconstruction count for the part they are nearest to. NaN where there is no such part or it was not
            asked for.
        seen_share: of the true surface, NaN where it was not asked for.
    """

    chamfer_cm: float
    p2s_cm: float
    normal_consistency: float
    seen_cm: float = float("nan")
    unseen_cm: float = float("nan")
    seen_share: float = float("nan")

    def as_dict(self) -> dict[str, float]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class SurfacePoints:
    """Points (N, 3) drawn evenly from a surface and the unit normals (N, 3) of their triangles."""

    points: np.ndarray
    normals: np.ndarray


def normalising_scale(heights_m: Sequence[float] | np.ndarray) -> float:
    """The factor that brings people who stand this tall, metres, to a mean height of 180 cm: one for a whole scene."""
    heights = np.asarray(heights_m, np.float64)
    if not len(heights) or not (np.isfinite(heights) & (heights > 0)).all():
        raise ValueError(f"heights {heights.tolist()} are not all positive")
    return MEAN_HEIGHT_M / float(heights.mean())


def sample_surface(
    vertices: np.ndarray, faces: np.ndarray, count: int, generator: np.random.Generator
) -> SurfacePoints:
    """``count`` points of a mesh (V, 3), (T, 3), each square centimetre as likely as any other.

    Raises:
        ValueError: the mesh has no area.
    """
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    area = np.linalg.norm(across, axis=1)
    total = area.sum()
    if not total > 0:
        raise ValueError("a mesh without area has no points")
    # Stratified along the triangles: less spread than independent draws, no bias.
    draws = (np.arange(count) + generator.random(count)) / count
    triangle = np.searchsorted(np.cumsum(area / total), draws).clip(max=len(area) - 1)
    u, v = generator.random((2, count))
    beyond = u + v > 1
    u[beyond], v[beyond] = 1 - u[beyond], 1 - v[beyond]
    points = a[triangle] + u[:, None] * (b - a)[triangle] + v[:, None] * (c - a)[triangle]
    return SurfacePoints(points, across[triangle] / np.maximum(area[triangle], 1e-30)[:, None])


class NearestSurface:
    """Answers for each point how near a mesh is and how the mesh is turned there."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, threads: int = 1) -> None:
        """Mesh (V, 3) metres, (T, 3); ``threads`` 0: as many as there are cores."""
        import open3d as o3d

        self._tensor, self._threads = o3d.core.Tensor, threads
        vertices = np.asarray(vertices, np.float64)
        self._origin = vertices.mean(0)  # Open3D computes with float32
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
        self._scene.add_triangles(
            self._tensor(np.ascontiguousarray(vertices - self._origin, np.float32)),
            self._tensor(np.ascontiguousarray(_with_area(vertices, np.asarray(faces)), np.uint32)),
        )

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of points (N, 3): distances (N,) metres, nearest points (N, 3), unit normals there (N, 3)."""
        local = np.ascontiguousarray(np.asarray(points, np.float64) - self._origin, np.float32)
        found = self._scene.compute_closest_points(self._tensor(local), nthreads=self._threads)
        nearest = found["points"].numpy()
        away = np.linalg.norm((local - nearest).astype(np.float64), axis=1)
        return away, nearest + self._origin, found["primitive_normals"].numpy().astype(np.float64)


Visible = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes points (N, 3) and normals (N, 3), tells for each whether some camera sees it: (N,) bool."""


def seen_by(
    points: np.ndarray,
    normals: np.ndarray,
    cameras: Sequence[Camera],
    vertices: np.ndarray,
    faces: np.ndarray,
    threads: int = 1,
) -> np.ndarray:
    """Which points of a scene each camera sees: (N, C) bool.

    A camera sees a point that lies in its image, on a side turned to it, with nothing of the scene between.

    Args:
        points, normals: (N, 3) on the true surface, metres and unit vectors.
        cameras: lens distortion counts.
        vertices, faces: everything that can hide something: all people, all objects.
    """
    from pipeline.raster_open3d import RayScene

    origin = np.asarray(vertices, np.float64).mean(0)
    scene = RayScene(np.asarray(vertices, np.float64) - origin, faces, threads)
    seen = np.zeros((len(points), len(cameras)), bool)
    for c, camera in enumerate(cameras):
        to_camera = camera.centre - points
        distance = np.linalg.norm(to_camera, axis=1)
        pixels = camera.project(points)
        width, height = camera.size
        with np.errstate(invalid="ignore"):
            framed = ((pixels >= -0.5) & (pixels <= np.array([width, height]) - 0.5)).all(1)
        rows = np.flatnonzero(framed & (np.einsum("ij,ij->i", to_camera, normals) > 0))
        if not len(rows):
            continue
        ends = np.broadcast_to(camera.centre - origin, (len(rows), 3))
        starts = points[rows] - origin + _LIFT_M * normals[rows]
        # From the point to the camera, lengths in units of the whole way.
        seen[rows, c] = ~scene.blocked(starts, ends - starts, near=_LIFT_M / float(distance[rows].max()), far=1.0)
    return seen


def score_surface(
    reconstruction: tuple[np.ndarray, np.ndarray],
    truth: tuple[np.ndarray, np.ndarray],
    *,
    scale: float = 1.0,
    visible: Visible | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    threads: int = 1,
) -> SurfaceScore:
    """Compare two meshes, each vertices (V, 3) in metres and faces (T, 3).

    Args:
        reconstruction: may be empty: then every distance is 20 cm and no normal agrees.
        truth: one person.
        scale: of the scene, see ``normalising_scale``.
        visible: tells seen from unseen points of the true surface; None: not asked for.
        samples: points drawn from each surface.

    Raises:
        ValueError: the true mesh has no area.
    """
    generator = np.random.default_rng(seed)
    true_points = sample_surface(*truth, samples, generator)
    seen = None if visible is None else np.asarray(visible(true_points.points, true_points.normals), bool)
    share = float("nan") if seen is None else float(seen.mean())
    if not _has_area(*reconstruction):
        part = EMPTY_CM if seen is not None else float("nan")
        return SurfaceScore(EMPTY_CM, EMPTY_CM, 0.0, _or_nan(part, share), _or_nan(part, 1 - share), share)
    own = sample_surface(*reconstruction, samples, generator)
    to_truth, landed, true_normals = NearestSurface(*truth, threads)(own.points)
    to_own, _, own_normals = NearestSurface(*reconstruction, threads)(true_points.points)
    agreement = 0.5 * (_mean_cosine(own.normals, true_normals) + _mean_cosine(true_points.normals, own_normals))
    factor = 100 * scale
    whole = SurfaceScore(
        factor * 0.5 * float(to_truth.mean() + to_own.mean()), factor * float(to_truth.mean()), agreement
    )
    if seen is None:
        return whole
    landed_seen = np.asarray(visible(landed, true_normals), bool)
    parts = [
        factor * _both_ways(to_truth[landed_seen == flag], to_own[seen == flag]) for flag in (True, False)
    ]
    return SurfaceScore(whole.chamfer_cm, whole.p2s_cm, agreement, *parts, share)


def _with_area(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The faces that have a normal: more than 1e-4 square millimetres."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return faces[np.linalg.norm(np.cross(b - a, c - a), axis=1) > 2e-10]


def _has_area(vertices: np.ndarray, faces: np.ndarray) -> bool:
    return len(faces) > 0 and len(_with_area(np.asarray(vertices, np.float64), np.asarray(faces))) > 0


def _or_nan(value: float, share: float) -> float:
    return value if share > 0 else float("nan")


def _mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(np.einsum("ij,ij->i", a, b)).mean())


def _both_ways(there: np.ndarray, back: np.ndarray) -> float:
    """Mean of two mean distances; of one where the other has no point, NaN where neither has."""
    means = [float(x.mean()) for x in (there, back) if len(x)]
    return float(np.mean(means)) if means else float("nan")
