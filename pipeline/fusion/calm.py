"""How calmly a body moves: what its fit trembles by, and where neighbouring frames know as much as its own.

Bodies are fitted anew to every frame's keypoints, and their errors carry meshes against each other: with keypoints off
by 3 px at six cameras, skin trembles by 3 to 4.5 mm from frame to frame. A body's way through a third of a second is
close to a parabola (Savitzky and Golay, 1964): where the fit stays near one, it is the better guess of how the body
moved between two frames, and frames further away may be trusted; where it does not, the body moves too fast for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.fusion.skinning import PosedBody

HALF_S, AROUND_S = 0.16, 0.12
"""Seconds on either side that a parabola is fitted to, and that its distance from the fit is averaged over."""
LIMIT_M = 0.006
"""A body that is this far from its parabolas takes a quarter of the way to them, and is a quarter as calm."""
DEGREE = 2
_FEWEST = 5


class Calm:
    """Frame by frame, what a body's vertices are to be moved by when it carries a mesh, and how calm they are."""

    def __init__(self, positions: Callable[[int], np.ndarray | None], fps: float) -> None:
        """
        Args:
            positions: (B, 3) metres of the body's vertices in a frame, numbered by one from frame to frame; None where
                there is no valid body.
            fps: frames a second.
        """
        self._half, self._around = (max(2, round(s * fps)) for s in (HALF_S, AROUND_S))
        self._positions = lru_cache(2 * (self._half + self._around) + 2)(positions)
        self._off = lru_cache(2 * self._around + 2)(self._measured)

    def __call__(self, frame: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Metres (B, 3) from the fit to where the body is trusted to be, and (B,) 0..1 how calm it is; None where there
        is no valid body or too few frames around it."""
        own = self._off(frame)
        if own is None:
            return None
        near = (self._off(k) for k in range(frame - self._around, frame + self._around + 1))
        off = np.mean([(shift**2).sum(1) for shift in near if shift is not None], 0)
        calm = 1 / (1 + off / LIMIT_M**2) ** 2
        return calm[:, None] * own, calm

    def told(self, frame: int, body: PosedBody) -> PosedBody:
        """A frame's body with what the frames around it say; as it is where that is nothing."""
        known = self(frame)
        return body if known is None else replace(body, steadier=known[0], calm=known[1])

    def _measured(self, frame: int) -> np.ndarray | None:
        """(B, 3) from the fit to the parabola through the frames around it."""
        if (own := self._positions(frame)) is None:
            return None
        times = [k for k in range(-self._half, self._half + 1) if self._positions(frame + k) is not None]
        if len(times) < _FEWEST:
            return None
        return sum(s * self._positions(frame + k) for s, k in zip(smoothing(times), times, strict=True)) - own


def smoothing(times: Sequence[int]) -> np.ndarray:
    """(N,) shares of values at these times in the value at time 0 of the parabola that fits them best."""
    return np.linalg.pinv(np.vander(np.array(times, np.float64), DEGREE + 1))[-1]
