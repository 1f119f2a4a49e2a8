"""``session_surface.glb``: the meshes of all frames as one animation, thinned out until it is small enough."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.meshes.glb import Compression, StillMesh, glb_changing

MOST_RATE = 15.0
"""Meshes a second, at most."""


class ChangingScene:
    """Takes the frames of a session as they come, ascending, and keeps every n-th: so many that the file is not larger
    than ``most_bytes``. What memory holds stays about as large.

    Attributes:
        stride: frame numbers from one mesh to the next.
    """

    def __init__(self, most_bytes: float, fps: float, step: int, first: int) -> None:
        """``fps``: frame numbers a second; ``step``: from one session frame to the next; ``first``: session frame."""
        self._most, self._fps, self._first = most_bytes, fps, first
        self.stride = self._wished = step * max(1, int(np.ceil(fps / step / MOST_RATE - 1e-9)))
        self._frames: dict[int, Mapping[int, StillMesh]] = {}

    @property
    def rate(self) -> float:
        """Meshes a second."""
        return self._fps / self.stride

    def add(self, frame: int, people: Mapping[int, StillMesh]) -> None:
        if people and (frame - self._first) % self.stride == 0:
            self._frames[frame] = people
        while len(self._frames) > 1 and sum(map(_bytes_of, self._frames.values())) > self._most:
            self._thin()

    def glb(self, up: np.ndarray, last: int, compression: Compression) -> bytes:
        """The file; empty if nobody was in any frame. ``last``: session frame."""
        while self._frames:
            people: dict[str, list[tuple[int, StillMesh]]] = {}
            for frame, found in self._frames.items():
                for mesh in found.values():
                    people.setdefault(mesh.name, []).append((frame, mesh))
            data = glb_changing(
                dict(sorted(people.items())), up, self._fps, (self._first, last), self.stride, compression
            )
            if len(data) <= self._most or len(self._frames) == 1:
                return data
            self._thin()
        return b""

    def told(self, size: int) -> str:
        """What to say of the file."""
        said = f"session_surface.glb: {size / 1e6:.1f} MB, {self.rate:.3g} frames a second"
        if self.stride > self._wished:
            said += f" instead of {self._fps / self._wished:.3g}, for export.surface_glb_mb {self._most / 1e6:g}"
        if size > self._most:
            said += ": one frame alone is larger than that; a larger export.simplify_mm makes it smaller"
        return said

    def _thin(self) -> None:
        self.stride *= 2
        kept = {n: p for n, p in self._frames.items() if (n - self._first) % self.stride == 0}
        self._frames = kept or dict(list(self._frames.items())[:1])


def _bytes_of(people: Mapping[int, StillMesh]) -> int:
    """About what a frame adds to a quantised file."""
    each = ((m.vertices, 0) if m.skin is None else (m.skin.vertices, len(m.skin.image)) for m in people.values())
    corners = sum(20 * len(vertices) + image + 1100 for vertices, image in each)
    return corners + sum(6 * len(m.faces) for m in people.values())
