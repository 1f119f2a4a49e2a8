"""How far meshes are from the skin of a walking person (``data.synthetic.carried_skin``), kept for all tests."""

from __future__ import annotations

from functools import cache

import numpy as np

from data.synthetic import carried_skin
from data.synthetic.carried_skin import CarriedSkin


@cache
def walker(frames: int = 5, divisions: int = 1) -> CarriedSkin:
    return carried_skin.walker(frames, divisions)


def distances(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N,) metres from points to a mesh."""
    import open3d as o3d

    origin = vertices.mean(0)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor((vertices - origin).astype(np.float32)), o3d.core.Tensor(faces.astype(np.uint32))
    )
    return scene.compute_distance(o3d.core.Tensor((points - origin).astype(np.float32))).numpy()


def along_normals(points: np.ndarray, normals: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N,) signed metres from points along their normals to a mesh, at most 4 cm; NaN where there is none."""
    import open3d as o3d

    origin, reach = vertices.mean(0), 0.04
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor((vertices - origin).astype(np.float32)), o3d.core.Tensor(faces.astype(np.uint32))
    )
    out = np.full((2, len(points)), np.inf)
    for k, sign in enumerate((1, -1)):
        rays = np.concatenate([points - origin, sign * normals], 1).astype(np.float32)
        out[k] = scene.cast_rays(o3d.core.Tensor(rays))["t_hit"].numpy()
    nearer = np.where(out[0] <= out[1], out[0], -out[1])
    return np.where(out.min(0) < reach, nearer, np.nan)
