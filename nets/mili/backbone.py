"""A residual backbone with the names of torchvision's ResNet, a feature pyramid, and attention before them.

He 2016 (bottlenecks with the stride in their 3x3 convolution), Lin 2017, and a spatial gate after Woo 2018.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as nn_functional

EXPANSION = 4
STRIDES = (4, 8, 16, 32, 64)
"""Pixels of the canvas per cell of the pyramid's levels P2 to P6."""

Norm = Callable[[int], nn.Module]


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch norm that always uses its running statistics, as detectors keep those of a pretrained backbone."""

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        return super().train(False)


def norm_of(kind: str) -> Norm:
    """"frozen", "batch" or "group"."""
    if kind == "frozen":
        return FrozenBatchNorm
    if kind == "batch":
        return nn.BatchNorm2d
    return lambda channels: nn.GroupNorm(max(1, channels // 8), channels)


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), norm(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), norm(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), norm(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = nn_functional.relu(self.bn1(self.conv1(x)))
        y = nn_functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return nn_functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Backbone(nn.Module):
    """Images (B, 3, H, W) to features at strides 4, 8, 16 and 32."""

    def __init__(self, blocks: tuple[int, ...], width: int, norm: str) -> None:
        super().__init__()
        make = norm_of(norm)
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), make(width)
        inputs, self.widths = width, []
        for stage, count in enumerate(blocks):
            inner = width << stage
            layers = []
            for k in range(count):
                layers.append(Bottleneck(inputs, inner, 2 if k == 0 and stage else 1, make))
                inputs = inner * EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            self.widths.append(inputs)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = nn_functional.relu(self.bn1(self.conv1(images)))
        x = nn_functional.max_pool2d(x, 3, 2, 1)
        out = []
        for stage in range(len(self.widths)):
            x = getattr(self, f"layer{stage + 1}")(x)
            out.append(x)
        return out

    def freeze_first(self) -> None:
        """Stem and first stage get no gradients, as released."""
        for module in (self.conv1, self.bn1, self.layer1):
            module.requires_grad_(False)


class _Wrapped(nn.Module):
    """A convolution under the name ``conv``, as the released pyramid keeps it."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Pyramid(nn.Module):
    """Four features to five levels P2 to P6 of the same width."""

    def __init__(self, widths: list[int], outputs: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(_Wrapped(w, outputs, 1) for w in widths)
        self.fpn_convs = nn.ModuleList(_Wrapped(outputs, outputs, 3) for _ in widths)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        levels = [conv(x) for conv, x in zip(self.lateral_convs, features, strict=True)]
        for k in range(len(levels) - 1, 0, -1):
            levels[k - 1] = levels[k - 1] + nn_functional.interpolate(levels[k], size=levels[k - 1].shape[-2:])
        out = [conv(x) for conv, x in zip(self.fpn_convs, levels, strict=True)]
        return [*out, out[-1][..., ::2, ::2]]


class SpatialGate(nn.Module):
    """Spatial attention on the image itself (equation 1): a map of weights around 1, from its mean and maximum.

    It starts at 1 everywhere, so that weights trained without it stay valid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, images: Tensor) -> Tensor:
        said = torch.cat([images.amax(1, keepdim=True), images.mean(1, keepdim=True)], 1)
        return images * (2 * self.conv(said).sigmoid())
