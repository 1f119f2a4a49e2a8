"""What surface networks are trained for: distances at points, slopes across the surface, relief in each view."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nets.deepmulticap import losses
from nets.deepmulticap.inputs import SurfaceInputs
from nets.deepmulticap.network import Features, SurfaceNetwork, build
from nets.deepmulticap.presets import Preset

CLAMP = 0.06
"""Metres: how far off the surface distances still matter."""
RELIEF, DETAIL, MOST = 0.02, 0.004, 3.0
"""Metres of relief, and of its detail, that count as one; more than ``MOST`` of them count as that many."""


@dataclass(frozen=True)
class LossWeights:
    """What counts how much beside the error of distances in centimetres.

    Attributes:
        occupancy: cross entropy. slope: of slopes across the surface.
        relief, detail: of what every pixel is asked for.
    """

    occupancy: float = 0.15
    slope: float = 0.3
    relief: float = 0.1
    detail: float = 0.1


DEFAULT_WEIGHTS = LossWeights()


class SurfaceTrainer(nn.Module):
    """A surface network, and for training alone a layer that reads from each view's features the relief of the true
    surface over the body's, and its detail: every pixel teaches the 2D encoders, not only where points fall.

    From one picture the relief as a whole can hardly be told, since the body may be off along the line of sight. Its
    detail (what is left after a blur: folds, seams, features) can: that is shape from shading.
    """

    def __init__(self, of: Preset, fine: bool) -> None:
        """``fine``: whether the fine level is trained, over a coarse one that stays as it is."""
        super().__init__()
        self.surface: SurfaceNetwork = build(of if fine else replace(of, fine=None))
        level = self.surface.fine if fine else self.surface.coarse
        self.relief = nn.Conv2d(level.sources["image"].outputs, 2, 1)
        nn.init.zeros_(self.relief.weight)
        nn.init.zeros_(self.relief.bias)
        self.trains_fine = fine
        if fine:
            self.surface.freeze_coarse()

    def reliefs(self, features: Features) -> Tensor:
        """(B, V, 2, h, w) in units of ``RELIEF`` and of ``DETAIL``."""
        maps = (features.fine if self.trains_fine else features.coarse)["image"]
        return self.relief(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])

    def forward(
        self, inputs: SurfaceInputs, points: Tensor, seen: Tensor, extra: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, N) of the level that is trained, and reliefs (B, V, 2, h, w)."""
        features = self.surface.encode(inputs)
        reads_body = self.surface.preset.point_channels > 0
        prediction = self.surface.predict(features, points, seen, extra if reads_body else None)
        return prediction.fine, self.reliefs(features)


def distances(logits: Tensor, of: Preset) -> Tensor:
    """Signed distances in metres that logits mean, negative inside."""
    width = 0.006 if of.residual is None else of.residual.width
    return -logits.float() * width


def distance_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean error in centimetres of signed distances (metres) that are only asked to be right within ``CLAMP``: a point
    that is farther off has to be said to be at least that far."""
    target = true.clamp(-CLAMP, CLAMP)
    error = (predicted - target).abs()
    enough = ((true >= CLAMP) & (predicted >= CLAMP)) | ((true <= -CLAMP) & (predicted <= -CLAMP))
    return 100 * torch.where(enough, torch.zeros_like(error), error).mean()


def slope_loss(distance: Tensor, slopes: Tensor, pairs: int, apart: float) -> Tensor:
    """Mean error of slopes across the surface, from the distances (B, N) of which the last are pairs: a loss on the
    surface's normals that needs no second derivative."""
    before, behind = distance[:, -2 * pairs :].split(pairs, 1)
    return ((before - behind) / (2 * apart) - slopes).abs().mean()


def relief_loss(predicted: Tensor, true: Tensor, unit: float) -> Tensor:
    """Mean error of reliefs (B, V, h, w), in ``unit`` metres, where the true ones (B, V, S, S), metres, are known."""
    stride = true.shape[-1] // predicted.shape[-1]
    target = true[..., stride // 2 :: stride, stride // 2 :: stride] / unit
    known = torch.isfinite(target)
    target = torch.where(known, target, torch.zeros_like(target)).clamp(-MOST, MOST)
    return ((predicted.float() - target).abs() * known).sum() / known.sum().clamp_min(1)


def surface_losses(
    trainer: SurfaceTrainer, inputs: SurfaceInputs, points: Tensor, seen: Tensor, extra: Tensor, distance: Tensor,
    slopes: Tensor, relief: Tensor, detail: Tensor, apart: float, weights: LossWeights = DEFAULT_WEIGHTS,
) -> dict[str, Tensor]:  # fmt: skip
    """Everything a surface network is trained for: "loss", and its parts.

    Args:
        relief, detail: (B, V, S, S) metres, NaN where unknown.
    """
    logits, reliefs = trainer(inputs, points, seen, extra)
    found = distances(logits, trainer.surface.preset)
    parts = {
        "occupancy": losses.occupancy_bce(logits.float(), distance < 0),
        "slope": slope_loss(found, slopes, slopes.shape[1], apart),
        "relief": relief_loss(reliefs[:, :, 0], relief, RELIEF),
        "detail": relief_loss(reliefs[:, :, 1], detail, DETAIL),
    }
    near = distance_loss(found, distance)
    total = near + sum(getattr(weights, name) * part for name, part in parts.items())
    return {"loss": total, "distance_cm": near, **parts}
