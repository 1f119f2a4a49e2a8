"""How a large image is looked at by a network of fixed size: whole, then in halves, down to where small people are
large enough.

A tile is a window of the image that fills the network's canvas, so all tiles of a level have the canvas' shape, and
neighbours overlap: nobody up to the overlap's size is cut by all tiles that see part of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

LEAST_CONTRAST, _CELL = 5.0, 16
"""Deviation of the values of a cell of so many pixels from which it shows more than sky, wall or noise."""
MOST_TILES = 1 << 16
"""So that an absurd size of the smallest person ends; images as large as may be read need fewer for 10 pixels."""


@dataclass(frozen=True)
class TileOptions:
    """Which tiles are looked at.

    Attributes:
        smallest_person: image pixels; people this tall are looked for enlarged to ``seen_at`` canvas pixels.
        seen_at: canvas pixels; the height below which the network finds few people.
        overlap: of neighbouring tiles, as a share of their side.
        most_enlarged: an image is never enlarged more than this: there is nothing more to see in it.
    """

    smallest_person: float = 24.0
    seen_at: float = 30.0
    overlap: float = 0.3
    most_enlarged: float = 4.0


@dataclass(frozen=True)
class Tile:
    """A window of an image and its scale on the canvas.

    Attributes:
        x, y: image coordinates of the canvas' first pixel; pixel centres at integers in both.
        scale: canvas pixels per image pixel.
        canvas: (width, height).
    """

    x: float
    y: float
    scale: float
    canvas: tuple[int, int]

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Canvas pixels (..., 2) to image pixels."""
        return (np.asarray(points) + 0.5) / self.scale - 0.5 + (self.x, self.y)

    def to_canvas(self, points: np.ndarray) -> np.ndarray:
        return (np.asarray(points) - (self.x, self.y) + 0.5) * self.scale - 0.5

    def cut(self, image: np.ndarray) -> np.ndarray:
        """What the canvas shows of an image (H, W, 3): (canvas height, width, 3) uint8, 0 where there is no image."""
        W, H = self.canvas
        h, w = image.shape[:2]
        x0, y0 = max(0, math.floor(self.x)), max(0, math.floor(self.y))
        x1, y1 = min(w, math.ceil(self.x + W / self.scale)), min(h, math.ceil(self.y + H / self.scale))
        out = np.zeros((H, W, 3), np.uint8)
        if x1 <= x0 or y1 <= y0:
            return out
        piece = image[y0:y1, x0:x1]
        size = (max(1, min(W, round((x1 - x0) * self.scale))), max(1, min(H, round((y1 - y0) * self.scale))))
        enlarging = self.scale > 1
        piece = cv2.resize(piece, size, interpolation=cv2.INTER_CUBIC if enlarging else cv2.INTER_AREA)
        left, top = round((x0 - self.x) * self.scale), round((y0 - self.y) * self.scale)
        piece = piece[: H - top, : W - left]
        out[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
        return out

    def cuts(self, boxes: np.ndarray, size: tuple[int, int], margin: float = 3.0) -> np.ndarray:
        """(N,) bool: which boxes (N, 4) of canvas pixels end at a side of the tile that is inside the image (width,
        height): there may be more of the person beyond."""
        W, H = self.canvas
        low, high = self.to_canvas(np.zeros(2)), self.to_canvas(np.array(size) - 1.0)
        return (
            ((boxes[:, 0] < margin) & (low[0] < -margin))
            | ((boxes[:, 1] < margin) & (low[1] < -margin))
            | ((boxes[:, 2] > W - 1 - margin) & (high[0] > W - 1 + margin))
            | ((boxes[:, 3] > H - 1 - margin) & (high[1] > H - 1 + margin))
        )


def is_plain(shown: np.ndarray) -> bool:
    """Is there nothing in what a tile shows, (H, W, 3) uint8, that might be a person: sky, wall, floor?"""
    values = shown.astype(np.float32)
    cells = (max(1, shown.shape[1] // _CELL), max(1, shown.shape[0] // _CELL))
    mean, square = (cv2.resize(v, cells, interpolation=cv2.INTER_AREA) for v in (values, values * values))
    return bool((square - mean * mean).max() < LEAST_CONTRAST**2)


def tiles(size: tuple[int, int], canvas: tuple[int, int], options: TileOptions) -> Iterator[Tile]:
    """Tiles of an image (width, height), the whole first, then finer and finer, at most ``MOST_TILES``."""
    count = 0
    for scale in scales(size, canvas, options):
        for tile in _level(size, canvas, scale, options.overlap):
            if count == MOST_TILES:
                return
            count += 1
            yield tile


def scales(size: tuple[int, int], canvas: tuple[int, int], options: TileOptions) -> list[float]:
    """Canvas pixels per image pixel of each level: from the whole image on the canvas, doubling."""
    whole = min(c / s for c, s in zip(canvas, size, strict=True))
    finest = min(options.seen_at / options.smallest_person, options.most_enlarged)
    found = [min(whole, options.most_enlarged)]
    while found[-1] * math.sqrt(2) < finest:
        found.append(min(found[-1] * 2, finest))
    return found


def _level(size: tuple[int, int], canvas: tuple[int, int], scale: float, overlap: float) -> Iterator[Tile]:
    starts = []
    for c, s in zip(canvas, size, strict=True):
        side = c / scale
        if s <= side * (1 + 1e-9):
            starts.append([(s - side) / 2])
            continue
        count = math.ceil((s - side) / (side * (1 - overlap)) - 1e-9) + 1
        starts.append([k * (s - side) / (count - 1) for k in range(count)])
    # Whole pixels of the image, so that what is cut out lies exactly where the tile says.
    yield from (Tile(float(round(x)), float(round(y)), scale, canvas) for y in starts[1] for x in starts[0])
