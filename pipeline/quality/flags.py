"""What a lab should look at, and what to do about it, told from the figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.quality.summary import FAILED, CameraFigures, Flag, PersonFigures, StageFigures
from pipeline.skeletons import SKEL19

FIT_LIMIT_MM = 60.0
"""Median distance between a body's joints and the triangulated ones from which a frame deserves a look."""

REPROJECTION_LIMIT = 0.008
"""The same for reprojection, as a share of the images' longer side: 15 px at 1920."""


@dataclass(frozen=True)
class Limits:
    """From where a figure is worth a sentence.

    Attributes:
        camera_ratio: a camera's error against the median of the others'.
        reprojection: share of the longer side of the image.
        all_cameras: the same for the median camera; above it, all of the rig is in doubt.
        fit_mm: median fit error.
        gap_s: how long a person may be lost.
        passing_share: share of the frames below which a person is called a passer-by.
        seen_share: share of person-frames that a camera should see.
        sync_confidence: 0 to 1.
        missing_share: share of frames without an image.
        speed_m_s: faster than people move; a swap of identities looks like this.
        invalid_share: share of a person's frames without a valid body.
    """

    camera_ratio: float = 2.5
    reprojection: float = REPROJECTION_LIMIT
    all_cameras: float = 0.015
    fit_mm: float = FIT_LIMIT_MM
    gap_s: float = 0.5
    passing_share: float = 0.1
    seen_share: float = 0.15
    sync_confidence: float = 0.5
    missing_share: float = 0.01
    speed_m_s: float = 10.0
    invalid_share: float = 0.05


LIMITS = Limits()


def all_flags(
    stages: Sequence[StageFigures],
    people: Sequence[PersonFigures],
    cameras: Sequence[CameraFigures],
    *,
    frames: int,
    fps: float,
    step: int = 1,
    tracks: Tracks | None = None,
    drifts: Sequence[Mapping] = (),
    limits: Limits = LIMITS,
) -> tuple[Flag, ...]:
    """All flags, errors first.

    Args:
        frames: number of frames of the session.
        fps: frame numbers a second.
        step: between frame numbers.
        tracks: everybody's, to look for jumps.
        drifts: as ``pipeline.association.evidence.drifting_cameras`` gives them.
    """
    found = [
        *_stage_flags(stages),
        *_nobody(stages, people, cameras),
        *_camera_flags(cameras, frames, limits),
        *_drift_flags(drifts),
        *_person_flags(people, frames, fps, limits),
        *([] if tracks is None else _jump_flags(tracks, fps, step, limits)),
    ]
    return tuple(sorted(found, key=lambda flag: flag.severity != "error"))


def _stage_flags(stages: Sequence[StageFigures]) -> Iterable[Flag]:
    for stage in stages:
        if stage.state == FAILED:
            parts = ", ".join(p.part for p in stage.problems[:5]) + (", …" if len(stage.problems) > 5 else "")
            first = stage.problems[0].error or "no reason was recorded"
            text = f"Stage {stage.stage} failed for {len(stage.problems)} of {stage.parts} parts ({parts}): {first}."
            yield Flag("error", stage.stage, _one_stop(text), "See the log below, mend the cause and run again.")
        if stage.retried:
            yield Flag(
                "warning", stage.stage,
                f"Stage {stage.stage}: {stage.retried} of {stage.parts} parts could be made in a later try only.",
                "Most often memory ran out: fewer compute.workers leave more of it to each.",
            )  # fmt: skip


def _nobody(
    stages: Sequence[StageFigures], people: Sequence[PersonFigures], cameras: Sequence[CameraFigures]
) -> Iterable[Flag]:
    tracked = any(s.stage in ("association", "identities") and s.parts_done for s in stages)
    if not tracked or any(p.frames_present for p in people):
        return
    if cameras and all(c.detections_per_frame == 0 for c in cameras):
        yield Flag(
            "error", "session", "Nobody was tracked in 3D: no camera shows anybody to the detector.",
            "Look at the overlays: if people are there, they may be too dark, too small or lie on their side.",
        )  # fmt: skip
        return
    yield Flag(
        "error", "session", "Nobody was tracked in 3D.",
        "Look at the overlays: if people are detected in every view, the calibration does not fit the videos, or they "
        "were there for fewer frames than association.min_track_frames.",
    )  # fmt: skip


def _camera_flags(cameras: Sequence[CameraFigures], frames: int, limits: Limits) -> Iterable[Flag]:
    known = [c for c in cameras if c.leave_one_out_median_px is not None]
    if known and np.median([c.leave_one_out_median_px / max(c.width, c.height) for c in known]) > limits.all_cameras:
        yield Flag(
            "warning", "cameras",
            "The cameras disagree with one another: what one sees lies "
            f"{np.median([c.leave_one_out_median_px for c in known]):.0f} px from where the others put it.",
            "Check that the calibration is of these videos, and their synchronisation.",
        )  # fmt: skip
    for camera in cameras:
        name = f"Camera {camera.camera}"
        others = [
            c.leave_one_out_median_px / max(c.width, c.height)
            for c in cameras
            if c is not camera and c.leave_one_out_median_px is not None
        ]
        if camera.leave_one_out_median_px is not None and others:
            side = max(camera.width, camera.height)
            share, usual = camera.leave_one_out_median_px / side, float(np.median(others))
            if share > limits.camera_ratio * usual and share > limits.reprojection:
                yield Flag(
                    "warning", camera.camera,
                    f"{name} disagrees with the others: what it sees lies {camera.leave_one_out_median_px:.0f} px from "
                    f"where they put it; {usual * side:.0f} px is usual here.",
                    "Check its calibration and its time offset.",
                )  # fmt: skip
        if camera.sync_confidence is not None and camera.sync_confidence < limits.sync_confidence:
            yield Flag(
                "warning", camera.camera,
                f"{name} could not be synchronised with confidence ({camera.sync_confidence:.0%}).",
                "Give its offset by hand: capture.sync {method: offsets}.",
            )  # fmt: skip
        if camera.frames_missing and camera.frames_missing > limits.missing_share * frames:
            yield Flag(
                "warning", camera.camera, f"{name} has no image for {camera.frames_missing} of {frames} frames.",
                "See whether its video ends early, drops frames or is damaged; the log of stage frames says which.",
            )  # fmt: skip
        if camera.seen_share is not None and camera.seen_share < limits.seen_share:
            yield Flag(
                "warning", camera.camera,
                f"{name} contributes little: it saw the people in {camera.seen_share:.0%} of their frames.",
                "Look at its overlay: it may be turned away, too dark, or its people are not detected.",
            )  # fmt: skip


def _drift_flags(drifts: Sequence[Mapping]) -> Iterable[Flag]:
    for drift in drifts:
        yield Flag(
            "warning", drift["camera"],
            f"Camera {drift['camera']} drifted from frame {drift['first']} to {drift['last']}: what it sees lies "
            f"{drift['residual_px']:.0f} px from where the others put it; {drift['usual_px']:.0f} px is usual then.",
            "It may have been bumped or lost its sync: recalibrate from there, or leave it out of these frames.",
            drift["first"], drift["last"],
        )  # fmt: skip


def _person_flags(people: Sequence[PersonFigures], frames: int, fps: float, limits: Limits) -> Iterable[Flag]:
    for person in people:
        name, subject = f"Person {person.person}", f"person {person.person}"
        if person.frames_present < limits.passing_share * frames:
            yield Flag(
                "warning", subject,
                f"{name} is there in {person.frames_present} of {frames} frames only.",
                "If this is a passer-by or a mistake, leave them out in identities.yaml.",
                person.first_frame, person.last_frame,
            )  # fmt: skip
            continue
        long = [(a, b) for a, b in person.gaps if (b - a + 1) / fps > limits.gap_s]
        if long:
            a, b = max(long, key=lambda gap: gap[1] - gap[0])
            more = f" and {len(long) - 1} more gaps" if len(long) > 1 else ""
            yield Flag(
                "warning", subject, f"{name} is lost from frame {a} to {b} ({(b - a + 1) / fps:.1f} s){more}.",
                "If two ids are one person, join them in identities.yaml.", a, b,
            )  # fmt: skip
        if person.fit_error_median_mm is not None and person.fit_error_median_mm > limits.fit_mm:
            yield Flag(
                "warning", subject,
                f"{name}'s body lies {person.fit_error_median_mm:.0f} mm from the triangulated joints.",
                "Look at the overlays: loose clothes, a swap of left and right, or a wrong shape.",
            )  # fmt: skip
        invalid = {k: v for k, v in person.invalid_frames.items() if k != "absent"}
        tried = person.body_frames + sum(invalid.values())
        if sum(invalid.values()) > limits.invalid_share * tried:
            reasons = ", ".join(f"{k} in {v}" for k, v in sorted(invalid.items(), key=lambda item: -item[1]))
            yield Flag(
                "warning", subject,
                f"{name} has no valid body in {sum(invalid.values())} of {tried} frames: {reasons}.",
                "Look at the worst frames below; their detections decide.",
            )  # fmt: skip


def _jump_flags(tracks: Tracks, fps: float, step: int, limits: Limits) -> Iterable[Flag]:
    hips = np.asarray(tracks.joints[:, :, SKEL19.index("mid_hip")], np.float64)
    adjacent = np.diff(tracks.frames) == step
    with np.errstate(invalid="ignore"):
        far = np.linalg.norm(np.diff(hips, axis=0), axis=-1)
        jumps = (far > limits.speed_m_s * step / fps) & adjacent[:, None]
    for p, person in enumerate(tracks.person_ids.tolist()):
        rows = np.flatnonzero(jumps[:, p])
        if len(rows):
            first = int(tracks.frames[rows[0] + 1])
            more = f" and {len(rows) - 1} times more" if len(rows) > 1 else ""
            yield Flag(
                "warning", f"person {person}",
                f"Person {person} jumps {far[rows[0], p]:.1f} m into frame {first}{more}, faster than people move.",
                "Two people may have been exchanged: see the overlays around it; identities.yaml can swap them back.",
                first, int(tracks.frames[rows[-1] + 1]),
            )  # fmt: skip


def _one_stop(text: str) -> str:
    return text.rstrip(".") + "."
