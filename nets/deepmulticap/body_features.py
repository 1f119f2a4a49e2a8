"""What a point knows of the fitted body: how far it is inside or outside, and where the body's nearest point is.

One definition for training and inference. ``BodySurface`` finds nearest points in torch alone; whoever has a faster way
to find them gives its nearest points and normals to ``of_nearest``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as nn_functional

POINT_CHANNELS = 7
"""Signed distance to the body in metres, positive outside; the body's outward normal at its nearest point; the way from
there to the point in metres. Directions are along the axes of the body's canonical frame."""

_SAMPLE = 2048  # points handled at a time


def of_nearest(points: Tensor, nearest: Tensor, normals: Tensor, rotation: Tensor) -> Tensor:
    """(N, 7) features of points (N, 3), metres in the world.

    Args:
        nearest: (N, 3) the body's nearest points. normals: (N, 3) its outward normals there, of any length.
        rotation: (3, 3) world to canonical axes.
    """
    away = points - nearest
    normals = nn_functional.normalize(normals, dim=-1)
    outside = (away * normals).sum(-1) >= 0
    distance = away.norm(dim=-1)
    signed = torch.where(outside, distance, -distance)
    return torch.cat([signed[:, None], normals @ rotation.T, away @ rotation.T], -1)


class BodySurface:
    """A posed body mesh that is asked for the point nearest to points.

    Exact but where the nearest triangle touches neither of the two nearest vertices, which is rare on a body mesh.
    """

    def __init__(self, vertices: Tensor, faces: Tensor, rotation: Tensor) -> None:
        """
        Args:
            vertices: (V, 3) float metres, world. faces: (F, 3) int64, counter-clockwise seen from outside.
            rotation: (3, 3) world to canonical axes.
        """
        self.vertices, self.faces, self.rotation = vertices, faces, rotation
        self.normals = angle_weighted_normals(vertices, faces)
        self._around = faces_around(faces, len(vertices))

    def features(self, points: Tensor) -> Tensor:
        """(N, 7) of points (N, 3)."""
        with torch.autocast(points.device.type, enabled=False):  # places need more than 8 bits
            parts = [self._features(some) for some in points.split(_SAMPLE)]
        return torch.cat(parts) if parts else points.new_zeros(0, POINT_CHANNELS)

    def _features(self, points: Tensor) -> Tensor:
        two = torch.cdist(points, self.vertices).topk(2, largest=False).indices
        near = self._around[two].flatten(1)  # (N, T) triangles
        corners = self.vertices[self.faces[near]]
        weights = nearest_on_triangles(points[:, None], corners)
        nearest = (weights[..., None] * corners).sum(-2)
        best = (nearest - points[:, None]).square().sum(-1).argmin(-1)
        row = torch.arange(len(points), device=points.device)
        normals = (weights[row, best][..., None] * self.normals[self.faces[near[row, best]]]).sum(-2)
        return of_nearest(points, nearest[row, best], normals, self.rotation)


def of_bodies(bodies: Sequence[BodySurface], points: Tensor) -> Tensor:
    """(B, N, 7) of points (B, N, 3), each row near its own body: what a network takes as ``extra``."""
    return torch.stack([body.features(some) for body, some in zip(bodies, points, strict=True)])


def angle_weighted_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """(V, 3) unit outward normals weighted by the angles of the triangles around (Baerentzen & Aanaes 2005), with which
    the side of a point is right also at sharp corners; zero for vertices without triangles."""
    corners = vertices[faces]
    of_faces = nn_functional.normalize(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    out = torch.zeros_like(vertices)
    for i in range(3):
        a = nn_functional.normalize(corners[:, (i + 1) % 3] - corners[:, i], dim=-1)
        b = nn_functional.normalize(corners[:, (i + 2) % 3] - corners[:, i], dim=-1)
        angle = (a * b).sum(-1).clamp(-1, 1).acos()
        out.index_add_(0, faces[:, i], of_faces * angle[:, None])
    return nn_functional.normalize(out, dim=-1)


def faces_around(faces: Tensor, vertices: int) -> Tensor:
    """(V, most) int64: triangles at each vertex, filled up with one of its own (0 where it has none)."""
    corner = faces.flatten()
    order = corner.argsort(stable=True)
    count = torch.bincount(corner, minlength=vertices)
    first = count.cumsum(0) - count
    place = torch.arange(int(count.max()), device=faces.device)
    place = torch.where(place < count[:, None], place, torch.zeros_like(place))
    at = (first[:, None] + place).clamp(max=len(order) - 1)
    return torch.where(count[:, None] > 0, order[at] // 3, torch.zeros_like(at))


def nearest_on_triangles(points: Tensor, corners: Tensor) -> Tensor:
    """(..., 3) weights of the corners (..., 3, 3) of triangles at the place nearest to points (..., 3).

    The regions of a triangle's plane after Ericson, Real-Time Collision Detection (2005), section 5.1.5.
    """
    a, b, c = corners.unbind(-2)
    ab, ac, ap, bp, cp = b - a, c - a, points - a, points - b, points - c
    d1, d2 = (ab * ap).sum(-1), (ac * ap).sum(-1)
    d3, d4 = (ab * bp).sum(-1), (ac * bp).sum(-1)
    d5, d6 = (ab * cp).sum(-1), (ac * cp).sum(-1)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    tiny = torch.finfo(points.dtype).tiny
    zero, one = torch.zeros_like(d1), torch.ones_like(d1)

    def share(x: Tensor, y: Tensor) -> Tensor:
        return (x / (x + y).clamp_min(tiny)).clamp(0, 1)

    total = (va + vb + vc).clamp_min(tiny)
    v, w = vb / total, vc / total
    out = torch.stack([1 - v - w, v, w], -1)  # inside; the regions below overwrite it
    t = share(d4 - d3, d5 - d6)
    out = _where((va <= 0) & (d4 >= d3) & (d5 >= d6), (zero, 1 - t, t), out)
    t = share(d2, -d6)
    out = _where((vb <= 0) & (d2 >= 0) & (d6 <= 0), (1 - t, zero, t), out)
    t = share(d1, -d3)
    out = _where((vc <= 0) & (d1 >= 0) & (d3 <= 0), (1 - t, t, zero), out)
    out = _where((d6 >= 0) & (d5 <= d6), (zero, zero, one), out)
    out = _where((d3 >= 0) & (d4 <= d3), (zero, one, zero), out)
    return _where((d1 <= 0) & (d2 <= 0), (one, zero, zero), out)


def _where(condition: Tensor, weights: tuple[Tensor, Tensor, Tensor], other: Tensor) -> Tensor:
    return torch.where(condition[..., None], torch.stack(weights, -1), other)
