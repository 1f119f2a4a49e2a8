"""From a coarse look at the band to the cells that the surface crosses, asking as few points as may be.

1. ``survey``: every node of the coarse grid in the band. Where its border is inside, the band grows.
2. ``refine``: cells that the surface may cross are halved. What a new node deviates from the interpolation of its
   parent bounds the error of stopping there: smooth cells stop early, and cells whose corners are further from zero
   than that error are let go.
3. ``track``: cells of one voxel that the surface crosses, and from each through every face with a change of sign to the
   next one, so that a surface once found is complete, wherever the band or the bound was wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.surface.band import Band
from pipeline.surface.blocks import INTERPOLATED, UNKNOWN, Blocks
from pipeline.surface.level import Evaluator
from pipeline.surface.options import SurfaceOptions
from pipeline.surface.triangles import CORNERS

_CHUNK = 1 << 15  # cells handled at a time
_REACH = 3**0.5 / 2  # no place in a cell is further from its nearest corner, in sides of the cell


def survey(evaluator: Evaluator, band: Band, step: int, blocks: Blocks) -> tuple[Tensor, int]:
    """Values (G + 1, G + 1, G + 1) at the coarse nodes of the band, NaN elsewhere, and by how many cells it grew."""
    domain = torch.as_tensor(band.cells(step), device=blocks.device)
    values = torch.full(tuple(n + 1 for n in domain.shape), float("nan"), device=blocks.device)
    first = int(domain.sum())
    while True:
        new = _any_cell(domain) & torch.isnan(values)
        values[new] = evaluator(blocks.points(torch.nonzero(new) * step))
        grown = _any_corner(values >= 0) & ~domain
        if not bool(grown.any()):
            return values, int(domain.sum()) - first
        domain |= grown


def _any_cell(cells: Tensor) -> Tensor:
    """Nodes that are a corner of any of ``cells``."""
    nodes = torch.zeros(tuple(n + 1 for n in cells.shape), dtype=torch.bool, device=cells.device)
    for part in _corner_views(nodes):
        part |= cells
    return nodes


def _any_corner(nodes: Tensor) -> Tensor:
    """Cells with any corner in ``nodes``."""
    out = torch.zeros(tuple(n - 1 for n in nodes.shape), dtype=torch.bool, device=nodes.device)
    for part in _corner_views(nodes):
        out |= part
    return out


def _corner_views(nodes: Tensor) -> Iterator[Tensor]:
    """Views of a node array, one for each corner of its cells, in the order of ``CORNERS``."""
    X, Y, Z = (n - 1 for n in nodes.shape)
    return (nodes[x : x + X, y : y + Y, z : z + Z] for x, y, z in CORNERS.tolist())


def first_cells(values: Tensor, body: Tensor, reach: float) -> Tensor:
    """(n, 3) int32: coarse cells that the surface may cross, in units of themselves.

    Those with a change of sign; those nearer to zero than the steepest edge about them could bring it over half their
    diagonal, times ``reach``; and those that hold the body, where limbs may be thinner than a cell.
    """
    steepest = torch.zeros_like(values)
    for axis in range(3):
        change = values.diff(dim=axis).abs().nan_to_num(0)
        at = torch.zeros_like(values)
        n = change.shape[axis]
        at.narrow(axis, 0, n).copy_(change)
        at.narrow(axis, 1, n).copy_(torch.maximum(at.narrow(axis, 1, n), change))
        steepest += at**2
    corners = torch.stack(list(_corner_views(values)), -1)
    slope = torch.stack(list(_corner_views(steepest)), -1).amax(-1).sqrt()
    crossing = (corners >= 0).any(-1) & (corners < 0).any(-1)
    near = corners.abs().amin(-1) <= reach * _REACH * slope
    known = ~torch.isnan(corners).any(-1)
    return torch.nonzero(known & (crossing | near | body)).to(torch.int32)


def refine(blocks: Blocks, evaluator: Evaluator, cells: Tensor, step: int, options: SurfaceOptions) -> Tensor:
    """Halve cells (n, 3) of ``step`` voxels until they are of one or smooth; returns cells of one voxel to look at."""
    smooth: dict[int, Tensor] = {}
    cells = cells * step
    while step > 1:
        slots = _new_nodes(blocks, evaluator, cells, step, options.batch)
        kept = [_judge(blocks, *part, step, options) for part in zip(cells.split(_CHUNK), slots, strict=True)]
        step //= 2
        cells = _joined([again for again, _ in kept], cells)
        smooth[step] = _joined([stop for _, stop in kept], cells)
    for size in sorted(smooth):  # the finer ones first: what they say of a shared face counts
        _fill(blocks, smooth[size], size)
    inner = (_crossing_inside(blocks, part, size) for size, all_ in smooth.items() for part in all_.split(_CHUNK >> 3))
    return _joined([cells, *inner], cells)


def _joined(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.cat(parts) if parts else like[:0]


def _grid(points: int, device: torch.device) -> Tensor:
    """(points^3, 3) int32, in the order of ``CORNERS`` for two points."""
    one = torch.arange(points, dtype=torch.int32, device=device)
    return torch.cartesian_prod(one, one, one)


def _weights(points: int, device: torch.device) -> Tensor:
    """(points^3, 8): trilinear weights of a cell's corners at a regular grid over it."""
    t = (_grid(points, device) / (points - 1))[:, None]
    corners = torch.as_tensor(CORNERS, device=device)
    return torch.where(corners == 1, t, 1 - t).prod(-1).float()


def _new_nodes(blocks: Blocks, evaluator: Evaluator, cells: Tensor, step: int, batch: int) -> list[Tensor]:
    """Evaluate the 27 nodes of cells about to be halved; returns their slots, a chunk each."""
    offsets = _grid(3, cells.device) * (step // 2)
    slots = [blocks.slots(part[:, None] + offsets).int() for part in cells.split(_CHUNK)]
    blocks.evaluate(slots, evaluator, batch)
    return slots


def _judge(blocks: Blocks, cells: Tensor, slots: Tensor, step: int, options: SurfaceOptions) -> tuple[Tensor, Tensor]:
    """Which of the children have to be halved again, and which may stop: (n, 3) each. The rest is let go."""
    values = blocks.values[slots.long()]
    eight = _grid(2, cells.device)
    at = 2 * eight @ torch.tensor([9, 3, 1], dtype=torch.int32, device=cells.device)
    surplus = (values - values[:, at.long()] @ _weights(3, cells.device).T).abs().amax(1)
    of_child = (eight[:, None] + eight) @ torch.tensor([9, 3, 1], dtype=torch.int32, device=cells.device)
    corners = values[:, of_child.long()]  # (n, 8 children, 8 corners)
    crossing = (corners >= 0).any(-1) & (corners < 0).any(-1)
    nearest = corners.abs().amin(-1)
    cube = corners.unflatten(-1, (2, 2, 2))
    slope = torch.stack([cube.diff(dim=i).mean((2, 3, 4)) for i in (2, 3, 4)], -1).norm(dim=-1) / (step // 2)
    # Halving a cell divides the error of interpolation by four where the field is smooth, by two at a crease.
    error = (surplus / 2)[:, None].expand_as(slope)
    rough = error > options.tolerance * slope
    again = crossing | (nearest <= options.caution * error)
    children = cells[:, None] + eight * (step // 2)
    if step == 2:
        return children[crossing], children[:0, 0]
    return children[rough & again], children[~rough & crossing]


def _fill(blocks: Blocks, cells: Tensor, size: int) -> None:
    """Interpolate the unknown nodes of smooth cells."""
    offsets, weights = _grid(size + 1, cells.device), _weights(size + 1, cells.device)
    for part in cells.split(_CHUNK >> 3):
        corners = blocks.values[blocks.slots(part[:, None] + _grid(2, cells.device) * size)]
        slots = blocks.slots(part[:, None] + offsets)
        unknown = blocks.kinds[slots] == UNKNOWN
        blocks.values[slots[unknown]] = (corners @ weights.T)[unknown]
        blocks.kinds[slots[unknown]] = INTERPOLATED


def _crossing_inside(blocks: Blocks, cells: Tensor, size: int) -> Tensor:
    """(n, 3): the cells of one voxel inside smooth cells that the surface crosses."""
    inner = (cells[:, None] + _grid(size, cells.device)).flatten(0, 1)
    values = blocks.values[blocks.slots(inner[:, None] + _grid(2, cells.device))]
    return inner[(values >= 0).any(-1) & (values < 0).any(-1)]


def track(blocks: Blocks, evaluator: Evaluator, cells: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every cell of one voxel that the surface through ``cells`` (n, 3) crosses.

    Returns:
        nodes (C, 3) int32, the lowest of each cell; slots (C, 8) int64; values (C, 8).
    """
    found = []
    seen = torch.zeros(0, dtype=torch.bool, device=cells.device)
    while len(cells):
        own = blocks.slots(cells)
        seen = torch.cat([seen, seen.new_zeros(len(blocks.values) - len(seen))])
        fresh = torch.unique(own)
        fresh = fresh[~seen[fresh]]
        seen[fresh] = True
        following = []
        for some in fresh.split(_CHUNK):
            part = _crossing(blocks, evaluator, blocks.nodes(some), batch)
            found.append(part)
            following.append(_neighbours(part[0], part[2], blocks.lattice.cells))
        cells = _joined(following, cells)
    nodes, slots, values = (torch.cat([f[i] for f in found]) if found else None for i in range(3))
    if nodes is None:
        return cells, cells.new_zeros((0, 8)).long(), cells.new_zeros((0, 8)).float()
    # A value that was interpolated when a cell was looked at may have been evaluated since.
    values = blocks.values[slots]
    return nodes, slots, values


def _crossing(blocks: Blocks, evaluator: Evaluator, cells: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    slots = blocks.slots(cells[:, None] + _grid(2, cells.device))
    unknown = blocks.kinds[slots] == UNKNOWN
    if bool(unknown.any()):
        blocks.evaluate([slots[unknown]], evaluator, batch)
    values = blocks.values[slots]
    crossing = (values >= 0).any(-1) & (values < 0).any(-1)
    return cells[crossing], slots[crossing], values[crossing]


def _neighbours(cells: Tensor, values: Tensor, count: int) -> Tensor:
    """(n, 3): cells behind those faces that the surface crosses, inside the box."""
    corners = torch.as_tensor(CORNERS, device=cells.device)
    out = []
    for axis in range(3):
        for side in (0, 1):
            face = values[:, corners[:, axis] == side]
            behind = cells[(face >= 0).any(-1) & (face < 0).any(-1)].clone()
            behind[:, axis] += 2 * side - 1
            out.append(behind[(behind[:, axis] >= 0) & (behind[:, axis] < count)])
    return torch.cat(out)
