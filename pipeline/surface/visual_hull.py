"""The visual hull of one person among others: what all cameras' silhouettes allow, on a sparse grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates

from pipeline.cameras import Camera
from pipeline.fusion.sparse_grid import PlainField, zero_level_set

_FAR_M = 1.0  # no camera has anything to say


def visual_hull(
    cameras: Sequence[Camera],
    labels: Sequence[np.ndarray],
    person: int,
    low: np.ndarray,
    high: np.ndarray,
    voxel_m: float = 0.01,
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) metres and faces (T, 3) of the largest shape that fits one person's silhouettes.

    A point belongs to the person if every camera that has it in its image sees the person or somebody else there (who
    stands in front hides what is behind), and at least half of them see the person: else one would grow into whoever
    stands behind.

    Args:
        cameras: pinhole.
        labels: one (H, W) a camera, 0 nobody.
        person: the label.
        low, high: (3,) corners of the box that it is cut to, metres.
        voxel_m: size of the grid's cells.

    Returns:
        An empty mesh where no camera sees the person.
    """
    views = [
        _Silhouette(camera, image == person, image > 0)
        for camera, image in zip(cameras, labels, strict=True)
        if (image > 0).any()  # without anybody the mask is rather missing than true
    ]
    if not any((image == person).any() for image in labels):
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)

    def values(points: np.ndarray) -> np.ndarray:
        both = np.stack([view(points) for view in views])  # views, 2, points
        framed = np.isfinite(both[:, 1])
        own = np.sort(np.where(framed, both[:, 1], np.inf), axis=0)
        needed = np.maximum((framed.sum(0) + 1) // 2 - 1, 0)
        half = np.take_along_axis(own, needed[None], 0)[0]
        box = np.maximum(low - points, points - high).max(1)  # few cameras leave the hull open along their axes
        return np.maximum(np.maximum(both[:, 0].max(0), np.where(np.isfinite(half), half, _FAR_M)), box)

    return zero_level_set(PlainField(values), low, high, voxel_m)


class _Silhouette:
    """One camera's two silhouettes as distances in metres, negative inside."""

    def __init__(self, camera: Camera, own: np.ndarray, allowed: np.ndarray) -> None:
        self._camera = camera
        self._focal = float(np.sqrt(camera.K[0, 0] * camera.K[1, 1]))
        self._own, self._allowed = _signed(own), _signed(allowed)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """At points (N, 3): how far outside what is allowed, and how far from being seen as the person, (2, N) metres.

        What is outside the image is allowed, and inf from being seen."""
        x = self._camera.to_camera(points)
        ahead = x[:, 2] > 0.05
        depth = np.where(ahead, x[:, 2], 1.0)
        pixels = self._camera.project(np.where(ahead[:, None], points, self._camera.centre + self._camera.R[2]))
        height, width = self._own.shape
        framed = ahead & ((pixels >= 0) & (pixels <= np.array([width, height]) - 1)).all(1)
        at = pixels[:, ::-1].T
        allowed, own = (
            map_coordinates(image, at, order=1, mode="nearest") * depth / self._focal
            for image in (self._allowed, self._own)
        )
        return np.stack([np.where(framed, allowed, -_FAR_M), np.where(framed, own, np.inf)])


def _signed(mask: np.ndarray) -> np.ndarray:
    """(H, W) float32 pixels from the edge of a mask, negative inside; the edge runs between pixels."""
    if not mask.any():
        return np.full(mask.shape, float(sum(mask.shape)), np.float32)
    inside = distance_transform_edt(mask) if not mask.all() else np.full(mask.shape, float(sum(mask.shape)))
    return np.where(mask, 0.5 - inside, distance_transform_edt(~mask) - 0.5).astype(np.float32)
