"""Face landmarks on the skin: the 51 inner points of the 68-point face set, and its 17 contour points for 79 yaws.

Points are found on the template by casting rays: the eyes' openings from where the eyeballs show, the lips from
MakeHuman's lip mask, the brows from where the brow-raising target moves the skin most. Order as in the 68-point set:
right brow, left brow, bridge of the nose, nostrils, right eye, left eye, outer lips, inner lips; right is the
subject's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

YAWS = np.r_[np.arange(40), -np.arange(1, 40)]
"""Degrees of each row of the contour table: `smplx` looks up row y for yaws y ≥ 0 and row 39 − y for y < 0."""


@dataclass(frozen=True)
class Hits:
    """First hits of R rays: triangle (R,) (−1: none), barycentric (R, 3), point (R, 3)."""

    triangle: np.ndarray
    barycentric: np.ndarray
    point: np.ndarray


Cast = Callable[[np.ndarray, np.ndarray], Hits]


def ray_caster(vertices: np.ndarray, triangles: np.ndarray, kept: np.ndarray) -> Cast:
    """A function (origins (R, 3), directions (R, 3)) → Hits on the triangles ``kept``, in numbers of ``triangles``."""
    import open3d

    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(np.float32(vertices), np.uint32(triangles[kept]))

    def cast(origins: np.ndarray, directions: np.ndarray) -> Hits:
        rays = np.concatenate([origins, np.broadcast_to(directions, origins.shape)], 1).astype(np.float32)
        answer = scene.cast_rays(open3d.core.Tensor(rays))
        hit = np.isfinite(answer["t_hit"].numpy())
        triangle = np.where(hit, kept[np.where(hit, answer["primitive_ids"].numpy(), 0).astype(np.int64)], -1)
        uv = answer["primitive_uvs"].numpy().astype(np.float64).round(6)
        barycentric = np.stack([1.0 - uv.sum(1), uv[:, 0], uv[:, 1]], 1)
        return Hits(triangle, barycentric, np.einsum("rc,rcd->rd", barycentric, vertices[triangles[triangle]]))

    return cast


@dataclass(frozen=True)
class Face:
    """What landmarks are found from: ``vertices`` (V, 3), ``triangles`` (F, 3), ``on_head`` and ``on_eye`` (V,) bool,
    ``lips`` (V,) lip mask 0..1, ``brow`` (V,) how far the brow target lifts each vertex of the left side."""

    vertices: np.ndarray
    triangles: np.ndarray
    on_head: np.ndarray
    on_eye: np.ndarray
    lips: np.ndarray
    brow: np.ndarray


def sample_mask(path: Path, uvs: np.ndarray, corners: np.ndarray, vertices: np.ndarray, count: int) -> np.ndarray:
    """(count,) mask image values 0..1 at the vertices, whose UVs are given by face corners."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    height, width = image.shape
    column = np.clip((uvs[corners, 0] * width).astype(np.int64), 0, width - 1)
    row = np.clip(((1.0 - uvs[corners, 1]) * height).astype(np.int64), 0, height - 1)
    values = np.zeros(count)
    np.maximum.at(values, vertices, image[row, column] / 255.0)
    return values


def landmark_arrays(face: Face) -> dict[str, np.ndarray]:
    """``lmk_faces_idx`` (51,), ``lmk_bary_coords`` (51, 3), ``dynamic_lmk_faces_idx`` (79, 17), their coordinates."""
    kept = np.flatnonzero(face.on_head[face.triangles].all(1))
    cast = ray_caster(face.vertices, face.triangles, kept)
    points = _inner_points(face, cast)
    inner = cast(np.c_[points, np.full(len(points), 1.0)], np.array([0.0, 0.0, -1.0]))
    contour = _contour(face, cast)
    return {
        "lmk_faces_idx": inner.triangle,
        "lmk_bary_coords": inner.barycentric,
        "dynamic_lmk_faces_idx": contour.triangle.reshape(len(YAWS), 17),
        "dynamic_lmk_bary_coords": contour.barycentric.reshape(len(YAWS), 17, 3),
    }


def _inner_points(face: Face, cast: Cast) -> np.ndarray:
    """(51, 2) x and y in the front view."""
    eye = _left_eye(face, cast)
    brow = _left_brow(face, eye)
    flip = np.array([-1.0, 1.0])
    # both brows and both eyes run from the subject's right to the left
    right_eye = eye[[3, 2, 1, 0, 5, 4]] * flip
    return np.concatenate([brow[::-1] * flip, brow, _nose(face, eye), right_eye, eye, *_lips(face, cast)])


def _grid(centre: np.ndarray, half: tuple[float, float], step: float) -> tuple[np.ndarray, np.ndarray]:
    xs = centre[0] + np.arange(-half[0], half[0], step)
    ys = centre[1] + np.arange(-half[1], half[1], step)
    return xs, ys


def _front(cast: Cast, xs: np.ndarray, ys: np.ndarray) -> Hits:
    x, y = (a.ravel() for a in np.meshgrid(xs, ys))
    return cast(np.stack([x, y, np.ones_like(x)], 1), np.array([0.0, 0.0, -1.0]))


def _left_eye(face: Face, cast: Cast) -> np.ndarray:
    """(6, 2) on the rim of the left eye: inner corner, two above, outer corner, two below (outer one first)."""
    ball = face.vertices[face.on_eye & (face.vertices[:, 0] > 0)]
    xs, ys = _grid(ball.mean(0), (0.022, 0.014), 0.0004)
    seen = face.on_eye[face.triangles[_front(cast, xs, ys).triangle]].all(1).reshape(len(ys), len(xs))
    columns = np.flatnonzero(seen.any(0))
    low, high = ys[seen.argmax(0)], ys[len(ys) - 1 - seen[::-1].argmax(0)]
    margin = 0.0008
    ends = columns[[0, -1]]
    thirds = columns[np.round(np.array([1, 2]) / 3 * (len(columns) - 1)).astype(int)]
    middle = 0.5 * (low + high)
    inner, outer = ([xs[e] + side * margin, middle[e]] for e, side in zip(ends, (-1, 1), strict=True))
    above = [[xs[c], high[c] + margin] for c in thirds]
    below = [[xs[c], low[c] - margin] for c in thirds[::-1]]
    return np.array([inner, *above, outer, *below])


def _left_brow(face: Face, eye: np.ndarray) -> np.ndarray:
    """(5, 2) from above the inner corner of the eye to beyond its outer one, along what the brow muscle lifts."""
    strong = np.flatnonzero(face.brow > 0.5 * face.brow.max())
    x, y = face.vertices[strong, 0], face.vertices[strong, 1]
    curve = np.polynomial.Polynomial.fit(x, y, 1, w=face.brow[strong])
    stations = np.linspace(eye[0, 0] - 0.001, eye[3, 0] + 0.004, 5)
    return np.stack([stations, curve(stations)], 1)


def _nose(face: Face, eye: np.ndarray) -> np.ndarray:
    """(9, 2): four points down the bridge to the tip, five under the nose from right to left."""
    middle = face.vertices[face.on_head & (np.abs(face.vertices[:, 0]) < 1e-4) & (face.vertices[:, 2] > 0)]
    eye_height = eye[:, 1].mean()
    ahead = middle[np.abs(middle[:, 1] - (eye_height - 0.04)) < 0.04]
    tip = ahead[ahead[:, 2].argmax()]
    bridge = np.stack([np.zeros(4), np.linspace(eye_height, tip[1], 4)], 1)
    below = ahead[(ahead[:, 1] < tip[1]) & (ahead[:, 1] > tip[1] - 0.03)]
    hollow = below[below[:, 2].argmin(), 1]  # of the groove between nose and lip
    base = tip[1] - 0.6 * (tip[1] - hollow)
    wing = 0.5 * (eye[0, 0] + 0.012)
    sides = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    return np.concatenate([bridge, np.stack([sides * wing, base + 0.004 * np.abs(sides)], 1)])


def _lips(face: Face, cast: Cast) -> tuple[np.ndarray, np.ndarray]:
    """Outer (12, 2) and inner (8, 2) lip points, each from the right corner over the upper lip and back below."""
    lips = face.vertices[face.lips > 0.5]
    xs, ys = _grid(0.5 * (lips.min(0) + lips.max(0)), (0.035, 0.02), 0.0005)
    hits = _front(cast, xs, ys)
    inside = (hits.barycentric * face.lips[face.triangles[hits.triangle]]).sum(1).reshape(len(ys), len(xs)) > 0.5
    depth = np.where(inside, hits.point[:, 2].reshape(inside.shape), np.inf)
    columns = np.flatnonzero(inside.any(0))
    low, high = ys[inside.argmax(0)], ys[len(ys) - 1 - inside[::-1].argmax(0)]
    core = np.abs(ys[:, None] - 0.5 * (low + high)) < 0.3 * (high - low)
    line = ys[np.where(core, depth, np.inf).argmin(0)]
    half = min(-xs[columns[0]], xs[columns[-1]])

    def at(fraction: float) -> int:
        return int(np.abs(xs - fraction * half).argmin())

    corner = line[at(0.93)]
    above, below = (-0.62, -0.25, 0.0, 0.25, 0.62), (0.62, 0.3, 0.0, -0.3, -0.62)
    outer = [[-half, corner], *([f * half, high[at(f)]] for f in above)]
    outer += [[half, corner], *([f * half, low[at(f)]] for f in below)]
    gap = 0.0015
    inner = [[-0.85 * half, corner], *([f * half, line[at(f)] + gap] for f in (-0.4, 0.0, 0.4))]
    inner += [[0.85 * half, corner], *([f * half, line[at(f)] - gap] for f in (0.4, 0.0, -0.4))]
    symmetric = [0.5 * (p + p[order] * [-1.0, 1.0]) for p, order in (
        (np.array(outer), [6, 5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7]), (np.array(inner), [4, 3, 2, 1, 0, 7, 6, 5])
    )]  # fmt: skip
    return symmetric[0], symmetric[1]


def _contour(face: Face, cast: Cast) -> Hits:
    """Outline of the lower face seen from each yaw, right to left: rays towards a point behind the mouth, in the plane
    across the line of sight."""
    lips = face.vertices[face.lips > 0.5]
    eyes = face.vertices[face.on_eye]
    centre = np.array([0.0, 0.5 * (eyes[:, 1].mean() + lips[:, 1].mean()), lips[:, 2].min() - 0.025])
    yaw = np.radians(YAWS)[:, None]
    around = np.linspace(0.0, np.pi, 17)[None]
    across = np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], -1)
    outward = -np.cos(around)[..., None] * across - np.sin(around)[..., None] * np.array([0.0, 1.0, 0.0])
    directions = outward.reshape(-1, 3)
    return cast(centre + 0.3 * directions, -directions)
