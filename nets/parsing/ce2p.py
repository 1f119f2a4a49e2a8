"""The parsing network of the paper: context embedding with an edge branch on a dilated ResNet-101.

After "Devil in the Details: Towards Accurate Single and Multiple Human Parsing" (Ruan et al. 2019) as Self-Correction
for Human Parsing (Li et al. 2020) publishes it; parameter names and shapes are those of its checkpoints, which load
strictly (``load_published``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nets.checkpoints import CheckpointError, load_strictly, read_state, without_prefix
from nets.parsing.labels import label_set_of

SLOPE = 0.01
HEAD = "decoder.conv4.weight"


class Norm(nn.Module):
    """Batch normalisation as the published network has it: the scale is the weight's magnitude plus epsilon.

    With ``slope`` a leaky rectifier follows. No count of batches is kept, as its checkpoints hold none.
    """

    def __init__(self, channels: int, slope: float | None = None, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.slope, self.eps, self.momentum = slope, eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs() + self.eps
        x = F.batch_norm(
            x, self.running_mean, self.running_var, scale, self.bias, self.training, self.momentum, self.eps
        )
        return x if self.slope is None else F.leaky_relu(x, self.slope)


def _conv(inputs: int, outputs: int, size: int = 1, stride: int = 1, dilation: int = 1, bias=False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, dilation * (size // 2), dilation, bias=bias)


def _activated(inputs: int, outputs: int, size: int = 1) -> list[nn.Module]:
    return [_conv(inputs, outputs, size), Norm(outputs, SLOPE)]


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3, 1x1."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = _conv(inputs, width), Norm(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride, dilation), Norm(width)
        self.conv3, self.bn3 = _conv(width, outputs), Norm(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), Norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Pyramid(nn.Module):
    """Context at four scales (Zhao et al. 2017)."""

    def __init__(self, inputs: int, outputs: int, sizes: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), *_activated(inputs, outputs)) for size in sizes
        )
        self.bottleneck = nn.Sequential(*_activated(inputs + len(sizes) * outputs, outputs, 3))

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        return self.bottleneck(torch.cat([*(_resized(stage(x), size) for stage in self.stages), x], 1))


class EdgeBranch(nn.Module):
    """Edges between labels, from three depths of the backbone; one convolution answers for all three."""

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Sequential(*_activated(n, width)) for n in inputs)
        self.conv4 = _conv(width, 2, 3, bias=True)
        self.conv5 = _conv(6, 2, bias=True)

    def forward(self, *levels: Tensor) -> tuple[Tensor, Tensor]:
        """Edge logits (B, 2, h, w) and features (B, 3 width, h, w) at the first level's size."""
        size = levels[0].shape[-2:]
        features = [conv(x) for conv, x in zip((self.conv1, self.conv2, self.conv3), levels, strict=True)]
        edges = torch.cat([_resized(self.conv4(f), size) for f in features], 1)
        return self.conv5(edges), torch.cat([_resized(f, size) for f in features], 1)


class Decoder(nn.Module):
    """Labels from the context (twice ``width`` channels) and the backbone's first level (``width``)."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        low = 3 * width // 16
        self.conv1 = nn.Sequential(*_activated(2 * width, width))
        self.conv2 = nn.Sequential(*_activated(width, low))
        self.conv3 = nn.Sequential(*_activated(width + low, width), *_activated(width, width))
        self.conv4 = _conv(width, classes, bias=True)

    def forward(self, context: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes, h, w) and features (B, width, h, w)."""
        x = torch.cat([_resized(self.conv1(context), low.shape[-2:]), self.conv2(low)], 1)
        x = self.conv3(x)
        return self.conv4(x), x


class HumanParser(nn.Module):
    """Labels of body parts and clothes for a crop of one person.

    Args:
        classes: number of labels, background included.
        layers: blocks in each of the four stages; the published network's are those of ResNet-101.
        width: channels that everything else is a multiple of; the published network's is 64.
    """

    def __init__(self, classes: int, layers: Sequence[int] = (3, 4, 23, 3), width: int = 64) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(3, width, 3, 2), Norm(width)
        self.conv2, self.bn2 = _conv(width, width, 3), Norm(width)
        self.conv3, self.bn3 = _conv(width, 2 * width, 3), Norm(2 * width)
        inputs = 2 * width
        for k, (count, stride, dilation) in enumerate(zip(layers, (1, 2, 2, 1), (1, 1, 1, 2), strict=True)):
            inner = width << k
            blocks = [Bottleneck(inputs if i == 0 else 4 * inner, inner, stride if i == 0 else 1, dilation)
                      for i in range(count)]
            self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
            inputs = 4 * inner
        wide = 4 * width
        self.context_encoding = Pyramid(inputs, 2 * wide)
        self.edge = EdgeBranch((wide, 2 * wide, 4 * wide), wide)
        self.decoder = Decoder(classes, wide)
        # As the checkpoints spell it.
        self.fushion = nn.Sequential(*_activated(4 * wide, wide), nn.Dropout2d(0.1), _conv(wide, classes, bias=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits for normalised BGR images (B, 3, H, W), at a quarter of their size.

        Returns:
            parsing (B, classes, h, w), parsing after the edges were fused in (the answer), edges (B, 2, h, w).
        """
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        levels = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            levels.append(x)
        parsing, features = self.decoder(self.context_encoding(levels[3]), levels[0])
        edges, edge_features = self.edge(*levels[:3])
        return parsing, self.fushion(torch.cat([features, edge_features], 1)), edges


def load_published(path: Path) -> tuple[HumanParser, str]:
    """The network of a published checkpoint, in evaluation mode on the CPU, and the name of its label set.

    Raises:
        CheckpointError: no plain file of tensors (code in it is never run), keys missing or unknown, or a number of
            labels that no data set has.
    """
    state, _ = read_state(path)
    state = without_prefix(state, "module.")
    if HEAD not in state:
        raise CheckpointError(path, f"keys missing: {HEAD}", "Give a checkpoint of Self-Correction Human Parsing")
    classes = state[HEAD].shape[0]
    try:
        labels = label_set_of(classes)
    except KeyError:
        raise CheckpointError(path, f"has {classes} labels, not 20, 18 or 7", "Give LIP, ATR or Pascal") from None
    with torch.device("meta"):
        network = HumanParser(classes)
    network = network.to_empty(device="cpu")
    load_strictly(network, state, path)
    return network.eval(), labels


def answer(network: HumanParser, images: Tensor, size: Sequence[int], mirrored: Sequence[int] | None = None) -> Tensor:
    """Logits (B, classes, H, W) at ``size`` for normalised images (B, 3, H, W).

    Args:
        mirrored: for each label, the one that it is in a mirrored image; with it, the answer is the mean with that for
            the mirrored images.
    """
    logits = network(images)[1]
    if mirrored is not None:
        logits = (logits + network(images.flip(-1))[1][:, list(mirrored)].flip(-1)) / 2
    return _resized(logits, size)
