"""The stills network: everybody in an image, with box, body, mask.

Images (B, 3, H, W) are RGB of the canvas' size, normalised (``normalise``), padded with zeros. Low-resolution images
are enlarged to the canvas first, and go through their own gate and the restoration network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as nn_functional

from nets.mili import regions
from nets.mili.backbone import STRIDES, Backbone, Pyramid, SpatialGate
from nets.mili.boxes import Geometry
from nets.mili.heads import (
    BODY_BINS,
    BOX_BINS,
    MASK_BINS,
    PERSON,
    Bodies,
    BodyHead,
    BoxHead,
    MaskHead,
    ProposalHead,
    Restoration,
)
from nets.mili.options import MiliOptions

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
TOP = 3
"""Row of P5, the pyramid's top level before subsampling."""


def normalise(images: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in 0..255 to what the network reads."""
    mean, std = (images.new_tensor(v)[:, None, None] for v in (MEAN, STD))
    return (images - mean) / std


@dataclass(frozen=True)
class ProposalOptions:
    """How many proposals are kept: best of each level before and after suppression, best of all."""

    before: int = 1000
    after: int = 1000
    most: int = 1000
    overlap: float = 0.7
    smallest: float = 0.0


@dataclass(frozen=True)
class Found:
    """People found in one image, best first. Boxes in pixels of the canvas.

    Attributes:
        boxes: (N, 4). scores: (N,). bodies: N bodies. masks: (N, 28, 28) in 0..1 inside the boxes, or None.
    """

    boxes: Tensor
    scores: Tensor
    bodies: Bodies
    masks: Tensor | None


@dataclass
class Features:
    """Of a batch: levels P2 to P6; ``top`` is P5 before, ``restored`` after the restoration network (None: there is
    none or the images are of high resolution)."""

    levels: list[Tensor]
    top: Tensor
    restored: Tensor | None = None
    proposals: list[Tensor] = field(default_factory=list)


class MiliNetwork(nn.Module):
    """Parameter names of the parts that CRMH has are CRMH's own."""

    def __init__(self, options: MiliOptions) -> None:
        super().__init__()
        self.options = options
        self.geometry = Geometry(options.geometry)
        self.finest = regions.FINEST * options.canvas[0] / 832
        self.backbone = Backbone(options.blocks, options.width, options.norm)
        self.neck = Pyramid(self.backbone.widths, options.pyramid)
        self.rpn_head = ProposalHead(options.pyramid)
        self.bbox_head = BoxHead(options.pyramid, options.box_hidden)
        self.smpl_head = BodyHead(options)
        gates = {"none": 0, "shared": 1, "separate": 2}[options.attention]
        self.attention = nn.ModuleList(SpatialGate() for _ in range(gates))
        self.mask_head = MaskHead(options.pyramid) if options.mask else None
        self.restoration = Restoration(options.pyramid) if options.restoration else None
        if options.norm == "frozen":
            self.backbone.freeze_first()

    def features(self, images: Tensor, low: bool) -> Features:
        """Levels of the pyramid; ``low``: the images are enlarged low-resolution ones."""
        if len(self.attention):
            images = self.attention[min(int(low), len(self.attention) - 1)](images)
        levels = self.neck(self.backbone(images))
        found = Features(levels, levels[TOP])
        if low and self.restoration is not None:
            found.restored = self.restoration(found.top)
            if self.options.feed_back:
                found.levels = [*levels[:TOP], found.restored, found.restored[..., ::2, ::2]]
        return found

    def anchors(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Per level (H * W * A, 4)."""
        return [
            self.geometry.anchors(tuple(x.shape[-2:]), s, self.options.anchor_scale, x.device)
            for x, s in zip(levels, STRIDES, strict=True)
        ]

    def propose(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor], options: ProposalOptions
    ) -> list[Tensor]:
        """Boxes (N_b, 4) of each image, best first."""
        out = []
        for b in range(len(logits[0])):
            boxes, scores = [], []
            for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
                score, rows = logit[b].detach().float().sigmoid().topk(min(options.before, logit.shape[1]))
                box = self.geometry.decode(anchor[rows], delta[b, rows].detach().float(), self.options.canvas)
                kept = (self.geometry.sizes(box) >= max(options.smallest, 1e-3)).all(-1)
                box, score = box[kept], score[kept]
                rows = self.geometry.keep_best(box, score, options.overlap)[: options.after]
                boxes.append(box[rows])
                scores.append(score[rows])
            best = torch.cat(scores).topk(min(options.most, sum(map(len, scores)))).indices
            out.append(torch.cat(boxes)[best])
        return out

    def box_scores(self, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (N, 2) and deltas (N, 8) of all images' boxes."""
        return self.bbox_head(self._pool(levels, boxes, BOX_BINS))

    def bodies(self, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> Bodies:
        return self.smpl_head(self._pool(levels, boxes, BODY_BINS))

    def masks(self, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor | None:
        """(N, 28, 28) in 0..1 inside the boxes, or None if the network has no mask head."""
        return None if self.mask_head is None else self.mask_head(self._pool(levels, boxes, MASK_BINS))

    def _pool(self, levels: Sequence[Tensor], boxes: Sequence[Tensor], bins: int) -> Tensor:
        return regions.pool(levels[:4], boxes, bins, self.geometry, self.finest)

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        low: bool,
        threshold: float = 0.5,
        overlap: float = 0.5,
        most: int = 100,
        proposals: ProposalOptions = ProposalOptions(),
    ) -> list[Found]:
        """People in each image whose score reaches ``threshold``, at most ``most``; of boxes that overlap more than
        ``overlap`` the best."""
        seen = self.features(images, low)
        logits, deltas = self.rpn_head(seen.levels)
        boxes = self.propose(logits, deltas, self.anchors(seen.levels), proposals)
        scores, moved = self.box_scores(seen.levels, boxes)
        counts = [len(b) for b in boxes]
        per_image = zip(boxes, scores.float().softmax(-1)[:, PERSON].split(counts), moved.split(counts), strict=True)
        kept = [self._final(*image, threshold, overlap, most) for image in per_image]
        finals = [box for box, _ in kept]
        counts = [len(b) for b in finals]
        bodies = self.bodies(seen.levels, finals)
        masks = self.masks(seen.levels, finals)
        parts = [Bodies(*x) for x in zip(*(value.split(counts) for value in bodies), strict=True)]
        of_image = [None] * len(counts) if masks is None else masks.float().split(counts)
        return [Found(b, s, p, m) for (b, s), p, m in zip(kept, parts, of_image, strict=True)]

    def _final(
        self, boxes: Tensor, scores: Tensor, deltas: Tensor, threshold: float, overlap: float, most: int
    ) -> tuple[Tensor, Tensor]:
        boxes = self.geometry.decode(boxes, deltas[:, 4:].float(), self.options.canvas, self.bbox_head.STDS)
        sure = scores >= threshold
        boxes, scores = boxes[sure], scores[sure]
        rows = self.geometry.keep_best(boxes, scores, overlap)[:most]
        return boxes[rows], scores[rows]


def mask_on_canvas(mask: Tensor, box: Tensor, canvas: tuple[int, int]) -> Tensor:
    """A box's mask (28, 28) as (H, W) in 0..1 on the canvas (width, height)."""
    W, H = canvas
    size = (box[2:] - box[:2]).clamp_min(1)
    x, y = (
        2 * (torch.arange(n, device=box.device) - box[i]) / size[i] - 1 for i, n in ((0, W), (1, H))
    )
    grid = torch.stack([x[None].expand(H, W), y[:, None].expand(H, W)], -1)[None]
    return nn_functional.grid_sample(mask[None, None], grid, align_corners=False)[0, 0]
