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
        company: share of people who have somebody near them, hidden and hiding as the cameras see it.
        hidden: share of people that somebody or something hides part of, in some of their views, view by view.
        mask_edge: pixels of a crop by which edges of masks are off, at most; smaller errors are more frequent.
        camera_shift, camera_turn: spread of the cameras' errors, metres and radians.
        colour: spread of gain and offset of each colour channel.
    """

    company: float = 0.5
    hidden: float = 0.3
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


def splatted(points: np.ndarray, projection: np.ndarray, size: int) -> np.ndarray:
    """(V, S, S) depth in metres of a cloud of surface points (N, 3), drawn two pixels thick; 1000 where none is."""
    out = np.full((len(projection), size, size), 1000.0, np.float32)
    for P, depth in zip(projection, out, strict=True):
        x = points @ P[:, :3].T + P[:, 3]
        column, row = np.rint(x[:, :2] / np.maximum(x[:, 2:], 1e-6)).astype(int).T
        inside = (x[:, 2] > 0.05) & (column >= 0) & (column < size) & (row >= 0) & (row < size)
        np.minimum.at(depth, (row[inside], column[inside]), x[inside, 2].astype(np.float32))
        depth[:] = cv2.erode(depth, np.ones((5, 5), np.uint8))
    return out


def in_company(
    masks: np.ndarray, own: np.ndarray, other: np.ndarray, projection: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put somebody else beside a person: what is left of the masks (V, S, S), and the pixels taken (V, S, S) bool.

    What hides somebody stands somewhere: a place that the other fills is hidden in most views at once, which shapes
    pasted view by view never are.

    Args:
        own, other: (N, 3) points on the surface of either, metres, z up; the other's are turned and moved.
    """
    angle, way, apart = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0.22, 0.9)
    c, s = np.cos(angle), np.sin(angle)
    local = other - [*other[:, :2].mean(0), 0]
    turned = local @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    beside = own[:, :2].mean(0) + apart * np.array([np.cos(way), np.sin(way)])
    placed = turned + np.array([*beside, 0])
    size = masks.shape[-1]
    mine, theirs = splatted(own, projection, size), splatted(placed, projection, size)
    taken = (theirs < 999) & ~((masks > 0.5) & (mine < theirs + 0.01))
    return np.where(taken, 0, masks).astype(masks.dtype), taken


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
