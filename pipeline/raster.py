"""What a mesh looks like to a camera: depth, triangles, barycentrics, normals. One protocol for every renderer.

The CPU renderer is ``pipeline.raster_open3d``. Renderers see geometry alone; colours are looked up by whoever asks,
with ``RasterResult.interpolate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.cameras import Camera

Window = tuple[int, int, int, int]
"""x0 y0 x1 y1 in pixels of the rendered image, end exclusive."""


@dataclass(frozen=True)
class RasterResult:
    """One image, or a window of it. H and W are those of the window.

    A renderer may also give single pixels: then every (H, W) below is (N,).

    Attributes:
        depth: (H, W) float32, metres along the camera's z axis; +inf where nothing is hit.
        triangle: (H, W) int32, row of ``faces``; -1 where nothing is hit.
        barycentric: (H, W, 3) float32, weights of the triangle's three corners; 0 where nothing is hit.
        normal: (H, W, 3) float32, unit normal of the triangle in the world, pointing to the side from which its
            corners run counter-clockwise, whichever side is seen; 0 where nothing is hit.
    """

    depth: np.ndarray
    triangle: np.ndarray
    barycentric: np.ndarray
    normal: np.ndarray

    @property
    def hit(self) -> np.ndarray:
        """(H, W) bool."""
        return self.triangle >= 0

    def interpolate(self, faces: np.ndarray, values: np.ndarray, missing: float = np.nan) -> np.ndarray:
        """Vertex values (V, D) of the mesh rendered, seen per pixel: (H, W, D) float32."""
        out = np.full((*self.triangle.shape, values.shape[-1]), missing, np.float32)
        hit = self.hit
        out[hit] = blend(self.barycentric[hit], faces[self.triangle[hit]], np.asarray(values, np.float32))
        return out


def blend(weights: np.ndarray, corners: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(N, D) mixtures of rows ``corners`` (N, 3) of values (V, D) with weights (N, 3)."""
    return sum(weights[:, k, None] * values[corners[:, k]] for k in range(3))


class Raster(Protocol):
    """Renders triangle meshes as cameras see them, lens distortion included."""

    def render(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        camera: Camera,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> RasterResult:
        """Render one image.

        Args:
            vertices: (V, 3) metres, world.
            faces: (F, 3) integers; both sides of a face are seen.
            camera: pixel (u, v) is the ray through that point of the image: pixel centres are at integers.
            size: (width, height) of the image to make, if not the camera's own; the view stays the same.
            window: the part of that image to make; all of it if None.
        """
        ...

    def render_views(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        cameras: Sequence[Camera],
        size: tuple[int, int] | None = None,
        windows: Sequence[Window | None] | None = None,
    ) -> list[RasterResult]:
        """The same mesh in several cameras: what is built for the mesh is built once."""
        ...


def projected_window(camera: Camera, points: np.ndarray, margin: int = 4) -> Window | None:
    """The window of ``camera`` in which points (N, 3) project, with a margin in pixels; None if that is empty.

    Points behind the camera are left out. Far outside the image a radial lens model may fold points back into it, which
    only makes the window larger.
    """
    width, height = camera.size
    pixels = camera.project(points)
    pixels = pixels[np.isfinite(pixels).all(-1)]
    if not len(pixels):
        return None
    low = np.floor(pixels.min(0)).astype(int) - margin
    high = np.ceil(pixels.max(0)).astype(int) + margin + 1
    x0, y0 = np.clip(low, 0, (width, height)).tolist()
    x1, y1 = np.clip(high, 0, (width, height)).tolist()
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
