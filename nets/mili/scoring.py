"""How well people in pictures were found while the network is trained: by boxes, then compared in 3D."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nets.metrics_boxes import ImageBoxes, average_precision, false_people, found_as

SMALL, MEDIUM = 32.0, 96.0
"""Heights in pixels of the canvas that divide small, medium and large people."""
HIDDEN = 0.6
"""People of whom less is seen are hidden."""


@dataclass
class Scores:
    """What is gathered over pictures, and its figures.

    People are matched as average precision matches them, with an overlap of ``overlap``. Joint errors are from the mid
    hip, unaligned. All but average precision takes people scored ``shown`` or better; somebody who is not among them
    counts as ``miss_mm`` in the strict error.
    """

    shown: float = 0.5
    overlap: float = 0.5
    miss_mm: float = 500.0
    reach_mm: float = 150.0
    images: list[ImageBoxes] = field(default_factory=list)
    errors: list[np.ndarray] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)

    def add(
        self,
        image: ImageBoxes,
        joints: np.ndarray,
        true_joints: np.ndarray,
        seen: np.ndarray,
    ) -> None:
        """One picture.

        Args:
            joints: (P, K, 3) metres, of found people. true_joints: (M, K, 3) of the first M true people; more of them
                are ignored ones. seen: (M,) share of each that is visible.
        """
        self.images.append(image)
        sure = np.flatnonzero(np.asarray(image.scores) >= self.shown)
        owners = found_as(ImageBoxes(image.truth, image.found[sure], image.scores[sure], image.ignored), self.overlap)
        for m in range(len(true_joints)):
            self.heights.append(float(image.truth[m, 3] - image.truth[m, 1]))
            self.seen.append(float(seen[m]))
            self.found.append(owners[m] >= 0)
            if owners[m] >= 0:
                k = sure[owners[m]]
                away = (joints[k] - joints[k, :1]) - (true_joints[m] - true_joints[m, :1])
                self.errors.append(1000 * np.linalg.norm(away, axis=-1))
            else:
                self.errors.append(np.full(true_joints.shape[1], self.miss_mm))

    def figures(self) -> dict[str, float]:
        """mpjpe_mm of those found; mpjpe_strict_mm with misses; pck150 of all and pck150_matched in per cent; box_ap in
        per cent; recall; false_people an image; mpjpe by size and by how much is hidden."""
        false = false_people(self.images, self.overlap, self.shown)
        found = np.array(self.found, bool)
        if not len(found):
            return {"false_people": false}
        errors = np.array(self.errors)
        good = errors < self.reach_mm
        heights, seen = np.array(self.heights), np.array(self.seen)

        def mean(rows: np.ndarray) -> float:
            return float(errors[rows & found].mean()) if (rows & found).any() else float("nan")

        every = np.ones(len(found), bool)
        return {
            "mpjpe_mm": mean(every),
            "mpjpe_strict_mm": float(errors.mean()),
            "pck150": 100 * float(good[..., 1:].mean()),
            "pck150_matched": 100 * float(good[found][..., 1:].mean()) if found.any() else 0.0,
            "box_ap": 100 * average_precision(self.images, self.overlap),
            "recall": float(found.mean()),
            "false_people": false,
            "mpjpe_small_mm": mean(heights < SMALL),
            "mpjpe_medium_mm": mean((heights >= SMALL) & (heights < MEDIUM)),
            "mpjpe_large_mm": mean(heights >= MEDIUM),
            "mpjpe_hidden_mm": mean(seen < HIDDEN),
            "mpjpe_open_mm": mean(seen >= HIDDEN),
            "recall_small": float(found[heights < SMALL].mean()) if (heights < SMALL).any() else float("nan"),
        }
