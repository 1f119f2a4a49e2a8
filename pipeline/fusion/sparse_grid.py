"""The zero level set of a field of distances, found from coarse to fine: the field is asked for only near it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from pipeline.surface.band import BLOCK, Lattice
from pipeline.surface.blocks import EVALUATED, Blocks
from pipeline.surface.octree import track
from pipeline.surface.triangles import CORNERS, triangulate

_LEVELS = 5  # the coarsest cubes are 2⁵ voxels wide
_SLACK = (0, 0.6, 0.8)
"""Of a cube's half diagonal, how near to zero the value at its centre has to be at levels 1 and 2 (above: 1.3, since
weights that vary in space make the mean steeper than a distance). Less than 1 leaves out cubes that a corner of the
surface may reach; growth from their neighbours brings those back."""
_MARGIN = 0.05  # voxels by which the field may leave its slope before a voxel is let go
_MOST_BLOCKS = 400_000
_BATCH = 1 << 17


class Field(Protocol):
    """What is negative inside and positive outside, at points (N, 3); NaN where nobody knows."""

    def survey(self, points: np.ndarray, rough: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The value (N,) at points far apart, and bounds (N,) within which it lies whatever the weights are; each of
        the three changes by at most a metre a metre, or (the value) little more. ``rough``: points are so far apart
        that a few millimetres do not matter."""

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(N,) values at points close together and near zero, asked for after the survey."""


class PlainField:
    """A field from a function of points (N, 3) to values (N,) that needs no survey of its own."""

    def __init__(self, values: Callable[[np.ndarray], np.ndarray]) -> None:
        self._values = values

    def survey(self, points: np.ndarray, rough: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        value = self._values(points)
        return value, value, value

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self._values(points)


def zero_level_set(field: Field, low: np.ndarray, high: np.ndarray, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and faces (T, 3) int64 where the field is zero, welded, the positive side outside.

    Cubes that may hold the surface are split in eight, from 32 voxels down to 2. In those, values at the middle of a
    cube and of its neighbours tell the slope, and the slope which voxels the surface may cross; from these it is
    followed through all of their neighbours. Grid points are whole multiples of the voxel, so that neighbouring chunks
    agree.
    """
    base = np.floor(np.asarray(low) / voxel).astype(np.int64) - 2
    size = np.ceil(np.asarray(high) / voxel).astype(np.int64) + 2 - base
    cubes = np.stack(np.meshgrid(*[np.arange(-(-n >> _LEVELS)) for n in size], indexing="ij"), -1).reshape(-1, 3)
    for level in range(_LEVELS, 1, -1):
        width = 1 << level
        value, *bounds = field.survey((base + (cubes + 0.5) * width) * voxel, rough=True)
        cubes = cubes[_may_cross(value, *bounds, level, voxel)]
        cubes = (2 * cubes[:, None] + CORNERS).reshape(-1, 3)
    base -= BLOCK  # room for neighbours
    cells = (-(-int(size.max()) >> _LEVELS) << _LEVELS) + 2 * BLOCK
    blocks = Blocks(Lattice(base * voxel, voxel, cells), "cpu", _MOST_BLOCKS)
    voxels = _voxels(field, blocks, 2 * cubes + 1 + BLOCK)

    def inside(points: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(-field(points.numpy()), dtype=torch.float32)

    nodes, slots, values = track(blocks, inside, voxels, _BATCH)
    known = torch.isfinite(values).all(1)
    if not bool(known.any()):
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    vertices, faces, _ = triangulate(nodes[known], slots[known], values[known])
    return (base + vertices.numpy()) * voxel, faces.numpy()


def _may_cross(value: np.ndarray, least: np.ndarray, most: np.ndarray, level: int, voxel: float) -> np.ndarray:
    """Whether cubes (N,) of 2^level voxels may hold a zero, from the value and its bounds at their middles."""
    reach = (1 << level) * voxel * np.sqrt(3) / 2
    slack = _SLACK[level] if level < len(_SLACK) else 1.3
    near = ~(np.abs(value) > slack * reach)  # no value here: look closer
    return near & (least <= reach) & (most >= -reach)


def _voxels(field: Field, blocks: Blocks, middles: np.ndarray) -> torch.Tensor:
    """(n, 3) int32: voxels that the surface may cross, of cubes of two voxels around nodes ``middles`` (N, 3)."""
    voxel = blocks.lattice.voxel
    value, *bounds = field.survey(blocks.lattice.points(middles), rough=False)
    near = np.flatnonzero(_may_cross(value, *bounds, 1, voxel))
    nodes = torch.as_tensor(middles, dtype=torch.int32)
    slots = blocks.slots(nodes)
    blocks.values[slots] = torch.as_tensor(-value, dtype=torch.float32)
    blocks.kinds[slots] = EVALUATED
    nodes, value = nodes[near], torch.as_tensor(value[near], dtype=torch.float32)
    slopes = torch.stack([_slopes(blocks, nodes, value, axis) for axis in range(3)], 1) / voxel  # (n, axis, side)
    slopes = torch.where(torch.isnan(slopes), slopes.flip(2), slopes)
    steepest = 0.5 * slopes.abs().amax(2).sum(1)
    found = []
    for corner in CORNERS.tolist():
        side = torch.tensor(corner)
        slope = slopes[:, torch.arange(3), side]
        middle = value / voxel + (slope * (side - 0.5)).sum(1)
        found.append(nodes[~(middle.abs() - steepest > _MARGIN)] + (side - 1).to(torch.int32))
    return torch.cat(found)


def _slopes(blocks: Blocks, nodes: torch.Tensor, value: torch.Tensor, axis: int) -> torch.Tensor:
    """(n, 2) change a voxel from the next middle below and to the next above, NaN where that was not asked for."""
    out = []
    for sign in (-1, 1):
        there = nodes.clone()
        there[:, axis] += 2 * sign
        slots = blocks.slots(there, make=False)
        known = (slots >= 0) & (blocks.kinds[slots] == EVALUATED)
        change = sign * (-blocks.values[slots] - value) / 2
        out.append(torch.where(known, change, torch.nan))
    return torch.stack(out, 1)

