"""The quality report: ``summary.json`` and ``report.html``, made from whatever is cached, whatever failed."""

from __future__ import annotations

import json
import multiprocessing
import platform
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.cameras import Rig
from pipeline.config import Session
from pipeline.files import write_atomic
from pipeline.synchronisation import Sync
from tasks import report_stills, status
from tasks.cached import Cached
from tasks.faces import blur_of
from tasks.frames import read_image
from tasks.parts import Part
from tasks.people import (
    CLOSEUPS,
    bodies_of,
    camera_detections,
    masks_of_frame,
    meshes_by_stage,
    names_of,
    posed_bodies,
    surfaces_of,
    tracks_of,
)
from tasks.processes import die_with_parent, raise_file_limit
from tasks.records import Made, Records
from tasks.stages import STAGES

if TYPE_CHECKING:
    from pipeline.quality.drawing import Mesh
    from pipeline.quality.figures import Residuals
    from pipeline.quality.mask_figures import MaskAgreement, SurfaceAgreement
    from pipeline.quality.overview import Look
    from pipeline.quality.report import Link, Picture
    from pipeline.quality.summary import CameraFigures, Flag, PartRecord, QualityTrack, StageFigures, Summary

VERSIONS = ("troupe", "numpy", "torch", "luigi", "h5py", "open3d-cpu", "mediapipe", "anny")
PICTURE_HEIGHT = 480

_FILES = {
    "viewer.html": "the scene to turn and play, in this browser",
    "session.glb": "everybody, skinned and animated, textured from the views",
    "session_surface.glb": "the meshes of all frames as one animation; the viewer opens it too",
    "skeletons.npz": "joints in world metres",
    "bodies.npz": "SMPL-X parameters",
    "identities.json": "who was there when",
    "meshes": "a mesh a person and frame: fused surface, else surface, else body",
    "motion": "BVH, TRC, C3D, USD and parameters for other tools",
    "overlays": "videos with everything drawn over",
    "stills": "a folder an image: pictures, meshes, parameters",
    "summary.json": "the figures of this page",
}


def write(session: Session) -> Path:
    """Write both files; returns the page's path. Never raises for bad results."""
    page = page_of(session)
    process = start(session)
    process.join()
    if process.exitcode:
        print(f"the report could not be made, see {session.output / 'logs' / 'report.log'}", file=sys.stderr)
    return page


def start(session: Session) -> BaseProcess:
    """Begin to write them, in a process of its own: its pictures need Open3D, which the parent must not load."""
    process = multiprocessing.get_context("fork").Process(target=_write, args=(session, page_of(session)))
    process.start()
    return process


def page_of(session: Session) -> Path:
    return session.output / "export" / "report.html"


def invalid_share(session: Session) -> float:
    """Share of person-frames without a valid body, as the last report has it; 0 if no body was fitted."""
    try:
        totals = json.loads((session.output / "export" / "summary.json").read_text())["totals"]
    except (OSError, ValueError, KeyError):
        return 0.0
    return totals.get("invalid_person_frames_share") or 0.0


def _write(session: Session, page: Path) -> None:
    die_with_parent()
    raise_file_limit()
    try:
        from pipeline.quality.plots import plots_of
        from pipeline.quality.report import render_report
        from pipeline.quality.summary import summary_json

        with Cached(session) as cached:
            summary, evidence = _summary(cached)
            pictures = _pictures(cached, summary, evidence)
            turning = _turntable(cached, summary)
            stills = report_stills.pictures(cached, summary.stills)
            method = report_stills.method(session.config.stills.network) if summary.stills else ""
        write_atomic(page.parent / "summary.json", summary_json(summary))
        links = _links(page.parent)
        write_atomic(page, render_report(summary, plots_of(summary), pictures, links, turning, stills, method))
    except BaseException:
        log = session.output / "logs" / "report.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc())
        sys.exit(1)


@dataclass(frozen=True)
class _Evidence:
    """What the worst frames are chosen by."""

    residuals: Residuals | None
    masks: MaskAgreement
    surfaces: SurfaceAgreement


def _summary(cached: Cached) -> tuple[Summary, _Evidence]:
    from pipeline.association.evidence import drifting_cameras
    from pipeline.quality.figures import Residuals, camera_figures, person_figures, quality_tracks
    from pipeline.quality.flags import all_flags
    from pipeline.quality.overview import headline
    from pipeline.quality.summary import Summary, verdict

    rig, tracks, bodies = cached.rig(), tracks_of(cached), bodies_of(cached)
    frames, fps, step, sync = _clock(cached)
    detections = {name: camera_detections(cached, name, masks=False) for name in (rig.names if rig else ())}
    found = {name: d for name, d in detections.items() if d is not None}
    merged = _merged(tracks, frames)
    residuals = None
    if rig is not None and merged is not None:
        every = [detections[n] for n in rig.names] if len(found) == len(rig) else None
        residuals = Residuals(rig, merged, every)
    stages = _stages(cached)
    people = person_figures(residuals, bodies, names_of(cached)) if residuals else ()
    cameras = camera_figures(rig, residuals, found, sync, _missing_images(cached)) if rig else ()
    drifts = drifting_cameras(rig, merged, fps / step) if residuals else ()
    flags = all_flags(
        stages, people, cameras, frames=len(frames), fps=fps or 1.0, step=step, tracks=merged, drifts=drifts
    )
    flags += _refinement_flags(cached, rig)
    agreement = _mask_agreement(cached, frames)
    on_surfaces = _surface_agreement(cached, rig, agreement)
    cameras, mask_flags = _with_masks(cameras, agreement, on_surfaces)
    flags += mask_flags
    cameras = _with_result(cached, cameras)
    flags += _fusion_flags(cached)
    stills = report_stills.figures(cached)
    flags += report_stills.flags(stills, cached.session.config.stills.network if stills else "")
    told = report_stills.counts(stills)
    config = shlex.quote(str(cached.session.path))
    flags = tuple(replace(f, remedy=f.remedy.replace("inspect CONFIG", f"inspect {config}")) for f in flags)
    state, sentence = verdict(stages, people, flags, len(frames), len(cameras))
    if not cached.session.has_capture and state == "complete":
        sentence = f"This session is complete: {told['stills_people']} people in {told['stills']} stills."
    side = max((max(c.size) for c in rig.cameras), default=1) if rig else 1
    summary = Summary(
        session=cached.session.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        state=state,
        verdict=sentence,
        counts=headline(len(cameras), len(frames), residuals, bodies) | told,
        totals=_totals(cached, stages, merged, bodies),
        stages=stages,
        people=people,
        cameras=cameras,
        flags=flags,
        frames=frames,
        fps=fps,
        quality=(
            (*quality_tracks(frames, residuals, bodies, side), *agreement.tracks(), *_fusion_tracks(cached, frames))
            if len(frames)
            else ()
        ),
        versions=_versions(),
        stills=stills,
    )
    return summary, _Evidence(residuals, agreement, on_surfaces)


def _mask_agreement(cached: Cached, frames: np.ndarray) -> MaskAgreement:
    from pipeline.quality.mask_figures import MaskAgreement
    from pipeline.segmentation.masks import Masks

    return MaskAgreement((Masks(cached.open(p)) for p in cached.parts("segmentation")), frames)


def _fusion_tracks(cached: Cached, frames: np.ndarray) -> list[QualityTrack]:
    """How far fusion moved surfaces and what is left of their flicker, a person and frame, millimetres."""
    from pipeline.quality.summary import QualityTrack

    found: dict[tuple[str, int], np.ndarray] = {}
    for part in cached.parts("fusion"):
        artifact = cached.open(part)
        for name, dataset in (("fusion change", "fusion/change_mm"), ("flicker", "fusion/flicker_after_mm")):
            if dataset in artifact:
                values = found.setdefault((name, part.person), np.full(len(frames), np.nan))
                here = np.isin(artifact["frames"], frames)
                values[np.searchsorted(frames, artifact["frames"][here])] = artifact[dataset][here]
    return [QualityTrack(name, "mm", v, person=p) for (name, p), v in sorted(found.items(), key=lambda i: i[0])]


def _surface_agreement(cached: Cached, rig: Rig | None, agreement: MaskAgreement) -> SurfaceAgreement:
    from pipeline.quality.mask_figures import surface_agreement

    surfaces = surfaces_of(cached)
    if rig is None or not agreement.cameras or not surfaces:
        return {}
    from pipeline.raster_open3d import Open3DRaster

    return surface_agreement(rig, lambda n: masks_of_frame(cached, n), surfaces, Open3DRaster(threads=1))


def _with_masks(
    cameras: Sequence[CameraFigures], agreement: MaskAgreement, on_surfaces: SurfaceAgreement
) -> tuple[tuple[CameraFigures, ...], tuple[Flag, ...]]:
    """Figures of the cameras with how masks overlap with bodies and surfaces, and flags about it."""
    from pipeline.quality.mask_figures import surface_flags

    told = tuple(
        replace(c, mask_body_iou=agreement.of_camera(c.camera), mask_surface_iou=on_surfaces.get(c.camera, (None,))[0])
        for c in cameras
    )
    return told, (*agreement.flags(), *surface_flags(on_surfaces))


def _with_result(cached: Cached, cameras: Sequence[CameraFigures]) -> tuple[CameraFigures, ...]:
    """Figures of the cameras with how the meshes as delivered look in them."""
    from tasks.delivered import Delivered, agreement

    if not cached.parts("segmentation"):
        return tuple(cameras)
    found = agreement(Delivered(cached))
    told = {n: {"silhouette_iou": iou, "colour_error": colour} for n, (iou, colour) in found.items()}
    return tuple(replace(c, **told.get(c.camera, {})) for c in cameras)


def _refinement_flags(cached: Cached, rig: Rig | None) -> tuple[Flag, ...]:
    """That the cameras were moved is something that a lab has to know."""
    from pipeline.quality.summary import Flag

    for part in cached.parts("refinement"):
        artifact = cached.open(part)
        if artifact.attribute("refined"):
            turned, moved = artifact["turned_deg"], artifact["moved_m"]
            worst = int(np.argmax(turned))
            text = (
                f"The calibration does not fit these recordings; {artifact.attribute('told')}. Most: camera "
                f"{rig.names[worst]}, {turned[worst]:.1f} degrees and {moved[worst]:.2f} m."
            )
            remedy = "Calibrate again when you can. calibration.refine: false keeps the cameras as given."
            return (Flag("warning", "calibration", text, remedy),)
    return ()


def _fusion_flags(cached: Cached) -> tuple[Flag, ...]:
    """Surfaces that stay as they were reconstructed, and holes that no frame of a window fills."""
    from pipeline.fusion.stored import FusionRecord, left_as_they_were
    from pipeline.quality.summary import Flag

    flags, people = [], {p.person: [] for p in cached.parts("fusion")}
    for part in cached.parts("fusion"):
        people[part.person].append(FusionRecord(cached.open(part)))
    for person, records in people.items():
        for reason, frames in sorted(left_as_they_were(records).items()):
            text = f"{len(frames)} surfaces of person {person} are not fused: {reason.replace('_', ' ')}."
            remedy = "They are exported as they were reconstructed. " + _look_at(min(frames), person)
            flags.append(Flag("warning", f"person {person}", text, remedy, min(frames), max(frames)))
        holed = [int(n) for r in records for n in r.frames[r.open_edges > 0]]
        if holed:
            text = f"{len(holed)} fused surfaces of person {person} have holes that no frame of the window fills."
            remedy = f"{_look_at(min(holed), person)} A wider fusion.window may fill them."
            flags.append(Flag("warning", f"person {person}", text, remedy, min(holed), max(holed)))
    return tuple(flags)


def _look_at(frame: int, person: int) -> str:
    return f"Look at them: inspect CONFIG fusion --frame {frame} --person {person} --image OUT.png."


def _clock(cached: Cached) -> tuple[np.ndarray, float | None, int, Sync | None]:
    """Frame numbers, their rate, the step between them, and the cameras' offsets."""
    if not cached.session.has_capture:
        return np.zeros(0, np.int64), None, 1, None
    step = cached.session.config.capture.frames.step
    if not cached.parts("timeline"):
        return np.zeros(0, np.int64), None, step, None
    timeline = cached.open(Part("timeline"))
    cameras, method = tuple(timeline.attribute("cameras")), timeline.attribute("sync_method")
    sync = Sync(cameras, timeline["offsets_s"], timeline["confidence"], timeline["spread_s"], method)
    return timeline["frames"], timeline.attribute("fps"), step, sync


def _merged(tracks: Mapping[int, Tracks], frames: np.ndarray) -> Tracks | None:
    from pipeline.export.people import merged_tracks

    return merged_tracks(list(tracks.values()), frames) if tracks else None


def _missing_images(cached: Cached) -> dict[str, int]:
    return {p.camera: int(np.sum(~cached.open(p)["valid"])) for p in cached.parts("frames")}


def _stages(cached: Cached) -> tuple[StageFigures, ...]:
    from pipeline.quality.summary import stage_figures

    rows, records = [], Records(cached.graph.cache)
    for stage in status.table(cached.session)["stages"]:
        known = {p.name: p for p in cached.graph.parts(STAGES[stage["stage"]]) or []}
        parts = None
        if stage["known"]:
            parts = [_part_record(cached, row, records.made(known[row["part"]])) for row in stage["parts"]]
        rows.append(stage_figures(stage["stage"], stage["purpose"], parts))
    return tuple(rows)


def _part_record(cached: Cached, row: Mapping, made: Made | None) -> PartRecord:
    from pipeline.quality.report import log_tail
    from pipeline.quality.summary import PartRecord

    done = made if row["state"] == "done" else None
    log = Path(row["log"]) if "log" in row else None
    return PartRecord(
        part=row["part"],
        state=row["state"],
        seconds=done.seconds if done else None,
        memory_mb=done.memory_mb if done else None,
        gpu_memory_mb=done.gpu_memory_mb or None if done else None,
        host=done.host if done else row.get("host"),
        ended=done.ended if done else None,
        tries=done.tries if done else row.get("tries", 0),
        error=row.get("error"),
        log=str(log.relative_to(cached.session.output)) if log else None,
        log_tail=log_tail(log.read_text(errors="replace")) if log and log.exists() else None,
    )


def _totals(
    cached: Cached, stages: Sequence[StageFigures], tracks: Tracks | None, bodies: Mapping[int, BodyTrack]
) -> dict[str, float | None]:
    totals: dict[str, float | None] = {
        "computing_s": sum(s.seconds or 0 for s in stages),
        "cache_mb": sum(p.stat().st_size for p in cached.graph.cache.rglob("*.h5")) / 1e6,
    }
    if tracks is not None:
        totals["person_frames"] = int(tracks.present.sum())
    if bodies and tracks is not None:
        fitted = np.isin(tracks.person_ids, list(bodies))
        valid = sum(int(np.sum(b.valid)) for b in bodies.values())
        present = int(tracks.present[:, fitted].sum())
        totals["invalid_person_frames_share"] = max(0.0, 1 - valid / present) if present else 0.0
    return totals | _fusion_totals(cached)


def _fusion_totals(cached: Cached) -> dict[str, float]:
    from pipeline.fusion.stored import FusionRecord, totals

    return totals([FusionRecord(cached.open(p)) for p in cached.parts("fusion")])


def _pictures(cached: Cached, summary: Summary, evidence: _Evidence) -> list[Picture]:
    """The frames to look at first, in the camera that shows why."""
    from pipeline.quality.inspect import encoded_picture
    from pipeline.quality.overview import most_fused, worst_looks, worst_masks, worst_surfaces
    from pipeline.quality.report import Picture

    rig = cached.rig()
    if not cached.parts("frames") or rig is None:
        return []
    looks = [
        *worst_looks(summary, evidence.residuals),
        *worst_masks(evidence.masks),
        *worst_surfaces(evidence.surfaces),
        *most_fused(summary, evidence.residuals),
    ]
    bodies, blur, found = posed_bodies(cached.session, bodies_of(cached)), blur_of(cached), []
    for look in looks:
        images = cached.open(Part("frames", camera=look.camera))
        image = read_image(images, int(np.searchsorted(images["frames"], look.frame)))
        image = None if image is None else blur(rig[look.camera], look.frame, image)
        drawn = _picture(cached, look, image, rig, evidence.residuals, bodies)
        command = look.command(str(cached.session.path))
        found.append(Picture(look.title, look.caption, encoded_picture(drawn, "jpeg"), command))
    return found


def _picture(
    cached: Cached,
    look: Look,
    image: np.ndarray | None,
    rig: Rig,
    residuals: Residuals | None,
    bodies: Callable[[int], Mapping[int, Mesh]] | None,
) -> np.ndarray:
    from pipeline.quality.closeup import closeup
    from pipeline.quality.inspect import stage_picture

    if look.stage in CLOSEUPS:
        columns = meshes_by_stage(cached, look.stage, look.frame, look.person)
        return closeup(rig[look.camera], image, columns, PICTURE_HEIGHT)
    return stage_picture(
        "segmentation" if look.stage == "segmentation" else "overlays",
        look.frame,
        rig[look.camera],
        image,
        detections=camera_detections(cached, look.camera, masks=False),
        tracks=residuals.tracks if residuals else None,
        camera_index=rig.names.index(look.camera),
        bodies=bodies,
        masks=masks_of_frame(cached, look.frame) if look.stage == "segmentation" else None,
        scale=min(1.0, PICTURE_HEIGHT / rig[look.camera].size[1]),
    )


def _turntable(cached: Cached, summary: Summary) -> Picture | None:
    """Everybody of the frame that has most people, as good as they are there: fused, surface or body."""
    from pipeline.quality.report import Picture
    from pipeline.quality.turntable import turntable
    from pipeline.raster_open3d import Open3DRaster

    bodies, surfaces, rig = bodies_of(cached), surfaces_of(cached), cached.rig()
    if rig is None or not (bodies or surfaces):
        return None
    count = np.zeros(len(summary.frames))
    for having in (*(b.frames[np.asarray(b.valid, bool)] for b in bodies.values()), *(f for f, _ in surfaces.values())):
        count += np.isin(summary.frames, having)
    best = np.flatnonzero(count == count.max())
    frame = int(summary.frames[best[len(best) // 2]])
    posed = posed_bodies(cached.session, bodies)
    people = dict(posed(frame)) if posed else {}
    people |= {person: mesh(frame) for person, (frames, mesh) in surfaces.items() if frame in frames}
    if not people:
        return None
    with_surface = sorted(p for p, (frames, _) in surfaces.items() if frame in frames)
    shown = f"surfaces of {', '.join(map(str, with_surface))}" if with_surface else "fitted bodies"
    data = turntable(people, rig.up, Open3DRaster(threads=1))
    return Picture(f"Frame {frame}", f"{len(people)} people, {shown}.", data, kind="webp")


def _links(folder: Path) -> list[Link]:
    from pipeline.quality.report import Link

    return [Link(name, what) for name, what in _FILES.items() if (folder / name).exists() or name == "summary.json"]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except ImportError:
            continue
    return found
