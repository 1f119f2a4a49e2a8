"""The CPU renderer against shapes whose depth and normals are known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.cameras import FISHEYE, Camera
from pipeline.raster import projected_window
from pipeline.raster_open3d import Open3DRaster

K = np.array([[220.0, 0, 81.3], [0, 214.0, 58.9], [0, 0, 1]])
LENSES = {
    "pinhole": (np.zeros(0), "radial_tangential"),
    "radial": (np.array([-0.21, 0.07, 0.002, -0.001, 0.01]), "radial_tangential"),
    "fisheye": (np.array([0.03, -0.01, 0.004, -0.001]), FISHEYE),
}


def turned_camera(lens: str) -> Camera:
    """Somewhere in general position, looking about along the world's +x."""
    yaw, pitch = 0.15, -0.1
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    distortion, model = LENSES[lens]
    return Camera("a", (160, 120), K, R, -R @ np.array([-1.0, 0.2, 0.4]), distortion, model)


def pixel_rays(camera: Camera) -> np.ndarray:
    grid = np.stack(np.meshgrid(np.arange(camera.size[0]), np.arange(camera.size[1])), -1)
    return camera.rays(grid)


def sphere(centre, radius: float, rings: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude mesh, faces counter-clockwise from outside."""
    theta = np.linspace(0, np.pi, rings + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, 2 * rings + 1)[None]
    xyz = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], -1)
    i, j = np.meshgrid(np.arange(rings), np.arange(2 * rings), indexing="ij")
    a = i * (2 * rings + 1) + j
    b, c, d = a + 2 * rings + 1, a + 2 * rings + 2, a + 1
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return np.asarray(centre) + radius * xyz.reshape(-1, 3), faces


@pytest.mark.parametrize("lens", LENSES)
def test_plane_depth_normal_and_barycentrics_are_exact(lens):
    camera = turned_camera(lens)
    normal = np.array([-0.9, 0.2, 0.3]) / np.linalg.norm([-0.9, 0.2, 0.3])  # towards the camera
    point = np.array([2.0, 0.0, 0.5])
    side = np.cross(normal, [0, 0, 1.0])
    side /= np.linalg.norm(side)
    upward = np.cross(normal, side)
    vertices = point + 9 * np.array([side + upward, -side + upward, -side - upward, side - upward])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    result = Open3DRaster(threads=1).render(vertices, faces, camera)

    rays = pixel_rays(camera)
    distance = ((point - camera.centre) @ normal) / (rays @ normal)
    depth = distance * (rays @ camera.R[2])
    assert result.hit.all()
    np.testing.assert_allclose(result.depth, depth, atol=1e-4)
    winding = np.cross(vertices[1] - vertices[0], vertices[2] - vertices[0])
    expected = winding / np.linalg.norm(winding)
    np.testing.assert_allclose(result.normal, np.broadcast_to(expected, result.normal.shape), atol=1e-4)
    seen = result.interpolate(faces, vertices)
    np.testing.assert_allclose(seen, camera.centre + distance[..., None] * rays, atol=1e-4)


@pytest.mark.parametrize("lens", LENSES)
def test_sphere_against_the_quadratic_formula(lens):
    camera, centre, radius = turned_camera(lens), np.array([1.2, 0.5, 0.35]), 0.4
    vertices, faces = sphere(centre, radius)
    result = Open3DRaster(threads=1).render(vertices, faces, camera)

    rays = pixel_rays(camera)
    offset = camera.centre - centre
    b, c = rays @ offset, offset @ offset - radius**2
    discriminant = b**2 - c
    clearly_in, clearly_out = discriminant > 4e-3, discriminant < 0
    assert clearly_in.sum() > 1000
    assert result.hit[clearly_in].all() and not result.hit[clearly_out].any()
    distance = -b - np.sqrt(np.where(clearly_in, discriminant, 0))
    depth = distance * (rays @ camera.R[2])
    np.testing.assert_allclose(result.depth[clearly_in], depth[clearly_in], atol=1e-4)
    normal = (camera.centre + distance[..., None] * rays - centre) / radius
    # flat triangles of 1/400 of a half circle: their normals are off by up to that angle
    cosine = (result.normal * normal).sum(-1)[clearly_in]
    assert cosine.min() > np.cos(0.012)
    # the smooth normal, which vertex normals interpolate to, is exact
    smooth = result.interpolate(faces, (vertices - centre) / radius)[clearly_in]
    np.testing.assert_allclose(smooth, normal[clearly_in], atol=1e-4)


def test_nothing_hit_is_said_plainly():
    camera = turned_camera("pinhole")
    behind = camera.centre - 2 * camera.R[2]
    result = Open3DRaster(threads=1).render(*sphere(behind, 0.3, rings=8), camera)
    assert np.isinf(result.depth).all() and (result.triangle == -1).all() and not result.normal.any()


def test_a_window_is_that_part_of_the_image_and_size_keeps_the_view():
    camera = turned_camera("radial")
    mesh = sphere([1.2, 0.5, 0.35], 0.4, rings=40)
    raster = Open3DRaster(threads=1)
    whole = raster.render(*mesh, camera)
    window = projected_window(camera, mesh[0])
    x0, y0, x1, y1 = window
    part = raster.render(*mesh, camera, window=window)
    np.testing.assert_array_equal(part.triangle, whole.triangle[y0:y1, x0:x1])
    assert part.hit.sum() == whole.hit.sum()  # the window holds the whole sphere
    double = raster.render(*mesh, camera, size=(320, 240))
    assert abs(double.hit.sum() / 4 - whole.hit.sum()) < 0.01 * whole.hit.sum()


def test_two_views_of_one_scene_equal_two_renders():
    mesh = sphere([1.2, 0.5, 0.35], 0.4, rings=40)
    cameras = [turned_camera("pinhole"), turned_camera("fisheye")]
    raster = Open3DRaster(threads=1)
    for camera, seen in zip(cameras, raster.render_views(*mesh, cameras), strict=True):
        np.testing.assert_array_equal(seen.depth, raster.render(*mesh, camera).depth)
