"""Oriented squares of an image: what the landmark network looks at, and the way there and back.

A region is told by two alignment points: the middle of the hips and a point straight above it at the distance of the
person's reach. The square is centred on the first, its "up" points at the second, and its half side is
``MARGIN`` times their distance (figures of the BlazePose graph).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MARGIN = 1.25


@dataclass(frozen=True)
class Region:
    """A square of the image, turned by ``angle``.

    Attributes:
        centre: (2,) float64 pixels.
        side: length of a side, pixels.
        angle: radians; 0 is upright, positive turns clockwise as seen in the image.
    """

    centre: np.ndarray
    side: float
    angle: float = 0.0

    @classmethod
    def from_alignment(cls, start: np.ndarray, end: np.ndarray) -> Region:
        """From the middle of the hips ``start`` and the reach point ``end``, both (2,) pixels."""
        dx, dy = np.asarray(end, np.float64) - start
        return cls(np.asarray(start, np.float64), 2.0 * MARGIN * float(np.hypot(dx, dy)), float(np.arctan2(dx, -dy)))

    @property
    def is_usable(self) -> bool:
        return bool(np.isfinite([*self.centre, self.side, self.angle]).all() and 8.0 < self.side < 1e5)

    def to_image(self, size: int) -> np.ndarray:
        """(2, 3) affine matrix from pixels of a ``size`` x ``size`` crop to pixels of the image."""
        scale = self.side / size
        c, s = np.cos(self.angle) * scale, np.sin(self.angle) * scale
        linear = np.array([[c, -s], [s, c]])
        return np.column_stack([linear, self.centre - linear @ (size / 2.0, size / 2.0)])

    def crop(self, image: np.ndarray, size: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
        """The region of ``image`` as (size, size, ...), bilinear; beyond the image as ``border`` says."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, self.to_image(size), (size, size), flags=flags, borderMode=border)

    @classmethod
    def around(cls, box: np.ndarray, angle: float = 0.0) -> Region:
        """The square around a person's box (4,) x0 y0 x1 y1, as wide as alignment points would have made it."""
        x0, y0, x1, y1 = np.asarray(box, np.float64)
        return cls(np.array([x0 + x1, y0 + y1]) / 2, MARGIN * max(x1 - x0, y1 - y0), angle)

    def corners(self) -> np.ndarray:
        """(4, 2) pixels."""
        return transform(self.to_image(1), np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a (2, 3) affine matrix to points (..., 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]
