"""Building blocks of surface networks: hourglass filters, a volume encoder, attention over views, point heads.

Layouts: images (N, C, H, W), volumes (N, C, X, Y, Z), tokens of views (P, V, C), features of points (P, C). Nothing
here knows what its inputs mean; ``nets.deepmulticap`` puts the blocks together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as nn_functional


class ResidualBlock(nn.Module):
    """Pre-activation residual block that joins the outputs of three 3x3 convolutions (Bulat & Tzimiropoulos 2017).

    Half the channels come from the first convolution, a quarter from each of the others.
    """

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.conv1 = nn.Conv2d(inputs, half, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.bn1 = nn.GroupNorm(_groups(groups, inputs), inputs)
        self.bn2 = nn.GroupNorm(_groups(groups, half), half)
        self.bn3 = nn.GroupNorm(_groups(groups, quarter), quarter)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            norm = nn.GroupNorm(_groups(groups, inputs), inputs)
            self.downsample = nn.Sequential(norm, nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(nn_functional.relu(self.bn1(x)))
        second = self.conv2(nn_functional.relu(self.bn2(first)))
        third = self.conv3(nn_functional.relu(self.bn3(second)))
        return torch.cat([first, second, third], 1) + self.downsample(x)


def _groups(groups: int, channels: int) -> int:
    """The asked number of groups, or fewer where the channels do not divide by it."""
    while channels % groups:
        groups -= 1
    return groups


class Hourglass(nn.Module):
    """Recursive encoder and decoder of constant width (Newell et al. 2016). H and W divide by 2**depth."""

    def __init__(self, width: int, depth: int, groups: int, upsample: str = "bicubic") -> None:
        super().__init__()
        self.depth = depth
        self.aligned = True if upsample in ("bicubic", "bilinear") else None
        self.upsample = upsample
        for level in range(depth, 0, -1):
            for name in ("b1", "b2", "b3"):
                self.add_module(f"{name}_{level}", ResidualBlock(width, width, groups))
        self.b2_plus_1 = ResidualBlock(width, width, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self._level(self.depth, x)

    def _level(self, level: int, x: Tensor) -> Tensor:
        skip = getattr(self, f"b1_{level}")(x)
        low = getattr(self, f"b2_{level}")(nn_functional.avg_pool2d(x, 2))
        low = self._level(level - 1, low) if level > 1 else self.b2_plus_1(low)
        low = getattr(self, f"b3_{level}")(low)
        up = nn_functional.interpolate(low, scale_factor=2, mode=self.upsample, align_corners=self.aligned)
        return skip + up


class HourglassFilter(nn.Module):
    """Stacked hourglass over an image: (N, inputs, H, W) to (N, outputs, H / stride, W / stride).

    Args:
        base: channels of the stem; the hourglasses are four times as wide. Norms have ``base // 2`` groups.
        stride: 4 (7x7 stem of stride 2 and one pooling), 2 (the stem alone) or 1 (3x3 stem, nothing pooled).
    """

    def __init__(
        self, inputs: int, outputs: int, base: int, stacks: int, stride: int, depth: int = 2, upsample: str = "bicubic"
    ) -> None:
        super().__init__()
        if stride not in (1, 2, 4):
            raise ValueError(f"a filter's stride is 1, 2 or 4, not {stride}")
        groups, width = base // 2, 4 * base
        self.stacks, self.stride, self.outputs = stacks, stride, outputs
        self.multiple = stride * 2**depth
        stem = {"kernel_size": 3, "padding": 1} if stride == 1 else {"kernel_size": 7, "padding": 3, "stride": 2}
        self.conv1 = nn.Conv2d(inputs, base, **stem)
        self.bn1 = nn.GroupNorm(groups, base)
        self.conv2 = ResidualBlock(base, 2 * base, groups)
        self.pool: nn.Module = nn.AvgPool2d(2) if stride == 4 else nn.Identity()
        self.conv3 = ResidualBlock(2 * base, 2 * base, groups)
        self.conv4 = ResidualBlock(2 * base, width, groups)
        for i in range(stacks):
            self.add_module(f"m{i}", Hourglass(width, depth, groups, upsample))
            self.add_module(f"top_m_{i}", ResidualBlock(width, width, groups))
            self.add_module(f"conv_last{i}", nn.Conv2d(width, width, 1))
            self.add_module(f"bn_end{i}", nn.GroupNorm(groups, width))
            self.add_module(f"l{i}", nn.Conv2d(width, outputs, 1))
            if i < stacks - 1:
                self.add_module(f"bl{i}", nn.Conv2d(width, width, 1))
                self.add_module(f"al{i}", nn.Conv2d(outputs, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the last stack."""
        x = nn_functional.relu(self.bn1(self.conv1(x)))
        x = self.conv4(self.conv3(self.pool(self.conv2(x))))
        for i in range(self.stacks):
            hidden = getattr(self, f"top_m_{i}")(getattr(self, f"m{i}")(x))
            hidden = nn_functional.relu(getattr(self, f"bn_end{i}")(getattr(self, f"conv_last{i}")(hidden)))
            out = getattr(self, f"l{i}")(hidden)
            if i < self.stacks - 1:
                x = x + getattr(self, f"bl{i}")(hidden) + getattr(self, f"al{i}")(out)
        return out


class PyramidFilter(nn.Module):
    """A plain convolutional pyramid whose levels are all read at a pixel: (N, inputs, H, W) to (N, outputs, H/2, W/2).

    Features of strides 2, 4 and 8 are brought to stride 2 and joined, so that one bilinear look-up sees them all
    (multi-scale features of Huang et al. 2018, section 3). ``outputs`` divides by 4: the strides have 1/4, 1/4, 1/2.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride, self.outputs, self.multiple = 2, outputs, 8
        quarter = outputs // 4
        widths = (quarter, quarter, outputs - 2 * quarter)
        self.levels = nn.ModuleList()
        for before, width in zip((inputs, *widths[:-1]), widths, strict=True):
            groups = _groups(8, width)
            self.levels.append(
                nn.Sequential(
                    nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(groups, width), nn.ReLU(),
                    nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(groups, width), nn.ReLU(),
                )
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        levels = []
        for level in self.levels:
            x = level(x)
            levels.append(x)
        size = levels[0].shape[-2:]
        up = [nn_functional.interpolate(y, size=size, mode="bilinear", align_corners=False) for y in levels[1:]]
        return torch.cat([levels[0], *up], 1)


class UNetFilter(nn.Module):
    """A strided encoder with a decoder back to ``stride`` (2 or 4): (N, inputs, H, W) to (N, outputs, H / s, W / s).

    Most of its work is done at strides 8 and 16, so that on a CPU it trains several times faster than an hourglass
    whose width is constant (Ronneberger et al. 2015, with strided convolutions and group norms).
    """

    def __init__(self, inputs: int, outputs: int, base: int, stride: int) -> None:
        super().__init__()
        if stride not in (2, 4):
            raise ValueError(f"a U-Net filter's stride is 2 or 4, not {stride}")
        self.stride, self.outputs, self.multiple = stride, outputs, 16
        widths = (base, 2 * base, 3 * base, 4 * base)  # of strides 2, 4, 8, 16
        self.down = nn.ModuleList(
            _conv_norm(a, b, 2) for a, b in zip((inputs, *widths[:-1]), widths, strict=True)
        )
        self.deep = nn.ModuleList([ResidualBlock(w, w, 8) if w >= 3 * base else nn.Identity() for w in widths])
        self.up = nn.ModuleList()
        before = widths[-1]
        for level in range(2, {2: 0, 4: 1}[stride] - 1, -1):
            width = widths[level]
            self.up.append(_conv_norm(before + width, width, 1))
            before = width
        self.last = nn.Conv2d(before, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = []
        for down, deep in zip(self.down, self.deep, strict=True):
            x = deep(down(x))
            levels.append(x)
        for up, skip in zip(self.up, levels[-2::-1], strict=False):
            x = nn_functional.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = up(torch.cat([x, skip], 1))
        return self.last(x)


def _conv_norm(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    norm = nn.GroupNorm(_groups(8, outputs), outputs)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), norm, nn.ReLU())


def _norm3d(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm3d(channels) if kind == "batch" else nn.GroupNorm(_groups(8, channels), channels)


def _bottleneck3d(inputs: int, widths: Sequence[int], stride: int, norm: str) -> nn.Sequential:
    a, b, c = widths
    return nn.Sequential(
        nn.Conv3d(inputs, a, 1, stride=stride), _norm3d(norm, a), nn.ReLU(),
        nn.Conv3d(a, b, 3, padding=1), _norm3d(norm, b), nn.ReLU(),
        nn.Conv3d(b, c, 1), _norm3d(norm, c),
    )  # fmt: skip


class BottleneckBlock3d(nn.Module):
    """1-3-1 residual block on volumes that changes channels and, with stride 2, reads even voxels alone."""

    def __init__(self, inputs: int, widths: Sequence[int], norm: str, stride: int) -> None:
        super().__init__()
        self.net = _bottleneck3d(inputs, widths, stride, norm)
        self.downsample = nn.Sequential(nn.Conv3d(inputs, widths[-1], 1, stride=stride), _norm3d(norm, widths[-1]))

    def forward(self, x: Tensor) -> Tensor:
        return nn_functional.relu(self.net(x) + self.downsample(x))


class IdentityBlock3d(nn.Module):
    """1-3-1 residual block on volumes that keeps resolution and channels."""

    def __init__(self, channels: int, inner: int, norm: str) -> None:
        super().__init__()
        self.net = _bottleneck3d(channels, (inner, inner, channels), 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        return nn_functional.relu(self.net(x) + x)


class VolumeEncoder(nn.Module):
    """Even voxels of a body volume (N, channels, R/2, R/2, R/2) to features (N, widths[1], R/4, R/4, R/4).

    The released encoder takes the whole volume of R voxels a side and starts with kernels one voxel wide at stride 2:
    it reads only voxels whose indices are all even. Those alone are the input here; the weights are the same.
    """

    def __init__(self, channels: int, widths: tuple[int, int] = (32, 64), norm: str = "batch") -> None:
        super().__init__()
        low, high = widths
        inner = low // 2
        self.outputs = high
        self.stage1 = nn.Sequential(
            BottleneckBlock3d(channels, (inner, inner, low), norm, 1), IdentityBlock3d(low, inner, norm)
        )
        self.stage2 = nn.Sequential(
            BottleneckBlock3d(low, (inner, inner, high), norm, 2),
            IdentityBlock3d(high, high // 2, norm),
            IdentityBlock3d(high, high // 2, norm),
        )

    def forward(self, volume: Tensor) -> Tensor:
        return self.stage2(self.stage1(volume))


class SelfAttention(nn.Module):
    """Multi-head attention of views (equation 3), with a residual.

    ``norm`` is a LayerNorm after the residual (Vaswani et al. 2017) or nothing, as in the released network.
    """

    def __init__(self, width: int, heads: int, head_width: int, dropout: float, layer_norm: bool) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads, self.scale = heads, head_width**-0.5
        self.w_qs = nn.Linear(width, inner, bias=False)
        self.w_ks = nn.Linear(width, inner, bias=False)
        self.w_vs = nn.Linear(width, inner, bias=False)
        self.fc = nn.Linear(inner, width, bias=False)
        self.dropout_weights, self.dropout_out = nn.Dropout(dropout), nn.Dropout(dropout)
        self.norm: nn.Module = nn.LayerNorm(width) if layer_norm else nn.Identity()

    def forward(self, queries: Tensor, tokens: Tensor, visible: Tensor | None) -> Tensor:
        """Queries (P, Q, C) look at tokens (P, V, C), visible (P, V) bool with at least one True a row: (P, Q, C)."""

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.w_qs(queries) * self.scale), split(self.w_ks(tokens)), split(self.w_vs(tokens))
        if not torch.is_grad_enabled():  # half the time, where nothing is trained
            keep = None if visible is None else visible[:, None, None]
            mixed = nn_functional.scaled_dot_product_attention(q, k, v, attn_mask=keep, scale=1.0)
            return self.norm(queries + self.fc(mixed.transpose(1, 2).flatten(2)))
        scores = q @ k.transpose(-1, -2)
        if visible is not None:
            scores = scores.masked_fill(~visible[:, None, None], float("-inf"))
        mixed = self.dropout_weights(scores.softmax(-1)) @ v
        return self.norm(queries + self.dropout_out(self.fc(mixed.transpose(1, 2).flatten(2))))


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between and a residual."""

    def __init__(self, width: int, hidden: int, dropout: float, layer_norm: bool) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        self.norm: nn.Module = nn.LayerNorm(width) if layer_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.w_2(nn_functional.relu(self.w_1(x)))))


class AttentionLayer(nn.Module):
    def __init__(self, width: int, heads: int, head_width: int, hidden: int, dropout: float, layer_norm: bool) -> None:
        super().__init__()
        self.slf_attn = SelfAttention(width, heads, head_width, dropout, layer_norm)
        self.pos_ffn = FeedForward(width, hidden, dropout, layer_norm)

    def forward(self, queries: Tensor, tokens: Tensor, visible: Tensor | None) -> Tensor:
        return self.pos_ffn(self.slf_attn(queries, tokens, visible))


class ViewAttention(nn.Module):
    """Self-attention encoder over views: tokens (P, V, C) to tokens (P, V, C). No weight depends on how many views."""

    def __init__(
        self, width: int, layers: int, heads: int = 8, head_width: int = 32, hidden: int = 256, dropout: float = 0.1,
        layer_norm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layer_stack = nn.ModuleList(
            AttentionLayer(width, heads, head_width, hidden, dropout, layer_norm) for _ in range(layers)
        )

    def forward(self, tokens: Tensor, visible: Tensor | None) -> Tensor:
        for layer in self.layer_stack:
            tokens = layer(tokens, tokens, visible)
        return tokens

    def read_out(self, tokens: Tensor, visible: Tensor | None, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """(P, C): ``choose(self(tokens, visible))`` for a ``choose`` that picks one token of (P, V, C); the others are
        left out of the last layer, which is all the same to the one."""
        *before, last = self.layer_stack
        for layer in before:
            tokens = layer(tokens, tokens, visible)
        return last(choose(tokens)[:, None], tokens, visible)[:, 0]


class PointHead(nn.Module):
    """MLP on features of points whose input is joined again to every layer but the first (PIFu).

    LeakyReLU of slope 0.01 between, no activation at the end: the output is a logit. A layer's weights are for
    (hidden, features, place) in that order. Places enter at float32 whatever the rest is computed in: at 8 bits they
    would be off by a centimetre.
    """

    def __init__(self, features: int, place: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths, self.place = tuple(widths), place
        inputs = features + place
        before = [inputs, *(inputs + w for w in self.widths)]
        for i, (a, b) in enumerate(zip(before, (*self.widths, 1), strict=True)):
            self.add_module(f"conv{i}", nn.Linear(a, b))

    @property
    def layers(self) -> list[nn.Linear]:
        return [getattr(self, f"conv{i}") for i in range(len(self.widths) + 1)]

    def run(self, hidden: Tensor | None, features: Tensor, place: Tensor, start: int, stop: int) -> Tensor:
        """Layers ``start`` to ``stop`` (exclusive): hidden (..., C), features (..., F), place (..., D); hidden is None
        before the first."""
        layers = self.layers
        for i in range(start, stop):
            weight, split = layers[i].weight, layers[i].in_features - self.place
            known = features if hidden is None else torch.cat([hidden, features], -1)
            hidden = nn_functional.linear(known, weight[:, :split], layers[i].bias)
            with torch.autocast(place.device.type, enabled=False):
                hidden = hidden + nn_functional.linear(place.to(weight.dtype), weight[:, split:])
            if i < len(layers) - 1:
                hidden = nn_functional.leaky_relu(hidden, 0.01)
        return hidden

    def forward(self, features: Tensor, place: Tensor) -> Tensor:
        """(..., F), (..., D) to logits (...)."""
        return self.run(None, features, place, 0, len(self.widths) + 1)[..., 0]
