"""Which anchors and proposals are taught what: assignment by overlap, and a random sample of them (Ren 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nets.mili.boxes import Geometry


@dataclass(frozen=True)
class Assignment:
    """Rows that are taught to be people, whose, and rows that are taught to be background."""

    positive: Tensor
    person: Tensor
    negative: Tensor


@dataclass(frozen=True)
class AssignOptions:
    """Overlap from which a box is a person, below which it is background, with which the best box of a person counts
    all the same (None: none); how many are drawn, and the share of people in them at most."""

    positive: float
    negative: float
    best: float | None
    count: int
    share: float


ANCHORS = AssignOptions(0.7, 0.3, 0.3, 256, 0.5)
PROPOSALS = AssignOptions(0.5, 0.5, None, 512, 0.25)


def assign(
    boxes: Tensor, people: Tensor, geometry: Geometry, options: AssignOptions, generator: torch.Generator
) -> Assignment:
    """Assign boxes (N, 4) to people (M, 4) and draw from them."""
    person = torch.full((len(boxes),), -1, device=boxes.device)
    background = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    if len(people) and len(boxes):
        overlaps = geometry.overlaps(boxes, people)
        best, which = overlaps.max(1)
        background = best < options.negative
        person = torch.where(best >= options.positive, which, person)
        if options.best is not None:
            top = overlaps.amax(0)
            rows, owners = torch.nonzero((overlaps >= top - 1e-6) & (top >= options.best), as_tuple=True)
            person[rows] = owners
            background[rows] = False
    positive = _draw(torch.nonzero(person >= 0).flatten(), int(options.count * options.share), generator)
    negative = _draw(torch.nonzero(background & (person < 0)).flatten(), options.count - len(positive), generator)
    return Assignment(positive, person[positive], negative)


def _draw(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    if len(rows) <= most:
        return rows
    return rows[torch.randperm(len(rows), generator=generator)[:most].to(rows.device)]
