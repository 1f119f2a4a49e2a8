"""Inside or outside of a triangle mesh without ray casting: generalised winding numbers, in torch.

Source: Jacobson, Kavan, Sorkine-Hornung, Robust Inside-Outside Segmentation using Generalized Winding Numbers (2013);
the solid angle of a triangle is that of van Oosterom and Strackee (1983). Meshes may have holes and cut themselves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PAIRS = 4_000_000


def winding_number(points: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """(N,) how often a mesh winds round points.

    Args:
        points: (N, 3); vertices: (V, 3) metres; faces: (T, 3) int64, counter-clockwise seen from outside.

    Returns:
        about 1 inside a closed mesh and 0 outside; fractions near holes. Of the points' type, on their device.
    """
    corners = vertices[faces].to(points)
    step = max(1, _PAIRS // max(len(faces), 1))
    parts = [_solid_angles(part, corners) for part in points.split(step)]
    return torch.cat(parts) / (4 * math.pi) if parts else points.new_zeros(0)


def inside(points: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """(N,) bool: where the mesh winds round a point at least once."""
    return winding_number(points, vertices, faces) > 0.5


def _solid_angles(points: Tensor, corners: Tensor) -> Tensor:
    """(N,) sums over T triangles (T, 3, 3)."""
    a, b, c = (corners[None, :, k] - points[:, None] for k in range(3))
    la, lb, lc = (x.norm(dim=-1) for x in (a, b, c))
    volume = (a * torch.linalg.cross(b, c)).sum(-1)
    flat = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return 2 * torch.atan2(volume, flat).sum(1)
