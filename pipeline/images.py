"""Images as stored and as computed with: RGB uint8 arrays, JPEG and PNG bytes."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

JPEG_QUALITY = 95
PNG_LEVEL = 1  # higher levels take several times as long for a few per cent

Storage = Literal["jpeg", "png"]


def encode(image: np.ndarray, storage: Storage) -> bytes:
    """Image RGB (H, W, 3) or grey (H, W), uint8, as a file: JPEG of quality 95, or PNG without loss."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(f"expected a uint8 image, got {image.dtype} {image.shape}")
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    if storage == "jpeg":
        ok, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    elif storage == "png":
        ok, data = cv2.imencode(".png", bgr, (cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL))
    else:
        raise ValueError(f"unknown storage {storage!r}")
    if not ok:
        raise ValueError(f"an image of shape {image.shape} cannot be stored as {storage}")
    return data.tobytes()


def decode(data: bytes) -> np.ndarray:
    """An image file's bytes to RGB (H, W, 3) uint8, whatever its kind: see ``to_rgb8``.

    EXIF orientation is applied. Raises ``ValueError`` if the bytes are no image.
    """
    # Of OpenCV's ways to read, only this one turns an image as its EXIF tag asks; a JPEG loses nothing by it.
    flags = cv2.IMREAD_COLOR if data[:2] == b"\xff\xd8" else cv2.IMREAD_UNCHANGED
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("not an image that can be decoded")
    if image.ndim == 3 and image.shape[2] >= 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return to_rgb8(image)


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """Any usual image to RGB (H, W, 3) uint8.

    Grey is repeated, alpha is laid over black (what is transparent was not seen), 16-bit is scaled by its full range
    and so are floating-point images, whose range is 0 to 1.
    """
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    elif np.issubdtype(image.dtype, np.floating):
        image = np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    elif image.dtype == bool:
        image = image.astype(np.uint8) * 255
    elif image.dtype != np.uint8:
        raise ValueError(f"images of {image.dtype} are not understood")
    if image.ndim == 2:
        image = image[..., None]
    channels = image.shape[2]
    if channels in (2, 4):
        colour, alpha = image[..., :-1].astype(np.uint16), image[..., -1:].astype(np.uint16)
        image = ((colour * alpha + 127) // 255).astype(np.uint8)
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if image.shape[2] != 3:
        raise ValueError(f"an image of {channels} channels is not understood")
    return np.ascontiguousarray(image)
