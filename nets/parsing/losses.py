"""What parsing networks are trained with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

RIM = 5
"""Pixels of the window in which a true outline counts more."""
RIM_WEIGHT = 3.0


def mask_loss(logits: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Binary cross-entropy, heavier near the true outline, and one minus the soft intersection over union.

    Args:
        logits, truth: (B, 1, H, W); the truth may be a share of a pixel.
    """
    widest = F.max_pool2d(truth, RIM, 1, RIM // 2)
    narrowest = -F.max_pool2d(-truth, RIM, 1, RIM // 2)
    weight = 1 + (RIM_WEIGHT - 1) * (widest - narrowest)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, weight)
    chance = torch.sigmoid(logits)
    both = (chance * truth).sum((1, 2, 3))
    either = (chance + truth - chance * truth).sum((1, 2, 3))
    overlap = 1 - ((both + 1) / (either + 1)).mean()
    return {"loss": entropy + 0.5 * overlap, "entropy": entropy, "overlap": overlap}


# --- the published network: edges, labels and their correction ------------------------------------------------------

IGNORED = 255
"""Label of pixels that nothing is learned from."""


def edges_of(labels: Tensor) -> Tensor:
    """(B, H, W) int64 1 where labels (B, H, W) change between neighbours, diagonal ones too, three pixels wide."""
    edge = torch.zeros(labels.shape, dtype=torch.float32, device=labels.device)
    height, width = labels.shape[-2:]

    def mark(at: tuple, a: tuple, b: tuple) -> None:
        first, second = labels[a], labels[b]
        edge[at][(first != second) & (first != IGNORED) & (second != IGNORED)] = 1

    rows, columns, every = slice(1, height), slice(1, width), slice(None)
    above, before = slice(0, height - 1), slice(0, width - 1)
    mark((every, rows, every), (every, rows, every), (every, above, every))
    mark((every, every, before), (every, every, before), (every, every, columns))
    mark((every, above, before), (every, above, before), (every, rows, columns))
    mark((every, above, columns), (every, above, columns), (every, rows, before))
    return F.max_pool2d(edge[:, None], 3, 1, 1)[:, 0].long()


def lovasz_softmax(chances: Tensor, labels: Tensor) -> Tensor:
    """Lovász extension of the Jaccard loss over the classes that are there (Berman et al. 2018, algorithm 1).

    Args:
        chances: (B, C, H, W) softmax. labels: (B, H, W) int64, ``IGNORED`` is left out.
    """
    flat = chances.movedim(1, -1).reshape(-1, chances.shape[1])
    wanted = labels.reshape(-1)
    valid = wanted != IGNORED
    flat, wanted = flat[valid], wanted[valid]
    losses = []
    for c in wanted.unique().tolist():
        there = (wanted == c).to(flat.dtype)
        errors, order = (there - flat[:, c]).abs().sort(descending=True)
        losses.append(errors @ _jaccard_steps(there[order]))
    return torch.stack(losses).mean() if losses else chances.sum() * 0


def _jaccard_steps(there: Tensor) -> Tensor:
    """How much the Jaccard loss grows with each further error, for ground truth sorted by error."""
    total = there.sum()
    jaccard = 1 - (total - there.cumsum(0)) / (total + (1 - there).cumsum(0))
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def corrected(logits: Tensor, labels: Tensor, cycle: int) -> Tensor:
    """Labels mixed with what the averaged network says, as logits: (1 - a) times its logits and a times the labels.

    ``a`` is 1 / (cycle + 1): the longer the correction goes on, the less the given labels count (Li et al. 2020, 3.2).
    """
    share = 1.0 / (cycle + 1.0)
    classes = logits.shape[1]
    given = F.one_hot(torch.where(labels == IGNORED, 0, labels), classes).movedim(-1, 1).to(logits.dtype)
    return (1 - share) * logits + share * given


def divergence(logits: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
    """Kullback-Leibler divergence of softmaxed ``logits`` from softmaxed ``wanted``, mean over pixels and classes."""
    valid = (labels != IGNORED)[:, None].expand_as(logits)
    terms = F.kl_div(F.log_softmax(logits, 1), F.softmax(wanted, 1), reduction="none")
    return terms[valid].mean()


def parsing_losses(
    answers: tuple[Tensor, Tensor, Tensor],
    labels: Tensor,
    averaged: tuple[Tensor, Tensor] | None = None,
    cycle: int = 0,
    weights: tuple[float, float, float] = (1.0, 1.0, 0.1),
) -> dict[str, Tensor]:
    """Losses of ``nets.parsing.ce2p.HumanParser``: labels, edges, and labels whose edges are the edges.

    Args:
        answers: parsing, fused parsing and edges, logits at any size.
        labels: (B, H, W) int64.
        averaged: fused parsing and edge logits of the averaged network, from the first cycle of correction on.
        cycle: number of the cycle.
        weights: of the three.
    """
    size, edges = labels.shape[-2:], edges_of(labels)
    edges = torch.where(labels == IGNORED, IGNORED, edges)
    parsing, fused, edge = (F.interpolate(a, size=size, mode="bilinear", align_corners=True) for a in answers)
    soft = None if averaged is None else [
        F.interpolate(a, size=size, mode="bilinear", align_corners=True) for a in averaged
    ]  # fmt: skip
    label_loss = sum(
        0.5 * lovasz_softmax(F.softmax(p, 1), labels)
        + 0.5 * (F.cross_entropy(p, labels, ignore_index=IGNORED) if soft is None
                 else divergence(p, corrected(soft[0], labels, cycle), labels))
        for p in (parsing, fused)
    )  # fmt: skip
    if soft is None:
        positive, negative = (edges == 1).sum(), (edges == 0).sum()
        balance = torch.stack([positive, negative]).to(edge.dtype) / (positive + negative).clamp(min=1)
        edge_loss = F.cross_entropy(edge, edges, balance, ignore_index=IGNORED)
    else:
        edge_loss = divergence(edge, corrected(soft[1], edges, cycle), labels)
    agreement = sum(_edges_agree(p, edge, labels) for p in (parsing, fused))
    whole = weights[0] * label_loss + weights[1] * edge_loss + weights[2] * agreement
    return {"loss": whole, "labels": label_loss, "edges": edge_loss, "agreement": agreement}


def _edges_agree(parsing: Tensor, edge: Tensor, labels: Tensor) -> Tensor:
    """Mean chance that is missing of an edge where the labels found change.

    The published code compares two arg-maxima where both are 1, which is always nought and teaches nothing; this is
    the loss that its paper describes.
    """
    found = torch.where(labels == IGNORED, IGNORED, parsing.argmax(1))
    where = (edges_of(found) == 1) & (labels != IGNORED)
    missing = 1 - F.softmax(edge, 1)[:, 1]
    return missing[where].mean() if bool(where.any()) else edge.sum() * 0
