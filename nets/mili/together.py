"""How several bodies fit into one picture: no one inside another, and who is in front is in front.

Both losses work on pairs of people, as the reference facts recommend: the released forms count only people who overlap
everybody else.
"""

from __future__ import annotations

import torch
from torch import Tensor

RHO = 0.2
"""Metres of depth at which a penetration counts half (Geman-McClure), as released."""
MOST_DIFFERENCE = 10.0


def inside_depth(points: Tensor, vertices: Tensor, normals: Tensor) -> Tensor:
    """How deep points (P, 3) are inside a body (metres, 0 outside), by the tangent plane at their nearest vertex.

    Args:
        vertices: (S, 3), dense enough for the nearest to be telling. normals: (S, 3) unit, outward.
    """
    which = torch.cdist(points, vertices).argmin(1)
    return -((points - vertices[which]) * normals[which]).sum(-1).clamp_max(0)


def interpenetration(vertices: Tensor, normals: Tensor, groups: Tensor) -> Tensor:
    """Sum over pairs of people of one image of how deep the points of one are in the other, over the image's people
    squared.

    Args:
        vertices, normals: (N, S, 3) in one frame, metres. groups: (N,) which image each person is in.
    """
    total = vertices.sum() * 0
    for image in groups.unique().tolist():
        rows = torch.nonzero(groups == image).flatten().tolist()
        low, high = vertices.detach().amin(1), vertices.detach().amax(1)
        for a in rows:
            for b in rows:
                if a == b or bool(((low[a] > high[b]) | (low[b] > high[a])).any()):
                    continue
                depth = inside_depth(vertices[a], vertices[b], normals[b])
                squared = (depth / RHO) ** 2
                total = total + (squared / (squared + 1)).sum() / len(rows) ** 2
    return total


def depth_order(
    pixels: Tensor, depths: Tensor, seen: Tensor, owners: Tensor, groups: Tensor, radius: float
) -> Tensor:
    """Whoever a pixel belongs to should be nearer than the others who cover it: mean of log(1 + exp(difference)).

    Args:
        pixels: (N, S, 2) projected vertices; depths: (N, S) metres. seen: (M, 2) pixels of masks, owners: (M,) rows of
        the person each belongs to. groups: (N,) image of each person. radius: pixels within which a vertex covers one.
    """
    total, count = depths.sum() * 0, 0
    for row in owners.unique().tolist():
        spots = seen[owners == row]
        own = _depth_at(spots, pixels[row], depths[row], radius)
        for other in torch.nonzero(groups == groups[row]).flatten().tolist():
            if other == row:
                continue
            theirs = _depth_at(spots, pixels[other], depths[other], radius)
            both = torch.isfinite(own) & torch.isfinite(theirs)
            if bool(both.any()):
                difference = own[both] - theirs[both]
                # Linear far out, where the exponential would overflow.
                loss = torch.where(difference > MOST_DIFFERENCE, difference, difference.clamp_max(10).exp().log1p())
                total, count = total + loss.sum(), count + len(difference)
    return total / max(count, 1)


def _depth_at(spots: Tensor, pixels: Tensor, depths: Tensor, radius: float) -> Tensor:
    """(M,) depth of the nearest vertex over each pixel; infinity where none covers it."""
    covered = torch.cdist(spots, pixels) <= radius
    return depths.expand(len(spots), -1).masked_fill(~covered, torch.inf).amin(1)
