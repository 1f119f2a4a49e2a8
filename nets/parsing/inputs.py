"""What the small network sees of one person in one view, from the evidence at hand; the same in training and use."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CHANNELS = (
    "red", "green", "blue",  # of the image, about -1..1
    "red_change", "green_change", "blue_change",  # against the empty scene; 0 where that is not known
    "scene_known",
    "detector", "others_detector",  # probabilities as 2 p - 1; 0 everywhere if there is no mask
    "body", "others_bodies",  # 1 where the projected body is, the nearest of the others'
    "order",  # -1: the others' body is in front, 1: behind or not there, 0: neither body, or both as far
    "reach", "others_reach",  # distance to the rim of the projected bodies, positive inside
    "colour_others", "colour_scene",  # log odds of the colour: the person's against the others', the scene's
)  # fmt: skip
"""Names of the channels, in order."""

REACH_M = 0.25
"""Distance to a body's rim that counts as 1; farther is as far."""
DEPTH_M = 0.15
"""Difference in depth that counts as certain."""
CODE = 127.0
"""One in the bytes of ``encoded``."""


def encoded(
    image: np.ndarray,
    background: np.ndarray,
    known: np.ndarray,
    detector: np.ndarray | None,
    others_detector: np.ndarray | None,
    depth: np.ndarray,
    others_depth: np.ndarray,
    reach: np.ndarray,
    others_reach: np.ndarray,
) -> np.ndarray:
    """The channels as bytes: image and scene stay uint8 and the rest is as good as int8. Those of colours, which take
    all views of a moment to tell, are left unknown.

    Args:
        image, background: (h, w, 3) uint8 RGB.
        known: (h, w) bool, where the background is known.
        detector, others_detector: (h, w) 0..1, or None.
        depth, others_depth: (h, w) metres, inf where the bodies are not.
        reach, others_reach: (h, w) metres from the rims of the bodies, positive inside.

    Returns:
        (16, h, w) uint8: image, background, known, and nine signed values stored with 128 for nought.
    """
    own, other = np.isfinite(depth), np.isfinite(others_depth)
    with np.errstate(invalid="ignore"):
        order = np.clip((others_depth - depth) / DEPTH_M, -1, 1)  # inf - finite: 1; finite - inf: -1
    order = np.where(own | other, order, 0)
    signed = [
        _probability(detector, own.shape), _probability(others_detector, own.shape), own, other, order,
        np.clip(reach / REACH_M, -1, 1), np.clip(others_reach / REACH_M, -1, 1),
        *np.zeros((2, *own.shape), np.float32),
    ]  # fmt: skip
    codes = [np.rint(128 + CODE * np.asarray(s, np.float32)).astype(np.uint8) for s in signed]
    return np.concatenate([np.moveaxis(image, -1, 0), np.moveaxis(background, -1, 0), [known.astype(np.uint8)], codes])


def _probability(values: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    return np.zeros(shape, np.float32) if values is None else 2 * np.asarray(values, np.float32) - 1


def decoded(codes: Tensor) -> Tensor:
    """(B, 16, h, w) float32 in the order of ``CHANNELS`` from bytes (B, 16, h, w) of ``encoded``."""
    values = codes.float()
    image, scene, known = values[:, :3], values[:, 3:6], values[:, 6:7]
    change = (image - scene) / 64 * known
    return torch.cat([image / 64 - 2, change.clamp(-2, 2), known, (values[:, 7:] - 128) / CODE], 1)
