"""Robust triangulation of many joints at once from rays, by ray distance in metres."""

from __future__ import annotations

from itertools import combinations

import numpy as np

PARALLEL = 0.02  # sine of the least angle between two rays that fix a depth (about one degree)


def nearest_point(centres: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The points with least weighted squared distance to rays.

    Args:
        centres: (C, 3) metres.
        rays: (..., C, 3) unit directions.
        weights: (..., C) non-negative.

    Returns:
        (..., 3) metres; NaN where fewer than two weights are positive or the rays are parallel.
    """
    rays = np.asarray(rays, np.float64)
    w = np.asarray(weights, np.float64)
    # Sum of w (I - d d^T): its inverse times the same sum applied to the centres.
    total = w.sum(-1)
    A = total[..., None, None] * np.eye(3) - np.einsum("...c,...ci,...cj->...ij", w, rays, rays)
    along = np.einsum("...ci,ci->...c", rays, centres)
    b = w @ centres - np.einsum("...c,...ci->...i", w * along, rays)
    enough = ((w > 0).sum(-1) >= 2) & (np.linalg.det(A) > (PARALLEL**2) * (total / 3) ** 3 * 1e-1)
    A = np.where(enough[..., None, None], A, np.eye(3))
    return np.where(enough[..., None], np.linalg.solve(A, b[..., None])[..., 0], np.nan)


def point_to_rays(centres: np.ndarray, rays: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of points (..., 3) to rays (..., C, 3), and depth along them: both (..., C), metres."""
    offset = points[..., None, :] - centres
    depth = np.einsum("...ci,...ci->...c", offset, rays)
    square = np.einsum("...ci,...ci->...c", offset, offset) - depth**2
    return np.sqrt(np.maximum(square, 0.0)), depth


def triangulate_robust(
    centres: np.ndarray,
    rays: np.ndarray,
    weights: np.ndarray,
    outlier_m: float,
    prior: np.ndarray | None = None,
    iterations: int = 3,
) -> tuple[np.ndarray, np.ndarray]:
    """Points from rays of which some may be wrong.

    Every pair of views (and ``prior``, where an expected point is known) proposes a point; the one with the least
    robust cost over all views wins, and is refined with the views that agree with it.

    Args:
        centres: (C, 3) metres.
        rays: (..., C, 3) unit directions.
        weights: (..., C) non-negative, 0 for no observation.
        outlier_m: a view farther from the point than this does not count, metres.
        prior: (..., 3) expected points or None.

    Returns:
        points (..., 3), NaN unless two views agree; agrees (..., C) bool.
    """
    C = len(centres)
    weights = np.asarray(weights, np.float64)
    best = np.full((*weights.shape[:-1], 3), np.nan) if prior is None else np.array(prior, np.float64)
    cost = _truncated_cost(centres, rays, weights, best, outlier_m)
    for pair in combinations(range(C), 2):
        index = list(pair)
        both = (weights[..., index] > 0).all(-1)
        if not both.any():
            continue
        point = nearest_point(centres[index], rays[..., index, :], weights[..., index])
        pair_cost = _truncated_cost(centres, rays, weights, point, outlier_m)
        better = both & (pair_cost < cost)
        best = np.where(better[..., None], point, best)
        cost = np.where(better, pair_cost, cost)
    agrees = _agrees(centres, rays, weights, best, outlier_m)
    for _ in range(iterations):
        best = nearest_point(centres, rays, weights * agrees)
        agrees = _agrees(centres, rays, weights, best, outlier_m)
    found = agrees.sum(-1) >= 2
    return np.where(found[..., None], best, np.nan), agrees & found[..., None]


def _truncated_cost(centres, rays, weights, point, outlier_m) -> np.ndarray:
    distance, depth = point_to_rays(centres, rays, point)
    square = np.minimum((distance / outlier_m) ** 2, 1.0)
    square = np.where(depth > 0, square, 1.0)
    cost = (weights * square).sum(-1)
    return np.where(np.isfinite(cost), cost, np.inf)


def _agrees(centres, rays, weights, point, outlier_m) -> np.ndarray:
    distance, depth = point_to_rays(centres, rays, point)
    return (weights > 0) & (distance < outlier_m) & (depth > 0)
