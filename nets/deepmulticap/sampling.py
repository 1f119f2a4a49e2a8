"""Where a surface network is trained: points around a surface, and people partly hidden by others.

Points near surface that some view sees get a small deviation, so that detail is learned; those near surface that no
view sees a large one, so that nothing unreasonable is learned there (section 5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MASK_SHAPE_PIXELS = (25, 100)


@dataclass(frozen=True)
class Deviations:
    """Standard deviations in metres; a point draws one of its group's at random.

    Attributes:
        seen: for points near surface that a view sees.
        unseen: for the rest.
    """

    seen: tuple[float, ...] = (0.005, 0.015)
    unseen: tuple[float, ...] = (0.03, 0.06)


def released_deviations(sigma: float, fine: bool) -> Deviations:
    """The released code's three deviations: seen points draw of the two smaller, unseen of the two larger."""
    a, b, c = (sigma / 3, sigma, 2 * sigma) if fine else (sigma, 2 * sigma, 4 * sigma)
    return Deviations(seen=(a, b), unseen=(b, c))


@dataclass(frozen=True)
class SurfacePoints:
    """N points on a mesh: ``points`` (N, 3), unit ``normals`` (N, 3) of their triangles, which are ``faces`` (N,)."""

    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


def on_surface(vertices: np.ndarray, faces: np.ndarray, count: int, rng: np.random.Generator) -> SurfacePoints:
    """``count`` points evenly distributed over the area of a mesh (V, 3), (F, 3)."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    area = np.linalg.norm(normals, axis=-1)
    which = rng.choice(len(faces), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    points = a[which] + u * (b - a)[which] + v * (c - a)[which]
    return SurfacePoints(points, normals[which] / area[which, None], which)


def seen_in_depth(
    points: np.ndarray, projections: np.ndarray, depths: np.ndarray, tolerance: float = 0.005
) -> np.ndarray:
    """(N, V) bool: which views see which points, by depth maps of the whole scene.

    Args:
        points: (N, 3) metres. projections: (V, 3, 4) for the depth maps' pixels.
        depths: (V, H, W) metres along the axis, infinity where nothing is.
        tolerance: metres a point may lie behind what the map shows (0.005 as released).
    """
    H, W = depths.shape[1:]
    x = np.einsum("vij,nj->nvi", projections[..., :3], points) + projections[..., 3]
    z = x[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixel = np.nan_to_num(np.rint(x[..., :2] / z[..., None]), nan=-1, posinf=-1, neginf=-1)
    inside = (z > 0) & (pixel >= 0).all(-1) & (pixel < (W, H)).all(-1)
    column, row = np.clip(pixel, 0, (W - 1, H - 1)).astype(int).transpose(2, 0, 1)
    return inside & (z < depths[np.arange(len(depths)), row, column] + tolerance)


def around_surface(
    surface: np.ndarray, seen: np.ndarray, deviations: Deviations, rng: np.random.Generator
) -> np.ndarray:
    """Surface points (N, 3) moved by Gaussian steps: small where ``seen`` (N,), large elsewhere."""
    sigma = np.where(seen, rng.choice(deviations.seen, len(surface)), rng.choice(deviations.unseen, len(surface)))
    return surface + rng.standard_normal(surface.shape) * sigma[:, None]


def training_points(
    surface: SurfacePoints,
    seen: np.ndarray,
    box: tuple[np.ndarray, np.ndarray],
    contains: Callable[[np.ndarray], np.ndarray],
    count: int,
    rng: np.random.Generator,
    deviations: Deviations = Deviations(),
    uniform: float = 0.15,
) -> tuple[np.ndarray, np.ndarray]:
    """Points (count, 3) and whether they are inside (count,) bool: half of them inside where there are enough.

    Args:
        surface: candidates on the true surface; more than ``count`` make the balance possible.
        seen: (N,) bool for them.
        box: low and high corner (3,) of the region that is queried later, for uniform points.
        contains: (M, 3) points to (M,) bool by the true surface.
        uniform: share of points drawn evenly from the box.
    """
    near = around_surface(surface.points, seen, deviations, rng)
    low, high = box
    near = near[((near >= low) & (near <= high)).all(-1)]
    even = rng.uniform(low, high, (1 + round(len(near) * uniform / (1 - uniform)), 3))
    points = np.concatenate([near, even])
    inside = contains(points)
    order = rng.permutation(len(points))
    ins, outs = order[inside[order]], order[~inside[order]]
    half = min(count // 2, len(ins))
    chosen = np.concatenate([ins[: max(half, count - len(outs))], outs[: count - half]])[:count]
    if len(chosen) < count:
        raise ValueError(f"{len(points)} candidates are too few for {count} points: draw more of the surface")
    return points[chosen], inside[chosen]


# --- occlusion ------------------------------------------------------------------------------------------------------


def shifted(mask: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """A mask (S, S) moved by whole pixels, with nothing coming in."""
    out = np.zeros_like(mask)
    H, W = mask.shape
    x0, x1, y0, y1 = max(dx, 0), min(W + dx, W), max(dy, 0), min(H + dy, H)
    if x1 > x0 and y1 > y0:
        out[y0:y1, x0:x1] = mask[y0 - dy : y1 - dy, x0 - dx : x1 - dx]
    return out


def paste_person(
    mask: np.ndarray, other: np.ndarray, rng: np.random.Generator, reach: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Put another person in front: what is left of the mask (S, S), and the pixels the other takes (S, S) bool.

    Both images have to be multiplied by what is left, and points in taken pixels are not visible in this view
    (``inputs.point_visibility``). The other's middle lands on the person's, off by up to ``reach`` of the size of the
    crop across and a fifth of that up or down.
    """
    middle = [np.argwhere(m > 0.5).mean(0) if (m > 0.5).any() else np.zeros(2) for m in (mask, other)]
    spread = reach * mask.shape[0] * rng.uniform(-1, 1, 2) * (0.2, 1.0)
    dy, dx = np.rint(middle[0] - middle[1] + spread).astype(int)
    taken = shifted(other, int(dx), int(dy)) > 0.5
    return np.where(taken, 0, mask).astype(mask.dtype), taken


def paste_shapes(mask: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rectangles and ellipses in front, 25 to 100 pixels wide and high in a crop of 512: as ``paste_person``."""
    S = mask.shape[0]
    rows, columns = np.mgrid[:S, :S]
    taken = np.zeros(mask.shape, bool)
    for k in range(count):
        cy, cx = rng.uniform(0, S, 2)
        ry, rx = rng.uniform(*MASK_SHAPE_PIXELS, 2) * S / 512 / 2
        y, x = np.abs(rows - cy) / ry, np.abs(columns - cx) / rx
        taken |= (np.maximum(x, y) <= 1) if k % 2 == 0 else (x * x + y * y <= 1)
    return np.where(taken, 0, mask).astype(mask.dtype), taken


def with_edge_error(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask grown (``pixels`` > 0) or drawn in (< 0) by a square of that many pixels on every side."""
    n = 2 * abs(pixels) + 1
    out = mask
    for axis in (0, 1):
        pad = [(abs(pixels),) * 2 if a == axis else (0, 0) for a in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(out, pad, mode="edge"), n, axis)
        out = windows.max(-1) if pixels > 0 else windows.min(-1)
    return out
