"""The renderer for machines with torch alone: triangles against the rays of the pixels that they may cover.

Each triangle is tried against the pixels of its projected box, by the exact intersection of pixel ray and triangle, and
each pixel keeps its nearest. So any lens is exact, as with ray casting; on a GPU all pairs are tried at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.cameras import Camera
from pipeline.raster import RasterResult, Window

_PAIRS = {"cpu": 2_000_000, "cuda": 40_000_000}
"""Pairs of triangle and pixel that are tried at a time."""
_NEAR = 1e-3
_LARGE = 24  # pixels; the edges of larger triangles are bent by lenses, so more of their points are projected


class TorchRaster:
    """``pipeline.raster.Raster`` in plain torch."""

    def __init__(self, device: str | torch.device = "cpu", remember: int = 8) -> None:
        """The rays of the last ``remember`` cameras are kept."""
        self.device, self._remember = torch.device(device), remember
        self._rays: dict[bytes, Tensor] = {}

    def render(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        camera: Camera,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> RasterResult:
        """See ``Raster.render``."""
        if size is not None and tuple(size) != camera.size:
            camera = camera.scaled(size)
        x0, y0, x1, y1 = window if window is not None else (0, 0, *camera.size)
        corners = torch.as_tensor(np.asarray(vertices, np.float64)[np.asarray(faces)], device=self.device)
        corners = (corners - torch.as_tensor(camera.centre, device=self.device)).float()
        rays = self._camera_rays(camera)
        low, high = self._boxes(camera, np.asarray(vertices, np.float64), np.asarray(faces), (x0, y0, x1, y1))
        depth, triangle, second, third = self._nearest(corners, rays[y0:y1, x0:x1], low, high, (x0, y0))
        hit = triangle >= 0
        cosine = rays[y0:y1, x0:x1] @ torch.as_tensor(camera.R[2], dtype=torch.float32, device=self.device)
        a, b, c = corners[triangle.clamp(min=0)].unbind(-2)
        normal = torch.linalg.cross(b - a, c - a)
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-20) * hit[..., None]
        weights = torch.stack([1 - second - third, second, third], -1) * hit[..., None]
        return RasterResult(
            depth=torch.where(hit, depth * cosine, torch.inf).cpu().numpy(),
            triangle=triangle.int().cpu().numpy(),
            barycentric=weights.cpu().numpy(),
            normal=normal.cpu().numpy(),
        )

    def render_views(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        cameras: Sequence[Camera],
        size: tuple[int, int] | None = None,
        windows: Sequence[Window | None] | None = None,
    ) -> list[RasterResult]:
        """See ``Raster.render_views``."""
        windows = windows if windows is not None else [None] * len(cameras)
        return [self.render(vertices, faces, c, size, w) for c, w in zip(cameras, windows, strict=True)]

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
            distance = _meet(corners[row], flat[pixel])[0]
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
            _, second[hit], third[hit] = _meet(corners[who[hit]], flat[hit])
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

    def _camera_rays(self, camera: Camera) -> Tensor:
        """(H, W, 3) float32 unit rays through the pixel centres."""
        parts = (camera.K, camera.R, camera.distortion, np.array(camera.size))
        key = b"".join(p.tobytes() for p in parts) + camera.model.encode()
        if key not in self._rays:
            while len(self._rays) >= self._remember:
                self._rays.pop(next(iter(self._rays)))
            grid = np.stack(np.meshgrid(*(np.arange(s) for s in camera.size)), -1)
            self._rays[key] = torch.as_tensor(camera.rays(grid).astype(np.float32), device=self.device)
        return self._rays[key]


def _pairs(low: Tensor, span: Tensor, origin: tuple[int, int], width: int) -> tuple[Tensor, Tensor]:
    """Every triangle (its row) with every pixel (its number in the window) of its box."""
    count = span.prod(1)
    row = torch.repeat_interleave(torch.arange(len(low), device=low.device), count)
    within = torch.arange(len(row), device=low.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
    wide = span[row, 0]
    column = low[row, 0] + within % wide - origin[0]
    line = low[row, 1] + within // wide - origin[1]
    return row, line * width + column


def _meet(corners: Tensor, rays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays (N, 3) from the origin meet triangles (N, 3, 3): distance (+inf: nowhere) and two weights.

    The sides are compared by volumes spanned with the ray (Woop et al. 2013 in spirit), so that of two triangles that
    share an edge at least one is met.
    """
    a, b, c = corners.unbind(1)
    u = (rays * torch.linalg.cross(b, c)).sum(-1)
    v = (rays * torch.linalg.cross(c, a)).sum(-1)
    w = (rays * torch.linalg.cross(a, b)).sum(-1)
    same = ((u >= 0) & (v >= 0) & (w >= 0)) | ((u <= 0) & (v <= 0) & (w <= 0))
    total = u + v + w
    safe = torch.where(total == 0, torch.ones_like(total), total)
    second, third = v / safe, w / safe
    point = a + second[:, None] * (b - a) + third[:, None] * (c - a)
    distance = (point * rays).sum(-1)
    met = same & (total != 0) & (distance > _NEAR)
    return torch.where(met, distance, torch.inf), second, third
