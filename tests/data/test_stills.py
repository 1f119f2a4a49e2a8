"""Still images of every kind, and what is no image: one bad file never stops the others."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from data.stills import BadImage, focal_of, names_of, read_still, still_files
from pipeline.errors import InputError

COLOURS = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


def saved(path, image, **options):
    Image.fromarray(image).save(path, **options)
    return path


@pytest.mark.parametrize("kind", ["grey", "alpha", "palette", "sixteen", "one_pixel", "bmp", "tiff"])
def test_images_of_every_kind_become_rgb(tmp_path, kind):
    path = tmp_path / f"a.{'bmp' if kind == 'bmp' else 'tiff' if kind == 'tiff' else 'png'}"
    if kind == "sixteen":
        cv2.imwrite(str(path), (COLOURS[..., ::-1].astype(np.uint16) * 257))
    else:
        image = Image.fromarray(COLOURS if kind != "one_pixel" else COLOURS[:1, :1])
        modes = {"grey": "L", "alpha": "RGBA", "palette": "P"}
        image.convert(modes.get(kind, "RGB")).save(path)
    found = read_still(path)
    assert found.dtype == np.uint8 and found.shape == ((1, 1, 3) if kind == "one_pixel" else (40, 60, 3))
    if kind in ("alpha", "sixteen", "bmp", "tiff"):
        assert np.abs(found.astype(int) - COLOURS).max() <= 1


def test_an_exif_turn_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert read_still(saved(tmp_path / "a.jpg", COLOURS, exif=exif)).shape == (60, 40, 3)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "cut short"),
        (lambda data: b"", "empty"),
        (lambda data: b"not an image at all", "not an image"),
    ],
)
def test_what_is_no_image_is_said(tmp_path, damage, words):
    path = saved(tmp_path / "a.jpg", COLOURS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadImage, match=words):
        read_still(path)


@pytest.mark.parametrize("side", [13_000, 20_000])
def test_a_file_that_claims_a_huge_picture_is_refused_unread(tmp_path, side):
    data = io.BytesIO()
    Image.new("1", (side, side)).save(data, "png")
    (tmp_path / "a.png").write_bytes(data.getvalue())
    with pytest.raises(BadImage, match=r"more than \d+ pixels"):
        read_still(tmp_path / "a.png")


def test_a_folder_with_other_files_gives_its_images(tmp_path):
    saved(tmp_path / "b.jpg", COLOURS)
    saved(tmp_path / "a.png", COLOURS)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "more").mkdir()
    saved(tmp_path / "more" / "a.png", COLOURS)
    files = still_files([str(tmp_path), "more/*.png"], tmp_path)
    assert [f.name for f in files] == ["a.png", "b.jpg", "a.png"]
    names = names_of(files)
    assert len(set(names)) == 3 and names[1] == "b" and names[2] == "more__a"


def test_names_stay_apart_where_only_the_suffix_differs(tmp_path):
    files = [tmp_path / "a.jpg", tmp_path / "a.png"]
    assert len(set(names_of(files))) == 2


def test_nothing_there_is_an_error_that_names_the_field(tmp_path):
    with pytest.raises(InputError, match=r"stills\.images: photos/\*\.jpg"):
        still_files(["photos/*.jpg"], tmp_path)


@pytest.mark.parametrize(("told", "focal"), [(50, 50 * 5 / 43.27), (None, None), (0, None), (9000, None)])
def test_the_focal_length_is_that_of_exif_if_it_is_one(tmp_path, told, focal):
    image, exif = Image.new("RGB", (4, 3)), Image.Exif()
    if told is not None:
        exif.get_ifd(0x8769)[0xA405] = told
    image.save(tmp_path / "a.jpg", exif=exif)
    found = focal_of(tmp_path / "a.jpg", (4, 3))
    assert found == (None if focal is None else pytest.approx(focal))
    assert focal is None or focal_of(tmp_path / "a.jpg", (8, 6)) == pytest.approx(2 * focal)


def test_a_file_that_is_no_image_has_no_focal_length(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert focal_of(tmp_path / "a.jpg", (4, 3)) is None and focal_of(tmp_path / "gone.jpg", (4, 3)) is None
