"""Levenberg-Marquardt for a part of the body over time: a vector a frame, seen by cameras, near its prior, slow.

What hands and faces share: their unknowns are plain vectors (rotation vectors and coefficients), so that smoothness is
linear and each frame's block is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded

from pipeline.body.pixels import geman_mcclure, pixel_information, pixel_residuals
from pipeline.body.problem import second_differences
from pipeline.body.solver import banded

KERNEL = 3.0


class Part(Protocol):
    """U unknowns a frame with their prior and what they move. The first three turn the part.

    ``names`` of its K points; ``rigid`` (K,): those that hardly move but with the whole; ``rotations`` (F, 3, 3) and
    ``positions`` (F, 3): of the joint that it hangs on, in the world.
    ``mean``, ``deviation`` (U,): Gaussian prior; ``low``, ``high`` (U,): ranges that end softly, inf for none;
    ``acceleration`` (U,): typical second derivative, units of the unknown a second squared.
    """

    names: tuple[str, ...]
    rigid: np.ndarray
    rotations: np.ndarray
    positions: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    acceleration: np.ndarray

    def still(self) -> np.ndarray:
        """(K, 3) points at rest about the joint that the part hangs on, unturned."""
        ...

    def points(self, unknowns: np.ndarray) -> np.ndarray:
        """(F, K, 3) metres for unknowns (F, U)."""
        ...

    def linearised(self, unknowns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (F, K, 3) and their derivatives (F, K, 3, U)."""
        ...


@dataclass(frozen=True)
class Seen:
    """Keypoints of a part: times (F,) s, pixels (F, C, K, 2) without NaN, weights (F, C, K) 0 where missing,
    projections (C, 3, 4), deviation of the noise, pixels."""

    times: np.ndarray
    pixels: np.ndarray
    weights: np.ndarray
    projections: np.ndarray
    deviation: float


RANGE_DEVIATION = 0.08
"""How softly ranges end."""


def solve_series(part: Part, seen: Seen, start: np.ndarray, iterations: int = 20) -> np.ndarray:
    """(F, U) from ``start``: least cost of pixels (Geman-McClure), prior, ranges and accelerations."""
    unknowns, damping, quiet = start.copy(), 1e-3, 0
    differences = second_differences(seen.times)
    cost = _cost(part, seen, differences, unknowns)
    equations = None
    for _ in range(iterations):
        if equations is None:
            equations = _equations(part, seen, differences, unknowns)
        try:
            trial = unknowns + _step(*equations, damping)
        except LinAlgError:
            damping *= 10
            continue
        trial_cost = _cost(part, seen, differences, trial)
        if not trial_cost < cost:
            damping *= 5
            if damping > 1e6:
                break
            continue
        quiet = quiet + 1 if cost - trial_cost < 1e-4 * cost else 0
        unknowns, cost, equations, damping = trial, trial_cost, None, max(damping / 4, 1e-7)
        if quiet >= 2:
            break
    return unknowns


def _beyond(part: Part, unknowns: np.ndarray) -> np.ndarray:
    return (np.maximum(unknowns - part.high, 0) + np.minimum(unknowns - part.low, 0)) / RANGE_DEVIATION


def _accelerations(differences: np.ndarray, unknowns: np.ndarray, part: Part) -> np.ndarray:
    """(F - 2, U) in deviations."""
    parts = (differences[:, i, None] * unknowns[i : len(unknowns) - 2 + i] for i in range(3))
    return sum(parts) / part.acceleration if len(unknowns) > 2 else np.zeros((0, unknowns.shape[1]))


def _cost(part: Part, seen: Seen, differences: np.ndarray, unknowns: np.ndarray) -> float:
    residual, _ = pixel_residuals(part.points(unknowns), seen.pixels, seen.projections)
    pixels = geman_mcclure((residual**2).sum(-1) / seen.deviation**2, KERNEL)[0]
    total = (seen.weights * pixels).sum() + (((unknowns - part.mean) / part.deviation) ** 2).sum()
    return float(
        total + (_beyond(part, unknowns) ** 2).sum() + (_accelerations(differences, unknowns, part) ** 2).sum()
    )


def _equations(part: Part, seen: Seen, differences: np.ndarray, unknowns: np.ndarray):
    """Block diagonals of half the second derivative, as ``solver.banded`` takes them, and half the gradient (F, U)."""
    frames, width = unknowns.shape
    points, slope = part.linearised(unknowns)
    residual, inverse = pixel_residuals(points, seen.pixels, seen.projections)
    weights = seen.weights * geman_mcclure((residual**2).sum(-1) / seen.deviation**2, KERNEL)[1] / seen.deviation**2
    information, pull = pixel_information(residual, inverse, seen.pixels, weights, seen.projections)
    flat = slope.reshape(frames, -1, width)
    transposed = flat.transpose(0, 2, 1)
    blocks = [transposed @ (information @ slope).reshape(flat.shape)]
    blocks += [np.zeros((max(frames - b, 0), width, width)) for b in (1, 2)]
    gradient = (transposed @ pull.reshape(frames, -1, 1))[..., 0] + (unknowns - part.mean) / part.deviation**2
    beyond = _beyond(part, unknowns)
    gradient += beyond / RANGE_DEVIATION
    diagonal = np.arange(width)
    blocks[0][:, diagonal, diagonal] += 1 / part.deviation**2 + (beyond != 0) / RANGE_DEVIATION**2
    if frames > 2:
        bent = _accelerations(differences, unknowns, part) / part.acceleration
        for i in range(3):
            rows = slice(i, frames - 2 + i)
            gradient[rows] += differences[:, i, None] * bent
            for j in range(i, 3):
                product = (differences[:, i] * differences[:, j])[:, None] / part.acceleration**2
                blocks[j - i][rows, diagonal, diagonal] += product
    return blocks, gradient


def _step(blocks: list[np.ndarray], gradient: np.ndarray, damping: float) -> np.ndarray:
    band = banded(tuple(blocks))
    band[0] += damping * band[0] + 1e-9
    factor = (cholesky_banded(band, overwrite_ab=True, lower=True, check_finite=False), True)
    return cho_solve_banded(factor, -gradient.ravel(), check_finite=False).reshape(gradient.shape)
