"""The empty scene of a camera that stands still: the median of pictures in which nobody is at that place."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from pipeline.cameras import Camera
from pipeline.keypoints.detections import Detections

PICTURES = 24
"""Most that are looked at; they are spread over the session."""
ENOUGH = 3
"""Pictures that must show a place without people before it counts as known."""
CLEARANCE_M = 0.22
"""Round every point of a body: clothes, hair, shadows close by."""
_ROWS = 64


def sampled_rows(count: int, pictures: int = PICTURES) -> np.ndarray:
    """Which of ``count`` frames are looked at: ascending, spread evenly."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, pictures)).round().astype(int))


def empty_scene(pictures: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray] | None:
    """The scene without people.

    Args:
        pictures: images (H, W, 3) uint8 of one camera and where somebody may be in them (H, W) bool.

    Returns:
        median image (H, W, 3) uint8, and (H, W) bool where ``ENOUGH`` pictures or more show the scene; elsewhere the
        image is 0. None without pictures.
    """
    images, taken = [], []
    for image, people in pictures:
        images.append(image)
        taken.append(people)
    if not images:
        return None
    stack, free = np.stack(images), ~np.stack(taken)
    known = free.sum(0) >= ENOUGH
    out = np.zeros_like(images[0])
    for start in range(0, len(out), _ROWS):  # in strips: the median works on floats
        rows = slice(start, start + _ROWS)
        out[rows] = _median(stack[:, rows], free[:, rows])
    out[~known] = 0
    return out, known


def _median(values: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Lower median over the first axis of (N, h, w, 3) of those that are free (N, h, w)."""
    count = free.sum(0)
    ordered = np.sort(np.where(free[..., None], values.astype(np.int16), 256), 0)  # those not free come last
    middle = np.maximum(count - 1, 0) // 2
    chosen = np.take_along_axis(ordered, middle[None, ..., None], 0)[0]
    return np.minimum(chosen, 255).astype(np.uint8)


def people_pixels(camera: Camera, points: np.ndarray, detections: Detections | None, frame: int) -> np.ndarray:
    """(H, W) bool: where somebody may be, generously.

    Args:
        points: (N, 3) metres, spread over everybody's body.
        detections: of this camera, whose boxes count too if they hold the frame.
        frame: absolute number.
    """
    width, height = camera.size
    taken = np.zeros((height, width), np.uint8)
    pixels = camera.project(points)
    z = camera.to_camera(points)[:, 2]
    for (u, v), depth in zip(pixels, z, strict=True):
        if np.isfinite(u) and depth > 0.1:
            radius = max(1, round(CLEARANCE_M * camera.K[1, 1] / depth))
            if -radius < u < width + radius and -radius < v < height + radius:
                cv2.circle(taken, (round(u), round(v)), radius, 1, cv2.FILLED)
    row = None if detections is None else int(np.searchsorted(detections.frames, frame))
    if row is not None and row < len(detections.frames) and detections.frames[row] == frame:
        for box in detections.boxes[detections.instances(row)]:
            if np.isfinite(box).all():
                x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height]).astype(int)
                taken[y0:y1, x0:x1] = 1
    return taken > 0
