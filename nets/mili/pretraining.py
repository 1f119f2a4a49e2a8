"""What backbone, pyramid and body head learn before they see whole pictures: single people, box given.

It stands for the ImageNet weights and the single-person data the paper starts from. Beside the body, every cell of the
finer levels says whether somebody is there, and which place of the body at rest it shows: dense, so that it is learnt
from few pictures, and it holds which way somebody faces (after Güler 2018, DensePose).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nn_functional

from nets.mili import camera
from nets.mili.body import BodyPoints
from nets.mili.heads import Bodies
from nets.mili.learning import People, Weights, keypoint_loss, pose_losses
from nets.mili.network import MiliNetwork

DENSE_LEVELS = 2
"""Finest levels of the pyramid that say where they are on the body."""
PARTS = ("backbone.", "neck.", "smpl_head.")
"""Of a network, what a pretraining teaches."""


@dataclass(frozen=True)
class Singles:
    """A batch of pictures of one person each.

    Attributes:
        images: (B, 3, h, w) normalised.
        people: of all pictures, one after the other, without masks.
        places: (B, 4, h, w): coverage by the person in 0..1, and, times that, the place on the body at rest in 0..1.
        focal: (B,); principal: (B, 2), pixels.
    """

    images: Tensor
    people: People
    places: Tensor
    focal: Tensor
    principal: Tensor


class SingleLearner(nn.Module):
    """Batches of single people to named losses; ``weights`` as for whole pictures."""

    def __init__(self, network: MiliNetwork, body: BodyPoints, weights: Weights, dense: float = 1.0) -> None:
        super().__init__()
        self.network, self.body, self.weights, self.dense_weight = network, body, weights, dense
        self.dense = nn.Conv2d(network.options.pyramid, 4, 1)

    def forward(self, batch: Singles) -> dict[str, Tensor]:
        levels = self.levels(batch)
        bodies = self.bodies(levels, batch)
        true = batch.people
        shape = self.body(bodies.rotations, bodies.betas)
        with torch.no_grad():
            wanted = self.body(true.rotations, true.betas)
        losses = pose_losses(bodies, shape, wanted, true, self._upright(batch))
        transl = camera.translation(bodies.camera, true.boxes, batch.focal, batch.principal)
        pixels = camera.project(shape.keypoints + transl[:, None], batch.focal, batch.principal)
        losses["keypoints"] = keypoint_loss(pixels, true.keypoints, true.boxes)
        total = sum(getattr(self.weights, name) * value for name, value in losses.items())
        cover, place = self._dense_losses(levels, batch)
        return {"loss": total + self.dense_weight * (cover + 10 * place), **losses, "cover": cover, "place": place}

    def levels(self, batch: Singles) -> list[Tensor]:
        images = batch.images.contiguous(memory_format=torch.channels_last)
        return self.network.neck(self.network.backbone(images))

    def bodies(self, levels: list[Tensor], batch: Singles) -> Bodies:
        """Of the true boxes, in the camera's axes."""
        bodies = self.network.bodies(levels, list(batch.people.boxes[:, None]))
        if not self.network.options.ray_frame:
            return bodies
        turned = camera.from_ray(bodies.rotations, batch.people.boxes, batch.focal, batch.principal)
        return bodies._replace(rotations=turned)

    def _upright(self, batch: Singles) -> Tensor:
        """True rotations as the body head says them."""
        true = batch.people
        if not self.network.options.ray_frame:
            return true.rotations
        return camera.to_ray(true.rotations, true.boxes, batch.focal, batch.principal)

    def _dense_losses(self, levels: list[Tensor], batch: Singles) -> tuple[Tensor, Tensor]:
        """Is somebody there (cross entropy), and where on the body is it (L1 where somebody is)?"""
        of_cover, of_place = [], []
        for level in levels[:DENSE_LEVELS]:
            said = self.dense(level).float()
            true = nn_functional.interpolate(batch.places, size=said.shape[-2:], mode="area")
            cover = true[:, :1]
            of_cover.append(nn_functional.binary_cross_entropy_with_logits(said[:, :1], cover))
            away = (cover * said[:, 1:] - true[:, 1:]).abs().sum()
            of_place.append(away / (3 * cover.sum()).clamp_min(1))
        return sum(of_cover) / len(of_cover), sum(of_place) / len(of_place)


def taught_by_pretraining(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network among those of a ``SingleLearner``."""
    own = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    return {k: v for k, v in own.items() if k.startswith(PARTS)}
