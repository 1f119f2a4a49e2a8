"""How good masks are against the truth: intersection over union, boundary error, people taken for one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from pipeline.cameras import Camera

FEWEST_PIXELS = 50
"""A person of whom less is to be seen in a view does not count there: an edge decides everything."""
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))  # four neighbours: a rim one pixel thin
SWAPPED = 0.5
"""Share of a person's true pixels that carry another's label from where they count as swapped."""


@dataclass
class MaskFigures:
    """Figures over all people, views and frames that were added.

    Attributes:
        iou: one a person and view; 0 where the person was missed altogether.
        boundary_px: mean distance of the two outlines from each other, one a person and view, pixels.
        swaps: people and views where most of a person's pixels were given to another.
    """

    iou: list[float] = field(default_factory=list)
    boundary_px: list[float] = field(default_factory=list)
    swaps: int = 0

    def add(self, found: np.ndarray, true: np.ndarray, people: Sequence[int]) -> None:
        """Compare label images (H, W): ``found`` and ``true`` with the same labels, of which ``people`` count."""
        for label in people:
            there = true == label
            if there.sum() < FEWEST_PIXELS:
                continue
            mine = found == label
            self.iou.append(float((mine & there).sum() / (mine | there).sum()))
            error = boundary_error(mine, there)
            if np.isfinite(error):
                self.boundary_px.append(error)
            others = there & (found != 0) & ~mine
            self.swaps += bool(others.sum() > SWAPPED * there.sum())

    def row(self) -> dict[str, float | int]:
        """The figures as a benchmark's row has them."""
        return {
            "iou": float(np.mean(self.iou)) if self.iou else float("nan"),
            "identity_swaps": self.swaps,
            "boundary_px": float(np.mean(self.boundary_px)) if self.boundary_px else float("nan"),
            "masks": len(self.iou),
        }


def boundary_error(found: np.ndarray, true: np.ndarray) -> float:
    """Mean distance in pixels from each mask's outline to the other's, both ways; NaN if one is empty.

    The outline lies between pixels: each pixel that has a neighbour outside counts, half a pixel off both ways, so that
    equal masks have no error.
    """
    if not found.any() or not true.any():
        return float("nan")
    distances = []
    for a, b in ((found, true), (true, found)):
        rim = a & ~_eroded(a)
        distances.append(_to_outline(b)[rim])
    return float(np.mean(np.concatenate(distances)))


def _eroded(mask: np.ndarray) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), _CROSS, borderValue=1) > 0


def _to_outline(mask: np.ndarray) -> np.ndarray:
    rim = mask & ~_eroded(mask)
    return cv2.distanceTransform((~rim).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def undistorted_labels(labels: np.ndarray, camera: Camera) -> np.ndarray:
    """A label image (H, W) of a camera with lens distortion as the undistorted image has it: the largest share wins."""
    if camera.is_pinhole:
        return labels
    values = np.unique(labels)
    shares = [camera.undistort_image((labels == v).astype(np.float32)) for v in values]
    return values[np.argmax(shares, axis=0)].astype(labels.dtype)
