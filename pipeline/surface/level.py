"""Level functions: what says how far inside a surface points are, and how they are asked.

A level function takes points (N, 3), metres in the world, and returns values (N,): logits of occupancy, positive
inside, zero on the surface. Any steadily growing function of the signed distance inside does as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import InputError

LevelFunction = Callable[[Tensor], "Tensor | np.ndarray"]


def of_arrays(function: Callable[[np.ndarray], np.ndarray]) -> LevelFunction:
    """A level function from one that takes and returns numpy arrays."""
    return lambda points: function(points.cpu().numpy())


def of_occupancy(function: LevelFunction, level: float = 0.5) -> LevelFunction:
    """A level function from occupancies in 0..1, of which ``level`` is the surface."""
    if not 0 < level < 1:
        raise InputError("level", f"{level} is not between 0 and 1", "Give the occupancy at the surface, such as 0.5.")
    shift = float(np.log(level / (1 - level)))

    def logits(points: Tensor) -> Tensor:
        return torch.logit(torch.as_tensor(function(points)), eps=1e-6) - shift

    return logits


@dataclass(frozen=True)
class LevelPair:
    """Two levels of which the fine one is asked only where the coarse one is uncertain.

    Attributes:
        coarse, fine: level functions of the same surface.
        certain: the fine level is asked where the absolute value of the coarse one is below this.
    """

    coarse: LevelFunction
    fine: LevelFunction
    certain: float = 4.0

    def __call__(self, points: Tensor) -> Tensor:
        values = torch.as_tensor(self.coarse(points)).to(torch.float32)
        # A NaN is not certain of anything: it is passed on to be found.
        some = ~(values.abs() >= self.certain)
        if bool(some.any()):
            fine = torch.as_tensor(self.fine(points[some.to(points.device)]))
            values = values.clone()
            values[some] = fine.to(values)
        return values


def closed_by_body(
    function: LevelFunction, body: LevelFunction, seen: Callable[[Tensor], Tensor], shrink: float = 0.0
) -> LevelFunction:
    """``function``, except that where nobody sees, what is inside the body is inside the surface.

    Args:
        body: level function of the body, in the units of ``function``.
        seen: points (N, 3) to (N,) bool, whether any view sees them.
        shrink: by how much the body has to be inside before it counts, in the units of ``function``.
    """

    def values(points: Tensor) -> Tensor:
        out = torch.as_tensor(function(points)).to(torch.float32)
        hidden = ~seen(points).to(out.device)
        if not bool(hidden.any()):
            return out
        inside = torch.as_tensor(body(points[hidden.to(points.device)])).to(out) - shrink
        out = out.clone()
        out[hidden] = torch.maximum(out[hidden], inside)
        return out

    return values


class Evaluator:
    """Asks a level function in batches, counts the points, and refuses values that are not numbers."""

    def __init__(self, function: LevelFunction, batch: int, device: torch.device | str) -> None:
        self.function, self.batch, self.device = function, batch, torch.device(device)
        self.points = 0

    def __call__(self, points: Tensor) -> Tensor:
        """Values (N,) float32 of points (N, 3); raises InputError for NaN and for a wrong number of values."""
        parts = [self._batch(some) for some in points.split(self.batch)] if len(points) else []
        return torch.cat(parts) if parts else torch.zeros(0, device=self.device)

    @torch.no_grad()
    def _batch(self, points: Tensor) -> Tensor:
        values = torch.as_tensor(self.function(points), device=self.device).to(torch.float32)
        self.points += len(points)
        if values.shape != (len(points),):
            raise InputError(
                "level function", f"returned {tuple(values.shape)} for {len(points)} points",
                "It has to return one value a point.",
            )  # fmt: skip
        bad = torch.isnan(values)
        if bool(bad.any()):
            where = [round(float(x), 3) for x in points[bad][0]]
            raise InputError(
                "level function", f"{int(bad.sum())} of {len(points)} values are NaN, the first at {where} m",
                "Look at the network's inputs and weights of this frame for NaN.",
            )  # fmt: skip
        return values.clamp(-1e6, 1e6)  # infinities say in or out, but nothing can be interpolated from them
