"""Sound of a recording, on the clock of its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.decoding import DAMAGED, LIMITS, Child, Limits
from data.video import VideoInfo, probe
from pipeline.errors import InputError

RATE = 16_000
MAX_S = 600.0
"""Seconds of sound that are enough to find an offset by."""


def read_audio(
    video: Path | str | VideoInfo, rate: int = RATE, max_s: float = MAX_S, limits: Limits = LIMITS
) -> tuple[int, np.ndarray]:
    """Sound as (rate, mono (N,) float32 in -1..1); sample 0 is at the time of the first image.

    Sound before the first image is cut off; gaps are silence.

    Args:
        video: a file, or what ``probe`` says about it.
        rate: samples a second.
        max_s: seconds from the beginning that are read.

    Raises:
        InputError: a file that cannot be read, or that holds no sound.
    """
    info = video if isinstance(video, VideoInfo) else probe(video, limits)
    if not info.has_audio:
        raise InputError(info.path, "holds no sound", "Choose capture.sync.method motion, or give offsets")
    limit = int(max_s * rate)
    request = {"command": "audio", "rate": rate, "max_samples": limit, "start_s": info.start_s}
    sound, end = np.zeros(min(limit, rate * 60), np.int16), 0
    with Child(info.path, request, limits) as child:
        while True:
            header, arrays = child.message(1 << 28)
            if header.get("end"):
                break
            start, samples = header.get("start"), arrays.get("samples")
            if not isinstance(start, int) or samples is None or samples.dtype != np.int16 or samples.ndim != 1:
                raise InputError(info.path, "makes the decoder answer nonsense", DAMAGED)
            first, last = max(start, 0), min(start + len(samples), limit)
            if last <= first:
                continue
            if last > len(sound):
                sound = np.concatenate([sound, np.zeros(min(max(last, 2 * len(sound)), limit) - len(sound), np.int16)])
            sound[first:last] = samples[first - start : last - start]
            end = max(end, last)
    if end == 0:
        raise InputError(info.path, "its sound cannot be decoded", "Choose capture.sync.method motion, or give offsets")
    return rate, sound[:end].astype(np.float32) / 32768.0
