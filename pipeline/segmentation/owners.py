"""Which of a view's detections belongs to which person of the session."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.keypoints.detections import Detections
from pipeline.skeletons import SETS, SKEL19, map_joints

FARTHEST = 0.12
"""Median distance of a detection's joints from the person's projected ones, as a share of the person's extent in the
image, up to which it may be theirs."""


def owners_of(
    detections: Detections, frame_index: int, projected: np.ndarray, assigned: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ``detections`` that show each person in one frame, and those that show nobody of the session.

    Args:
        frame_index: into ``detections.frames``.
        projected: (P, 19, 2) pixels, the people's 3D joints in this view; NaN where unknown.
        assigned: (P, 19, 2) pixels, the joints that association gave to them in this view; NaN where it gave none.

    Returns:
        (P,) row of an instance, -1 for none; rows of instances that nobody has.
    """
    rows = np.arange(*detections.instances(frame_index).indices(len(detections.keypoints)))
    owners = np.full(len(projected), -1)
    if not len(rows) or not len(projected):
        return owners, rows
    found, scores = map_joints(
        detections.keypoints[rows], detections.scores[rows], SETS[detections.joint_set], SKEL19
    )
    found = np.where(scores[..., None] > 0, found, np.nan)
    cost = np.full((len(projected), len(rows)), np.inf)
    for p in range(len(projected)):
        extent = _extent(projected[p])
        for wanted, trust in ((assigned[p], 0.1), (projected[p], 1.0)):  # association has looked closer
            if np.isfinite(wanted).any() and extent > 0:
                distance = trust * _median_distance(found, wanted) / extent
                cost[p] = np.fmin(cost[p], distance)
    usable = np.where(cost <= FARTHEST, cost, 1e3)
    for p, i in zip(*linear_sum_assignment(usable), strict=True):
        if usable[p, i] < 1e3:
            owners[p] = rows[i]
    return owners, np.setdiff1d(rows, owners)


def _median_distance(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N,) median pixels between joints (N, 19, 2) and (19, 2), inf with fewer than four in common."""
    distance = np.linalg.norm(found - wanted, axis=-1)
    enough = np.isfinite(distance).sum(-1) >= 4
    return np.where(enough, np.nanmedian(np.where(enough[:, None], distance, 0.0), axis=-1), np.inf)


def _extent(points: np.ndarray) -> float:
    points = points[np.isfinite(points).all(-1)]
    return float(np.linalg.norm(np.ptp(points, axis=0))) if len(points) else 0.0
