"""What keypoints in calibrated views say about points: residuals, and their Gauss-Newton information by point."""

from __future__ import annotations

import numpy as np


def geman_mcclure(squared: np.ndarray, kernel: float) -> tuple[np.ndarray, np.ndarray]:
    """Cost and slope for squared residuals in deviations; a kernel of inf is plain least squares."""
    c = kernel**2
    if not np.isfinite(c):
        return squared, np.ones_like(squared)
    share = c / (c + squared)
    return squared * share, share**2


def pixel_residuals(
    points: np.ndarray, pixels: np.ndarray, projections: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (F, C, K, 2) of points (F, K, 3) against pixels (F, C, K, 2) without NaN, and 1/depth (F, C, K).

    Both are zero where a point is not in front of the camera.
    """
    P = projections
    image = np.einsum("cij,fkj->fcki", P[:, :, :3], points, optimize=True) + P[:, None, :, 3]
    in_front = image[..., 2] > 0.05
    inverse = np.where(in_front, 1 / np.where(in_front, image[..., 2], 1.0), 0.0)
    return np.where(in_front[..., None], image[..., :2] * inverse[..., None] - pixels, 0.0), inverse


def pixel_information(
    residual: np.ndarray, inverse: np.ndarray, pixels: np.ndarray, weights: np.ndarray, projections: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Information (F, K, 3, 3) and pull (F, K, 3) on points, summed over views, from ``pixel_residuals``.

    ``weights`` (F, C, K): 1 / pixels^2, robust slopes included.
    """
    P = projections[None, :, None]
    uv = residual + pixels
    slope = (P[..., :2, :3] - uv[..., None] * P[..., 2:, :3]) * inverse[..., None, None]  # (F, C, K, 2, 3)
    w_slope = (slope * weights[..., None, None]).swapaxes(-1, -2)
    return (w_slope @ slope).sum(1), (w_slope @ residual[..., None]).sum(1)[..., 0]
