"""The body as a volume: which voxels of its canonical cube are inside, and which part of the body they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def voxel_centres(resolution: int) -> np.ndarray:
    """(R,) canonical coordinates of voxel centres along each axis of the cube -0.5..0.5."""
    return (np.arange(resolution) + 0.5) / resolution - 0.5


def even_centres(resolution: int) -> np.ndarray:
    """(R/2,) those of the voxels that the volume encoder reads."""
    return voxel_centres(resolution)[::2]


def inside_grid(vertices: np.ndarray, faces: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(n, n, n) bool: which points of the grid ``centres`` x ``centres`` x ``centres`` are inside a mesh.

    Signed crossings are counted along the three axes, so overlapping limbs are inside. Body meshes have holes (eyes,
    mouth): a line that enters and leaves a different number of times abstains, the other axes decide.

    Args:
        vertices: (V, 3) in the frame of the grid. faces: (F, 3), counter-clockwise outside. centres: (n,) even steps.
    """
    n, step = len(centres), centres[1] - centres[0]
    # Off the lattice by a hair, so that no line runs through an edge or a vertex of a regular mesh.
    corners = ((vertices - centres[0]) / step + np.array([1.1e-5, 1.7e-5, 2.3e-5]))[faces]
    votes = np.zeros((n, n, n), np.int8)
    for axis in range(3):
        winding, closed = _windings(corners, axis, n)
        vote = np.where(closed[..., None], np.where(winding > 0, 1, -1), 0).astype(np.int8)
        votes += np.moveaxis(vote, -1, axis)
    return votes > 0


def _windings(corners: np.ndarray, axis: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Winding numbers (n, n, n) along one axis (last), rows the other two in order; and which lines are closed."""
    b, c = [i for i in range(3) if i != axis]
    if axis == 1:
        b, c = 0, 2
    p, q, z = corners[..., b], corners[..., c], corners[..., axis]
    p0, p1 = np.ceil(p.min(1)).clip(0).astype(int), np.floor(p.max(1)).clip(max=n - 1).astype(int)
    q0, q1 = np.ceil(q.min(1)).clip(0).astype(int), np.floor(q.max(1)).clip(max=n - 1).astype(int)
    across, along = (p1 - p0 + 1).clip(0), (q1 - q0 + 1).clip(0)
    pairs = across * along
    face = np.repeat(np.arange(len(corners)), pairs)
    k = np.arange(len(face)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    i, j = p0[face] + k // along[face], q0[face] + k % along[face]
    u, v, w = _edges(p[face], q[face], i, j)
    area = u + v + w
    hit = (area != 0) & ((u * area >= 0) & (v * area >= 0) & (w * area >= 0))
    face, i, j, area = face[hit], i[hit], j[hit], area[hit]
    height = (z[face] * np.stack([u, v, w], -1)[hit]).sum(-1) / area
    # Going down the axis from +infinity, a surface seen from above is entered.
    sign = np.sign(area).astype(np.int32) * (-1 if axis == 1 else 1)
    crossings = np.zeros((n, n, n + 1), np.int32)
    np.add.at(crossings, (i, j, np.ceil(height).clip(0, n).astype(int)), sign)
    below = crossings[..., ::-1].cumsum(-1)[..., ::-1]
    return below[..., 1:], below[..., 0] == 0


def _edges(p: np.ndarray, q: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twice the signed areas that (i, j) spans with the edges opposite to each corner."""

    def area(a: int, b: int) -> np.ndarray:
        return (p[:, a] - i) * (q[:, b] - j) - (p[:, b] - i) * (q[:, a] - j)

    return area(1, 2), area(2, 0), area(0, 1)


def body_occupancy(vertices: np.ndarray, faces: np.ndarray, resolution: int = 128) -> Tensor:
    """Even voxels (1, R/2, R/2, R/2), float32, 1 inside a body whose vertices (V, 3) are in its canonical frame."""
    return torch.from_numpy(inside_grid(vertices, faces, even_centres(resolution))[None].astype(np.float32))


def semantic_codes(template: np.ndarray) -> np.ndarray:
    """(V, 3) in 0..1: where a vertex is on the body at rest, (V, 3) metres (PaMIR's semantic code)."""
    low, high = template.min(0), template.max(0)
    return ((template - (low + high) / 2) / (high - low).max() + 0.5).astype(np.float32)


def body_semantics(
    vertices: np.ndarray, faces: np.ndarray, codes: np.ndarray, resolution: int = 128, neighbours: int = 4
) -> Tensor:
    """Even voxels (3, R/2, R/2, R/2), float32: the codes of the nearest vertices inside the body, 0 outside.

    The ``neighbours`` nearest vertices count by exp(-d^2 / 2 s^2), s half an even voxel's step past the nearest.
    """
    centres = even_centres(resolution)
    inside = inside_grid(vertices, faces, centres)
    index = np.argwhere(inside)
    points = torch.from_numpy(centres[index]).float()
    values, body = torch.from_numpy(codes).float(), torch.from_numpy(vertices).float()
    out = torch.zeros(3, *inside.shape)
    spread = (centres[1] - centres[0]) / 2
    for part, at in zip(points.split(1024), torch.from_numpy(index).split(1024), strict=True):
        distance, nearest = torch.cdist(part, body).topk(neighbours, largest=False)
        excess = distance - distance[:, :1]
        weights = (-(excess**2) / (2 * spread**2)).exp()[..., None]
        mixed = (values[nearest] * weights).sum(1) / weights.sum(1)
        out[:, at[:, 0], at[:, 1], at[:, 2]] = mixed.T
    return out
