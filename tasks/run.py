"""``run``: each session planned again and again from the artifacts that there are, until nothing is left to do.

How many people there are is known only after association, so a session cannot be planned once. Several sessions share
one engine and its processes; what happens in one of them never reaches another.
"""

from __future__ import annotations

import secrets
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.files import abandoned_temporaries
from tasks import disk
from tasks.graph import Graph, Look
from tasks.notify import Notification
from tasks.parts import Part, Selection
from tasks.records import Record, Records, RunRecord, claim_output, session_lock
from tasks.stages import STAGES

TRIES = 3
"""How often a part is tried whose failure may pass: a killed process, a damaged input that was put aside."""

BACKOFF_S = (1.0, 10.0)
"""Before the second and the third try: what used the memory or broke the storage needs time to go away."""

LOOK_AGAIN_S = 10.0
"""How often a session is planned while it is being worked on; oftener when something of it has just ended."""

REPORT_LIMIT_S = 3600.0


@dataclass
class Outcome:
    """What a run made of a session and what it could not make; ``broken`` says why it could not go on at all."""

    made: int = 0
    failed: dict[Part, Record] = field(default_factory=dict)
    waiting: list[Part] = field(default_factory=list)
    broken: str = ""

    @property
    def complete(self) -> bool:
        return not self.failed and not self.waiting and not self.broken


@dataclass(frozen=True)
class Request:
    """What a run is for.

    ``until`` names the last stage; stages made from what there is (export) always belong to it. ``selection`` limits
    the parts of chunked and per-person stages; what they need is made whole. ``again`` asks only for stages that have
    artifacts already, and ``stale`` names parts that are to be made although they are current. ``only`` names the
    stages it is about; None: all.
    """

    until: str | None = None
    selection: Selection = field(default_factory=Selection)
    again: bool = False
    stale: tuple[Part, ...] = ()
    only: frozenset[str] | None = None

    def parts(self, graph: Graph, look: Look) -> list[Part]:
        """The parts asked for, as far as they can be told by now."""
        names = list(STAGES)
        last = names.index(self.until) if self.until else len(names)
        found = []
        for stage in graph.stages():
            if self.only is not None and stage.name not in self.only:
                continue
            if self.again and not any((graph.cache / stage.name).glob("*.h5")):
                continue
            if names.index(stage.name) <= last or stage.tolerant:
                found += [p for p in graph.parts(stage, look) or [] if self.selection.matches(p)]
        return found

    def to_json(self) -> dict[str, Any]:
        only = None if self.only is None else sorted(self.only)
        return {"until": self.until, "selection": asdict(self.selection), "again": self.again, "only": only}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Request:
        given = {k: None if v is None else tuple(v) for k, v in data["selection"].items()}
        only = None if data["only"] is None else frozenset(data["only"])
        return cls(data["until"], Selection(**given), data["again"], only=only)


class SessionRun:
    """One session's way through a run.

    The engine asks it for parts with ``plan`` whenever ``wants_plan``, tells it what became of them with ``told``, and
    calls ``finish`` until ``ended``.

    Args:
        run: name of the run; machines that help give that of the run they join.
        leads: this process answers for the session: it holds its lock and writes its report. Others only help.
        report: starts a process that writes the report.
    """

    def __init__(
        self,
        session: Session,
        request: Request,
        run: str | None = None,
        leads: bool = True,
        report: Callable[[Session], Any] | None = None,
    ) -> None:
        self.session, self.request, self.leads = session, request, leads
        self.run = run or secrets.token_hex(6)
        self.graph = Graph(session)
        self.records = Records(self.graph.cache, self.run)
        self.outcome = Outcome()
        self.ended = False
        self._held, self._record = ExitStack(), None
        self._report, self._reporting, self._notification = report, None, None
        self._planned, self._changed, self._beaten = False, True, 0.0
        self._offered: set[Part] = set()
        self._last = self._spent = 0.0
        self._tried: Counter[Part] = Counter()
        self._failures: Counter[Part] = Counter()
        self._first_seen: dict[tuple[Part, float, int], float] = {}
        self._refusals = 0
        self._first: dict[Part, list[Part]] | None = None

    def open(self) -> None:
        """Take the session. Raises InputError if another run has it, or its folder is another session's."""
        if not self.leads:
            return
        claim_output(self.session)
        self._held.enter_context(session_lock(self.session))
        self._record = RunRecord.begin(self.session, self.run, self.request.to_json())
        self._sweep()
        for part in self.request.stale:
            marker = self.graph.rerun_marker(part)
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()

    def close(self) -> None:
        """Let the session go, whatever became of it."""
        self.graph.digests.save()
        if self._record is not None:
            self._record.end(self.session)
        self._held.close()

    def _sweep(self) -> None:
        for leftover in abandoned_temporaries(self.session.output):
            leftover.unlink(missing_ok=True)

    # What the engine asks

    def wants_plan(self, running: int) -> bool:
        """Whether to plan now; ``running`` is how many of its parts this engine is making.

        While parts of the last plan are left there is no hurry: planning after every part would take longer the more
        parts there are.
        """
        self._beat()
        if self.ended or self._planned:
            return False
        if running or self._offered:
            return time.monotonic() >= self._last + max(LOOK_AGAIN_S, 30 * self._spent)
        return self._changed or time.monotonic() >= self._last + max(1.0, 10 * self._spent)

    def plan_first(self) -> None:
        """Plan before there is an engine; its first ``plan`` gives that."""
        self._first = self.plan()
        self._changed = True

    @property
    def idle(self) -> bool:
        """Nothing is left to make, and its report and notification are not done yet."""
        return self._planned and not self.ended

    def plan(self) -> dict[Part, list[Part]]:
        """Parts that can be made now or after one another, each with those that it has to wait for."""
        if self._first is not None:
            first, self._first, self._changed = self._first, None, False
            self._offered = set(first)
            return first
        started = time.monotonic()
        try:
            offered = self._plan()
            self._refusals = 0
        except InputError as error:
            offered = self._give_up(str(error))
        except OSError as error:
            self._refusals += 1
            offered = {} if self._refusals < TRIES else self._give_up(f"{type(error).__name__}: {error}")
        except Exception as error:
            self._log(traceback.format_exc())
            offered = self._give_up(f"{type(error).__name__}: {error}")
        self._changed, self._offered = False, set(offered)
        self._last = time.monotonic()
        self._spent = self._last - started
        return offered

    def starved(self) -> None:
        """Nothing of the last plan can be had: others are making it, or it waits for what failed."""
        self._offered.clear()

    def told(self, part: Part, done: bool) -> None:
        """A part was made or failed."""
        self._changed = True
        if done:
            self._offered.discard(part)
        else:
            self._offered.clear()  # what waits for it cannot be had
            self._failures[part] += 1
        self.outcome.made += done
        self._tried[part] += 1

    def _plan(self) -> dict[Part, list[Part]]:
        graph, look = self.graph, Look()
        missing = [p for p in self.request.parts(graph, look) if graph.current(p, look) is None]
        needed, held = self._needed(missing, look)
        failed, hopeless, later, elsewhere = self._states(needed)
        # What cannot be told yet is in no plan: whoever waits for it is offered once it can be.
        untold = {s for absent in needed.values() for s in absent} - needed.keys()
        cannot = hopeless | _blocked(needed, hopeless | untold)
        ready = [p for p in needed if p not in cannot | later | elsewhere | held]
        firm = [p for p in ready if not STAGES[p.stage].tolerant]
        waits = any(not STAGES[p.stage].tolerant for p in later | elsewhere)
        chosen = firm if firm or waits else [p for p in ready if self._has_input(p, look)]
        if chosen and not firm and not waits:
            again, held = self._needed(self._released(chosen, cannot, look), look)
            _, hopeless, delayed, made_elsewhere = self._states(again)
            needed |= again
            later, elsewhere = later | delayed, elsewhere | made_elsewhere
            chosen = [p for p in again if p not in hopeless | delayed | made_elsewhere | held] or chosen
        if not chosen and not later and not elsewhere:
            self.outcome.failed = failed
            self.outcome.waiting = [p for p in missing if p not in failed and not self._idle(p, look)]
            self._planned = self.leads or RunRecord.read(self.session) is None
            self.ended = self._planned and not self.leads
        if self.leads:
            disk.release(graph, look)
        graph.digests.save()
        borders = {p: [s for s in graph.border_parts(p, look) if s in needed] for p in chosen}
        return {p: [s for s in (*needed.get(p, ()), *borders[p]) if s not in cannot] for p in chosen}

    def _needed(self, missing: Iterable[Part], look: Look) -> tuple[dict[Part, list[Part]], set[Part]]:
        """What has to be made, each part with the inputs it waits for; parts whose inputs cannot be told are left out.

        Beside the parts asked for, whatever they read that is not there. What was released for room is made again
        once the other inputs are there: until then the part is held (second value), for it may turn out current.
        """
        needed: dict[Part, list[Part]] = {}
        held: set[Part] = set()
        asked: set[Part] = set()
        open_ = deque(missing)
        while open_:
            part = open_.popleft()
            if part in needed:
                continue
            sources = self.graph.input_parts(part, look)
            if sources is None:
                open_ += [p for p in self._tellers(look) if p not in asked]
                asked.update(self._tellers(look))
                continue
            absent = [s for s in sources if self.graph.current(s, look) is None]
            gone = self._gone([*sources, *self.graph.border_parts(part, look)], look)
            if STAGES[part.stage].tolerant:
                absent = []
            elif not absent:
                absent = gone
            elif gone:
                held.add(part)
            needed[part] = absent
            open_ += absent
        return needed, held

    def _tellers(self, look: Look) -> list[Part]:
        """Parts that have to be there before others can be told, and are not: a damaged one was put aside, say."""
        names = {s.name for s in self.graph.stages()}
        parts = [Part(name) for name in ("calibration", "timeline", "association") if name in names]
        return [p for p in parts if self.graph.current(p, look) is None]

    def _gone(self, sources: Iterable[Part], look: Look) -> list[Part]:
        """Those that are current and were released."""
        return [s for s in sources if self.graph.current(s, look) is not None and not self.graph.present(s)]

    def _released(self, tolerant: Iterable[Part], cannot: set[Part], look: Look) -> list[Part]:
        """What parts that are made from what there is would read, had it not been released."""
        sources = (s for p in tolerant for s in self.graph.input_parts(p, look) or [])
        return [s for s in dict.fromkeys(self._gone(sources, look)) if s not in cannot]

    def _states(self, needed: Iterable[Part]) -> tuple[dict[Part, Record], set[Part], set[Part], set[Part]]:
        """Parts that failed in this run, those of them not to be tried again, those to be tried later, and those that
        some process is making."""
        failed, hopeless, later, elsewhere = {}, set(), set(), set()
        for part in needed:
            record = self.records.read(part)
            if record is not None and record.state == "running":
                elsewhere.add(part)
            elif record is None or record.run != self.run:
                if self._tried[part] >= TRIES:  # made, and still not current: what it reads keeps changing
                    hopeless.add(part)
            else:
                failed[part] = record
                tries = max(record.tries, self._failures[part])  # a full disk holds no new record
                if not record.passing or tries >= TRIES:
                    hopeless.add(part)
                elif not self._due(part, record, tries):
                    later.add(part)
        return failed, hopeless, later, elsewhere

    def _due(self, part: Part, record: Record, tries: int) -> bool:
        """Told by this machine's steady clock: the time of day may jump."""
        seen = self._first_seen.setdefault((part, record.since, tries), time.monotonic())
        return time.monotonic() >= seen + BACKOFF_S[min(tries, len(BACKOFF_S)) - 1]

    def _has_input(self, part: Part, look: Look) -> bool:
        """Something of what a tolerant stage is about is there: a person, or that there is none."""
        if not STAGES[part.stage].tolerant or nobody_found(self.graph, look):
            return True
        inputs = self.graph.input_parts(part, look) or []
        return any(p.person is not None and self.graph.current(p, look) is not None for p in inputs)

    def _idle(self, part: Part, look: Look) -> bool:
        return STAGES[part.stage].tolerant and not self._has_input(part, look)

    def _give_up(self, message: str) -> dict[Part, list[Part]]:
        self.outcome.broken, self._planned = message, True
        self.ended = not self.leads
        return {}

    def _log(self, text: str) -> None:
        log = self.session.output / "logs" / "run.log"
        with suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(text)

    def _beat(self) -> None:
        if self._record is not None and time.monotonic() > self._beaten + 5:
            self._record.beat(self.session)
            self._beaten = time.monotonic()

    # The end

    def finish(self) -> None:
        """Once nothing is left to make: report and notification, each in a process of its own, without waiting."""
        self._beat()
        if not self._planned or self.ended:
            return
        if self._reporting is None and self._notification is None:
            self._sweep()
            if self._report and (self.outcome.made or not self.outcome.complete or not self._report_is_recent()):
                self._reporting = _Limited(self._report(self.session))
            if self._reporting is None:
                self._notify()
        elif self._reporting is not None and self._reporting.ended():
            self._reporting = None
            self._notify()
        if self._notification is not None:
            self.ended = self._notification.ended()

    def _report_is_recent(self) -> bool:
        """A run that was killed at its end made artifacts that the page does not know."""
        try:
            made = (self.session.output / "export" / "report.html").stat().st_mtime
            return all(p.stat().st_mtime <= made for p in self.graph.cache.glob("*/*.h5"))
        except FileNotFoundError:
            return False

    def _notify(self) -> None:
        self._notification = Notification(self.session)


class _Limited:
    """A process that is killed when it takes too long: a report that hangs must not keep the night from ending."""

    def __init__(self, process: Any) -> None:
        self._process, self._until = process, time.monotonic() + REPORT_LIMIT_S

    def ended(self) -> bool:
        if self._process.is_alive() and time.monotonic() > self._until:
            self._process.kill()
        return not self._process.is_alive()


def work(runs: list[SessionRun], workers: int, scheduler_url: str | None = None) -> None:
    """Take all runs to their end. What became of them is in their outcomes."""
    for run in runs:
        run.plan_first()
    while any(run.idle for run in runs) and all(run.idle or run.ended for run in runs):
        for run in runs:  # nothing to make: Luigi is not even loaded
            run.finish()
        time.sleep(0.02)
    if not all(run.ended for run in runs):
        from tasks import engine

        engine.work(runs, workers, scheduler_url)


def _blocked(needed: dict[Part, list[Part]], hopeless: set[Part]) -> set[Part]:
    """Parts below one that cannot be made, unless they do without it."""
    below: dict[Part, list[Part]] = {}
    for part, sources in needed.items():
        for source in sources:
            if not STAGES[part.stage].does_without(source):
                below.setdefault(source, []).append(part)
    blocked: set[Part] = set()
    open_ = list(hopeless)
    while open_:
        for part in below.get(open_.pop(), ()):
            if part not in blocked:
                blocked.add(part)
                open_.append(part)
    return blocked


def nobody_found(graph: Graph, look: Look | None = None) -> bool:
    """Association is done, and there is nobody in it (or everybody was dropped)."""
    return graph.people(look) == () and graph.current(Part("association"), look) is not None
