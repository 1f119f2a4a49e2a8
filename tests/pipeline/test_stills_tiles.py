"""Tiles of large images, against what a user relies on: everything is looked at, and places come back exact."""

import numpy as np
import pytest

from pipeline.stills.tiles import Tile, TileOptions, is_plain, scales, tiles

CANVAS = (416, 256)


@pytest.mark.parametrize("size", [(1, 1), (208, 128), (416, 256), (1000, 3000), (8000, 6000)])
def test_every_pixel_is_in_a_tile_of_every_level(size):
    options = TileOptions()
    found = list(tiles(size, CANVAS, options))
    corners = np.array([(0, 0), (size[0] - 1, 0), (0, size[1] - 1), (size[0] - 1, size[1] - 1)])
    spots = np.concatenate([corners, np.random.default_rng(0).integers(0, size, (200, 2))])
    for scale in scales(size, CANVAS, options):
        seen = np.zeros(len(spots), bool)
        for tile in (t for t in found if t.scale == scale):
            at = tile.to_canvas(spots)
            seen |= ((at >= -1) & (at <= np.array(CANVAS))).all(-1)
        assert seen.all()


def test_small_people_of_a_large_image_become_large_enough():
    options = TileOptions(smallest_person=20, seen_at=40)
    assert max(scales((8000, 6000), CANVAS, options)) == 2.0
    assert min(scales((8000, 6000), CANVAS, options)) == pytest.approx(256 / 6000)


def test_somebody_smaller_than_the_overlap_is_whole_in_some_tile():
    options = TileOptions(overlap=0.3)
    finest = max(scales((3000, 2000), CANVAS, options))
    level = [t for t in tiles((3000, 2000), CANVAS, options) if t.scale == finest]
    side = 0.25 * CANVAS[1] / finest
    for x, y in np.random.default_rng(1).uniform((0, 0), (3000 - side, 2000 - side), (300, 2)):
        box = np.array([[x, y], [x + side, y + side]])
        assert any(((a := t.to_canvas(box)) >= -1).all() and (a <= np.array(CANVAS)).all() for t in level)


def test_what_a_tile_shows_is_where_it_says():
    image = np.zeros((900, 1200, 3), np.uint8)
    image[640:660, 910:930] = 255
    for tile in tiles((1200, 900), CANVAS, TileOptions()):
        bright = np.argwhere(tile.cut(image)[..., 0] > 127)
        at = tile.to_canvas(np.array([919.5, 649.5]))
        if ((at > 20) & (at < np.array(CANVAS) - 20)).all() and tile.scale > 0.5:
            assert np.linalg.norm(bright.mean(0)[::-1] - at) < 1.0


def test_boxes_that_a_tile_cuts_are_told_apart_from_those_at_the_image_border():
    tile = Tile(0.0, 100.0, 1.0, CANVAS)  # its left side is the image's
    boxes = np.array([[0, 50, 40, 150], [300, 50, 415, 150], [100, 0, 150, 90], [100, 100, 150, 200]], float)
    assert tile.cuts(boxes, (2000, 1000)).tolist() == [False, True, True, False]


def test_sky_is_plain_and_a_pale_small_person_before_it_is_not():
    g = np.random.default_rng(2)
    sky = np.linspace(120, 220, CANVAS[1])[:, None, None] + np.array([0.0, 10.0, 20.0]) + np.zeros((1, CANVAS[0], 1))
    sky += g.normal(0, 1.5, sky.shape)
    assert is_plain(np.clip(sky, 0, 255).astype(np.uint8))
    for x, y in g.integers(0, (CANVAS[0] - 10, CANVAS[1] - 30), (20, 2)):
        shown = sky.copy()
        shown[y : y + 30, x : x + 10] -= 20
        assert not is_plain(np.clip(shown, 0, 255).astype(np.uint8))
