"""A first body from a skeleton alone, in closed form: shape from limb lengths, trunk from axes, limbs by swing."""

from __future__ import annotations

import numpy as np

from pipeline.body.kinematics import Kinematics, State
from pipeline.body.regressor import BODY_JOINTS
from pipeline.body.rotations import exponential, logarithm, nearest, swing
from pipeline.skeletons import SKEL19, SMPLX55

_BODY = SMPLX55.joints[:BODY_JOINTS]
LIMBS = (  # joint that turns, joint below, point that shows the direction of the next limb, hinge axis of the next
    ("left_hip", "left_knee", "left_ankle", (1.0, 0.0, 0.0)),
    ("right_hip", "right_knee", "right_ankle", (1.0, 0.0, 0.0)),
    ("left_shoulder", "left_elbow", "left_wrist", (0.0, -1.0, 0.0)),
    ("right_shoulder", "right_elbow", "right_wrist", (0.0, 1.0, 0.0)),
)
_LIMB_PAIRS = (
    ("hip", "knee", 0.015),
    ("knee", "ankle", 0.015),
    ("shoulder", "elbow", 0.015),
    ("elbow", "wrist", 0.015),
    ("ankle", "big_toe", 0.03),
)
_RIGID_PAIRS = (
    *((f"{side}_{a}", f"{side}_{b}", deviation) for side in ("left", "right") for a, b, deviation in _LIMB_PAIRS),
    ("left_hip", "right_hip", 0.02),
    ("left_shoulder", "right_shoulder", 0.03),
    ("mid_hip", "neck", 0.03),
    ("left_ear", "right_ear", 0.02),
)
"""Distances that posing changes little, and how far they may be trusted (metres, one standard deviation)."""


def initial_state(kinematics: Kinematics, joints: np.ndarray, weights: np.ndarray, up: np.ndarray) -> State:
    """A state that follows joints (F, 19, 3), NaN where unknown, trusted by weights (F, 19)."""
    betas = shape_from_lengths(kinematics, joints, weights)
    filled = fill_gaps(np.where((weights > 0)[..., None], joints, np.nan))
    rest = _rest_points(kinematics, betas)
    return State(*_pose(kinematics, filled, rest, betas, up), betas, np.zeros(kinematics.basis.matrix.shape[2]))


def shape_from_lengths(kinematics: Kinematics, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(10,) betas whose limbs are as long as the median of what was seen (Gauss-Newton with a unit Gaussian prior)."""
    seen = np.where((weights > 0)[..., None], joints, np.nan)
    pairs, lengths, deviations = [], [], []
    for a, b, deviation in _RIGID_PAIRS:
        i, j = SKEL19.index(a), SKEL19.index(b)
        distance = np.linalg.norm(seen[:, i] - seen[:, j], axis=-1)
        if np.isfinite(distance).any():
            pairs.append((i, j))
            lengths.append(np.nanmedian(distance))
            deviations.append(deviation)
    betas = np.zeros(10)
    if not pairs:
        return betas
    i, j = np.array(pairs).T
    for _ in range(6):
        state = _rest_state(kinematics, betas)
        points, _, by_track = kinematics.linearised(state)
        bone = points[0, i] - points[0, j]
        length = np.linalg.norm(bone, axis=1)
        slope = np.einsum("nc,ncb->nb", bone / length[:, None], (by_track[0, i] - by_track[0, j])[..., :10])
        w = 1 / np.array(deviations)
        A, r = slope * w[:, None], (np.array(lengths) - length) * w
        # Wild lengths (a swapped or stray joint) must not make a monster of the first guess.
        r = np.clip(r, -8, 8)
        betas = np.clip(betas + np.linalg.solve(A.T @ A + np.eye(10), A.T @ r - betas), -4, 4)
    return betas


def fill_gaps(joints: np.ndarray) -> np.ndarray:
    """Joints (F, 19, 3) with gaps filled by straight lines over time; joints never seen stay NaN."""
    out = joints.copy()
    frames = np.arange(len(joints))
    for k in range(joints.shape[1]):
        known = np.isfinite(joints[:, k]).all(1)
        if known.any() and not known.all():
            for axis in range(3):
                out[:, k, axis] = np.interp(frames, frames[known], joints[known, k, axis])
    return out


def _rest_state(kinematics: Kinematics, betas: np.ndarray) -> State:
    eye = np.broadcast_to(np.eye(3), (1, BODY_JOINTS, 3, 3)).copy()
    return State(np.zeros((1, 3)), eye, betas, np.zeros(kinematics.basis.matrix.shape[2]))


def _rest_points(kinematics: Kinematics, betas: np.ndarray) -> np.ndarray:
    return kinematics.points(_rest_state(kinematics, betas))[0]


def _frames(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rotations (F, 3, 3) whose second axis is along y and first as near x as that allows."""
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    x = x - (x * y).sum(-1, keepdims=True) * y
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], -1)


def _carry_over(R: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Replace rotations with NaN in them by those of the nearest frame that has one, or by ``fallback``."""
    known = np.flatnonzero(np.isfinite(R).all((1, 2)))
    if not len(known):
        return np.broadcast_to(fallback, R.shape).copy()
    nearest_known = known[np.abs(np.arange(len(R))[:, None] - known).argmin(1)]
    return R[nearest_known]


def _upright(up: np.ndarray) -> np.ndarray:
    return swing(np.array([0.0, 1.0, 0.0]), up)


def _pose(kinematics: Kinematics, joints: np.ndarray, rest: np.ndarray, betas: np.ndarray, up: np.ndarray):
    """Translations (F, 3) and local rotations (F, 22, 3, 3) for gap-free joints and rest points (19, 3)."""

    def at(name: str) -> np.ndarray:
        return joints[:, SKEL19.index(name)]

    def rest_at(name: str) -> np.ndarray:
        return rest[SKEL19.index(name)]

    with np.errstate(invalid="ignore", divide="ignore"):
        spine = at("neck") - at("mid_hip")
        rest_spine = (rest_at("neck") - rest_at("mid_hip"))[None]
        trunk = {}
        for name in ("hip", "shoulder"):
            rest_axis = (rest_at(f"left_{name}") - rest_at(f"right_{name}"))[None]
            axis = at(f"left_{name}") - at(f"right_{name}")
            trunk[name] = _frames(axis, spine) @ _frames(rest_axis, rest_spine).transpose(0, 2, 1)
    pelvis = np.where(np.isfinite(trunk["hip"]), trunk["hip"], trunk["shoulder"])
    pelvis = _carry_over(pelvis, _upright(up))
    chest = np.where(np.isfinite(trunk["shoulder"]), trunk["shoulder"], pelvis)

    local = np.broadcast_to(np.eye(3), (len(joints), BODY_JOINTS, 3, 3)).copy()
    local[:, 0] = pelvis
    bend = exponential(logarithm(nearest(pelvis.transpose(0, 2, 1) @ chest)) / 3)
    local[:, [_BODY.index(f"spine{k}") for k in (1, 2, 3)]] = bend[:, None]
    for limb in LIMBS:
        _turn_limb(local, limb, pelvis if "hip" in limb[0] else chest, at, rest_at)
    _turn_head(local, chest, at, rest_at)

    state = State(np.zeros((len(joints), 3)), local, betas, np.zeros(kinematics.basis.matrix.shape[2]))
    difference = joints - kinematics.points(state)
    anchors = [SKEL19.index(n) for n in ("mid_hip", "left_hip", "right_hip", "neck", "left_shoulder", "right_shoulder")]
    transl = _finite_mean(difference[:, anchors])
    transl = np.where(np.isfinite(transl), transl, _finite_mean(difference))
    return fill_gaps(transl[:, None])[:, 0], local


def _finite_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the second axis of (F, N, 3), leaving NaN out; NaN where nothing is left."""
    known = np.isfinite(values)
    count = known.sum(1)
    return np.where(count > 0, np.where(known, values, 0).sum(1) / np.maximum(count, 1), np.nan)


def _turn_limb(local: np.ndarray, limb: tuple, parent: np.ndarray, at, rest_at) -> None:
    """Point the upper limb at the middle joint, twist it so that the hinge can bend, bend the hinge; toes last."""
    upper, middle, end, hinge = limb
    hinge = np.array(hinge)
    rest_upper, rest_lower = rest_at(middle) - rest_at(upper), rest_at(end) - rest_at(middle)
    d_upper = np.einsum("fji,fj->fi", parent, at(middle) - at(upper))
    d_lower = np.einsum("fji,fj->fi", parent, at(end) - at(middle))
    usable = np.isfinite(d_upper).all(1) & (np.linalg.norm(d_upper, axis=1) > 1e-3)
    if not usable.any():
        return
    swung = swing(rest_upper, d_upper[usable])
    i, k = _BODY.index(upper), _BODY.index(middle)
    lower = d_lower[usable]
    bent = np.isfinite(lower).all(1) & (np.linalg.norm(lower, axis=1) > 1e-3)
    lower = np.where(bent[:, None], lower, d_upper[usable])
    unit = [v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (d_upper[usable], lower)]
    # A nearly straight limb says nothing about its twist: lean on the untwisted swing there.
    straight = swung @ hinge
    axis = np.cross(*unit)
    if upper.endswith("hip"):  # a knee that seems to bend backwards is noise, not a leg turned about
        axis = axis - np.minimum((axis * straight).sum(1, keepdims=True), 0.0) * straight
    axis = axis + 0.2 * straight
    frame = _frames(axis, d_upper[usable]) @ _frames(hinge[None], rest_upper[None]).transpose(0, 2, 1)
    local[usable, i] = frame
    local[usable, k] = np.where(
        bent[:, None, None], swing(rest_lower, np.einsum("fji,fj->fi", frame, lower)), np.eye(3)
    )
    if upper.endswith("hip"):
        side = upper.split("_")[0]
        shin = parent[usable] @ frame @ local[usable, k]
        toe = np.einsum("fji,fj->fi", shin, (at(f"{side}_big_toe") - at(end))[usable])
        known = np.isfinite(toe).all(1) & (np.linalg.norm(toe, axis=1) > 1e-3)
        rows = np.flatnonzero(usable)[known]
        local[rows, _BODY.index(f"{side}_ankle")] = swing(rest_at(f"{side}_big_toe") - rest_at(end), toe[known])


def _turn_head(local: np.ndarray, chest: np.ndarray, at, rest_at) -> None:
    """Half the head's turn at the neck, half at the head."""
    with np.errstate(invalid="ignore", divide="ignore"):
        forward = at("nose") - 0.5 * (at("left_ear") + at("right_ear"))
        rest_forward = (rest_at("nose") - 0.5 * (rest_at("left_ear") + rest_at("right_ear")))[None]
        rest_axis = (rest_at("left_ear") - rest_at("right_ear"))[None]
        head = _frames(at("left_ear") - at("right_ear"), forward) @ _frames(rest_axis, rest_forward).transpose(0, 2, 1)
    known = np.isfinite(head).all((1, 2))
    if known.any():
        half = exponential(logarithm(nearest(chest[known].transpose(0, 2, 1) @ head[known])) / 2)
        for name in ("neck", "head"):
            local[known, _BODY.index(name)] = half
