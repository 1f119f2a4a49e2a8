"""The frames stage: source images to stored images of the undistorted camera, one a frame of the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.cameras import Camera
from pipeline.errors import InputError
from pipeline.images import Storage, encode

MISSING = "the camera has no image at this time"
UNDECODABLE = "the image is damaged"


class FrameSource(Protocol):
    """The images of one camera as recorded, by number.

    Attributes:
        path: file or folder, for messages.
        size: (width, height) as displayed.
        times_s: (N,) float64 ascending; when each image was taken on the source's own clock.
        fps: nominal images a second.
    """

    @property
    def path(self) -> Path: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def times_s(self) -> np.ndarray: ...
    @property
    def fps(self) -> float: ...

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(index, RGB (H, W, 3) uint8), ascending, each once; undecodable ones are left out."""

    def thumbnails(self, indices: Sequence[int] | np.ndarray, height: int) -> Iterator[tuple[int, np.ndarray]]:
        """(index, grey (height, W) uint8), ascending, each once; undecodable ones are left out."""


@dataclass(frozen=True)
class StoredFrame:
    """One frame of the session as it goes into the cache.

    Attributes:
        position: index into the session frames of the plan.
        data: image file (JPEG or PNG), empty if there is none.
        reason: why there is none, else empty.
    """

    position: int
    data: bytes
    reason: str = ""

    @property
    def valid(self) -> bool:
        return bool(self.data)


def check_size(camera: Camera, source: FrameSource) -> None:
    """Raise ``InputError`` unless the source's images have the size that the camera is calibrated for."""
    if tuple(source.size) == camera.size:
        return
    (w, h), (cw, ch) = source.size, camera.size
    if (w, h) == (ch, cw):
        remedy = "It is turned by 90 degrees: correct its rotation flag, or calibrate with images turned the same way"
    elif abs(w * ch - h * cw) <= max(w, h):
        remedy = "It is scaled: give the video as recorded, or scale the calibration to it"
    else:
        remedy = "Give the video that belongs to this camera, uncropped"
    raise InputError(source.path, f"is {w}x{h}, but camera {camera.name} is calibrated for {cw}x{ch}", remedy)


def store_frames(
    camera: Camera,
    source: FrameSource,
    plan: np.ndarray,
    *,
    undistort: bool = True,
    storage: Storage = "jpeg",
    progress: Callable[[float], None] | None = None,
) -> Iterator[StoredFrame]:
    """Images of one camera for the frames of a session, undistorted once and encoded.

    Args:
        camera: as calibrated, with its distortion.
        source: its images.
        plan: (F,) source index of each session frame, -1 for none (``pipeline.synchronisation.frame_plan``);
            non-negative entries must not decrease. An image planned twice in a row is stored twice.
        undistort: remove lens distortion; False for images that are already without it.
        storage: jpeg or png.
        progress: told the fraction done.

    Yields:
        one ``StoredFrame`` for every entry of the plan, in order. Missing, damaged and, from where a file breaks its
        decoder, all further images are invalid with a reason; they stop nothing.

    Raises:
        InputError: wrong size, or not a single planned image can be decoded.
    """
    check_size(camera, source)
    plan = np.asarray(plan, np.int64)
    planned = plan[plan >= 0]
    if (np.diff(planned) < 0).any():
        raise ValueError("the plan goes back in time")
    images = _Lookahead(source.frames(np.unique(planned)))
    held, held_data = -1, b""
    for position, index in enumerate(plan):
        if index < 0:
            yield StoredFrame(position, b"", MISSING)
        else:
            if index != held:
                image = images.at(int(index))
                if image is not None and undistort:
                    image = camera.undistort_image(image)
                held, held_data = index, b"" if image is None else encode(image, storage)
            yield StoredFrame(position, held_data, "" if held_data else images.broken or UNDECODABLE)
        if progress is not None:
            progress((position + 1) / len(plan))
    if len(planned) and not images.delivered:
        raise InputError(source.path, "not one of its images can be decoded", "Check that it is whole; copy it again")


class _Lookahead:
    """An ascending stream of (index, image) asked for by ascending index."""

    def __init__(self, stream: Iterator[tuple[int, np.ndarray]]) -> None:
        self.stream, self.ahead = stream, None
        self.broken, self.delivered = "", False

    def at(self, index: int) -> np.ndarray | None:
        """The image of that index, None if the stream passes it over or has broken."""
        while not self.broken and (self.ahead is None or self.ahead[0] < index):
            try:
                self.ahead = next(self.stream, None)
            except InputError as error:
                if not self.delivered:
                    raise
                self.broken = f"the file {error.problem}"
                self.ahead = None
                return None
            if self.ahead is None:
                return None
        if self.ahead is None or self.ahead[0] != index:
            return None
        self.delivered = True
        return self.ahead[1]
