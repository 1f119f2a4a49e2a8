"""Numbered image files of one camera as a frame source.

The number in a file's name is the frame number of the session's clock, so a gap in the numbering is an image that is
missing at its time, in one camera or in all; it shifts nothing.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from data.decoding import check_file
from pipeline.errors import InputError
from pipeline.images import decode

MAX_PIXELS = 1 << 27
EXIF_ORIENTATION = 0x0112

FRAME_FIELD = re.compile(r"\{frame(?::0(\d+)d)?\}")


@dataclass(frozen=True)
class ImageFolder:
    """Images of one camera by their order (a ``pipeline.frames.FrameSource``).

    Attributes:
        path: the folder.
        files: in order of their numbers.
        numbers: (N,) int64 ascending, the number in each file's name.
        size: (width, height) of every image, as displayed.
        fps: images a second.
    """

    path: Path
    files: tuple[Path, ...]
    numbers: np.ndarray
    size: tuple[int, int]
    fps: float

    @property
    def times_s(self) -> np.ndarray:
        """(N,) number / fps: image n of every camera is the same instant, wherever the numbering begins."""
        return self.numbers / self.fps

    @property
    def missing(self) -> np.ndarray:
        """Numbers between the first and the last that have no file."""
        return np.setdiff1d(np.arange(self.numbers[0], self.numbers[-1] + 1), self.numbers)

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(index, RGB (H, W, 3) uint8) in ascending order, each once; damaged files are left out."""
        wanted = np.unique(np.asarray(indices, np.int64))
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= len(self.files)):
            raise IndexError(f"{self.path} has images 0 to {len(self.files) - 1}")
        for index in wanted:
            try:
                image = decode(self.files[index].read_bytes())
            except (ValueError, FileNotFoundError):
                continue
            if image.shape[1::-1] == self.size:
                yield int(index), image

    def thumbnails(self, indices: Sequence[int] | np.ndarray, height: int) -> Iterator[tuple[int, np.ndarray]]:
        """(index, grey (height, W) uint8), made small by averaging."""
        w, h = self.size
        height = min(height, h)
        for index, image in self.frames(indices):
            grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
            yield index, cv2.resize(grey, (max(1, round(w * height / h)), height), interpolation=cv2.INTER_AREA)


def open_image_folder(pattern: str, camera: str, fps: float) -> ImageFolder:
    """The numbered images of one camera. Only the headers of the files are read.

    Args:
        pattern: path with {camera} and {frame}, or {frame:06d} for numbers of exactly that many digits (more where
            they do not fit), for example images/{camera}/{frame:06d}.jpg.
        camera: its name.
        fps: images a second.

    Raises:
        InputError: no such images, two files of one number, different sizes, or files that are no images.
    """
    path, found = numbered_files(pattern, camera)
    files, numbers = [f for _, f in found], [n for n, _ in found]
    for a, b in pairwise(found):
        if a[0] == b[0]:
            raise InputError(path, f"two files have number {a[0]}: {a[1].name} and {b[1].name}", "Remove one of them")
    sizes: dict[tuple[int, int], Path] = {}
    for file in files:
        sizes.setdefault(image_size(file), file)
        if len(sizes) > 1:
            (one, a), (other, b) = sizes.items()
            raise InputError(
                path,
                f"images differ in size: {a.name} is {one[0]}x{one[1]}, {b.name} is {other[0]}x{other[1]}",
                "A calibrated camera has one size: remove the others, or make them a camera of their own",
            )
    return ImageFolder(path, tuple(files), np.array(numbers, np.int64), next(iter(sizes)), float(fps))


def numbered_files(pattern: str, camera: str) -> tuple[Path, list[tuple[int, Path]]]:
    """The folder that holds the numbered files of a camera, and (number, file) in order."""
    fields = FRAME_FIELD.findall(pattern)
    if len(fields) != 1 or "{camera}" not in pattern:
        raise InputError(
            "capture.images", f"{pattern!r} needs {{camera}} and one {{frame}}", "Write images/{camera}/{frame:06d}.jpg"
        )
    before, after = FRAME_FIELD.split(pattern)[::2]
    before, after = (part.replace("{camera}", camera) for part in (before, after))
    if "{" in before + after:
        raise InputError("capture.images", f"{pattern!r} holds an unknown field", "Only {camera} and {frame} are known")
    digits = rf"(?:\d{{{fields[0]}}}|[1-9]\d{{{fields[0]},}})" if fields[0] else r"\d+"
    name = re.compile(re.escape(before) + f"({digits})" + re.escape(after))
    folder = Path(before + "0").parent
    found = []
    for file in glob.iglob(glob.escape(before) + "*" + glob.escape(after)):  # noqa: PTH207 (an absolute pattern)
        match = name.fullmatch(file)
        if match and len(match[1]) < 16:
            found.append((int(match[1]), Path(file)))
    if not found:
        if not folder.is_dir():
            raise InputError(folder, "no such folder", f"Check capture.images and the name of camera {camera}")
        some = sorted(p.name for p in folder.iterdir())[:3]
        there = f"; there is {', '.join(some)} ..." if some else "; the folder is empty"
        raise InputError(folder, f"holds no file like {Path(pattern).name}", f"Check capture.images{there}")
    return folder, sorted(found)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image as displayed, from its header."""
    from PIL import Image, UnidentifiedImageError

    check_file(path, "image")
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.format == "JPEG" and image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InputError(path, "is not an image that can be read", "Write it again, for example as PNG") from None
    if width * height > MAX_PIXELS:
        raise InputError(path, f"is {width}x{height} pixels", "Scale the images down")
    return (height, width) if turned else (width, height)
