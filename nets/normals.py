"""Networks that predict the normals of the surface a camera sees: (N, 3, S, S) masked RGB in [-1, 1] to (N, 3, S, S).
A guided network also reads the normals of a surface that is nearly right: the picture need only say what differs.

``NormalNetwork`` is the global generator of pix2pixHD with group norms, as released with DeepMultiCap (sizes by
argument: the released one has 182 M parameters, the small one of our own weights about 1 M). Background is 0.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as nn_functional


@dataclass(frozen=True)
class NormalOptions:
    """Size of a normal network.

    Attributes:
        base: channels of the first layer; each halving of the resolution doubles them.
        halvings: how often the resolution is halved.
        blocks: residual blocks at the lowest resolution.
        most: channels are never more than this.
        skips: whether each resolution on the way up also gets what was there on the way down (added), so that folds
            of a few pixels need not pass the lowest resolution. The released network has none.
        guided: whether it reads three channels more: a guide's normals along the camera's axes, 0 where there is none
            (as ICON, Xiu 2022, section 3.1, guides by the body).
        shading: channels of a last part at full resolution that reads folds from shading (``ShadingHead``); 0 is none.
            For guided networks with ``skips``.
    """

    base: int = 64
    halvings: int = 4
    blocks: int = 9
    most: int = 1024
    skips: bool = False
    guided: bool = False
    shading: int = 0

    @property
    def channels(self) -> int:
        return 6 if self.guided else 3


RELEASED_NORMALS = NormalOptions()
SMALL_NORMALS = NormalOptions(base=16, halvings=3, blocks=3, most=128, skips=True)
SMALL_REFINER = replace(SMALL_NORMALS, guided=True, shading=32)


class NormalBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.GroupNorm(width // 4, width), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.GroupNorm(width // 4, width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class ShadingHead(nn.Module):
    """What brightness says of folds of a few pixels, put on normals that are right but for these.

    Where a surface's colour stays, its brightness changes with its normal, along the light. The light (how relative
    brightness goes with normals) is fitted to the guide, on what is left of both when their means about a pixel are
    taken away; colours' own edges count little. Layers at full resolution then see what brightness is left over and the
    turn along the light that would explain it.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(features + 16, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 4, 1),
        )  # fmt: skip
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, images: Tensor, normals: Tensor, features: Tensor) -> Tensor:
        """Better normals (N, 3, S, S) of ``images`` (N, 6, S, S), from those so far and the network's last features."""
        told = _shading(images)
        turn = self.layers(torch.cat([images, normals.to(images), told, features.to(images)], 1)).float()
        keep = (turn[:, 3:] - 2).sigmoid()  # of the guide as it is
        return normals + keep * (images[:, 3:] - normals) + turn[:, :3]


@torch.no_grad()
def _shading(images: Tensor) -> Tensor:
    """(N, 7, S, S) of a guided network's images: brightness against its neighbours', the light (3) and the turn of the
    guide's normals along it (3) that would explain what the guide does not."""
    with torch.autocast(images.device.type, enabled=False):
        images = images.float()
        there = (images != 0).any(1, keepdim=True).float()
        bright = (images[:, :3].mean(1, keepdim=True) / 2 + 0.53).clamp_min(0.02).log()
        change, guide = _sharp(bright, there).clamp(-0.4, 0.4), _sharp(images[:, 3:], there)
        weight = (there / (1 + (change / 0.05) ** 2)).flatten(2)  # a colour's edge is no fold
        a, b = guide.flatten(2), change.flatten(2)
        hold = (3e-4 * weight.sum(-1, keepdim=True) + 1e-6) * torch.eye(3).to(images)
        light = torch.linalg.solve((a * weight) @ a.transpose(1, 2) + hold, (a * weight) @ b.transpose(1, 2))[..., None]
        left = change - (light * guide).sum(1, keepdim=True)
        turn = light * left / ((light**2).sum(1, keepdim=True) + 0.02)
        return torch.cat([10 * change, light.expand_as(guide) * there, 3 * turn.clamp(-1, 1)], 1)


def _sharp(x: Tensor, there: Tensor) -> Tensor:
    """``x`` (N, C, S, S) less its mean over some nine pixels, of those that are ``there``; 0 elsewhere."""

    def blurred(y: Tensor) -> Tensor:
        return nn_functional.avg_pool2d(nn_functional.avg_pool2d(y, 5, stride=1, padding=2), 5, stride=1, padding=2)

    return (x - blurred(x * there) / blurred(there).clamp_min(1e-4)) * there


class NormalNetwork(nn.Module):
    """Masked RGB, and a guide's normals if it is guided, to normals of the visible surface, each channel in [-1, 1];
    not masked, not of unit length."""

    def __init__(self, options: NormalOptions = RELEASED_NORMALS) -> None:
        super().__init__()
        self.options = options
        self.multiple = 2**options.halvings
        widths = [min(options.base << i, options.most) for i in range(options.halvings + 1)]
        first = nn.Conv2d(options.channels, widths[0], 7)
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), first, *_norm_relu(widths[0])]
        for a, b in itertools.pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), *_norm_relu(b)]
        layers += [NormalBlock(widths[-1]) for _ in range(options.blocks)]
        for a, b in itertools.pairwise(widths[::-1]):
            layers += [nn.ConvTranspose2d(a, b, 3, stride=2, padding=1, output_padding=1), *_norm_relu(b)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(widths[0], 3, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        ups = [i for i, layer in enumerate(layers) if isinstance(layer, nn.ConvTranspose2d)]
        self._ups = frozenset(i + 2 for i in ups)  # places after which a resolution has been regained
        self.shading = ShadingHead(widths[0], options.shading) if options.shading else None

    def forward(self, images: Tensor) -> Tensor:
        if not self.options.skips:
            return self.model(images)
        x, kept, last = images, [], images
        for place, layer in enumerate(self.model):
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                kept.append(x)
            x = layer(x)
            if place in self._ups:
                last = x = x + kept.pop()
        return x if self.shading is None else self.shading(images, x, last)


def _norm_relu(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.GroupNorm(width // 4, width), nn.ReLU()


def eroded(mask: Tensor, size: int = 3) -> Tensor:
    """Minimum of masks (..., H, W) over a ``size`` square; beyond the border counts as the border does."""
    flat = mask.reshape(-1, 1, *mask.shape[-2:]).to(torch.float32)
    pad = size // 2
    flat = nn_functional.pad(flat, (pad,) * 4, mode="replicate")
    return -nn_functional.max_pool2d(-flat, size, stride=1).reshape(mask.shape)


def predict_normals(network: NormalNetwork, images: Tensor, masks: Tensor) -> Tensor:
    """Normal maps as the surface networks read them: (B, V, 3, S, S), zero outside the mask drawn in by a pixel.

    Args:
        images: (B, V, 3, S, S) masked RGB in [-1, 1].
        masks: (B, V, S, S) in [0, 1].
    """
    flat = network(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    return flat * eroded(masks)[:, :, None].to(flat.dtype)
