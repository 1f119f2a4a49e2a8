"""Masks made elsewhere: label images and black and white ones, and everything that can be wrong with them."""

import cv2
import numpy as np
import pytest

from data.given_masks import check_given_masks, mask_files, read_masks
from pipeline.cameras import Camera
from pipeline.errors import InputError

PEOPLE = [0, 4]


def camera(distortion=()):
    K = np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
    return Camera("a", (64, 48), K, np.eye(3), np.zeros(3), np.array(distortion, float))


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


def plane(value, *window, base=0):
    image = np.full((48, 64), base, np.uint8)
    x0, y0, x1, y1 = window
    image[y0:y1, x0:x1] = value
    return image


def test_label_images_and_images_a_person_say_the_same(tmp_path):
    labels = np.maximum(plane(1, 5, 5, 20, 40), plane(5, 30, 2, 50, 44))
    write(tmp_path / "labels" / "a" / "000007.png", labels)
    for person in PEOPLE:
        write(tmp_path / f"masks/a_7_{person}.png", np.where(labels == person + 1, 255, 0).astype(np.uint8))
    found = []
    for pattern in ("labels/{camera}/{frame:06d}.png", "masks/{camera}_{frame}_{person}.png"):
        check_given_masks(str(tmp_path / pattern), [camera()])
        files = mask_files(str(tmp_path / pattern), "a", 7, PEOPLE)
        found.append(read_masks(files, camera(), PEOPLE))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], (labels == 1) + 2 * (labels == 5))
    assert mask_files(str(tmp_path / "labels/{camera}/{frame:06d}.png"), "a", 8, PEOPLE) == {}


def test_lens_distortion_is_removed_as_from_the_images(tmp_path):
    lens = camera((-0.3, 0.05))
    labels = plane(1, 2, 2, 30, 46)
    file = write(tmp_path / "m.png", labels)
    found = read_masks({None: file}, lens, PEOPLE)
    expected = lens.undistort_image((labels == 1).astype(np.float32)) > 0.5
    assert np.array_equal(found == 1, expected) and not np.array_equal(found, labels)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((48, 63), np.uint8), "is 63x48, but camera a's images are 64x48"),
        (plane(3, 5, 5, 20, 40), r"labels \[3\], which are nobody's: the people are 0, 4"),
        (np.dstack([plane(1, 5, 5, 20, 40), *[plane(0, 0, 0, 1, 1)] * 2]), "is in colour"),
        (plane(1, 5, 5, 20, 40).astype(np.uint16) * 300, "of type uint16"),
    ],
)
def test_bad_label_images_say_what_is_wrong(tmp_path, image, message):
    file = write(tmp_path / "m.png", image)
    with pytest.raises(InputError, match=message):
        read_masks({None: file}, camera(), PEOPLE)


def test_black_and_white_means_two_levels_and_nobody_shares_a_pixel(tmp_path):
    grey = write(tmp_path / "g.png", np.maximum(plane(255, 5, 5, 20, 40), plane(90, 30, 5, 32, 8)))
    with pytest.raises(InputError, match="3 grey levels"):
        read_masks({0: grey}, camera(), PEOPLE)
    first, second = (write(tmp_path / f"{k}.png", plane(255, 5 + 10 * k, 5, 20 + 10 * k, 40)) for k in (0, 1))
    with pytest.raises(InputError, match="shares 175 pixels"):
        read_masks({0: first, 4: second}, camera(), PEOPLE)


def test_sizes_are_seen_before_the_night(tmp_path):
    write(tmp_path / "a" / "000000.png", plane(1, 5, 5, 20, 40))
    write(tmp_path / "a" / "000001.png", np.zeros((24, 32), np.uint8))
    with pytest.raises(InputError, match=r"000001\.png: is 32x24"):
        check_given_masks(str(tmp_path / "{camera}/{frame:06d}.png"), [camera()])
    with pytest.raises(InputError, match="no file like"):
        check_given_masks(str(tmp_path / "b{camera}/{frame}.png"), [camera()])


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "m.png").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"m\.png.*cannot be read|m\.png: is not an image"):
        read_masks({None: tmp_path / "m.png"}, camera(), PEOPLE)
