"""From everybody's scores to one owner a pixel, and to what of a person is hidden behind whom."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.segmentation.evidence import Crop, Evidence, SeenBody

SMALLEST_ISLAND = 0.03
"""Share of a person's pixels below which a piece apart from the rest is dropped, unless it lies on the body."""
HOLE = 0.002
"""Share of a person's pixels up to which a hole is closed."""
LIMB_M, AROUND_M = 0.054, 0.06
"""Width of body that shows nobody and is more than the slack of a fit; how far round it cannot be told either."""
NOT_DETECTED, MOSTLY = 0.3, 0.5
"""A patch wider than the slack of a fit where the detector is no surer than this of a person whom it has found shows a
thing in front; if it has found this share of the person."""
CROWD_M = 0.15
"""Nearer to a person than this, others confuse the detector."""
SLACK_M = 0.05
"""How far a body may reach beyond the person that is seen before the rest counts as hidden."""
_GUIDE_EPS = 25.0  # squared grey levels: differences of about five are edges


def plain_score(evidence: Evidence) -> np.ndarray:
    """(h, w) float32 0..1 how sure a pixel is the person's, from body and detector alone, without a network.

    The detector's mask decides near the body; without one, the body itself. Where another body is in front, or another
    mask is surer and the other body is no farther, the pixel is theirs.
    """
    own, other = evidence.depth, evidence.others_depth
    behind = np.isfinite(other) & (~np.isfinite(own) | (other < own))
    return plain(evidence.reach, evidence.detector, evidence.others, behind)


def plain(
    reach: np.ndarray, detector: np.ndarray | None, others: np.ndarray | None, behind: np.ndarray
) -> np.ndarray:
    """``plain_score`` of its parts, all (h, w): metres from the body's rim, the detector's chances of the person and of
    others, and whether another body is in front."""
    score = 1 / (1 + np.exp(np.clip(-reach / 0.02, -30, 30)))
    if detector is not None:
        near = np.clip(1 + (reach + 0.10) / 0.15, 0, 1)  # fades out beyond the usual clothes
        score = near * (0.8 * detector + 0.2 * score)
    if others is not None:
        behind = behind & ((others > (score if detector is None else detector)) | (others > 0.5))
    return np.where(behind, 0.25 * score, score).astype(np.float32)


def without_things(score: np.ndarray, evidence: Evidence) -> np.ndarray:
    """A score (h, w) without patches that the detector, which sees the rest of the person, leaves out.

    A body behind a thing makes its pixels likely, and so their colours would be learned as the person's. Where others
    are near a detector leaves out much, and nothing changes.
    """
    if evidence.detector is None or (evidence.others_reach > -CROWD_M)[evidence.reach > -CROWD_M].any():
        return score
    likely, missed = score > 0.5, evidence.detector < NOT_DETECTED
    if (likely & ~missed).sum() < MOSTLY * likely.sum():
        return score
    radius = max(1, round(LIMB_M / 2 * evidence.pixels_per_metre))
    return np.where(opened(likely & missed, radius), 0, score).astype(np.float32)


def opened(mask: np.ndarray, radius: float) -> np.ndarray:
    """What of a mask (h, w) bool discs of ``radius`` pixels reach that fit in."""
    core = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) > radius
    return mask & (cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5) <= radius)


def enlarged(score: np.ndarray, crop: Crop, image: np.ndarray) -> np.ndarray:
    """A score on a crop's grid to the crop's window of the image, its edges moved to those of the image."""
    x0, y0, x1, y1 = crop.window
    if crop.size == (x1 - x0, y1 - y0):
        return score
    large = cv2.resize(score, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    scale = float(crop.scale.min())
    radius = max(2, int(np.ceil(1.5 / scale)))
    guide = np.ascontiguousarray(image[y0:y1, x0:x1])
    # How score goes with colour is told at about the crop's size, where the score is from, and applied to every pixel.
    filtered = cv2.ximgproc.guidedFilter(guide, large.astype(np.float32), radius, _GUIDE_EPS, scale=scale)
    return np.clip(filtered, 0, 1)


def owners(size: tuple[int, int], scores: Sequence[tuple[Crop, np.ndarray] | None]) -> np.ndarray:
    """(H, W) uint8: k + 1 where person k's score is the largest and above a half, else 0.

    Args:
        size: (width, height) of the image.
        scores: of each person, their crop and the score (h, w) 0..1 in its window of the image; None for nobody.
    """
    width, height = size
    best, labels = np.full((height, width), 0.5, np.float32), np.zeros((height, width), np.uint8)
    for k, scored in enumerate(scores):
        if scored is None:
            continue
        x0, y0, x1, y1 = scored[0].window
        there = best[y0:y1, x0:x1]
        wins = scored[1] > there
        there[wins] = scored[1][wins]
        labels[y0:y1, x0:x1][wins] = k + 1
    return labels


def tidied(mask: np.ndarray, body: np.ndarray) -> np.ndarray:
    """A person's mask (h, w) bool without islands too small to be a part of them, and without pinholes.

    ``body`` (h, w) bool: an island that lies on it stays.
    """
    total = int(mask.sum())
    if not total:
        return mask
    out = mask.copy()
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    on_body = np.bincount(pieces.ravel(), body.ravel().astype(float), count)
    for k in range(1, count):
        area = stats[k, cv2.CC_STAT_AREA]
        if area < SMALLEST_ISLAND * total and on_body[k] < 0.5 * area:
            out[pieces == k] = False
    count, pieces, stats, _ = cv2.connectedComponentsWithStats((~out).astype(np.uint8), connectivity=4)
    rim = np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))
    for k in np.setdiff1d(np.arange(1, count), rim):
        if stats[k, cv2.CC_STAT_AREA] <= max(1, HOLE * total) and not out[pieces == k].any():
            out[pieces == k] = True
    return out


def hidden_part(person: int, body: SeenBody, others_depth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(h, w) bool in the body's crop window of the image: where the person is behind somebody or something.

    Behind another person where the pixel is theirs, unless their body is clearly farther there; behind a thing where
    more of the body than the slack of its fit shows nobody.

    Args:
        person: index, label ``person + 1``.
        others_depth: (h, w) on the grid of ``body.crop``.
        labels: (H, W) of the view.
    """
    x0, y0, x1, y1 = body.crop.window
    mine = labels[y0:y1, x0:x1]
    inside = body.silhouette
    theirs = inside & (mine != person + 1) & (mine != 0)
    farther = body.crop.to_window(np.isfinite(others_depth) & (others_depth > body.depth + SLACK_M))
    behind = hidden_by_things(inside & (mine == 0), body.pixels_per_metre / float(body.crop.scale[1]))
    return (theirs & ~farther) | (behind & (mine == 0))


def hidden_by_things(missing: np.ndarray, pixels_per_metre: float) -> np.ndarray:
    """(H, W) bool, where a thing hides the person, from the pixels ``missing`` where the body is and nobody is seen.

    More than the slack of a fit shows nobody there, and less than a leg is wide, so that legs behind
    things are found. Clothes stand off the body: what is round it is hidden too.
    """

    narrow, around = (max(1, round(m * pixels_per_metre)) for m in (LIMB_M / 2, AROUND_M))
    core = cv2.distanceTransform(missing.astype(np.uint8), cv2.DIST_L2, 5) > narrow
    # what a disc that fits in reaches, and what is round that: one distance from where its middle can be
    return cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5) <= narrow + around


def agreement(mask: np.ndarray, body: np.ndarray, hidden: np.ndarray) -> float:
    """Intersection over union of a mask and the part of the body that is not hidden, all (h, w) bool."""
    expected = body & ~hidden
    union = int((mask | expected).sum())
    return float((mask & expected).sum() / union) if union else float("nan")
