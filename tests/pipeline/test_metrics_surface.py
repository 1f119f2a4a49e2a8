"""Surface measures against shapes whose answers are known."""

import numpy as np
import pytest
import trimesh

from pipeline.cameras import Camera
from pipeline.quality.metrics import EMPTY_CM, normalising_scale, sample_surface, score_surface, seen_by, silhouette_iou
from pipeline.quality.metrics_motion import acceleration_mm, amplitude_ratio, flicker_mm, offsets_along_normals


def ball(radius=0.5, centre=(0.0, 0.0, 0.0), rings=120):
    """A sphere of triangles, so fine that it is a sphere to 0.1 mm."""
    theta, phi = np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    vertices = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(2 * rings), indexing="ij")
    a, b = i * 2 * rings + j, i * 2 * rings + (j + 1) % (2 * rings)
    c, d = a + 2 * rings, b + 2 * rings
    faces = np.concatenate([np.stack(x, -1).reshape(-1, 3) for x in ((a, c, b), (b, c, d))])
    return radius * vertices + np.array(centre), faces


def square(side=1.0, height=0.0, at=(0.0, 0.0)):
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2 + np.array(at)
    return np.column_stack([corners, np.full(4, height)]), np.array([[0, 1, 2], [0, 2, 3]])


def camera(distance=4.0, size=(400, 400), focal=800.0):
    """Looks down the x axis at the origin from -distance."""
    R = np.array([[0, -1.0, 0], [0, 0, -1.0], [1.0, 0, 0]])
    K = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
    return Camera("c", size, K, R, -R @ np.array([-distance, 0, 0]))


def test_points_are_spread_evenly_over_the_area():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [8, 0, 0], [5, 1, 0.0]])
    drawn = sample_surface(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 40_000, np.random.default_rng(0))
    right = drawn.points[:, 0] > 3
    assert right.mean() == pytest.approx(0.75, abs=1e-4)
    np.testing.assert_allclose(drawn.points[right].mean(0), [6, 1 / 3, 0], atol=0.01)  # the centroid
    np.testing.assert_allclose(drawn.normals, np.tile([0, 0, 1.0], (40_000, 1)))


def test_two_spheres_one_in_the_other():
    score = score_surface(ball(0.52), ball(0.50))
    assert score.p2s_cm == pytest.approx(2.0, abs=0.02)
    assert score.chamfer_cm == pytest.approx(2.0, abs=0.02)
    assert score.normal_consistency > 0.999


def test_scale_is_that_of_a_scene_of_180_cm():
    assert normalising_scale([1.6, 1.8, 1.7]) == pytest.approx(1.8 / 1.7)
    assert score_surface(ball(0.52), ball(0.5), scale=1.8 / 1.5, samples=20_000).p2s_cm == pytest.approx(2.4, abs=0.03)
    with pytest.raises(ValueError, match="not all positive"):
        normalising_scale([1.7, 0.0])


def test_the_two_directions_are_told_apart():
    """Half of the square is missing: what is there is right; of the rest, the mean distance is a quarter of a side."""
    whole, half = square(), square()
    half = (half[0] * [0.5, 1, 1] + [-0.25, 0, 0], half[1])
    score = score_surface(half, whole)
    assert score.p2s_cm == pytest.approx(0, abs=1e-4)
    assert score.chamfer_cm == pytest.approx(0.5 * 0.5 * 25, rel=0.01)
    turned = score_surface(whole, half)
    assert turned.p2s_cm == pytest.approx(12.5, rel=0.01) and turned.chamfer_cm == pytest.approx(6.25, rel=0.01)


def test_normals_of_a_square_that_is_tilted():
    angle = np.deg2rad(60)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    vertices, faces = square()
    assert score_surface((vertices @ turn.T, faces), (vertices, faces)).normal_consistency == pytest.approx(0.5, 1e-3)
    inside_out = score_surface((vertices, faces[:, ::-1]), (vertices, faces))
    assert inside_out.normal_consistency == pytest.approx(1)


def test_nothing_scores_twenty_centimetres():
    nothing = np.zeros((0, 3)), np.zeros((0, 3), int)
    score = score_surface(nothing, ball(), visible=lambda p, n: p[:, 0] > 0)
    assert (score.chamfer_cm, score.p2s_cm, score.normal_consistency) == (EMPTY_CM, EMPTY_CM, 0)
    assert score.seen_cm == score.unseen_cm == 20 and score.seen_share == pytest.approx(0.5, abs=0.01)
    flat = np.zeros((3, 3)), np.array([[0, 1, 2]])
    assert score_surface(flat, ball()).chamfer_cm == EMPTY_CM
    with pytest.raises(ValueError, match="without area"):
        score_surface(ball(), flat)


def test_a_camera_sees_the_cap_of_a_sphere_that_is_turned_to_it():
    """The share (1 - r / d) / 2 of a sphere's surface; a wall before it hides everything."""
    vertices, faces = ball(0.5)
    drawn = sample_surface(vertices, faces, 20_000, np.random.default_rng(0))
    near = camera(2.0, focal=300.0)
    seen = seen_by(drawn.points, drawn.normals, [near, camera(2.0, (100, 400), 300.0)], vertices, faces)
    assert seen[:, 0].mean() == pytest.approx(0.5 * (1 - 0.5 / 2), abs=0.004)
    assert 0.3 * seen[:, 0].sum() < seen[:, 1].sum() < 0.8 * seen[:, 0].sum()  # a narrower image
    wall = np.array([[-1, -3, -3], [-1, 3, -3], [-1, 3, 0], [-1, -3, 0.0]])  # its lower half, from the camera
    both = np.concatenate([vertices, wall]), np.concatenate([faces, len(vertices) + square()[1]])
    half = seen_by(drawn.points, drawn.normals, [near], *both)[:, 0]
    assert half.mean() == pytest.approx(seen[:, 0].mean() / 2, abs=0.004)
    assert (drawn.points[half, 2] > -1e-3).all()


def test_seen_and_unseen_surface_have_errors_of_their_own():
    truth = ball(0.5)
    off = truth[0] * np.where(truth[0][:, :1] < 0, 1.02, 1.06)  # 1 cm on the camera's side, 3 cm behind
    score = score_surface((off, truth[1]), truth, visible=lambda p, n: p[:, 0] < 0)
    assert score.seen_cm == pytest.approx(1.0, abs=0.05) and score.unseen_cm == pytest.approx(3.0, abs=0.05)
    assert score.chamfer_cm == pytest.approx(2.0, abs=0.08) and score.seen_share == pytest.approx(0.5, abs=0.01)
    seen_only = score_surface((off, truth[1]), truth, visible=lambda p, n: np.ones(len(p), bool), samples=5000)
    assert np.isnan(seen_only.unseen_cm) and seen_only.seen_cm == seen_only.chamfer_cm


def test_the_silhouette_of_a_sphere_is_a_disc():
    view = camera(4.0)
    v, u = np.mgrid[:400, :400]
    radius = 800 * 0.5 / np.sqrt(4**2 - 0.5**2)  # of the cone that touches the sphere
    disc = (u - 199.5) ** 2 + (v - 199.5) ** 2 <= radius**2
    assert silhouette_iou(*ball(0.5), view, disc) > 0.99
    assert silhouette_iou(*ball(0.25), view, disc) == pytest.approx(0.25, abs=0.01)
    assert silhouette_iou(np.zeros((0, 3)), np.zeros((0, 3), int), view, disc) == 0


def test_offsets_are_signed_distances_along_normals():
    vertices, faces = ball(0.5)
    points = vertices[200:400]
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    np.testing.assert_allclose(offsets_along_normals(points, normals, vertices * 1.02, faces), 0.01, atol=2e-4)
    np.testing.assert_allclose(offsets_along_normals(points, normals, vertices * 0.98, faces), -0.01, atol=2e-4)
    assert np.isnan(offsets_along_normals(points, normals, vertices * 1.2, faces)).all()
    assert np.isnan(offsets_along_normals(points, normals, np.zeros((0, 3)), np.zeros((0, 3), int))).all()


def test_the_other_side_of_a_thin_thing_is_no_answer():
    """A plate of 1 cm; a point 8 mm above it, and one 2 mm beneath, where only the lower side is near."""
    plate = trimesh.creation.box((1.0, 1.0, 0.01))
    mesh, up = (plate.vertices, plate.faces), np.tile([0.0, 0.0, 1.0], (2, 1))
    points = np.array([[0.1, 0.2, 0.013], [0.1, 0.2, -0.007]])
    np.testing.assert_allclose(offsets_along_normals(points, up, *mesh), [-0.008, np.nan], atol=1e-6)
    np.testing.assert_allclose(offsets_along_normals(points, -up, *mesh), [np.nan, -0.002], atol=1e-6)


def test_flicker_of_noise_is_the_root_of_six_times_its_size():
    offsets = np.random.default_rng(0).normal(0, 0.002, (200, 500))
    assert flicker_mm(offsets) == pytest.approx(2 * np.sqrt(6), rel=0.02)
    steady = np.linspace(0, 0.01, 20)[:, None] + np.zeros((20, 3))
    assert flicker_mm(steady) == pytest.approx(0, abs=1e-9)
    steady[5] = np.nan
    assert flicker_mm(steady) == pytest.approx(0, abs=1e-9) and np.isnan(flicker_mm(steady[4:6]))


def test_relief_that_is_halved_and_lifted():
    pattern = 0.01 * np.sin(np.linspace(0, 20, 500))
    assert amplitude_ratio(0.5 * pattern + 0.007, pattern) == pytest.approx(0.5)
    gaps = pattern.copy()
    gaps[::7] = np.nan
    assert amplitude_ratio(gaps, pattern) == pytest.approx(1)


def test_acceleration_is_that_of_the_error():
    truth = np.random.default_rng(0).normal(size=(9, 4, 3))
    t = np.arange(9.0)[:, None, None]
    assert acceleration_mm(truth + 0.001 * t, truth) == pytest.approx(0, abs=1e-9)
    assert acceleration_mm(truth + 0.0005 * t**2 * np.array([0, 0, 1]), truth) == pytest.approx(1.0)
