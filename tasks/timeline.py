"""Stage: one clock for all cameras, and which source frame of each is which session frame.

Session frame n is the instant n / fps on the session's clock. With ``sync.method: none`` that is frame n of every
video.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.detections.reader import count_frames
from data.image_folder import numbered_files
from data.sources import open_source, source_audio, source_energy, video_path
from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.synchronisation import Sync, audio_offsets, frame_plan, given_offsets, motion_offsets
from tasks.execution import Context
from tasks.parts import Part


def inputs(session: Session) -> tuple[str, ...]:
    return ("calibration",)


def source_of(session: Session, camera: str):
    """The camera's video or images as a ``FrameSource``."""
    capture = session.config.capture
    pattern, kind = (capture.videos, "videos") if capture.videos is not None else (capture.images, "images")
    return open_source(str(session.path.parent / pattern), camera, kind, capture.fps)


def media_path(session: Session, camera: str) -> Path:
    """The file or folder that a camera's frames come from."""
    capture = session.config.capture
    if capture.videos is not None:
        return video_path(str(session.path.parent / capture.videos), camera)
    return numbered_files(str(session.path.parent / capture.images), camera)[0]


def detections_path(session: Session, camera: str) -> Path:
    """The file or folder that a camera's given detections come from."""
    pattern = session.config.keypoints.detections
    if "{camera}" in pattern:
        return session.resolve(pattern.replace("{camera}", camera))
    folder = session.resolve(pattern)
    named = [folder / camera, *sorted(folder.glob(f"{camera}.*"))] if folder.is_dir() else [folder]
    return next((p for p in named if p.exists()), folder / camera)


def camera_names(session: Session) -> tuple[str, ...]:
    from tasks.calibration import read_rig

    return read_rig(session).names


def input_files(session: Session, part: Part) -> dict[str, Path]:
    """Every camera's source: its time stamps decide the clock."""
    locate = media_path if session.has_images else detections_path
    return {camera: locate(session, camera) for camera in camera_names(session)}


def compute(context: Context) -> None:
    session = context.session
    cameras = [n.decode() for n in context.input("calibration")["names"]]
    times, fps = _times(session, cameras)
    sync = _synchronise(session, cameras, fps, context.progress)
    frames = _session_frames(session, times, sync, fps)
    plans = [frame_plan(t, o, frames / fps) for t, o in zip(times, sync.offsets_s, strict=True)]
    writer = context.writer
    writer.put("frames", frames)
    writer.put("times_s", frames / fps)
    writer.put("plan", np.stack([p for p, _ in plans]))
    writer.put("time_error_s", np.stack([e for _, e in plans]).astype(np.float32))
    writer.put("offsets_s", np.asarray(sync.offsets_s, np.float64))
    writer.put("confidence", np.asarray(sync.confidence, np.float32))
    writer.attribute("fps", fps)
    writer.attribute("cameras", cameras)
    writer.attribute("sync_method", sync.method)
    step = session.config.capture.frames.step
    writer.note = {"frames": [int(frames[0]), int(frames[-1]) + 1, step, len(frames)]}


def _times(session: Session, cameras: list[str]) -> tuple[list[np.ndarray], float]:
    """Time stamps of every camera's frames (seconds) and the rate of the session's clock."""
    config = session.config
    if session.has_images:
        sources = [source_of(session, camera) for camera in cameras]
        fps = config.capture.fps or float(np.median([s.fps for s in sources]))
        return [np.asarray(s.times_s) for s in sources], fps
    fps = config.capture.fps
    if fps is None:
        raise InputError(
            f"{session.path}: capture.fps", "is missing: detections have no clock of their own", "Give frames a second"
        )
    kind = config.keypoints.detector
    return [np.arange(count_frames(kind, detections_path(session, c))) / fps for c in cameras], fps


def _synchronise(session: Session, cameras: list[str], fps: float, progress) -> Sync:
    config = session.config.capture.sync
    if config.method in ("none", "offsets"):
        for name in config.offsets:
            if name not in cameras:
                raise InputError(
                    f"{session.path}: capture.sync.offsets", f"there is no camera {name!r}", f"Cameras: {cameras}"
                )
        return given_offsets({c: config.offsets.get(c, 0.0) for c in cameras}, fps)
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


def _estimate(session: Session, cameras: list[str], method: str, max_offset_s: float, progress) -> Sync:
    if method == "audio":
        return audio_offsets({c: source_audio(source_of(session, c)) for c in cameras}, max_offset_s)
    energies = {}
    for i, camera in enumerate(cameras):
        energies[camera] = source_energy(source_of(session, camera))
        progress((i + 1) / len(cameras))
    return motion_offsets(energies, max_offset_s)


def _session_frames(session: Session, times: list[np.ndarray], sync: Sync, fps: float) -> np.ndarray:
    """Numbers of the session's frames: as configured, as far as two cameras have pictures."""
    wanted = session.config.capture.frames
    half = 0.5 / fps
    ends = sorted((t[-1] - o + half for t, o in zip(times, sync.offsets_s, strict=True) if len(t)), reverse=True)
    available = int(np.floor(ends[min(1, len(ends) - 1)] * fps)) + 1 if ends else 0
    stop = available if wanted.stop is None else min(wanted.stop, available)
    if wanted.stop is not None and wanted.stop > available:
        print(f"warning: frames end at {available}, before capture.frames.stop {wanted.stop}")
    frames = np.arange(wanted.start, stop, wanted.step, dtype=np.int64)
    if len(frames) == 0:
        raise InputError(
            f"{session.path}: capture.frames", f"no frame is left: the videos hold {available}", "Begin earlier"
        )
    return frames
