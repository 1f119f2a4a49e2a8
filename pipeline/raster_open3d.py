"""The CPU renderer: Open3D's ray casting, which needs no graphics driver."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np

from pipeline.cameras import Camera
from pipeline.raster import RasterResult, Window


class RayScene:
    """A mesh that rays can be cast at. Building it costs about 0.4 microseconds a triangle."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, threads: int = 0) -> None:
        """``threads`` 0: as many as there are cores."""
        import open3d as o3d

        self._tensor = o3d.core.Tensor
        self._threads = threads
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
        self._scene.add_triangles(
            self._tensor(np.ascontiguousarray(vertices, np.float32)),
            self._tensor(np.ascontiguousarray(faces, np.uint32)),
        )

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        """First hits of rays (..., 3): ``distance`` in lengths of the direction (+inf: none), ``triangle`` (-1: none),
        ``uv`` weights of the second and third corner, ``normal``."""
        rays = np.empty((*directions.shape[:-1], 6), np.float32)
        rays[..., :3], rays[..., 3:] = origins, directions
        out = self._scene.cast_rays(self._tensor(rays), nthreads=self._threads)
        return {
            "distance": out["t_hit"].numpy(),
            "triangle": out["primitive_ids"].numpy().view(np.int32),  # "none" is the largest uint32, that is -1
            "uv": out["primitive_uvs"].numpy(),
            "normal": out["primitive_normals"].numpy(),
        }

    def nearest(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """The surface's nearest ``point`` to points (N, 3), its ``triangle``, and ``uv`` weights of the second and
        third corner."""
        found = self._scene.compute_closest_points(
            self._tensor(np.ascontiguousarray(points, np.float32)), nthreads=self._threads
        )
        return {
            "point": found["points"].numpy(),
            "triangle": found["primitive_ids"].numpy().view(np.int32),
            "uv": found["primitive_uvs"].numpy(),
        }

    def blocked(self, origins: np.ndarray, directions: np.ndarray, near: float = 1e-3, far: float = np.inf):
        """Whether anything lies along rays (..., 3) between the distances ``near`` and ``far``: (...) bool."""
        rays = np.empty((*directions.shape[:-1], 6), np.float32)
        rays[..., :3], rays[..., 3:] = origins, directions
        return self._scene.test_occlusions(self._tensor(rays), near, far, nthreads=self._threads).numpy()

    def signed_distance(self, points: np.ndarray) -> np.ndarray:
        """(N,) float32 metres from points (N, 3) to a watertight mesh, negative inside."""
        points = self._tensor(np.ascontiguousarray(points, np.float32))
        return self._scene.compute_signed_distance(points, nthreads=self._threads).numpy()

    def inside(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: which points (N, 3) a watertight mesh holds."""
        points = self._tensor(np.ascontiguousarray(points, np.float32))
        return self._scene.compute_occupancy(points, nthreads=self._threads).numpy() > 0.5


class Open3DRaster:
    """``pipeline.raster.Raster`` by ray casting: exact for any lens, since each pixel's own ray is cast."""

    def __init__(self, threads: int = 0, remember: int = 8) -> None:
        """``threads`` 0: as many as there are cores. The rays of the last ``remember`` cameras are kept."""
        self.threads, self._remember = threads, remember
        self._directions: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = Lock()

    def render(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        camera: Camera,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> RasterResult:
        return self.render_views(vertices, faces, [camera], size, [window])[0]

    def render_views(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        cameras: Sequence[Camera],
        size: tuple[int, int] | None = None,
        windows: Sequence[Window | None] | None = None,
    ) -> list[RasterResult]:
        scene = RayScene(vertices, faces, self.threads)
        windows = windows if windows is not None else [None] * len(cameras)
        return [self.view(scene, c, size, w) for c, w in zip(cameras, windows, strict=True)]

    def view(
        self,
        scene: RayScene,
        camera: Camera,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        pixels: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> RasterResult:
        """One image of a scene that is already built; see ``Raster.render``. With ``pixels`` (rows (N,), columns
        (N,)) only those, and the result's arrays have one axis (N,)."""
        if size is not None and tuple(size) != camera.size:
            camera = camera.scaled(size)
        x0, y0, x1, y1 = window if window is not None else (0, 0, *camera.size)
        directions = self._camera_directions(camera)
        directions = directions[pixels] if pixels is not None else directions[y0:y1, x0:x1]
        hits = scene.cast(camera.centre.astype(np.float32), directions)
        hit = hits["triangle"] >= 0
        cosine = directions @ camera.R[2].astype(np.float32)
        uv = hits["uv"]
        barycentric = np.concatenate([1 - uv.sum(-1, keepdims=True), uv], -1) * hit[..., None]
        return RasterResult(
            depth=np.where(hit, hits["distance"] * cosine, np.float32(np.inf)).astype(np.float32),
            triangle=hits["triangle"],
            barycentric=barycentric.astype(np.float32),
            normal=hits["normal"] * hit[..., None],
        )

    def _camera_directions(self, camera: Camera) -> np.ndarray:
        """(H, W, 3) float32 unit rays through the pixel centres, remembered for the last few cameras."""
        parts = (camera.K, camera.R, camera.distortion, np.array(camera.size))
        key = b"".join(p.tobytes() for p in parts) + camera.model.encode()
        directions = self._directions.get(key)
        if directions is None:
            width, height = camera.size
            grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
            directions = camera.rays(grid).astype(np.float32)
        with self._lock:
            self._directions[key] = directions
            self._directions.move_to_end(key)
            while len(self._directions) > self._remember:
                self._directions.popitem(last=False)
        return directions
