"""A body over a whole track: shape, pose and translation of every frame in one batch, honest about frames that failed.

Analytic first guess, then Levenberg-Marquardt in stages: wide kernels on 3D joints and keypoints, then keypoints
weighed by the noise that each joint was seen to have. Long tracks are cut into windows that share the shape found on
frames from all over the track.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.body.anatomy import joint_ranges
from pipeline.body.floor import find_floor, floor_term, resting_feet, sole_heights, soles
from pipeline.body.initial import initial_state
from pipeline.body.kinematics import Kinematics, OffsetBasis, State, state_of
from pipeline.body.landmarks import landmark_offsets
from pipeline.body.marking import joint_error, mark_frames
from pipeline.body.observations import (
    Observations,
    check_units,
    observe,
    repair_swapped_joints,
    repair_swapped_keypoints,
    settle_joints,
)
from pipeline.body.options import FitOptions
from pipeline.body.parameters import BodyTrack
from pipeline.body.problem import Problem, Weights
from pipeline.body.regressor import regressor_for
from pipeline.body.rotations import exponential, logarithm
from pipeline.body.silhouette import Outline, girth_term, outline_skin
from pipeline.body.solver import solve
from pipeline.body.terms import Skin, Term
from pipeline.cameras import Rig, project

if TYPE_CHECKING:
    from nets.body import BodyModel

FIRST_JOINT_M, LATER_JOINT_M = 0.03, 0.05
"""How far 3D joints are trusted before and after keypoints take over, metres."""
ONLY_JOINT_M = 0.02
"""The same where there are no keypoints."""
FIRST_PIXEL_SHARE = 0.01
"""Deviation of keypoints in the first stage, as a share of the longer side of the image."""
LEAST_PIXEL_SHARE, MOST_PIXEL_SHARE = 0.0005, 0.01
"""Bounds of the deviations estimated later."""
KERNEL = 4.0
GIRTH_ROUNDS = 3
BAD_FRAME_M, BAD_TURN = 0.15, 0.35
"""Frames whose first fit is worse than this, or turns a joint further beyond its range (radians), start again from
their neighbours."""


@dataclass(frozen=True)
class _Fitted:
    """State over the observed frames, with what later windows need. ``floor`` is its height, None if unknown."""

    state: State
    obs: Observations
    pixel: np.ndarray
    floor: float | None


@dataclass(frozen=True)
class _Setup:
    """What all stages and windows of a fit share.

    Attributes:
        plain, kinematics: points without and with estimated offsets.
        soles: of the feet.
        resting: (rows of the track, 2) feet that rest, by row of the track.
    """

    plain: Kinematics
    kinematics: Kinematics
    soles: Skin
    options: FitOptions
    longer_side: int
    resting: np.ndarray
    model: BodyModel
    outlines: Sequence[Outline]
    rig: Rig

    def floor_of(self, state: State, obs: Observations) -> float | None:
        """Height of the floor: given, or found in this state."""
        if self.options.floor != "auto":
            return self.options.floor
        return find_floor(sole_heights(self.soles, state, obs.up), self.resting[obs.rows])

    def depth(self, fitted: _Fitted) -> np.ndarray | None:
        """(F,) metres of the deeper foot below the floor; None without a floor."""
        if fitted.floor is None:
            return None
        return fitted.floor - sole_heights(self.soles, fitted.state, fitted.obs.up, lowest=False).min(1)

    def terms(self, state: State, obs: Observations, floor: float | None) -> list[Term]:
        return [] if floor is None else [floor_term(self.soles, state, obs, floor)]


def fit_track(
    model: BodyModel,
    rig: Rig,
    track: Tracks,
    options: FitOptions = FitOptions(),  # noqa: B008  (frozen)
    progress: Callable[[float], None] | None = None,
    outlines: Sequence[Outline] = (),
    entangled: np.ndarray | None = None,
) -> BodyTrack:
    """Fit one body to one person's track.

    Args:
        model: any body in SMPL-X format.
        rig: undistorted cameras in the order of the track's.
        track: one person (P = 1) over F frames.
        outlines: masks of the person in some frames and views, for the shape.
        entangled: (F,) bool, frames in which the person is among others, so that each limb must be seen by two views.

    Returns:
        Parameters of all F frames. Frames that are not valid carry a reason; those inside gaps of at most
        ``options.max_gap_s`` hold bridged parameters, the others NaN. Hands are relaxed, face and jaw at rest.

    Raises:
        InputError: the track does not fit the rig, or its units are not metres.
    """
    report = progress or (lambda fraction: None)
    obs = observe(track, rig, options.fps, options.max_gap_s)
    regressor = regressor_for(model).with_offsets(landmark_offsets(options.landmarks))
    if obs is None or not (obs.located.sum(1) >= 3).any():
        return mark_frames(model, track, None, obs, options)
    plain = Kinematics(model, regressor)
    rest = plain.points(_unposed(plain))[0]
    check_units(obs.joints, obs.joint_weights, rest)
    obs = settle_joints(obs)
    if options.repair_swaps:
        obs, _ = repair_swapped_joints(obs)
    kinematics = Kinematics(model, regressor, OffsetBasis.symmetric(regressor)) if options.offsets else plain
    longer_side = max(max(c.size) for c in rig.cameras)

    resting = np.zeros((len(track.frames), 2), bool)
    resting[obs.rows] = resting_feet(obs)
    setup = _Setup(
        plain, kinematics, soles(model, kinematics), options, longer_side, resting, model, tuple(outlines), rig
    )
    fit = _fit_whole if len(obs.rows) <= options.window_frames else _fit_windows
    fitted = fit(setup, obs, report)
    report(1.0)
    return mark_frames(model, track, fitted.state, fitted.obs, options, setup.depth(fitted), entangled)


@dataclass(frozen=True)
class Reopened:
    """A fitted track ready to be solved again with more terms, shape fixed. ``obs.rows`` are rows of the track."""

    kinematics: Kinematics
    obs: Observations
    weights: Weights
    state: State
    soles: Skin
    floor: float | None

    def solve(self, rows: np.ndarray, state: State, terms: Sequence[Term], iterations: int) -> State:
        """The state over ``rows`` of the observations, from ``state``."""
        obs = self.obs.part(rows)
        if self.floor is not None:
            terms = [*terms, floor_term(self.soles, state, obs, self.floor)]
        return solve(Problem(self.kinematics, obs, self.weights, terms), state, iterations).state

    def joint_error(self, state: State) -> np.ndarray:
        """(F,) as ``BodyTrack.fit_error_m``."""
        return joint_error(self.kinematics.points(state), self.obs)


def reopened(
    model: BodyModel, rig: Rig, track: Tracks, body: BodyTrack, options: FitOptions = FitOptions()  # noqa: B008
) -> Reopened | None:
    """What ``fit_track`` solved last, at its result; None if the body has no frames."""
    obs = observe(track, rig, options.fps, options.max_gap_s)
    rows = np.flatnonzero(np.isfinite(body.transl).all(1))
    if obs is None or not len(rows) or not np.isfinite(body.betas).all():
        return None
    obs = settle_joints(obs)
    if options.repair_swaps:
        obs, _ = repair_swapped_joints(obs)
    obs = obs.part(np.isin(obs.rows, rows))
    rows = obs.rows
    kinematics = Kinematics(model, regressor_for(model).with_offsets(landmark_offsets(options.landmarks)))
    state = state_of(body, rows)
    points = kinematics.points(state)
    if options.repair_swaps and len(obs.projections):
        obs, _ = repair_swapped_keypoints(obs, points)
    pixel = _pixel_deviations(obs, points, max(max(c.size) for c in rig.cameras))
    weights = _weights(options, _later_joint_m(obs), pixel, beta=0.0)
    skin = soles(model, kinematics)
    floor = options.floor
    if floor == "auto":
        floor = find_floor(sole_heights(skin, state, obs.up), resting_feet(obs))
    return Reopened(kinematics, obs, weights, state, skin, floor)


def _unposed(kinematics: Kinematics) -> State:
    eye = np.broadcast_to(np.eye(3), (1, 22, 3, 3)).copy()
    return State(np.zeros((1, 3)), eye, np.zeros(10), np.zeros(kinematics.basis.matrix.shape[2]))


def _weights(options: FitOptions, joint_m: float, pixel: np.ndarray, **other) -> Weights:
    slow = (options.acceleration_m_s2, options.turn_acceleration_rad_s2)
    return Weights(np.full(19, joint_m), pixel, KERNEL, *slow, options.offset_m, **other)


def _later_joint_m(obs: Observations) -> float:
    return LATER_JOINT_M if len(obs.projections) else ONLY_JOINT_M


def _fit_whole(setup: _Setup, obs: Observations, report: Callable[[float], None]) -> _Fitted:
    """All stages on one batch, shape free."""
    plain, options, longer_side = setup.plain, setup.options, setup.longer_side
    pixel = np.full(19, FIRST_PIXEL_SHARE * longer_side)
    state = initial_state(plain, obs.joints, obs.joint_weights, obs.up)
    weights = _weights(options, FIRST_JOINT_M, pixel)
    weights = replace(weights, beta=_beta_deviation(Problem(plain, obs, weights), state, options))
    state = solve(Problem(plain, obs, weights), state, options.iterations).state
    report(0.4)
    state, again = _restart_bad_frames(plain, obs, state)
    if options.repair_swaps and len(obs.projections):
        obs, exchanged = repair_swapped_keypoints(obs, plain.points(state))
        again |= exchanged > 0
    if again:
        state = solve(Problem(plain, obs, weights), state, options.iterations).state
    report(0.6)
    state = replace(state, offsets=np.zeros(setup.kinematics.basis.matrix.shape[2]))
    floor = None
    for stage in range(2):
        pixel = _pixel_deviations(obs, setup.kinematics.points(state), longer_side)
        weights = _weights(options, _later_joint_m(obs), pixel)
        weights = replace(weights, beta=_beta_deviation(Problem(setup.kinematics, obs, weights), state, options))
        floor = setup.floor_of(state, obs)
        problem = Problem(setup.kinematics, obs, weights, setup.terms(state, obs, floor))
        state = solve(problem, state, options.iterations).state
        report(0.8 + 0.2 * stage)
    state = _with_girth(setup, obs, state, problem)
    return _Fitted(state, obs, pixel, floor)


def _with_girth(setup: _Setup, obs: Observations, state: State, problem: Problem) -> State:
    """Solved again with what outlines say about the shape, if there are any."""
    if not setup.outlines:
        return state
    skin = outline_skin(setup.model, setup.kinematics)
    projections, beta = setup.rig.projections, problem.weights.beta
    for _ in range(GIRTH_ROUNDS):
        girth = girth_term(setup.model, skin, state, setup.outlines, obs.rows, projections, beta)
        if girth is None:
            break
        terms = [*problem.terms, girth]
        state = solve(Problem(problem.kinematics, obs, problem.weights, terms), state, 8).state
    return state


def _beta_deviation(problem: Problem, state: State, options: FitOptions) -> float:
    """Deviation of the betas' prior that makes shape as uncertain as landmarks with a constant bias leave it.

    Residuals of a biased landmark are the same in every frame, not independent: rather than weaken them all, the
    prior is raised by the factor by which they claim too much.
    """
    claimed = problem.information_per_point(state) * options.landmark_bias_m**2
    return 1 / np.sqrt(max(1.0, claimed))


def _restart_bad_frames(kinematics: Kinematics, obs: Observations, state: State) -> tuple[State, bool]:
    """Frames that ended in a wrong valley, far from what was seen or with a joint far beyond its range, take the pose
    between their good neighbours."""
    distance = np.linalg.norm(kinematics.points(state) - obs.joints, axis=-1)
    known = obs.joint_weights > 0
    error = np.array([np.median(d[k]) if k.any() else 0.0 for d, k in zip(distance, known, strict=True)])
    beyond = np.abs(joint_ranges().beyond(logarithm(state.rotations[:, 1:]))).max((1, 2))
    bad = (error > BAD_FRAME_M) | (beyond > BAD_TURN)
    if not bad.any() or bad.all():
        return state, False
    return interpolated(state, obs.times, bad), True


def interpolated(state: State, times: np.ndarray, missing: np.ndarray) -> State:
    """The state with frames ``missing`` (F,) bool replaced by what lies between their nearest other frames."""
    transl, rotations = state.transl.copy(), state.rotations.copy()
    good = np.flatnonzero(~missing)
    for f in np.flatnonzero(missing):
        after = np.searchsorted(good, f)
        a, b = good[max(after - 1, 0)], good[min(after, len(good) - 1)]
        share = 0.0 if a == b else (times[f] - times[a]) / (times[b] - times[a])
        transl[f] = (1 - share) * transl[a] + share * transl[b]
        rotations[f] = blend(state.rotations[a], state.rotations[b], share)
    return replace(state, transl=transl, rotations=rotations)


def blend(a: np.ndarray, b: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) a share of the way from a to b, along the shortest turn."""
    return a @ exponential(np.asarray(share)[..., None] * logarithm(a.swapaxes(-1, -2) @ b))


def _pixel_deviations(obs: Observations, points: np.ndarray, longer_side: int) -> np.ndarray:
    """(19,) noise of each joint's keypoints, from the median of its residuals (Rayleigh), pixels.

    A joint with few observations takes the median of the others.
    """
    if not len(obs.projections):
        return np.full(19, np.inf)
    residual = np.linalg.norm(project(obs.projections[None, :, None], points[:, None]) - obs.pixels, axis=-1)
    residual = np.where((obs.pixel_weights > 0) & np.isfinite(residual), residual, np.nan)
    count = np.isfinite(residual).sum((0, 1))
    own = np.array([np.nanmedian(residual[..., k]) if count[k] >= 10 else np.nan for k in range(19)]) / 1.1774
    others = np.nanmedian(own) if np.isfinite(own).any() else FIRST_PIXEL_SHARE * longer_side
    own = np.where(np.isfinite(own), own, others)
    return own.clip(LEAST_PIXEL_SHARE * longer_side, MOST_PIXEL_SHARE * longer_side)


def _fit_windows(setup: _Setup, obs: Observations, report: Callable[[float], None]) -> _Fitted:
    """Shape from frames all over the track, then window after window with that shape, blended where they overlap."""
    options = setup.options
    outlined = np.flatnonzero(np.isin(obs.rows, [o.row for o in setup.outlines]))
    sample = np.union1d(_sample_rows(obs, options.window_frames), outlined)
    shaped = _fit_whole(setup, obs.part(sample), lambda f: report(0.3 * f))
    cuts = windows(len(obs.rows), options.window_frames, options.overlap_frames)
    count = len(obs.rows)
    transl, rotations = np.empty((count, 3)), np.empty((count, 22, 3, 3))
    pixels, pixel_weights = obs.pixels.copy(), obs.pixel_weights.copy()
    done = 0
    for number, (start, stop) in enumerate(cuts):
        state, part = _fit_window(setup, obs.part(slice(start, stop)), shaped)
        shared = done - start
        if shared > 0:
            share = (np.arange(shared) + 1.0) / (shared + 1)
            old = slice(start, done)
            transl[old] += share[:, None] * (state.transl[:shared] - transl[old])
            rotations[old] = blend(rotations[old], state.rotations[:shared], share[:, None])
        new = slice(max(done, start), stop)
        transl[new], rotations[new] = state.transl[new.start - start :], state.rotations[new.start - start :]
        pixels[new], pixel_weights[new] = part.pixels[new.start - start :], part.pixel_weights[new.start - start :]
        done = stop
        report(0.3 + 0.7 * (number + 1) / len(cuts))
    state = replace(shaped.state, transl=transl, rotations=rotations)
    return replace(shaped, state=state, obs=replace(obs, pixels=pixels, pixel_weights=pixel_weights))


def _fit_window(setup: _Setup, obs: Observations, shaped: _Fitted) -> tuple[State, Observations]:
    """One window with the shape of ``shaped``."""
    options, kinematics = setup.options, setup.kinematics
    state = replace(initial_state(setup.plain, obs.joints, obs.joint_weights, obs.up), betas=shaped.state.betas)
    state = replace(state, offsets=shaped.state.offsets)
    first = _weights(options, FIRST_JOINT_M, np.full(19, FIRST_PIXEL_SHARE * setup.longer_side), beta=0.0)
    state = solve(Problem(kinematics, obs, first), state, options.iterations).state
    state, again = _restart_bad_frames(kinematics, obs, state)
    if options.repair_swaps and len(obs.projections):
        obs, exchanged = repair_swapped_keypoints(obs, kinematics.points(state))
        again |= exchanged > 0
    if again:
        state = solve(Problem(kinematics, obs, first), state, options.iterations).state
    final = _weights(options, _later_joint_m(obs), shaped.pixel, beta=0.0)
    problem = Problem(kinematics, obs, final, setup.terms(state, obs, shaped.floor))
    return solve(problem, state, options.iterations).state, obs


def _sample_rows(obs: Observations, count: int) -> np.ndarray:
    """``count`` rows spread over the track, from each stretch the one in which most joints are located."""
    located = obs.located.sum(1)
    edges = np.linspace(0, len(located), count + 1).astype(int)
    return np.array([a + located[a:b].argmax() for a, b in pairwise(edges) if b > a])


def windows(count: int, length: int, overlap: int) -> list[tuple[int, int]]:
    """Starts and stops of about equal windows of at most ``length`` that overlap by ``overlap``."""
    overlap = min(overlap, length // 2)
    number = max(1, int(np.ceil((count - overlap) / (length - overlap))))
    starts = np.linspace(0, max(count - length, 0), number).round().astype(int)
    return [(int(s), int(min(s + length, count))) for s in starts]
