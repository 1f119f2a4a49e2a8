"""Decoding of other people's media in a child process with limits.

A file that makes a decoder hang, swell or crash costs one ``InputError`` and no more. The child
(``data/decoding_child.py``) sees the file; this side sees numbers and pixels, and trusts neither.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import selectors
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import decoding_child
from pipeline.errors import InputError

SLOTS = 4
"""Frames that the child may be ahead."""

DAMAGED = "Check that the file is whole; write it again, for example as H.264 in MP4"


ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20), "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
"""The child's memory is kept from frame to frame: fetching fresh pages takes a fifth of the time of a frame."""


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Attributes:
        memory_bytes: address space, the interpreter's 0.5 GB included.
        cpu_s: processor time without any progress.
        wall_s: time without any message; longer means that the machine or its storage hangs, not the file.
        threads: decoder threads. Cameras are worked on side by side, so one is the fair share.
    """

    memory_bytes: int = 4 << 30
    cpu_s: float = 60.0
    wall_s: float = 600.0
    threads: int = 1


LIMITS = Limits()


class DecoderStalled(RuntimeError):
    """The child neither worked nor answered: storage that hangs, or a machine out of memory. Worth another try."""


def check_file(path: Path, what: str = "video") -> None:
    """Raise ``InputError`` unless the path is a readable file with something in it. Opens nothing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(path, "no such file", _beside(path, what)) from None
    except OSError as error:
        raise InputError(path, f"cannot be reached ({error.strerror})", "Check its permissions") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(path, "is a folder", f"Name the {what} file in it")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(path, "is not a plain file", f"Name a {what} file")
    if status.st_size == 0:
        raise InputError(path, "is empty (0 bytes)", "Copy it again from where it was recorded")
    if not os.access(path, os.R_OK):
        raise InputError(path, "cannot be read (permission denied)", "Check its permissions")


def _beside(path: Path, what: str) -> str:
    if not path.parent.is_dir():
        return f"The folder {path.parent} is not there either: check the path"
    names = sorted(p.name for p in path.parent.iterdir() if p.is_file())[:9]
    if not names:
        return f"The folder {path.parent} is empty: check the path"
    more = " ..." if len(names) == 9 else ""
    return f"Check the path and the camera's name; in that folder there is {', '.join(names[:8])}{more}"


class Child:
    """A running child with one request. Use as a context: leaving it ends the child."""

    def __init__(
        self,
        path: Path,
        request: Mapping[str, Any],
        limits: Limits,
        memory_fd: int | None = None,
        **arrays: np.ndarray,
    ) -> None:
        self.path, self.limits = path, limits
        self.process = subprocess.Popen(
            [sys.executable, "-P", decoding_child.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=() if memory_fd is None else (memory_fd,),
            bufsize=0,
            cwd="/",
            env=os.environ | ENVIRONMENT,
        )
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        limit = {"memory_bytes": limits.memory_bytes, "cpu_s": limits.cpu_s, "threads": limits.threads}
        try:
            with os.fdopen(os.dup(self.process.stdin.fileno()), "wb") as pipe:
                decoding_child.send(pipe, {**request, **limit, "path": str(path.absolute())}, **arrays)
        except BrokenPipeError:
            pass  # it died at once: the first message that does not come tells why

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.selector.close()
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def message(self, max_bytes: int = 1 << 31) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The next message.

        Raises:
            InputError: the child refuses the file, or broke over it.
            DecoderStalled: nothing came within the time limit, or the child was killed from outside.
        """
        try:
            header, arrays = decoding_child.receive(self._read, max_bytes)
        except InputError:  # is a ValueError, but tells more than the next line
            raise
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(self.path, "makes the decoder answer nonsense", DAMAGED) from None
        if "refused" in header:
            problem, remedy = map(str, header["refused"])
            raise InputError(self.path, problem, remedy)
        if "memory" in header:
            gib = self.limits.memory_bytes / 2**30
            raise InputError(self.path, f"needs more than {gib:.1f} GiB of memory to decode", DAMAGED)
        if "failed" in header:
            raise RuntimeError(f"decoding of {self.path} failed:\n{header['failed']}")
        return header, arrays

    def release(self, slot: int) -> None:
        """Give a slot of the shared memory back."""
        with contextlib.suppress(BrokenPipeError):  # it has sent its last frame
            self.process.stdin.write(bytes([slot]))

    def _read(self, size: int) -> bytes:
        data, deadline = bytearray(), time.monotonic() + self.limits.wall_s
        while len(data) < size:
            if not self.selector.select(max(deadline - time.monotonic(), 0)):
                raise DecoderStalled(f"no answer about {self.path} within {self.limits.wall_s:g} s")
            part = os.read(self.process.stdout.fileno(), min(size - len(data), 1 << 20))
            if not part:
                self._explain_death()
            data += part
        return bytes(data)

    def _explain_death(self) -> None:
        code = -self.process.wait()
        if code == signal.SIGXCPU:
            raise InputError(self.path, f"keeps the decoder busy for {self.limits.cpu_s:g} s over one frame", DAMAGED)
        if code in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
            raise InputError(self.path, f"crashes the decoder ({signal.Signals(code).name})", DAMAGED)
        raise DecoderStalled(f"the decoder of {self.path} was ended from outside (status {-code})")


def decode_frames(
    path: Path,
    size: tuple[int, int],
    wanted: np.ndarray,
    *,
    pts: np.ndarray,
    keyframes: np.ndarray,
    orientation: tuple[bool, bool, bool],
    grey: bool = False,
    limits: Limits = LIMITS,
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a video, decoded in a child that works ahead.

    Args:
        path: the video.
        size: (width, height) to deliver, after turning.
        wanted: (N,) display indices, strictly ascending.
        pts: (F,) timestamps in display order; empty if only counting tells frames apart.
        keyframes: display indices of key frames.
        orientation: as ``data.decoding_child.orientation`` gives it.
        grey: grey (H, W) instead of RGB (H, W, 3).

    Yields:
        (index, uint8 image), ascending. What cannot be decoded is left out.
    """
    wanted = np.asarray(wanted, np.int64)
    if not len(wanted):
        return
    width, height = size
    shape = (height, width) if grey else (height, width, 3)
    memory_fd = os.memfd_create("frames")
    try:
        os.ftruncate(memory_fd, SLOTS * math.prod(shape))
        request = {
            "command": "frames", "size": size, "grey": grey, "slots": SLOTS, "memory_fd": memory_fd,
            "orientation": orientation,
        }  # fmt: skip
        ring = np.frombuffer(mmap.mmap(memory_fd, 0), np.uint8).reshape(SLOTS, *shape)
        with Child(path, request, limits, memory_fd, wanted=wanted, pts=pts, keyframes=keyframes) as child:
            previous = -1
            while True:
                header, _ = child.message(0)
                if header.get("end"):
                    return
                index, slot = header.get("frame"), header.get("slot")
                if not (isinstance(index, int) and isinstance(slot, int) and previous < index <= wanted[-1]):
                    raise InputError(path, "makes the decoder answer nonsense", DAMAGED)
                image, previous = ring[slot % SLOTS].copy(), index
                child.release(slot)
                yield index, image
    finally:
        os.close(memory_fd)
