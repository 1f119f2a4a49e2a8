"""The renderer for machines with torch alone: triangles against the rays of the pixels that they may cover.

Each triangle is tried against the pixels of its projected box, by the exact intersection of pixel ray and triangle, and
each pixel keeps its nearest. So any lens is exact, as with ray casting; on a GPU all pairs are tried at once.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.cameras import Camera
from pipeline.raster import CameraRays, Raster, RasterResult, Window
from pipeline.rays_torch import TorchScene, meet

_PAIRS = {"cpu": 2_000_000, "cuda": 40_000_000}
"""Pairs of triangle and pixel that are tried at a time."""
_NEAR = 1e-3
_LARGE = 24  # pixels; the edges of larger triangles are bent by lenses, so more of their points are projected


class TorchRaster(Raster):
    """``pipeline.raster.Raster`` in plain torch."""

    def __init__(self, device: str | torch.device | None = None, remember: int = 8) -> None:
        """``device`` None: a GPU if there is one. The rays of the last ``remember`` cameras are kept."""
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._rays = CameraRays(remember, lambda rays: torch.as_tensor(rays, device=self.device))

    def scene(self, vertices: np.ndarray, faces: np.ndarray) -> TorchScene:
        return TorchScene(vertices, faces, self.device)

    def view(
        self,
        scene: TorchScene,
        camera: Camera,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        pixels: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> RasterResult:
        if size is not None and tuple(size) != camera.size:
            camera = camera.scaled(size)
        if pixels is not None:
            window = _around(*pixels)
        x0, y0, x1, y1 = window if window is not None else (0, 0, *camera.size)
        corners = torch.as_tensor(scene.vertices - camera.centre, dtype=torch.float32, device=self.device)
        corners = corners[torch.as_tensor(scene.faces, device=self.device)]
        rays = self._rays(camera)[y0:y1, x0:x1]
        low, high = self._boxes(camera, scene.vertices, scene.faces, (x0, y0, x1, y1))
        found = self._nearest(corners, rays, low, high, (x0, y0))
        if pixels is not None:
            at = tuple(torch.as_tensor(p - s, device=self.device) for p, s in zip(pixels, (y0, x0), strict=True))
            found, rays = tuple(x[at] for x in found), rays[at]
        depth, triangle, second, third = found
        hit = triangle >= 0
        cosine = rays @ torch.as_tensor(camera.R[2], dtype=torch.float32, device=self.device)
        a, b, c = corners[triangle.clamp(min=0)].unbind(-2) if len(corners) else (rays, rays, rays)
        normal = torch.linalg.cross(b - a, c - a)
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-20) * hit[..., None]
        weights = torch.stack([1 - second - third, second, third], -1) * hit[..., None]
        return RasterResult(
            depth=torch.where(hit, depth * cosine, torch.inf).cpu().numpy(),
            triangle=triangle.int().cpu().numpy(),
            barycentric=weights.cpu().numpy(),
            normal=normal.cpu().numpy(),
        )

    def _nearest(
        self, corners: Tensor, rays: Tensor, low: Tensor, high: Tensor, origin: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For each ray (H, W, 3) from the origin: distance, triangle (-1: none), weights of its other two corners.

        ``low`` and ``high`` (T, 2): the pixels, end exclusive, that each triangle may cover.
        """
        height, width = rays.shape[:2]
        best = torch.full((height * width,), torch.inf, device=self.device)
        who = torch.full((height * width,), -1, dtype=torch.int64, device=self.device)
        flat = rays.reshape(-1, 3)
        span = (high - low).clamp(min=0)
        ends = span.prod(1).cumsum(0)
        start, limit = 0, _PAIRS[self.device.type]
        while start < len(corners):
            before = int(ends[start - 1]) if start else 0
            stop = max(int(torch.searchsorted(ends, before + limit)), start + 1)
            row, pixel = _pairs(low[start:stop], span[start:stop], origin, width)
            row = row + start
            distance = meet(corners[row], flat[pixel])[0]
            met = torch.isfinite(distance)
            row, pixel, distance = row[met], pixel[met], distance[met]
            nearest = best.clone().scatter_reduce_(0, pixel, distance, "amin")
            won = (distance == nearest[pixel]) & (distance < best[pixel])
            # Of triangles at the same distance the first one counts, whatever the order of the work.
            first = torch.full_like(who, torch.iinfo(torch.int64).max)
            first.scatter_reduce_(0, pixel[won], row[won], "amin")
            changed = nearest < best
            who[changed], best = first[changed], nearest
            start = stop
        hit = who >= 0
        second, third = torch.zeros_like(best), torch.zeros_like(best)
        if bool(hit.any()):
            _, second[hit], third[hit] = meet(corners[who[hit]], flat[hit])
        return tuple(x.reshape(height, width) for x in (best, who, second, third))

    def _boxes(self, camera: Camera, vertices: np.ndarray, faces: np.ndarray, window: Window) -> tuple[Tensor, Tensor]:
        """(T, 2) first and past-the-last column and row that each triangle may cover, inside the window."""
        deep = camera.to_camera(vertices)[:, 2]
        pixels = camera.project(vertices)[faces]
        low, high = pixels.min(1), pixels.max(1)
        behind = ~(deep[faces] > _NEAR).all(1) | ~np.isfinite(low).all(1)
        large = np.flatnonzero(~behind & ((high - low).max(1) > _LARGE))
        if len(large):
            more = np.stack([np.linspace(0, 1, 9)] * 3)[:, :, None]
            corners = vertices[faces[large]]
            edges = corners[:, :, None] + (np.roll(corners, -1, 1) - corners)[:, :, None] * more
            spread = camera.project(edges.reshape(len(large), -1, 3))
            pad = 0.02 * (high[large] - low[large])
            low[large], high[large] = np.nanmin(spread, 1) - pad, np.nanmax(spread, 1) + pad
        first, last = np.array(window[:2]), np.array(window[2:])
        low = np.where(behind[:, None], first, np.clip(np.floor(np.nan_to_num(low)) - 1, first, last))
        high = np.where(behind[:, None], last, np.clip(np.ceil(np.nan_to_num(high)) + 2, first, last))
        low[behind & (deep[faces] <= _NEAR).all(1)] = last  # all of it is behind the camera
        return tuple(torch.as_tensor(x.astype(np.int64), device=self.device) for x in (low, high))


def _around(rows: np.ndarray, columns: np.ndarray) -> Window:
    """The window that holds single pixels."""
    if not len(rows):
        return (0, 0, 0, 0)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _pairs(low: Tensor, span: Tensor, origin: tuple[int, int], width: int) -> tuple[Tensor, Tensor]:
    """Every triangle (its row) with every pixel (its number in the window) of its box."""
    count = span.prod(1)
    row = torch.repeat_interleave(torch.arange(len(low), device=low.device), count)
    within = torch.arange(len(row), device=low.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
    wide = span[row, 0]
    column = low[row, 0] + within % wide - origin[0]
    line = low[row, 1] + within // wide - origin[1]
    return row, line * width + column
