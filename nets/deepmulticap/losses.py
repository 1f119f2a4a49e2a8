"""Training losses of the surface and normal networks. All are means over what they are given; logits, not occupancy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as nn_functional


def occupancy_mse(logits: Tensor, inside: Tensor) -> Tensor:
    """Mean squared error of occupancy (released code; PIFu). ``inside`` is 0..1, of the logits' shape."""
    return nn_functional.mse_loss(logits.sigmoid(), inside.to(logits.dtype))


def occupancy_bce(logits: Tensor, inside: Tensor) -> Tensor:
    """Cross entropy of occupancy; ``inside`` may be soft."""
    return nn_functional.binary_cross_entropy_with_logits(logits, inside.to(logits.dtype))


def soft_occupancy(signed_distance: Tensor, width: float) -> Tensor:
    """Occupancy that falls from 1 to 0 over a few ``width`` (metres) at the surface; distance is negative inside."""
    return (-signed_distance / width).sigmoid()


def of_levels(loss: Callable[[Tensor, Tensor], Tensor], coarse: Tensor, fine: Tensor, inside: Tensor) -> Tensor:
    """The sum over both levels; once where there is one level, whose logits are then given twice."""
    return loss(coarse, inside) if fine is coarse else loss(coarse, inside) + loss(fine, inside)


def surface_normals(field: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Unit outward normals (B, N, 3) of the level sets of ``field``, logits (B, N) of points (B, N, 3), at the points.

    Differentiable once more, so that a loss on them trains the field.
    """
    points = points.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(field(points).sum(), points, create_graph=True)
    return -nn_functional.normalize(gradient, dim=-1, eps=1e-8)


def surface_normal_loss(field: Callable[[Tensor], Tensor], points: Tensor, normals: Tensor) -> Tensor:
    """1 - cosine between the field's normals and the surface's (B, N, 3) at surface points: what keeps folds sharp."""
    return (1 - (surface_normals(field, points) * normals).sum(-1)).mean()


def normal_edge_loss(predicted: Tensor, target: Tensor, mask: Tensor, reach: tuple[int, ...] = (1, 2)) -> Tensor:
    """L1 of how normal maps (N, 3, S, S) change over ``reach`` pixels along rows and columns, where the mask (N, S, S)
    holds both: folds and seams, whatever the normals' common error."""
    parts = []
    for far in reach:
        for axis in (2, 3):
            count = predicted.shape[axis] - far

            def change(x: Tensor, axis: int = axis, far: int = far, count: int = count) -> Tensor:
                return x.narrow(axis, far, count) - x.narrow(axis, 0, count)

            both = (mask.narrow(axis - 1, far, count) & mask.narrow(axis - 1, 0, count))[:, None]
            error = (change(predicted) - change(target)).abs() * both
            parts.append(error.sum() / (3 * both.sum()).clamp_min(1))
    return torch.stack(parts).mean()


def normal_map_loss(
    predicted: Tensor,
    target: Tensor,
    mask: Tensor,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    weight: float = 5.0,
) -> Tensor:
    """``weight`` x L1 of normal maps (N, 3, S, S) on the mask (N, S, S), and a perceptual distance if one is given."""
    inside = mask[:, None].to(predicted.dtype)
    l1 = ((predicted - target).abs() * inside).sum() / (3 * inside.sum()).clamp_min(1)
    loss = weight * l1
    return loss if perceptual is None else loss + perceptual(predicted * inside, target * inside)
