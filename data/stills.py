"""Still images in folders: which there are, and reading one whatever its kind."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.image_folder import MAX_PIXELS
from pipeline.errors import InputError
from pipeline.images import decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
MAX_BYTES = 1 << 30
_JPEG_END = b"\xff\xd9"


class BadImage(ValueError):
    """An image that cannot be used; the message says why."""


def still_files(patterns: Sequence[str], base: Path) -> list[Path]:
    """Image files of folders and patterns, relative to ``base``, each once, in order of their paths.

    Of a folder those with an image's suffix count; what else lies there is passed over.

    Raises:
        InputError: a pattern or folder gives no image.
    """
    found: set[Path] = set()
    for pattern in patterns:
        path = (base / Path(pattern).expanduser()).resolve()
        candidates = path.iterdir() if path.is_dir() else _matching(path)
        files = {p for p in candidates if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith(".")}
        if not files:
            raise InputError(
                f"stills.images: {pattern}", "no image is there", f"Give a folder or pattern of {', '.join(SUFFIXES)}"
            )
        found |= files
    return sorted(found)


def _matching(pattern: Path) -> list[Path]:
    """Paths that fit a pattern; the part before the first wildcard is a plain folder."""
    fixed = next((k for k, part in enumerate(pattern.parts) if glob.has_magic(part)), len(pattern.parts))
    if fixed == len(pattern.parts):
        return [pattern]
    return list(Path(*pattern.parts[:fixed]).glob(str(Path(*pattern.parts[fixed:]))))


def names_of(files: Sequence[Path]) -> list[str]:
    """A name for each file, the shortest end of its path without suffix that no other has, fit to be a folder's."""
    paths = [(*file.parts[1:-1], file.stem) for file in files]
    names = [""] * len(files)
    open_, depth = list(range(len(files))), 0
    while open_:
        depth += 1
        frequent = Counter(path[-depth:] for path in paths)
        done = [k for k in open_ if frequent[paths[k][-depth:]] == 1 or depth >= len(paths[k])]
        for k in done:
            names[k] = "__".join(paths[k][-depth:])
        open_ = [k for k in open_ if not names[k]]
    seen: dict[str, int] = {}
    for k, name in enumerate(names):  # a.jpg beside a.png
        seen[name] = seen.get(name, 0) + 1
        names[k] = name if seen[name] == 1 else f"{name}_{files[k].suffix[1:].lower()}"
    return names


def read_still(path: Path) -> np.ndarray:
    """An image as RGB (H, W, 3) uint8, upright as its EXIF tag says.

    Raises:
        BadImage: missing, damaged, cut short, too large, or no image.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadImage("larger than 1 GiB")
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read ({error.strerror})") from None
    if not data:
        raise BadImage("is empty")
    width, height = _size_of(data)
    if width * height > MAX_PIXELS:
        raise BadImage(f"has {width} x {height} pixels: more than {MAX_PIXELS} pixels")
    if data[:2] == b"\xff\xd8" and _JPEG_END not in data[-1024:]:
        raise BadImage("is cut short")
    try:
        return decode(data)
    except ValueError as error:
        raise BadImage(str(error)) from None


FILM_DIAGONAL_MM = 43.27
"""Of a 36 x 24 mm frame: what 35 mm equivalents are told by."""
_EXIF, _FOCAL_IN_35MM = 0x8769, 0xA405
_PLAUSIBLE = (0.2, 40.0)
"""Focal lengths over the image's longer side that lenses have."""


def focal_of(path: Path, size: tuple[int, int]) -> float | None:
    """Focal length in pixels of an image shown at ``size`` (width, height), by the 35 mm equivalent in its EXIF data;
    None where it has none. An image that was cropped still tells that of the whole one."""
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                told = float(image.getexif().get_ifd(_EXIF).get(_FOCAL_IN_35MM, 0))
        except Exception:  # whatever a damaged tag raises: a picture without one is no error
            return None
    focal = told * float(np.hypot(*size)) / FILM_DIAGONAL_MM
    return focal if _PLAUSIBLE[0] * max(size) < focal < _PLAUSIBLE[1] * max(size) else None


def _size_of(data: bytes) -> tuple[int, int]:
    """From the header alone: a small file may claim a picture that does not fit the memory."""
    import io
    import warnings

    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                return image.size
        except Image.DecompressionBombError:
            raise BadImage(f"has more than {MAX_PIXELS} pixels") from None
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise BadImage("not an image that can be decoded") from error
