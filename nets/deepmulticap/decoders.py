"""From the tokens of views at a point to occupancy: fusion, read-out, implicit function.

Tokens are (P, V, C), what is known of the point itself (P, D), visibility (P, V) bool with at least one True a row, or
None where every view sees every point. Logits are (P,): occupancy is their sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nets.layers import PointHead, ViewAttention


class NoFusion(nn.Module):
    """Views do not look at each other."""

    def forward(self, tokens: Tensor, visible: Tensor | None) -> Tensor:
        return tokens


class FirstView(nn.Module):
    """The token of the first visible view, as released: other views speak through the attention alone."""

    def forward(self, tokens: Tensor, visible: Tensor | None) -> Tensor:
        if visible is None:
            return tokens[:, 0]
        first = visible.to(torch.int8).argmax(-1)
        return tokens.gather(1, first[:, None, None].expand(-1, 1, tokens.shape[-1]))[:, 0]


class MeanOfViews(nn.Module):
    """The mean over visible views: no view comes first."""

    def forward(self, tokens: Tensor, visible: Tensor | None) -> Tensor:
        if visible is None:
            return tokens.mean(1)
        weights = visible.to(tokens.dtype)
        return (tokens * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)


class MaxOfViews(nn.Module):
    """The largest of each feature over visible views."""

    def forward(self, tokens: Tensor, visible: Tensor | None) -> Tensor:
        if visible is not None:
            tokens = tokens.masked_fill(~visible[..., None], float("-inf"))
        return tokens.amax(1)


class PooledHead(nn.Module):
    """Views become one, then the MLP runs once a point."""

    def __init__(self, pool: nn.Module, tokens: int, point: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.pool = pool
        self.mlp = PointHead(tokens, point, widths)
        self.middle = (len(widths) + 1) // 2 + 1
        self.hidden_width = self.mlp.widths[self.middle - 1]

    def forward(self, tokens: Tensor, point: Tensor, visible: Tensor | None) -> Tensor:
        return self.mlp(self.pool(tokens, visible), point)

    def hidden(self, tokens: Tensor, point: Tensor, visible: Tensor | None) -> Tensor:
        """(P, 1, hidden_width): the MLP's middle layer, the 3D embedding of PIFuHD."""
        return self.mlp.run(None, self.pool(tokens, visible), point, 0, self.middle)[:, None]


class MeanInsideHead(nn.Module):
    """Each view goes through the MLP's first half and their mean through the second (PIFu section 3.3)."""

    def __init__(self, tokens: int, point: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.pool = MeanOfViews()
        self.mlp = PointHead(tokens, point, widths)
        self.middle = (len(widths) + 1) // 2 + 1
        self.hidden_width = self.mlp.widths[self.middle - 1]

    def forward(self, tokens: Tensor, point: Tensor, visible: Tensor | None) -> Tensor:
        hidden = self.hidden(tokens, point, visible)[:, 0]
        end = len(self.mlp.layers)
        return self.mlp.run(hidden, self.pool(tokens, visible), point, self.middle, end)[..., 0]

    def hidden(self, tokens: Tensor, point: Tensor, visible: Tensor | None) -> Tensor:
        """(P, 1, hidden_width): the pooled middle layer."""
        return self.pool(self.mlp.run(None, tokens, point[:, None], 0, self.middle), visible)[:, None]


@dataclass(frozen=True)
class Fused:
    """What a level knows of P points after its views have looked at each other.

    Attributes:
        tokens: (P, V, C).
        point: (P, D).
        visible: (P, V) or None.
        distance: (P,) metres to the body, positive outside; None where the network does not build on it.
    """

    tokens: Tensor
    point: Tensor
    visible: Tensor | None
    distance: Tensor | None = None


class PlainLogits(nn.Module):
    """What the head says is the logit."""

    def forward(self, out: Tensor, distance: Tensor | None) -> Tensor:
        return out


class AroundBody(nn.Module):
    """The head adds to the body's signed distance; see ``presets.ResidualOptions``."""

    def __init__(self, width: float, reach: float) -> None:
        super().__init__()
        self.width, self.reach = width, reach

    def forward(self, out: Tensor, distance: Tensor | None) -> Tensor:
        return -(distance + self.reach * out.to(distance.dtype)) / self.width


class Decoder(nn.Module):
    """Fusion and head of one level."""

    def __init__(
        self, fusion: NoFusion | ViewAttention, head: PooledHead | MeanInsideHead, outcome: PlainLogits | AroundBody
    ) -> None:
        super().__init__()
        self.fusion, self.head, self.outcome = fusion, head, outcome
        if isinstance(outcome, AroundBody):
            last = head.mlp.layers[-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def fuse(self, tokens: Tensor, point: Tensor, visible: Tensor | None, distance: Tensor | None = None) -> Fused:
        return Fused(self.fusion(tokens, visible), point, visible, distance)

    def logits(self, fused: Fused) -> Tensor:
        """(P,)"""
        return self.outcome(self.head(fused.tokens, fused.point, fused.visible), fused.distance)

    def logits_alone(
        self, tokens: Tensor, point: Tensor, visible: Tensor | None, distance: Tensor | None = None
    ) -> Tensor:
        """``logits(fuse(...))``, for whoever does not want the fused tokens."""
        pool = getattr(self.head, "pool", None)
        if not (isinstance(pool, FirstView) and isinstance(self.fusion, ViewAttention)):
            return self.logits(self.fuse(tokens, point, visible, distance))
        one = self.fusion.read_out(tokens, visible, lambda t: pool(t, visible))
        return self.outcome(self.head.mlp(one, point), distance)


class TokenEmbedding(nn.Module):
    """The fine level reads the coarse level's fused tokens, each view its own (released code)."""

    def forward(self, decoder: Decoder, fused: Fused) -> Tensor:
        return fused.tokens


class HiddenEmbedding(nn.Module):
    """The fine level reads the middle layer of the coarse level's MLP, one for all views (PIFuHD)."""

    def forward(self, decoder: Decoder, fused: Fused) -> Tensor:
        return decoder.head.hidden(fused.tokens, fused.point, fused.visible)
