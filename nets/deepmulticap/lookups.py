"""Where points fall in images, feature maps and volumes, and what is read there.

``Located`` is computed once for a batch of points and read by every level. Depth and place are normalised by the body's
own frame, so that nothing depends on where in the world, or how far from a camera, a person stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nn_functional

_NEAR = 1e-6  # metres; points nearer or behind the camera see nothing of the image
_OUTSIDE = -1e4  # in units of half an image: zero-padded look-ups give zero there


@dataclass(frozen=True)
class Located:
    """N points of each of B people in V views.

    Attributes:
        pixels: (B, V, N, 2) in the crops, pixel centres at integers.
        grid: (B, V, N, 2) the same as places in feature maps, -1 to 1.
        depth: (B, V, N) along each camera's axis, from the body's centre, in units of the canonical frame.
        canonical: (B, N, 3) in the body's frame, -0.5 to 0.5 inside its cube.
        visible: (B, N, V) bool, at least one True a point; None where all are.
        unseen: (B, N) bool, points that no view sees: their image features are zero; None where there are none.
        extra: (B, N, D) numbers the caller adds to each point; D may be 0.
        cues: (B, N, V, 3) what the views say directly: metres behind the body's surface in canonical units, whether
            the body is there, and the mask (1 the person, -1 nobody, 0 unknown); None where nobody reads it.
    """

    pixels: Tensor
    grid: Tensor
    depth: Tensor
    canonical: Tensor
    visible: Tensor | None
    unseen: Tensor | None
    extra: Tensor
    cues: Tensor | None = None


class PixelCentres(nn.Module):
    """Pixel centres at integers: the image spans -0.5 to size - 0.5, and so does every feature map of it."""

    align_corners = False

    def forward(self, pixels: Tensor, size: int) -> Tensor:
        return (2 * pixels + 1) / size - 1


def canonical(points: Tensor, rotation: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """World points (B, N, 3) in body frames: R (p - centre) scale with R (B, 3, 3), centre (B, 3), scale (B,)."""
    return (points - centre[:, None]) @ rotation.transpose(-1, -2) * scale[:, None, None]


def project(projection: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Points (B, N, 3) through matrices (B, V, 3, 4): pixels (B, V, N, 2) and depth (B, V, N) in metres.

    Pixels of points at or behind the camera plane are far outside every image.
    """
    x = points[:, None] @ projection[..., :3].transpose(-1, -2) + projection[:, :, None, :, 3]
    depth = x[..., 2]
    front = depth > _NEAR
    pixels = x[..., :2] / torch.where(front, depth, torch.ones_like(depth))[..., None]
    return torch.where(front[..., None], pixels, torch.full_like(pixels, -1e7)), depth


def settle_visibility(seen: Tensor | None, present: Tensor | None, points: int) -> tuple[Tensor | None, Tensor | None]:
    """Which views a point's tokens may attend to: seen (B, V, N), present (B, V) to visible (B, N, V), unseen (B, N).

    Where nobody sees a point every view is let in, with its image features at zero: what remains is the body, alike in
    all views, so the result does not depend on how many there are.
    """
    if seen is None and present is None:
        return None, None
    if seen is None:
        seen = present[..., None].expand(*present.shape, points)
    elif present is not None:
        seen = seen & present[..., None]
    visible = seen.transpose(1, 2)
    unseen = ~visible.any(-1)
    return visible | unseen[..., None], unseen


def look_at_maps(maps: Tensor, located: Located, align_corners: bool) -> Tensor:
    """Bilinear features of maps (B, V, C, h, w) at points: (B, N, V, C); zero outside and where a view is masked."""
    B, V, C = maps.shape[:3]
    grid = located.grid.clamp(_OUTSIDE, -_OUTSIDE).flatten(0, 1)[:, :, None]
    out = nn_functional.grid_sample(maps.flatten(0, 1), grid, align_corners=align_corners, padding_mode="zeros")
    out = out[..., 0].reshape(B, V, C, -1).permute(0, 3, 1, 2)
    return mask_tokens(out, located)


def look_at_cues(cues: Tensor, located: Located, align_corners: bool) -> Tensor:
    """(B, N, V, 3) of maps (B, V, 3, S, S) of body depth, where it is, and the mask: see ``Located.cues``."""
    found = look_at_maps(cues, located, align_corners)
    hit = found[..., 1]
    surface = found[..., 0] / hit.clamp_min(1e-3)  # at the outline the map is blended with the nothing beyond
    behind = torch.where(hit > 0.05, located.depth.transpose(1, 2) - surface, torch.zeros_like(hit))
    return torch.stack([behind, hit, found[..., 2]], -1)


def look_at_volume(volume: Tensor, located: Located) -> Tensor:
    """Trilinear features of a volume (B, C, X, Y, Z) over the canonical cube at points: (B, N, 1, C), zero outside."""
    grid = (2 * located.canonical).flip(-1)[:, :, None, None]  # grid_sample wants the last axis first
    out = nn_functional.grid_sample(volume, grid, align_corners=False, padding_mode="zeros")
    return out[..., 0, 0].transpose(1, 2)[:, :, None]


def negative_inside(located: Located, solid: Tensor) -> Tensor:
    """``located.extra`` (B, N, 7) with the body's distance negative deep inside its volume, whatever is nearest there:
    between limbs that run into each other, and behind the eyes, the nearest face may be one that looks inwards.

    Args:
        solid: (B, 1, r, r, r) even voxels of the canonical cube, 1 inside.
    """
    # Even voxels lie half a voxel of the whole volume, a quarter of their own, before the middle of their cells.
    grid = (2 * (located.canonical + 0.25 / solid.shape[-1])).flip(-1)[:, :, None, None]
    inside = nn_functional.grid_sample(solid, grid, align_corners=False, padding_mode="zeros")[:, 0, :, 0, 0]
    distance = located.extra[..., :1]
    return torch.cat([torch.where(inside[..., None] > 0.999, -distance.abs(), distance), located.extra[..., 1:]], -1)


def mask_tokens(tokens: Tensor, located: Located) -> Tensor:
    """Tokens (B, N, V, C) with zeros where a view is masked, so that nothing of it is ever read, not even a NaN."""
    if located.visible is None:
        return tokens
    keep = located.visible & ~located.unseen[..., None]
    return torch.where(keep[..., None], tokens, torch.zeros_like(tokens))
