"""Meshes of one person over frames, as artifacts of schema "surface" hold them.

    with MeshWriter(context.writer, cameras) as meshes:
        meshes.add(120, Mesh(vertices, faces, confidence, seen))
        meshes.mark(121, "no_view")

    sequence = MeshSequence(artifact)
    sequence.mesh(120)

Meshes are ragged: values of all frames one after another, and offsets. Vertices are uint16 in a box a frame (``origin``
and ``step``, float64 metres a frame and axis); a step is at most 0.03 mm while a mesh is shorter than 1.96 m along an
axis, and in proportion beyond. Faces are stored as differences to the face before, which compress well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType

import numpy as np

from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.meshes.geometry import check_mesh

_LEVELS = 65535
ENDS = 4
"""Of how many frames at either end the artifact's note holds number and digest, for those who read border frames."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the world.

    Attributes:
        vertices: (V, 3) float64 metres.
        faces: (T, 3) int32, counter-clockwise seen from outside.
        confidence: (V,) float32 in 0..1, how sure the surface is there.
        seen: (V, C) bool, which cameras see the vertex; C may be 0 where nobody knows.
    """

    vertices: np.ndarray
    faces: np.ndarray
    confidence: np.ndarray
    seen: np.ndarray


class MeshWriter:
    """Writes frames in ascending order into an artifact of schema "surface". A context manager: what all frames share
    is written when the block ends without an error."""

    def __init__(self, writer: ArtifactWriter, cameras: Sequence[str] = ()) -> None:
        """``cameras``: names, in the order of ``Mesh.seen``'s columns."""
        self._writer, self._cameras = writer, tuple(cameras)
        self._vertices = writer.rows("vertices/values", np.uint16, (3,))
        self._faces = writer.rows("faces/values", np.int32, (3,))
        self._confidence = writer.rows("confidence", np.uint8)
        self._seen = writer.rows("seen", np.uint8, (_bytes_for(len(self._cameras)),))
        self._frames: list[int] = []
        self._reasons: list[str] = []
        self._boxes: list[tuple[np.ndarray, np.ndarray]] = []
        self._counts: list[tuple[int, int]] = []
        self._digests: list[bytes] = []

    def __enter__(self) -> MeshWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self._finish()

    def add(self, frame: int, mesh: Mesh) -> None:
        """Raises ValueError for a mesh that is empty, not finite or inconsistent, or a frame out of order."""
        check_mesh(mesh.vertices, mesh.faces)
        if not len(mesh.faces):
            raise ValueError(f"the mesh of frame {frame} has no faces: mark the frame instead")
        count = len(mesh.vertices)
        if np.shape(mesh.confidence) != (count,) or np.shape(mesh.seen) != (count, len(self._cameras)):
            raise ValueError(
                f"{count} vertices and {len(self._cameras)} cameras, but confidence {np.shape(mesh.confidence)} and "
                f"seen {np.shape(mesh.seen)}"
            )
        vertices = np.asarray(mesh.vertices, np.float64)
        low = vertices.min(0)
        step = np.maximum((vertices.max(0) - low) / _LEVELS, 1e-9)
        parts = (
            np.rint((vertices - low) / step).astype("<u2"),
            np.diff(np.asarray(mesh.faces, np.int32), axis=0, prepend=np.zeros((1, 3), np.int32)).astype("<i4"),
            np.rint(255 * np.clip(mesh.confidence, 0, 1)).astype(np.uint8),
            _packed(mesh.seen),
        )
        for rows, part in zip((self._vertices, self._faces, self._confidence, self._seen), parts, strict=True):
            rows.append(part)
        self._note(frame, "", (low, step), (count, len(mesh.faces)), parts)

    def copy(self, sequence: MeshSequence, frame: int) -> None:
        """A frame of another artifact, with its mesh or its reason."""
        if sequence.has(frame):
            self.add(frame, sequence.mesh(frame))
        else:
            self.mark(frame, sequence.reason(frame))

    def mark(self, frame: int, reason: str) -> None:
        """A frame without a mesh, and why, in a word (``[a-z_]+``)."""
        if not reason:
            raise ValueError(f"frame {frame} is marked without a reason")
        self._note(frame, reason, (np.zeros(3), np.full(3, 1e-9)), (0, 0), ())

    def _note(
        self, frame: int, reason: str, box: tuple[np.ndarray, np.ndarray], counts: tuple[int, int],
        parts: Sequence[np.ndarray],
    ) -> None:  # fmt: skip
        if self._frames and frame <= self._frames[-1]:
            raise ValueError(f"frame {frame} comes after frame {self._frames[-1]}")
        digest = hashlib.sha256(reason.encode())
        for array in (*box, *parts):
            digest.update(array.tobytes())
        self._frames.append(int(frame))
        self._reasons.append(reason)
        self._boxes.append(box)
        self._counts.append(counts)
        self._digests.append(digest.digest())

    def _finish(self) -> None:
        writer, count = self._writer, len(self._frames)
        words = sorted(set(self._reasons) | {""})
        boxes = np.array(self._boxes, np.float64).reshape(count, 2, 3)
        offsets = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum(self._counts, 0).reshape(count, 2)])
        writer.put("frames", np.array(self._frames, np.int64))
        writer.put("valid", np.array([not r for r in self._reasons], bool))
        writer.put("reason", np.array([words.index(r) for r in self._reasons], np.uint8))
        writer.put("vertices/origin", boxes[:, 0])
        writer.put("vertices/step", boxes[:, 1])
        writer.put("vertices/offsets", offsets[:, 0].astype(np.int64))
        writer.put("faces/offsets", offsets[:, 1].astype(np.int64))
        writer.put("digests", np.frombuffer(b"".join(self._digests), np.uint8).reshape(count, 32))
        ends = [[n, digest.hex()[:12]] for n, digest in zip(self._frames, self._digests, strict=True)]
        writer.note = (writer.note or {}) | {"ends": [ends[:ENDS], ends[-ENDS:]]}
        writer.attribute("words", words)
        writer.attribute("cameras", list(self._cameras))


class MeshSequence:
    """What an artifact of schema "surface" holds, a frame at a time.

    Attributes:
        frames: (F,) int64, ascending.
        valid: (F,) bool; a frame that is not has no mesh.
        reasons: F words, why a frame has no mesh, empty where it has one.
        cameras: names, in the order of ``Mesh.seen``'s columns.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self.frames, self.valid = artifact["frames"], artifact["valid"]
        words = artifact.attribute("words")
        self.reasons = [words[i] for i in artifact["reason"]]
        self.cameras: tuple[str, ...] = tuple(artifact.attribute("cameras"))

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        names = ("vertices/origin", "vertices/step", "vertices/offsets", "faces/offsets", "digests")
        return {name: self._artifact[name] for name in names}

    def row(self, frame: int) -> int:
        """Raises KeyError for a frame that is not here."""
        row = int(np.searchsorted(self.frames, frame))
        if row == len(self.frames) or self.frames[row] != frame:
            raise KeyError(frame)
        return row

    def has(self, frame: int) -> bool:
        """Whether there is a mesh of this frame."""
        return frame in self.frames and bool(self.valid[self.row(frame)])

    def reason(self, frame: int) -> str:
        return self.reasons[self.row(frame)]

    def digest(self, frame: int) -> str:
        """Of what this frame holds, hexadecimal: for keys of whoever reads single frames."""
        return self._places["digests"][self.row(frame)].tobytes().hex()

    def mesh(self, frame: int) -> Mesh:
        """Raises KeyError for a frame that is not here, ValueError for one that is not valid."""
        row, places = self.row(frame), self._places
        if not self.valid[row]:
            raise ValueError(f"frame {frame} has no mesh: {self.reasons[row]}")
        some, triangles = (slice(*places[f"{name}/offsets"][row : row + 2]) for name in ("vertices", "faces"))
        vertices = self._artifact.read("vertices/values", some).astype(np.float64)
        seen = np.unpackbits(self._artifact.read("seen", some), axis=1, count=len(self.cameras), bitorder="little")
        return Mesh(
            vertices=places["vertices/origin"][row] + vertices * places["vertices/step"][row],
            faces=np.cumsum(self._artifact.read("faces/values", triangles), 0, dtype=np.int32),
            confidence=self._artifact.read("confidence", some).astype(np.float32) / 255,
            seen=seen.astype(bool),
        )


def _bytes_for(cameras: int) -> int:
    return max(-(-cameras // 8), 1)


def _packed(seen: np.ndarray) -> np.ndarray:
    """(V, C) bool to (V, bytes) uint8, the first camera in the lowest bit."""
    bits = np.zeros((len(seen), 8 * _bytes_for(seen.shape[1])), bool)
    bits[:, : seen.shape[1]] = seen
    return np.packbits(bits, axis=1, bitorder="little")
