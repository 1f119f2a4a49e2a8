"""Results beside images: what a shifted silhouette and a wrong colour count, against numbers known beforehand."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.cameras import Camera
from pipeline.meshes.glb import Skin, StillMesh
from pipeline.quality.compare import comparison, view_score
from pipeline.raster_open3d import Open3DRaster
from pipeline.texture.atlas import encoded
from pipeline.texture.views import Seen

RASTER = Open3DRaster(threads=1)
CAMERA = Camera("cam", (320, 240), [[250, 0, 160], [0, 250, 120], [0, 0, 1]], np.eye(3), [0, 0, 4])
ONES = np.ones(3)


def square(shift=0.0, colour=(100, 150, 50)):
    """A square of 125 pixels, coloured, before the camera."""
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]]) + np.array([shift, 0, 0])
    colours = None if colour is None else np.tile(np.array(colour, np.uint8), (4, 1))
    return StillMesh("person_0", vertices, np.array([[0, 2, 1], [0, 3, 2]]), (9, 9, 9), colours=colours)


def seen(image_colour=(100, 150, 50)):
    result = RASTER.render(square().vertices, square().faces, CAMERA)
    image = np.where(result.hit[..., None], np.array(image_colour), 20).astype(np.uint8)
    return Seen(CAMERA, image, result.hit), np.zeros(result.hit.shape, bool)


def test_a_result_that_is_right_is_told_so():
    score = view_score(*seen(), square(), ONES, RASTER)
    assert score.iou == 1 and score.colour_error < 0.01


@pytest.mark.parametrize("shift", [0.2, -0.5])
def test_a_shift_costs_what_it_covers(shift):
    score = view_score(*seen(), square(shift), ONES, RASTER)
    assert score.iou == pytest.approx((2 - abs(shift)) / (2 + abs(shift)), abs=0.01)
    assert score.colour_error < 0.01  # of the pixels that both have


def test_colours_are_held_against_the_image_in_its_own_exposure():
    view, hidden = seen((50, 75, 25))
    assert view_score(view, hidden, square(), ONES, RASTER).colour_error == pytest.approx(50, abs=0.5)
    assert view_score(view, hidden, square(), 2 * ONES, RASTER).colour_error < 0.01


def test_a_texture_counts_instead_of_the_colours_of_vertices():
    mesh, (view, hidden) = square(colour=(0, 0, 0)), seen()
    corners = mesh.vertices[:, :2] / 2 + 0.5
    texture = encoded(np.full((32, 32, 3), (100, 150, 50), np.uint8))
    skin = Skin(np.arange(4), corners, mesh.faces, texture)
    assert view_score(view, hidden, mesh, ONES, RASTER).colour_error == pytest.approx(100, abs=1)
    assert view_score(view, hidden, replace(mesh, skin=skin), ONES, RASTER).colour_error < 3
    halves = np.full((32, 32, 3), (100, 150, 50), np.uint8)
    halves[:, 16:] = (200, 150, 50)  # where u is large, x is
    shown = np.where(np.arange(320)[:, None] > 160, np.array([200, 150, 50]), view.image).astype(np.uint8)
    right = replace(mesh, skin=replace(skin, image=encoded(halves)))
    assert view_score(Seen(CAMERA, shown, view.mask), hidden, right, ONES, RASTER).colour_error < 4
    assert view_score(view, hidden, right, ONES, RASTER).colour_error > 12


def test_what_others_hide_is_not_expected():
    view, hidden = seen()
    hidden[:, :160] = True
    cut = Seen(view.camera, view.image, view.mask & ~hidden)
    assert view_score(cut, hidden, square(), ONES, RASTER).iou == 1


def test_without_colours_or_out_of_view():
    assert view_score(*seen(), square(colour=None), ONES, RASTER).colour_error is None
    view, hidden = seen()
    nowhere = Seen(CAMERA, view.image, np.zeros_like(view.mask))
    assert view_score(nowhere, hidden, square(shift=50), ONES, RASTER) is None
    lost = view_score(view, hidden, square(shift=50), ONES, RASTER)
    assert lost.iou == 0 and lost.colour_error is None


def test_the_picture_has_image_result_and_difference():
    view, _ = seen((50, 150, 50))
    people = {0: (square(), ONES)}
    alone = comparison(CAMERA, view.image, people, RASTER, "cam", beside=False, height=200)
    row = comparison(CAMERA, view.image, people, RASTER, "cam", height=200)
    assert row.shape == (204, 3 * alone.shape[1], 3)
    middle = row[110, [k * alone.shape[1] + alone.shape[1] // 2 for k in range(3)]]
    np.testing.assert_allclose(middle, [(50, 150, 50), (100, 150, 50), (50, 50, 50)], atol=2)
    assert comparison(CAMERA, view.image, {0: (square(shift=50), ONES)}, RASTER, "cam") is None
    assert comparison(CAMERA, None, {0: (square(colour=None), ONES)}, RASTER, "cam").shape[1] < row.shape[1] * 2.2


def test_the_nearest_is_in_front():
    near = square(colour=(250, 0, 0))
    near = StillMesh("near", near.vertices * 0.5 - (0, 0, 1), near.faces, (9, 9, 9), colours=near.colours)
    picture = comparison(CAMERA, None, {1: (near, ONES), 0: (square(), ONES)}, RASTER, "x", beside=False, height=200)
    np.testing.assert_allclose(picture[110, [picture.shape[1] // 2, 40]], [(250, 0, 0), (100, 150, 50)], atol=2)
