"""The recordings of a capture: one frame source a camera, and what synchronisation needs from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from data.image_folder import FRAME_FIELD, open_image_folder
from data.video import VideoSource, open_video
from pipeline.errors import InputError
from pipeline.frames import FrameSource
from pipeline.synchronisation import MOTION_HEIGHT, motion_energy

MOTION_SPAN_S = 180.0
"""Seconds of a recording that are enough to find an offset by; every one of its images has to be decoded."""


def open_source(
    capture_pattern: str, camera: str, kind: Literal["videos", "images"], fps: float | None = None
) -> FrameSource:
    """The recording of one camera.

    Args:
        capture_pattern: path with {camera} (videos) or {camera} and {frame} (images).
        camera: its name in the calibration.
        kind: videos or images.
        fps: images a second; needed for images, not used for videos, whose timestamps count.

    Raises:
        InputError: what there is cannot be read, or there is nothing.
    """
    if kind == "images":
        if fps is None:
            raise InputError("capture.fps", "is missing", "Images have no clock of their own: give fps")
        return open_image_folder(capture_pattern, camera, fps)
    return open_video(video_path(capture_pattern, camera))


def video_path(pattern: str, camera: str) -> Path:
    """The video of a camera. Raises ``InputError`` for a pattern with other fields than {camera}."""
    path = pattern.replace("{camera}", camera)
    if "{camera}" not in pattern or "{" in path:
        raise InputError("capture.videos", f"{pattern!r} must hold {{camera}} and nothing else in braces",
                         "Write videos/{camera}.mp4")  # fmt: skip
    return Path(path)


def cameras_on_disk(pattern: str) -> list[str]:
    """Names that {camera} stands for in the files there are: what a calibration may lack a camera for."""
    pattern = FRAME_FIELD.sub("{frame}", pattern)
    head, _, _ = pattern.partition("{camera}")
    root = Path(head + "x").parent
    below = pattern[len(str(root)) + 1 :] if str(root) != "." else pattern
    text = re.escape(below).replace(r"\{camera\}", "(?P<camera>[A-Za-z0-9_][A-Za-z0-9_.-]*)", 1)
    name = re.compile(text.replace(r"\{camera\}", "(?P=camera)").replace(r"\{frame\}", r"\d+"))
    found = set()
    for path in root.glob(re.sub(r"\{camera\}|\{frame\}", "*", below)) if root.is_dir() else ():
        match = name.fullmatch(str(path.relative_to(root)))
        if match:
            found.add(match["camera"])
    return sorted(found)


def source_energy(
    source: FrameSource, span_s: float | None = MOTION_SPAN_S, progress: Callable[[float], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(times_s (N,), motion energy (N,)) of a recording: see ``pipeline.synchronisation.motion_energy``.

    Args:
        source: the recording.
        span_s: only so many seconds from its first image; None for all.
        progress: told the fraction done.
    """
    times = source.times_s
    wanted = np.arange(len(times)) if span_s is None else np.flatnonzero(times <= times[0] + span_s)

    def watched():
        for count, (index, image) in enumerate(source.thumbnails(wanted, MOTION_HEIGHT)):
            if progress is not None:
                progress((count + 1) / len(wanted))
            yield times[index], image

    return motion_energy(watched())


def source_audio(source: FrameSource) -> tuple[int, np.ndarray]:
    """(rate, mono) of a recording. Raises ``InputError`` where there is no sound."""
    from data.audio import read_audio

    if not isinstance(source, VideoSource):
        raise InputError(source.path, "images have no sound", "Choose capture.sync.method motion, or give offsets")
    return read_audio(source.info)
