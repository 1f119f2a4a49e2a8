"""Small clips and sounds written for tests, with everything known about them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np


def numbered_image(number: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """RGB image that survives coding and says its number: 12 bits as grey bars, a red top-left corner."""
    w, h = size
    image = np.full((h, w, 3), 96, np.uint8)
    for bit in range(12):
        x = w * bit // 12
        image[h // 2 :, x : w * (bit + 1) // 12] = 220 if number >> bit & 1 else 30
    image[: h // 4, : w // 4] = (230, 20, 20)
    return image


def read_number(image: np.ndarray) -> int:
    """The number in an image of ``numbered_image``."""
    w, row = image.shape[1], image[image.shape[0] * 3 // 4].mean(-1)
    return sum(1 << bit for bit in range(12) if row[(w * (2 * bit + 1)) // 24] > 125)


def write_clip(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    fps: int = 30,
    times_s: Sequence[float] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    full_range: bool | None = None,
    matrix: int | None = None,
    rotation: int = 0,
    mirror: bool = False,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    sound: tuple[int, np.ndarray] | None = None,
) -> Path:
    """Write RGB images (H, W, 3), or (H, W) with ``pixel_format`` gray, as a video; sound is (rate, mono float)."""
    import av

    with av.open(str(path), "w", options=container_options or {}) as container:
        lossless = {"crf": "4"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=fps, options=lossless | (options or {}))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        tick = Fraction(1, fps) if times_s is None else Fraction(1, 90000)
        stream.time_base = stream.codec_context.time_base = tick
        if full_range is not None:
            stream.codec_context.color_range = 2 if full_range else 1
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if rotation or mirror:
            stream.set_display_rotation(rotation, hflip=mirror)
        voice = container.add_stream("aac", rate=sound[0], layout="mono") if sound else None
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24" if image.ndim == 3 else "gray")
            frame = frame.reformat(
                format=pixel_format,
                dst_colorspace=matrix,
                dst_color_range=None if full_range is None else (2 if full_range else 1),
            )
            frame.pts = index if times_s is None else round(times_s[index] / tick)
            frame.time_base = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if voice:
            _write_sound(container, voice, *sound)
    return path


def _write_sound(container, stream, rate: int, samples: np.ndarray) -> None:
    import av

    for begin in range(0, len(samples), 1024):
        block = samples[begin : begin + 1024].astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
