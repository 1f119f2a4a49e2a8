"""Hands and face of a fitted body, from the landmarks of them that a detector gives.

They come after the body: its wrists and head are where they start from. Only what two views agree on counts; in frames
in which too little of a hand or face was seen, it comes to rest (relaxed hands, a face at rest), smoothly. What turns
the hand about the forearm turns mostly the forearm, as bones do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.association.tracks import Tracks
from pipeline.association.triangulation import triangulate_robust
from pipeline.body.face import EXPRESSION, JAW, Face
from pipeline.body.face import NAMES as FACE_NAMES
from pipeline.body.fit import windows
from pipeline.body.hands import FINGERS, TURN, Hand
from pipeline.body.initial import fill_gaps
from pipeline.body.kinematics import Kinematics, state_of
from pipeline.body.observations import rays_of
from pipeline.body.options import FitOptions
from pipeline.body.parameters import BodyTrack
from pipeline.body.regressor import regressor_for
from pipeline.body.rotations import exponential, logarithm, nearest
from pipeline.body.series import Part, Seen, solve_series
from pipeline.cameras import Rig, project
from pipeline.keypoints.detections import Detections
from pipeline.skeletons import BODY25_HANDS_FACE, SMPLX55

if TYPE_CHECKING:
    from nets.body import BodyModel

SIDES = ("left", "right")
HAND_NAMES = tuple(
    f"{side}_{point}" for side in SIDES for point in ("hand_root", *(f"{f}{k}" for f in FINGERS for k in (1, 2, 3, "")))
)
NAMES = HAND_NAMES + FACE_NAMES
LEAST_SCORE = 0.2
OUTLIER_M = 0.04
"""A view farther from the point that the others agree on does not count."""
LEAST_SHARE = 0.3
"""A hand or face of whose points (as many as the detector gives) two views agree on fewer was not seen; at least 3."""
ASTRAY_M = 0.22
"""A hand whose points lie farther from the fitted wrist, or a face from its head, is somebody else's."""
FIRST_PIXEL_SHARE = 0.003
LEAST_PIXEL_SHARE, MOST_PIXEL_SHARE = 0.0003, 0.01
"""Deviation of points at first, and bounds of what is estimated then, as shares of the image's longer side."""
FOREARM_SHARE = 0.85
"""So much of a turn about the forearm happens below the elbow; the wrist does the rest."""


@dataclass(frozen=True)
class SeenPoints:
    """Points of one person's hands and face over the F frames of a track.

    Attributes:
        names: (K) of ``NAMES``.
        pixels: (F, C, K, 2) float32 undistorted pixels, NaN where missing; scores: (F, C, K) float32.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    scores: np.ndarray

    def part(self, rows: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, C, len(names), 2) without NaN and scores of frames ``rows``; points not given have score 0."""
        pixels = np.zeros((len(rows), self.pixels.shape[1], len(names), 2))
        scores = np.zeros(pixels.shape[:3])
        for k, name in enumerate(names):
            if name in self.names:
                own = self.names.index(name)
                seen = np.isfinite(self.pixels[rows, :, own]).all(-1)
                pixels[:, :, k] = np.where(seen[..., None], self.pixels[rows, :, own], 0.0)
                scores[:, :, k] = np.where(seen, self.scores[rows, :, own], 0.0)
        return pixels, np.where(scores >= LEAST_SCORE, np.minimum(scores, 1.0), 0.0)


def landmark_numbers(joint_set: str) -> dict[str, int]:
    """Which joints of a detector's set are points of hands and face: name of ``NAMES`` -> number.

    BlazePose's three knuckles a hand are not used. On two rendered people with 40 frames each they made wrists worse:
    off by 21 to 30 degrees about the elbow and 25 to 34 at the wrist, instead of 6 to 10 and 8 to 10 without them; it
    sees the knuckles 2 cm nearer to each other than they are.
    """
    if joint_set == BODY25_HANDS_FACE.name:
        return {name: BODY25_HANDS_FACE.index(name) for name in NAMES}
    return {}


def gather(track: Tracks, detections: Iterable[Detections | None]) -> SeenPoints | None:
    """What was seen of hands and face of the one person of ``track``: the rest of the instances that association gave
    them.

    Args:
        detections: one a camera in the track's order, the ones that ``track.instances`` counts in; None for a camera
            without.

    Returns:
        None if no detector gives such points.
    """
    frames, _, cameras = track.instances.shape
    found, numbers = {}, {}
    for c, detected in enumerate(detections):
        own = {} if detected is None else landmark_numbers(detected.joint_set)
        if own:
            numbers |= own
            rows = track.instances[:, 0, c]
            there = (rows >= 0) & (rows < len(detected.keypoints))
            columns = list(own.values())
            picked = np.where(there, rows, 0)
            xy = detected.keypoints[picked][:, columns] if len(detected.keypoints) else np.zeros((frames, len(own), 2))
            s = detected.scores[picked][:, columns] if len(detected.keypoints) else np.zeros((frames, len(own)))
            found[c] = (list(own), np.where(there[:, None, None], xy, np.nan), np.where(there[:, None], s, 0.0))
    if not numbers:
        return None
    names = tuple(n for n in NAMES if n in numbers)
    pixels = np.full((frames, cameras, len(names), 2), np.nan, np.float32)
    scores = np.zeros((frames, cameras, len(names)), np.float32)
    for c, (own, xy, s) in found.items():
        columns = [names.index(n) for n in own]
        pixels[:, c, columns], scores[:, c, columns] = xy, s
    return SeenPoints(names, pixels, scores)


def fit_extremities(
    model: BodyModel, rig: Rig, body: BodyTrack, seen: SeenPoints, options: FitOptions
) -> tuple[BodyTrack, dict[str, int]]:
    """The body with hands, wrists, forearms, head, jaw and expression as their landmarks say.

    Args:
        body: fitted, its wrists and head where the body's own landmarks put them.
        seen: over the same frames.

    Returns:
        the body; in how many frames "left_hand", "right_hand" and "face" were seen.
    """
    rows = np.flatnonzero(np.isfinite(body.transl).all(1))
    counts = {"left_hand": 0, "right_hand": 0, "face": 0}
    if not len(rows):
        return body, counts
    state = state_of(body, rows)
    kinematics = Kinematics(model, regressor_for(model))
    rotations, positions = kinematics.joints(state)
    times = body.frames[rows] / float(options.fps)
    changed = {name: getattr(body, name).copy() for name in BodyTrack.FIELDS if getattr(body, name).ndim == 2}
    local = state.rotations.copy()
    for side in SIDES:
        wrist, elbow = (SMPLX55.index(f"{side}_{j}") for j in ("wrist", "elbow"))
        if not any(n in seen.names for n in HAND_NAMES if n.startswith(side)):
            continue

        def hand(part: np.ndarray, side: str = side, wrist: int = wrist) -> Hand:
            return Hand(model, side, state.betas, rotations[part, wrist], positions[part, wrist])

        solved, counts[f"{side}_hand"] = _fit_part(hand, rig, seen, rows, times, options)
        if solved is not None:
            every = hand(np.arange(len(rows)))
            changed[f"{side}_hand_pose"][rows] = every.pose(solved)
            bone = kinematics.rest(state.betas)[wrist] - kinematics.rest(state.betas)[elbow]
            turn = exponential(solved[:, TURN])
            local[:, elbow], local[:, wrist] = _share_turn(local[:, elbow], local[:, wrist], turn, bone)
    if model.face_landmarks is not None and any(n in seen.names for n in FACE_NAMES):
        head = SMPLX55.index("head")

        def face(part: np.ndarray) -> Face:
            return Face(model, state.betas, rotations[part, head], positions[part, head])

        solved, counts["face"] = _fit_part(face, rig, seen, rows, times, options)
        if solved is not None:
            changed["jaw_pose"][rows], changed["expression"][rows] = solved[:, JAW], solved[:, EXPRESSION]
            local[:, head] = local[:, head] @ exponential(solved[:, TURN])
    changed["body_pose"][rows] = logarithm(local[:, 1:]).reshape(len(rows), 63)
    return replace(body, **changed), counts


def _share_turn(elbow: np.ndarray, wrist: np.ndarray, turn: np.ndarray, bone: np.ndarray):
    """Local rotations of elbow and wrist (F, 3, 3) when the hand turns on by ``turn``: what of it is about the forearm
    (``bone``) goes mostly to the elbow."""
    turned = wrist @ turn
    axis = bone / np.linalg.norm(bone)
    twist = _twist(turned, axis) - _twist(wrist, axis)
    twist = FOREARM_SHARE * ((twist + np.pi) % (2 * np.pi) - np.pi)
    about = exponential(twist[:, None] * axis)
    return elbow @ about, about.swapaxes(-1, -2) @ turned


def _twist(rotation: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(F,) angle of the part of a rotation that is about an axis."""
    quaternion = Rotation.from_matrix(rotation).as_quat()
    return 2 * np.arctan2(quaternion[:, :3] @ axis, quaternion[:, 3])


def _fit_part(
    make: Callable[[np.ndarray], Part], rig: Rig, seen: SeenPoints, rows: np.ndarray, times: np.ndarray,
    options: FitOptions,
) -> tuple[np.ndarray | None, int]:  # fmt: skip
    """Unknowns (F, U) over ``rows`` and in how many frames the part was seen; None where it never was."""
    whole = make(np.arange(len(rows)))
    pixels, weights = seen.part(rows, whole.names)
    given = sum(n in seen.names for n in whole.names)
    points, weights = _agreed(rig, pixels, weights)
    located = np.isfinite(points[..., 0])
    apart = np.where(located, np.linalg.norm(points - whole.positions[:, None], axis=-1), np.nan)
    astray = np.array([not k.any() or np.median(a[k]) > ASTRAY_M for a, k in zip(apart, located, strict=True)])
    observed = (located.sum(1) >= max(3, round(LEAST_SHARE * given))) & ~astray
    if not observed.any():
        return None, 0
    weights[~observed] = 0.0
    start = _first(whole, np.where(observed[:, None, None], points, np.nan))
    longer = max(max(c.size) for c in rig.cameras)
    deviation = FIRST_PIXEL_SHARE * longer
    for _ in range(2):
        unknowns = _in_windows(make, Seen(times, pixels, weights, rig.projections, deviation), start, options)
        image = project(rig.projections[None, :, None], whole.points(unknowns)[:, None])
        deviation = np.median(np.linalg.norm(image - pixels, axis=-1)[weights > 0]) / 1.1774
        deviation = float(np.clip(deviation, LEAST_PIXEL_SHARE * longer, MOST_PIXEL_SHARE * longer))
        start = unknowns
    return unknowns, int(observed.sum())


def _agreed(rig: Rig, pixels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (F, K, 3) that two views agree on, NaN elsewhere, and the weights of the views that do."""
    centres, rays = rays_of(rig.projections, pixels)
    points, agrees = triangulate_robust(centres, rays, weights.transpose(0, 2, 1), OUTLIER_M)
    return points, np.where(agrees.transpose(0, 2, 1), weights, 0.0)


def _first(part: Part, points: np.ndarray) -> np.ndarray:
    """Unknowns whose turn lays the resting part on what was located (Kabsch), carried over frames without."""
    rest = part.still()
    vectors = np.full((len(points), 1, 3), np.nan)
    for f, found in enumerate(points):
        known = np.isfinite(found[:, 0]) & part.rigid
        if known.sum() < 3:
            continue
        a, b = (x[known] - x[known].mean(0) for x in (rest, found))
        if np.linalg.svd(a, compute_uv=False)[1] < 0.005:  # on a line: any turn about it would do
            continue
        vectors[f, 0] = logarithm(nearest(part.rotations[f].T @ (b.T @ a)))
    start = np.broadcast_to(part.mean, (len(points), len(part.mean))).copy()
    start[:, TURN] = np.nan_to_num(fill_gaps(vectors)[:, 0])
    return start


def _in_windows(
    make: Callable[[np.ndarray], Part], seen: Seen, start: np.ndarray, options: FitOptions
) -> np.ndarray:
    """Window after window, blended where they overlap."""
    out, done = np.empty_like(start), 0
    for first, stop in windows(len(start), options.window_frames, options.overlap_frames):
        part = slice(first, stop)
        cut = replace(seen, times=seen.times[part], pixels=seen.pixels[part], weights=seen.weights[part])
        solved = solve_series(make(np.arange(first, stop)), cut, start[part])
        shared = max(done - first, 0)
        share = ((np.arange(shared) + 1.0) / (shared + 1))[:, None]
        out[first:done] += share * (solved[:shared] - out[first:done])
        out[max(done, first) : stop] = solved[shared:]
        done = stop
    return out
