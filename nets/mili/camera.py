"""Where a body is: the camera of a box, translations, projection. One perspective camera for the whole canvas.

The body head says of each box a scale s and shifts t. With b the longer side of the box, c its centre, f the focal
length and p the principal point, all in pixels of the canvas:

    Z = 2 f / (s b),   (X, Y) = Z (c + t b - p) / f

so s is the size of the body in half boxes, and t moves it in boxes (Jiang 2020, as released).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nets.geometry import swing_between


def translation(camera: Tensor, boxes: Tensor, focal: Tensor | float, principal: Tensor) -> Tensor:
    """(N, 3) metres, camera axes, of the origin of each body.

    Args:
        camera: (N, 3) s, tx, ty. boxes: (N, 4). focal: pixels, one or (N,). principal: (2,) or (N, 2) pixels.
    """
    size = (boxes[:, 2:] - boxes[:, :2]).amax(-1)
    focal = torch.as_tensor(focal, dtype=camera.dtype, device=camera.device)
    depth = 2 * focal / (camera[:, 0] * size + 1e-6)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    across = (centre + camera[:, 1:] * size[:, None] - principal) * (depth / focal)[:, None]
    return torch.cat([across, depth[:, None]], -1)


def camera_of(transl: Tensor, boxes: Tensor, focal: Tensor | float, principal: Tensor) -> Tensor:
    """The inverse of ``translation``: (N, 3) s, tx, ty of translations (N, 3) in front of the camera."""
    size = (boxes[:, 2:] - boxes[:, :2]).amax(-1)
    focal = torch.as_tensor(focal, dtype=transl.dtype, device=transl.device)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    pixels = transl[:, :2] * (focal / transl[:, 2])[..., None] + principal
    return torch.cat([(2 * focal / (transl[:, 2] * size))[:, None], (pixels - centre) / size[:, None]], -1)


def project(points: Tensor, focal: Tensor | float, principal: Tensor) -> Tensor:
    """Pixels (N, K, 2) of points (N, K, 3) in camera axes."""
    focal = torch.as_tensor(focal, dtype=points.dtype, device=points.device)
    focal = focal.reshape(-1, 1, 1) if focal.dim() else focal
    return points[..., :2] * focal / points[..., 2:].clamp_min(0.05) + principal.reshape(-1, 1, 2)


def from_ray(rotations: Tensor, boxes: Tensor, focal: Tensor | float, principal: Tensor) -> Tensor:
    """Rotations (N, R, 3, 3) in camera axes of bodies whose first rotation is in the axes of a camera that looks at the
    middle of their box. What a region shows says only that: the same body looks alike wherever it is in the picture
    (Yu 2021, PCLs)."""
    return _turned(_to_middle(rotations, boxes, focal, principal), rotations)


def to_ray(rotations: Tensor, boxes: Tensor, focal: Tensor | float, principal: Tensor) -> Tensor:
    """The inverse of ``from_ray``."""
    return _turned(_to_middle(rotations, boxes, focal, principal).transpose(-1, -2), rotations)


def _turned(by: Tensor, rotations: Tensor) -> Tensor:
    return torch.cat([by[:, None] @ rotations[:, :1], rotations[:, 1:]], 1)


def _to_middle(like: Tensor, boxes: Tensor, focal: Tensor | float, principal: Tensor) -> Tensor:
    """(N, 3, 3) that turn the camera's axis to the rays through the middles of boxes (N, 4)."""
    focal = torch.as_tensor(focal, dtype=like.dtype, device=like.device).reshape(-1, 1)
    across = ((boxes[:, :2] + boxes[:, 2:]) / 2 - principal) / focal
    ray = torch.cat([across, torch.ones_like(across[:, :1])], -1).to(like.dtype)
    ahead = torch.tensor([0.0, 0.0, 1.0], dtype=like.dtype, device=like.device)
    return swing_between(ahead.expand_as(ray), ray)
