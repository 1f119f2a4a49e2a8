"""How well masks agree: overlap, boundaries, and who is who."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.cameras import Camera


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks (H, W) bool; NaN if both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else float("nan")


def boundary(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of a mask with a neighbour (of four) outside it; the edge of the image is no boundary."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def boundary_error_px(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance in pixels between the boundaries of two masks (H, W), mean of both directions; NaN if either has
    none (an empty mask scores in ``iou``)."""
    import cv2

    edges = [boundary(np.asarray(m, bool)) for m in (a, b)]
    if not (edges[0].any() and edges[1].any()):
        return float("nan")
    away = [cv2.distanceTransform((~e).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for e in edges]
    return float(0.5 * (away[1][edges[0]].mean() + away[0][edges[1]].mean()))


def label_overlap(found: np.ndarray, truth: np.ndarray, people_found: int, people_true: int) -> np.ndarray:
    """(people_true + 1, people_found + 1) pixels of two label images (H, W), 0 nobody, k + 1 the k-th person."""
    codes = truth.astype(np.int64) * (people_found + 1) + found
    return np.bincount(codes.ravel(), minlength=(people_true + 1) * (people_found + 1)).reshape(people_true + 1, -1)


def match_people(overlaps: Sequence[np.ndarray]) -> dict[int, int]:
    """True person -> found person (rows, from 0) with the largest overlap over all label images together."""
    together = np.sum(np.stack([o[1:, 1:] for o in overlaps]), 0)
    rows, columns = linear_sum_assignment(-together)
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if together[r, c] > 0}


def label_ious(overlap: np.ndarray, partners: Mapping[int, int]) -> np.ndarray:
    """(people_true,) IoU of each true person in one image with the partner's label; NaN where the person is not in it
    and nobody was taken for it, 0 for a person without a partner."""
    out = np.full(len(overlap) - 1, np.nan)
    for person in range(len(out)):
        own, partner = int(overlap[person + 1].sum()), partners.get(person)
        both = 0 if partner is None else int(overlap[person + 1, partner + 1])
        found = 0 if partner is None else int(overlap[:, partner + 1].sum())
        union = own + found - both
        out[person] = both / union if union else np.nan
    return out


def identity_swaps(overlap: np.ndarray, partners: Mapping[int, int], least_pixels: int = 50) -> int:
    """How many true people of one image are mostly labelled as somebody else rather than as their partner.

    People with fewer than ``least_pixels`` visible are not judged.
    """
    swaps = 0
    for person in range(len(overlap) - 1):
        row = overlap[person + 1, 1:]
        if overlap[person + 1].sum() < least_pixels or not row.any():
            continue
        partner = partners.get(person)
        swaps += int(row.argmax()) != partner and (partner is None or row.max() > row[partner])
    return swaps


def silhouette_iou(vertices: np.ndarray, faces: np.ndarray, camera: Camera, mask: np.ndarray) -> float:
    """IoU of a mesh (V, 3) metres, (T, 3) as a camera sees it, lens distortion included, with a mask (H, W)."""
    from pipeline.raster_open3d import Open3DRaster

    if not len(faces):
        return iou(np.zeros_like(mask, bool), np.asarray(mask, bool))
    return iou(Open3DRaster(threads=1).render(vertices, faces, camera).hit, np.asarray(mask, bool))
