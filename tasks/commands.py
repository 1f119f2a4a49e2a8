"""The verbs of the command line: each takes parsed options and gives an exit code."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from pipeline.config import Session, load_session
from pipeline.errors import InputError
from tasks.graph import Graph
from tasks.parts import Selection
from tasks.run import Outcome, Request, nobody_found, run_session
from tasks.stages import CAMERA, CHUNK, PERSON, PERSON_CHUNK, SPAN, STAGES, stage_named

OK, INCOMPLETE, USAGE = 0, 1, 2


def run(options: Namespace) -> int:
    """Every session in turn; one that fails never stops the others."""
    sessions = _load_all(options.configs)
    if options.until:
        stage_named(options.until)
    request = Request(options.until, Selection(frames=options.frames, people=options.people))
    codes = []
    for session in sessions:
        try:
            codes.append(run_one(session, request, options.workers, options.scheduler_url))
        except InputError as error:
            if len(sessions) == 1:
                raise
            print(f"error: session {session.name}: {error}", file=sys.stderr)
            codes.append(USAGE)
    return OK if not any(codes) else (USAGE if all(c == USAGE for c in codes) else INCOMPLETE)


def _load_all(paths: list[str]) -> list[Session]:
    sessions = [load_session(p) for p in paths]
    for i, session in enumerate(sessions):
        for other in sessions[:i]:
            if other.output == session.output:
                raise InputError(
                    f"{session.path}: output", f"is also the output of {other.path}", "Give each session its own folder"
                )
    return sessions


def run_one(session: Session, request: Request, workers: int | None = None, scheduler_url: str | None = None) -> int:
    """Check, make, report; the exit code."""
    from tasks import check, report

    started = time.monotonic()
    # Recordings were opened and looked at before there was anything of them in the cache.
    check.refuse_errors(check.cheap_findings(session) if _has_cache(session) else check.findings(session))
    outcome = run_session(session, request, workers, scheduler_url)
    if outcome.made or outcome.failed or not (session.output / "export" / "report.html").exists():
        report.write(session)
    return _verdict(session, outcome, time.monotonic() - started)


def _has_cache(session: Session) -> bool:
    return (session.output / "cache" / "frames").exists() or (session.output / "cache" / "keypoints").exists()


def _verdict(session: Session, outcome: Outcome, seconds: float) -> int:
    from tasks import report

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
    """Mark the parts as wanted again and run. What is there stays until it is replaced."""
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
    graph = Graph(session)
    parts = [p for p in graph.parts(stage) or [] if selection.matches(p)]
    if not parts:
        raise InputError(f"stage {stage.name}", "there is no such part", "See run_pipeline.py status")
    for part in parts:
        marker = graph.rerun_marker(part)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    return run_one(session, Request(again=True), options.workers)


def inspect_(options: Namespace) -> int:
    from tasks import inspect

    return inspect.command(options)


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


def demo_(options: Namespace) -> int:
    from tasks import demo

    return demo.command(Path(options.out), options.workers)


def train_(options: Namespace) -> int:
    from tasks import train

    return train.command(options)


def evaluate_(options: Namespace) -> int:
    from tasks import evaluate

    return evaluate.command(options)


VERBS: dict[str, Callable[[Namespace], int]] = {
    "run": run,
    "check": check_,
    "status": status_,
    "why": why_,
    "rerun": rerun,
    "inspect": inspect_,
    "report": report_,
    "clean": clean_,
    "demo": demo_,
    "train": train_,
    "evaluate": evaluate_,
}

__all__ = ["STAGES", "VERBS"]
