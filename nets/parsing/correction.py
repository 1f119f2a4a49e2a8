"""Self-correction (Li et al. 2020): the network and its labels are averaged over cycles of training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nets.parsing.ce2p import Norm


@dataclass
class SelfCorrection:
    """The averaged network, and how many cycles it has seen.

    Attributes:
        averaged: a network of its own, with the shape of the one that is trained.
        cycle: 0 before the first; labels are corrected from 1 on.
    """

    averaged: nn.Module
    cycle: int = 0

    @torch.no_grad()
    def close_cycle(self, network: nn.Module, batches: Iterable[Tensor]) -> None:
        """Take ``network`` into the average with weight 1 / (cycle + 1), and estimate the averaged network's
        normalisation anew on images (B, 3, H, W) of ``batches``."""
        share = 1.0 / (self.cycle + 1)
        for mine, new in zip(self.averaged.parameters(), network.parameters(), strict=True):
            mine.lerp_(new.to(mine.device), share)
        self.cycle += 1
        reestimate(self.averaged, batches)

    @torch.no_grad()
    def soft_labels(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """Fused parsing and edge logits of the averaged network; None before the first cycle."""
        if not self.cycle:
            return None
        self.averaged.eval()
        _, fused, edges = self.averaged(images)
        return fused, edges


@torch.no_grad()
def reestimate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Mean and variance of every normalisation over all images: each batch counts by its share of those seen."""
    norms = [m for m in network.modules() if isinstance(m, Norm | nn.BatchNorm2d)]
    kept = [m.momentum for m in norms]
    for m in norms:
        m.running_mean.zero_()
        m.running_var.fill_(1)
    network.train()
    seen = 0
    for images in batches:
        count = len(images)
        for m in norms:
            m.momentum = count / (seen + count)
        network(images)
        seen += count
    for m, momentum in zip(norms, kept, strict=True):
        m.momentum = momentum
    network.eval()

