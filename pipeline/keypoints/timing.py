"""Detections brought to the session's clock: a camera's image is rarely taken at just the frame's instant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.keypoints.detections import Detections

NEGLIGIBLE = 0.01
"""Share of a frame's time below which nothing is moved."""

PLAUSIBLE = 0.25
"""A joint that moves by more of the person's extent from frame to frame was not followed: it is not moved."""


def on_session_clock(detections: Detections, fps: float) -> Detections:
    """Keypoints moved along their motion from when the image was taken to the instant of the frame.

    The motion of an instance is the difference between its neighbours in time, which its ``tracks`` number tells.
    Instances without one, and part candidates, stay where they are: at a fifth of a frame's time that is a fifth of
    the motion in a frame.

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
    for track in np.unique(detections.tracks[detections.tracks >= 0]):
        rows = np.flatnonzero(detections.tracks == track)
        rows = rows[np.argsort(numbers[rows], kind="stable")]
        velocity[rows] = _velocity(keypoints[rows], numbers[rows])
    moved = keypoints - np.nan_to_num(velocity) * late[row_frame][:, None, None]
    return replace(detections, keypoints=moved.astype(np.float32))


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
