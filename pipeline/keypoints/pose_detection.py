"""The first BlazePose network: where people are, roughly, and how they are turned.

A single-shot detector over 224 x 224 pixels. Its box is that of the head and shoulders; what matters are two
alignment points a person (middle of the hips, reach). Anchors, scales and thresholds are those of the MediaPipe graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nets.metrics_boxes import box_ious
from pipeline.keypoints.masks import Cover, paint_over
from pipeline.keypoints.regions import Region, transform
from pipeline.keypoints.tflite import TfliteNetwork

SIZE = 224
_ANCHORS_PER_CELL = ((8, 2), (16, 2), (32, 6))  # stride, anchors in a cell
_SUPPRESSION_IOU = 0.3


@dataclass(frozen=True)
class Found:
    """People found by the detector, best first.

    Attributes:
        scores: (N,) 0..1.
        boxes: (N, 4) x0 y0 x1 y1 pixels of the image, the upper body.
        alignment: (N, 4, 2) pixels: middle of the hips, reach of the whole body, middle of the shoulders, reach of
            the upper body.
    """

    scores: np.ndarray
    boxes: np.ndarray
    alignment: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def region(self, i: int) -> Region:
        return Region.from_alignment(self.alignment[i, 0], self.alignment[i, 1])


def anchor_centres() -> np.ndarray:
    """(2254, 2) anchor centres in pixels of the network's input; every anchor is as large as the input."""
    centres = []
    for stride, count in _ANCHORS_PER_CELL:
        cells = (np.arange(SIZE // stride) + 0.5) * stride
        x, y = np.meshgrid(cells, cells)
        centres.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), count, axis=0))
    return np.concatenate(centres)


def suppress(scores: np.ndarray, boxes: np.ndarray, points: np.ndarray) -> Found:
    """Non-maximum suppression that averages what it suppresses, weighted by score (the graph's WEIGHTED mode)."""
    order = np.argsort(-scores, kind="stable")
    overlap = box_ious(boxes, boxes) > _SUPPRESSION_IOU
    free = np.ones(len(scores), bool)
    kept: list[tuple[float, np.ndarray, np.ndarray]] = []
    for i in order:
        if not free[i]:
            continue
        group = overlap[i] & free
        group[i] = True
        free &= ~group
        weights = scores[group] / scores[group].sum()
        kept.append((scores[i], weights @ boxes[group], np.einsum("n,njk->jk", weights, points[group])))
    if not kept:
        return Found(np.zeros(0), np.zeros((0, 4)), np.zeros((0, 4, 2)))
    return Found(*(np.stack(column) for column in zip(*kept, strict=True)))


class PoseDetection:
    """The detector on any square of an image."""

    def __init__(self, path: Path) -> None:
        anchors = anchor_centres()
        self._net = TfliteNetwork(path, (1, SIZE, SIZE, 3), [(1, len(anchors), 12), (1, len(anchors), 1)])
        self._anchors = anchors

    def run(self, image: np.ndarray, window: Region, min_score: float, covers: Sequence[Cover] = ()) -> Found:
        """People in ``window`` of the RGB ``image`` that score at least ``min_score``; ``covers`` are painted over."""
        crop = paint_over(window.crop(image, SIZE, cv2.BORDER_CONSTANT), window, covers)
        values, logits = self._net.run((crop.astype(np.float32) / 127.5 - 1.0)[None])
        scores = 1.0 / (1.0 + np.exp(-np.clip(logits[0, :, 0].astype(np.float64), -100, 100)))
        good = scores >= min_score
        values, anchors = values[0, good].astype(np.float64), self._anchors[good]
        centre, half = values[:, :2] + anchors, 0.5 * values[:, 2:4]
        points = values[:, 4:].reshape(-1, 4, 2) + anchors[:, None]
        found = suppress(scores[good], np.hstack([centre - half, centre + half]), points)
        matrix = window.to_image(SIZE)
        corners = transform(matrix, found.boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]])
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1) if len(found) else found.boxes
        return Found(found.scores, boxes, transform(matrix, found.alignment))
