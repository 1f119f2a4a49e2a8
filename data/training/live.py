"""Training people that are made as batches ask for them, by processes beside the training: no picture is stored."""

from __future__ import annotations

import multiprocessing
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np
from torch import Tensor

from data.training.batches import PREDICTED, People
from data.training.people import PersonOptions, Studio

_studio: Studio | None = None


class LivePeople(People):
    """Samples 0 to ``count`` - 1 of a split: the same as ``shards.make`` would store, so batches are the same too.

    Args:
        processes: that make them; each uses a GPU if there is one.
        predict: normal maps (V, S, S, 3) int8 of pictures (V, S, S, 3) and masks (V, S, S), as stored ones are.
        volume: see ``People``.
        remember: so many samples are kept for when they are asked for again.
    """

    def __init__(
        self,
        split: str,
        count: int,
        options: PersonOptions,
        processes: int,
        predict: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        volume: Callable[..., Tensor] | None = None,
        remember: int = 64,
    ) -> None:
        super().__init__([], None, volume)
        self._split, self._count, self._predict, self._remember = split, count, predict, remember
        self._pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _open, (options,))
        weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        self._samples: OrderedDict[int, Future] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def expect(self, numbers: Sequence[int]) -> None:
        for k in map(int, numbers):
            if k not in self._samples:
                self._samples[k] = self._pool.submit(_make, self._split, k)

    def arrays(self, k: int, *names: str) -> dict[str, np.ndarray]:
        self.expect([k])
        self._samples.move_to_end(k)
        sample = self._samples[k].result()
        while len(self._samples) > self._remember and next(iter(self._samples.values())).done():
            self._samples.popitem(last=False)
        if PREDICTED in names and PREDICTED not in sample:
            sample[PREDICTED] = self._predict(sample["rgb"], sample["mask"])
        return {name: sample[name] for name in names or sample}


def _open(options: PersonOptions) -> None:
    """In a process of its own: one thread, as the others have theirs."""
    import torch

    global _studio
    torch.set_num_threads(1)
    _studio = Studio(options)


def _make(split: str, number: int) -> dict[str, np.ndarray]:
    return _studio.sample(split, number).arrays()
