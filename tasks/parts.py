"""Parts: the pieces of a stage that are made, cached, remade and reported one by one."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Part:
    """One piece of a stage: of the session, a camera, a chunk of a camera's frames, or a person.

    ``chunk`` is (start, stop) in frame numbers, end exclusive, aligned to multiples of the chunk's length.
    """

    stage: str
    camera: str | None = None
    chunk: tuple[int, int] | None = None
    person: int | None = None

    @property
    def name(self) -> str:
        """Name of its artifact and log, unique within the stage."""
        pieces = [] if self.camera is None else [self.camera]
        pieces += [] if self.person is None else [f"person_{self.person}"]
        pieces += [] if self.chunk is None else [f"{self.chunk[0]:06d}"]
        return "-".join(pieces) or "session"

    def __str__(self) -> str:
        return f"{self.stage}/{self.name}"

    def encode(self) -> str:
        """As one word, for the engine."""
        return json.dumps([self.stage, self.camera, self.chunk, self.person])

    @classmethod
    def decode(cls, text: str) -> Part:
        stage, camera, chunk, person = json.loads(text)
        return cls(stage, camera, None if chunk is None else tuple(chunk), person)


@dataclass(frozen=True)
class Selection:
    """Which parts a command means. None: all of them.

    ``frames`` is (start, stop), end exclusive: chunks that overlap it.
    """

    frames: tuple[int, int] | None = None
    people: tuple[int, ...] | None = None
    cameras: tuple[str, ...] | None = None

    def matches(self, part: Part) -> bool:
        if self.cameras is not None and part.camera is not None and part.camera not in self.cameras:
            return False
        if self.people is not None and part.person is not None and part.person not in self.people:
            return False
        if self.frames is not None and part.chunk is not None:
            return part.chunk[0] < self.frames[1] and self.frames[0] < part.chunk[1]
        return True
