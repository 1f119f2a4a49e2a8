"""A sparse lattice: blocks of 8 x 8 x 8 nodes that exist only near the surface.

A node's slot is ``block * 512 + place``; blocks are found through a small dense table, so that look-ups need no search.
Tensors live on one device, CPU or CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.surface.band import BLOCK, Lattice

UNKNOWN, EVALUATED, INTERPOLATED = 0, 1, 2
_NODES = BLOCK**3
BYTES_PER_BLOCK = _NODES * (4 + 1 + 1 + 1) + 12  # values, kinds, two marks; place


class Blocks:
    """Values at nodes near the surface.

    Attributes:
        values: (M * 512,) float32. kinds: (M * 512,) uint8, how each value came about.
        coordinates: (M, 3) int32, of blocks.
    """

    def __init__(self, lattice: Lattice, device: torch.device | str, most: int) -> None:
        self.lattice, self.device, self.most = lattice, torch.device(device), most
        self.side = lattice.cells // BLOCK + 1
        self.table = torch.full((self.side**3,), -1, dtype=torch.int32, device=device)
        self.coordinates = torch.zeros((0, 3), dtype=torch.int32, device=device)
        self.values = torch.zeros(0, device=device)
        self.kinds = torch.zeros(0, dtype=torch.uint8, device=device)
        self.origin = torch.as_tensor(np.asarray(lattice.origin), dtype=torch.float64, device=device)
        self.coarse: Tensor | None = None
        self.step = 1

    def know(self, coarse: Tensor, step: int) -> None:
        """Values (G + 1, G + 1, G + 1) at every ``step``-th node, NaN where unknown, for blocks that are made later."""
        self.coarse, self.step = coarse, step

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def bytes(self) -> int:
        return len(self) * BYTES_PER_BLOCK + 4 * len(self.table)

    def slots(self, nodes: Tensor, make: bool = True) -> Tensor:
        """Slots (...) int64 of nodes (..., 3) int; missing blocks are made, or get -1 where ``make`` is False."""
        block = nodes >> 3
        key = ((block[..., 0] * self.side + block[..., 1]) * self.side + block[..., 2]).long()
        if make:
            missing = key[self.table[key] < 0]
            if len(missing):
                self._add(torch.unique(missing))
        at = self.table[key].long()
        low = nodes & 7
        place = (low[..., 0] * BLOCK + low[..., 1]) * BLOCK + low[..., 2]
        return torch.where(at < 0, at, at * _NODES + place)

    def _add(self, keys: Tensor) -> None:
        count = len(self) + len(keys)
        if count > self.most:
            gigabytes = self.most * BYTES_PER_BLOCK / 2**30
            raise InputError(
                "surface", f"the level function crosses zero in more than {self.most} blocks ({gigabytes:.1f} GiB)",
                "This is no person's surface: check inputs and weights, or lower the resolution.",
            )  # fmt: skip
        self.table[keys] = torch.arange(len(self), count, dtype=torch.int32, device=self.device)
        place = torch.stack([keys // self.side**2, keys // self.side % self.side, keys % self.side], -1)
        self.coordinates = torch.cat([self.coordinates, place.to(torch.int32)])
        new = len(keys) * _NODES
        self.values = torch.cat([self.values, torch.zeros(new, device=self.device)])
        self.kinds = torch.cat([self.kinds, torch.zeros(new, dtype=torch.uint8, device=self.device)])
        if self.coarse is not None:
            self._recall(count - len(keys))

    def _recall(self, first: int) -> None:
        """Copy what the coarse grid knows into blocks from ``first`` on."""
        low = torch.arange(0, BLOCK, self.step, device=self.device, dtype=torch.int32)
        low = torch.cartesian_prod(low, low, low)
        nodes = self.coordinates[first:, None] * BLOCK + low
        x, y, z = (nodes // self.step).long().unbind(-1)
        last = self.coarse.shape[0] - 1
        values = self.coarse[x.clamp(max=last), y.clamp(max=last), z.clamp(max=last)]
        known = ~torch.isnan(values) & (nodes <= self.lattice.cells).all(-1)
        place = (low[:, 0] * BLOCK + low[:, 1]) * BLOCK + low[:, 2]
        slots = torch.arange(first, len(self), device=self.device)[:, None] * _NODES + place
        self.values[slots[known]] = values[known]
        self.kinds[slots[known]] = EVALUATED

    def nodes(self, slots: Tensor) -> Tensor:
        """(N, 3) int32 of slots (N,)."""
        place = slots % _NODES
        low = torch.stack([place // 64, place // 8 % 8, place % 8], -1).to(torch.int32)
        return self.coordinates[slots // _NODES] * BLOCK + low

    def points(self, nodes: Tensor) -> Tensor:
        """(N, 3) float32 metres."""
        return (self.origin + self.lattice.voxel * nodes.to(torch.float64)).float()

    def evaluate(self, wanted: Iterable[Tensor], evaluator: Callable[[Tensor], Tensor], batch: int) -> None:
        """Evaluate those of the slots that were not yet, in the order they lie in space; repeated ones once."""
        mark = torch.zeros(len(self.values), dtype=torch.bool, device=self.device)
        for slots in wanted:
            mark[slots.long()] = True
        todo = torch.nonzero(mark & (self.kinds != EVALUATED))[:, 0]
        for some in todo.split(batch):
            self.values[some] = evaluator(self.points(self.nodes(some)))
        self.kinds[todo] = EVALUATED
