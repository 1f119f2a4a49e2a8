"""How well people in pictures were found: matched one to one by their boxes, then compared in 3D."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SMALL, MEDIUM = 32.0, 96.0
"""Heights in pixels of the canvas that divide small, medium and large people."""


@dataclass
class Scores:
    """What is gathered over pictures, and its figures.

    People are matched greedily by score to the truth they overlap most, from an overlap of ``overlap`` on. Joint errors
    are from the mid hip, unaligned; somebody who was missed counts as ``miss_mm`` in the strict figures.
    """

    overlap: float = 0.5
    miss_mm: float = 500.0
    reach_mm: float = 150.0
    errors: list[np.ndarray] = field(default_factory=list)
    hits: list[tuple[float, bool]] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)
    images: int = 0

    def add(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        joints: np.ndarray,
        true_boxes: np.ndarray,
        true_joints: np.ndarray,
        seen: np.ndarray,
        ignored: np.ndarray | None = None,
    ) -> None:
        """One picture: found people with boxes (N, 4), scores (N,), joints (N, K, 3) metres, and the truth of M.

        Args:
            seen: (M,) share of each that is visible. ignored: (N,) bool, found people who are there but not in the
                truth: neither right nor wrong.
        """
        self.images += 1
        overlaps = _overlaps(boxes, true_boxes)
        owner = np.full(len(true_boxes), -1)
        for k in np.argsort(-scores, kind="stable"):
            free = np.where(owner < 0, overlaps[k], -1) if len(true_boxes) else np.zeros(0)
            best = int(free.argmax()) if len(free) else -1
            right = best >= 0 and free[best] >= self.overlap
            if right:
                owner[best] = k
            if right or ignored is None or not ignored[k]:
                self.hits.append((float(scores[k]), right))
        for m, k in enumerate(owner):
            self.heights.append(float(true_boxes[m, 3] - true_boxes[m, 1]))
            self.seen.append(float(seen[m]))
            self.found.append(k >= 0)
            if k >= 0:
                away = (joints[k] - joints[k, :1]) - (true_joints[m] - true_joints[m, :1])
                self.errors.append(1000 * np.linalg.norm(away, axis=-1))
            else:
                self.errors.append(np.full(true_joints.shape[1], self.miss_mm))

    def figures(self) -> dict[str, float]:
        """mpjpe_mm of those found; mpjpe_strict_mm with misses; pck150 of all and pck150_matched in per cent; box_ap in
        per cent (area under precision over recall at one overlap); recall; false_people an image; mpjpe by size and by
        how much is hidden."""
        found = np.array(self.found, bool)
        if not len(found):
            return {"false_people": len(self.hits) / max(self.images, 1)}
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
            "box_ap": 100 * _average_precision(self.hits, len(found)),
            "recall": float(found.mean()),
            "false_people": sum(not right for _, right in self.hits) / max(self.images, 1),
            "mpjpe_small_mm": mean(heights < SMALL),
            "mpjpe_medium_mm": mean((heights >= SMALL) & (heights < MEDIUM)),
            "mpjpe_large_mm": mean(heights >= MEDIUM),
            "mpjpe_hidden_mm": mean(seen < 0.6),
            "mpjpe_open_mm": mean(seen >= 0.6),
            "recall_small": float(found[heights < SMALL].mean()) if (heights < SMALL).any() else float("nan"),
        }


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [(x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


def _average_precision(hits: list[tuple[float, bool]], people: int) -> float:
    """Area under the precision envelope, every point (COCO's at one overlap, without its 101 steps)."""
    right = np.array([r for _, r in sorted(hits, key=lambda h: -h[0])], float)
    if not len(right) or not people:
        return 0.0
    recall, precision = np.cumsum(right) / people, np.cumsum(right) / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * envelope).sum())
