"""Which frames of a fit can be used, and why the others cannot: plain thresholds (units in ``FitOptions``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.association.triangulation import point_to_rays
from pipeline.body.anatomy import joint_ranges
from pipeline.body.kinematics import State
from pipeline.body.landmarks import landmark_offsets
from pipeline.body.observations import Observations, rays_of
from pipeline.body.options import FitOptions
from pipeline.body.parameters import BodyTrack
from pipeline.body.regressor import regress, regressor_for
from pipeline.body.rotations import exponential, logarithm
from pipeline.cameras import project
from pipeline.skeletons import SKEL19

if TYPE_CHECKING:
    from nets.body import BodyModel

ABSENT, TOO_FEW, RESIDUAL, SHAPE, SPEED, RANGE, FLOOR, UNSEEN_LIMB = range(1, 9)
"""Indices into ``BodyTrack.REASONS``."""
_LIMBS = [SKEL19.index(f"{s}_{j}") for s in ("left", "right") for j in ("elbow", "wrist", "knee", "ankle")]
LIMB_SCORE, LIMB_M, LIMB_VIEWS = 0.2, 0.10, 2
"""A view sees a limb where a keypoint of such a score passes the body's joint within so many metres; so many views
must, of a person among others. Measured on hugging people (README, Limits)."""
_WIDTHS = {
    "global_orient": 3,
    "body_pose": 63,
    "left_hand_pose": 45,
    "right_hand_pose": 45,
    "jaw_pose": 3,
    "expression": 10,
    "transl": 3,
}


def mark_frames(
    model: BodyModel,
    track: Tracks,
    state: State | None,
    obs: Observations | None,
    options: FitOptions,
    depth: np.ndarray | None = None,
    entangled: np.ndarray | None = None,
) -> BodyTrack:
    """The fitted state over the observed frames as parameters over the track's, with every frame judged.

    ``depth``: (F,) metres, how far below the floor the deeper foot is in each observed frame, where there is a floor.
    ``entangled``: (F,) bool, frames of the track in which the person is among others; None: none.
    """
    frames = len(track.frames)
    reason = np.full(frames, ABSENT, np.int8)
    values = {k: np.full((frames, n), np.nan, np.float32) for k, n in _WIDTHS.items()}
    error = np.full(frames, np.nan, np.float32)
    betas = np.full(10, np.nan, np.float32)
    if obs is not None:
        reason[obs.rows] = TOO_FEW
    if state is not None and obs is not None:
        rows = obs.rows
        hands = model.relaxed_hands.cpu().numpy()
        betas = state.betas.astype(np.float32)
        values["global_orient"][rows] = logarithm(state.rotations[:, 0])
        values["body_pose"][rows] = logarithm(state.rotations[:, 1:]).reshape(len(rows), 63)
        values["left_hand_pose"][rows], values["right_hand_pose"][rows] = hands[:45], hands[45:]
        values["jaw_pose"][rows], values["expression"][rows] = 0.0, 0.0
        values["transl"][rows] = state.transl
        body = {k: v[rows] for k, v in values.items()} | {"betas": betas}
        landmarks = regressor_for(model).with_offsets(landmark_offsets(options.landmarks))
        points = regress(model, landmarks, body).astype(np.float64)
        error[rows] = joint_error(points, obs)
        doubt = _doubtful_pose(state, points, obs.times, depth, options)
        useless = _useless(points, obs, error[rows], options)
        reason[rows] = np.where(useless > 0, useless, doubt)
        if entangled is not None:
            reason[rows[entangled[rows] & _has_unseen_limb(points, obs) & (reason[rows] == 0)]] = UNSEEN_LIMB
        low, high = options.stature_m
        if not low <= stature(model, betas) <= high or np.abs(betas).max() > options.max_beta:
            reason[rows] = SHAPE
        _bridge_or_blank(values, reason, track.frames / options.fps, options.max_gap_s)
    valid = reason == 0
    return BodyTrack(np.asarray(track.frames, np.int64), betas, *(values[f] for f in _WIDTHS), valid, reason, error)


def joint_error(points: np.ndarray, obs: Observations) -> np.ndarray:
    """(F,) median distance to the observed 3D joints, NaN where there are none."""
    distance = np.linalg.norm(points - obs.joints, axis=-1)
    known = (obs.joint_weights > 0) & np.isfinite(distance)
    return np.array([np.median(d[k]) if k.any() else np.nan for d, k in zip(distance, known, strict=True)])


def _pixel_error(points: np.ndarray, obs: Observations) -> np.ndarray:
    """(F,) median reprojection error as a share of the person's height in that image, NaN where nothing is seen."""
    if not len(obs.projections):
        return np.full(len(points), np.nan)
    image = project(obs.projections[None, :, None], points[:, None])
    with np.errstate(invalid="ignore"):
        extent = np.linalg.norm(image.max(2) - image.min(2), axis=-1)
        share = np.linalg.norm(image - obs.pixels, axis=-1) / extent[..., None]
    seen = (obs.pixel_weights > 0) & np.isfinite(share)
    return np.array([np.median(s[k]) if k.any() else np.nan for s, k in zip(share, seen, strict=True)])


def _doubtful_pose(
    state: State, points: np.ndarray, times: np.ndarray, depth: np.ndarray | None, options: FitOptions
) -> np.ndarray:
    """(F,) reasons of frames in which the body does what no body does."""
    reason = np.zeros(len(points), np.int8)
    if depth is not None:
        reason[depth > options.max_below_floor_m] = FLOOR
    beyond = np.abs(joint_ranges().beyond(logarithm(state.rotations[:, 1:]))).max((1, 2))
    reason[beyond > options.max_beyond_range_rad] = RANGE
    with np.errstate(invalid="ignore", divide="ignore"):
        speed = np.linalg.norm(np.diff(points[:, 0], axis=0), axis=1) / np.diff(times)  # of the pelvis
    too_fast = np.flatnonzero(speed > options.max_speed_m_s)
    reason[np.concatenate([too_fast, too_fast + 1])] = SPEED
    return reason


def _useless(points: np.ndarray, obs: Observations, error: np.ndarray, options: FitOptions) -> np.ndarray:
    """(F,) reasons of frames in which the body is not where it was seen, or was hardly seen."""
    reason = np.zeros(len(points), np.int8)
    large = (error > options.max_fit_error_m) | (_pixel_error(points, obs) > options.max_residual_share)
    reason[large] = RESIDUAL
    reason[obs.located.sum(1) < options.min_joints] = TOO_FEW
    return reason


def _has_unseen_limb(points: np.ndarray, obs: Observations) -> np.ndarray:
    """(F,) bool: an elbow, wrist, knee or ankle of the body (F, 19, 3) is confirmed by fewer than two views.

    Where detectors take people who touch for one, what they say of a limb agrees in few views, or with another body.
    """
    if not len(obs.projections):
        return np.zeros(len(points), bool)
    centres, rays = rays_of(obs.projections, np.nan_to_num(obs.pixels))
    distance, in_front = point_to_rays(centres, rays, points)
    confirms = (obs.pixel_weights.transpose(0, 2, 1) > LIMB_SCORE) & (distance < LIMB_M) & (in_front > 0)
    return (confirms.sum(-1)[:, _LIMBS] < LIMB_VIEWS).any(1)


def stature(model: BodyModel, betas: np.ndarray) -> float:
    """Height of the unposed body, metres."""
    y = model.template[:, 1].cpu().numpy() + model.shapedirs[:, 1, :10].cpu().numpy() @ betas
    return float(y.max() - y.min())


def _bridge_or_blank(values: dict[str, np.ndarray], reason: np.ndarray, times: np.ndarray, max_gap_s: float) -> None:
    """Give frames that are not valid what may stand in for them. Changes the arrays in place.

    Inside a short gap, frames with too few joints keep what the fit says, which knows their neighbours; the others take
    what lies between the valid frames. Elsewhere all become NaN. A limb in doubt changes nothing.
    """
    fine = (reason == 0) | (reason == UNSEEN_LIMB)
    valid = np.flatnonzero(fine)
    for f in np.flatnonzero(~fine & np.isfinite(values["transl"][:, 0])):
        after = np.searchsorted(valid, f)
        inside = 0 < after < len(valid)
        a, b = (valid[after - 1], valid[after]) if inside else (f, f)
        if not inside or times[b] - times[a] > max_gap_s or reason[f] == SHAPE:
            for array in values.values():
                array[f] = np.nan
        elif reason[f] in (RESIDUAL, SPEED, RANGE, FLOOR):
            share = (times[f] - times[a]) / (times[b] - times[a])
            values["transl"][f] = (1 - share) * values["transl"][a] + share * values["transl"][b]
            for name in ("global_orient", "body_pose"):
                R = [exponential(values[name][k].reshape(-1, 3).astype(np.float64)) for k in (a, b)]
                turn = exponential(share * logarithm(R[0].swapaxes(-1, -2) @ R[1]))
                values[name][f] = logarithm(R[0] @ turn).reshape(-1)
