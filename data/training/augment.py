"""What goes wrong between a scene and a network's input: mask edges, people in front, cameras, colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from nets.deepmulticap.sampling import paste_person, paste_shapes


@dataclass(frozen=True)
class Flaws:
    """How bad training inputs are.

    Attributes:
        hidden: share of people that somebody or something hides part of, in some of their views.
        mask_edge: pixels of a crop by which edges of masks are off, at most; smaller errors are more frequent.
        camera_shift, camera_turn: spread of the cameras' errors, metres and radians.
        colour: spread of gain and offset of each colour channel.
    """

    hidden: float = 0.5
    mask_edge: float = 1.5
    camera_shift: float = 0.004
    camera_turn: float = 0.0008
    colour: float = 0.12


def hide(
    mask: np.ndarray, others: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put people or shapes in front of a mask (S, S): what is left of it, and the pixels taken (S, S) bool.

    Args:
        others: masks (S, S) of other people, one of which is taken.
    """
    taken = np.zeros(mask.shape, bool)
    if rng.random() < 0.7:
        other = others[rng.integers(len(others))]
        grown = float(rng.uniform(0.8, 1.5))
        size = round(mask.shape[0] * grown)
        other = cv2.resize(other, (size, size), interpolation=cv2.INTER_NEAREST)
        low = (size - mask.shape[0]) // 2
        if low >= 0:
            other = other[low : low + mask.shape[0], low : low + mask.shape[0]]
        else:
            other = np.pad(other, ((-low, mask.shape[0] - size + low),) * 2)
        mask, taken = paste_person(mask, other, rng, reach=0.35)
    if rng.random() < 0.5:
        mask, shapes = paste_shapes(mask, int(rng.integers(1, 9)), rng)
        taken |= shapes
    return mask, taken


def edge_error(mask: np.ndarray, rng: np.random.Generator, most: float) -> np.ndarray:
    """A mask (S, S) in 0..1 float32 whose edge is off by up to about ``most`` pixels: all of it, and part by part."""
    S = mask.shape[0]
    whole = float(np.clip(rng.normal(0, most / 3), -most, most))
    local = cv2.resize(rng.normal(0, most / 3, (9, 9)).astype(np.float32), (S, S), interpolation=cv2.INTER_CUBIC)
    signed = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    signed -= cv2.distanceTransform((mask <= 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    # Distances are from pixel centre to pixel centre: the edge lies half a pixel before.
    signed -= np.sign(signed) * 0.5
    moved = np.clip(signed + whole + local + 0.5, 0, 1)
    # Where nothing moves, the mask stays as soft as it was.
    still = np.abs(whole + local) < 0.15
    return np.where(still, mask, moved).astype(np.float32)


def shaken(projection: np.ndarray, centre: np.ndarray, rng: np.random.Generator, flaws: Flaws) -> np.ndarray:
    """Projections (V, 3, 4) as a calibration that is off has them: turned and shifted about ``centre`` (3,)."""
    amount = rng.uniform(0, 2)
    out = projection.copy()
    for P in out:
        wrong = np.eye(4)
        x, y, z = rng.normal(0, flaws.camera_turn * amount, 3)
        turn = np.array([[1, -z, y], [z, 1, -x], [-y, x, 1]])
        wrong[:3, :3] = turn
        wrong[:3, 3] = centre - turn @ centre + rng.normal(0, flaws.camera_shift * amount, 3)
        P[:] = P @ wrong
    return out


def recoloured(rgb: Tensor, rng: np.random.Generator, flaws: Flaws) -> Tensor:
    """Colours (V, 3, S, S) in 0..255, each view under an exposure of its own."""
    V = len(rgb)
    gain = np.exp(rng.normal(0, flaws.colour, (V, 1)) + rng.normal(0, flaws.colour / 3, (V, 3)))
    offset = rng.normal(0, 40 * flaws.colour, (V, 1, 1, 1))
    gain, offset = (torch.from_numpy(x.astype(np.float32)) for x in (gain[..., None, None], offset))
    return (rgb * gain + offset).clamp_(0, 255)
