"""The program that opens other people's media files, so that the parent never has to.

Run as ``python -P data/decoding_child.py`` by ``data.decoding``, which sends one request through standard input and
reads messages from standard output. Nothing of the project is imported here: a child is up in 0.15 s.

A message is a JSON header (its length as uint32 before it) followed by the arrays that the header announces under
``arrays`` as [name, dtype, shape]. Decoded frames do not travel in messages: they are written into slots of a shared
memory file that the parent made, and the message names the slot. The parent returns a slot by sending its number as
one byte.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import resource
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,mxf,asf,flv,ogg,h264,hevc,m4v,mjpeg,dv,nut,ivf,"
    "yuv4mpegpipe,wav,flac,mp3,aac,caf"
)
"""Demuxers that read one file. Playlists (HLS, DASH, concat) are left out: they open whatever they name."""

MAX_HEADER = 1 << 20
MAX_FRAMES = 20_000_000
MAX_PIXELS = 1 << 27

Clock = Callable[[], None]
"""Called whenever there has been progress: the allowance of processor time starts again."""


class Refused(Exception):
    """The file cannot be used: what is wrong and what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def send(out: BinaryIO, header: dict[str, Any], **arrays: np.ndarray) -> None:
    """Write one message and flush."""
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    header = header | {"arrays": [[k, v.dtype.str, list(v.shape)] for k, v in arrays.items()]}
    text = json.dumps(header).encode()
    out.write(struct.pack("<I", len(text)) + text)
    for value in arrays.values():
        out.write(value.tobytes())
    out.flush()


def receive(read: Callable[[int], bytes], max_bytes: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read one message. ``read(n)`` delivers exactly n bytes or raises.

    Raises:
        ValueError: the message is not one, or announces arrays of more than ``max_bytes``, or of another kind than
            plain numbers. The sender may have been taken over by the file it decodes.
    """
    (size,) = struct.unpack("<I", read(4))
    if size > MAX_HEADER:
        raise ValueError("message header too long")
    header = json.loads(read(size))
    arrays = {}
    for name, dtype, shape in header.pop("arrays"):
        kind = np.dtype(dtype)
        count = math.prod(int(s) for s in shape)
        if kind.kind not in "iufb" or count < 0 or min(shape, default=0) < 0 or count * kind.itemsize > max_bytes:
            raise ValueError("message holds an array that it may not hold")
        arrays[name] = np.frombuffer(read(count * kind.itemsize), kind).reshape(shape)
    return header, arrays


def orientation(frame: Any) -> tuple[bool, bool, bool]:
    """How a decoded frame is to be turned for display: (swap axes, then flip x, then flip y).

    From the display matrix of the container (ISO 14496-12, 8.2.2: [a b u; c d v; x y w] in 16.16 fixed point,
    x' = a x + c y, y' = b x + d y).
    """
    raw = next((bytes(s) for s in frame.side_data if s.type.name == "DISPLAYMATRIX"), None)
    if raw is None or len(raw) < 36:
        return False, False, False
    a, b, _, c, d = np.frombuffer(raw[:20], np.int32) / 65536.0
    straight, crossed = max(abs(a), abs(d)), max(abs(b), abs(c))
    if min(straight, crossed) > 0.02 * max(straight, crossed) or straight == crossed:
        raise Refused("is flagged as turned by an angle that is no quarter turn", "Write the video again upright")
    if crossed > straight:
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def turned(image: np.ndarray, how: tuple[bool, bool, bool]) -> np.ndarray:
    """A view of the image (H, W, ...) as it is to be displayed."""
    swap, flip_x, flip_y = how
    if swap:
        image = image.swapaxes(0, 1)
    return image[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


class Reader:
    """One open container and its first real video stream."""

    def __init__(self, path: str, threads: int) -> None:
        import av

        av.logging.set_level(av.logging.PANIC)
        self.av = av
        limits = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        try:
            self.container = av.open(f"file:{path}", container_options=limits, metadata_errors="replace")
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError) as error:
            raise Refused(
                f"is not a video that can be read ({getattr(error, 'strerror', error)})",
                "Check that the file is whole; write it again, for example as H.264 in MP4",
            ) from None
        cover = av.stream.Disposition.attached_pic
        self.video = next((s for s in self.container.streams.video if not s.disposition & cover), None)
        self.audio = next(iter(self.container.streams.audio), None)
        if self.video is not None and self.video.codec_context is not None:
            self.video.codec_context.thread_count = threads
            self.video.codec_context.thread_type = "SLICE" if threads == 1 else "AUTO"

    def need_video(self) -> Any:
        if self.video is None:
            raise Refused("holds no video", "Name a file with moving pictures")
        if self.video.codec_context is None:
            raise Refused("is in a coding that has no decoder here", "Write it again, for example as H.264 in MP4")
        return self.video

    def frames(self, clock: Clock) -> Iterator[Any]:
        """Decoded frames in order of display; damaged packets are passed over."""
        for packet in self.packets(self.need_video()):
            try:
                decoded = packet.decode()
            except MemoryError:
                raise
            except (self.av.error.FFmpegError, ValueError):
                continue
            for frame in decoded:
                clock()
                if not frame.is_corrupt:
                    yield frame

    def packets(self, stream: Any) -> Iterator[Any]:
        """Packets up to where the file breaks off, the empty flushing one included."""
        source = self.container.demux(stream)
        while True:
            try:
                packet = next(source, None)
            except (self.av.error.FFmpegError, ValueError):
                packet = self.av.Packet()  # what is still inside the decoder is worth having
                packet.stream = stream
                yield packet
                return
            if packet is None:
                return
            yield packet


def probe(path: str, out: BinaryIO, clock: Clock) -> None:
    """Send what there is to know without decoding more than the first frame, if timestamps can be trusted."""
    reader = Reader(path, threads=1)
    stream = reader.need_video()
    clock()
    pts, key, whole = [], [], True
    for packet in reader.packets(stream):
        if packet.size == 0 or packet.is_discard or packet.is_corrupt:
            continue
        whole &= packet.pts is not None
        pts.append(packet.pts if packet.pts is not None else -1)
        key.append(packet.is_keyframe)
        if len(pts) > MAX_FRAMES:
            raise Refused("holds too many frames", "Cut the clip")
        if len(pts) % 1000 == 0:
            clock()
    stamps, first = np.array(pts, np.int64), np.argsort(np.array(pts, np.int64), kind="stable")
    stamps, keys = stamps[first], np.array(key, bool)[first]
    by_stamp = whole and len(stamps) > 0 and (len(stamps) == 1 or bool((np.diff(stamps) > 0).all()))

    reader = Reader(path, threads=1)
    stream, count, shown = reader.need_video(), 0, []
    how, size = (False, False, False), (0, 0)
    for frame in reader.frames(clock):
        if count == 0:
            how, size = orientation(frame), (frame.width, frame.height)
        count += 1
        shown.append(frame.pts)
        if by_stamp:  # otherwise only decoding tells how many frames there are
            break
    if count == 0:
        raise Refused("holds no frame that can be decoded", "Check that the file is whole; record or copy it again")
    if size[0] * size[1] > MAX_PIXELS:
        raise Refused(f"has frames of {size[0]}x{size[1]} pixels", "Scale the video down")
    if not by_stamp:
        known = all(p is not None for p in shown) and (count == 1 or bool((np.diff(shown) > 0).all()))
        stamps, keys = np.array(shown if known else [], np.int64), np.zeros(0, bool)
        by_stamp = known
    base = stream.time_base
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    header = {
        "size": size[::-1] if how[0] else size,
        "orientation": [bool(h) for h in how],
        "frame_count": len(stamps) if by_stamp else count,
        "claimed_frames": int(stream.frames),
        "rate": [rate.numerator, rate.denominator] if rate else [0, 1],
        "time_base": [base.numerator, base.denominator],
        "codec": stream.codec_context.name,
        "pixel_format": str(stream.codec_context.pix_fmt),
        "has_audio": reader.audio is not None and reader.audio.codec_context is not None,
    }
    send(out, header, pts=stamps, keyframes=np.flatnonzero(keys))


def frames(request: dict[str, Any], arrays: dict[str, np.ndarray], out: BinaryIO, clock: Clock) -> None:
    """Decode the frames of the display indices in ``arrays['wanted']``, ascending, into the shared slots."""
    width, height = request["size"]
    grey, slots = request["grey"], request["slots"]
    shape = (height, width) if grey else (height, width, 3)
    ring = np.frombuffer(mmap.mmap(request["memory_fd"], slots * math.prod(shape)), np.uint8).reshape(slots, *shape)
    how, free = tuple(request["orientation"]), list(range(slots))
    convert = Converter((height, width) if how[0] else (width, height), grey)
    for index, frame in wanted_frames(request, arrays, clock):
        image = turned(convert(frame), how)
        while not free:
            returned = os.read(0, slots)
            if not returned:
                return  # the parent wants no more
            free.extend(returned)
        slot = free.pop()
        np.copyto(ring[slot], image)
        send(out, {"frame": int(index), "slot": slot})
        clock()
    send(out, {"end": True})


def wanted_frames(request: dict[str, Any], arrays: dict[str, np.ndarray], clock: Clock) -> Iterator[tuple[int, Any]]:
    """(display index, decoded frame) of the wanted indices, in order. With timestamps it begins at a key frame."""
    wanted, pts, keyframes = arrays["wanted"], arrays["pts"], arrays["keyframes"]
    reader = Reader(request["path"], request["threads"])
    source = reader.frames(clock)
    if not len(pts):
        remaining = set(wanted.tolist())
        for index, frame in enumerate(source):
            if index in remaining:
                yield index, frame
            if index >= wanted[-1]:
                return
        return
    before = keyframes[keyframes <= wanted[0]]
    if len(before) and before[-1] > 0:
        source = from_keyframe(reader, int(pts[before[-1]]), int(pts[wanted[0]]), request, clock)
    index_of = {int(pts[i]): int(i) for i in wanted}
    last = int(pts[wanted[-1]])
    for frame in source:
        index = index_of.pop(frame.pts, None)
        if index is not None:
            yield index, frame
        if not index_of or (frame.pts is not None and frame.pts > last):
            return


def from_keyframe(reader: Reader, key_pts: int, wanted_pts: int, request: dict[str, Any], clock: Clock) -> Iterator:
    """Frames from a key frame on; from the beginning where the container cannot go there exactly."""
    try:
        reader.container.seek(key_pts, stream=reader.need_video(), backward=True)
        source = reader.frames(clock)
        first = next(source, None)
    except reader.av.error.FFmpegError:
        first = None
    if first is None or first.pts is None or first.pts > wanted_pts:
        yield from Reader(request["path"], request["threads"]).frames(clock)
        return
    yield first
    yield from source


class Converter:
    """Decoded frames to RGB or grey of one size, with the range and matrix that the file is tagged with."""

    def __init__(self, size: tuple[int, int], grey: bool) -> None:
        from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

        self.reformatter, self.full = VideoReformatter(), ColorRange.JPEG
        self.size, self.format, self.channels = size, "gray" if grey else "rgb24", 1 if grey else 3
        self.area = Interpolation.AREA if grey else Interpolation.BILINEAR

    def __call__(self, frame: Any) -> np.ndarray:
        """uint8 (H, W, 3) or (H, W) as stored, not yet turned; a frame of another size is scaled to the first's."""
        w, h = self.size
        frame = self.reformatter.reformat(
            frame, w, h, self.format, interpolation=self.area, dst_color_range=self.full, threads=1
        )
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8)[: plane.line_size * h].reshape(h, plane.line_size)
        rows = rows[:, : w * self.channels]
        return rows.reshape(h, w) if self.channels == 1 else rows.reshape(h, w, 3)


def audio(request: dict[str, Any], out: BinaryIO, clock: Clock) -> None:
    """Send the sound as mono int16 in blocks [start sample, samples]; sample 0 is the time of the first video frame."""
    reader = Reader(request["path"], threads=1)
    stream, rate, limit = reader.audio, request["rate"], request["max_samples"]
    if stream is None or stream.codec_context is None:
        raise Refused("holds no sound", "Choose another sync method")
    resampler = reader.av.AudioResampler(format="s16", layout="mono", rate=rate)
    position = None
    for packet in reader.packets(stream):
        try:
            decoded = packet.decode()
        except MemoryError:
            raise
        except (reader.av.error.FFmpegError, ValueError):
            continue
        for frame in decoded:
            start = round((frame.time - request["start_s"]) * rate) if frame.time is not None else None
            # Containers round the times of blocks; only a real gap moves the sound.
            if start is not None and (position is None or abs(start - position) > 0.02 * rate):
                position = start
            position = position or 0
            for block in resampler.resample(frame):
                samples = block.to_ndarray().reshape(-1)
                send(out, {"start": position}, samples=samples)
                position += len(samples)
            clock()
        if position is not None and position > limit:
            break
    send(out, {"end": True})


def confine(memory_bytes: int, cpu_s: float) -> Clock:
    """Limit this process, before it opens anything; the clock grants ``cpu_s`` of processor time from each call on."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    granted = 0.0

    def clock() -> None:
        nonlocal granted
        now = time.process_time()
        if now + 0.5 * cpu_s > granted:
            granted = now + cpu_s
            soft = math.ceil(granted) if hard == resource.RLIM_INFINITY else min(math.ceil(granted), hard)
            resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))

    clock()
    return clock


def read_exactly(size: int) -> bytes:
    """From standard input, without a buffer: what follows the request are single bytes read elsewhere."""
    data = bytearray()
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def main() -> int:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a codec prints must not get between the messages
    try:
        request, arrays = receive(read_exactly, 1 << 31)
        clock = confine(request["memory_bytes"], request["cpu_s"])
        if request["command"] == "probe":
            probe(request["path"], out, clock)
        elif request["command"] == "frames":
            frames(request, arrays, out, clock)
        else:
            audio(request, out, clock)
    except Refused as refusal:
        send(out, {"refused": [refusal.problem, refusal.remedy]})
    except MemoryError:
        send(out, {"memory": True})
    except (EOFError, BrokenPipeError):
        return 1  # the parent is gone or wants no more
    except Exception:
        send(out, {"failed": traceback.format_exc()[-2000:]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
