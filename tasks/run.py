"""``run``: static builds one after another, each planned from the artifacts that there are by then."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import Session
from pipeline.files import abandoned_temporaries
from tasks.graph import Graph
from tasks.parts import Part, Selection
from tasks.records import Record, Records, claim_output, session_lock
from tasks.stages import STAGES

TRIES = 3
"""How often a part is tried whose failure may pass: a killed process, a damaged input that was put aside."""

MEMORY_PER_WORKER = 3 << 30


@dataclass
class Outcome:
    """What a run made and what it could not make."""

    made: int = 0
    failed: dict[Part, Record] = field(default_factory=dict)
    waiting: list[Part] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.failed and not self.waiting


@dataclass(frozen=True)
class Request:
    """What a run is for.

    ``until`` names the last stage; stages made from what there is (export) always belong to it. ``selection`` limits
    the parts of chunked and per-person stages; what they need is made whole. ``again`` asks only for stages that have
    artifacts already.
    """

    until: str | None = None
    selection: Selection = field(default_factory=Selection)
    again: bool = False

    def parts(self, graph: Graph) -> list[Part]:
        """The parts asked for, as far as they can be told by now."""
        names = list(STAGES)
        last = names.index(self.until) if self.until else len(names)
        found = []
        for stage in graph.stages():
            if self.again and not any((graph.cache / stage.name).glob("*.h5")):
                continue
            if names.index(stage.name) <= last or stage.tolerant:
                found += [p for p in graph.parts(stage) or [] if self.selection.matches(p)]
        return found


def run_session(
    session: Session, request: Request, workers: int | None = None, scheduler_url: str | None = None
) -> Outcome:
    """Make everything asked for. Failures of parts are in the outcome, not raised.

    Raises:
        InputError: something is wrong with the session before any part is tried.
    """
    claim_output(session)
    with session_lock(session):
        for leftover in abandoned_temporaries(session.output):
            leftover.unlink(missing_ok=True)
        return _rounds(session, request, workers, scheduler_url)


def _rounds(session: Session, request: Request, workers: int | None, scheduler_url: str | None) -> Outcome:
    graph, records = Graph(session), Records(session.output / "cache")
    tries: dict[Part, int] = {}
    outcome = Outcome()
    while True:
        asked = request.parts(graph)
        seen: dict = {}
        missing = [p for p in asked if graph.current(p, seen) is None]
        outcome.failed = {p: records.read(p) for p in missing if p in tries and records.read(p) is not None}
        hopeless = {p for p, r in outcome.failed.items() if not r.passing or tries[p] >= TRIES}
        hopeless |= {p for p in missing if p in tries and p not in outcome.failed and tries[p] >= TRIES}
        ready = [p for p in missing if p not in hopeless and not _below(graph, p, hopeless)]
        ready = [p for p in ready if graph.input_parts(p) is not None]  # else an earlier build tells what it needs
        outcome.waiting = [p for p in missing if p not in outcome.failed]
        firm = [p for p in ready if not STAGES[p.stage].tolerant]
        ready = firm or [p for p in ready if _has_input(graph, p)]
        if not ready:
            outcome.waiting = [p for p in outcome.waiting if not _idle(graph, p)]
            return outcome
        for part in ready:
            tries[part] = tries.get(part, 0) + 1
        _build(session, ready, workers, scheduler_url)
        outcome.made += sum(graph.current(p) is not None for p in ready)


def _build(session: Session, parts: list[Part], workers: int | None, scheduler_url: str | None) -> None:
    from tasks import engine

    engine.build(session, parts, workers or worker_count(session), scheduler_url)


def worker_count(session: Session) -> int:
    """Processes to use: as configured, else by the cores and memory that this process may use."""
    wanted = session.config.compute.workers
    if wanted != "auto":
        return wanted
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, _memory_limit() // MEMORY_PER_WORKER))


def _memory_limit() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def _below(graph: Graph, part: Part, hopeless: set[Part]) -> bool:
    """An input of the part, or an input of an input, cannot be made."""
    if not hopeless or STAGES[part.stage].tolerant:
        return False
    waiting, seen = [part], set()
    while waiting:
        for source in graph.input_parts(waiting.pop()) or []:
            if source in hopeless:
                return True
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return False


def nobody_found(graph: Graph) -> bool:
    """Association is done, and there is nobody in it (or everybody was dropped)."""
    return graph.people() == () and graph.current(Part("association")) is not None


def _has_input(graph: Graph, part: Part) -> bool:
    """Something of what a tolerant stage is about is there: a person, or that there is none."""
    if nobody_found(graph):
        return True
    inputs = graph.input_parts(part) or []
    return any(p.person is not None and graph.current(p) is not None for p in inputs)


def _idle(graph: Graph, part: Part) -> bool:
    return STAGES[part.stage].tolerant and not _has_input(graph, part)


