"""Where a camera's recording and its given detections are."""

from __future__ import annotations

import functools
from pathlib import Path

from data.image_folder import numbered_files
from data.sources import open_source, video_path
from pipeline.config import Session
from pipeline.frames import FrameSource


def source_of(session: Session, camera: str) -> FrameSource:
    """The camera's video or images. An unchanged file is looked into once a process."""
    capture = session.config.capture
    pattern, kind = (capture.videos, "videos") if capture.videos is not None else (capture.images, "images")
    path = media_path(session, camera)
    stat = path.stat() if path.exists() else None
    stamp = stat and (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return _opened(str(session.path.parent / pattern), camera, kind, capture.fps, stamp)


@functools.lru_cache(maxsize=64)
def _opened(pattern: str, camera: str, kind: str, fps: float | None, stamp: object) -> FrameSource:
    return open_source(pattern, camera, kind, fps)


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
