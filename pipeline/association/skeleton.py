"""A person's skeleton over a whole track, solved at once: rays, smooth motion, and bones that keep their length.

Unknowns are the 19 joint positions in every frame. The least-squares problem is

    sum over rays     w(r) |(I - d d^T)(X - C)|^2 / observation^2      (w: Geman and McClure's robust weight)
  + sum over joints   |X[t-1] - 2 X[t] + X[t+1]|^2 / (acceleration dt^2)^2
  + sum over bones    (|Xa - Xb| - length)^2 / bone^2
  + sum over bones    |Xa - Xb - usual offset in the trunk's frame|^2 / shape^2

solved by Gauss-Newton steps. With frames outermost its matrix is banded (two frames to either side), so that a track
costs one banded Cholesky factorisation a step.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded

from pipeline.association.options import AssociationOptions
from pipeline.association.triangulation import point_to_rays
from pipeline.skeletons import SKEL19

_J = {name: k for k, name in enumerate(SKEL19.joints)}
PARENTS = np.array([-1, 0, 0, 0, 1, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8, 11, 12, 14, 13])
"""(19,) int: the tree in which unseen joints are filled in; the parent of a joint comes before it."""

TEMPLATE = np.array(
    [
        (0.0, 0.0, 0.53), (0.0, 0.0, 0.82), (0.0, -0.055, 0.52), (0.0, 0.055, 0.52), (0.06, 0.0, 0.91),
        (0.0, -0.10, 0.81), (0.0, 0.10, 0.81), (0.02, -0.055, 0.28), (0.02, 0.055, 0.28), (0.0, -0.045, 0.92),
        (0.0, 0.045, 0.92), (0.0, -0.13, 0.65), (0.0, 0.13, 0.65), (0.0, -0.055, 0.045), (0.0, 0.055, 0.045),
        (0.05, -0.14, 0.51), (0.05, 0.14, 0.51), (0.10, 0.055, 0.01), (0.10, -0.055, 0.01),
    ]
)  # fmt: skip
"""(19, 3): a standing body one metre high; forward x, left y, up z."""

_TRUNK = 0.29  # |neck - mid hip| of the template


def _bones() -> tuple[np.ndarray, np.ndarray]:
    """Bones (B, 2) and how much softer (B,) each is than a thigh."""
    listed = {
        "right_hip-right_knee": 1.0, "left_hip-left_knee": 1.0, "right_knee-right_ankle": 1.0,
        "left_knee-left_ankle": 1.0, "right_shoulder-right_elbow": 1.0, "left_shoulder-left_elbow": 1.0,
        "right_elbow-right_wrist": 1.0, "left_elbow-left_wrist": 1.0, "mid_hip-right_hip": 1.0,
        "mid_hip-left_hip": 1.0, "right_hip-left_hip": 1.0, "neck-mid_hip": 2.0, "neck-right_shoulder": 1.5,
        "neck-left_shoulder": 1.5, "right_shoulder-left_shoulder": 2.0, "neck-nose": 3.0, "nose-right_ear": 1.0,
        "nose-left_ear": 1.0, "right_ear-left_ear": 1.0, "neck-right_ear": 2.0, "neck-left_ear": 2.0,
        "left_ankle-left_big_toe": 1.0, "right_ankle-right_big_toe": 1.0, "right_shoulder-right_hip": 3.0,
        "left_shoulder-left_hip": 3.0,
    }  # fmt: skip
    pairs = [tuple(_J[n] for n in key.split("-")) for key in listed]
    return np.array(pairs), np.array(list(listed.values()))


BONES, BONE_SOFTNESS = _bones()
MIRROR_BONE = np.array(
    [[tuple(sorted(p)) for p in BONES.tolist()].index(tuple(sorted(SKEL19.mirror[b].tolist()))) for b in BONES]
)
_TEMPLATE_LENGTHS = np.linalg.norm(TEMPLATE[BONES[:, 0]] - TEMPLATE[BONES[:, 1]], axis=1)
_AGILITY = np.array([1, 1, 1, 1, 1, 1, 1, 1.5, 1.5, 1, 1, 1.5, 1.5, 2, 2, 2, 2, 2, 2], np.float64)
"""How much more a joint accelerates than the trunk."""


SETTLED = 1e-3
"""Metres: a solve ends when no joint moves farther in a step."""


def trunk_axes(joints: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations whose columns are forward, left and up of the trunk, from joints (..., 19, 3)."""
    up = _unit(joints[..., 1, :] - joints[..., 0, :], (0.0, 0.0, 1.0))
    across = (joints[..., 3, :] - joints[..., 2, :]) + (joints[..., 6, :] - joints[..., 5, :])
    left = _unit(across - (across * up).sum(-1, keepdims=True) * up, (0.0, 1.0, 0.0))
    return np.stack([np.cross(left, up), left, up], -1)


def _unit(v: np.ndarray, default) -> np.ndarray:
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    good = length > 1e-6
    return np.where(good, v / np.where(good, length, 1.0), default)


def usual_offsets(joints: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """(..., 19, 3) where each joint usually is from its parent, metres: the template turned with the trunk."""
    offset = TEMPLATE - TEMPLATE[np.maximum(PARENTS, 0)]
    return np.einsum("...ik,jk->...ji", trunk_axes(joints), offset) * np.asarray(scale)[..., None, None]


_LEVELS = ([1, 2, 3], [4, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14], [15, 16, 17, 18])
REACH = 1.6 * 1.75 * np.linalg.norm(TEMPLATE - TEMPLATE[np.maximum(PARENTS, 0)], axis=1)


def within_reach(joints: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Joints (..., 19, 3) with those that are not ``sure`` (..., 19) brought within a long limb of their parent."""
    joints = joints.copy()
    hips_from_neck = ~sure[..., 0] & sure[..., 1]
    joints[..., 0, :] = np.where(
        hips_from_neck[..., None], _pulled(joints[..., 0, :], joints[..., 1, :], REACH[1]), joints[..., 0, :]
    )
    for level in _LEVELS:
        pulled = _pulled(joints[..., level, :], joints[..., PARENTS[level], :], REACH[level])
        joints[..., level, :] = np.where(sure[..., level, None], joints[..., level, :], pulled)
    return joints


def _pulled(child: np.ndarray, parent: np.ndarray, reach: np.ndarray) -> np.ndarray:
    v = child - parent
    length = np.linalg.norm(v, axis=-1)
    return parent + v * np.minimum(1.0, reach / np.maximum(length, 1e-9))[..., None]


def fill_joints(joints: np.ndarray) -> np.ndarray:
    """Every joint of a track (T, 19, 3) finite: over time where seen before or after, else by the template.

    Between two sightings a joint keeps its place relative to the trunk, which is what moves. Frames must hold at least
    one finite joint somewhere in the track.
    """
    joints = np.array(joints, np.float64)
    T = len(joints)
    t = np.arange(T)
    known = np.isfinite(joints[..., 0])
    if known.all() or not known.any():
        return joints
    centre = _interpolate(t, _centre(joints), np.isfinite(_centre(joints)[:, 0]))
    relative = joints - centre[:, None]
    for j in np.flatnonzero(known.any(0) & ~known.all(0)):
        relative[:, j] = _interpolate(t, relative[:, j], known[:, j])
    joints = relative + centre[:, None]
    never = ~known.any(0)
    if never.any():
        joints = _fill_from_template(joints, never)
    return joints


def _centre(joints: np.ndarray) -> np.ndarray:
    """(T, 3): a point of the trunk whatever is seen: the mean of template-corrected joints seen in the frame."""
    known = np.isfinite(joints[..., 0])
    trunk = known & (np.arange(19) < 7)
    use = np.where(trunk.any(1, keepdims=True), trunk, known)
    offset = np.zeros((19, 3))
    offset[:, 2] = TEMPLATE[:, 2] - 0.67
    guess = np.where(use[..., None], joints - 1.7 * offset, 0.0)
    count = use.sum(1)
    return np.where(count[:, None] > 0, guess.sum(1) / np.maximum(count, 1)[:, None], np.nan)


def _interpolate(t: np.ndarray, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(t, t[known], values[known, k]) for k in range(values.shape[1])], 1)


def _fill_from_template(joints: np.ndarray, never: np.ndarray) -> np.ndarray:
    """Joints never seen, from the trunk's axes (or the world's, where the trunk is not known either)."""
    joints = joints.copy()
    for pair, mid in ((("right_hip", "left_hip"), "mid_hip"), (("right_shoulder", "left_shoulder"), "neck")):
        a, b, m = _J[pair[0]], _J[pair[1]], _J[mid]
        if never[m] and not never[a] and not never[b]:
            joints[:, m] = (joints[:, a] + joints[:, b]) / 2
            never = never & (np.arange(19) != m)
    seen = ~never
    scale = 1.7
    if seen[0] and seen[1]:
        scale = float(np.median(np.linalg.norm(joints[:, 1] - joints[:, 0], axis=1))) / _TRUNK
    axes = trunk_axes(np.nan_to_num(joints)) if seen[[0, 1]].all() else np.tile(np.eye(3), (len(joints), 1, 1))
    body = np.einsum("tik,jk->tji", axes, TEMPLATE) * scale
    shift = np.nanmean(np.where(seen[:, None], joints - body, np.nan), axis=1)
    for j in range(19):
        if never[j]:
            parent = PARENTS[j]
            base = joints[:, parent] - body[:, parent] if parent >= 0 and not never[parent] else shift
            joints[:, j] = body[:, j] + base
    return joints


def bone_lengths(joints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """A person's bone lengths (B,) metres, from joints (T, 19, 3) where both ends were seen (T, 19) in two views.

    Medians over the track; both sides of the body share theirs; bones seen in few frames lean on the template, scaled
    to the bones that were seen.
    """
    a, b = BONES.T
    length = np.linalg.norm(joints[:, a] - joints[:, b], axis=-1)
    use = seen[:, a] & seen[:, b]
    length = np.where(use, length, np.nan)
    both = np.concatenate([length, length[:, MIRROR_BONE]])
    count = np.isfinite(both).sum(0)
    median = np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else np.nan for c in both.T])
    good = (count >= 5) & np.isfinite(median)
    scale = np.median(median[good] / _TEMPLATE_LENGTHS[good]) if good.any() else 1.7
    prior = scale * _TEMPLATE_LENGTHS
    median = np.where(np.isfinite(median), np.clip(median, 0.6 * prior, 1.6 * prior), prior)
    trust = count / (count + 5.0)
    return trust * median + (1 - trust) * prior


def solve_track(
    centres: np.ndarray,
    rays: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
    lengths: np.ndarray,
    options: AssociationOptions,
    iterations: int | None = None,
    window: int = 400,
    overlap: int = 20,
) -> np.ndarray:
    """Joints (T, 19, 3) of one person over T consecutive frames.

    Args:
        centres: (C, 3) metres.
        rays: (T, C, 19, 3) unit directions.
        weights: (T, C, 19): score of the observation, 0 for none.
        start: (T, 19, 3) finite first guess.
        lengths: (B,) metres, of ``BONES``.
        window, overlap: longer tracks are solved in windows of this many frames, sharing this many.
    """
    T = len(start)
    if window + 2 * overlap >= T:
        return _solve(centres, rays, weights, start, lengths, options, iterations)
    out = np.empty_like(start)
    for begin in range(0, T, window):
        end = min(begin + window, T)
        low, high = max(begin - overlap, 0), min(end + overlap, T)
        part = slice(low, high)
        out[begin:end] = _solve(centres, rays[part], weights[part], start[part], lengths, options, iterations)[
            begin - low : end - low
        ]
    return out


def _solve(centres, rays, weights, start, lengths, options, iterations) -> np.ndarray:
    X = np.array(start, np.float64)
    T = len(X)
    scale = float(np.median(lengths / _TEMPLATE_LENGTHS))
    smooth, weight = _smoothness_band(T, options)
    # Steps in single precision, residuals in double: half the work, and errors of a step are mended by the next.
    kind = np.float32 if smooth.max() < 1e6 else np.float64
    band = np.empty((115, X.size), kind)
    for _ in range(options.solver_iterations if iterations is None else iterations):
        H, g = _frame_terms(centres, rays, weights, X, lengths, scale, options)
        _to_band(H.astype(kind), band)
        for k in range(3):
            band[57 * k] += smooth[k]
        flat = X.reshape(T, 57)
        right = g - np.matmul(H, flat[..., None])[..., 0] - weight * _fourth_difference(flat)
        step = solveh_banded(
            band, right.ravel().astype(kind), overwrite_ab=True, overwrite_b=True, lower=True, check_finite=False
        ).reshape(X.shape)
        X = X + step
        if np.abs(step).max() < SETTLED:
            break
    return X


def _fourth_difference(x: np.ndarray) -> np.ndarray:
    """Second differences' normal matrix applied to x (T, K)."""
    out = np.zeros_like(x)
    if len(x) >= 3:
        d = x[:-2] - 2 * x[1:-1] + x[2:]
        out[:-2] += d
        out[1:-1] -= 2 * d
        out[2:] += d
    return out


def _frame_terms(centres, rays, weights, X, lengths, scale, options) -> tuple[np.ndarray, np.ndarray]:
    """Everything that stays within a frame: matrices (T, 57, 57) and right sides (T, 57)."""
    T = len(X)
    H = np.zeros((T, 19, 3, 19, 3))
    joint = np.arange(19)
    # Rays. (T, 19, C, 3)
    d = np.swapaxes(rays, 1, 2).astype(np.float64)
    distance, _ = point_to_rays(centres, d, X)
    w = np.swapaxes(weights, 1, 2) / options.observation_m**2 / (1 + (distance / options.outlier_m) ** 2) ** 2
    wd = w[..., None] * d
    A = w.sum(-1)[..., None, None] * np.eye(3) - np.swapaxes(wd, -1, -2) @ d
    along = np.einsum("tjci,ci->tjc", d, centres)
    g = w @ centres - (wd * along[..., None]).sum(2)
    H[:, joint, :, joint, :] = np.swapaxes(A, 0, 1)
    # Bones: the length along the present direction.
    a, b = BONES.T
    v = X[:, a] - X[:, b]
    n = v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-6)
    wb = 1.0 / (options.bone_m * BONE_SOFTNESS) ** 2
    block = (wb[:, None, None] * n[..., None]) * n[..., None, :]
    pull = (wb * lengths)[:, None] * n
    # The usual shape: weak, and only along the tree.
    child = np.arange(1, 19)
    parent = PARENTS[1:]
    ws = 1.0 / options.shape_m**2
    offsets = usual_offsets(X, scale)[:, 1:]
    stiff = ws * np.eye(3)
    for k in range(len(BONES)):
        H[:, a[k], :, a[k], :] += block[:, k]
        H[:, b[k], :, b[k], :] += block[:, k]
        H[:, a[k], :, b[k], :] -= block[:, k]
        H[:, b[k], :, a[k], :] -= block[:, k]
        g[:, a[k]] += pull[:, k]
        g[:, b[k]] -= pull[:, k]
    for c, p in zip(child, parent, strict=True):
        H[:, c, :, c, :] += stiff
        H[:, p, :, p, :] += stiff
        H[:, c, :, p, :] -= stiff
        H[:, p, :, c, :] -= stiff
        g[:, c] += ws * offsets[:, c - 1]
        g[:, p] -= ws * offsets[:, c - 1]
    # Frames without any observation keep near the guess, so that the system is never singular.
    H.reshape(T, 57, 57)[:, np.arange(57), np.arange(57)] += 1e-2
    g += 1e-2 * X
    return H.reshape(T, 57, 57), g.reshape(T, 57)


def _to_band(H: np.ndarray, band: np.ndarray) -> None:
    """Block-diagonal (T, 57, 57) into LAPACK's lower band (115, 57 T)."""
    T = len(H)
    # Entry (t, i + k, i) lies 57 k + 58 i behind (t, 0, 0); what runs past a block's last row is set to nought.
    padded = np.concatenate([H.ravel(), np.zeros(57 * 57, H.dtype)])
    step = padded.itemsize
    diagonals = np.lib.stride_tricks.as_strided(padded, (57, T, 57), (57 * step, 57 * 57 * step, 58 * step))
    inside = np.add.outer(np.arange(57), np.arange(57)) < 57
    np.multiply(diagonals, inside[:, None], out=band[:57].reshape(57, T, 57))
    band[57:] = 0


def _smoothness_band(T: int, options: AssociationOptions) -> tuple[np.ndarray, np.ndarray]:
    """(3, 57 T): diagonals 0, 57 and 114 of the second differences' normal matrix; and the weights (57,) in it.

    The acceleration's deviation is meant over 40 ms; over other intervals it goes with the root of the interval, as
    for motion whose acceleration is white noise.
    """
    dt = 1.0 / options.fps
    sigma = options.acceleration * _AGILITY * dt**2 * np.sqrt(0.04 / dt)
    D = np.zeros((3, T))
    if T >= 3:
        second = np.array([1.0, -2.0, 1.0])
        for k in range(3):
            D[0, k : T - 2 + k] += second[k] ** 2
        D[1, : T - 2] += second[0] * second[1]
        D[1, 1 : T - 1] += second[1] * second[2]
        D[2, : T - 2] += second[0] * second[2]
    weight = np.repeat(1.0 / sigma**2, 3)
    return (D[:, :, None] * weight).reshape(3, T * 57), weight
