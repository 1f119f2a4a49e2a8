"""Rotations in torch: axis-angle, matrices, quaternions and the six-number form. Radians, right-handed, batched.

Every function takes any leading axes and is differentiable, at the identity too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as nn_functional


def skew(v: Tensor) -> Tensor:
    """(..., 3) to the cross-product matrices (..., 3, 3): skew(a) @ b = a x b."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape, 3)


def matrix_from_axis_angle(r: Tensor) -> Tensor:
    """Axis-angle (..., 3) to rotation matrices (..., 3, 3) by Rodrigues' formula.

    Below 1e-2 rad in float64 (1e-1 in float32) the two coefficients come from their series, so that value and
    gradient stay exact through zero.
    """
    squared = (r * r).sum(-1)
    small = squared < (1e-4 if r.dtype == torch.float64 else 1e-2)
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    a = torch.where(small, 1 - squared / 6 * (1 - squared / 20), angle.sin() / angle)
    b = torch.where(small, 0.5 - squared / 24 * (1 - squared / 30), (1 - angle.cos()) / safe)
    k = skew(r)
    eye = torch.eye(3, dtype=r.dtype, device=r.device)
    return eye + a[..., None, None] * k + b[..., None, None] * (k @ k)


def quaternion_from_matrix(R: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) to unit quaternions (..., 4) w x y z with w >= 0.

    Of the four equal expressions the one with the largest divisor is taken (Shepperd 1978), so none is singular.
    """
    m = R.flatten(-2)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = m.unbind(-1)
    # Row i is 4 q_i q: the outer product of the quaternion with itself.
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], -1),
            torch.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], -1),
            torch.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m21 + m12], -1),
            torch.stack([m10 - m01, m02 + m20, m21 + m12, 1 - m00 - m11 + m22], -1),
        ],
        -2,
    )
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = nn_functional.normalize(q, dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def matrix_from_quaternion(q: Tensor) -> Tensor:
    """Quaternions (..., 4) w x y z, of any length but zero, to rotation matrices (..., 3, 3)."""
    w, x, y, z = nn_functional.normalize(q, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(*q.shape[:-1], 3, 3)


def axis_angle_from_quaternion(q: Tensor) -> Tensor:
    """Unit quaternions (..., 4) w x y z to axis-angle (..., 3) with angles in [0, pi]."""
    q = torch.where(q[..., :1] < 0, -q, q)
    w, v = q[..., 0], q[..., 1:]
    squared = (v * v).sum(-1)
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = torch.where(small, 2 / w.clamp_min(0.5), 2 * torch.atan2(safe, w) / safe)
    return factor[..., None] * v


def axis_angle_from_matrix(R: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) to axis-angle (..., 3) with angles in [0, pi]; good near pi too."""
    return axis_angle_from_quaternion(quaternion_from_matrix(R))


def matrix_from_six(d: Tensor) -> Tensor:
    """Two column vectors (..., 6) to rotation matrices (..., 3, 3) by Gram-Schmidt (Zhou et al. 2019, eq. 15)."""
    a, b = d[..., :3], d[..., 3:]
    x = nn_functional.normalize(a, dim=-1)
    y = nn_functional.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def six_from_matrix(R: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) to their first two columns, one after the other (..., 6)."""
    return torch.cat([R[..., :, 0], R[..., :, 1]], -1)


def swing_between(a: Tensor, b: Tensor) -> Tensor:
    """The shortest rotations (..., 3, 3) that turn directions a (..., 3) into directions b (..., 3).

    For opposite directions it is half a turn about some axis across them.
    """
    a, b = nn_functional.normalize(a, dim=-1), nn_functional.normalize(b, dim=-1)
    # Half-way quaternion: (1 + a.b, a x b), which vanishes only for opposite directions.
    w = 1 + (a * b).sum(-1, keepdim=True)
    q = torch.cat([w, torch.linalg.cross(a, b)], -1)
    least = nn_functional.one_hot(a.abs().argmin(-1), 3).to(a.dtype)
    across = torch.cat([torch.zeros_like(w), torch.linalg.cross(a, least)], -1)
    return matrix_from_quaternion(torch.where(w < 1e-7, across, q))
