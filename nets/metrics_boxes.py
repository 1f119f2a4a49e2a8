"""How well people are found in images: average precision, also by how large they are; who was found as whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COCO_IOUS = tuple(np.arange(0.5, 0.951, 0.05).round(2).tolist())
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class ImageBoxes:
    """Boxes x0 y0 x1 y1 of one image, pixels.

    Attributes:
        truth: (T, 4).
        found: (P, 4).
        scores: (P,).
        ignored: (T,) bool, people who count neither as found nor as missed (crowds); None: nobody. Any number of found
            boxes may lie in one.
    """

    truth: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    ignored: np.ndarray | None = None


def box_ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4)."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), -1)
    area_a, area_b = (np.prod(np.maximum(x[:, 2:] - x[:, :2], 0), -1) for x in (a, b))
    return both / np.maximum(area_a[:, None] + area_b[None] - both, 1e-12)


def average_precision(
    images: Sequence[ImageBoxes], iou: float = 0.5, height_px: tuple[float, float] = (0, np.inf)
) -> float:
    """Average precision as COCO computes it: precision made monotonic, read at 101 recalls, mean, 0..1.

    Each found box, best score first, takes the free true box that it overlaps most, if by ``iou``. People outside the
    range of heights are ignored, and so are found boxes outside it that match nobody. NaN if nobody is left.
    """
    scores, hits, people = [], [], 0
    for image in images:
        ignored = _outside(image.truth, height_px) | _ignored(image)
        people += int((~ignored).sum())
        order = np.argsort(-np.asarray(image.scores), kind="stable")
        verdicts, _ = _verdicts(_overlaps(image, order), ignored, iou)
        alien = _outside(np.asarray(image.found).reshape(-1, 4)[order], height_px)
        counts = (verdicts != _IGNORED) & ~((verdicts == _WRONG) & alien)
        scores.append(np.asarray(image.scores, np.float64)[order][counts])
        hits.append(verdicts[counts] == _RIGHT)
    if people == 0:
        return float("nan")
    order = np.argsort(-np.concatenate(scores), kind="stable")
    right = np.concatenate(hits)[order].cumsum()
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(right / people, RECALLS - 1e-12)
    return float(np.where(at < len(right), np.append(precision, 0)[np.minimum(at, len(right))], 0).mean())


def mean_average_precision(images: Sequence[ImageBoxes], height_px: tuple[float, float] = (0, np.inf)) -> float:
    """COCO's AP: mean of ``average_precision`` over IoU 0.5, 0.55 ... 0.95."""
    return float(np.mean([average_precision(images, iou, height_px) for iou in COCO_IOUS]))


def false_people(images: Sequence[ImageBoxes], iou: float = 0.5, least_score: float = 0.0) -> float:
    """Found boxes an image that match nobody, counted down to ``least_score``."""
    wrong = 0
    for image in images:
        good = np.asarray(image.scores) >= least_score
        order = np.argsort(-np.asarray(image.scores)[good], kind="stable")
        overlap = _overlaps(image, np.flatnonzero(good)[order])
        wrong += int((_verdicts(overlap, _ignored(image), iou)[0] == _WRONG).sum())
    return wrong / max(len(images), 1)


def found_as(image: ImageBoxes, iou: float = 0.5) -> np.ndarray:
    """(T,) row of the found box that was taken for each true person, as ``average_precision`` takes them; -1: missed,
    or ignored."""
    out = np.full(len(image.truth), -1)
    order = np.argsort(-np.asarray(image.scores), kind="stable")
    verdicts, which = _verdicts(_overlaps(image, order), _ignored(image), iou)
    right = verdicts == _RIGHT
    out[which[right]] = order[right]
    return out


_WRONG, _RIGHT, _IGNORED = 0, 1, 2


def _ignored(image: ImageBoxes) -> np.ndarray:
    return np.zeros(len(image.truth), bool) if image.ignored is None else np.asarray(image.ignored, bool)


def _outside(boxes: np.ndarray, height_px: tuple[float, float]) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    height = boxes[:, 3] - boxes[:, 1]
    return (height < height_px[0]) | (height >= height_px[1])


def _overlaps(image: ImageBoxes, rows: np.ndarray) -> np.ndarray:
    """(P, T) IoU of found boxes in the order of ``rows``; with a crowd, how much of the found box lies in it."""
    found, truth = (np.asarray(b, np.float64).reshape(-1, 4) for b in (image.found, image.truth))
    found = found[rows]
    overlap = box_ious(found, truth)
    ignored = _ignored(image)
    if ignored.any():
        crowds = truth[ignored]
        low = np.maximum(found[:, None, :2], crowds[None, :, :2])
        high = np.minimum(found[:, None, 2:], crowds[None, :, 2:])
        area = np.prod(np.maximum(found[:, 2:] - found[:, :2], 1e-9), -1)
        overlap[:, ignored] = np.prod(np.maximum(high - low, 0), -1) / area[:, None]
    return overlap


def _verdicts(overlap: np.ndarray, ignored: np.ndarray, iou: float) -> tuple[np.ndarray, np.ndarray]:
    """(P,) of found boxes in order of their scores, and (P,) of which true box (-1: none). People who count are taken
    before those who are ignored."""
    out, which = np.full(len(overlap), _WRONG), np.full(len(overlap), -1)
    free = np.ones(overlap.shape[1], bool)
    for p, row in enumerate(overlap):
        for among, verdict in ((free & ~ignored, _RIGHT), (ignored, _IGNORED)):
            candidates = np.where(among, row, -1.0)
            if candidates.size and candidates.max() >= iou:
                which[p] = candidates.argmax()
                free[which[p]] = False
                out[p] = verdict
                break
    return out, which
