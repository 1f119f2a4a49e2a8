"""Small rotation helpers over batches of (..., 3, 3) float64 matrices."""

from __future__ import annotations

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def frame(primary: np.ndarray, secondary: np.ndarray) -> np.ndarray:
    """Orthonormal columns: the first along ``primary``, the second as near to ``secondary`` as it can be."""
    first = unit(primary)
    second = unit(secondary - (secondary * first).sum(-1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], -1)


def between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least rotation that turns ``source`` into the direction of ``target``."""
    a, b = np.broadcast_arrays(unit(source), unit(target))
    return from_axis_angle(
        np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1))[..., None] * unit(np.cross(a, b))
    )


def from_axis_angle(vectors: np.ndarray) -> np.ndarray:
    """Rodrigues' formula."""
    vectors = np.asarray(vectors, dtype=np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    axis = unit(vectors)
    cross = np.zeros((*vectors.shape[:-1], 3, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -axis[..., 2], axis[..., 1], -axis[..., 0]
    cross -= np.swapaxes(cross, -1, -2)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def to_axis_angle(matrices: np.ndarray) -> np.ndarray:
    """Inverse of ``from_axis_angle`` for angles below half a turn."""
    skew = matrices - np.swapaxes(matrices, -1, -2)
    axis = np.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    sine = 0.5 * np.linalg.norm(axis, axis=-1, keepdims=True)
    cosine = 0.5 * (np.trace(matrices, axis1=-2, axis2=-1)[..., None] - 1.0)
    return unit(axis) * np.arctan2(sine, cosine)


def share(matrices: np.ndarray, fraction: float) -> np.ndarray:
    """The rotation by a fraction of the angle about the same axis."""
    return from_axis_angle(fraction * to_axis_angle(matrices))
