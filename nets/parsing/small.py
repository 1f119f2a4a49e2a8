"""A small network that says which pixels are one person's, from image, empty scene, detector, projected bodies and the
chances of colours.

An encoder and decoder with skips that works at half the crop's size and gives four answers a place, so that the rim
is found at full size; two layers at full size sharpen it on the image. About 0.7 million parameters.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nets.checkpoints import CheckpointError, load_strictly, read_state
from nets.parsing.inputs import CHANNELS

KIND = "parsing_small"


@dataclass(frozen=True)
class SmallOptions:
    """Widths at half, quarter, eighth and sixteenth of the size, and of the layers at full size."""

    widths: tuple[int, ...] = (24, 40, 64, 96)
    full: int = 12


class Block(nn.Module):
    """Two 3x3 convolutions with normalisation, the second added to what came in."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.first(x)))
        return F.relu(x + self.norm2(self.second(x)))


class SmallParser(nn.Module):
    """Which pixels of a crop are the person's."""

    def __init__(self, options: SmallOptions | None = None) -> None:
        super().__init__()
        self.options = options or SmallOptions()
        widths, full = self.options.widths, self.options.full
        self.down = nn.ModuleList()
        inputs = 4 * len(CHANNELS)
        for width in widths:
            self.down.append(Block(inputs, width))
            inputs = width
        self.up = nn.ModuleList(
            Block(low + high, high) for high, low in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.spread = nn.Conv2d(widths[0], 4 * full, 1)
        self.sharpen = nn.Conv2d(full + len(CHANNELS), full, 3, padding=1)
        self.answer = nn.Conv2d(full, 1, 3, padding=1)

    @property
    def multiple(self) -> int:
        """Sides of the input must be a multiple of this."""
        return 2 ** len(self.options.widths)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 16, h, w) as ``nets.parsing.inputs.decoded`` gives it to logits (B, 1, h, w) of "is the person's"."""
        kept = []
        y = F.pixel_unshuffle(x, 2)
        for k, block in enumerate(self.down):
            y = block(F.max_pool2d(y, 2) if k else y)
            kept.append(y)
        y = kept.pop()
        for block in self.up:
            y = F.interpolate(y, scale_factor=2.0, mode="nearest")
            y = block(torch.cat([y, kept.pop()], 1))
        y = F.relu(F.pixel_shuffle(self.spread(y), 2))
        y = F.relu(self.sharpen(torch.cat([y, x], 1)))
        return self.answer(y)


def folded(network: SmallParser) -> SmallParser:
    """The same network, in evaluation mode, with every normalisation folded into the convolution before it."""
    network.eval()
    for block in network.modules():
        if isinstance(block, Block):
            block.first, block.second = (
                fuse_conv_bn_eval(conv, norm)
                for conv, norm in ((block.first, block.norm1), (block.second, block.norm2))
            )
            block.norm1, block.norm2 = nn.Identity(), nn.Identity()
    return network


def padded(codes: Tensor, multiple: int) -> Tensor:
    """Bytes (B, C, h, w), repeated at the right and lower rim until both sides are a multiple."""
    height, width = codes.shape[-2:]
    right, below = -width % multiple, -height % multiple
    if not right and not below:
        return codes
    return F.pad(codes.float(), (0, right, 0, below), mode="replicate").to(codes.dtype)


def metadata(options: SmallOptions) -> dict[str, str]:
    """What a file of weights says of its network."""
    return {"network": KIND, "options": json.dumps(asdict(options)), "channels": json.dumps(CHANNELS)}


def load_small(path: Path) -> SmallParser:
    """The network of a file of our weights, in evaluation mode on the CPU.

    Raises:
        CheckpointError: not our file, of another network or other channels, keys missing or unknown, or numbers that
            are not finite.
    """
    state, notes = read_state(path)
    if notes.get("network") != KIND:
        raise CheckpointError(path, "is not of the small parsing network", "Give weights that train parsing made")
    if tuple(json.loads(notes.get("channels", "[]"))) != CHANNELS:
        raise CheckpointError(path, "was trained on other inputs", "Train it again: run_pipeline.py train parsing")
    values = json.loads(notes["options"])
    network = SmallParser(SmallOptions(tuple(values["widths"]), values["full"]))
    load_strictly(network, state, path)
    return network.eval()
