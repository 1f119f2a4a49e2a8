"""Images in and out of storage."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.images import decode, encode, to_rgb8


def picture() -> np.ndarray:
    y, x = np.mgrid[:50, :71]
    return np.stack([3 * x, 4 * y, 255 - 2 * x], -1).clip(0, 255).astype(np.uint8)


def test_png_keeps_every_pixel_and_jpeg_nearly():
    image = picture()
    np.testing.assert_array_equal(decode(encode(image, "png")), image)
    assert np.abs(decode(encode(image, "jpeg")).astype(int) - image).mean() < 3
    np.testing.assert_array_equal(decode(encode(image[..., 0], "png")), np.repeat(image[..., :1], 3, 2))


def test_red_stays_red():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    for storage in ("png", "jpeg"):
        np.testing.assert_allclose(decode(encode(red, storage))[8, 8], (255, 0, 0), atol=3)


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        (np.full((4, 5), 77, np.uint8), (77, 77, 77)),
        (np.full((4, 5), 0x8000, np.uint16), (128, 128, 128)),
        (np.full((4, 5, 3), (65535, 257, 0), np.uint16), (0, 1, 255)),  # files are BGR
        (np.full((4, 5, 4), (10, 20, 30, 255), np.uint8), (30, 20, 10)),
        (np.full((4, 5, 4), (100, 100, 200, 128), np.uint8), (100, 50, 50)),
        (np.full((4, 5, 4), (9, 9, 9, 0), np.uint8), (0, 0, 0)),
    ],
)
def test_grey_alpha_and_16_bit_files(stored, seen):
    image = decode(cv2.imencode(".png", stored)[1].tobytes())
    assert image.shape == (4, 5, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[2, 2], seen)


def test_floats_and_masks():
    np.testing.assert_array_equal(to_rgb8(np.array([[0.0, 0.5, 2.0, np.nan]]))[0, :, 0], [0, 128, 255, 0])
    np.testing.assert_array_equal(to_rgb8(np.array([[True, False]]))[0, :, 2], [255, 0])


@pytest.mark.parametrize("data", [b"", b"no image", encode(picture(), "png")[:30]])
def test_no_image_is_a_value_error(data):
    with pytest.raises(ValueError, match="not an image"):
        decode(data)


def test_wrong_arrays_and_storages_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        encode(picture().astype(np.float32), "png")
    with pytest.raises(ValueError, match="storage"):
        encode(picture(), "webp")
    with pytest.raises(ValueError, match="int64"):
        to_rgb8(np.zeros((2, 2), np.int64))
