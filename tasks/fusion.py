"""Stage: one person's surfaces, each fused with those of the frames beside it, neighbouring chunks included."""

from __future__ import annotations

import math
from collections import Counter, deque

import numpy as np

from pipeline.config import Session
from pipeline.meshes.sequence import Mesh, MeshSequence
from tasks.bodies import load_model
from tasks.execution import Context
from tasks.parts import Part
from tasks.people import bodies_of
from tasks.surfaces import wants as wants

VOXEL_M = 0.003
"""At a surface resolution of 512; in proportion at others, so that fusion keeps what a surface shows."""
CAMERAS_FOR_TRUST = 2
AWAY_M = 0.01
"""Where fusion moved the surface further than this, it is not the surface that the cameras of its frame saw."""


def step_of(session: Session) -> int:
    """Between frames with surfaces, in frame numbers."""
    config = session.config
    return math.lcm(config.capture.frames.step, config.surface.frames.step)


def options_of(session: Session):
    """``FusionOptions`` of a session."""
    from pipeline.fusion.options import FusionOptions

    config = session.config
    return FusionOptions(
        window=config.fusion.window,
        weighted=config.fusion.method == "weighted",
        voxel_m=VOXEL_M * 512 / config.surface.resolution,
    )


def reach(session: Session) -> int:
    return options_of(session).reach * step_of(session)


def parameters(session: Session, part: Part) -> dict:
    return {"step": step_of(session)}


def compute(context: Context) -> None:
    from pipeline.fusion.stored import FusionWriter
    from pipeline.fusion.windows import fuse_sequence, windows

    source = _Source(context)
    options, own = source.options, source.own
    plan = windows(source.frames, source.present, options.window, source.step)
    rows = [int(row) for row in np.searchsorted(source.frames, own.frames)]
    wanted = [row for row in rows if row in plan and own.has(int(source.frames[row]))]
    fusing = fuse_sequence(
        source.frames, source.present, source.load, options,
        wanted=wanted, step=source.step, threads=1, progress=context.progress,
    )  # fmt: skip
    reasons: Counter[str] = Counter()
    with FusionWriter(context.writer, own.cameras, options.window) as out:
        steadiness = _Steadiness(out)
        for done, (row, frame) in enumerate(zip(rows, own.frames.tolist(), strict=True)):
            if row not in wanted:
                reason = own.reason(frame) or "absent"
                out.mark(frame, reason)
                steadiness.skip()
            else:
                _, fused = next(fusing)
                reason, before = fused.reason.replace(" ", "_"), plan[row][1]
                if fused.valid:
                    out.add(frame, fused, source.finished(row, fused), before)
                    steadiness.add(done, source.bodies[row], source.meshes[row], fused)
                else:
                    out.mark(frame, reason, fused, before)
                    steadiness.skip()
            reasons[reason] += 1
            source.forget(row - 2 * options.reach)
    told = "".join(f", {n} {why}" for why, n in reasons.items() if why)
    print(f"{reasons['']} of {len(rows)} frames fused{told}")


class _Source:
    """A chunk's frames with surfaces, and those of its neighbours that its windows reach into.

    Attributes:
        own: the chunk's surfaces.
        frames: (F,) numbers, ascending. present: (F,) bool, the person is there.
        bodies, meshes: of the rows that were loaded and not forgotten.
    """

    def __init__(self, context: Context) -> None:
        from pipeline.fusion.calm import Calm

        self.options = options_of(context.session)
        self.step = step_of(context.session)
        self.own = MeshSequence(context.input("surface"))
        neighbours = [MeshSequence(context.open(p)) for p in context.borders("surface")]
        (start, stop), far = context.part.chunk, reach(context.session)
        self._of = {n: s for s in (self.own, *neighbours) for n in s.frames.tolist() if start - far <= n < stop + far}
        self.frames = np.array(sorted(self._of), np.int64)
        (self._track,) = bodies_of(context).values()
        self._model = load_model(context.session)
        self._every = context.session.config.capture.frames.step
        self._calm = Calm(self._positions, context.input("timeline").attribute("fps") / self._every)
        self.present = np.array([self._is_present(n) for n in self.frames.tolist()], bool)
        self.bodies, self.meshes = {}, {}

    def _track_row(self, frame: int) -> int | None:
        row = int(np.searchsorted(self._track.frames, frame))
        return row if row < len(self._track.frames) and self._track.frames[row] == frame else None

    def _is_present(self, frame: int) -> bool:
        row = self._track_row(frame)
        return row is not None and self._track.REASONS[self._track.reason[row]] != "absent"

    def _posed(self, frame: int):
        """A frame's ``PosedBody``; None where there is none that is valid."""
        from pipeline.fusion.skinning import posed_bodies

        row = self._track_row(frame)
        return None if row is None else posed_bodies(self._model, self._track, np.array([row]))[0]

    def _positions(self, count: int) -> np.ndarray | None:
        """(B, 3) the body's vertices in a frame that is numbered in steps of the capture."""
        body = self._posed(count * self._every)
        return None if body is None else body.vertices

    def load(self, row: int):
        """A row's ``WindowFrame``."""
        from pipeline.fusion.fuse import window_frame
        from pipeline.fusion.surface import prepare

        frame = int(self.frames[row])
        sequence, body = self._of[frame], self._posed(frame)
        if body is not None:
            body = self._calm.told(frame // self._every, body)
        if not sequence.has(frame):
            return window_frame(prepare(np.zeros((0, 3)), np.zeros((0, 3), np.int64)), body, self.options)
        mesh = sequence.mesh(frame)
        seen = mesh.seen.sum(1) / CAMERAS_FOR_TRUST if mesh.seen.shape[1] else None
        self.bodies[row], self.meshes[row] = body, mesh
        return window_frame(prepare(mesh.vertices, mesh.faces, seen), body, self.options)

    def forget(self, row: int) -> None:
        """Rows up to this one are not needed any more."""
        for known in (self.bodies, self.meshes):
            for old in [k for k in known if k <= row]:
                del known[old]

    def finished(self, row: int, fused) -> Mesh:
        """A fused mesh with confidence and cameras: those of its frame's own mesh, where that is near."""
        mesh = self.meshes[row]
        confidence = mesh.confidence[fused.nearest] * np.exp(-((fused.away / AWAY_M) ** 2))
        seen = mesh.seen[fused.nearest] & (fused.away <= AWAY_M)[:, None]
        return Mesh(fused.vertices, fused.faces.astype(np.int32), confidence.astype(np.float32), seen)


class _Steadiness:
    """Measures, as frames go by, how much fusion changes and what it takes out of the flicker."""

    def __init__(self, out) -> None:
        self._out, self._probe = out, None
        self._last: deque[tuple[np.ndarray, np.ndarray] | None] = deque(maxlen=3)

    def skip(self) -> None:
        self._last.append(None)

    def add(self, row: int, body, mesh: Mesh, fused) -> None:
        """The row-th frame that was written."""
        from pipeline.fusion.steadiness import Probe, change_mm, flickers_mm

        self._probe = self._probe or Probe(body)
        before = self._probe.offsets(body, mesh.vertices, mesh.faces)
        after = self._probe.offsets(body, fused.vertices, fused.faces)
        self._last.append((before, after))
        self._out.measured(row, change_mm=change_mm(before, after))
        if len(self._last) == 3 and None not in self._last:
            was, now = flickers_mm(*(list(x) for x in zip(*self._last, strict=True)))
            self._out.measured(row - 1, flicker_before_mm=was, flicker_after_mm=now)
