"""Random SIGKILLs over a small session that two workers and a scheduler work on; what is left is held against truth.

    python -m tests.tasks.kill_storm --kills 100

kills stages, the run, the worker and the scheduler at random moments, starts again what was killed, and begins a new
session whenever one is finished. After every kill and at the end:

- whatever stands at a final name is whole;
- no part that was done is made again from the same: nothing is lost beyond the parts that were being made;
- in the end keys, contents and exports are those of an undisturbed run, and nothing half-written is left.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from pipeline.artifacts import Artifact, read_header
from tests.tasks.walkers_session import ROOT, command, write_capture

PROGRAM = [sys.executable, str(ROOT / "run_pipeline.py")]
VICTIMS = ("stage", "stage", "run", "worker", "scheduler")


def contents(capture: Path) -> dict[str, tuple[str, str]]:
    """Key and content of every artifact."""
    found = {p: read_header(p) for p in sorted((capture / "out" / "cache").glob("*/*.h5"))}
    return {
        str(p.relative_to(capture)): (h.key, h.content) for p, h in found.items() if p.parent.name != "quarantine"
    }


def exports(capture: Path) -> dict[str, str]:
    """Digests of everything under export but the report and its figures, which hold times and hosts."""
    folder = capture / "out" / "export"
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("report.html", "summary.json")
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Night:
    """A scheduler, a run and a worker on one session; each is started again when it is gone."""

    def __init__(self, folder: Path, until: tuple[str, ...]) -> None:
        self.capture, self.state, self.until = folder / "capture", folder / "scheduler", until
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen] = {}

    def arguments(self, name: str) -> list[str]:
        url = ["--scheduler-url", f"http://127.0.0.1:{self.port}"]
        config = str(self.capture / "session.yaml")
        return {
            "scheduler": ["scheduler", "--port", str(self.port), "--state", str(self.state)],
            "run": ["run", config, *url, "--workers", "1", *self.until],
            "worker": ["worker", config, *url, "--workers", "1"],
        }[name]

    def start(self, name: str) -> None:
        log = (self.capture.parent / f"{name}.log").open("a")
        self.processes[name] = subprocess.Popen(
            [*PROGRAM, *self.arguments(name)], stdout=log, stderr=log, start_new_session=True
        )
        if name == "scheduler":
            self._wait_for_port()

    def _wait_for_port(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("the scheduler does not start")

    def keep_going(self) -> None:
        for name in ("scheduler", "run", "worker"):
            if name not in self.processes or (name != "run" and self.processes[name].poll() is not None):
                self.start(name)

    def finished(self) -> int | None:
        return self.processes["run"].poll()

    def kill(self, name: str) -> bool:
        """False if there is nothing of that name to kill at the moment."""
        if name == "stage":
            owner = self.processes["run"]
            busy = _children(owner.pid) + _children(self.processes["worker"].pid)
            busy = [p for p in busy if _is_part(p)]
            if not busy:
                return False
            _end(random.choice(busy))
            return True
        process = self.processes[name]
        if process.poll() is not None:
            return False
        process.kill()  # it alone: what it started has to notice by itself
        process.wait()
        return True

    def end(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                for child in _children(process.pid):
                    _end(child)
                process.kill()
                process.wait()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _is_part(process: psutil.Process) -> bool:
    """The progress display is a child too, and is none; it has no file of a log open as its output."""
    try:
        return "/out/logs/" in str(Path(f"/proc/{process.pid}/fd/1").readlink())
    except OSError:
        return False


def _end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def whole(capture: Path) -> None:
    """Whatever stands at a final name is whole."""
    for path in (capture / "out").glob("cache/*/*.h5"):
        if path.parent.name != "quarantine":
            try:
                Artifact(path).close()
            except FileNotFoundError:
                continue


def standing(capture: Path) -> dict[str, tuple[str, int]]:
    """Key and inode of every artifact."""
    found = {p: read_header(p) for p in (capture / "out").glob("cache/*/*.h5")}
    return {str(p.relative_to(capture)): (h.key, p.stat().st_ino) for p, h in found.items() if h is not None}


def storm(folder: Path, kills: int, seed: int = 0, frames: int = 12, until: tuple[str, ...] = ()) -> Counter:
    """Kill until ``kills`` have hit, over as many sessions as that takes; how often each kind was hit."""
    rng = random.Random(seed)
    random.seed(seed)
    truth = folder / "truth" / "capture"
    write_capture(truth, frames=frames)
    done = command("run", truth / "session.yaml", *until)
    assert done.returncode == 0, done.stderr
    hits: Counter = Counter()
    while sum(hits.values()) < kills:
        night_folder = folder / f"night_{len(list(folder.glob('night_*')))}"
        shutil.copytree(truth, night_folder / "capture", copy_function=shutil.copy2,
                        ignore=shutil.ignore_patterns("out"))
        night = Night(night_folder, until)
        try:
            _one_night(night, rng, hits, kills)
        finally:
            night.end()
        assert contents(night.capture) == contents(truth), "artifacts differ from an undisturbed run"
        assert exports(night.capture) == exports(truth), "exports differ from an undisturbed run"
        left = list((night.capture / "out").rglob(".*.tmp"))
        assert not left, f"half-written: {left}"
        shutil.rmtree(night_folder)
        print(f"{sum(hits.values())} kills: {dict(hits)}", flush=True)
    return hits


def _one_night(night: Night, rng: random.Random, hits: Counter, kills: int) -> None:
    deadline = time.monotonic() + 1800
    made: dict[str, tuple[str, int]] = {}
    while time.monotonic() < deadline:
        night.keep_going()
        code = night.finished()
        if code == 0:
            return
        if code is not None:  # three kills in a row on one part, or a lock that was just being let go
            assert code in (1, 2, -9), code
            night.start("run")
        pause = time.monotonic() + rng.uniform(0.2, 2.5)
        while time.monotonic() < pause and night.finished() is None:
            time.sleep(0.02)
        if sum(hits.values()) < kills and night.finished() is None:
            victim = rng.choice(VICTIMS)
            if night.kill(victim):
                hits[victim] += 1
                if victim == "run":
                    night.start("run")
        whole(night.capture)
        now = standing(night.capture)
        # Another key is no loss: an export without somebody whose body was killed three times is made again with them.
        again = [p for p, (key, inode) in made.items() if p not in now or (now[p][0] == key and now[p][1] != inode)]
        assert not again, f"made again although it was done: {again}"
        made = now
    raise AssertionError("the session does not come to an end")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--frames", type=int, default=12)
    given = options.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        hits = storm(Path(folder), given.kills, given.seed, given.frames)
    print(f"{sum(hits.values())} kills {dict(hits)} in {time.monotonic() - started:.0f} s: all whole and equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
