"""Stored masks: each person's own pixels in every camera and frame of a chunk, and those where they are hidden.

A mask is kept in the window that holds it, eight pixels a byte, deflated. Nobody shares a pixel: what is read is what
a label image would hold. Frames without an image, people who are not there and people out of a camera's sight are
recorded as such (``STATES``).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from copy import copy

import numpy as np

from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.cameras import Rig

STATES = ("absent", "no image", "out of view", "seen", "hidden", "without body")
"""``seen``: at least a pixel. ``hidden``: in view, but behind others or things altogether. ``without body``: seen, but
no body was fitted in that frame, so that only the detector told who it is."""

ABSENT, NO_IMAGE, OUT_OF_VIEW, SEEN, HIDDEN, WITHOUT_BODY = range(len(STATES))
MOST_PEOPLE = 255


class MaskWriter:
    """Writes the masks of a chunk into an artifact of schema "masks"; entries may come in any order, each once.

    Args:
        writer: of the artifact.
        rig: cameras whose images the masks belong to.
        people: ids, ascending.
        frames: (F,) absolute numbers, ascending.
    """

    def __init__(self, writer: ArtifactWriter, rig: Rig, people: Sequence[int], frames: np.ndarray) -> None:
        if len(people) > MOST_PEOPLE:
            raise ValueError(f"{len(people)} people do not fit label images of one byte")
        self._writer, self._rig = writer, rig
        self._camera = {name: c for c, name in enumerate(rig.names)}
        self._person = {int(p): k for k, p in enumerate(people)}
        self._frame = {int(n): f for f, n in enumerate(frames)}
        shape = (len(rig), len(frames), len(people))
        self.state = np.zeros(shape, np.int8)
        self.agreement = np.full(shape, np.nan, np.float32)
        self._entry = np.full(shape, -1, np.int32)
        self._windows = np.zeros((*shape, 4), np.int32)
        self._bits, self._count = writer.stream("bits"), 0
        writer.put("frames", np.asarray(frames, np.int64))
        writer.put("person_ids", np.asarray(people, np.int64))
        writer.put("cameras", np.array([n.encode() for n in rig.names]))
        writer.put("sizes", np.array([c.size for c in rig.cameras], np.int32))

    def note(self, camera: str, frame: int, person: int, state: int) -> None:
        """Record why there is no mask: ``ABSENT``, ``NO_IMAGE`` or ``OUT_OF_VIEW``."""
        self.state[self._at(camera, frame, person)] = state

    def put(
        self,
        camera: str,
        frame: int,
        person: int,
        mask: np.ndarray,
        hidden: np.ndarray,
        *,
        agreement: float = np.nan,
        body: bool = True,
    ) -> None:
        """Store one person in one image.

        Args:
            mask: (H, W) bool, the person's pixels. Those of different people must not overlap.
            hidden: (H, W) bool, where the person's body is behind somebody or something.
            agreement: intersection over union of the mask and what the projected body lets expect; NaN: not known.
            body: whether there was a body in that frame.
        """
        at = self._at(camera, frame, person)
        width, height = self._rig.cameras[at[0]].size
        if mask.shape != (height, width) or hidden.shape != (height, width):
            raise ValueError(f"masks of {mask.shape} and {hidden.shape} for camera {camera} of {height} x {width}")
        if self._entry[at] >= 0:
            raise ValueError(f"person {person} in frame {frame} of camera {camera} is stored twice")
        self.agreement[at] = agreement
        seen = bool(mask.any())
        self.state[at] = (SEEN if body else WITHOUT_BODY) if seen else HIDDEN
        window = _window(mask | hidden)
        if window is None:
            self.state[at] = OUT_OF_VIEW
            return
        x0, y0, x1, y1 = window
        planes = np.stack([mask[y0:y1, x0:x1], hidden[y0:y1, x0:x1]])
        self._bits.append(zlib.compress(np.packbits(planes).tobytes(), 6))
        self._entry[at], self._windows[at] = self._count, window
        self._count += 1

    def close(self) -> None:
        """Write what was recorded of all entries; the artifact is complete after it."""
        self._writer.put("state", self.state)
        self._writer.put("agreement", self.agreement)
        self._writer.put("entry", self._entry)
        self._writer.put("windows", self._windows)

    def _at(self, camera: str, frame: int, person: int) -> tuple[int, int, int]:
        return self._camera[camera], self._frame[int(frame)], self._person[int(person)]


class Masks:
    """The masks of a chunk, as an artifact of schema "masks" holds them.

    Attributes:
        cameras: names.
        people: ids; label k + 1 stands for ``people[k]``.
        frames: (F,) int64 absolute numbers.
        state: (C, F, P) int8, an index into ``STATES``.
        agreement: (C, F, P) float32, intersection over union of mask and projected body (less what others hide of
            it); NaN where there is none of them.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self.cameras = tuple(n.decode() for n in artifact["cameras"])
        self.people = tuple(int(p) for p in artifact["person_ids"])
        self.frames = artifact["frames"]
        self.state, self.agreement = artifact["state"], artifact["agreement"]
        self._sizes, self._entry, self._windows = artifact["sizes"], artifact["entry"], artifact["windows"]
        self._frame = {int(n): f for f, n in enumerate(self.frames)}

    def of(self, people: Sequence[int]) -> Masks:
        """The same, of these people alone.

        Raises:
            KeyError: somebody whom the artifact does not tell of.
        """
        if unknown := set(people) - set(self.people):
            raise KeyError(f"there are no masks of {sorted(unknown)}")
        columns, out = [self.people.index(p) for p in people], copy(self)
        out.people = tuple(people)
        for name in ("state", "agreement", "_entry", "_windows"):
            setattr(out, name, getattr(self, name)[:, :, columns])
        return out

    def size(self, camera: str) -> tuple[int, int]:
        """(width, height) of a camera's images."""
        width, height = self._sizes[self.cameras.index(camera)]
        return int(width), int(height)

    def mask(self, camera: str, frame: int, person: int) -> np.ndarray | None:
        """(H, W) bool: the person's own pixels; None if the person is not there in that frame, or the image is not.

        Nothing is set in the mask of somebody out of the camera's sight or hidden altogether.

        Raises:
            KeyError: a camera, frame or person that the artifact does not tell of.
        """
        at = self._at(camera, frame, person)
        return None if self.state[at] in (ABSENT, NO_IMAGE) else self._plane(at, 0)

    def hidden(self, camera: str, frame: int, person: int) -> np.ndarray:
        """(H, W) bool: where the person's projected body is, but somebody or something else is in front.

        Raises:
            KeyError: as ``mask``.
        """
        return self._plane(self._at(camera, frame, person), 1)

    def labels(self, camera: str, frame: int) -> np.ndarray:
        """(H, W) uint8: 0 nobody, k + 1 for ``people[k]``.

        Raises:
            KeyError: as ``mask``.
        """
        if camera not in self.cameras or int(frame) not in self._frame:
            raise KeyError(f"there are no masks of frame {frame} of camera {camera}")
        width, height = self.size(camera)
        labels = np.zeros((height, width), np.uint8)
        for k, person in enumerate(self.people):
            at = self._at(camera, frame, person)
            if self._entry[at] >= 0:
                x0, y0, x1, y1 = self._windows[at]
                labels[y0:y1, x0:x1][self._planes(at)[0]] = k + 1
        return labels

    def _plane(self, at: tuple[int, int, int], which: int) -> np.ndarray:
        width, height = self._sizes[at[0]]
        full = np.zeros((height, width), bool)
        if self._entry[at] >= 0:
            x0, y0, x1, y1 = self._windows[at]
            full[y0:y1, x0:x1] = self._planes(at)[which]
        return full

    def _planes(self, at: tuple[int, int, int]) -> np.ndarray:
        """(2, h, w) bool in the entry's window."""
        x0, y0, x1, y1 = (int(v) for v in self._windows[at])
        count = 2 * (y1 - y0) * (x1 - x0)
        packed = zlib.decompress(self._artifact.encoded("bits", int(self._entry[at])))
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=count)
        return bits.reshape(2, y1 - y0, x1 - x0).astype(bool)

    def _at(self, camera: str, frame: int, person: int) -> tuple[int, int, int]:
        try:
            return self.cameras.index(camera), self._frame[int(frame)], self.people.index(int(person))
        except (ValueError, KeyError):
            raise KeyError(f"there are no masks of person {person} in frame {frame} of camera {camera}") from None


def _window(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """x0 y0 x1 y1, end exclusive, of what is set in a mask (H, W)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
