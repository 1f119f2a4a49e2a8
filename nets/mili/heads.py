"""What is asked of features: proposals, boxes, bodies, masks, and the restored feature."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as nn_functional

from nets.geometry import matrix_from_six
from nets.mili.backbone import norm_of
from nets.mili.boxes import RATIOS
from nets.mili.options import MiliOptions

BOX_BINS, BODY_BINS, MASK_BINS = 7, 14, 14
MASK_SIDE = 2 * MASK_BINS
PERSON = 1
"""The column of a person in box scores; 0 is background."""
ITERATIONS = 3
BETAS, CAMERA = 10, 3


class ProposalHead(nn.Module):
    """At every cell of every level, for each anchor: is it a person (logit), and how the anchor moves to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rpn_conv = nn.Conv2d(width, width, 3, padding=1)
        self.rpn_cls = nn.Conv2d(width, len(RATIOS), 1)
        self.rpn_reg = nn.Conv2d(width, 4 * len(RATIOS), 1)
        for layer in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        # One anchor in a hundred is a person: start there, so that the first steps are not spent on finding it out.
        nn.init.constant_(self.rpn_cls.bias, -math.log(99))

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Per level: logits (B, H * W * A), deltas (B, H * W * A, 4), in the order of ``Geometry.anchors``."""
        logits, deltas = [], []
        for level in levels:
            x = nn_functional.relu(self.rpn_conv(level))
            logits.append(self.rpn_cls(x).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.rpn_reg(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4))
        return logits, deltas


class BoxHead(nn.Module):
    """Region features (N, C, 7, 7) to scores (N, 2) of background and person, and deltas (N, 8), a person's last."""

    STDS = (0.1, 0.1, 0.2, 0.2)

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.shared_fcs = nn.ModuleList([nn.Linear(width * BOX_BINS**2, hidden), nn.Linear(hidden, hidden)])
        self.fc_cls, self.fc_reg = nn.Linear(hidden, 2), nn.Linear(hidden, 8)
        nn.init.normal_(self.fc_cls.weight, std=0.01)
        nn.init.normal_(self.fc_reg.weight, std=0.001)
        for layer in (self.fc_cls, self.fc_reg):
            nn.init.zeros_(layer.bias)

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        x = regions.flatten(1)
        for layer in self.shared_fcs:
            x = nn_functional.relu(layer(x))
        return self.fc_cls(x), self.fc_reg(x)


class Bodies(NamedTuple):
    """Bodies of N regions: rotations (N, R, 3, 3), betas (N, 10), camera (N, 3): scale and shifts of a box
    (``nets.mili.camera``); six (N, 6 R): the numbers that the rotations are made of. The first rotation is in the
    camera's axes, or in those of ``MiliOptions.ray_frame``."""

    rotations: Tensor
    betas: Tensor
    camera: Tensor
    six: Tensor


class BodyHead(nn.Module):
    """Region features (N, C, 14, 14) to a body, by three rounds of refinement from a mean (Kanazawa 2018)."""

    def __init__(self, options: MiliOptions) -> None:
        super().__init__()
        # Trained batch norms where the backbone's are frozen, as released.
        width, norm = options.body_width, norm_of("batch" if options.norm == "frozen" else options.norm)
        inputs = [options.pyramid, *[width] * 3]
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 3, 2 if k == 3 else 1, 1), norm(width)) for k, c in enumerate(inputs)
        )
        self.six = options.six
        numbers = self.six + BETAS + CAMERA
        self.cells = nn.Conv2d(width, options.body_cells, 1) if options.body_cells else None
        said = options.body_cells * (BODY_BINS // 2) ** 2 if options.body_cells else width
        self.fc1, self.fc2 = nn.Linear(said + numbers, options.body_hidden), nn.Linear(*[options.body_hidden] * 2)
        self.dropout = nn.Dropout(options.dropout)
        self.dec = nn.Linear(options.body_hidden, numbers)
        nn.init.xavier_uniform_(self.dec.weight, gain=0.01)
        nn.init.zeros_(self.dec.bias)
        self.register_buffer("init_contrep", _mean_rotations(options.rotations).flatten())
        self.register_buffer("init_shape", torch.zeros(BETAS))
        self.register_buffer("init_cam", torch.tensor([0.9, 0.0, 0.0]))

    def forward(self, regions: Tensor) -> Bodies:
        x = regions
        for conv in self.convs:
            x = nn_functional.relu(conv(x))
        x = x.mean((-2, -1)) if self.cells is None else self.cells(x).flatten(1)
        start = torch.cat([self.init_contrep, self.init_shape, self.init_cam])
        numbers = start.expand(len(x), -1)
        for _ in range(ITERATIONS):
            y = self.dropout(nn_functional.relu(self.fc1(torch.cat([x, numbers], 1))))
            y = self.dropout(nn_functional.relu(self.fc2(y)))
            numbers = self.dec(y) + numbers
        six, betas, camera = numbers.float().split([self.six, BETAS, CAMERA], 1)
        return Bodies(rotations_from(six), betas, camera, six)


def rotations_from(six: Tensor) -> Tensor:
    """(N, 6 R) to matrices (N, R, 3, 3): each six are the first two columns, row by row, as released."""
    columns = six.reshape(len(six), six.shape[1] // 6, 3, 2)
    return matrix_from_six(torch.cat([columns[..., 0], columns[..., 1]], -1))


def _mean_rotations(count: int) -> Tensor:
    """(R, 3, 2): upright in a camera's axes (half a turn about x, for y points down), all other joints at rest, arms
    lowered."""
    out = torch.eye(3).repeat(count, 1, 1)
    out[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    for joint, side in ((16, -1.0), (17, 1.0)):  # shoulders, turned about the axis that points forwards
        a = torch.tensor(side * 1.0)
        out[joint] = torch.tensor([[a.cos(), -a.sin(), 0], [a.sin(), a.cos(), 0], [0, 0, 1]])
    return out[..., :2].contiguous()


class MaskHead(nn.Module):
    """Region features (N, C, 14, 14) to masks (N, 28, 28) in 0..1 of the region's person (section 3.2; He 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.convs = nn.Sequential(*layers)
        self.upsample = nn.ConvTranspose2d(width, width, 2, 2)
        self.logits = nn.Conv2d(width, 1, 1)

    def forward(self, regions: Tensor) -> Tensor:
        x = nn_functional.relu(self.upsample(self.convs(regions)))
        return self.logits(x)[:, 0].sigmoid()


class Restoration(nn.Module):
    """A low-resolution image's top-level feature (B, C, H, W) to what the high-resolution one would be (section 3.3).

    Encoder and decoder with additive skips (after Mao 2016). It starts as the identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(_twice(width) for _ in range(2))
        self.middle = _twice(width)
        self.up = nn.ModuleList(_twice(width) for _ in range(2))
        self.out = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, feature: Tensor) -> Tensor:
        x, skips = feature, []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = nn_functional.max_pool2d(x, 2, ceil_mode=True)
        x = self.middle(x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = nn_functional.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False) + skip
            x = block(x)
        return feature + self.out(x)


def _twice(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
    )
