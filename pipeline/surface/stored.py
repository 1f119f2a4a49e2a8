"""What networks read of one person over a chunk's frames, as artifacts of schema "surface_inputs" hold it.

Views of all frames lie one after another (``views/offsets``); their images are files (``views/<name>``): JPEG for
colours and normals, PNG for masks and depth. Body volumes are deflated bits, or bytes where a network reads more than
inside and outside.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from types import TracebackType

import cv2
import numpy as np

from nets.deepmulticap.inputs import CanonicalFrame
from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.images import JPEG_QUALITY, PNG_LEVEL
from pipeline.surface.prepare import Prepared

_COLOURS = ("rgb", "global_normals", "normals")
_EXACT = ("mask", "blocked", "depth")
NO_CAMERA = -1


class InputsWriter:
    """Writes frames in ascending order; a context manager."""

    def __init__(self, writer: ArtifactWriter, cameras: Sequence[str], size: int) -> None:
        """``cameras``: names of all cameras that may be among the views. ``size``: of the crops."""
        self._writer, self._cameras, self._size = writer, tuple(cameras), size
        self._images = {name: writer.stream(f"views/{name}") for name in (*_COLOURS, *_EXACT)}
        self._volumes = writer.stream("volume")
        self._frames: list[int] = []
        self._reasons: list[str] = []
        self._views: list[tuple[int, np.ndarray]] = []
        self._offsets = [0]
        self._places: list[tuple[np.ndarray, np.ndarray, float]] = []
        self._shape: tuple[int, ...] = (0, 0, 0, 0)

    def __enter__(self) -> InputsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self._finish()

    def add(self, frame: int, prepared: Prepared) -> None:
        volume = prepared.volume
        if volume.size:
            self._shape = volume.shape
        self._begin(frame, "", prepared.frame, pack_volume(volume))
        for v, name in enumerate(prepared.cameras):
            self._views.append((self._cameras.index(name), prepared.projection[v]))
            for image, stream in self._images.items():
                stack = getattr(prepared, image)
                stream.append(b"" if stack is None else _encoded(stack[v], image))
        self._offsets[-1] = len(self._views)

    def mark(self, frame: int, reason: str) -> None:
        """A frame in which there is nothing to read, and why."""
        self._begin(frame, reason, CanonicalFrame(np.eye(3), np.zeros(3), 1.0), b"")

    def copy(self, stored: StoredInputs, frame: int) -> None:
        """A frame of another artifact, as it is stored."""
        row = stored.row(frame)
        if stored.volume_shape[0]:
            self._shape = stored.volume_shape
        self._begin(frame, stored.reasons[row], stored.frame_of(row), stored.artifact.encoded("volume", row))
        for v in range(*stored.offsets[row : row + 2]):
            name = stored.cameras[stored.view_cameras[v]]
            self._views.append((self._cameras.index(name), stored.projections[v]))
            for image, stream in self._images.items():
                stream.append(stored.artifact.encoded(f"views/{image}", v))
        self._offsets[-1] = len(self._views)

    def _begin(self, frame: int, reason: str, place: CanonicalFrame, volume: bytes) -> None:
        if self._frames and frame <= self._frames[-1]:
            raise ValueError(f"frame {frame} comes after frame {self._frames[-1]}")
        self._frames.append(int(frame))
        self._reasons.append(reason)
        self._places.append((place.rotation, place.centre, place.scale))
        self._volumes.append(volume)
        self._offsets.append(len(self._views))

    def _finish(self) -> None:
        writer, count = self._writer, len(self._frames)
        words = sorted(set(self._reasons) | {""})
        writer.put("frames", np.array(self._frames, np.int64))
        writer.put("valid", np.array([not r for r in self._reasons], bool))
        writer.put("reason", np.array([words.index(r) for r in self._reasons], np.uint8))
        for k, (name, shape) in enumerate((("rotation", (3, 3)), ("centre", (3,)), ("scale", ()))):
            values = np.array([place[k] for place in self._places], np.float64)
            writer.put(f"frame/{name}", values.reshape(count, *shape))
        writer.put("views/offsets", np.array(self._offsets, np.int64))
        writer.put("views/camera", np.array([c for c, _ in self._views], np.int16))
        writer.put("views/projection", np.array([p for _, p in self._views], np.float64).reshape(-1, 3, 4))
        writer.attribute("words", words)
        writer.attribute("cameras", list(self._cameras))
        writer.attribute("size", self._size)
        writer.attribute("volume_shape", list(self._shape))


class StoredInputs:
    """What an artifact of schema "surface_inputs" holds, a frame at a time.

    Attributes:
        frames: (F,) int64, ascending. valid: (F,) bool. reasons: F words, empty where valid.
        cameras: names of all cameras of the session.
        size: of the crops, pixels.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.frames, self.valid = artifact["frames"], artifact["valid"]
        words = artifact.attribute("words")
        self.reasons = [words[i] for i in artifact["reason"]]
        self.cameras = tuple(artifact.attribute("cameras"))
        self.size, self.volume_shape = artifact.attribute("size"), tuple(artifact.attribute("volume_shape"))
        self.offsets, self.view_cameras = artifact["views/offsets"], artifact["views/camera"]
        self.projections = artifact["views/projection"]
        self._rotation, self._centre, self._scale = (artifact[f"frame/{n}"] for n in ("rotation", "centre", "scale"))

    def row(self, frame: int) -> int:
        """Raises KeyError for a frame that is not here."""
        row = int(np.searchsorted(self.frames, frame))
        if row == len(self.frames) or self.frames[row] != frame:
            raise KeyError(frame)
        return row

    def frame_of(self, row: int) -> CanonicalFrame:
        return CanonicalFrame(self._rotation[row], self._centre[row], float(self._scale[row]))

    def prepared(self, frame: int) -> Prepared:
        """Raises KeyError for a frame that is not here, ValueError for one that is not valid."""
        row = self.row(frame)
        if not self.valid[row]:
            raise ValueError(f"frame {frame} has no inputs: {self.reasons[row]}")
        views = range(*self.offsets[row : row + 2])
        images = {name: self._stack(name, views) for name in (*_COLOURS, *_EXACT)}
        off = images["mask"] == 0
        if images["normals"] is not None:
            images["normals"][off] = 128  # nothing is there, whatever the JPEG blurs across the outline
        if images["global_normals"] is not None and images["depth"] is not None:
            images["global_normals"][images["depth"] == 0] = 128
        return Prepared(
            cameras=tuple(self.cameras[self.view_cameras[v]] for v in views),
            projection=self.projections[views.start : views.stop],
            frame=self.frame_of(row),
            volume=unpack_volume(self.artifact.encoded("volume", row), self.volume_shape),
            **images | {"blocked": images["blocked"] > 0},
        )

    def _stack(self, name: str, views: range) -> np.ndarray | None:
        files = [self.artifact.encoded(f"views/{name}", v) for v in views]
        return np.stack([_decoded(f, name) for f in files]) if files and files[0] else None


def pack_volume(volume: np.ndarray) -> bytes:
    """(C, R, R, R) uint8 deflated: bits where it is one channel of 0 and 255."""
    if not volume.size:
        return b""
    if volume.shape[0] == 1 and not ((volume > 0) & (volume < 255)).any():
        return b"b" + zlib.compress(np.packbits(volume > 0).tobytes(), 4)
    return b"v" + zlib.compress(np.ascontiguousarray(volume).tobytes(), 4)


def unpack_volume(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """What ``pack_volume`` was given."""
    if not data:
        return np.zeros((0, 0, 0, 0), np.uint8)
    raw, count = np.frombuffer(zlib.decompress(data[1:]), np.uint8), int(np.prod(shape))
    if data[:1] == b"b":
        return 255 * np.unpackbits(raw, count=count).reshape(shape)
    return raw.reshape(shape).copy()


def _encoded(image: np.ndarray, name: str) -> bytes:
    if name in _COLOURS:
        # Normals do not bear having their colours halved.
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if name != "rgb" else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    else:
        plain = image.astype(np.uint8) * 255 if image.dtype == bool else image
        done, data = cv2.imencode(".png", plain, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise ValueError(f"{name} of shape {image.shape} cannot be encoded")
    return data.tobytes()


def _decoded(data: bytes, name: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if name in _COLOURS else image
