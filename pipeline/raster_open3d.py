"""The CPU renderer: Open3D's ray casting, which needs no graphics driver."""

from __future__ import annotations

import numpy as np

from pipeline.cameras import Camera
from pipeline.raster import CameraRays, Raster, RasterResult, Window


class RayScene:
    """``pipeline.raster.RayScene`` by Open3D. Building it costs about 0.4 microseconds a triangle."""

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
        found = self._scene.compute_closest_points(
            self._tensor(np.ascontiguousarray(points, np.float32)), nthreads=self._threads
        )
        return {
            "point": found["points"].numpy(),
            "triangle": found["primitive_ids"].numpy().view(np.int32),
            "uv": found["primitive_uvs"].numpy(),
        }

    def blocked(self, origins: np.ndarray, directions: np.ndarray, near: float = 1e-3, far: float = np.inf):
        rays = np.empty((*directions.shape[:-1], 6), np.float32)
        rays[..., :3], rays[..., 3:] = origins, directions
        return self._scene.test_occlusions(self._tensor(rays), near, far, nthreads=self._threads).numpy()

    def signed_distance(self, points: np.ndarray) -> np.ndarray:
        points = self._tensor(np.ascontiguousarray(points, np.float32))
        return self._scene.compute_signed_distance(points, nthreads=self._threads).numpy()

    def inside(self, points: np.ndarray) -> np.ndarray:
        points = self._tensor(np.ascontiguousarray(points, np.float32))
        return self._scene.compute_occupancy(points, nthreads=self._threads).numpy() > 0.5


class Open3DRaster(Raster):
    """``pipeline.raster.Raster`` by ray casting: exact for any lens, since each pixel's own ray is cast."""

    def __init__(self, threads: int = 0, remember: int = 8) -> None:
        """``threads`` 0: as many as there are cores. The rays of the last ``remember`` cameras are kept."""
        self.threads, self._rays = threads, CameraRays(remember)

    def scene(self, vertices: np.ndarray, faces: np.ndarray) -> RayScene:
        return RayScene(vertices, faces, self.threads)

    def view(
        self,
        scene: RayScene,
        camera: Camera,
        size: tuple[int, int] | None = None,
        window: Window | None = None,
        pixels: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> RasterResult:
        if size is not None and tuple(size) != camera.size:
            camera = camera.scaled(size)
        x0, y0, x1, y1 = window if window is not None else (0, 0, *camera.size)
        directions = self._rays(camera)
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
