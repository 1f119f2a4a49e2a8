"""Where a body is: the camera of a box, translations, projection. One perspective camera for the whole canvas.

The body head says of each box a scale s and shifts t. With b the longer side of the box, c its centre, f the focal
length and p the principal point, all in pixels of the canvas:

    Z = 2 f / (s b),   (X, Y) = Z (c + t b - p) / f

so s is the size of the body in half boxes, and t moves it in boxes (Jiang 2020, as released).
"""

from __future__ import annotations

import torch
from torch import Tensor


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
