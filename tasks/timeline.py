"""Stage: one clock for all cameras, and which source frame of each is which session frame.

Session frame n is the instant n / fps on the session's clock. With ``sync.method: none`` that is frame n of every
video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from data.detections.reader import count_frames
from data.sources import source_audio, source_energy
from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.synchronisation import (
    Sync,
    audio_offsets,
    frame_plan,
    given_offsets,
    motion_offsets,
    no_offsets,
    session_frames,
    session_rate,
)
from tasks.calibration import calibrated_rig
from tasks.execution import Context
from tasks.keys import FileDigests
from tasks.media import detections_path, media_path, source_of


def inputs(session: Session) -> tuple[str, ...]:
    return ("calibration",)


def digests(session: Session, files: FileDigests) -> dict[str, str]:
    """Every camera's time stamps; all of a recording only where synchronisation looks at it."""
    found = {}
    for camera in calibrated_rig(session).names:
        if not session.has_images:
            count = count_frames(session.config.keypoints.detector, detections_path(session, camera))
            found[camera] = f"{count} frames"
        elif session.config.capture.sync.method in ("motion", "audio"):
            found[camera] = files.digest(media_path(session, camera))
        else:
            found[camera] = files.derived(
                media_path(session, camera), "time stamps", lambda camera=camera: _stamps_digest(session, camera)
            )
    return found


def _stamps_digest(session: Session, camera: str) -> str:
    source = source_of(session, camera)
    return hashlib.sha256(np.asarray(source.times_s, np.float64).tobytes() + repr(source.fps).encode()).hexdigest()


def compute(context: Context) -> None:
    session = context.session
    cameras = [n.decode() for n in context.input("calibration")["names"]]
    times, fps = _times(session, cameras)
    sync = _synchronise(session, cameras, fps, context.progress)
    wanted = session.config.capture.frames
    frames = session_frames(times, sync, fps, wanted.start, wanted.stop, wanted.step)
    if wanted.stop is not None and frames[-1] + wanted.step < wanted.stop:
        print(f"warning: the recordings end at frame {frames[-1]}, before capture.frames.stop {wanted.stop}")
    plans = [frame_plan(times[c], sync.offset(c), frames / fps) for c in cameras]
    writer = context.writer
    writer.put("frames", frames)
    writer.put("times_s", frames / fps)
    writer.put("plan", np.stack([p for p, _ in plans]))
    writer.put("time_error_s", np.stack([e for _, e in plans]).astype(np.float32))
    writer.put("offsets_s", np.asarray(sync.offsets_s, np.float64))
    writer.put("confidence", np.asarray(sync.confidence, np.float32))
    writer.put("spread_s", np.asarray(sync.spread_s, np.float32))
    writer.attribute("fps", fps)
    writer.attribute("cameras", cameras)
    writer.attribute("sync_method", sync.method)
    writer.note = {"frames": [int(frames[0]), int(frames[-1]) + 1, wanted.step, len(frames)]}


def _times(session: Session, cameras: list[str]) -> tuple[dict[str, np.ndarray], float]:
    """Time stamps of every camera's frames (seconds) and the rate of the session's clock."""
    config = session.config
    if session.has_images:
        sources = {camera: source_of(session, camera) for camera in cameras}
        fps = config.capture.fps or session_rate({c: s.fps for c, s in sources.items()})
        return {c: s.times_s for c, s in sources.items()}, fps
    kind, fps = config.keypoints.detector, config.capture.fps
    return {c: np.arange(count_frames(kind, detections_path(session, c))) / fps for c in cameras}, fps


def _synchronise(session: Session, cameras: list[str], fps: float, progress) -> Sync:
    config = session.config.capture.sync
    if config.method == "none":
        return no_offsets(cameras)
    if config.method == "offsets":
        return given_offsets(given_offsets_of(session, cameras), fps)
    if not session.has_images:
        raise InputError(f"{session.path}: capture.sync.method", "needs videos", "Use method: offsets")
    sync = _estimate(session, cameras, config.method, config.max_offset_s, progress)
    for camera, confidence in zip(cameras, sync.confidence, strict=True):
        if confidence < config.min_confidence:
            raise InputError(
                f"{session.path}: capture.sync",
                f"{config.method} finds no certain offset for camera {camera} (confidence {confidence:.2f})",
                "Give method: offsets, or lower capture.sync.min_confidence after a look at the videos",
            )
    return sync


def given_offsets_of(session: Session, cameras: Sequence[str]) -> dict[str, float]:
    """Every camera's offset in frames as configured. Raises InputError for a camera that is not there."""
    given = session.config.capture.sync.offsets
    for name in given:
        if name not in cameras:
            raise InputError(
                f"{session.path}: capture.sync.offsets",
                f"there is no camera {name!r}",
                f"Cameras: {', '.join(cameras)}",
            )
    return {camera: given.get(camera, 0.0) for camera in cameras}


def _estimate(session: Session, cameras: list[str], method: str, max_offset_s: float, progress) -> Sync:
    if method == "audio":
        return audio_offsets({c: source_audio(source_of(session, c)) for c in cameras}, max_offset_s)
    energies = {}
    for i, camera in enumerate(cameras):
        energies[camera] = source_energy(source_of(session, camera))
        progress((i + 1) / len(cameras))
    return motion_offsets(energies, max_offset_s)
