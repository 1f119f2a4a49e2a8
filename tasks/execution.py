"""Making one part, in a process of its own: threads, log, record, artifact."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, ArtifactWriter, DamagedArtifact, quarantine
from pipeline.cameras import Rig
from pipeline.config import Session
from pipeline.errors import InputError
from tasks.graph import Graph
from tasks.keys import key_of
from tasks.parts import Part
from tasks.records import Records
from tasks.stages import STAGES
from tasks.threads import limit_threads


class PartFailed(Exception):
    """A part could not be made; the record and the log say why."""


@dataclass
class Context:
    """What a stage's ``compute`` is given: the session, its part, its inputs, and the artifact to write."""

    session: Session
    part: Part
    graph: Graph
    writer: ArtifactWriter
    progress: Callable[[float], None]
    _stack: ExitStack
    _opened: dict[Part, Artifact] = field(default_factory=dict)

    def parts(self, stage: str) -> list[Part]:
        """Parts of an input stage that this part reads and that are there, in order."""
        found = [p for p in self.graph.input_parts(self.part) or [] if p.stage == stage]
        if STAGES[self.part.stage].tolerant:
            found = [p for p in found if self.graph.current(p) is not None]
        return found

    def open(self, part: Part) -> Artifact:
        """An input artifact, verified. It stays open until the part is done."""
        if part not in self._opened:
            schema = STAGES[part.stage].schema
            self._opened[part] = self._stack.enter_context(Artifact(self.graph.path(part), schema))
        return self._opened[part]

    def input(self, stage: str) -> Artifact:
        """The artifact of an input stage that has one part for this part."""
        (part,) = self.parts(stage)
        return self.open(part)

    def rig(self) -> Rig:
        """The cameras as the stored images show them, without lens distortion; refined, if this stage reads that."""
        refined = bool(self.parts("refinement"))
        return Rig.from_arrays(self.input("refinement" if refined else "calibration").arrays()).undistorted()


def make(session: Session, part: Part) -> None:
    """Make one part unless it is current. Runs in a process of its own.

    Raises:
        PartFailed: it could not be made; a record of it is left.
    """
    limit_threads()
    import cv2

    cv2.setNumThreads(1)
    graph, records = Graph(session), Records(session.output / "cache")
    log = session.output / "logs" / part.stage / f"{part.name}.log"
    try:
        if graph.current(part) is not None:
            records.clear(part)
            return
        with records.running(part) as heartbeat, _logged(log):
            _compute(graph, part, heartbeat.progress)
        graph.rerun_marker(part).unlink(missing_ok=True)
        records.clear(part)
    except BaseException as error:
        message, passing = _judge(graph, error)
        try:
            records.fail(part, message, passing)
        except OSError as refused:  # a full or read-only disk cannot hold the record either
            message += f" (and the record of it cannot be written: {refused.strerror})"
        raise PartFailed(f"{part}: {message}") from None


def _compute(graph: Graph, part: Part, progress: Callable[[float], None]) -> None:
    components = graph.components(part)
    if components is None:
        raise DamagedArtifact(graph.path(part), "an input went missing while this part was waiting")
    stage, started = STAGES[part.stage], time.monotonic()
    # Inputs, computation and artifact share one stack: whatever fails, nothing stands at the final name.
    with ExitStack() as stack:
        writer = ArtifactWriter(
            graph.path(part),
            stage=part.stage,
            schema=stage.schema,
            key=key_of(components),
            components=components,
            seconds=lambda: time.monotonic() - started,
        )
        stack.enter_context(writer)
        stage.module.compute(Context(graph.session, part, graph, writer, progress, stack))
    print(f"{part}: done in {time.monotonic() - started:.1f} s", flush=True)


def _judge(graph: Graph, error: BaseException) -> tuple[str, bool]:
    """A message for people, and whether another try may help. A damaged input is put aside so that it is remade."""
    if isinstance(error, InputError):
        return str(error), False
    if isinstance(error, DamagedArtifact):
        if error.path.exists():
            quarantine(error.path, graph.cache / "quarantine")
        return str(error), True
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}", False
    if isinstance(error, MemoryError):
        return "out of memory", True
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", True
    return f"{type(error).__name__}: {error}", False


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Everything that this process prints, native libraries included, goes to the part's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with path.open("w") as log:
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            yield
        except InputError as error:  # theirs to mend: where it was noticed in the program is no help
            print(f"error: {error}", file=sys.stderr)
            raise
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def outcome(graph: Graph, records: Records, part: Part, seen: dict[Part, Any] | None = None) -> str:
    """done, running, failed, lost, stale or missing."""
    if graph.current(part, seen) is not None:
        return "done"
    record = records.read(part)
    if record is not None:
        return record.state
    return "stale" if graph.path(part).exists() else "missing"
