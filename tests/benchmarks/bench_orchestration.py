"""What orchestration costs beside the work: a run of parts that only wait, planning a long session, Luigi's answers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.tasks.stub_science import install, write_session
from tests.tasks.walkers_session import ROOT

LONG = {"frames": 10_000, "people": 4}
CAMERAS, CHUNK = 8, 240
WAIT_S, WORKERS = 0.5, 2


def rows() -> list[dict]:
    return [_overhead(), _planning(), _answers()]


def stub(folder: Path, rules: dict, *arguments: object) -> float:
    """Seconds that a verb takes on the session in ``folder``, its stages being stubs."""
    (folder / "rules.json").write_text(json.dumps(rules))
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "tests.tasks.stub_science", str(folder / "rules.json"), *map(str, arguments)],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - begin


def _overhead() -> dict:
    """A part of a real session takes a minute or more; here it waits half a second, so that the rest shows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_session(folder, workers=WORKERS, chunk_frames=120)
        rules = {"frames": 960, "people": 2, "seconds": {"keypoints": WAIT_S}}
        stub(folder, rules, "run", config, "--until", "frames")
        seconds = stub(folder, rules, "run", config, "--until", "keypoints")
        parts = len(list((folder / "out/cache/keypoints").glob("*.h5")))
    ideal = parts * WAIT_S / WORKERS
    each = (seconds - ideal) * WORKERS / parts
    return {
        "name": "orchestration/overhead",
        "seconds": seconds,
        "baseline_seconds": ideal,
        "unit": f"s for {parts} parts of {WAIT_S} s on {WORKERS} processes",
        "detail": f"{each:.2f} s of processor a part, start included: {each / 60:.1%} of parts of a minute; baseline: "
        "their waiting alone",
    }


def _planning() -> dict:
    """A 10 000-frame session of 8 cameras and 4 people that is half done is planned; baseline: every part by itself."""
    from pipeline.config import load_session
    from tasks.graph import Graph, Look
    from tasks.run import Request, SessionRun

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_session(folder, cameras=CAMERAS, chunk_frames=CHUNK)
        (folder / "tries").mkdir()
        install(LONG, folder / "tries")
        session = load_session(config)
        _make_first(session)
        graph = Graph(session)
        run = SessionRun(session, Request(), leads=False)
        begin = time.perf_counter()
        planned = run.plan()
        seconds = time.perf_counter() - begin
        parts = [p for s in graph.stages() for p in graph.parts(s) or []]
        begin = time.perf_counter()
        for part in parts:
            graph.current(part, Look())
            graph.input_parts(part, Look())
        alone = time.perf_counter() - begin
    return {
        "name": "orchestration/planning",
        "seconds": seconds,
        "baseline_seconds": alone,
        "unit": f"s for {len(parts)} parts, {len(planned)} of them offered",
        "detail": "keys, currency and order of all parts with one look; baseline: each part asked by itself",
    }


def _make_first(session) -> None:
    """The artifacts that planning goes by: calibration, timeline, and an association of four people."""
    from tasks import execution
    from tasks.graph import Graph
    from tasks.parts import Part

    graph = Graph(session)
    for part in (Part("calibration"), Part("timeline")):
        execution.make(session, part)
    for stage in graph.stages():
        if stage.name == "identities":
            break
        for part in graph.parts(stage) or []:
            execution.make(session, part)


def _answers() -> dict:
    """Luigi's scheduler hands out parts while 2 000 are pending; baseline: while 200 are."""
    few, many = _answer_s(200), _answer_s(2000)
    return {
        "name": "orchestration/answers",
        "seconds": many,
        "baseline_seconds": few,
        "unit": "s an answer, 2 000 parts pending",
        "detail": f"{1000 * many:.1f} ms against {1000 * few:.1f} ms with 200: what tasks/simulation.py reckons with",
    }


def _answer_s(pending: int, asked: int = 50) -> float:
    import tasks.engine  # noqa: F401  Luigi reads its configuration through it
    from luigi.scheduler import Scheduler

    scheduler = Scheduler()
    for n in range(pending):
        scheduler.add_task(worker="w", task_id=f"t{n}", family="keypoints", params={"part": str(n)}, priority=n % 9)
    begin = time.perf_counter()
    for _ in range(asked):
        task = scheduler.get_work(worker="w", host="h", current_tasks=[])["task_id"]
        scheduler.add_task(worker="w", task_id=task, status="DONE")
    return (time.perf_counter() - begin) / asked
