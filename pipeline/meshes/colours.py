"""The colour of a person: the same in meshes, overlays and the report."""

from __future__ import annotations

import numpy as np

PALETTE = (
    (230, 126, 34),  # neighbours in this list differ in hue and in lightness, for those who see few hues
    (41, 128, 185),
    (46, 160, 67),
    (192, 57, 135),
    (241, 196, 15),
    (22, 180, 190),
    (204, 62, 48),
    (125, 90, 200),
    (140, 190, 60),
    (150, 105, 70),
)


def person_colour(person_id: int) -> tuple[int, int, int]:
    """sRGB 0-255 of a person id; ids past the palette begin again."""
    return PALETTE[int(person_id) % len(PALETTE)]


def linear(colour: tuple[int, int, int] | np.ndarray) -> np.ndarray:
    """sRGB 0-255 (..., 3) to linear 0-1, as glTF materials want it (IEC 61966-2-1)."""
    c = np.asarray(colour, np.float64) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
