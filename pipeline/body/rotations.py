"""Rotations in numpy, batched, for the body solver: exponential and logarithm and their derivatives. Radians."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def skew(v: np.ndarray) -> np.ndarray:
    """(..., 3) to cross-product matrices (..., 3, 3)."""
    out = np.zeros((*v.shape, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def exponential(r: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) to matrices (..., 3, 3)."""
    return Rotation.from_rotvec(r.reshape(-1, 3)).as_matrix().reshape(*r.shape, 3)


def logarithm(R: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) to rotation vectors (..., 3), angles in [0, pi]."""
    flat = R.reshape(-1, 3, 3)
    # Small turns, the rule between frames, from the antisymmetric part: ten times faster than the general way.
    v = 0.5 * np.stack([flat[:, 2, 1] - flat[:, 1, 2], flat[:, 0, 2] - flat[:, 2, 0], flat[:, 1, 0] - flat[:, 0, 1]], 1)
    sine = np.linalg.norm(v, axis=1)
    cosine = 0.5 * (np.trace(flat, axis1=1, axis2=2) - 1)
    angle = np.arctan2(sine, cosine)
    out = v * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 1.0)[:, None]
    near_half_turn = cosine < -0.99
    if near_half_turn.any():
        out[near_half_turn] = Rotation.from_matrix(flat[near_half_turn]).as_rotvec()
    return out.reshape(R.shape[:-1])


def logarithm_jacobian(r: np.ndarray) -> np.ndarray:
    """d log(exp(r) exp(w)) / dw at w = 0, (..., 3, 3) (inverse right Jacobian of SO(3), Sola et al. 2018, eq. 144)."""
    squared = (r * r).sum(-1)
    angle = np.sqrt(squared)
    with np.errstate(divide="ignore", invalid="ignore"):
        b = 1 / squared - (1 + np.cos(angle)) / (2 * angle * np.sin(angle))
        b = np.where(angle > 3.1, 1 / squared, b)  # at half a turn the formula is 0/0; its limit is this
    b = np.where(angle < 1e-3, 1 / 12 + squared / 720, b)
    k = skew(r)
    return np.eye(3) + 0.5 * k + b[..., None, None] * (k @ k)


def swing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The shortest rotations (..., 3, 3) that turn directions a into directions b (..., 3)."""
    a, b = np.broadcast_arrays(a, b)
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    w = 1 + (a * b).sum(-1, keepdims=True)
    least = np.eye(3)[np.abs(a).argmin(-1)]
    q = np.where(w < 1e-7, np.concatenate([np.cross(a, least), 0 * w], -1), np.concatenate([np.cross(a, b), w], -1))
    return Rotation.from_quat(q.reshape(-1, 4)).as_matrix().reshape(*a.shape, 3)


def nearest(R: np.ndarray) -> np.ndarray:
    """The rotations nearest to matrices (..., 3, 3), by singular values."""
    u, _, vt = np.linalg.svd(R)
    sign = np.linalg.det(u @ vt)
    u = u.copy()
    u[..., 2] *= sign[..., None]
    return u @ vt
