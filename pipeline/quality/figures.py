"""From results to figures: what ``summary.json`` says of people, cameras and frames."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipeline.association.evidence import coverage, leave_one_out, reprojection, view_coverage
from pipeline.association.identities import spans
from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.cameras import Rig
from pipeline.export.people import on_timeline
from pipeline.keypoints.detections import Detections
from pipeline.quality.flags import FIT_LIMIT_MM, REPROJECTION_LIMIT
from pipeline.quality.summary import CameraFigures, PersonFigures, QualityTrack

if TYPE_CHECKING:
    from pipeline.synchronisation import Sync


class Residuals:
    """Distances in pixels between detections and projected joints, computed once for all figures.

    Attributes:
        direct, left_out: (F, P, C, 19) as ``pipeline.association.evidence`` gives them.
    """

    def __init__(self, rig: Rig, tracks: Tracks, detections: Sequence[Detections] | None = None) -> None:
        self.rig, self.tracks = rig, tracks
        self.direct = reprojection(rig, tracks, detections)
        self.left_out = leave_one_out(rig, tracks, detections)


def person_figures(
    residuals: Residuals, bodies: Mapping[int, BodyTrack], names: Mapping[int, str] | None = None
) -> tuple[PersonFigures, ...]:
    """Figures of everybody in the tracks."""
    tracks, covered = residuals.tracks, coverage(residuals.tracks)
    out = []
    for p, person in enumerate(tracks.person_ids.tolist()):
        runs = spans(tracks.present[:, p], tracks.frames)
        body = bodies.get(person)
        error = None if body is None else body.fit_error_m[np.asarray(body.valid, bool)] * 1000
        out.append(
            PersonFigures(
                person=person,
                name=(names or {}).get(person),
                frames_present=int(tracks.present[:, p].sum()),
                first_frame=runs[0][0] if runs else None,
                last_frame=runs[-1][1] if runs else None,
                coverage=covered[person],
                gaps=tuple(_between(tracks.frames, a[1], b[0]) for a, b in pairwise(runs)),
                reprojection_median_px=_quantile(residuals.direct[:, p], 0.5),
                reprojection_p95_px=_quantile(residuals.direct[:, p], 0.95),
                leave_one_out_median_px=_quantile(residuals.left_out[:, p], 0.5),
                body_frames=0 if body is None else int(np.sum(body.valid)),
                fit_error_median_mm=_quantile(error, 0.5),
                fit_error_p95_mm=_quantile(error, 0.95),
                invalid_frames={} if body is None else _reasons(body),
            )
        )
    return tuple(out)


def camera_figures(
    rig: Rig,
    residuals: Residuals | None = None,
    detections: Mapping[str, Detections] | None = None,
    sync: Sync | None = None,
    frames_missing: Mapping[str, int] | None = None,
) -> tuple[CameraFigures, ...]:
    """Figures of every camera of the rig, as far as there is something to tell them from."""
    out = []
    tracks = residuals.tracks if residuals is not None and len(residuals.tracks.person_ids) else None
    seen = None if tracks is None else view_coverage(tracks)
    for c, camera in enumerate(rig.cameras):
        found = (detections or {}).get(camera.name)
        synced = sync is not None and camera.name in sync.cameras
        out.append(
            CameraFigures(
                camera=camera.name,
                width=camera.size[0],
                height=camera.size[1],
                frames_missing=(frames_missing or {}).get(camera.name),
                detections_per_frame=None if found is None else len(found.boxes) / max(1, len(found.frames)),
                assigned_share=_assigned(found, tracks, c),
                seen_share=None if tracks is None else _weighted(seen[:, c], tracks.present.sum(0)),
                reprojection_median_px=None if tracks is None else _quantile(residuals.direct[:, :, c], 0.5),
                leave_one_out_median_px=None if tracks is None else _quantile(residuals.left_out[:, :, c], 0.5),
                offset_s=sync.offset(camera.name) if synced else None,
                sync_confidence=float(sync.confidence[sync.cameras.index(camera.name)]) if synced else None,
            )
        )
    return tuple(out)


def quality_tracks(
    frames: np.ndarray, residuals: Residuals | None, bodies: Mapping[int, BodyTrack], longer_side: int
) -> tuple[QualityTrack, ...]:
    """People found, reprojection a person and a camera, and fit error, per frame of ``frames`` (F,)."""
    tracks: list[QualityTrack] = []
    if residuals is not None:
        rows, own = on_timeline(frames, residuals.tracks.frames)
        limit = REPROJECTION_LIMIT * longer_side

        def on_frames(values: np.ndarray) -> np.ndarray:
            out = np.full(len(frames), np.nan)
            out[rows] = values[own]
            return out

        tracks.append(QualityTrack("people found", "people", on_frames(residuals.tracks.present.sum(1).astype(float))))
        for p, person in enumerate(residuals.tracks.person_ids.tolist()):
            values = on_frames(_medians(residuals.direct[:, p]))
            tracks.append(QualityTrack("reprojection", "px", values, person=person, limit=limit))
        for c, name in enumerate(residuals.rig.names):
            values = on_frames(_medians(residuals.left_out[:, :, c]))
            tracks.append(QualityTrack("leave-one-out", "px", values, camera=name, limit=1.5 * limit))
    for person, body in sorted(bodies.items()):
        rows, own = on_timeline(frames, body.frames)
        values = np.full(len(frames), np.nan)
        values[rows] = body.fit_error_m[own] * 1000
        tracks.append(QualityTrack("fit error", "mm", values, person=person, limit=FIT_LIMIT_MM))
    return tuple(tracks)


def coverage_mean(tracks: Tracks) -> float:
    """Share of frames in which people are seen with evidence in two views or more, between their first and last frame.

    The mean over everybody, weighted by how long they are there: what is lost of those who were in the room.
    """
    covered = there = 0
    shares = coverage(tracks)
    for p, person in enumerate(tracks.person_ids.tolist()):
        rows = np.flatnonzero(tracks.present[:, p])
        if len(rows):
            covered += shares[person] * len(tracks.frames)
            there += rows[-1] - rows[0] + 1
    return covered / there if there else 0.0


def worst_view(residuals: Residuals, frame: int, person: int) -> str | None:
    """The camera whose detections of the person lie farthest from the projected joints in that frame."""
    tracks = residuals.tracks
    row, p = int(np.searchsorted(tracks.frames, frame)), int(np.searchsorted(tracks.person_ids, person))
    per_camera = _medians(residuals.direct[row, p])
    return residuals.rig.names[int(np.nanargmax(per_camera))] if np.isfinite(per_camera).any() else None


def worst_frames(frames: np.ndarray, track: QualityTrack, count: int = 4, apart: int | None = None) -> list[int]:
    """Frame numbers of the ``count`` largest values of a track, each at least ``apart`` rows from the others.

    ``apart`` is a twentieth of the session if None, so that one bad second does not fill the list.
    """
    apart = max(1, len(frames) // 20) if apart is None else apart
    chosen: list[int] = []
    for row in np.argsort(-np.nan_to_num(track.values, nan=-np.inf), kind="stable").tolist():
        if len(chosen) == count or not np.isfinite(track.values[row]):
            break
        if all(abs(row - other) >= apart for other in chosen):
            chosen.append(row)
    return [int(frames[row]) for row in chosen]


def _between(frames: np.ndarray, before: int, after: int) -> tuple[int, int]:
    """First and last of the frames strictly between two."""
    inside = frames[(frames > before) & (frames < after)]
    return int(inside[0]), int(inside[-1])


def _assigned(found: Detections | None, tracks: Tracks | None, camera: int) -> float | None:
    if found is None or tracks is None or not len(found.boxes):
        return None
    used = tracks.instances[:, :, camera]
    return len(np.unique(used[used >= 0])) / len(found.boxes)


def _reasons(body: BodyTrack) -> dict[str, int]:
    numbers, counts = np.unique(body.reason[~np.asarray(body.valid, bool)], return_counts=True)
    return {BodyTrack.REASONS[n] or "unknown": int(c) for n, c in zip(numbers, counts, strict=True)}


def _quantile(values: np.ndarray | None, share: float) -> float | None:
    values = np.zeros(0) if values is None else np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    return float(np.quantile(values, share)) if values.size else None


def _medians(values: np.ndarray) -> np.ndarray:
    """Medians over all but the first axis; NaN where nothing is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # rows without a value are what the NaN is for
        return np.nanmedian(values.reshape(len(values), -1), axis=1)


def _weighted(values: np.ndarray, weights: np.ndarray) -> float | None:
    return float((values * weights).sum() / weights.sum()) if weights.sum() else None
