"""Cameras against OpenCV's own functions and against each other: project, undistort, turn, scale, triangulate."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.cameras import FISHEYE, RADIAL_TANGENTIAL, Camera, Rig, project, triangulate
from pipeline.errors import InputError

SIZE = (640, 480)
K = np.array([[520.0, 0.0, 311.5], [0.0, 530.0, 250.25], [0.0, 0.0, 1.0]])
LENSES = {
    "pinhole": (RADIAL_TANGENTIAL, []),
    "mild": (RADIAL_TANGENTIAL, [-0.05, 0.14, 0.001, -0.0007]),
    "wide": (RADIAL_TANGENTIAL, [-0.34, 0.14, 0.001, -0.0007, -0.03]),
    "rational": (RADIAL_TANGENTIAL, [0.3, 0.1, 0.001, -0.002, 0.01, 0.6, 0.2, 0.02]),
    "prism": (RADIAL_TANGENTIAL, [-0.2, 0.1, 0.001, -0.002, 0.01, 0, 0, 0, 0.002, 0.001, -0.003, 0.0005]),
    "fisheye": (FISHEYE, [-0.04, 0.01, -0.005, 0.001]),
    "equidistant": (FISHEYE, [0, 0, 0, 0]),
}


def rotation(seed):
    return cv2.Rodrigues(np.random.default_rng(seed).normal(size=3))[0]


def camera(lens, **changes):
    model, distortion = LENSES[lens]
    plain = Camera("a", SIZE, K, rotation(1), np.array([0.1, -0.2, 3.0]), distortion, model)
    return replace(plain, **changes)


def skewed(skew):
    out = K.copy()
    out[0, 1] = skew
    return out


def points_in_view(c, count=500, seed=0, margin=0.9):
    """World points whose undistorted pixels lie within the image."""
    rng = np.random.default_rng(seed)
    middle = (np.array(c.size) - 1) / 2
    pixels = middle + rng.uniform(-margin, margin, (count, 2)) * middle
    depth = rng.uniform(1, 6, (count, 1))
    x = np.column_stack([pixels, np.ones(count)]) @ np.linalg.inv(c.K).T * depth
    return (x - c.t) @ c.R


@pytest.mark.parametrize("lens", LENSES)
def test_project_as_opencv(lens):
    c = camera(lens)
    points = points_in_view(c)
    rvec = cv2.Rodrigues(c.R)[0]
    if c.model == FISHEYE:
        expected, _ = cv2.fisheye.projectPoints(points[:, None], rvec, c.t, c.K, c.distortion)
    else:
        expected, _ = cv2.projectPoints(points, rvec, c.t, c.K, c.distortion)
    np.testing.assert_allclose(c.project(points), expected.reshape(-1, 2), atol=1e-8)


@pytest.mark.parametrize("lens", LENSES)
def test_undistorting_points_inverts_the_lens(lens):
    c = camera(lens)
    points = points_in_view(c)
    np.testing.assert_allclose(c.undistort_points(c.project(points)), c.undistorted().project(points), atol=1e-5)


@pytest.mark.parametrize("lens", LENSES)
def test_skew_is_part_of_the_camera(lens):
    c = camera(lens, K=skewed(7.0))
    points = points_in_view(c)
    plain = camera(lens).project(points)
    expected = plain + np.stack([7.0 / 530.0 * (plain[:, 1] - K[1, 2]), np.zeros(len(points))], -1)
    np.testing.assert_allclose(c.project(points), expected, atol=1e-8)
    np.testing.assert_allclose(c.undistort_points(c.project(points)), c.undistorted().project(points), atol=1e-5)


@pytest.mark.parametrize("lens", LENSES)
def test_rays_pass_through_their_points(lens):
    c = camera(lens)
    points = points_in_view(c)
    rays = c.rays(c.project(points))
    expected = points - c.centre
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(rays, expected, atol=1e-7)


def test_a_fisheye_without_coefficients_is_no_pinhole():
    c = camera("equidistant")
    assert not c.is_pinhole
    assert c.undistorted().is_pinhole
    at_45_degrees = c.R.T @ (np.array([1.0, 0.0, 1.0]) - c.t)
    assert c.project(at_45_degrees)[0] == pytest.approx(K[0, 0] * np.pi / 4 + K[0, 2])


def test_behind_the_camera_is_nan():
    c = camera("mild")
    behind = c.R.T @ (np.array([[0.0, 0.0, -1.0], [0.1, 0.1, 0.0]]) - c.t).T
    assert np.isnan(c.project(behind.T)).all()
    assert np.isnan(project(c.P, behind.T)).all()
    assert np.isnan(c.project(np.full((2, 3), np.nan))).all()


@pytest.mark.parametrize("lens", LENSES)
def test_missing_and_no_points(lens):
    c = camera(lens)
    pixels = np.array([[[100.0, 120.0], [np.nan, 5.0]], [[np.nan, np.nan], [300.0, 200.0]]])
    out = c.undistort_points(pixels)
    assert out.shape == pixels.shape
    np.testing.assert_array_equal(np.isfinite(out).all(-1), [[True, False], [False, True]])
    assert c.undistort_points(np.zeros((0, 2))).shape == (0, 2)
    assert c.project(np.zeros((0, 3))).shape == (0, 2)
    assert c.rays(np.zeros((3, 0, 2))).shape == (3, 0, 3)
    assert c.undistort_points(np.array([320.0, 240.0])).shape == (2,)


def test_pixels_that_no_ray_reaches_are_nan():
    """Barrel distortion maps all rays into a disc; OpenCV answers outside of it with numbers that mean nothing."""
    c = camera("pinhole", distortion=[-0.3, 0, 0, 0])
    edge = np.sqrt(1 / 0.9)  # where r (1 - 0.3 r^2) is largest
    radius = edge * (1 - 0.3 * edge**2)
    pixels = c.K[:2, 2] + np.array([[0.97 * radius, 0], [1.03 * radius, 0]]) * c.K[0, 0]
    out = c.undistort_points(pixels)
    assert np.isfinite(out[0]).all()
    assert np.isnan(out[1]).all()
    fish = camera("equidistant")
    assert np.isnan(fish.undistort_points(fish.K[:2, 2] + np.array([fish.K[0, 0] * 1.6, 0.0]))).all()


@pytest.mark.parametrize("lens", LENSES)
def test_undistorted_images_are_what_the_pinhole_camera_sees(lens):
    """A pattern of known brightness at every ray, photographed through the lens and undistorted."""
    c = camera(lens, K=skewed(3.0))

    def photograph(cam):
        u, v = np.meshgrid(np.arange(SIZE[0], dtype=float), np.arange(SIZE[1], dtype=float))
        ray = cam.rays(np.stack([u, v], -1)) @ cam.R.T
        x, y = ray[..., 0] / ray[..., 2], ray[..., 1] / ray[..., 2]
        return np.nan_to_num(128 + 60 * np.sin(9 * x) + 60 * np.cos(8 * y)).astype(np.float32)

    seen, wanted = c.undistort_image(photograph(c)), photograph(c.undistorted())
    inner = (slice(80, -80), slice(100, -100))
    assert np.abs(seen - wanted)[inner].max() < 1.0
    colour = c.undistort_image(np.dstack([photograph(c)] * 3).astype(np.uint8))
    assert colour.shape == (480, 640, 3)
    assert colour.dtype == np.uint8


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match="calibrated for"):
        camera("mild").undistort_image(np.zeros((640, 480, 3), np.uint8))


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("turns", [-1, 0, 1, 2, 3, 4, 6])
def test_turned_images(lens, turns):
    c = camera(lens)
    points = points_in_view(c)
    image = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE[::-1])
    turned_image = np.rot90(image, -turns)
    turned = c.turned(turns)
    assert turned.size == turned_image.shape[::-1]
    assert np.linalg.det(turned.R) == pytest.approx(1)
    np.testing.assert_allclose(turned.centre, c.centre, atol=1e-12)
    # The pixel value says where a pixel was before.
    where = np.stack(np.unravel_index(turned_image, image.shape)[::-1], -1)
    pixels = turned.project(points)
    whole = np.clip(np.round(pixels), 0, np.array(turned.size) - 1).astype(int)
    near = np.abs(pixels - whole).max(-1) <= 0.5
    before = c.project(points)
    assert near.sum() > 200
    assert np.abs(where[whole[near, 1], whole[near, 0]] - before[near]).max() <= 0.5 + 1e-6
    np.testing.assert_allclose(turned.turned(-turns).project(points), before, atol=1e-8)


def test_scaled_images():
    """Halving averages blocks of four pixels: the middle of pixel 0 moves to where 0.5 was."""
    c = camera("mild")
    points = points_in_view(c)
    half = c.scaled((320, 240))
    np.testing.assert_allclose(half.project(points), (c.project(points) + 0.5) / 2 - 0.5, atol=1e-9)
    wide = c.scaled((1280, 480))
    np.testing.assert_allclose(wide.project(points)[:, 0], (c.project(points)[:, 0] + 0.5) * 2 - 0.5, atol=1e-9)
    np.testing.assert_allclose(half.scaled(SIZE).K, c.K, atol=1e-12)


@pytest.mark.parametrize("distortion", [[0.1], [0.1, 0.2], [0.1, 0, 0, 0, 0, 0.1], np.zeros(14)])
def test_short_coefficient_lists_are_filled_up(distortion):
    c = camera("pinhole", distortion=distortion)
    assert len(c.distortion) in (0, 4, 5, 8, 12)
    assert np.isfinite(c.project(points_in_view(c))).all()


def test_wrong_lenses_are_refused():
    with pytest.raises(ValueError, match="13 distortion"):
        camera("pinhole", distortion=np.ones(13))
    with pytest.raises(ValueError, match="5 distortion"):
        camera("fisheye", distortion=np.ones(5))
    with pytest.raises(ValueError, match="unknown lens"):
        camera("pinhole", model="fish")


# --- rigs and triangulation -------------------------------------------------------------------------------------


def rig(count=5, lens="mild"):
    cameras = []
    for i in range(count):
        angle = 2 * np.pi * i / count
        position = np.array([4 * np.cos(angle), 4 * np.sin(angle), 1.0 + 0.3 * i])
        forward = np.array([0, 0, 1.0]) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(forward, right), forward])
        k = K * (1 if i else 3)  # one camera of thrice the resolution
        k[2, 2] = 1
        model, d = LENSES[lens]
        cameras.append(Camera(f"cam{i}", SIZE if i else (1920, 1440), k, R, -R @ position, d, model))
    return Rig(tuple(cameras))


PEOPLE = np.random.default_rng(2).uniform([-0.8, -0.8, 0], [0.8, 0.8, 2], (6, 19, 3))


def pixels_of(r, points, lens=True):
    out = np.stack([c.project(points) for c in r.cameras], -2)
    return np.stack([c.undistort_points(out[..., i, :]) for i, c in enumerate(r.cameras)], -2)


@pytest.mark.parametrize("lens", ["pinhole", "mild", "fisheye"])
def test_triangulation_is_exact(lens):
    r = rig(lens=lens)
    found = triangulate(r.projections, pixels_of(r, PEOPLE), np.ones((*PEOPLE.shape[:2], 5)))
    np.testing.assert_allclose(found, PEOPLE, atol=1e-6)


def test_triangulation_takes_only_what_is_there():
    r = rig()
    pixels = pixels_of(r, PEOPLE)
    weights = np.ones(pixels.shape[:-1])
    rng = np.random.default_rng(3)
    weights[rng.uniform(size=weights.shape) < 0.5] = 0
    pixels[weights == 0] = 1e9
    missing = rng.uniform(size=weights.shape) < 0.1
    pixels[missing] = np.nan
    views = ((weights > 0) & ~missing).sum(-1)
    found = triangulate(r.projections, pixels, weights)
    assert (views < 2).any()
    assert np.isnan(found[views < 2]).all()
    np.testing.assert_allclose(found[views >= 2], PEOPLE[views >= 2], atol=1e-6)


def test_triangulation_weighs_by_angle_not_by_resolution():
    """One pixel of noise each: a camera of thrice the resolution is the best of five, not the only one."""
    r = rig(lens="pinhole")
    rng = np.random.default_rng(4)
    points = np.repeat(PEOPLE.reshape(-1, 3), 20, 0)
    noisy = pixels_of(r, points) + rng.normal(size=(len(points), 5, 2))
    found = triangulate(r.projections, noisy, np.ones(noisy.shape[:-1]))
    error = np.linalg.norm(found - points, axis=-1)
    assert np.median(error) < 0.010
    half = triangulate(r.projections, noisy, np.ones(noisy.shape[:-1]) * [1, 1e-3, 1, 1e-3, 1e-3])
    assert np.median(np.linalg.norm(half - points, axis=-1)) > np.median(error)


def test_projections_agree():
    r = rig(lens="pinhole")
    np.testing.assert_allclose(project(r.projections, PEOPLE[..., None, :]), pixels_of(r, PEOPLE), atol=1e-9)
    np.testing.assert_allclose(r.centres[2], r["cam2"].centre)


def test_rigs():
    r = rig()
    assert r.subset(["cam3", "cam0"]).names == ("cam3", "cam0")
    with pytest.raises(KeyError):
        r["cam9"]
    with pytest.raises(InputError, match="share a name"):
        Rig((r.cameras[0], r.cameras[0]))
    with pytest.raises(InputError, match="up"):
        Rig(r.cameras, np.zeros(3))
    with pytest.raises(InputError, match="up"):
        Rig(r.cameras, np.full(3, np.nan))
    np.testing.assert_allclose(Rig(r.cameras, np.array([0, -2.0, 0])).up, [0, -1, 0])


def test_rigs_as_arrays():
    lenses = ["pinhole", "mild", "fisheye", "prism", "equidistant"]
    pairs = zip(rig().cameras, map(LENSES.get, lenses), strict=True)
    mixed = Rig(tuple(replace(c, model=m, distortion=d) for c, (m, d) in pairs), np.array([0.0, 1.0, 0.0]))
    arrays = mixed.to_arrays()
    assert all(a.dtype.kind in "fiS" for a in arrays.values())
    back = Rig.from_arrays(arrays)
    assert back.names == mixed.names
    np.testing.assert_array_equal(back.up, mixed.up)
    for a, b in zip(back.cameras, mixed.cameras, strict=True):
        assert (a.size, a.model, a.is_pinhole) == (b.size, b.model, b.is_pinhole)
        np.testing.assert_array_equal(a.project(PEOPLE), b.project(PEOPLE))
