"""What a mesh looks like to a camera: depth, triangles, barycentrics, normals. One base for every renderer.

There are two: ``pipeline.raster_open3d`` for CPUs and ``pipeline.raster_torch`` for machines with torch alone;
``raster_here`` gives the one that this machine has. Renderers see geometry; colours are looked up by whoever asks, with
``RasterResult.interpolate``.
"""

from __future__ import annotations

import importlib.util
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

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


def corner_weights(uv: np.ndarray) -> np.ndarray:
    """(N, 3) float64 weights of all three corners, from those (N, 2) of the second and third."""
    return np.column_stack([1 - uv.sum(1), uv]).astype(np.float64)


class RayScene(Protocol):
    """A triangle mesh that rays can be cast at. Arrays in and out are numpy's, float32."""

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """First hits of rays (..., 3): ``distance`` in lengths of the direction (+inf: none), ``triangle`` (-1: none),
        ``uv`` weights of the second and third corner, ``normal``."""
        ...

    def nearest(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """The surface's nearest ``point`` to points (N, 3), its ``triangle``, and ``uv`` weights of the second and
        third corner."""
        ...

    def blocked(self, origins: np.ndarray, directions: np.ndarray, near: float = 1e-3, far: float = np.inf):
        """Whether anything lies along rays (..., 3) between the distances ``near`` and ``far``: (...) bool."""
        ...

    def signed_distance(self, points: np.ndarray) -> np.ndarray:
        """(N,) float32 metres from points (N, 3) to a watertight mesh, negative inside."""
        ...

    def inside(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: which points (N, 3) a watertight mesh holds."""
        ...


class Raster(ABC):
    """Renders triangle meshes as cameras see them, lens distortion included."""

    @abstractmethod
    def scene(self, vertices: np.ndarray, faces: np.ndarray) -> RayScene:
        """A mesh (V, 3) metres, (F, 3) integers, built once to be seen by several cameras."""

    @abstractmethod
    def view(
        self,
        scene: Any,
        camera: Camera,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        pixels: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> RasterResult:
        """One image of a ``scene`` of this renderer; see ``render``. With ``pixels`` (rows (N,), columns (N,)) only
        those, and the result's arrays have one axis (N,)."""

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
        return self.view(self.scene(vertices, faces), camera, size, window)

    def render_views(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        cameras: Sequence[Camera],
        size: tuple[int, int] | None = None,
        windows: Sequence[Window | None] | None = None,
    ) -> list[RasterResult]:
        """The same mesh in several cameras: what is built for the mesh is built once."""
        scene = self.scene(vertices, faces)
        windows = windows if windows is not None else [None] * len(cameras)
        return [self.view(scene, c, size, w) for c, w in zip(cameras, windows, strict=True)]


class CameraRays:
    """Unit rays (H, W, 3) float32 in the world through the pixel centres of cameras, kept for the last ``remember``."""

    def __init__(self, remember: int, kept_as: Callable[[np.ndarray], Any] = lambda rays: rays) -> None:
        self._remember, self._kept_as, self._lock = remember, kept_as, Lock()
        self._of: OrderedDict[bytes, Any] = OrderedDict()

    def __call__(self, camera: Camera) -> Any:
        parts = (camera.K, camera.R, camera.distortion, np.array(camera.size))
        key = b"".join(p.tobytes() for p in parts) + camera.model.encode()
        rays = self._of.get(key)
        if rays is None:
            grid = np.stack(np.meshgrid(*(np.arange(s) for s in camera.size)), -1)
            rays = self._kept_as(camera.rays(grid).astype(np.float32))
        with self._lock:
            self._of[key] = rays
            self._of.move_to_end(key)
            while len(self._of) > self._remember:
                self._of.popitem(last=False)
        return rays


RENDERER = "TROUPE_RENDERER"
"""Environment variable: ``open3d`` or ``torch``, for machines that have both."""


def raster_here(threads: int = 0, remember: int = 8) -> Raster:
    """The renderer of this machine: Open3D's where it is installed, else torch's, on a GPU if there is one.

    Args:
        threads: of Open3D; 0: as many as there are cores.
        remember: the rays of so many cameras are kept.
    """
    if _chosen() == "open3d":
        from pipeline.raster_open3d import Open3DRaster

        return Open3DRaster(threads, remember)
    from pipeline.raster_torch import TorchRaster

    return TorchRaster(remember=remember)


def scene_here(vertices: np.ndarray, faces: np.ndarray, threads: int = 1) -> RayScene:
    """A mesh (V, 3), (F, 3) to cast rays at, by this machine's renderer."""
    return raster_here(threads).scene(vertices, faces)


def _chosen() -> str:
    named = os.environ.get(RENDERER)
    if named in ("open3d", "torch"):
        return named
    if named:
        raise ValueError(f"${RENDERER} is {named!r}; it may be open3d or torch")
    return "open3d" if importlib.util.find_spec("open3d") else "torch"


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
