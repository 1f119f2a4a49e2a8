"""The verbs of the command line: each takes parsed options and gives an exit code."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Session, load_session, read_yaml
from pipeline.errors import InputError
from tasks.graph import Graph
from tasks.limits import worker_count
from tasks.parts import Selection
from tasks.run import Outcome, Request, SessionRun, nobody_found, work
from tasks.stages import BATCH, CAMERA, CHUNK, PERSON, PERSON_CHUNK, SPAN, STAGES, stage_named

OK, INCOMPLETE, USAGE = 0, 1, 2


def run(options: Namespace) -> int:
    """All sessions together; one that fails never stops the others."""
    if options.until:
        stage_named(options.until)
    request = Request(options.until, Selection(frames=options.frames, people=options.people))
    return run_all(load_all(options.configs), request, options.workers, options.scheduler_url)


@dataclass
class Loaded:
    """The sessions that can be run, and how many configurations could not be loaded."""

    sessions: list[Session]
    refused: int = 0


def load_all(paths: list[str]) -> Loaded:
    """Configurations, and folders of them. With several, one that is wrong is told and left out.

    Raises:
        InputError: none can be loaded, or two share an output folder.
    """
    files = [f for p in paths for f in _configurations(Path(p))]
    loaded = Loaded([])
    for file in files:
        try:
            session = load_session(file)
        except InputError as error:
            if len(files) == 1:
                raise
            print(f"error: {error}", file=sys.stderr)
            loaded.refused += 1
            continue
        for other in loaded.sessions:
            if other.output == session.output:
                raise InputError(
                    f"{session.path}: output", f"is also the output of {other.path}", "Give each session its own folder"
                )
        loaded.sessions.append(session)
    return loaded


def _configurations(path: Path) -> list[Path]:
    """A configuration itself; of a folder, the YAML files in it that name a session."""
    if not path.is_dir():
        return [path]
    found = [p for p in sorted(path.iterdir()) if p.suffix in (".yaml", ".yml") and p.is_file() and _names_session(p)]
    if not found:
        raise InputError(path, "holds no session configuration", "Name a folder of YAML files with a session: line")
    return found


def _names_session(path: Path) -> bool:
    try:
        data = read_yaml(path)
    except InputError:
        return True  # said when it is loaded
    return isinstance(data, dict) and "session" in data


def run_one(session: Session, request: Request, workers: int | None = None, scheduler_url: str | None = None) -> int:
    """Check, make, report; the exit code."""
    return run_all(Loaded([session]), request, workers, scheduler_url)


def run_all(
    loaded: Loaded, request: Request, workers: int | None = None, scheduler_url: str | None = None
) -> int:
    """Check, make, report all sessions; the exit code."""
    from tasks import report

    started = time.monotonic()
    if scheduler_url is not None:
        _refuse_silent(scheduler_url)
    runs, refused = [], loaded.refused
    try:
        for session in loaded.sessions:
            run = SessionRun(session, request, report=report.start)
            try:
                _check(session)
                run.open()
                runs.append(run)
            except InputError as error:
                run.close()
                if len(loaded.sessions) + loaded.refused == 1:
                    raise
                print(f"error: session {session.name}: {error}", file=sys.stderr)
                refused += 1
        if runs:
            work(runs, workers or max(worker_count(r.session) for r in runs), scheduler_url)
    finally:
        for run in runs:
            run.close()
    codes = [_verdict(r.session, r.outcome, time.monotonic() - started) for r in runs]
    if not any(codes) and not refused:
        return OK
    return INCOMPLETE if codes else USAGE


def _check(session: Session) -> None:
    from tasks import check

    # Recordings were opened and looked at before there was anything of them in the cache.
    check.refuse_errors(check.cheap_findings(session) if _has_cache(session) else check.findings(session))


def _refuse_silent(scheduler_url: str) -> None:
    from tasks import engine

    _refuse_address(scheduler_url)
    if not engine.answers(scheduler_url):
        raise InputError(
            "--scheduler-url", f"nothing answers at {scheduler_url}", "Start run_pipeline.py scheduler, or its tunnel"
        )


def _refuse_address(scheduler_url: str) -> None:
    if not scheduler_url.startswith(("http://", "https://")):
        raise InputError("--scheduler-url", f"{scheduler_url} is no address", "Write http://127.0.0.1:8082")


def _has_cache(session: Session) -> bool:
    return (session.output / "cache" / "frames").exists() or (session.output / "cache" / "keypoints").exists()


def _verdict(session: Session, outcome: Outcome, seconds: float) -> int:
    from tasks import report

    if outcome.broken:
        print(f"error: session {session.name}: {outcome.broken}", file=sys.stderr)
    for part, record in sorted(outcome.failed.items()):
        print(f"failed: {part}: {record.error}", file=sys.stderr)
        print(f"        log: {session.output / 'logs' / part.stage / (part.name + '.log')}", file=sys.stderr)
    if outcome.waiting:
        print(f"not made, because something above failed: {', '.join(map(str, outcome.waiting))}", file=sys.stderr)
    invalid = report.invalid_share(session)
    limit = session.config.report.max_invalid_share
    if invalid > limit:
        print(f"{invalid:.0%} of person-frames are invalid, more than report.max_invalid_share {limit:.0%}",
              file=sys.stderr)
    nobody = nobody_found(Graph(session))
    if nobody:
        report_page = session.output / "export" / "report.html"
        print(f"{session.name}: nobody was tracked in 3D; {report_page} says what to look at", file=sys.stderr)
    if not outcome.complete or invalid > limit or nobody:
        return INCOMPLETE
    made = f"{outcome.made} parts made in {seconds:.1f} s" if outcome.made else "nothing to do, all parts are current"
    print(f"{session.name}: {made}; results in {session.output / 'export'}")
    return OK


def check_(options: Namespace) -> int:
    from tasks import check

    return check.command(load_session(options.config), options.verify)


def status_(options: Namespace) -> int:
    from tasks import status

    table = status.table(load_session(options.config))
    print(json.dumps(table, indent=2) if options.json else status.text(table))
    return OK


def why_(options: Namespace) -> int:
    from tasks import why

    session, stage = load_session(options.config), stage_named(options.stage)
    print(why.text(Graph(session), stage))
    return OK


def rerun(options: Namespace) -> int:
    """Make the parts again. What is there stays until it is replaced."""
    session, stage = load_session(options.config), stage_named(options.stage)
    for option, given, scopes in (
        ("--frames", options.frames, (CHUNK, SPAN, PERSON_CHUNK)),
        ("--camera", options.camera, (CAMERA, CHUNK)),
        ("--person", options.person, (PERSON, PERSON_CHUNK)),
    ):
        if given is not None and stage.scope not in scopes:
            raise InputError(option, f"stage {stage.name} has no parts by {option[2:]}", "Leave it out")
    selection = Selection(
        frames=options.frames,
        people=None if options.person is None else (options.person,),
        cameras=None if options.camera is None else (options.camera,),
    )
    parts = [p for p in Graph(session).parts(stage) or [] if selection.matches(p)]
    if not parts:
        raise InputError(f"stage {stage.name}", "there is no such part", "See run_pipeline.py status")
    return run_one(session, Request(again=True, stale=tuple(parts)), options.workers)


def inspect_(options: Namespace) -> int:
    from tasks import inspect

    return inspect.command(options)


def stills(options: Namespace) -> int:
    """The stills branch of a session, whatever else is in it."""
    session = load_session(options.config)
    if session.config.stills is None:
        raise InputError(f"{session.path}: stills", "there is no such block", "See configs/stills.example.yaml")
    names = frozenset(s.name for s in STAGES.values() if s.scope == BATCH)
    return run_one(session, Request(only=names), options.workers)


def report_(options: Namespace) -> int:
    from tasks import report

    session = load_session(options.config)
    if not (session.output / "session.json").exists():
        raise InputError(session.output, "nothing has been run here yet", "Run the session first")
    print(report.write(session))
    return OK


def clean_(options: Namespace) -> int:
    from tasks import clean

    if options.stage:
        stage_named(options.stage)
    return clean.command(load_session(options.config), options.stage, options.stale, options.dry_run)


def worker_(options: Namespace) -> int:
    from tasks import worker

    _refuse_address(options.scheduler_url)
    loaded = load_all(options.configs)
    code = worker.command(loaded.sessions, options.scheduler_url, options.workers, options.wait)
    return code or (INCOMPLETE if loaded.refused else OK)


def scheduler_(options: Namespace) -> int:
    from tasks import scheduler

    return scheduler.command(options.address, options.port, Path(options.state) if options.state else None)


def plan_(options: Namespace) -> int:
    from tasks import plan

    return plan.command(load_all(options.configs).sessions, options)


def submit_(options: Namespace) -> int:
    from tasks import submit

    return submit.command(options)


def surface_(options: Namespace) -> int:
    from tasks import surface_alone

    return surface_alone.command(options)


def demo_(options: Namespace) -> int:
    from tasks import demo

    return demo.command(Path(options.out), options.workers)


def train_(options: Namespace) -> int:
    from tasks import train

    return train.command(options)


def synthesize_(options: Namespace) -> int:
    from tasks import synthesize

    return synthesize.command(options)


def evaluate_(options: Namespace) -> int:
    from tasks import evaluate

    return evaluate.command(options)


VERBS: dict[str, Callable[[Namespace], int]] = {
    "run": run,
    "worker": worker_,
    "scheduler": scheduler_,
    "plan": plan_,
    "submit": submit_,
    "check": check_,
    "status": status_,
    "why": why_,
    "rerun": rerun,
    "inspect": inspect_,
    "stills": stills,
    "report": report_,
    "clean": clean_,
    "surface": surface_,
    "demo": demo_,
    "train": train_,
    "synthesize": synthesize_,
    "evaluate": evaluate_,
}

__all__ = ["STAGES", "VERBS"]
