"""Fused meshes as artifacts: a sequence of schema "surface", and beside it what each frame of a window contributed.

Frames that could not be fused have no mesh here and say why; whoever wants a mesh of theirs takes the surface itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np

from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.fusion.fuse import REASONS, Fused
from pipeline.meshes.sequence import Mesh, MeshWriter

NOTES = (
    "open", "non-manifold", "triangles disagree about the outside", "turned inside out", "faces out of range",
    "vertices not finite", "holes that no frame fills",
)  # fmt: skip
"""What may be said of a frame's meshes, as bits of ``FusionRecord.notes``."""
OWN_REASONS = ("invalid body", "far from its body", "no common surface")
"""Why a frame with a mesh was not fused: it stays as the surface stage made it."""
FIGURES = ("change_mm", "flicker_before_mm", "flicker_after_mm")


class FusionWriter:
    """Writes fused frames in ascending order. A context manager, as ``MeshWriter`` is."""

    def __init__(self, writer: ArtifactWriter, cameras: tuple[str, ...], window: int) -> None:
        self._writer, self._meshes, self._window = writer, MeshWriter(writer, cameras), window
        self._rows: list[tuple[np.ndarray, np.ndarray, int, int]] = []
        self._figures: dict[int, dict[str, float]] = {}

    def __enter__(self) -> FusionWriter:
        self._meshes.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if kind is None:
            self._finish()
        self._meshes.__exit__(kind, error, trace)

    def add(self, frame: int, fused: Fused, mesh: Mesh, offset: int) -> None:
        """A fused frame; ``offset``: how many frames of its window come before it."""
        self._meshes.add(frame, mesh)
        self._note(fused, offset)

    def mark(self, frame: int, reason: str, fused: Fused | None = None, offset: int = 0) -> None:
        """A frame that was not fused, and why, in a word."""
        self._meshes.mark(frame, reason)
        self._note(fused, offset)

    def measured(self, row: int, **figures: float) -> None:
        """Figures (``FIGURES``) of the row-th frame that was written."""
        self._figures.setdefault(row, {}).update(figures)

    def _note(self, fused: Fused | None, offset: int) -> None:
        shares, left_out, notes = np.zeros(self._window, np.float32), np.zeros(self._window, np.uint8), 0
        if fused is not None:
            first = self._window // 2 - offset
            place = slice(first, first + len(fused.contributions))
            shares[place], left_out[place] = fused.contributions, fused.frame_reasons
            notes = sum(1 << NOTES.index(note) for note in fused.notes)
        self._rows.append((shares, left_out, notes, 0 if fused is None else fused.open_edges))

    def _finish(self) -> None:
        count, put = len(self._rows), self._writer.put
        put("fusion/contributions", np.array([r[0] for r in self._rows], np.float32).reshape(count, self._window))
        put("fusion/left_out", np.array([r[1] for r in self._rows], np.uint8).reshape(count, self._window))
        put("fusion/notes", np.array([r[2] for r in self._rows], np.uint32))
        put("fusion/open_edges", np.array([r[3] for r in self._rows], np.int64))
        for name in FIGURES:
            values = [self._figures.get(k, {}).get(name, np.nan) for k in range(count)]
            put(f"fusion/{name}", np.array(values, np.float32))
        self._writer.attribute("left_out", list(REASONS))
        self._writer.attribute("notes", list(NOTES))


class FusionRecord:
    """What an artifact of stage fusion says beside its meshes (``MeshSequence``).

    Attributes:
        frames: (F,) int64. valid: (F,) bool, fused. reasons: F words, why not.
        contributions: (F, h) share of each frame of the window in the result, the frame itself in the middle; 0 for
            frames that are not there or were left out.
        left_out: F lists of h words, why a frame of the window took no part, "" where it did or where there is none.
        notes: F lists of words, what is worth knowing about the meshes.
        open_edges: (F,) edges of holes that are left.
        change_mm: (F,) root mean square of what fusion moved, measured along the normals of the body; NaN: unknown.
        flicker_before_mm, flicker_after_mm: (F,) root mean square second difference, over the frame and both beside it,
            of how far the surface is from the body along its normals; NaN where one of the three is missing.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.frames, self.valid = artifact["frames"], artifact["valid"]
        reasons = artifact.attribute("words")
        self.reasons = [reasons[i] for i in artifact["reason"]]
        self.contributions = artifact["fusion/contributions"]
        words, notes = artifact.attribute("left_out"), artifact.attribute("notes")
        self.left_out = [[words[i] for i in row] for row in artifact["fusion/left_out"]]
        self.notes = [[w for k, w in enumerate(notes) if bits >> k & 1] for bits in artifact["fusion/notes"].tolist()]
        self.open_edges = artifact["fusion/open_edges"]
        self.change_mm, self.flicker_before_mm, self.flicker_after_mm = (artifact[f"fusion/{n}"] for n in FIGURES)


def totals(records: Sequence[FusionRecord]) -> dict[str, float]:
    """Figures of a session for its summary; none where nothing was fused."""
    if not any(r.valid.any() for r in records):
        return {}
    found = {"person_frames_fused": int(sum(r.valid.sum() for r in records))}
    for name, label in zip(FIGURES, ("fusion_change_mm", "flicker_before_fusion_mm", "flicker_mm"), strict=True):
        values = np.concatenate([getattr(r, name) for r in records])
        if np.isfinite(values).any():
            found[label] = float(np.sqrt(np.nanmean(values.astype(np.float64) ** 2)))
    return found


def left_as_they_were(records: Sequence[FusionRecord]) -> dict[str, list[int]]:
    """Reason -> frames that have a surface and were not fused."""
    words = {r.replace(" ", "_") for r in OWN_REASONS}
    found: dict[str, list[int]] = {}
    for record in records:
        for frame, reason in zip(record.frames.tolist(), record.reasons, strict=True):
            if reason in words:
                found.setdefault(reason, []).append(frame)
    return found
