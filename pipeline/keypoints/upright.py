"""Cameras mounted on their side: people are looked for in images turned upright, and what is found is turned back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from pipeline.keypoints.detections import Detections
from pipeline.keypoints.detector import Detector

Size = tuple[int, int]


class Upright:
    """A ``Detector`` for images that stand upright after ``turns`` clockwise quarter turns (``upright_turns`` of
    ``pipeline.rig_checks``); everything outside stays in pixels of the images as given.

    Args:
        detector: what looks for people, in upright images.
        turns: clockwise quarter turns.
        size: (width, height) of the images as given.
    """

    def __init__(self, detector: Detector, turns: int, size: Size) -> None:
        self._detector, self._turns = detector, turns % 4
        self._size = size
        self._turned_size = size if turns % 2 == 0 else size[::-1]

    @property
    def joint_set(self) -> str:
        return self._detector.joint_set

    def run(self, frames: Iterable[tuple[int, np.ndarray]], first_kept: int) -> Detections:
        """As ``Detector.run``."""

        def turned() -> Iterator[tuple[int, np.ndarray]]:
            for number, image in frames:
                yield number, self._turn_image(image)

        return self._back(self._detector.run(turned(), first_kept))

    def in_crops(self, image: np.ndarray, boxes: np.ndarray, keypoints: np.ndarray | None = None) -> Detections:
        """As ``Detector.in_crops``."""
        boxes = turn_boxes(boxes, self._turns, self._size)
        more = () if keypoints is None else (turn_points(keypoints, self._turns, self._size),)
        return self._back(self._detector.in_crops(self._turn_image(image), boxes, *more))

    def beside(self, image: np.ndarray, keypoints: np.ndarray) -> Detections:
        """As ``Detector.beside``."""
        turned = turn_points(keypoints, self._turns, self._size)
        return self._back(self._detector.beside(self._turn_image(image), turned))

    def alone(self, image: np.ndarray, hidden: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As ``Detector.alone``."""
        expected = turn_points(keypoints, self._turns, self._size)
        points, scores = self._detector.alone(self._turn_image(image), self._turn_image(hidden), expected)
        return turn_points(points, -self._turns % 4, self._turned_size), scores

    def _turn_image(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(image, -self._turns))

    def _back(self, found: Detections) -> Detections:
        """Detections in the turned image as detections in the image as given."""
        turns, size = -self._turns % 4, self._turned_size
        masks = tuple(_turn_png(mask, turns) for mask in found.masks)
        # A mask's box ends exclusively: its borders lie half a pixel before the centres of the pixels they begin at.
        mask_boxes = turn_boxes(np.asarray(found.mask_boxes, np.float64) - 0.5, turns, size) + 0.5
        return replace(
            found,
            keypoints=turn_points(found.keypoints, turns, size).astype(np.float32),
            boxes=turn_boxes(found.boxes, turns, size).astype(np.float32),
            masks=masks,
            mask_boxes=np.round(mask_boxes).astype(np.int32) if masks else found.mask_boxes,
        )


def turn_points(points: np.ndarray, turns: int, size: Size) -> np.ndarray:
    """Pixels (..., 2) of an image of ``size`` in the image turned clockwise by ``turns`` quarter turns."""
    width, height = size
    for _ in range(turns % 4):
        points = np.stack([height - 1 - points[..., 1], points[..., 0]], -1)
        width, height = height, width
    return points


def turn_boxes(boxes: np.ndarray, turns: int, size: Size) -> np.ndarray:
    """Boxes (..., 4) x0 y0 x1 y1, likewise."""
    a, b = (turn_points(boxes[..., corner], turns, size) for corner in (slice(0, 2), slice(2, 4)))
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], -1)


def _turn_png(png: bytes, turns: int) -> bytes:
    values = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    return cv2.imencode(".png", np.rot90(values, -turns), (cv2.IMWRITE_PNG_COMPRESSION, 3))[1].tobytes()
