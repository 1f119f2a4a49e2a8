"""What keeps bodies human: discriminators of joints, poses and shapes against a corpus (Kanazawa 2018, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as nn_functional

JOINT_WIDTH = 32


class Discriminators(nn.Module):
    """Scores (N, R + 1) of bodies: one for each joint but the root, one for the whole pose, one for the shape."""

    def __init__(self, rotations: int = 22, hidden: int = 1024, betas: int = 10) -> None:
        super().__init__()
        joints = rotations - 1
        self.joint = nn.Sequential(nn.Linear(9, JOINT_WIDTH), nn.ReLU(), nn.Linear(JOINT_WIDTH, JOINT_WIDTH), nn.ReLU())
        self.of_joint = nn.Parameter(torch.randn(joints, JOINT_WIDTH) * 0.1)
        self.joint_bias = nn.Parameter(torch.zeros(joints))
        self.pose = nn.Sequential(
            nn.Linear(joints * JOINT_WIDTH, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 1),
        )  # fmt: skip
        self.shape = nn.Sequential(nn.Linear(betas, 10), nn.ReLU(), nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, rotations: Tensor, betas: Tensor) -> Tensor:
        """Of rotations (N, R, 3, 3), the root's left out, and betas (N, 10)."""
        of_joints = self.joint(rotations[:, 1:].flatten(2))
        each = (of_joints * self.of_joint).sum(-1) + self.joint_bias
        return torch.cat([each, self.pose(of_joints.flatten(1)), self.shape(betas)], 1)


def fooling_loss(scores: Tensor) -> Tensor:
    """What the network is told: its bodies should score 1 (least squares)."""
    return ((scores - 1) ** 2).sum(-1).mean()


def telling_loss(real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminators are told: 1 for bodies of the corpus, 0 for the network's."""
    return ((real - 1) ** 2).sum(-1).mean() + (fake**2).sum(-1).mean()


class SceneMemory(nn.Module):
    """Contrast between scenes (equation 3): the low-resolution feature of an image should be nearer to the
    high-resolution one of the same image than to those of other images, of which the last few hundred are kept.

    Computed with a logarithm of sums of exponentials: at the paper's temperature of 0.01 the sums themselves overflow.
    """

    def __init__(self, width: int, length: int = 400, temperature: float = 0.01) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("memory", torch.zeros(length, width))
        self.register_buffer("scene", torch.full((length,), -1, dtype=torch.int64))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    def forward(self, high: Tensor, low: Tensor, scenes: Tensor) -> Tensor:
        """Mean loss of a batch, which is then remembered.

        Args:
            high, low: features (B, C, H, W); no gradient goes into ``high``. scenes: (B,) a number for each image.
        """
        high, low = (nn_functional.normalize(x.float().mean((-2, -1)), dim=-1) for x in (high.detach(), low))
        near = (high * low).sum(-1, keepdim=True)
        other = low @ self.memory.clone().T  # it is written to below, before the gradients are taken
        foreign = (self.scene >= 0) & (self.scene != scenes[:, None])
        other = other.masked_fill(~foreign, -torch.inf)
        together = torch.cat([near, other], 1) / self.temperature
        loss = (together.logsumexp(1) - near[:, 0] / self.temperature).mean()
        self._remember(low.detach(), scenes)
        return loss

    @torch.no_grad()
    def _remember(self, features: Tensor, scenes: Tensor) -> None:
        rows = (self.next + torch.arange(len(features), device=features.device)) % len(self.memory)
        self.memory[rows] = features
        self.scene[rows] = scenes
        self.next.copy_((self.next + len(features)) % len(self.memory))
