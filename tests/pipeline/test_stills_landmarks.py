"""Everybody in an image by the open detector: sizes, tiles, doubles, masks, images with nobody."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from data.model_files import blazepose_files
from pipeline.stills.landmarks import LandmarkFinder, LandmarkOptions, box_of, mask_of

LEFT, RIGHT = 60, 380
"""Columns of the photograph (512, 512) that show her; a flag and a model are beside her."""
NOSE = np.array([228.0 - LEFT, 115.0]) / 512
PEOPLE = ((20, 20, 340), (300, 90, 180), (450, 240, 90))
"""x, y, height."""


@pytest.fixture(scope="module")
def finder():
    return LandmarkFinder(*blazepose_files())


def paste(image, x, y, height):
    from skimage.data import astronaut

    size = (round(height * (RIGHT - LEFT) / 512), height)
    cut = cv2.resize(astronaut()[:, LEFT:RIGHT], size, interpolation=cv2.INTER_AREA)
    image[y : y + height, x : x + size[0]] = cut


@pytest.fixture(scope="module")
def picture():
    image = np.full((400, 600, 3), 90, np.uint8)
    for x, y, height in PEOPLE:
        paste(image, x, y, height)
    return image


@pytest.fixture(scope="module")
def found(finder, picture):
    return finder.find(picture, LandmarkOptions.of(0.5, 60.0))


def test_people_of_every_size_are_found_once_where_they_are(found):
    noses = np.array([np.array([x, y]) + NOSE * height for x, y, height in PEOPLE])
    away = np.linalg.norm(np.array([s.pose.points[0] for s in found])[:, None] - noses, axis=-1)
    near = away < 0.08 * np.array([height for *_, height in PEOPLE])
    assert (near.sum(0) == 1).all() and len(found) <= len(PEOPLE) + 1
    assert all(a.score >= b.score for a, b in pairwise(found))


def test_boxes_and_masks_lie_on_them(found):
    for x, y, height in PEOPLE:
        nose = np.array([x, y]) + NOSE * height
        person = min(found, key=lambda s: np.linalg.norm(s.pose.points[0] - nose))
        box = box_of(person.pose)
        assert (np.abs(box[:2] - [x, y]) < 0.25 * height).all() and (box[2:] > np.array([x, y]) + 0.4 * height).all()
        mask = mask_of(person.pose, box)
        column, row = np.clip(((nose - box[:2]) / (box[2:] - box[:2]) * 28).astype(int), 0, 27)
        assert mask.shape == (28, 28) and mask[row, column] > 200
        assert np.isfinite(person.pose.world).all() and np.ptp(person.pose.world[:, 1]) > 0.5


@pytest.mark.parametrize("image", [
    np.zeros((1, 1, 3), np.uint8), np.full((90, 300, 3), 200, np.uint8),
    np.random.default_rng(0).integers(0, 255, (200, 120, 3), np.uint8),
])  # fmt: skip
def test_nobody_is_found_where_there_is_nobody(finder, image):
    assert finder.find(image, LandmarkOptions()) == []


def test_a_box_that_others_suggest_is_looked_at_once(finder):
    image = np.full((300, 800, 3), 90, np.uint8)
    paste(image, 600, 200, 40)
    coarse = LandmarkOptions.of(0.5, 400.0)  # the whole image alone, in which nobody so small is found
    assert finder.find(image, coarse) == []
    box = [600.0, 200.0, 625.0, 240.0]
    (found,) = finder.find(image, coarse, np.array([box, box, [5.0, 200.0, 40.0, 250.0]]))
    assert np.linalg.norm(found.pose.points[0] - (np.array([600, 200]) + NOSE * 40)) < 3
