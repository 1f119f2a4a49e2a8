"""What the network's bodies are compared by: keypoints, and a few hundred vertices that stand for the surface."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as nn_functional

from nets.body import BodyModel


class BodyShape(NamedTuple):
    """Of N bodies at the origin, camera axes, metres: keypoints (N, K, 3), vertices (N, S, 3) and their outward unit
    normals (N, S, 3)."""

    keypoints: Tensor
    vertices: Tensor
    normals: Tensor


class BodyPoints(nn.Module):
    """Keypoints and a sample of vertices of bodies given by rotation matrices and betas.

    Args:
        joint_weights: (K, 55), keypoints that are means of joints; zero rows for those on the surface.
        keypoint_vertices: (K,) vertex of the keypoints on the surface, -1 for the others.
        sample: (S,) vertices.
    """

    def __init__(
        self, model: BodyModel, joint_weights: np.ndarray, keypoint_vertices: np.ndarray, sample: np.ndarray
    ) -> None:
        super().__init__()
        self.model = model
        on_surface = np.flatnonzero(keypoint_vertices >= 0)
        self.register_buffer("joint_weights", torch.as_tensor(joint_weights, dtype=torch.float32), persistent=False)
        self.register_buffer("surface", torch.as_tensor(on_surface), persistent=False)
        asked = np.concatenate([keypoint_vertices[on_surface], sample])
        self.register_buffer("asked", torch.as_tensor(asked), persistent=False)
        sample = torch.as_tensor(sample)
        normals = _vertex_normals(model.template, model.faces)[sample]
        self.register_buffer("rest_normals", normals.float(), persistent=False)
        self.register_buffer("sample_weights", model.weights[sample].float(), persistent=False)

    def forward(self, rotations: Tensor, betas: Tensor) -> BodyShape:
        """Bodies of rotations (N, R, 3, 3) and betas (N, 10)."""
        posed = self.model.pose_turned(rotations.float(), betas.float())
        points = self.model.skin_landmarks(posed, self.asked)
        keypoints = torch.einsum("kj,njc->nkc", self.joint_weights, posed.positions)
        keypoints = keypoints.index_copy(1, self.surface, points[:, : len(self.surface)])
        turned = torch.einsum("sj,njab,sb->nsa", self.sample_weights, posed.rotations, self.rest_normals)
        return BodyShape(keypoints, points[:, len(self.surface) :], nn_functional.normalize(turned, dim=-1))


def _vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    of_faces = torch.linalg.cross(b - a, c - a)
    out = torch.zeros_like(vertices)
    for k in range(3):
        out.index_add_(0, faces[:, k], of_faces)
    return nn_functional.normalize(out, dim=-1)
