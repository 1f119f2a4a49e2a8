"""``summary.json``: every figure that the report shows. Lengths and times carry their unit in the name.

Values that are not known are null; the file never holds NaN or infinity.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

SCHEMA = "troupe-summary-1"
DONE, FAILED, RUNNING, INCOMPLETE, MISSING = "done", "failed", "running", "incomplete", "missing"


@dataclass(frozen=True)
class PartRecord:
    """What is known of one part: ``state`` as ``status`` tells it (done, running, failed, lost, stale, missing)."""

    part: str
    state: str
    seconds: float | None = None
    memory_mb: float | None = None
    host: str | None = None
    error: str | None = None
    log: str | None = None
    log_tail: str | None = None
    gpu_memory_mb: float | None = None
    ended: float | None = None
    tries: int = 1


@dataclass(frozen=True)
class StageFigures:
    """One stage: ``state`` done, failed, running, incomplete or missing; ``seconds`` summed over its parts. ``began``
    and ``ended`` are seconds of the epoch; ``retried`` counts parts that were made in a later try.

    ``problems`` are the parts that failed or were lost, with the ends of their logs.
    """

    stage: str
    purpose: str
    state: str
    parts: int
    parts_done: int
    seconds: float | None
    longest_part_s: float | None
    peak_memory_mb: float | None
    hosts: tuple[str, ...]
    problems: tuple[PartRecord, ...]
    peak_gpu_memory_mb: float | None = None
    began: float | None = None
    ended: float | None = None
    retried: int = 0


@dataclass(frozen=True)
class PersonFigures:
    """One person over the session. ``coverage`` is the share of all frames with evidence in two views or more.

    ``gaps`` are first and last frame of each absence between the first and the last appearance. Body figures are over
    the frames with a valid body; ``invalid_frames`` counts the others by reason.
    """

    person: int
    name: str | None
    frames_present: int
    first_frame: int | None
    last_frame: int | None
    coverage: float
    gaps: tuple[tuple[int, int], ...]
    reprojection_median_px: float | None
    reprojection_p95_px: float | None
    leave_one_out_median_px: float | None
    body_frames: int
    fit_error_median_mm: float | None
    fit_error_p95_mm: float | None
    invalid_frames: Mapping[str, int]


@dataclass(frozen=True)
class CameraFigures:
    """One camera. ``assigned_share`` is how many of its detected people were given to somebody in 3D.

    ``seen_share`` is in how many person-frames it saw the person. ``frames_missing`` have no image near their time.
    ``mask_body_iou`` and ``mask_surface_iou`` are medians of how people's masks and projected bodies and surfaces
    overlap; ``silhouette_iou`` and ``colour_error`` (mean absolute difference, 0..255) hold the meshes as delivered
    against what the camera saw.
    """

    camera: str
    width: int
    height: int
    frames_missing: int | None
    detections_per_frame: float | None
    assigned_share: float | None
    seen_share: float | None
    reprojection_median_px: float | None
    leave_one_out_median_px: float | None
    offset_s: float | None
    sync_confidence: float | None
    mask_body_iou: float | None = None
    mask_surface_iou: float | None = None
    silhouette_iou: float | None = None
    colour_error: float | None = None


@dataclass(frozen=True)
class StillFigures:
    """One image of the stills branch. ``reason`` says why it could not be used, "" if it could; ``people`` is then 0.

    ``least_score`` and ``shortest_px`` are of the people found: the unsurest, and the height of the smallest box.
    """

    image: str
    people: int
    reason: str = ""
    width: int | None = None
    height: int | None = None
    least_score: float | None = None
    shortest_px: float | None = None


@dataclass(frozen=True)
class QualityTrack:
    """A figure per frame, of the session, a person or a camera; NaN where it is not known.

    ``name`` groups tracks into one plot; ``limit`` is from where a frame deserves a look, if there is such a value.
    """

    name: str
    unit: str
    values: np.ndarray
    person: int | None = None
    camera: str | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Flag:
    """Something a lab acts on: ``severity`` error or warning, what is wrong, what to do, where."""

    severity: str
    subject: str
    text: str
    remedy: str
    first_frame: int | None = None
    last_frame: int | None = None


@dataclass(frozen=True)
class Summary:
    """All of ``summary.json``.

    ``state`` is complete, warnings or incomplete; ``verdict`` says it in one sentence. ``counts`` and ``totals`` are
    flat: name with its unit -> number. ``versions``: software -> version. ``created`` is ISO 8601.
    """

    session: str
    created: str
    state: str
    verdict: str
    counts: Mapping[str, float | int | None]
    totals: Mapping[str, float | int | None]
    stages: tuple[StageFigures, ...]
    people: tuple[PersonFigures, ...]
    cameras: tuple[CameraFigures, ...]
    flags: tuple[Flag, ...]
    frames: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    fps: float | None = None
    quality: tuple[QualityTrack, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    stills: tuple[StillFigures, ...] = ()
    schema: str = SCHEMA


def stage_figures(stage: str, purpose: str, parts: Sequence[PartRecord] | None) -> StageFigures:
    """Sum a stage up; ``parts`` is None while it is not known what parts there will be."""
    nothing_to_do = parts is not None and not parts  # a stage a person, of a session without anybody
    parts = list(parts or ())
    states = {p.state for p in parts}
    if states & {"failed", "lost"}:
        state = FAILED
    elif "running" in states:
        state = RUNNING
    elif states == {"done"} or nothing_to_do:
        state = DONE
    else:
        state = INCOMPLETE if "done" in states else MISSING
    seconds = [p.seconds for p in parts if p.seconds is not None]
    memory = [p.memory_mb for p in parts if p.memory_mb is not None]
    on_gpu = [p.gpu_memory_mb for p in parts if p.gpu_memory_mb is not None]
    timed = [p for p in parts if p.ended is not None and p.seconds is not None]
    return StageFigures(
        stage=stage,
        purpose=purpose,
        state=state,
        parts=len(parts),
        parts_done=sum(p.state == "done" for p in parts),
        seconds=sum(seconds) if seconds else None,
        longest_part_s=max(seconds, default=None),
        peak_memory_mb=max(memory, default=None),
        hosts=tuple(sorted({p.host for p in parts if p.host})),
        problems=tuple(p for p in parts if p.state in ("failed", "lost")),
        peak_gpu_memory_mb=max(on_gpu, default=None),
        began=min((p.ended - p.seconds for p in timed), default=None),
        ended=max((p.ended for p in timed), default=None),
        retried=sum(p.tries > 1 for p in parts if p.state == "done"),
    )


def verdict(
    stages: Sequence[StageFigures], people: Sequence[PersonFigures], flags: Sequence[Flag], frames: int, cameras: int
) -> tuple[str, str]:
    """The state (complete, warnings, incomplete) and the sentence at the top of the report."""
    found = f"{_count(len(people), 'person', 'people')} over {_count(frames, 'frame')} in {_count(cameras, 'camera')}"
    open_ = [s for s in stages if s.state != DONE]
    errors = [f for f in flags if f.severity == "error"]
    warnings = len(flags) - len(errors)
    if open_:
        failed = [s.stage for s in open_ if s.state == FAILED]
        what = f"{_listed(failed)} failed" if failed else f"{_listed([s.stage for s in open_])} not done"
        return "incomplete", f"This session is incomplete: {what}. What there is: {found}."
    if errors:
        return "incomplete", f"All stages are done, but {_lower(errors[0].text)} Found: {found}."
    if warnings:
        return "warnings", f"All stages are done with {_count(warnings, 'warning')} to look at: {found}."
    return "complete", f"All stages are done and nothing needs a look: {found}."


def summary_json(summary: Summary) -> str:
    """The file's text. Floats keep six significant digits."""
    return json.dumps(plain(summary), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    """Dataclasses, mappings, sequences and numpy values as JSON has them; what is not finite becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{type(value).__name__} has no place in summary.json")


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1] if names else ""


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
