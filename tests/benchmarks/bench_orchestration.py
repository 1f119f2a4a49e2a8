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
    """A finished 10 000-frame session of 8 cameras and 4 people is planned; baseline: every part by itself."""
    from pipeline.config import load_session
    from tasks.graph import Graph, Look
    from tasks.run import Request, SessionRun

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_session(folder, cameras=CAMERAS, chunk_frames=CHUNK)
        (folder / "tries").mkdir()
        install(LONG, folder / "tries")
        session = load_session(config)
        parts = finished(session)
        run = SessionRun(session, Request(), leads=False)
        run.graph._files_stand = lambda part: True
        begin = time.process_time()
        planned = run.plan()
        seconds = time.process_time() - begin
        assert not planned
        graph = Graph(session)
        some = parts[:: max(1, len(parts) // 50)]
        begin = time.process_time()
        for part in some:
            graph.current(part, Look())
        alone = (time.process_time() - begin) * len(parts) / len(some)
    return {
        "name": "orchestration/planning",
        "seconds": seconds,
        "baseline_seconds": alone,
        "unit": f"s for {len(parts)} parts",
        "detail": "keys and currency of all parts with one look; baseline: each part asked by itself",
    }


def finished(session) -> list:
    """Every part of the session as a header with the right key, which is all that planning reads; calibration whole."""
    from pipeline.artifacts import Header
    from pipeline.files import write_atomic
    from tasks import execution
    from tasks.graph import Graph, Look
    from tasks.keys import key_of
    from tasks.parts import Part

    execution.make(session, Part("calibration"))
    graph, parts = Graph(session), []
    notes = {"timeline": {"frames": [0, LONG["frames"], 1, LONG["frames"]]},
             "association": {"people": list(range(LONG["people"]))}}  # fmt: skip
    graph._files_stand = lambda part: True
    for stage in graph.stages():
        look = Look()
        for part in graph.parts(stage, look) or []:
            parts.append(part)
            if stage.name != "calibration":
                key = key_of(graph.components(part, look))
                write_atomic(graph.path(part), Header(key, key, key, 0, notes.get(stage.name)).block)
    return parts


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
    from tasks.engine import luigi

    scheduler = luigi.scheduler.Scheduler()
    for n in range(pending):
        scheduler.add_task(worker="w", task_id=f"t{n}", family="keypoints", params={"part": str(n)}, priority=n % 9)
    begin = time.process_time()
    for _ in range(asked):
        task = scheduler.get_work(worker="w", host="h", current_tasks=[])["task_id"]
        scheduler.add_task(worker="w", task_id=task, status="DONE")
    return (time.process_time() - begin) / asked
