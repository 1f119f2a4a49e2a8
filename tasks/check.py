"""``check``: everything that would break the night, before it; and a rough estimate of time and disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from data.detections.reader import check_detections_source, count_frames
from data.sources import cameras_on_disk
from pipeline.artifacts import Artifact, DamagedArtifact
from pipeline.association.identities import check_rules
from pipeline.cameras import Rig
from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.rig_checks import Finding, check_images
from tasks import segmentation
from tasks.calibration import calibrated_rig, session_rig
from tasks.graph import Graph, noted_people
from tasks.leases import check_device
from tasks.limits import worker_count
from tasks.media import detections_path, source_of
from tasks.parts import Part
from tasks.records import claim_output
from tasks.stages import STAGES
from tasks.surfaces import check_network, network_files
from tasks.timeline import given_offsets_of

ERROR = "error"

JPEG_BYTES_PER_PIXEL, PNG_BYTES_PER_PIXEL = 0.35, 1.6
"""Stored frames, the upper end of what real captures take."""

SECONDS_PER_MEGAPIXEL = 0.02
SECONDS_PER_DETECTION_IMAGE = 0.25
SECONDS_PER_MASK_IMAGE, SECONDS_PER_TEXTURE = 0.25, 30.0
"""Masks and overlay of an image with two people; registration and texture of a person."""
SECONDS_PER_FRAME_AND_PERSON = 0.15
"""One process on a 2020s server core, measured on the two-person lab capture; association, fit, overlays, export."""
SECONDS_PER_SURFACE, SURFACE_BYTES, WHOLE_SURFACE_BYTES = 15.0, 12e6, 60e6
"""A person and frame at 512 voxels, six views, one core: inputs, query, mesh; crops and meshes as stored and exported,
and with meshes exported as they are (``export.simplify_mm: 0``)."""
BODY_BYTES = 5e6
"""A frame with two people: their meshes as PLY and GLB, alone and together."""


def command(session: Session, verify: bool) -> int:
    """Print all findings and the estimate; 2 if anything is an error."""
    found = findings(session)
    for finding in found:
        print(text(finding))
    if verify:
        found += _verify(session)
    print(_device())
    errors = sum(f.severity == ERROR for f in found)
    if not errors:
        print(_estimate_text(session))
    print(f"{errors} errors, {len(found) - errors} warnings")
    return 2 if errors else 0


def text(finding: Finding) -> str:
    camera = f"camera {finding.camera}: " if finding.camera else ""
    return f"{finding.severity}: {camera}{finding.message}. {finding.remedy}"


def refuse_errors(found: list[Finding]) -> None:
    """Print warnings; raise the first error, after all others have been told.

    Raises:
        InputError: at least one finding is an error.
    """
    for finding in found:
        if finding.severity != ERROR:
            print(text(finding), file=sys.stderr)
    errors = [f for f in found if f.severity == ERROR]
    for finding in errors[1:]:
        print(text(finding), file=sys.stderr)
    if errors:
        first = errors[0]
        raise InputError(f"camera {first.camera}" if first.camera else "session", first.message, first.remedy)


def cheap_findings(session: Session) -> list[Finding]:
    """What can be told without opening a recording."""
    claim_output(session)
    told = []
    if session.has_capture:
        told = [*_identities(session), *_models(session), *_surface_network(session, thorough=False)]
    return told + _run_settings(session) + _stills(session)


def findings(session: Session) -> list[Finding]:
    """Everything that can be told before the night.

    Raises:
        InputError: a problem that keeps the rest from being looked at: calibration or a recording cannot be read.
    """
    found = _stills(session)
    if not session.has_capture:
        claim_output(session)
        return found
    found += _cameras(session, calibrated_rig(session))
    rig, told = session_rig(session)
    found += told
    if not any(f.severity == ERROR for f in found):
        found += _recordings(session, rig)
    found += _identities(session)
    found += _models(session)
    found += _surface_network(session, thorough=True)
    found += _run_settings(session)
    if session.has_images:
        segmentation.check(session, rig)
    claim_output(session)
    found += _disk(session, rig)
    return found


def _cameras(session: Session, rig: Rig) -> Iterator[Finding]:
    """Recordings of cameras that the calibration lacks; the reverse is seen when recordings are opened."""
    capture = session.config.capture
    pattern = capture.videos if capture.videos is not None else capture.images
    if pattern is None or capture.cameras is not None:
        return
    for name in cameras_on_disk(str(session.path.parent / pattern)):
        if name not in rig.names:
            yield Finding(
                ERROR,
                name,
                f"there is a recording, but {capture.calibration} has no such camera (it has {', '.join(rig.names)})",
                "Calibrate it, or list the cameras to use in capture.cameras",
            )


def _recordings(session: Session, rig: Rig) -> list[Finding]:
    keypoints = session.config.keypoints
    if keypoints.reads_files:
        for camera in rig.cameras:
            check_detections_source(keypoints.detector, detections_path(session, camera.name), camera)
    if not session.has_images:
        return []
    sizes, counts = {}, {}
    for name in rig.names:
        source = source_of(session, name)
        sizes[name], counts[name] = tuple(source.size), len(source.times_s)
    found = check_images(rig, sizes, counts)
    start = session.config.capture.frames.start
    offsets = given_offsets_of(session, rig.names)
    if counts and start >= max(counts[c] - offsets[c] for c in counts):
        found.append(
            Finding(ERROR, None, f"capture.frames.start {start} is past the end of every recording", "Begin earlier")
        )
    return found


def _identities(session: Session) -> list[Finding]:
    """The rules against the people there are, where those are known already: else each person's part does it."""
    from tasks.identities import rules_of

    rules, graph = rules_of(session), Graph(session)
    people, timeline = (graph.current(Part(stage)) for stage in ("association", "timeline"))
    if people is not None and timeline is not None:
        start, stop, step, _ = timeline.note["frames"]
        check_rules(noted_people(people.note), np.arange(start, stop, step), rules)
    return []


def _models(session: Session) -> list[Finding]:
    """Model files that are there and of the right kind."""
    config = session.config
    if config.body.model != "open":
        from data.body_models import licensed_body_model, load_body_arrays

        load_body_arrays(licensed_body_model(session.resolve(config.body.model), config.body.gender))
    if session.has_given_bodies:
        from data.body_models import load_body_arrays
        from data.body_parameters import read_body_parameters
        from tasks.bodies import model_path

        read_body_parameters(session.resolve(config.body.parameters), load_body_arrays(model_path(session)))
    if config.keypoints.detector == "onnx":
        from pipeline.keypoints.onnx_pose import PoseNetwork

        PoseNetwork(session.resolve(config.keypoints.model))
    return []


def _surface_network(session: Session, thorough: bool) -> list[Finding]:
    told = check_network(session, thorough)
    if network_files(session):
        check_device(session.config.surface.device)
    return [Finding("warning", None, told, "Give surface.network a path of weights, or none")] if told else []


def _run_settings(session: Session) -> list[Finding]:
    """What would go wrong at the end of the night, or never be heeded."""
    config = session.config
    for stage in config.compute.time_limits:
        if stage not in STAGES:
            raise InputError(
                f"{session.path}: compute.time_limits", f"there is no stage {stage!r}", f"Stages: {', '.join(STAGES)}"
            )
    if config.notify and shutil.which(config.notify[0], path=None) is None:
        known = session.path.parent / config.notify[0]
        if not (known.is_file() and os.access(known, os.X_OK)):
            raise InputError(
                f"{session.path}: notify", f"there is no program {config.notify[0]!r}", "Give its path, or correct it"
            )
    return []


def _stills(session: Session) -> list[Finding]:
    """The stills branch has images and a network. Raises InputError where it has not."""
    if session.config.stills is not None:
        from tasks.stills import files_of, network_files

        files_of(session)
        network_files(session)
        check_device(session.config.stills.device)
    return []


def _disk(session: Session, rig: Rig) -> list[Finding]:
    needed, free = needed_bytes(session, rig), shutil.disk_usage(session.output).free
    if needed > free:
        return [
            Finding(
                ERROR,
                None,
                f"output: about {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free in {session.output}",
                "Make room, choose another output, or process fewer frames (capture.frames)",
            )
        ]
    budget = session.config.compute.disk_budget_gb
    if budget is not None and needed > budget * 1e9:
        return [
            Finding(
                "warning",
                None,
                f"output: about {needed / 1e9:.1f} GB are needed and compute.disk_budget_gb is {budget:g}",
                "Intermediates will be released on the way, oldest first, as soon as nothing needs them",
            )
        ]
    return []


def frame_count(session: Session, rig: Rig) -> int:
    """Frames that the session will have, as far as recordings tell."""
    wanted = session.config.capture.frames
    if session.has_images:
        counts = [len(source_of(session, n).times_s) for n in rig.names]
    else:
        counts = [count_frames(session.config.keypoints.detector, detections_path(session, n)) for n in rig.names]
    count = sorted(counts)[-min(2, len(rig))]
    stop = count if wanted.stop is None else min(wanted.stop, count)
    return len(range(wanted.start, stop, wanted.step))


def needed_bytes(session: Session, rig: Rig) -> float:
    """Room that the session will take, at the upper end."""
    each = JPEG_BYTES_PER_PIXEL if session.config.capture.storage == "jpeg" else PNG_BYTES_PER_PIXEL
    pixels = sum(c.size[0] * c.size[1] for c in rig.cameras) if session.has_images else 0
    size = (session.config.surface.resolution / 512) ** 2
    surface = (SURFACE_BYTES if session.config.export.simplify_mm else WHOLE_SURFACE_BYTES) * size
    frames = frame_count(session, rig)
    return 50e6 + frames * (pixels * each + BODY_BYTES) + 2 * _surface_frames(session, frames) * surface


def _surface_frames(session: Session, frames: int) -> int:
    """For how many of so many frames surfaces are made."""
    if not network_files(session):
        return 0
    capture, wanted = session.config.capture.frames, session.config.surface.frames
    numbers = range(capture.start, capture.start + frames * capture.step, capture.step)
    stop = numbers.stop if wanted.stop is None else wanted.stop
    return sum(n in range(wanted.start, stop, wanted.step) for n in numbers)


def _estimate_text(session: Session) -> str:
    if not session.has_capture:
        from tasks.stills import files_of

        return f"estimate: {len(files_of(session))} images, some seconds each"
    rig, _ = session_rig(session)
    frames, workers = frame_count(session, rig), worker_count(session)
    megapixels = sum(c.size[0] * c.size[1] for c in rig.cameras) / 1e6
    seconds = frames * (megapixels * SECONDS_PER_MEGAPIXEL + 2 * SECONDS_PER_FRAME_AND_PERSON)
    if not session.config.keypoints.reads_files:
        seconds += frames * len(rig) * SECONDS_PER_DETECTION_IMAGE
    if session.has_images:
        seconds += frames * len(rig) * SECONDS_PER_MASK_IMAGE + 2 * SECONDS_PER_TEXTURE
    size = (session.config.surface.resolution / 512) ** 2
    seconds += 2 * _surface_frames(session, frames) * SECONDS_PER_SURFACE * size
    return (
        f"estimate: {len(rig)} cameras, {frames} frames, {workers} workers: about {seconds / workers / 60:.0f} minutes "
        f"for two people, {needed_bytes(session, rig) / 1e9:.1f} GB"
    )


def _device() -> str:
    """What torch would compute on; asked in a process of its own, since importing torch here would be inherited."""
    script = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ})
    device = done.stdout.strip() or "unknown: torch does not load"
    idle = device == "CPU" and shutil.which("nvidia-smi") is not None
    note = "; a GPU is there but this torch cannot use it: make setup TORCH=..." if idle else ""
    return f"device: {device}{note}"


def _verify(session: Session) -> list[Finding]:
    """Rehash every cached artifact."""
    graph, found, count = Graph(session), [], 0
    for path in sorted(graph.cache.glob("*/*.h5")):
        if path.parent.name == "quarantine":
            continue
        count += 1
        try:
            Artifact(path).close()
        except DamagedArtifact as damage:
            found.append(Finding(ERROR, None, str(damage), "Run the session again: it is put aside and made anew"))
            print(text(found[-1]))
    print(f"verified {count} artifacts, {len(found)} damaged")
    return found
