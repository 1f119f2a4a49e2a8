"""The zero level set of a field, found from coarse to fine: the field is asked for only near it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.fusion.marching import CORNERS, EDGES, march

Field = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""At points (N, 3): the value (N,) (NaN: none), and bounds (N,) within which it lies whatever the weights are; each of
the three changes by at most a metre a metre, or (the value) little more."""

_LEVELS = 5  # the coarsest cubes are 2⁵ voxels wide
_SLACK = (0, 0.65, 0.9)
"""Of a cube's half diagonal, how near to zero the value at its centre has to be at levels 1 and 2 (above: 1.3, since
weights that vary in space make the mean steeper than a distance). Less than 1 leaves out cubes that a corner of the
surface may reach; growth from their neighbours brings those back."""
_ROUNDS = 50  # of growth; one is a voxel's step


def zero_level_set(field: Field, low: np.ndarray, high: np.ndarray, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (T, 3) where the field is zero, welded, the positive side outside.

    Cubes that may hold the surface are split in eight, from 32 voxels down to 2; then the corners of the remaining
    voxels are asked for. Grid points are whole multiples of the voxel, so that neighbouring chunks agree.
    """
    base = np.floor(np.asarray(low) / voxel).astype(np.int64) - 2
    size = np.ceil(np.asarray(high) / voxel).astype(np.int64) + 2 - base
    cubes = np.stack(np.meshgrid(*[np.arange(-(-n >> _LEVELS)) for n in size], indexing="ij"), -1).reshape(-1, 3)
    for level in range(_LEVELS, 0, -1):
        width = 1 << level
        cubes = cubes[_may_cross(field, (base + (cubes + 0.5) * width) * voxel, level, voxel)]
        cubes = (2 * cubes[:, None] + CORNERS).reshape(-1, 3)
    if not len(cubes):
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    vertices, faces = _extract(lambda points: field((base + points) * voxel)[0], cubes)
    return (base + vertices) * voxel, faces


def _may_cross(field: Field, centres: np.ndarray, level: int, voxel: float) -> np.ndarray:
    """Whether cubes around centres (N, 3), 2^level voxels wide, may hold a zero."""
    reach = (1 << level) * voxel * np.sqrt(3) / 2
    value, least, most = field(centres)
    slack = _SLACK[level] if level < len(_SLACK) else 1.3
    near = ~(np.abs(value) > slack * reach)  # no value here: look closer
    return near & (least <= reach) & (most >= -reach)


def _extract(field: Callable[[np.ndarray], np.ndarray], cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes over cells (C, 3), whole numbers, and over neighbours that the surface leads into; vertices in
    the same units."""
    low = cells.min(0) - _ROUNDS
    spans = cells.max(0) + _ROUNDS + 2 - low
    strides = np.array([spans[1] * spans[2], spans[2], 1], np.int64)
    cells = (cells - low) @ strides
    known = np.sort(cells)
    keys, values = np.zeros(0, np.int64), np.zeros(0)
    kept_cells, kept_values = [], []
    for _ in range(_ROUNDS):
        corners = cells[:, None] + CORNERS @ strides
        keys, values = _ask(field, keys, values, corners, strides, low)
        at = values[np.searchsorted(keys, corners)]
        inside = (at < 0).sum(1)
        active = (inside > 0) & (inside < 8) & np.isfinite(at).all(1)
        kept_cells.append(cells[active])
        kept_values.append(at[active])
        cells = _led_into(cells[active], at[active] < 0, strides, known)
        if not len(cells):
            break
        known = np.union1d(known, cells)
    return _triangles(np.concatenate(kept_cells), np.concatenate(kept_values), strides, low)


def _ask(field, keys, values, corners, strides, low) -> tuple[np.ndarray, np.ndarray]:
    """Known values by key, with those of the corners (C, 8) added."""
    new, first = np.unique(corners, return_index=True)
    if len(keys):
        missing = ~np.isin(new, keys, assume_unique=True)
        new, first = new[missing], first[missing]
    order = np.argsort(first)  # as the cells come: near each other, which makes queries fast
    asked = np.empty(len(new))
    asked[order] = field(_points(new[order], strides) + low) if len(new) else []
    keys = np.concatenate([keys, new])
    order = np.argsort(keys, kind="stable")
    return keys[order], np.concatenate([values, asked])[order]


def _led_into(cells: np.ndarray, inside: np.ndarray, strides: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Cells not known yet that share a crossed face with cells (C,) whose corners are inside (C, 8)."""
    found = []
    for axis in range(3):
        for side in (0, 1):
            face = inside[:, CORNERS[:, axis] == side].sum(1)
            found.append(cells[(face > 0) & (face < 4)] + (2 * side - 1) * strides[axis])
    return np.setdiff1d(np.concatenate(found), known)


def _triangles(cells, values, strides, low) -> tuple[np.ndarray, np.ndarray]:
    """Welded triangles of cells (C,) with corner values (C, 8)."""
    owner, edges = march(values)
    axis, start = edges // 4, EDGES[edges, 0]
    keys = (cells[owner, None] + (CORNERS @ strides)[start]) * 3 + axis
    pairs, first, corner = np.unique(keys, return_index=True, return_inverse=True)
    owner, edges = np.repeat(owner, 3)[first], edges.ravel()[first]
    a, b = values[owner, EDGES[edges, 0]], values[owner, EDGES[edges, 1]]
    vertices = _points(pairs // 3, strides).astype(np.float64) + low
    # Not onto the grid point itself: triangles of no area would follow.
    vertices[np.arange(len(pairs)), pairs % 3] += np.clip(a / (a - b), 1e-3, 1 - 1e-3)
    return vertices, corner.reshape(-1, 3)


def _points(keys: np.ndarray, strides: np.ndarray) -> np.ndarray:
    return np.stack([keys // strides[0], keys % strides[0] // strides[1], keys % strides[1]], -1)
