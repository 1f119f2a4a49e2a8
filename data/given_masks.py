"""Person masks made elsewhere: a label image a camera and frame, or a black and white image a person.

They are of the images as recorded: lens distortion is removed from them as it is from the images. A file that is not
there is a frame without masks.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from data.image_folder import FRAME_FIELD, image_size
from pipeline.cameras import Camera
from pipeline.errors import InputError
from pipeline.segmentation.figures import undistorted_labels
from pipeline.segmentation.masks import MOST_PEOPLE


def mask_files(pattern: str, camera: str, frame: int, people: Sequence[int]) -> dict[int | None, Path]:
    """The files there are for one camera and frame: by person id, or under None the label image.

    Args:
        pattern: path with {camera}, {frame} or {frame:06d}, and {person} for one image a person.
    """
    path = FRAME_FIELD.sub(lambda field: str(frame).zfill(int(field[1] or 0)), pattern.replace("{camera}", camera))
    if "{person}" not in path:
        named = {None: Path(path)}
    else:
        named = {p: Path(path.replace("{person}", str(p))) for p in people}
    return {p: file for p, file in named.items() if file.is_file()}


def check_given_masks(pattern: str, cameras: Sequence[Camera]) -> None:
    """Look at the header of every mask before a long run.

    Raises:
        InputError: a mask of another size than its camera's images, one that cannot be read, or no mask at all.
    """
    found = 0
    for camera in cameras:
        named = FRAME_FIELD.sub("*", glob.escape(pattern.replace("{camera}", camera.name)).replace("[{]", "{"))
        for file in sorted(glob.glob(named.replace("{person}", "*"))):  # noqa: PTH207 (an absolute pattern)
            found += 1
            _check_size(Path(file), camera, image_size(Path(file)))
    if not found:
        raise InputError("segmentation.masks", f"there is no file like {pattern}", "Check the pattern and the numbers")


def read_masks(files: Mapping[int | None, Path], camera: Camera, people: Sequence[int]) -> np.ndarray:
    """(H, W) uint8 labels of the undistorted image: 0 nobody, k + 1 for ``people[k]``.

    Args:
        files: as ``mask_files`` gives them, not empty.
        camera: with its distortion if that has to be removed.

    Raises:
        InputError: a file that cannot be read, of the wrong size, with labels of unknown people, neither black nor
            white, or people who share pixels.
    """
    if None in files:
        labels = _labels(files[None], camera, people)
    else:
        width, height = camera.size
        labels = np.zeros((height, width), np.uint8)
        for k, person in enumerate(people):
            if person in files:
                mine = _black_and_white(files[person], camera)
                shared = int((mine & (labels != 0)).sum())
                if shared:
                    raise InputError(files[person], f"shares {shared} pixels with another person's mask",
                                     "A pixel belongs to one person")
                labels[mine] = k + 1
    return undistorted_labels(labels, camera)


def _labels(file: Path, camera: Camera, people: Sequence[int]) -> np.ndarray:
    values = _read(file, camera)
    known = {p + 1: k + 1 for k, p in enumerate(people)}
    there = set(np.unique(values).tolist()) - {0}
    if unknown := there - known.keys():
        who = ", ".join(map(str, sorted(people))) or "nobody"
        raise InputError(
            file, f"has the labels {sorted(unknown)}, which are nobody's: the people are {who}",
            "Write person id + 1 where somebody is, 0 elsewhere",
        )  # fmt: skip
    table = np.zeros(MOST_PEOPLE + 1, np.uint8)
    for label in there:
        table[label] = known[label]
    return table[values]


def _black_and_white(file: Path, camera: Camera) -> np.ndarray:
    values = _read(file, camera)
    there = np.unique(values)
    if len(there) > 2 or (len(there) == 2 and there[0] != 0):
        raise InputError(file, f"has {len(there)} grey levels", "Write white where the person is and black elsewhere")
    return values > 0


def _read(file: Path, camera: Camera) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(file, "is not an image that can be read", "Write it again, as PNG")
    _check_size(file, camera, (image.shape[1], image.shape[0]))
    if image.ndim == 3:
        if image.shape[2] != 3 or (image != image[..., :1]).any():
            raise InputError(file, "is in colour", "Write one channel")
        image = image[..., 0]
    if image.dtype != np.uint8:
        raise InputError(file, f"is of type {image.dtype}", "Write eight bits a pixel")
    return image


def _check_size(file: Path, camera: Camera, size: tuple[int, int]) -> None:
    if size != camera.size:
        (w, h), (cw, ch) = size, camera.size
        raise InputError(file, f"is {w}x{h}, but camera {camera.name}'s images are {cw}x{ch}",
                         "Give masks of the images as recorded")
