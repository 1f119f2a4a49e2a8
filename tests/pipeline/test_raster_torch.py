"""The renderer of machines without Open3D sees what the ray caster sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nets.winding import inside, winding_number
from pipeline.cameras import Camera
from pipeline.raster_open3d import Open3DRaster
from pipeline.raster_torch import TorchRaster
from tests.pipeline.clothed_person import body


@pytest.fixture(scope="module")
def mesh():
    return body()


def camera(lens=(), away=2.6, turn=0.4) -> Camera:
    R = Rotation.from_euler("xyz", [np.pi + 0.1, turn, 0.05]).as_matrix()
    K = np.array([[170.0, 0, 79], [0, 172, 61], [0, 0, 1]])
    return Camera("c", (160, 120), K, R, -R @ (np.array([0, 0.9, 0]) - away * R[2]), np.array(lens))


@pytest.mark.parametrize("lens", [(), (-0.2, 0.05, 0.001, -0.001)], ids=["pinhole", "distorted"])
def test_both_renderers_see_the_same_person(mesh, lens):
    ours, theirs = (r.render(*mesh, camera(lens)) for r in (TorchRaster(), Open3DRaster(1)))
    assert theirs.hit.sum() > 2000
    assert (ours.hit == theirs.hit).mean() > 0.9995
    both = ours.hit & theirs.hit
    np.testing.assert_allclose(ours.depth[both], theirs.depth[both], atol=2e-4)
    same = both & (ours.triangle == theirs.triangle)
    assert same.sum() > 0.995 * both.sum()
    np.testing.assert_allclose(ours.barycentric[same], theirs.barycentric[same], atol=5e-3)
    np.testing.assert_allclose(ours.normal[same], theirs.normal[same], atol=1e-3)
    assert np.isinf(ours.depth[~ours.hit]).all() and not ours.normal[~ours.hit].any()


def test_windows_and_other_sizes_are_parts_of_the_same_picture(mesh):
    ours, theirs = TorchRaster(), Open3DRaster(1)
    whole = ours.render(*mesh, camera(), (80, 60))
    part = ours.render(*mesh, camera(), (80, 60), (30, 10, 62, 50))
    np.testing.assert_array_equal(part.triangle, whole.triangle[10:50, 30:62])
    assert (whole.hit == theirs.render(*mesh, camera(), (80, 60)).hit).mean() > 0.999


def test_a_room_around_the_camera_is_seen_to_its_corners():
    """Large triangles, bent by the lens and partly behind the camera."""
    low, high = np.array([-3.0, -0.2, -3.5]), np.array([3.2, 2.9, 3.1])
    v = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)]) * (high - low) + low
    quads = [[4, 5, 7, 6], [0, 2, 3, 1], [0, 1, 5, 4], [3, 2, 6, 7], [2, 0, 4, 6], [1, 3, 7, 5]]
    f = np.array([t for q in quads for t in (q[:3], [q[0], q[2], q[3]])])
    for turn in (0.4, 2.0):
        lens = camera((-0.2, 0.05, 0.001, -0.001), away=1.5, turn=turn)
        ours, theirs = TorchRaster().render(v, f, lens), Open3DRaster(1).render(v, f, lens)
        assert theirs.hit.all() and ours.hit.mean() > 0.9999
        np.testing.assert_allclose(ours.depth[ours.hit], theirs.depth[ours.hit], rtol=1e-4)


def test_single_pixels_are_those_of_the_whole_picture(mesh):
    raster = TorchRaster()
    whole, some = raster.render(*mesh, camera()), (np.array([70, 31, 5]), np.array([80, 77, 4]))
    few = raster.view(raster.scene(*mesh), camera(), pixels=some)
    for name in ("depth", "triangle", "barycentric", "normal"):
        np.testing.assert_array_equal(getattr(few, name), getattr(whole, name)[some])
    nobody = raster.view(raster.scene(*mesh), camera(), pixels=(np.zeros(0, int), np.zeros(0, int)))
    assert nobody.depth.shape == (0,) and nobody.normal.shape == (0, 3)


def test_rays_and_nearest_points_are_open3d_s(mesh):
    rng = np.random.default_rng(2)
    ours, theirs = TorchRaster("cpu").scene(*mesh), Open3DRaster(1).scene(*mesh)
    start = rng.uniform(mesh[0].min(0) - 0.1, mesh[0].max(0) + 0.1, (2000, 3)).astype(np.float32)
    way = rng.normal(size=(2000, 3)).astype(np.float32)
    met, expected = ours.cast(start, way), theirs.cast(start, way)
    hit = expected["triangle"] >= 0
    assert 200 < hit.sum() < 1900
    assert ((met["triangle"] >= 0) == hit).mean() > 0.999
    np.testing.assert_allclose(met["distance"][hit], expected["distance"][hit], atol=1e-5)
    same = hit & (met["triangle"] == expected["triangle"])
    assert same.sum() > 0.99 * hit.sum()
    np.testing.assert_allclose(met["uv"][same], expected["uv"][same], atol=1e-3)
    for near, far in ((1e-3, np.inf), (0.2, 0.6)):
        assert (ours.blocked(start, way, near, far) == theirs.blocked(start, way, near, far)).mean() > 0.999
    np.testing.assert_allclose(ours.signed_distance(start), theirs.signed_distance(start), atol=1e-5)
    np.testing.assert_array_equal(ours.inside(start), theirs.inside(start))
    found = ours.nearest(start)
    corners = np.asarray(mesh[0])[np.asarray(mesh[1])[found["triangle"]]]
    weights = np.concatenate([1 - found["uv"].sum(1, keepdims=True), found["uv"]], 1)
    np.testing.assert_allclose((weights[..., None] * corners).sum(1), found["point"], atol=1e-5)


def test_nothing_is_seen_of_what_is_behind(mesh):
    v = np.asarray(mesh[0]) + camera().centre - 4 * camera().R[2] - [0, 0.9, 0]
    assert not TorchRaster().render(v, mesh[1], camera()).hit.any()


def test_winding_numbers_tell_inside_from_outside_as_ray_casting_does(mesh):
    from pipeline.raster_open3d import RayScene

    rng = np.random.default_rng(0)
    points = rng.uniform(mesh[0].min(0) - 0.1, mesh[0].max(0) + 0.1, (400, 3))
    v, f = torch.as_tensor(np.asarray(mesh[0], np.float64)), torch.as_tensor(np.asarray(mesh[1], np.int64))
    number = winding_number(torch.as_tensor(points), v, f).abs()
    assert ((number - number.round()).abs() < 1e-6).all()
    expected = RayScene(*mesh, 1).inside(points)
    flipped = f if bool((winding_number(torch.as_tensor(points), v, f) >= -0.5).all()) else f.flip(1)
    np.testing.assert_array_equal(inside(torch.as_tensor(points), v, flipped).numpy(), expected)


def test_two_meshes_in_one_wind_twice_and_a_hole_counts_in_part():
    from tests.data.test_synthetic_wardrobe import box

    v, f = box((0, 0, 0), (1, 1, 1))
    v, f = torch.as_tensor(v), torch.as_tensor(f)
    middle = torch.full((1, 3), 0.5, dtype=torch.float64)
    assert winding_number(middle, v, f).item() == pytest.approx(1)
    assert winding_number(middle, v, torch.cat([f, f])).item() == pytest.approx(2)
    assert winding_number(middle, v, f[2:]).item() == pytest.approx(5 / 6)
    assert not inside(torch.full((1, 3), 1.5, dtype=torch.float64), v, f).any()
