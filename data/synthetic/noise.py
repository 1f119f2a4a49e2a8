"""Smooth random functions of space."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

_SIDE = 32


class Noise:
    """Value noise: a periodic lattice of random numbers, blended between.

    Calling it with points (..., 3) and a grain in metres gives values (...) in -1..1, mean 0, features of that size.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._lattice = generator.uniform(-1, 1, (_SIDE,) * 3).astype(np.float32)

    def __call__(self, points: np.ndarray, grain: float) -> np.ndarray:
        at = np.moveaxis(np.asarray(points, np.float32) / np.float32(grain), -1, 0)
        whole = np.floor(at)
        part = at - whole
        eased = whole + part * part * (3 - 2 * part)
        return map_coordinates(self._lattice, eased, order=1, mode="grid-wrap", prefilter=False)

    def layered(self, points: np.ndarray, grain: float, octaves: int = 3) -> np.ndarray:
        """Noise of halving grain and weight on top of each other, about -1..1."""
        total = sum(0.5**k * self(points + 3.7 * k, grain * 0.5**k) for k in range(octaves))
        return total / sum(0.5**k for k in range(octaves))
