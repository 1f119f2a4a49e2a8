"""Making one part, in a process of its own: threads, log, record, artifact."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.artifacts import Artifact, ArtifactWriter, DamagedArtifact, quarantine
from pipeline.cameras import Rig
from pipeline.config import Session
from pipeline.errors import InputError
from tasks.disk import check_room
from tasks.graph import Graph, Look
from tasks.keys import key_of
from tasks.partial import remove_partial
from tasks.parts import Part
from tasks.processes import peak_memory_mb
from tasks.records import Made, Record, Records
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
    memory_failures: int = 0
    """How often memory ran out when this run tried this part before."""
    _opened: dict[Part, Artifact] = field(default_factory=dict)
    _look: Look = field(default_factory=Look)

    def batch(self, usual: int) -> int:
        """How many items to compute at once: ``usual``, and half of it for each time that memory ran out before.

        For stages whose batches do not change their results.
        """
        return max(1, usual >> self.memory_failures)

    def parts(self, stage: str) -> list[Part]:
        """Parts of an input stage that this part reads and that are there, in order."""
        found = [p for p in self.graph.input_parts(self.part, self._look) or [] if p.stage == stage]
        if any(STAGES[self.part.stage].does_without(p) for p in found):
            found = [p for p in found if self.graph.current(p, self._look) is not None]
        return found

    def borders(self, stage: str) -> list[Part]:
        """Parts of an input stage in neighbouring chunks that are there, in order (``Stage.borders``)."""
        found = [p for p in self.graph.border_parts(self.part, self._look) if p.stage == stage]
        return [p for p in found if self.graph.current(p, self._look) is not None]

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


def make(session: Session, part: Part, run: str = "", told: Callable[[float], None] | None = None) -> None:
    """Make one part unless it is current. Runs in a process of its own.

    Args:
        run: the run that wants it (``tasks.records.RunRecord``).
        told: called with the finished fraction from time to time.

    Raises:
        PartFailed: it could not be made; a record of it is left.
    """
    limit_threads()
    import cv2

    cv2.setNumThreads(1)
    graph, records = Graph(session), Records(session.output / "cache", run)
    log = session.output / "logs" / part.stage / f"{part.name}.log"
    before = records.before(part)
    try:
        look = Look()
        if graph.current(part, look) is not None and graph.present(part):
            records.clear(part)
            return
        with records.running(part, before) as heartbeat, _logged(log):
            check_room(session)
            began = time.monotonic()
            _compute(graph, part, look, _both(heartbeat.progress, told), before.memory_failures if before else 0)
            records.note_made(part, _made(graph, part, time.monotonic() - began, before))
        for mark in (graph.rerun_marker(part), graph.tombstone(part)):
            mark.unlink(missing_ok=True)
        records.clear(part)
    except BaseException as error:
        failure = _judge(graph, error)
        message = failure.message
        try:
            records.fail(part, message, passing=failure.passing, memory=failure.memory, before=before)
        except OSError as refused:  # a full or read-only disk cannot hold the record either
            message += f" (and the record of it cannot be written: {refused.strerror})"
        raise PartFailed(f"{part}: {message}") from None


def _made(graph: Graph, part: Part, seconds: float, before: Record | None) -> Made:
    gpu, gpu_memory = "", 0.0
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        gpu, gpu_memory = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated() / 2**20
    return Made(
        host=socket.gethostname(),
        ended=time.time(),
        seconds=round(seconds, 3),
        memory_mb=round(peak_memory_mb(), 1),
        gpu=gpu,
        gpu_memory_mb=round(gpu_memory, 1),
        frames=graph.frames_of(part),
        tries=1 + (before.tries if before else 0),
    )


def _both(first: Callable[[float], None], second: Callable[[float], None] | None) -> Callable[[float], None]:
    def tell(fraction: float) -> None:
        first(fraction)
        if second is not None:
            second(fraction)

    return tell


def _compute(graph: Graph, part: Part, look: Look, progress: Callable[[float], None], memory_failures: int) -> None:
    components = graph.components(part, look)
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
        stage.module.compute(
            Context(graph.session, part, graph, writer, progress, stack, memory_failures, _look=look)
        )
    remove_partial(graph.cache, part)
    print(f"{part}: done in {time.monotonic() - started:.1f} s", flush=True)


@dataclass(frozen=True)
class Failure:
    """A message for people, whether another try may help, and whether it was memory that ran out."""

    message: str
    passing: bool = False
    memory: bool = False


PASSING_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EMFILE)
"""Disks are emptied and network storage comes back."""


def _judge(graph: Graph, error: BaseException) -> Failure:
    """What a part failed of. A damaged input is put aside so that it is remade."""
    if isinstance(error, InputError):
        return Failure(str(error))
    if isinstance(error, DamagedArtifact):
        if error.path.exists():
            quarantine(error.path, graph.cache / "quarantine")
        return Failure(str(error), passing=True)
    if isinstance(error, MemoryError) or _torch_without_memory(error):
        return Failure(f"out of memory ({error})" if str(error) else "out of memory", passing=True, memory=True)
    if isinstance(error, OSError):
        # HDF5 tells the number in its words alone.
        passing = error.errno in PASSING_ERRORS or any(f"errno = {n}," in str(error) for n in PASSING_ERRORS)
        where = f"{error.filename}: {error.strerror}" if error.filename else f"{type(error).__name__}: {error}"
        return Failure(where, passing=passing)
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", passing=True)
    return Failure(f"{type(error).__name__}: {error}")


def _torch_without_memory(error: BaseException) -> bool:
    """torch is not imported for this: its errors are known by name, on the CPU by their words."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    )


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


def outcome(graph: Graph, records: Records, part: Part, look: Look | None = None) -> tuple[str, Record | None]:
    """done, running, failed, lost, stale or missing; with the record of a part that runs, failed or was lost."""
    if graph.current(part, look) is not None:
        return "done", None
    record = records.read(part)
    if record is not None:
        return record.state, record
    return "stale" if graph.path(part).exists() else "missing", None
