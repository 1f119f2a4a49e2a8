"""Crops, frames and volumes against answers known beforehand."""

import numpy as np
import pytest
import torch

from nets.deepmulticap import compat, inputs, volumes
from nets.deepmulticap.inputs import Crop
from nets.deepmulticap.lookups import Located, PixelCentres, canonical, look_at_maps, look_at_volume, project
from nets.meshes import vertex_normals

K = np.array([[900.0, 0, 321.5], [0, 905.0, 238.0], [0, 0, 1]])


def turned(angle, axis=(0, 1, 0)):
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew


def pixel(K, points):
    x = points @ K.T
    return x[..., :2] / x[..., 2:]


# --- crops ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", [Crop(200, 100, 256, 256), Crop(-4, -30, 330, 128), Crop(250, 150, 90, 512)])
def test_a_point_is_at_the_same_place_before_and_after_the_crop(crop):
    """A blob is painted where a point projects; in the crop its middle is where the new K projects the point."""
    point = np.array([-0.06, -0.11, 2.1])
    u, v = pixel(K, point)
    rows, columns = np.mgrid[:480, :640]
    image = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 4.0**2)).astype(np.float32)
    seen = crop.resized(image)[0].numpy()
    rows, columns = np.mgrid[: crop.size, : crop.size]
    middle = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
    assert np.allclose(middle, pixel(crop.intrinsics(K), point), atol=0.02 * crop.size / crop.side + 0.01)


def test_a_crop_of_its_own_size_is_a_window_and_beyond_the_image_is_nothing():
    image = np.arange(5 * 7, dtype=np.float32).reshape(5, 7) + 1
    seen = Crop(-1, 2, 4, 4).resized(image)[0].numpy()
    assert seen.tolist() == [[0, 15, 16, 17], [0, 22, 23, 24], [0, 29, 30, 31], [0, 0, 0, 0]]


def test_perspective_stays_true():
    """Depth and rotation are the camera's: two points on one ray fall on one pixel of the crop, whatever the crop."""
    crop = Crop(211, 57, 333, 512)
    near = np.array([0.2, -0.3, 2.0])
    assert np.allclose(pixel(crop.intrinsics(K), near), pixel(crop.intrinsics(K), 3.7 * near))


def test_the_crop_holds_mask_and_body_with_a_margin():
    mask = np.zeros((480, 640), np.uint8)
    mask[100:301, 300:341] = 255
    crop = inputs.crop_around(mask, 512, margin=0.1)
    assert crop.side == pytest.approx(201 * 1.2, abs=2)
    assert (crop.top + crop.side / 2, crop.left + crop.side / 2) == pytest.approx((200.5, 320.5), abs=1)
    body = np.array([[310.0, 90.0], [320.0, 400.0], [np.nan, 5.0], [9000.0, 4.0]])
    with_body = inputs.crop_around(mask, 512, body)
    assert with_body.top < 90
    assert with_body.top + with_body.side > 400
    assert with_body.side < 400
    assert inputs.crop_around(np.zeros((480, 640)), 512) is None
    assert inputs.crop_around(np.zeros((480, 640)), 512, body[2:]) is None
    assert inputs.crop_around(np.zeros((480, 640)), 512, body) is not None


def test_colours_are_minus_one_to_one_on_the_person_and_grey_elsewhere():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4], image[:, 4:] = (255, 0, 51), (9, 9, 9)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 255
    rgb, soft = inputs.crop_person(image, mask, Crop(0, 0, 8, 8))
    assert torch.allclose(rgb[:, 3, 2], torch.tensor([1.0, -1.0, -0.6]))
    assert float(rgb[:, :, 4:].abs().max()) == 0
    assert soft[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


# --- frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", [(0, 1, 0), (0, 0, 1), (0, -1, 0)])
def test_the_frame_has_up_as_y_and_faces_z(up):
    """A body whose left is left of its heading, in worlds with three ideas of up."""
    up = np.array(up, float)
    forward = np.cross(up, [0.3, 0.2, 0.9])
    forward /= np.linalg.norm(forward)
    left = np.cross(up, forward)
    here = np.array([1.0, 2.0, 3.0])
    shoulders, hips = here + 0.4 * up, here - 0.1 * up
    lefts, rights = (np.stack([shoulders + s * 0.2 * left, hips + s * 0.1 * left]) for s in (1, -1))
    assert np.allclose(inputs.heading(lefts, rights, up), forward)
    vertices = np.stack([here + 0.9 * up, here - 0.9 * up, here + 0.3 * left, here - 0.3 * left, here + 0.1 * forward])
    frame = inputs.canonical_frame(vertices, inputs.heading(lefts, rights, up), up)
    assert np.linalg.det(frame.rotation) == pytest.approx(1)
    assert np.allclose(frame.directions(np.stack([left, up, forward])), np.eye(3), atol=1e-12)
    assert np.allclose(frame.to_world(frame.to_canonical(vertices)), vertices)
    facing_away = compat.released_frame(vertices, forward, up)
    assert np.allclose(facing_away.directions(np.stack([left, up, forward])), np.diag([-1, 1, -1]), atol=1e-12)


def test_the_longest_side_of_the_box_is_nine_tenths_of_the_cube():
    vertices = np.array([[0.0, 0.0, 0.0], [1.0, 1.8, 0.5]])
    frame = inputs.canonical_frame(vertices, np.array([0.0, 0, 1]), np.array([0.0, 1, 0]))
    assert frame.scale == pytest.approx(0.5)
    assert np.allclose(frame.to_canonical(vertices), [[-0.25, -0.45, -0.125], [0.25, 0.45, 0.125]])
    assert frame.side == pytest.approx(2)
    batch = canonical(
        torch.from_numpy(vertices)[None], torch.from_numpy(frame.rotation)[None],
        torch.from_numpy(frame.centre)[None], torch.tensor([frame.scale], dtype=torch.float64),
    )  # fmt: skip
    assert np.allclose(batch[0].numpy(), frame.to_canonical(vertices))


def test_someone_lying_on_the_side_still_has_a_heading():
    up = np.array([0.0, 0, 1])
    found = inputs.heading(np.array([[0, 0, 0.4]]), np.array([[0, 0, 0.0]]), up)
    assert np.linalg.norm(found) == pytest.approx(1)
    assert found @ up == pytest.approx(0)


def cube(low=-0.3, high=0.3):
    """(8, 3), (12, 3): a closed box, counter-clockwise outside."""
    v = np.array([[x, y, z] for x in (low, high) for y in (low, high) for z in (low, high)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return v, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


def ball(radius=0.4, n=24):
    """A closed UV sphere around 0, counter-clockwise outside."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, n + 1)[1:-1], np.arange(2 * n) * np.pi / n, indexing="ij")
    ring = np.stack([np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], -1).reshape(-1, 3)
    v = radius * np.concatenate([ring, [[0, 1, 0], [0, -1, 0]]])
    m, top, bottom = 2 * n, len(ring), len(ring) + 1
    faces = []
    for j in range(m):
        k = (j + 1) % m
        faces += [(top, k, j), (bottom, (n - 2) * m + j, (n - 2) * m + k)]
        for i in range(n - 2):
            a, b, c, d = i * m + j, i * m + k, (i + 1) * m + j, (i + 1) * m + k
            faces += [(a, b, c), (b, d, c)]
    return v, np.array(faces)


def test_vertex_normals_point_outwards_and_released_ones_inwards_facing_away():
    v, f = ball()
    outward = v / np.linalg.norm(v, axis=-1, keepdims=True)
    assert ((vertex_normals(v, f) * outward).sum(-1) > 0.99).all()
    frame = compat.released_frame(v, np.array([0.0, 0, 1]), np.array([0.0, 1, 0]))
    released = compat.released_vertex_normals(v, f, frame)
    # Twice reversed along x and z, once along y.
    assert (((released * [1, -1, 1]) * outward).sum(-1) > 0.99).all()
    assert np.allclose(compat.chest_heading(v, f[(v[f][..., 2] > 0.3).all(1)]), [0, 0, 1], atol=0.02)


def test_a_global_normal_map_has_unit_normals_on_the_body_and_nothing_elsewhere():
    rendered = np.zeros((4, 4, 3), np.float32)
    rendered[1, 2] = (0, 0.3, 0.4)  # interpolation shortens normals
    hit = np.zeros((4, 4), bool)
    hit[1, 2] = True
    found = inputs.global_normal_map(rendered, hit)
    assert found[:, 1, 2].tolist() == pytest.approx([0, 0.6, 0.8])
    assert float(found.abs().sum()) == pytest.approx(1.4)


# --- look-ups -------------------------------------------------------------------------------------------------------


def located(grid=None, points=None):
    views = 1 if grid is None else grid.shape[1]
    n = (points if grid is None else grid[0, 0]).reshape(-1, 2 if grid is not None else 3).shape[0]
    empty = torch.zeros(1, views, n)
    return Located(empty, grid, empty, points, None, None, torch.zeros(1, n, 0))


def test_pixel_centres_at_integers_find_the_features_of_their_pixels():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    image = torch.stack([columns, rows])[None, None]
    pixels = torch.tensor([[0.0, 0.0], [3.0, 5.0], [2.5, 6.25], [7.0, 7.0]])
    ours = PixelCentres()
    found = look_at_maps(image, located(ours(pixels, 8)[None, None]), ours.align_corners)[0, :, 0]
    assert torch.allclose(found, pixels, atol=1e-5)
    coarse = torch.nn.functional.avg_pool2d(image[0], 2)[None]  # a map of half the size covers the same image
    inner = pixels[1:3]
    assert torch.allclose(look_at_maps(coarse, located(ours(inner, 8)[None, None]), False)[0, :, 0], inner, atol=1e-5)


def test_released_pixels_stretch_the_image_over_the_features():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    image = torch.stack([columns, rows])[None, None]
    released = compat.ReleasedPixels()
    pixels = torch.tensor([[0.0, 8.0], [4.0, 4.0], [2.0, 6.0]])
    found = look_at_maps(image, located(released(pixels, 8)[None, None]), released.align_corners)[0, :, 0]
    assert torch.allclose(found, pixels * 7 / 8, atol=1e-5)


def test_a_volume_is_read_along_its_own_axes():
    n = 16
    centres = torch.from_numpy(volumes.voxel_centres(n)).float()
    volume = torch.stack(torch.meshgrid(centres, centres, centres, indexing="ij"))[None]
    points = torch.tensor([[[0.1, -0.3, 0.42], [-0.45, 0.0, 0.2]]])
    assert torch.allclose(look_at_volume(volume, located(points=points))[0, :, 0], points[0], atol=1e-6)


def test_points_behind_a_camera_fall_on_no_image():
    P = torch.from_numpy(K @ np.eye(3, 4)).float()[None, None]
    pixels, depth = project(P, torch.tensor([[[0.0, 0.0, 2.0], [0.0, 0.0, -2.0], [0.0, 0.0, 0.0]]]))
    assert pixels[0, 0, 0].tolist() == pytest.approx([321.5, 238.0])
    assert (pixels[0, 0, 1:] < -1e6).all()
    assert depth[0, 0].tolist() == [2, -2, 0]


# --- volumes --------------------------------------------------------------------------------------------------------


def grid(centres):
    return np.stack(np.meshgrid(centres, centres, centres, indexing="ij"), -1)


def test_voxels_inside_a_ball_and_a_turned_box():
    centres = volumes.voxel_centres(40)
    v, f = ball()
    shift = np.array([0.03, -0.05, 0.02])
    distance = np.linalg.norm(grid(centres) - shift, axis=-1)
    found = volumes.inside_grid(v + shift, f, centres)
    assert found[distance < 0.395].all()
    assert not found[distance > 0.4].any()
    R = turned(0.7, (1, 2, 3))
    v, f = cube()
    local = np.abs(grid(centres) @ R).max(-1)
    found = volumes.inside_grid(v @ R.T, f, centres)
    assert found[local < 0.3 - 1e-4].all()
    assert not found[local > 0.3 + 1e-4].any()


def test_overlapping_parts_and_holes_do_not_turn_a_body_inside_out():
    centres = volumes.voxel_centres(40)
    v, f = cube(-0.3, 0.1)
    w, g = cube(-0.1, 0.3)
    both = volumes.inside_grid(np.concatenate([v, w]), np.concatenate([f, g + len(v)]), centres)
    p = grid(centres)
    truth = (np.abs(p + 0.1) < 0.2).all(-1) | (np.abs(p - 0.1) < 0.2).all(-1)
    assert (both == truth).all()
    v, f = ball()
    whole = volumes.inside_grid(v, f, centres)
    holed = volumes.inside_grid(v, f[np.linalg.norm(v[f].mean(1) - [0, 0, 0.4], axis=-1) > 0.08], centres)
    assert (holed != whole).mean() < 1e-3


def test_a_mesh_that_leaves_the_cube_is_cut_off_not_wrapped():
    v, f = ball(0.9)
    assert volumes.inside_grid(v, f, volumes.voxel_centres(16)).all()
    assert not volumes.inside_grid(v + 5, f, volumes.voxel_centres(16)).any()


def test_even_voxels_are_every_other_voxel_of_the_whole_volume():
    v, f = ball()
    v = v @ turned(0.3, (1, 0, 2)) * [1.0, 0.8, 0.6]
    whole = volumes.inside_grid(v, f, volumes.voxel_centres(48))
    even = volumes.body_occupancy(v, f, 48)
    assert even.shape == (1, 24, 24, 24)
    assert (even[0].numpy() == whole[::2, ::2, ::2]).all()


def test_semantics_say_where_on_the_body_a_voxel_is():
    rest, f = ball(0.4)
    R = turned(1.1, (0, 0, 1))  # the body has turned since; its codes have not
    codes = volumes.semantic_codes(rest)
    assert codes.min() >= 0
    assert codes.max() <= 1
    found = volumes.body_semantics(rest @ R.T, f, codes, 32).numpy()
    centres = volumes.even_centres(32)
    outer = np.argwhere(np.abs(np.linalg.norm(grid(centres), axis=-1) - 0.38) < 0.015)
    at_rest = centres[outer] @ R
    expected = at_rest / np.linalg.norm(at_rest, axis=-1, keepdims=True) * 0.4 / 0.8 + 0.5
    assert np.abs(found[:, *outer.T].T - expected).max() < 0.06
    assert (found[:, 0, 0, 0] == 0).all()


def test_the_released_volume_also_has_the_voxels_that_skin_touches():
    v, f = ball(0.4)
    solid, released = volumes.body_occupancy(v, f, 64)[0].numpy() > 0, compat.released_volume(v, f, 64)[0] > 0
    assert released[solid].all()
    distance = np.linalg.norm(grid(volumes.even_centres(64)), axis=-1)
    shell = released & ~solid
    assert shell.sum() > 0.2 * (np.abs(distance - 0.4) < 0.5 / 64).sum()
    assert (np.abs(distance[shell] - 0.4) < 0.87 / 64 + 0.003).all()


# --- released conventions -------------------------------------------------------------------------------------------


def test_the_released_crop_is_fifty_pixels_above_and_below():
    mask = np.zeros((512, 512), np.uint8)
    mask[100:401, 200:261] = 1
    mask[20:24, 20:24] = 1  # a speck that drawing in removes
    crop = compat.released_crop(mask)
    assert (crop.top, crop.side) == (105 - 50, 290 + 100)
    assert crop.left + crop.side / 2 == pytest.approx(230, abs=1)
    assert compat.released_crop(np.zeros((64, 64))) is None


def test_stored_cameras_count_rows_from_the_bottom():
    stored = np.array([[600.0, 0, 250.0], [0, 600.0, 260.0], [0, 0, 1]])
    point = np.array([0.1, 0.2, 2.0])  # y up
    x, y = pixel(stored, point)
    assert pixel(compat.opencv_intrinsics(stored), point) == pytest.approx([x, 512 - y])
