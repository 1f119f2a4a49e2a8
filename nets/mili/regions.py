"""Features of regions: RoIAlign (He 2017) as bilinear sampling, from the level of the pyramid that suits a box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as nn_functional

from nets.mili.backbone import STRIDES
from nets.mili.boxes import Geometry

FINEST = 56.0
"""Side of the largest boxes that the finest level serves, pixels of the canvas, times two."""
_SAMPLES = 2


def level_of(boxes: Tensor, geometry: Geometry, levels: int = 4, finest: float = FINEST) -> Tensor:
    """(N,) which level serves each box: one coarser for each doubling of its size."""
    side = geometry.sizes(boxes).clamp_min(0).prod(-1).sqrt()
    return (side / finest + 1e-6).log2().floor().clamp(0, levels - 1).long()


def pool(
    levels: Sequence[Tensor],
    boxes: Sequence[Tensor],
    size: int,
    geometry: Geometry,
    finest: float = FINEST,
) -> Tensor:
    """Features (N, C, size, size) of the boxes of all images, one image's after the other's.

    Args:
        levels: features (B, C, H, W) of P2 to P5.
        boxes: B tensors (N_b, 4), canvas pixels.
        finest: see ``FINEST``; smaller for a smaller canvas.
    """
    joined = torch.cat(list(boxes))
    out = levels[0].new_zeros(len(joined), levels[0].shape[1], size, size)
    image = torch.repeat_interleave(
        torch.arange(len(boxes), device=joined.device), torch.tensor([len(b) for b in boxes], device=joined.device)
    )
    which = level_of(joined, geometry, len(levels), finest)
    for k, level in enumerate(levels):
        # Taken apart once: the gradient of each level[b] would be as large as the whole batch.
        for b, of_image in enumerate(level.unbind()):
            rows = torch.nonzero((which == k) & (image == b)).flatten()
            if len(rows):
                out[rows] = _pooled(of_image, joined[rows], size, STRIDES[k], geometry).to(out.dtype)
    return out


def _pooled(feature: Tensor, boxes: Tensor, size: int, stride: int, geometry: Geometry) -> Tensor:
    """(n, C, size, size) of one image and level: the mean of two by two samples a bin."""
    H, W = feature.shape[-2:]
    # Legacy coordinates are those of the first implementations: half a cell off, kept for the weights that know it.
    first = boxes[:, :2] / stride if geometry.one else (boxes[:, :2] + 0.5) / stride - 0.5
    extent = geometry.sizes(boxes).clamp_min(0) / stride
    step = (torch.arange(size * _SAMPLES, device=boxes.device) + 0.5) / (size * _SAMPLES)
    at = first[:, None] + step[:, None] * extent[:, None]  # (n, samples, 2)
    x, y = (2 * at[..., i] / max(side - 1, 1) - 1 for i, side in ((0, W), (1, H)))
    n, count = x.shape
    grid = torch.stack([x[:, None].expand(n, count, count), y[:, :, None].expand(n, count, count)], -1)
    flat = grid.reshape(1, n * count, count, 2).float()  # half a precision would move samples by parts of a cell
    sampled = nn_functional.grid_sample(feature[None].float(), flat, align_corners=True, padding_mode="border")
    sampled = sampled[0].reshape(-1, n, count, count).transpose(0, 1)
    return nn_functional.avg_pool2d(sampled, _SAMPLES)


def crop_masks(masks: Tensor, rows: Tensor, boxes: Tensor, size: int, scale: float) -> Tensor:
    """True masks inside boxes: (n, size, size) in 0..1.

    Args:
        masks: (M, h, w) of people, at ``scale`` pixels of theirs per canvas pixel. rows: (n,) which mask a box is of.
    """
    h, w = masks.shape[-2:]
    step = (torch.arange(size, device=boxes.device) + 0.5) / size
    at = boxes[:, None, :2] + step[:, None] * (boxes[:, None, 2:] - boxes[:, None, :2])
    at = (at + 0.5) * scale - 0.5
    x, y = 2 * at[..., 0] / max(w - 1, 1) - 1, 2 * at[..., 1] / max(h - 1, 1) - 1
    n = len(boxes)
    grid = torch.stack([x[:, None].expand(n, size, size), y[:, :, None].expand(n, size, size)], -1)
    return nn_functional.grid_sample(masks[rows, None].float(), grid, align_corners=True)[:, 0]
