"""Person masks: from the network's square to a box of the image, to PNG and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.keypoints.regions import Region, transform

_SMEAR_CELL = 8  # pixels of a crop
_COVER_LEVEL = 0.3
_COVER_GROWTH = 0.03  # of the side of the square


@dataclass(frozen=True)
class Cover:
    """A person already found, to be painted over so that the networks see who is left.

    Attributes:
        values: (S, S) uint8, 255 where the person is, a little grown.
        region: the square that ``values`` fills.
    """

    values: np.ndarray
    region: Region

    @classmethod
    def of(cls, mask: np.ndarray, region: Region) -> Cover:
        """From a mask (S, S) of probability in ``region``."""
        width = 2 * round(_COVER_GROWTH * mask.shape[0] / 2) + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
        return cls(cv2.dilate((mask > _COVER_LEVEL).astype(np.uint8) * 255, kernel), region)

    @classmethod
    def of_pixels(cls, hidden: np.ndarray, region: Region, size: int) -> Cover:
        """From pixels (H, W) bool of the image, as a crop of ``region`` of that size sees them, not grown."""
        crop = region.crop(hidden.astype(np.uint8) * 255, size, border=cv2.BORDER_CONSTANT)
        return cls((crop > 127).astype(np.uint8) * 255, region)

    def without(self, mask: np.ndarray, region: Region) -> Cover:
        """Less what belongs to somebody in front, whose mask (S, S) in ``region`` is given."""
        front = move_mask(mask, region, self.region, self.values.shape[0]) > _COVER_LEVEL
        return Cover(np.where(front, 0, self.values).astype(np.uint8), self.region)


def paint_over(crop: np.ndarray, window: Region, covers: Sequence[Cover]) -> np.ndarray:
    """The crop (S, S, 3) uint8 of ``window`` with the covers filled by what surrounds them, smeared.

    Not by one colour: a grey silhouette is a person to the networks.
    """
    hidden = hidden_pixels(window, crop.shape[0], covers)
    if not hidden.any():
        return crop
    seen = (~hidden).astype(np.float32)
    coarse = (crop.shape[0] // _SMEAR_CELL,) * 2
    weight = cv2.resize(seen, coarse, interpolation=cv2.INTER_AREA)
    colour = cv2.resize(crop * seen[..., None], coarse, interpolation=cv2.INTER_AREA)
    fill = np.zeros_like(colour)
    known = np.zeros_like(weight)
    for sigma in (1.0, 3.0, 9.0):  # the nearest surroundings first, farther ones where those are hidden too
        w = cv2.GaussianBlur(weight, (0, 0), sigma)
        c = cv2.GaussianBlur(colour, (0, 0), sigma)
        share = (1.0 - known) * np.clip(w * 4.0, 0.0, 1.0)
        fill += c * (share / np.maximum(w, 1e-6))[..., None]
        known += share
    fill += (1.0 - known)[..., None] * 127.0
    smooth = cv2.resize(fill, crop.shape[:2], interpolation=cv2.INTER_LINEAR)
    crop[hidden] = np.clip(smooth[hidden], 0, 255).astype(np.uint8)
    return crop


def hidden_pixels(window: Region, size: int, covers: Sequence[Cover]) -> np.ndarray:
    """(size, size) bool: where a crop of ``window`` lies under a cover."""
    hidden = np.zeros((size, size), bool)
    for cover in covers:
        hidden |= move_mask(cover.values, cover.region, window, size) > 127
    return hidden


def covered(points: np.ndarray, covers: Sequence[Cover]) -> np.ndarray:
    """(N,) bool: which points (N, 2) of the image lie under a cover."""
    hidden = np.zeros(len(points), bool)
    for cover in covers:
        size = cover.values.shape[0]
        at = np.round(transform(cv2.invertAffineTransform(cover.region.to_image(size)), points)).astype(int)
        inside = ((at >= 0) & (at < size)).all(1)
        at = np.clip(at, 0, size - 1)
        hidden |= inside & (cover.values[at[:, 1], at[:, 0]] > 127)
    return hidden


def mask_in_box(mask: np.ndarray, region: Region, size: tuple[int, int]) -> tuple[bytes, np.ndarray]:
    """A mask (S, S) float32 0..1 in ``region`` as the PNG of the upright box around it.

    The PNG keeps the resolution that the network gave; ``read_mask`` resizes it to the box.

    Args:
        size: (width, height) of the image.

    Returns:
        PNG bytes of uint8 probability; box (4,) int32 x0 y0 x1 y1 in the image, end exclusive. A mask with nobody in it
        or outside the image is one black pixel.
    """
    cells = mask.shape[0]
    matrix = region.to_image(cells)
    rows, columns = np.nonzero(mask > 1 / 255)
    if len(rows) == 0:
        return _png(np.zeros((1, 1), np.uint8)), np.array([0, 0, 1, 1], np.int32)
    corner = np.array([columns.min(), rows.min(), columns.max(), rows.max()]) + np.array([-1, -1, 1, 1])
    corners = transform(matrix, corner[[[0, 1], [2, 1], [2, 3], [0, 3]]].astype(float))
    low = np.clip(np.floor(corners.min(0)), 0, np.array(size) - 1).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, low + 1, size).astype(int)
    width, height = high - low
    scale = min(1.0, cells / region.side)
    out = max(1, round(width * scale)), max(1, round(height * scale))
    # Pixel centres at integers: PNG pixel p lies at low + (p + 0.5) * box / png - 0.5 in the image.
    step = np.array([width / out[0], height / out[1]])
    to_image = np.column_stack([np.diag(step), low + 0.5 * step - 0.5])
    to_mask = _compose(cv2.invertAffineTransform(matrix), to_image)
    values = cv2.warpAffine(mask, to_mask, out, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return _png(np.round(values * 255).astype(np.uint8)), np.array([*low, *high], np.int32)


def read_mask(png: bytes, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 person probability in the whole image of ``size`` (width, height)."""
    values = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if values is None:
        raise ValueError("a person mask is not a PNG file")
    full = np.zeros((size[1], size[0]), np.uint8)
    x0, y0, x1, y1 = (int(v) for v in box)
    full[y0:y1, x0:x1] = cv2.resize(values, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)[
        : size[1] - y0, : size[0] - x0
    ]
    return full


def move_mask(mask: np.ndarray, source: Region, target: Region, size: int, flags: int = cv2.INTER_LINEAR) -> np.ndarray:
    """A mask (S, S) in ``source`` as seen in a crop (size, size) of ``target``; zero beyond its square."""
    matrix = _compose(cv2.invertAffineTransform(source.to_image(mask.shape[0])), target.to_image(size))
    return cv2.warpAffine(mask, matrix, (size, size), flags=flags | cv2.WARP_INVERSE_MAP)


def _compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The (2, 3) affine matrix that applies ``inner`` first."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def _png(values: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".png", values, (cv2.IMWRITE_PNG_COMPRESSION, 3))
    if not ok:
        raise ValueError(f"a person mask of shape {values.shape} cannot be encoded")
    return data.tobytes()
