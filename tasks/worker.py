"""``worker``: one more machine for sessions that a ``run`` somewhere works on.

It needs to see the same storage; where the session's folder lies on it may differ. It plans from the same files as the
run does, and asks the same scheduler for parts.
"""

from __future__ import annotations

import sys
import time

from pipeline.config import Session
from pipeline.errors import InputError
from tasks import engine
from tasks.limits import automatic_workers
from tasks.records import RunRecord
from tasks.run import Request, SessionRun

WAIT_S = 600.0
"""How long to wait for the scheduler and the runs: jobs of a cluster start in any order."""


def command(sessions: list[Session], scheduler_url: str, workers: int | None, wait_s: float = WAIT_S) -> int:
    """Help until the runs of all sessions have ended; 1 if the scheduler went away meanwhile.

    Raises:
        InputError: no scheduler or no run turns up in time.
    """
    until = time.monotonic() + wait_s
    _until(lambda: engine.answers(scheduler_url), until, "waiting for the scheduler", InputError(
        "--scheduler-url", f"nothing answers at {scheduler_url}", "Start run_pipeline.py scheduler, or its tunnel"
    ))  # fmt: skip
    runs = []
    for session in sessions:
        record = _until(lambda session=session: RunRecord.read(session), until, f"waiting for a run of {session.name}",
                        InputError(session.output, "no run is going on", "Start it: run_pipeline.py run"))
        runs.append(SessionRun(session, Request.from_json(record.request), record.run, leads=False))
    names = ", ".join(s.name for s in sessions)
    count = workers or automatic_workers()
    print(f"helping with {names}: {count} processes", flush=True)
    try:
        engine.work(runs, count, scheduler_url)
    except ConnectionError as error:
        print(f"error: {error}; parts that were made stay made", file=sys.stderr)
        return 1
    made = sum(run.outcome.made for run in runs)
    print(f"{names}: {made} parts made here")
    broken = [run for run in runs if run.outcome.broken]
    for run in broken:
        print(f"error: session {run.session.name}: {run.outcome.broken}", file=sys.stderr)
    return 1 if broken else 0


def _until(ask, until: float, words: str, otherwise: InputError):
    told = False
    while not (found := ask()):
        if time.monotonic() > until:
            raise otherwise
        if not told:
            print(words, flush=True)
            told = True
        time.sleep(1)
    return found
