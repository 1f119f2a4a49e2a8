"""Videos as frame sources: what is in them, and their frames by number.

Times are the container's own timestamps, so that a variable frame rate, dropped frames and a clip that ends before
its header says are seen for what they are. Sizes and images are as displayed: rotation and mirror flags are applied.
Odd sizes, 10-bit, grey, alpha and full-range material all come out as 8-bit RGB; colours follow the file's tags
(untagged: BT.601, limited range, as FFmpeg assumes).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.decoding import DAMAGED, LIMITS, Child, Limits, check_file, decode_frames
from pipeline.errors import InputError

MAX_SIDE = 16384


@dataclass(frozen=True)
class VideoInfo:
    """What a video holds.

    Attributes:
        path: the file.
        size: (width, height) as displayed, pixels.
        times_s: (F,) float64 when each frame is shown, seconds after the first.
        fps: nominal frames a second.
        variable_rate: some frame is more than half a period away from where a constant rate would put it.
        duration_s: from the first frame to the end of the last.
        claimed_frames: as the container's header has it, 0 if it says nothing.
        has_audio: there is sound that can be decoded.
        codec: name of the decoder.
        pixel_format: as stored, FFmpeg's name.
        start_s: time of the first frame on the container's clock.
        orientation: swap axes, flip x, flip y to get from stored to displayed.
        pts: (F,) int64 container timestamps; empty if the file has none to be trusted.
        keyframes: display indices of the frames that decoding can begin at.
    """

    path: Path
    size: tuple[int, int]
    times_s: np.ndarray
    fps: float
    variable_rate: bool
    duration_s: float
    claimed_frames: int
    has_audio: bool
    codec: str
    pixel_format: str
    start_s: float
    orientation: tuple[bool, bool, bool]
    pts: np.ndarray
    keyframes: np.ndarray

    @property
    def frame_count(self) -> int:
        return len(self.times_s)


def probe(path: str | Path, limits: Limits = LIMITS) -> VideoInfo:
    """Look into a video: every timestamp is read and the first frame decoded.

    Raises:
        InputError: missing, empty or unreadable file, or one that holds no decodable frame.
    """
    path = Path(path)
    check_file(path)
    with Child(path, {"command": "probe"}, limits) as child:
        header, arrays = child.message()
    try:
        return _info(path, header, np.asarray(arrays["pts"], np.int64), np.asarray(arrays["keyframes"], np.int64))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise InputError(path, "makes the decoder answer nonsense", DAMAGED) from None


def _info(path: Path, header: dict, pts: np.ndarray, keyframes: np.ndarray) -> VideoInfo:
    count, size = int(header["frame_count"]), (int(header["size"][0]), int(header["size"][1]))
    if not (0 < size[0] <= MAX_SIDE and 0 < size[1] <= MAX_SIDE) or count < 1:
        raise InputError(path, f"has frames of {size[0]}x{size[1]} pixels", "Scale the video down")
    base = header["time_base"][0] / header["time_base"][1]
    stated = header["rate"][0] / header["rate"][1]
    start_s = float(pts[0] * base) if len(pts) else 0.0
    times = (pts - pts[0]) * base if len(pts) else np.arange(count) / (stated or 25.0)
    fps = _nominal_rate(times, stated, base)
    return VideoInfo(
        path=path,
        size=size,
        times_s=times.astype(np.float64),
        fps=fps,
        variable_rate=bool(np.abs(times - np.arange(count) / fps).max() > 0.5 / fps),
        duration_s=float(times[-1] + 1 / fps),
        claimed_frames=int(header["claimed_frames"]),
        has_audio=bool(header["has_audio"]),
        codec=str(header["codec"]),
        pixel_format=str(header["pixel_format"]),
        start_s=start_s,
        orientation=tuple(bool(o) for o in header["orientation"]),
        pts=pts,
        keyframes=keyframes[(keyframes >= 0) & (keyframes < count)],
    )


def _nominal_rate(times: np.ndarray, stated: float, tick: float) -> float:
    """The stated rate if the timestamps keep to it; else the median rate (a variable one), or the mean.

    Containers with coarse ticks (milliseconds) make single differences poor: 16, 17, 17 ms are 60 frames a second.
    """
    if len(times) < 2:
        return stated or 25.0
    index = np.arange(len(times))
    if stated > 0 and np.abs(times - index / stated).max() <= max(1.01 * tick, 0.05 / stated):
        return stated
    median, mean = np.median(np.diff(times)), times[-1] / index[-1]
    even = np.abs(np.diff(times) - median).max() <= max(2.02 * tick, 0.1 * median)
    period = mean if even or median <= 0 else median
    # A real rate is often stated right and only interrupted by dropped frames.
    return stated if stated > 0 and abs(stated * period - 1) < 2 * tick / period else 1.0 / period


@dataclass(frozen=True)
class VideoSource:
    """Frames of one video by number (a ``pipeline.frames.FrameSource``)."""

    info: VideoInfo
    limits: Limits = LIMITS

    @property
    def path(self) -> Path:
        return self.info.path

    @property
    def size(self) -> tuple[int, int]:
        return self.info.size

    @property
    def times_s(self) -> np.ndarray:
        return self.info.times_s

    @property
    def fps(self) -> float:
        return self.info.fps

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(index, RGB (H, W, 3) uint8) in ascending order, each once; frames that cannot be decoded are left out.

        Raises:
            InputError: the file breaks the decoder.
            IndexError: there is no such frame.
        """
        return self._decode(indices, self.size, grey=False)

    def thumbnails(self, indices: Sequence[int] | np.ndarray, height: int) -> Iterator[tuple[int, np.ndarray]]:
        """(index, grey (height, W) uint8), made small by averaging: for motion, not for looking at."""
        w, h = self.size
        height = min(height, h)
        return self._decode(indices, (max(1, round(w * height / h)), height), grey=True)

    def _decode(
        self, indices: Sequence[int] | np.ndarray, size: tuple[int, int], grey: bool
    ) -> Iterator[tuple[int, np.ndarray]]:
        wanted = np.unique(np.asarray(indices, np.int64))
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= len(self.times_s)):
            raise IndexError(f"{self.path} has frames 0 to {len(self.times_s) - 1}")
        i = self.info
        return decode_frames(
            i.path, size, wanted, pts=i.pts, keyframes=i.keyframes, orientation=i.orientation, grey=grey,
            limits=self.limits,
        )  # fmt: skip


def open_video(path: str | Path, limits: Limits = LIMITS) -> VideoSource:
    """A video as a frame source. Raises ``InputError`` as ``probe`` does."""
    return VideoSource(probe(path, limits), limits)
