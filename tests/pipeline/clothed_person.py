"""A standing person of capsules, and what such a person wears: a level function with folds, a coat and a skirt.

The body that the band is laid around is another one: its joints are moved, and clothes stand up to 15 cm off it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor

JOINTS = np.array(
    [
        [0.0, 0.95, 0.0], [0.0, 1.15, 0.01], [0.0, 1.42, 0.0], [0.0, 1.52, 0.0], [0.0, 1.66, 0.02],
        [0.19, 1.40, 0.0], [0.42, 1.22, 0.02], [0.60, 1.05, 0.10], [0.66, 1.00, 0.13],
        [-0.19, 1.40, 0.0], [-0.40, 1.20, 0.0], [-0.52, 1.02, 0.12], [-0.56, 0.96, 0.16],
        [0.10, 0.90, 0.0], [0.14, 0.50, 0.03], [0.16, 0.09, -0.02], [0.18, 0.06, 0.12],
        [-0.10, 0.90, 0.0], [-0.16, 0.50, 0.05], [-0.20, 0.09, 0.0], [-0.22, 0.06, 0.14],
    ]
)  # fmt: skip
BONES = [
    (0, 1, 0.13), (1, 2, 0.14), (2, 3, 0.07), (3, 4, 0.09), (4, 4, 0.105), (2, 5, 0.07), (5, 6, 0.045), (6, 7, 0.038),
    (7, 8, 0.022), (2, 9, 0.07), (9, 10, 0.045), (10, 11, 0.038), (11, 12, 0.022), (0, 13, 0.10), (13, 14, 0.075),
    (14, 15, 0.05), (15, 16, 0.035), (0, 17, 0.10), (17, 18, 0.075), (18, 19, 0.05), (19, 20, 0.035),
]  # fmt: skip


def capsules(points: Tensor, joints: np.ndarray) -> Tensor:
    """(N,) metres inside the union of capsules; negative outside."""
    out = torch.full(points.shape[:1], -1e3, device=points.device)
    for a, b, radius in BONES:
        start, along = (torch.as_tensor(x, dtype=torch.float32) for x in (joints[a], joints[b] - joints[a]))
        start, along = start.to(points.device), along.to(points.device)
        t = ((points - start) @ along / (along @ along).clamp(min=1e-9)).clamp(0, 1)
        out = torch.maximum(out, radius - (points - start - t[:, None] * along).norm(dim=-1))
    return out


def clothed(points: Tensor, seed: int = 0) -> Tensor:
    """(N,) about metres inside the clothed person: loose cloth up to 12 cm off, folds of millimetres, a skirt."""
    rng = np.random.default_rng(seed)
    inside = capsules(points, JOINTS)
    off = 0.02 + torch.zeros_like(inside)
    for _ in range(6):
        wave = torch.as_tensor(rng.normal(0, 9, 3), dtype=torch.float32, device=points.device)
        off = off + 0.010 * (1 + torch.sin(points @ wave + rng.uniform(0, 6.28)))
    torso = torch.exp(-(((points[:, 1] - 1.15) / 0.3) ** 2)) * torch.exp(-((points[:, 0] / 0.3) ** 2))
    for _ in range(8):
        wave = torch.as_tensor(rng.normal(0, 70, 3), dtype=torch.float32, device=points.device)
        off = off + 0.0008 * torch.sin(points @ wave + rng.uniform(0, 6.28))
    person = inside + off * torso
    # A skirt: a shell of a cone, 2 cm thick, from the waist to the knees, its hem in waves.
    angle, radius = torch.atan2(points[:, 2], points[:, 0]), points[:, [0, 2]].norm(dim=-1)
    cone = 0.15 + 0.34 * (1.0 - points[:, 1]) + 0.015 * torch.sin(9 * angle) * (1.05 - points[:, 1])
    height = torch.minimum(1.02 - points[:, 1], points[:, 1] - 0.48)
    return torch.maximum(person, torch.minimum(0.012 - (radius - cone).abs() * 0.9, height))


def logits(points: Tensor) -> Tensor:
    """The clothed person as a network would say it: steep at the surface, flat far from it."""
    return 9 * torch.tanh(clothed(points) / 0.03)


@cache
def body(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (F, 3) of the fitted body: bare, and its joints some 2 cm off."""
    joints = JOINTS + np.random.default_rng(seed).normal(0, 0.012, JOINTS.shape)
    low, step, n = np.array([-0.9, -0.1, -0.5]), 0.02, (90, 100, 50)
    grid = np.stack(np.meshgrid(*(np.arange(k) for k in n), indexing="ij"), -1).reshape(-1, 3) * step + low
    values = capsules(torch.as_tensor(grid, dtype=torch.float32), joints).numpy().reshape(n)
    vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="ascent")
    return vertices * step + low, faces


def dense(function, lattice) -> np.ndarray:
    """(N + 1, N + 1, N + 1) values of a level function at every node."""
    n = lattice.cells + 1
    out = np.empty((n, n, n), np.float32)
    one = np.arange(n)
    rest = np.stack(np.meshgrid(one, one, indexing="ij"), -1).reshape(-1, 2)
    for i in range(n):
        nodes = np.column_stack([np.full(len(rest), i), rest])
        points = torch.as_tensor(lattice.points(nodes), dtype=torch.float32)
        out[i] = torch.as_tensor(function(points)).numpy().reshape(n, n)
    return out
