"""How well tracks agree with what the cameras saw: reprojection, leave-one-camera-out, coverage, drift.

All figures are over every detection that belongs to a person, also those that the solver gave little weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.association.triangulation import nearest_point
from pipeline.cameras import Rig, project
from pipeline.keypoints.detections import Detections
from pipeline.skeletons import SKEL19, map_joints


def belonging(tracks: Tracks, detections: Sequence[Detections] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What was detected of each person: keypoints (F, P, C, 19, 2) pixels and scores (F, P, C, 19), 0 for nothing.

    With the detections given, whole instances count wherever a person has one, whether or not each of their joints was
    assigned; candidates of bottom-up detectors count as assigned.
    """
    keypoints, scores = np.array(tracks.keypoints, np.float64), np.array(tracks.scores, np.float64)
    for c, d in enumerate(detections or ()):
        if len(d.keypoints) == 0:
            continue
        points, found = map_joints(d.keypoints, np.nan_to_num(d.scores), d.joints, SKEL19)
        found = np.where(np.isfinite(points).all(-1), found, 0.0)
        rows = tracks.instances[:, :, c]
        whole = (rows >= 0)[..., None]
        rest, rest_scores = points[np.maximum(rows, 0)], found[np.maximum(rows, 0)]
        # Points that the person has under the name of the other side (left taken for right) are not counted twice.
        turned = np.isclose(rest, keypoints[:, :, c][:, :, SKEL19.mirror], atol=1e-3).all(-1)
        add = whole & ~turned & (scores[:, :, c] == 0) & (rest_scores > 0)
        keypoints[:, :, c][add], scores[:, :, c][add] = rest[add], rest_scores[add]
    return keypoints, scores


def reprojection(
    rig: Rig, tracks: Tracks, detections: Sequence[Detections] | None = None, min_score: float = 0.3
) -> np.ndarray:
    """(F, P, C, 19) pixels between detections scoring above ``min_score`` and the projected joints; NaN elsewhere."""
    keypoints, scores = belonging(tracks, detections)
    pixels = project(rig.projections[:, None], np.asarray(tracks.joints, np.float64)[:, :, None])
    return np.where(scores > min_score, np.linalg.norm(pixels - keypoints, axis=-1), np.nan)


def leave_one_out(
    rig: Rig, tracks: Tracks, detections: Sequence[Detections] | None = None, min_score: float = 0.3
) -> np.ndarray:
    """(F, P, C, 19) pixels between detections and joints triangulated from the other cameras alone.

    The other cameras' observations are those assigned to the joint; nothing of the camera left out and no skeleton
    enters. NaN where fewer than two other cameras saw the joint.
    """
    keypoints, scores = belonging(tracks, detections)
    used = np.asarray(tracks.scores, np.float64)
    # (F, P, 19, C, ...) so that cameras are what is triangulated over
    rays = np.stack([c.rays(tracks.keypoints[:, :, k]) for k, c in enumerate(rig.cameras)], -2)
    rays, used = np.nan_to_num(rays), np.moveaxis(used, 2, -1)
    out = np.full(scores.shape, np.nan)
    for c, camera in enumerate(rig.cameras):
        others = used.copy()
        others[..., c] = 0
        points = nearest_point(rig.centres, rays, others)
        gap = np.linalg.norm(project(camera.P, points) - keypoints[:, :, c], axis=-1)
        out[:, :, c] = np.where(scores[:, :, c] > min_score, gap, np.nan)
    return out


def views_of(tracks: Tracks, min_joints: int = 3) -> np.ndarray:
    """(F, P) number of cameras that saw at least ``min_joints`` joints of the person."""
    return ((tracks.scores > 0).sum(-1) >= min_joints).sum(-1)


def coverage(tracks: Tracks, ids: Sequence[int] | None = None) -> dict[int, float]:
    """Share of all frames in which each person is present with evidence in at least two views."""
    good = tracks.present & (views_of(tracks) >= 2)
    share = good.mean(0) if len(tracks.frames) else np.zeros(len(tracks.person_ids))
    return {int(i): float(s) for i, s in zip(tracks.person_ids, share, strict=True) if ids is None or i in ids}


def view_coverage(tracks: Tracks, min_joints: int = 3) -> np.ndarray:
    """(P, C) share of a person's frames in which that camera saw at least ``min_joints`` joints."""
    seen = (tracks.scores > 0).sum(-1) >= min_joints
    frames = np.maximum(tracks.present.sum(0), 1)[:, None]
    return (seen & tracks.present[..., None]).sum(0) / frames


def seen_where_expected(rig: Rig, tracks: Tracks, min_joints: int = 3) -> np.ndarray:
    """(C,) of the person-frames inside a camera's picture, the share in which it saw the person; NaN if none are.

    A camera far below the others looks elsewhere than its calibration says: exchanged videos, a camera that was moved,
    clocks out of step, or a detector that found nothing.
    """
    pixels = project(rig.projections[:, None], np.asarray(tracks.joints, np.float64)[:, :, None])
    sizes = np.array([c.size for c in rig.cameras])[:, None]
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels < sizes)).all(-1).mean(-1) > 0.6
    saw = (tracks.scores > 0).sum(-1) >= min_joints
    total = inside.sum((0, 1))
    return np.where(total > 0, (inside & saw).sum((0, 1)) / np.maximum(total, 1), np.nan)


def rolling_residuals(residuals: np.ndarray, window: int) -> np.ndarray:
    """(F, C) median residual in pixels of each camera over a centred window of frames; NaN where it saw nothing."""
    F, _, C, _ = residuals.shape
    out = np.full((F, C), np.nan)
    half = window // 2
    for c in range(C):
        per_frame = residuals[:, :, c].reshape(F, -1)
        for f in range(F):
            values = per_frame[max(0, f - half) : f + half + 1]
            values = values[np.isfinite(values)]
            if values.size:
                out[f, c] = np.median(values)
    return out


def drifting_cameras(
    rig: Rig, tracks: Tracks, fps: float, window_s: float = 1.0, factor: float = 2.5, least_px: float = 4.0
) -> list[dict]:
    """Cameras that disagree with the others for a while: moved, bumped, or out of step.

    A camera is named where the joints triangulated without it lie ``factor`` times farther from its detections than is
    usual for the other cameras, and at least ``least_px`` more, over a rolling window.

    Returns:
        one dict a finding: camera, first, last (frame numbers), residual_px, usual_px.
    """
    if len(rig) < 3 or len(tracks.frames) == 0:
        return []
    window = max(3, int(window_s * fps))
    rolling = rolling_residuals(leave_one_out(rig, tracks), window)
    findings = []
    for c, name in enumerate(rig.names):
        others = np.delete(rolling, c, axis=1)
        known = np.isfinite(others)
        usual = np.array([np.min(o[k]) if k.any() else np.nan for o, k in zip(others, known, strict=True)])
        with np.errstate(invalid="ignore"):
            bad = (rolling[:, c] > factor * usual) & (rolling[:, c] > usual + least_px)
            # The worst camera spoils the triangulation of the others: only the worst of a frame is named.
            bad &= rolling[:, c] >= np.where(known, others, -np.inf).max(1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(np.int8), [0]])))
        for a, b in zip(edges[::2], edges[1::2], strict=True):
            if b - a >= window:
                findings.append(
                    {
                        "camera": name,
                        "first": int(tracks.frames[a]),
                        "last": int(tracks.frames[b - 1]),
                        "residual_px": float(np.median(rolling[a:b, c])),
                        "usual_px": float(np.median(usual[a:b])),
                    }
                )
    return findings


def summary(rig: Rig, tracks: Tracks, detections: Sequence[Detections] | None = None, min_score: float = 0.3) -> dict:
    """Medians for ``summary.json``: over everybody, a person, and a camera; pixels, shares and counts."""
    direct = reprojection(rig, tracks, detections, min_score)
    left_out = leave_one_out(rig, tracks, detections, min_score)
    covered = coverage(tracks)
    views = view_coverage(tracks)
    expected = seen_where_expected(rig, tracks)
    return {
        "people": len(tracks.person_ids),
        "reprojection_median_px": _median(direct),
        "leave_one_out_median_px": _median(left_out),
        "detections": int(np.isfinite(direct).sum()),
        "person_frames": int(tracks.present.sum()),
        "person_frames_under_two_views": int((tracks.present & (views_of(tracks, 1) < 2)).sum()),
        "persons": [
            {
                "id": int(i),
                "coverage": covered[int(i)],
                "reprojection_median_px": _median(direct[:, p]),
                "leave_one_out_median_px": _median(left_out[:, p]),
                "view_coverage": {n: float(v) for n, v in zip(rig.names, views[p], strict=True)},
            }
            for p, i in enumerate(tracks.person_ids)
        ],
        "cameras": [
            {
                "camera": n,
                "reprojection_median_px": _median(direct[:, :, c]),
                "leave_one_out_median_px": _median(left_out[:, :, c]),
                "seen_where_expected": None if np.isnan(expected[c]) else float(expected[c]),
            }
            for c, n in enumerate(rig.names)
        ],
    }


def _median(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else None
