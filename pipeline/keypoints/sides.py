"""Left and right that stay what they are.

A detector that sees a person from behind, or without a face, now and then takes him for one who faces the camera: left
and right swap for one or for many frames, sometimes of the legs alone. No body turns within a frame, so over a track
the swaps are found by a shortest path (Viterbi) over two states a frame, as the detector says or mirrored: staying in a
state through a swap, or changing it where there was none, costs what many frames of contradicting the detector cost.
Only frames that resemble a neighbour clearly one way round take part; the others follow those around them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.keypoints.detections import Detections
from pipeline.skeletons import JointSet

_JUMP_COST = 60.0  # frames of contradicting the detector that one swap costs
_APART_COST = 1.0  # a frame in which the legs are mirrored and the arms are not, or the reverse
_CLEAR = 0.3  # difference of similarities from which it is known which way round two frames go together
_CERTAIN = 0.4  # difference from which it is certain
_MEMORY = 20.0  # frames after which what joins two frames counts little
_TOLERANCE = 0.05  # of the larger side of the person
_LOWER = ("hip", "knee", "ankle", "heel", "toe")


def settle_sides(detections: Detections) -> Detections:
    """The same detections with left and right joints exchanged where a track had swapped them.

    Instances without a track (-1) stay as they are.
    """
    keypoints, scores = detections.keypoints.copy(), detections.scores.copy()
    mirror = detections.joints.mirror
    upper, lower = _sided_joints(detections.joints)
    for track in np.unique(detections.tracks[detections.tracks >= 0]):
        rows = np.nonzero(detections.tracks == track)[0]
        points, weights = keypoints[rows].astype(np.float64), np.clip(scores[rows], 0.0, 1.0)
        size = _sizes(points)
        above = _mirrored(points, weights, mirror, upper, size, None)
        below = _mirrored(points, weights, mirror, lower, size, above)
        for mirrored, joints in ((above, upper), (below, lower)):
            swap = np.ix_(rows[mirrored], joints)
            other = np.ix_(rows[mirrored], mirror[joints])
            keypoints[swap], scores[swap] = keypoints[other], scores[other]
    return replace(detections, keypoints=keypoints, scores=scores)


def _sided_joints(joints: JointSet) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the joints that have another side: (above the hips, hips and legs)."""
    sided = [i for i, j in enumerate(joints.mirror) if i != j]
    low = [any(part in joints.joints[i] for part in _LOWER) for i in sided]
    upper, lower = ([i for i, is_low in zip(sided, low, strict=True) if is_low == want] for want in (False, True))
    return np.array(upper, int), np.array(lower, int)


def _sizes(points: np.ndarray) -> np.ndarray:
    """(T,) larger side of the boxes around points (T, J, 2), pixels."""
    known = np.isfinite(points).all(-1, keepdims=True)
    extent = np.where(known, points, -np.inf).max(1) - np.where(known, points, np.inf).min(1)
    return np.maximum(np.where(np.isfinite(extent), extent, 0.0).max(-1), 1.0)


def _mirrored(
    points: np.ndarray,
    weights: np.ndarray,
    mirror: np.ndarray,
    joints: np.ndarray,
    size: np.ndarray,
    upper: np.ndarray | None,
) -> np.ndarray:
    """(T,) bool for one track: in which frames ``joints`` have left and right exchanged.

    Args:
        points, weights: (T, J, 2), (T, J).
        upper: (T,) what was found for the upper body, which the legs rather follow.
    """

    def links(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there, other = joints, mirror[joints]
        s = _TOLERANCE * np.sqrt(size[a] * size[b])
        return tuple(
            _alike(points[a][:, there], points[b][:, to], weights[a][:, there] * weights[b][:, to], s)
            for to in (there, other)
        )

    count = len(points)
    if count < 2 or not len(joints):
        return np.zeros(count, bool)
    frames = np.arange(count)
    direct, crossed = links(frames[:-1], frames[1:])
    known = np.abs(direct - crossed) > _CLEAR
    clear = np.nonzero(np.concatenate([known, [False]]) | np.concatenate([[False], known]))[0]
    if len(clear) == 0:
        return np.zeros(count, bool)
    unary = np.tile([0.0, 1.0], (len(clear), 1))
    if upper is not None:
        unary += _APART_COST * np.where(upper[clear, None], [1.0, 0.0], [0.0, 1.0])
    direct, crossed = links(clear[:-1], clear[1:])
    bond = _JUMP_COST * np.exp(-(np.diff(clear) - 1) / _MEMORY) * np.clip((direct - crossed) / _CERTAIN, -1.0, 1.0)
    states = _shortest_path(unary, bond)
    # Frames between go with the nearest clear frame.
    nearest = np.abs(frames[:, None] - clear).argmin(1)
    out = states[nearest] == 1
    out[clear] = states == 1
    rest = np.setdiff1d(frames, clear)
    if len(rest):
        direct, crossed = links(clear[nearest[rest]], rest)
        out[rest] ^= crossed > direct + 0.5 * _CLEAR
    return out


def _shortest_path(unary: np.ndarray, bond: np.ndarray) -> np.ndarray:
    """(T,) states 0 or 1 of least cost: unary (T, 2), and bond (T - 1,) to be paid for changing (or, if negative, for
    not changing) from one frame to the next."""
    stay, change = np.clip(-bond, 0.0, None), np.clip(bond, 0.0, None)
    cost, origin = unary[0].copy(), np.zeros(unary.shape, int)
    for t in range(1, len(unary)):
        steps = cost[:, None] + np.array([[stay[t - 1], change[t - 1]], [change[t - 1], stay[t - 1]]])
        # A tie keeps the state: where nothing speaks for an exchange there is none.
        origin[t] = int(steps[1, 0] < steps[0, 0]), int(steps[1, 1] <= steps[0, 1])
        cost = steps[origin[t], [0, 1]] + unary[t]
    states = np.zeros(len(unary), int)
    states[-1] = int(cost[1] < cost[0])
    for t in range(len(unary) - 1, 0, -1):
        states[t - 1] = origin[t, states[t]]
    return states


def _alike(a: np.ndarray, b: np.ndarray, weight: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """(T,) 0..1: keypoint similarity of points (T, K, 2) with weights (T, K); sigma (T,) pixels."""
    distance2 = ((a - b) ** 2).sum(-1)
    weight = np.where(np.isfinite(distance2), weight, 0.0)
    value = np.exp(-np.nan_to_num(distance2) / (2.0 * sigma[:, None] ** 2))
    return (weight * value).sum(1) / np.maximum(weight.sum(1), 1e-9)
