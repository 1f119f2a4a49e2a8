"""What a track gives the fit: times, 3D joints, 2D keypoints and their weights, checked, left and right set right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.association.triangulation import point_to_rays, triangulate_robust
from pipeline.cameras import Rig, project
from pipeline.errors import InputError
from pipeline.skeletons import SKEL19

GROUPS = {
    "arms": ("shoulder", "elbow", "wrist"),
    "legs": ("hip", "knee", "ankle", "big_toe"),
    "face": ("ear",),
}
"""Joints that a detector swaps together; those whose facing is surer first."""
CHANGE_COST = 0.5
"""Of beginning or ending an exchange, where no joint common to two frames tells."""
DOUBT = 0.2
"""Of an exchange in each frame: weaker evidence leaves what the detector says."""


@dataclass(frozen=True)
class Observations:
    """One person over F frames (those of the track in which something is known, and short gaps between them).

    Attributes:
        rows: (F,) int rows of the track.
        times: (F,) seconds.
        joints: (F, 19, 3) metres, NaN where unknown.
        joint_weights: (F, 19) 0..1; 0 where the joint was not observed.
        pixels: (F, C, 19, 2); NaN where missing.
        pixel_weights: (F, C, 19) 0..1.
        projections: (C, 3, 4).
        up: (3,).
    """

    rows: np.ndarray
    times: np.ndarray
    joints: np.ndarray
    joint_weights: np.ndarray
    pixels: np.ndarray
    pixel_weights: np.ndarray
    projections: np.ndarray
    up: np.ndarray

    def part(self, rows: slice | np.ndarray) -> Observations:
        cut = {f: getattr(self, f)[rows] for f in ("rows", "times", "joints", "joint_weights", "pixels")}
        return replace(self, pixel_weights=self.pixel_weights[rows], **cut)

    @property
    def views(self) -> np.ndarray:
        """(F, 19) number of cameras that see each joint."""
        return (self.pixel_weights > 0).sum(1)

    @property
    def located(self) -> np.ndarray:
        """(F, 19) bool: seen by two cameras, or given in 3D."""
        return (self.views >= 2) | (self.joint_weights > 0)


def observe(track: Tracks, rig: Rig, fps: float, max_gap_s: float) -> Observations | None:
    """The one person of ``track``; None if nothing at all is known of them.

    Raises:
        InputError: the track does not fit the rig.
    """
    if track.joints.shape[1] != 1:
        raise InputError("track", f"it holds {track.joints.shape[1]} people", "Fit one person at a time")
    if track.keypoints.shape[2] not in (0, len(rig)):
        raise InputError(
            "track", f"it was made with {track.keypoints.shape[2]} cameras, the rig has {len(rig)}",
            "Use the calibration that the track was made with",
        )  # fmt: skip
    joints = track.joints[:, 0].astype(np.float64)
    weights = np.where(np.isfinite(joints).all(-1), np.nan_to_num(track.confidence[:, 0]), 0.0).clip(0, 1)
    pixels = track.keypoints[:, 0].astype(np.float64)
    scores = np.where(np.isfinite(pixels).all(-1), np.nan_to_num(track.scores[:, 0]), 0.0).clip(0, 1)
    known = (weights > 0).any(1) | ((scores > 0).sum((1, 2)) > 0)
    if not known.any():
        return None
    times = track.frames / float(fps)
    rows = _bridge(np.flatnonzero(known), times, max_gap_s)
    projections = rig.projections if pixels.shape[1] else np.zeros((0, 3, 4))
    return Observations(rows, times[rows], joints[rows], weights[rows], pixels[rows], scores[rows], projections, rig.up)


def never_located(track: Tracks) -> list[str]:
    """Joints of SKEL-19 that are not known in 3D, nor seen by two cameras, in any frame: the fit invents them."""
    seen = np.isfinite(track.joints[:, 0]).all(-1) & (track.confidence[:, 0] > 0)
    seen |= (track.scores[:, 0] > 0).sum(1) >= 2
    return [joint for joint, known in zip(SKEL19.joints, seen.any(0), strict=True) if not known]


def settle_joints(obs: Observations, outlier_m: float = 0.12) -> Observations:
    """Believe 3D joints only as far as the keypoints do.

    A joint on which fewer views agree than on another point takes that point (robust triangulation); one that two views
    contradict and none supports counts for nothing. Without keypoints, a joint counts for nothing where it leaves its
    own path.
    """
    if not len(obs.projections):
        return replace(obs, joint_weights=np.where(_off_path(obs), 0.0, obs.joint_weights))
    centres, rays = rays_of(obs.projections, np.nan_to_num(obs.pixels))
    weights = obs.pixel_weights.transpose(0, 2, 1)
    found, agrees = triangulate_robust(centres, rays, weights, outlier_m)
    distance, depth = point_to_rays(centres, rays, np.nan_to_num(obs.joints))
    seen = weights > 0
    support = (seen & (distance < outlier_m) & (depth > 0)).sum(-1)
    support = np.where(obs.joint_weights > 0, support, 0)
    better = agrees.sum(-1) > support
    refuted = (support == 0) & (seen.sum(-1) >= 2) & ~better
    joints = np.where(better[..., None], found, obs.joints)
    share = (weights * agrees).sum(-1) / np.maximum(agrees.sum(-1), 1)
    trusted = np.where(better, share, np.where(refuted, 0.0, obs.joint_weights))
    return replace(obs, joints=joints, joint_weights=np.where(np.isfinite(joints).all(-1), trusted, 0.0))


def _off_path(obs: Observations, window_s: float = 0.15, most_m: float = 0.25) -> np.ndarray:
    """(F, 19) bool: the joint is far from the median of where it is within ``window_s`` before and after."""
    seen = np.where((obs.joint_weights > 0)[..., None], obs.joints, np.nan)
    off = np.zeros(obs.joint_weights.shape, bool)
    for f, time in enumerate(obs.times):
        near = seen[np.abs(obs.times - time) <= window_s]
        enough = np.isfinite(near[..., 0]).sum(0) >= 3
        middle = np.nanmedian(near[:, enough], axis=0)
        off[f, enough] = np.linalg.norm(seen[f, enough] - middle, axis=-1) > most_m
    return off


def rays_of(projections: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Camera centres (C, 3) and unit directions (F, K, C, 3) of keypoints (F, C, K, 2)."""
    inverse = np.linalg.inv(projections[:, :, :3])
    centres = -np.einsum("cij,cj->ci", inverse, projections[:, :, 3])
    homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1)
    rays = np.einsum("cij,fckj->fkci", inverse, homogeneous, optimize=True)
    return centres, rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _bridge(known: np.ndarray, times: np.ndarray, max_gap_s: float) -> np.ndarray:
    """Known rows and the unknown ones in gaps of at most ``max_gap_s`` between two of them."""
    rows = [known[:1]]
    for a, b in pairwise(known):
        short = times[b] - times[a] <= max_gap_s
        rows.append(np.arange(a + 1, b + 1) if short else np.array([b]))
    return np.concatenate(rows)


def group_pairs(group: str) -> tuple[np.ndarray, np.ndarray]:
    """Left and right joint numbers of a group."""
    left, right = ([SKEL19.index(f"{side}_{j}") for j in GROUPS[group]] for side in ("left", "right"))
    return np.array(left), np.array(right)


def _swap(array: np.ndarray, group: str) -> np.ndarray:
    """The array (..., 19, D) or (..., 19) indexed on its joint axis, with left and right of a group exchanged.

    The joint axis is the second of ``array`` here: (N, 19, ...).
    """
    left, right = group_pairs(group)
    out = array.copy()
    out[:, left], out[:, right] = array[:, right], array[:, left]
    return out


def repair_swapped_joints(obs: Observations) -> tuple[Observations, int]:
    """Exchange left and right where the 3D joints of a group face backwards or jump across the body.

    Two states a frame and group (as given, exchanged), chosen by dynamic programming over time: each state costs how
    far the group faces away from what nose and toes say, each transition how far the joints jump.

    Returns:
        the observations, exchanged in 3D and in every camera's keypoints, and how many frames and groups were.
    """
    joints, weights = obs.joints.copy(), obs.joint_weights.copy()
    pixels, scores = obs.pixels.copy(), obs.pixel_weights.copy()
    total = 0
    for group in GROUPS:
        given, exchanged = joints, _swap(joints, group)
        facing = _facing_evidence(joints, obs.up, group)
        states = _cheapest_states(given, exchanged, facing, np.diff(obs.times, prepend=obs.times[0]), group)
        if not states.any():
            continue
        total += int(states.sum())
        joints[states] = exchanged[states]
        weights[states] = _swap(weights[states], group)
        flat = (int(states.sum()) * pixels.shape[1], len(SKEL19))
        pixels[states] = _swap(pixels[states].reshape(*flat, 2), group).reshape(pixels[states].shape)
        scores[states] = _swap(scores[states].reshape(flat), group).reshape(scores[states].shape)
    return replace(obs, joints=joints, joint_weights=weights, pixels=pixels, pixel_weights=scores), total


HEAD_M = (0.05, 0.20)
"""A nose nearer to the middle of the ears or farther from it than this has been put in the wrong place."""


def _facing_evidence(joints: np.ndarray, up: np.ndarray, group: str) -> np.ndarray:
    """(F,) in -1..1: how well the group's left-to-right axis agrees with where nose and toes point; 0 if unknown.

    Toes speak for the arms too: shoulders face with the hips, within what a spine can turn.
    """
    index = SKEL19.index
    trunk = joints[:, index("neck")] - joints[:, index("mid_hip")]
    trunk = np.where(np.isfinite(trunk).all(1, keepdims=True), trunk, up)

    def across(joint: str) -> np.ndarray:
        return joints[:, index(f"left_{joint}")] - joints[:, index(f"right_{joint}")]

    def agreement(axis: np.ndarray, sign: np.ndarray) -> np.ndarray:
        flat = sign - (sign * trunk).sum(1, keepdims=True) * trunk / (trunk * trunk).sum(1, keepdims=True)
        return _cosine(flat, np.cross(axis, trunk))

    # Each toe against its own ankle: exchanging the whole leg changes none of them.
    toes = [joints[:, index(f"{s}_big_toe")] - joints[:, index(f"{s}_ankle")] for s in ("left", "right")]
    legs = _mean_known([agreement(across("hip"), toe) for toe in toes])
    twist = _cosine(across("shoulder"), across("hip"))
    if group == "legs":
        return np.nan_to_num(np.where(np.isfinite(legs), legs, 0.3 * twist))
    head = joints[:, index("nose")] - 0.5 * (joints[:, index("left_ear")] + joints[:, index("right_ear")])
    length = np.linalg.norm(head, axis=1, keepdims=True)
    head = np.where((length > HEAD_M[0]) & (length < HEAD_M[1]), head, np.nan)
    seen = agreement(across(GROUPS[group][0]), head)
    return np.nan_to_num(_mean_known([seen, legs * twist]) if group == "arms" else seen)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(F,) of the angle between vectors (F, 3); NaN where one is not known."""
    with np.errstate(invalid="ignore"):
        return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def _mean_known(values: list[np.ndarray]) -> np.ndarray:
    """(F,) mean of those that are known; NaN where none is."""
    known = np.isfinite(values).sum(0)
    return np.where(known > 0, np.nan_to_num(values).sum(0) / np.maximum(known, 1), np.nan)


def _cheapest_states(
    given: np.ndarray, exchanged: np.ndarray, facing: np.ndarray, gaps: np.ndarray, group: str
) -> np.ndarray:
    """(F,) bool: exchange in this frame (Viterbi over two states)."""
    pairs = np.concatenate(group_pairs(group))
    both = np.stack([given[:, pairs], exchanged[:, pairs]])

    def jump(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Mean distance of the joints, in units of 5 cm, at most 8 of them; no opinion without common joints."""
        distance = np.linalg.norm(a - b, axis=-1)
        known = np.isfinite(distance)
        return np.where(known, np.minimum(distance / 0.05, 8), 0).sum(-1) / np.maximum(known.sum(-1), 1)

    own = np.stack([-facing, facing + DOUBT])  # (2, F)
    best, back = own[:, 0].copy(), np.zeros((len(facing), 2), int)
    for f in range(1, len(facing)):
        step = np.array([[jump(both[a, f - 1], both[b, f]) for b in (0, 1)] for a in (0, 1)])
        if gaps[f] > 0.3:
            step[:] = 0.0
        step[[0, 1], [1, 0]] += CHANGE_COST
        through = best[:, None] + step
        back[f] = through.argmin(0)
        best = through.min(0) + own[:, f]
    states = np.zeros(len(facing), int)
    states[-1] = best.argmin()
    for f in range(len(facing) - 1, 0, -1):
        states[f - 1] = back[f, states[f]]
    return states.astype(bool)


def repair_swapped_keypoints(obs: Observations, points: np.ndarray) -> tuple[Observations, int]:
    """Exchange a group's left and right in single cameras where that puts the keypoints far nearer to ``points``.

    Only joints that another camera sees too have a say: where one camera alone sees a limb, ``points`` knows no better.

    Args:
        points: (F, 19, 3) where the joints are believed to be.
    """
    pixels, scores = obs.pixels.copy(), obs.pixel_weights.copy()
    expected = project(obs.projections[None, :, None], points[:, None])
    total = 0
    for group in GROUPS:
        left, right = group_pairs(group)
        pairs = np.concatenate([left, right])
        others = np.concatenate([right, left])
        seen = (scores[..., pairs] > 0) & (scores[..., others] > 0) & (obs.views >= 2)[:, None, pairs]
        straight = np.linalg.norm(pixels[:, :, pairs] - expected[:, :, pairs], axis=-1)
        crossed = np.linalg.norm(pixels[:, :, others] - expected[:, :, pairs], axis=-1)
        straight, crossed = (np.where(seen, np.nan_to_num(d, nan=0.0), 0.0).sum(-1) for d in (straight, crossed))
        apart = np.linalg.norm(expected[:, :, left] - expected[:, :, right], axis=-1)
        apart = np.where(seen[..., : len(left)], np.nan_to_num(apart), 0.0).sum(-1) * 2
        wrong = (crossed < 0.5 * straight) & (straight > 0.5 * apart) & (apart > 0)
        frames, cameras = np.nonzero(wrong)
        for a, b in zip(left, right, strict=True):
            for array in (pixels, scores):
                array[frames, cameras, a], array[frames, cameras, b] = (
                    array[frames, cameras, b].copy(),
                    array[frames, cameras, a].copy(),
                )
        total += len(frames)
    return replace(obs, pixels=pixels, pixel_weights=scores), total


def check_units(joints: np.ndarray, weights: np.ndarray, rest: np.ndarray) -> None:
    """Compare limb lengths with those of the mean body (19, 3).

    Raises:
        InputError: they differ by more than a factor of eight, which bad tracking does not do either: the units are
            wrong.
    """
    pairs = SKEL19.limb_indices
    seen = np.where((weights > 0)[..., None], joints, np.nan)
    lengths = np.linalg.norm(seen[:, pairs[:, 0]] - seen[:, pairs[:, 1]], axis=-1)
    if not np.isfinite(lengths).any():
        return
    expected = np.linalg.norm(rest[pairs[:, 0]] - rest[pairs[:, 1]], axis=-1)
    ratio = float(np.nanmedian(lengths / expected))
    if not 1 / 8 < ratio < 8:
        raise InputError(
            "track", f"limbs are {ratio:.3g} times as long as a body's: joints are not in metres",
            "Give the calibration's units (capture.units: mm, cm or m)",
        )  # fmt: skip
