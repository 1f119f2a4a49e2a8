"""Tracks from solved joints and the candidates that were given to each person."""

from __future__ import annotations

import numpy as np

from pipeline.association.observations import Observations
from pipeline.association.tracks import Tracks
from pipeline.cameras import project


def empty_tracks(frames: np.ndarray, cameras: int) -> Tracks:
    """Nobody: the honest result when there is nothing to associate."""
    F, C = len(frames), cameras
    return Tracks(
        np.asarray(frames, np.int64),
        np.zeros(0, np.int32),
        np.zeros((F, 0, 19, 3), np.float32),
        np.zeros((F, 0, 19), np.float32),
        np.zeros((F, 0, C, 19, 2), np.float32),
        np.zeros((F, 0, C, 19), np.float32),
        np.zeros((F, 0, C, 19), np.float32),
        np.zeros((F, 0, C), np.int32),
    )


def assemble(seen: Observations, joints: np.ndarray, chosen: np.ndarray) -> Tracks:
    """Tracks with keypoints, scores, residuals and confidences.

    Args:
        seen: candidates of the same frames.
        joints: (F, P, 19, 3) metres; absent people NaN.
        chosen: (F, P, C, 19) int candidate given to the person's joint in each camera, -1 for none.
    """
    P = chosen.shape[1]
    index = seen.places(slice(None), chosen)
    absent = ~np.isfinite(joints[..., 0]).any(-1)
    none = (chosen < 0) | absent[:, :, None, None]
    keypoints = np.where(none[..., None], np.nan, seen.points[index])
    scores = np.where(none, 0.0, seen.scores[index])
    rows = np.where(none, -1, seen.rows[index])
    pixels = project(seen.projections[:, None], joints[:, :, None])
    residuals = np.linalg.norm(pixels - keypoints, axis=-1)
    return Tracks(
        np.asarray(seen.frames, np.int64),
        np.arange(P, dtype=np.int32),
        joints.astype(np.float32),
        confidence_of(scores, absent).astype(np.float32),
        keypoints.astype(np.float32),
        scores.astype(np.float32),
        residuals.astype(np.float32),
        _most_frequent_row(rows).astype(np.int32),
    )


def confidence_of(scores: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """(F, P, 19): mean score of the views that saw the joint, times how well that many views fix it."""
    views = (scores > 0).sum(2)
    mean = scores.sum(2) / np.maximum(views, 1)
    fixed = np.array([0.0, 0.3, 0.8, 0.95, 1.0])[np.minimum(views, 4)]
    return np.where(absent[..., None], 0.0, np.clip(mean * fixed, 0.0, 1.0))


def _most_frequent_row(rows: np.ndarray) -> np.ndarray:
    """(F, P, C): the instance that most of the joints (F, P, C, 19) came from; -1 if none did."""
    counts = (rows[..., None] == rows[..., None, :]).sum(-1) * (rows >= 0)
    best = counts.argmax(-1)[..., None]
    return np.where(counts.max(-1) > 0, np.take_along_axis(rows, best, -1)[..., 0], -1)
