"""Boxes (N, 4) x0 y0 x1 y1 in pixels of the canvas: anchors, deltas, overlaps, suppression.

Two geometries. "legacy", for weights that were trained in it (mmdetection 1): corners are inclusive pixels, so a box is
x1 - x0 + 1 wide, and anchors are rounded. "modern": corners are edges with pixel centres at integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

RATIOS = (0.5, 1.0, 2.0)
_MOST_GROWTH = abs(float(np.log(16 / 1000)))


class Geometry:
    """Arithmetic of boxes; ``one`` is what a width has beyond the difference of its corners."""

    def __init__(self, name: str) -> None:
        self.name, self.one = name, 1.0 if name == "legacy" else 0.0
        # Edges of the canvas' first and, subtracted from its side, last pixel.
        self._first, self._last = (0.0, 1.0) if name == "legacy" else (-0.5, 0.5)

    def sizes(self, boxes: Tensor) -> Tensor:
        """(..., 2) width and height."""
        return boxes[..., 2:] - boxes[..., :2] + self.one

    def centres(self, boxes: Tensor) -> Tensor:
        return (boxes[..., :2] + boxes[..., 2:]) / 2

    def base_anchors(self, stride: int, scale: float, ratios: Sequence[float] = RATIOS) -> Tensor:
        """(A, 4) anchors of the first cell of a level; ratios are height over width."""
        root = torch.tensor(ratios, dtype=torch.float64).sqrt()
        size = stride * scale * torch.stack([1 / root, root], -1)
        half, middle = (size - self.one) / 2, (stride - 1) / 2
        anchors = torch.cat([middle - half, middle + half], -1)
        return (anchors.round() if self.one else anchors).float()

    def anchors(self, shape: tuple[int, int], stride: int, scale: float, device: torch.device | str = "cpu") -> Tensor:
        """(H * W * A, 4) anchors of a level of (H, W) cells, the A of a cell together."""
        H, W = shape
        y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
        shift = (torch.stack([x, y, x, y], -1) * stride).reshape(-1, 1, 4)
        return (shift + self.base_anchors(stride, scale)).reshape(-1, 4).to(device)

    def encode(self, boxes: Tensor, targets: Tensor, stds: Sequence[float] = (1, 1, 1, 1)) -> Tensor:
        """Deltas (N, 4) that take boxes to targets (Ren 2015): centres in sizes, logarithms of sizes."""
        size, target = self.sizes(boxes), self.sizes(targets)
        centre = (self.centres(targets) - self.centres(boxes)) / size
        return torch.cat([centre, (target / size).log()], -1) / boxes.new_tensor(stds)

    def decode(
        self, boxes: Tensor, deltas: Tensor, canvas: tuple[int, int], stds: Sequence[float] = (1, 1, 1, 1)
    ) -> Tensor:
        """Boxes (N, 4) moved by deltas (N, 4), cut at the canvas (width, height)."""
        deltas = deltas * deltas.new_tensor(stds)
        size = self.sizes(boxes)
        centre = self.centres(boxes) + size * deltas[..., :2]
        half = (size * deltas[..., 2:].clamp(-_MOST_GROWTH, _MOST_GROWTH).exp() - self.one) / 2
        return self.cut(torch.cat([centre - half, centre + half], -1), canvas)

    def cut(self, boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
        most = boxes.new_tensor(canvas).repeat(2) - self._last
        return boxes.clamp_min(self._first).minimum(most)

    def overlaps(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, M) intersection over union."""
        low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
        shared = (high - low + self.one).clamp_min(0).prod(-1)
        area_a, area_b = self.sizes(a).prod(-1), self.sizes(b).prod(-1)
        return shared / (area_a[:, None] + area_b[None] - shared).clamp_min(1e-6)

    def keep_best(self, boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
        """Non-maximum suppression: rows (K,) that stay, best first."""
        order = scores.argsort(descending=True, stable=True)
        near = (self.overlaps(boxes[order], boxes[order]) > overlap).cpu().numpy()
        gone, kept = np.zeros(len(order), bool), []
        for row in range(len(order)):
            if not gone[row]:
                kept.append(row)
                gone |= near[row]
        return order[torch.as_tensor(kept, dtype=torch.int64, device=order.device)]
