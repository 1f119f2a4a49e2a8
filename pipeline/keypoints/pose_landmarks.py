"""The second BlazePose network: 33 landmarks and a person mask in an oriented square.

The network returns 39 landmarks (x, y, z in pixels of its 256 x 256 input, visibility and presence as logits): 33 of
the body, two alignment points for the square of the next frame and four that are not used. A heat map a landmark
refines the positions; the 33 are also given in metres. Constants are those of the MediaPipe graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.keypoints.masks import Cover, covered, hidden_pixels, paint_over
from pipeline.keypoints.regions import Region, transform
from pipeline.keypoints.tflite import TfliteNetwork

SIZE = 256
BODY = 33
_ALIGNMENT = slice(33, 35)
_HEATMAP = 64
_REFINE_RADIUS = 4  # as measured on MediaPipe's own output: 9 x 9 cells
_REFINE_MIN_CONFIDENCE = 0.5
_HIDDEN_VISIBILITY = 0.3  # of a joint that is guessed behind somebody else, times what the network says


@dataclass(frozen=True)
class Pose:
    """One person as the landmark network sees it.

    Attributes:
        points: (33, 2) float64 pixels of the image.
        depth: (33,) pixels of the image relative to the hips, smaller is nearer to the camera.
        visibility: (33,) 0..1, in view and not hidden; little where somebody else was painted over.
        presence: (33,) 0..1, within the square.
        score: 0..1, that there is a person in the square.
        peaks: (33,) 0..1, highest value of the landmark's heat map near it.
        mask: (256, 256) float32 person probability in ``region``; 0 where somebody else was painted over.
        seen: 0..1, share of the mask that is not under somebody painted over.
        region: the square looked at.
        next_region: where to look in the next frame.
        covers: who was painted over.
        world: (33, 3) metres from the middle of the hips, axes of a camera that looks straight at the person (x right,
            y down, z away); NaN for poses that no network has seen.
    """

    points: np.ndarray
    depth: np.ndarray
    visibility: np.ndarray
    presence: np.ndarray
    score: float
    peaks: np.ndarray
    mask: np.ndarray
    seen: float
    region: Region
    next_region: Region
    covers: tuple[Cover, ...] = ()
    world: np.ndarray = field(default_factory=lambda: np.full((BODY, 3), np.nan))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -80.0, 80.0)))


def refine(points: np.ndarray, heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move points to the centre of mass of their heat map around them, where that map is confident.

    Args:
        points: (J, 2) pixels of the 256 x 256 input.
        heatmaps: (64, 64, J) logits.

    Returns:
        points (J, 2); peaks (J,) highest probability in the 9 x 9 window, 0 outside the map.
    """
    joints = np.arange(len(points))
    cell = np.floor(np.nan_to_num(points) * (_HEATMAP / SIZE)).astype(int)
    inside = ((cell >= 0) & (cell < _HEATMAP)).all(1)
    offsets = np.arange(-_REFINE_RADIUS, _REFINE_RADIUS + 1)
    columns, rows = cell[:, :1] + offsets, cell[:, 1:] + offsets  # (J, 9)
    valid_c, valid_r = ((v >= 0) & (v < _HEATMAP) for v in (columns, rows))
    r, c = (np.clip(v, 0, _HEATMAP - 1) for v in (rows, columns))
    window = sigmoid(heatmaps[r[:, :, None], c[:, None, :], joints[:, None, None]].astype(np.float64))
    window *= valid_r[:, :, None] & valid_c[:, None, :] & inside[:, None, None]
    total, peaks = window.sum((1, 2)), window.max((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        x = (window.sum(1) * columns).sum(1) / total
        y = (window.sum(2) * rows).sum(1) / total
    sure = (peaks >= _REFINE_MIN_CONFIDENCE) & (total > 0)
    return np.where(sure[:, None], np.stack([x, y], 1) * (SIZE / _HEATMAP), points), peaks


class PoseLandmarks:
    """The landmark network on any oriented square of an image."""

    def __init__(self, path: Path) -> None:
        outputs = [(1, 195), (1, 1), (1, SIZE, SIZE, 1), (1, _HEATMAP, _HEATMAP, 39), (1, 117)]
        self._net = TfliteNetwork(path, (1, SIZE, SIZE, 3), outputs)

    def run(self, image: np.ndarray, region: Region, covers: Sequence[Cover] = ()) -> Pose:
        """The person in ``region`` of the RGB ``image``, with ``covers`` painted over.

        There is always an answer; ``score`` says what it is worth.
        """
        crop = paint_over(region.crop(image, SIZE), region, covers)
        values, flag, mask, heatmaps, world = self._net.run((crop.astype(np.float32) / 255.0)[None])
        values = values.reshape(39, 5).astype(np.float64)
        crop_points, peaks = refine(values[:, :2], heatmaps[0])
        points = transform(region.to_image(SIZE), crop_points)
        start, end = points[_ALIGNMENT]
        probability, hidden = sigmoid(mask[0, :, :, 0]), hidden_pixels(region, SIZE, covers)
        visible = np.where(hidden, np.float32(0.0), probability)
        return Pose(
            points[:BODY],
            values[:BODY, 2] * (region.side / SIZE),
            sigmoid(values[:BODY, 3]) * np.where(covered(points[:BODY], covers), _HIDDEN_VISIBILITY, 1.0),
            sigmoid(values[:BODY, 4]),
            float(flag[0, 0]),
            peaks[:BODY],
            visible,
            float(visible.sum() / max(probability.sum(), 1.0)),
            region,
            Region.from_alignment(start, end),
            tuple(covers),
            _upright(world.reshape(39, 3)[:BODY].astype(np.float64), region.angle),
        )


def _upright(world: np.ndarray, angle: float) -> np.ndarray:
    """Points (N, 3) of a crop turned by ``angle`` in the image, in the axes of the image."""
    c, s = np.cos(angle), np.sin(angle)
    return world @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
