"""Detections brought to the session's clock: a camera's image is rarely taken at just the frame's instant."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.keypoints.detections import Detections

NEGLIGIBLE = 0.01
"""Share of a frame's time below which nothing is moved."""

PLAUSIBLE = 0.25
"""A joint that moves by more of the person's extent from frame to frame was not followed: it is not moved."""


def on_session_clock(detections: Detections, fps: float) -> Detections:
    """Keypoints moved along their motion from when the image was taken to the instant of the frame.

    The motion of an instance is the difference between its neighbours in time, which its ``tracks`` number tells, or
    else what lies nearest in the frame before. Part candidates belong to nobody and stay where they are.

    Args:
        detections: of one camera, with ``time_error_s``.
        fps: frame numbers a second.
    """
    late = detections.time_error_s
    if late is None or len(detections.keypoints) == 0:
        return detections
    late = np.nan_to_num(late) * fps  # in frames
    if np.abs(late).max(initial=0) < NEGLIGIBLE:
        return detections
    row_frame = np.repeat(np.arange(len(detections.frames)), np.diff(detections.offsets))
    numbers = detections.frames[row_frame]
    keypoints = detections.keypoints.astype(np.float64)
    velocity = np.full_like(keypoints, np.nan)  # pixels a frame number
    tracks = _linked(detections)
    for track in np.unique(tracks):
        rows = np.flatnonzero(tracks == track)
        rows = rows[np.argsort(numbers[rows], kind="stable")]
        velocity[rows] = _velocity(keypoints[rows], numbers[rows])
    moved = keypoints - np.nan_to_num(velocity) * late[row_frame][:, None, None]
    return replace(detections, keypoints=moved.astype(np.float32))


def _linked(detections: Detections) -> np.ndarray:
    """(N,) track numbers; instances without one are linked to the nearest of the frame before."""
    tracks = detections.tracks.astype(np.int64)
    fresh = int(tracks.max(initial=-1)) + 1
    before = np.zeros(0, np.int64)
    for f in range(len(detections.frames)):
        rows = np.arange(len(tracks))[detections.instances(f)]
        rows = rows[detections.tracks[rows] < 0]
        points = detections.keypoints
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # two people without a joint in common have no distance
            gaps = np.nanmedian(np.linalg.norm(points[rows, None] - points[None, before], axis=-1), axis=-1)
            extent = np.nanmax(np.nanmax(points[rows], 1) - np.nanmin(points[rows], 1), axis=-1, initial=0)
        gaps = np.nan_to_num(gaps, nan=np.inf) / np.maximum(extent, 1e-6)[:, None]
        for a, b in zip(*linear_sum_assignment(np.minimum(gaps, 1e3)), strict=True):
            if gaps[a, b] <= PLAUSIBLE:
                tracks[rows[a]] = tracks[before[b]]
        new = rows[tracks[rows] < 0]
        tracks[new] = fresh + np.arange(len(new))
        fresh += len(new)
        before = rows
    return tracks


def _velocity(points: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(N, J, 2) pixels a frame number of one track's points (N, J, 2); NaN where it cannot be told."""
    if len(points) < 2:
        return np.full_like(points, np.nan)
    span = np.diff(numbers).astype(np.float64)
    span[span <= 0] = np.nan
    step = np.diff(points, axis=0) / span[:, None, None]
    with np.errstate(invalid="ignore"):
        extent = np.nanmax(points, axis=1) - np.nanmin(points, axis=1)
        allowed = PLAUSIBLE * np.nanmax(extent, axis=-1)
        # A gap in a track is no motion that could be followed; the usual step between frames is the shortest one.
        followed = (span <= 2 * np.nanmin(span))[:, None] & (np.linalg.norm(step, axis=-1) <= allowed[:-1, None])
    step = np.where(followed[..., None], step, np.nan)
    none = np.full_like(points[:1], np.nan)
    before, after = np.concatenate([none, step]), np.concatenate([step, none])
    both = 0.5 * (before + after)
    return np.where(np.isfinite(both), both, np.where(np.isfinite(before), before, after))
