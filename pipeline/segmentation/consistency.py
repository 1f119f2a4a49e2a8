"""Masks of one person held against one another: over the views of an instant, and over time in one view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.cameras import Camera

VOXEL_M = 0.04
HULL_MARGIN_M = 0.30
"""Round the body: nothing beyond is the person's."""
FAR_OFF_M = 0.10
"""A view that sees a place so far from the person rules it out alone; nearer, two must agree, for masks err by little
and one by one."""
VOTES = 2
FLASH = 0.02
"""Share of a person's pixels up to which a piece that neither neighbour in time knows is dropped."""


@dataclass(frozen=True)
class Silhouette:
    """A person in one view, in a window (h, w) of its image that holds all of the person.

    Attributes:
        camera: of the image.
        corner: x, y of the window's first pixel in the image.
        mask: (h, w) bool, the person's pixels.
        unknown: (h, w) bool, where the person may be behind somebody or something.
        body: (h, w) bool, the projected body.
    """

    camera: Camera
    corner: tuple[int, int]
    mask: np.ndarray
    unknown: np.ndarray
    body: np.ndarray


def supported(views: Sequence[Silhouette], vertices: np.ndarray) -> list[np.ndarray]:
    """For each view, (h, w) bool: where the person can be, as far as the other views tell.

    A place in space is ruled out if two views look at it and see it neither in the person's mask nor hidden, or one
    that sees it far off; a pixel is kept if a place that is left, near the body (V, 3), projects to it. The body's own
    silhouette is always kept: there the view itself has decided.
    """
    points = _places(vertices)
    votes = np.zeros(len(points), int)
    pixels = []
    for view in views:
        rounded, radius, far = _project(view.camera, points)
        rounded -= view.corner
        height, width = view.mask.shape
        inside = ((rounded >= 0) & (rounded < (width, height))).all(1)
        at = np.clip(rounded, 0, (width - 1, height - 1))
        away = cv2.distanceTransform((~(view.mask | view.unknown)).astype(np.uint8), cv2.DIST_L2, 5)[at[:, 1], at[:, 0]]
        votes += inside & (away > radius)
        votes += inside & (away > radius + far)
        pixels.append((at, inside, radius))
    left = votes < VOTES
    out = []
    for view, (at, inside, radius) in zip(views, pixels, strict=True):
        hit = np.zeros(view.mask.shape, bool)
        chosen = at[left & inside]
        hit[chosen[:, 1], chosen[:, 0]] = True
        out.append(dilated(hit, radius + 1) | view.body)
    return out


def _places(vertices: np.ndarray) -> np.ndarray:
    """(N, 3) centres of the voxels within the margin of a body (V, 3)."""
    low = vertices.min(0) - HULL_MARGIN_M
    shape = np.ceil((vertices.max(0) + HULL_MARGIN_M - low) / VOXEL_M).astype(int)
    near = np.zeros(shape, np.uint8)
    at = ((vertices - low) / VOXEL_M).astype(int)
    near[tuple(at.T)] = 1
    from scipy.ndimage import distance_transform_edt

    close = distance_transform_edt(1 - near) * VOXEL_M <= HULL_MARGIN_M
    return low + (np.argwhere(close) + 0.5) * VOXEL_M


def _project(camera: Camera, points: np.ndarray) -> tuple[np.ndarray, int, float]:
    """(N, 2) int pixels, outside for points behind the camera; how many pixels a voxel's half diagonal covers, and
    ``FAR_OFF_M``."""
    pixels = camera.project(points)
    z = camera.to_camera(points)[:, 2]
    rounded = np.round(np.nan_to_num(np.clip(pixels, -1e6, 1e6), nan=-1e6)).astype(int)
    near = float(np.median(z[z > 0.1])) if (z > 0.1).any() else 1.0
    return rounded, int(np.ceil(0.87 * VOXEL_M * camera.K[1, 1] / near)), FAR_OFF_M * camera.K[1, 1] / near


def dilated(mask: np.ndarray, radius: int) -> np.ndarray:
    """A mask (h, w) bool grown by a square of ``2 radius + 1`` pixels; takes as long for large ones as for small."""
    side = 2 * radius + 1
    values, border = mask.astype(np.uint8), cv2.BORDER_CONSTANT
    return cv2.boxFilter(values, cv2.CV_32S, (side, side), normalize=False, borderType=border) > 0


def without_flashes(mask: np.ndarray, near: Sequence[np.ndarray], body: np.ndarray) -> np.ndarray:
    """A mask (h, w) bool without small pieces that are in none of the masks just before and after, nor on the body."""
    total = int(mask.sum())
    if not near or not total:
        return mask
    reach = max(2, round(0.1 * np.sqrt(total)))  # how far people move between frames
    known = dilated(np.logical_or.reduce(near), reach)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    seen = np.bincount(pieces.ravel(), (known | body).ravel().astype(float), count)
    out = mask.copy()
    for k in range(1, count):
        if seen[k] == 0 and stats[k, cv2.CC_STAT_AREA] <= FLASH * total:
            out[pieces == k] = False
    return out
