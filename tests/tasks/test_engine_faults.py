"""Parts that run out of memory, are killed, hang or break: retried, bounded, told, and never in the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.artifacts import read_header
from pipeline.config import load_session
from pipeline.errors import InputError
from tasks import limits
from tasks.disk import check_room
from tasks.graph import Graph
from tasks.parts import Part
from tasks.records import LOST_AFTER_S, Record, Records, RunRecord
from tasks.run import TRIES, Request, SessionRun
from tests.tasks.kill_storm import storm
from tests.tasks.stub_science import write_session
from tests.tasks.walkers_session import ROOT, command, write_capture


def stub(folder, *arguments, frames=240, people=2, **rules):
    """A verb on the session in ``folder`` with stages that only wait and write."""
    (folder / "rules.json").write_text(json.dumps({"frames": frames, "people": people, **rules}))
    return _stub(folder, *arguments)


def _stub(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "tests.tasks.stub_science", str(folder / "rules.json"), *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def states(folder):
    table = json.loads(_stub(folder, "status", folder / "session.yaml", "--json").stdout)
    return {f"{s['stage']}/{row['part']}": row for s in table["stages"] for row in s["parts"]}


def tries(folder, part):
    return len((folder / "tries" / part.replace("/", "~")).read_text())


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """A session in which something of every kind goes wrong."""
    folder = tmp_path_factory.mktemp("troubled")
    write_session(folder, workers=2, time_limits={"redetection": 5})
    faults = {
        "keypoints/cam01-000000": ["memory", "memory"],
        "keypoints/cam02-000120": ["kill"],
        "keypoints/cam03-000120": ["bug"] * 9,
        "redetection/cam04-000000": ["hang"] * 9,
        "bodies/person_1": ["memory"] * 9,
    }
    done = stub(folder, "run", folder / "session.yaml", faults=faults)
    return folder, done


def test_what_may_pass_is_tried_again_with_smaller_batches(troubled):
    folder, _ = troubled
    assert tries(folder, "keypoints/cam01-000000") == 3 and tries(folder, "keypoints/cam02-000120") == 2
    assert (folder / "tries" / "batch~keypoints~cam01-000000").read_text() == "256"  # of 1024, after two failures
    assert (folder / "tries" / "batch~keypoints~cam02-000120").read_text() == "512"  # killed: most often for memory
    assert (folder / "tries" / "batch~keypoints~cam01-000120").read_text() == "1024"
    assert tries(folder, "bodies/person_1") == 3  # and no oftener


def test_what_cannot_pass_is_not(troubled):
    folder, done = troubled
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert tries(folder, "keypoints/cam03-000120") == 1
    assert "failed: keypoints/cam03-000120: ArithmeticError: a mistake in the program" in done.stderr


def test_a_part_that_hangs_is_ended_at_its_limit(troubled):
    folder, done = troubled
    assert tries(folder, "redetection/cam04-000000") == 1
    assert "redetection/cam04-000000: took longer than its limit of 5 s" in done.stderr
    assert states(folder)["redetection/cam04-000000"]["state"] == "failed"


def test_a_failed_chunk_or_person_stops_nobody_else(troubled):
    folder, _ = troubled
    found = states(folder)
    failed = {"keypoints/cam03-000120", "redetection/cam04-000000", "bodies/person_1"}
    surfaces = ("surface_inputs/person_1", "surface/person_1", "fusion/person_1")  # which that person's body decides
    below = {"redetection/cam03-000120"} | {p for p in found if p.startswith(surfaces)}
    assert {p for p, row in found.items() if row["state"] != "done"} == failed | below
    assert found["association/session"]["state"] == found["segmentation/000000"]["state"] == "done"


def test_once_it_can_be_made_what_did_without_it_is_made_again(troubled):
    folder, _ = troubled
    graph = Graph(load_session(folder / "session.yaml"))
    without = [graph.path(p) for p in (Part("association"), Part("segmentation", chunk=(0, 120)))]
    before = [read_header(p).key for p in without]
    write_session(folder, workers=2)
    done = stub(folder, "run", folder / "session.yaml")
    assert done.returncode == 0, done.stderr
    assert all(row["state"] == "done" for row in states(folder).values())
    assert all(read_header(p).key != key for p, key in zip(without, before, strict=True))


def test_a_disk_too_full_for_records_ends_the_tries_all_the_same(tmp_path):
    run, part = SessionRun(load_session(write_session(tmp_path)), Request()), Part("calibration")
    run.open()
    try:
        run.records.fail(part, "No space left on device", passing=True)  # the last one that fitted
        assert part not in run.plan() and not run.idle  # tried again later
        for _ in range(TRIES):
            run.told(part, False)
        assert run.plan() == {} and run.idle and set(run.outcome.failed) == {part}
    finally:
        run.close()


@pytest.mark.parametrize("by", [7200, -7200])
def test_a_clock_that_jumps_ends_nothing(tmp_path, by):
    """Limits of time, back-off and heartbeats go by the steady clock."""
    write_session(tmp_path, workers=2, timeout_s=600)
    faults = {"keypoints/cam01-000000": ["memory"]}
    rules = {"clock": {"after": 2.0, "by": by}, "seconds": {"keypoints": 0.7}, "faults": faults}
    done = stub(tmp_path, "run", tmp_path / "session.yaml", "--until", "association", **rules)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {p.name: len(p.read_text()) for p in (tmp_path / "tries").iterdir() if "batch" not in p.name}
    assert {name for name, count in counts.items() if count > 1} == {"keypoints~cam01-000000"}


def test_random_kills_change_nothing_in_the_end(tmp_path):
    hits = storm(tmp_path, kills=5, seed=3, frames=8, until=("--until", "identities"))
    assert sum(hits.values()) >= 5


# Records


def test_a_record_of_another_machine_is_told_by_the_clock_of_the_storage(tmp_path, monkeypatch):
    """Neither a clock that jumps nor one that differs makes a working machine look dead, or a dead one alive."""
    records, part = Records(tmp_path, "run"), Part("bodies", person=0)
    record = Record("running", "another-host", 1, 0.0, run="run")
    records.path(part).parent.mkdir(parents=True)
    records.path(part).write_text(json.dumps(record.__dict__))
    import time

    real = time.time
    for jump in (0, 3600, -3600):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        assert records.read(part).state == "running"
    old = real() - LOST_AFTER_S - 5
    os.utime(records.path(part), (old, old))
    for jump in (0, 3600, -3600):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        found = records.read(part)
        assert found.state == "lost" and found.passing and found.tries == 1


def test_a_run_that_was_killed_is_going_on_no_more(tmp_path):
    write_session(tmp_path)
    session = load_session(tmp_path / "session.yaml")
    record = RunRecord.begin(session, "one", {})
    assert RunRecord.read(session).run == "one"
    RunRecord.path(session).write_text(json.dumps(record.__dict__ | {"born": "0"}))
    assert RunRecord.read(session) is None


# The machine's limits


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"job/cpu.max": "100000 100000", "cpu.max": "max 100000"}, 1),
    ],
)
def test_a_share_of_processor_time_counts(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text + "\n")
    (tmp_path / "membership").write_text("4:cpu:/\n0::/job\n")
    found = limits.cores(tmp_path / "cgroup", tmp_path / "membership")
    assert found == (expected or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes", "job/step/memory.max"])
def test_a_cap_of_memory_counts(tmp_path, name):
    path = tmp_path / "cgroup" / name
    path.parent.mkdir(parents=True)
    path.write_text(f"{5 << 30}\n")
    (tmp_path / "membership").write_text("0::/job/step\n")
    assert limits.memory_bytes(tmp_path / "cgroup", tmp_path / "membership") == 5 << 30
    path.write_text("max\n")
    assert limits.memory_bytes(tmp_path / "cgroup", tmp_path / "membership") > 5 << 20


# Room on the disk


def test_no_part_begins_below_the_floor(tmp_path):
    write_session(tmp_path, disk_floor_gb=1e9)
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="make room"):
        check_room(load_session(tmp_path / "session.yaml"))


def test_a_budget_releases_the_oldest_that_nothing_needs_and_remakes_what_is_needed_again(tmp_path):
    write_session(tmp_path, workers=2, disk_budget_gb=0.0001)
    done = stub(tmp_path, "run", tmp_path / "session.yaml")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "out/cache/frames").glob("*.h5"))
    assert len(list((tmp_path / "out/cache/keypoints").glob("*.h5"))) == 8
    assert all(row["state"] == "done" for row in states(tmp_path).values())
    assert "nothing to do" in stub(tmp_path, "run", tmp_path / "session.yaml").stdout
    again = stub(tmp_path, "rerun", tmp_path / "session.yaml", "keypoints", "--camera", "cam02", "--frames", "0:1")
    assert again.returncode == 0 and "done: frames/cam02" in again.stdout
    assert "frames/cam01" not in again.stdout and tries(tmp_path, "frames/cam01") == 1
    assert all(row["state"] == "done" for row in states(tmp_path).values())


# The scheduler


def test_the_schedulers_folder_has_to_be_private(tmp_path):
    from tasks.scheduler import _private_folder

    mask = os.umask(0o022)
    try:
        assert _private_folder(tmp_path / "state").stat().st_mode & 0o777 == 0o700
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o755)
        with pytest.raises(InputError, match="open to others"):
            _private_folder(tmp_path / "open")
        (tmp_path / "state" / "state.pickle").symlink_to("/etc/passwd")
        with pytest.raises(InputError, match="not this user's"):
            _private_folder(tmp_path / "state")
    finally:
        os.umask(mask)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "CONFIG", "--scheduler-url", "http://127.0.0.1:1"], ["--scheduler-url", "nothing answers"]),
        (["run", "CONFIG", "--scheduler-url", "127.0.0.1:8082"], ["--scheduler-url", "no address"]),
        (["worker", "CONFIG", "--scheduler-url", "http://127.0.0.1:1", "--wait", "0"], ["nothing answers"]),
        (["worker", "CONFIG"], ["--scheduler-url"]),
        (["scheduler", "--address", "300.1.2.3"], ["300.1.2.3"]),
        (["scheduler", "--port", "99999"], ["99999"]),
    ],
)
def test_a_scheduler_that_is_not_there_is_told_at_once(tmp_path, arguments, words):
    write_capture(tmp_path, frames=4)
    filled = [str(tmp_path / "session.yaml") if a == "CONFIG" else a for a in arguments]
    done = command(*filled)
    assert done.returncode == 2 and all(w in done.stderr for w in words), done.stderr
    assert "Traceback" not in done.stderr
    assert not Path(tmp_path / "out" / "cache" / "calibration").exists()


@pytest.mark.parametrize(
    ("error", "passing", "memory"),
    [
        (OSError(28, "No space left on device"), True, False),
        (OSError("Can't write data (file write failed: errno = 28, error message = 'No space left')"), True, False),
        (OSError(116, "Stale file handle", "/lab/x"), True, False),
        (OSError(30, "Read-only file system", "/lab/x"), False, False),
        (MemoryError(), True, True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2 GiB"), True, True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"), True, True),
        (RuntimeError("shapes do not match"), False, False),
        (InputError("file", "is wrong", "Mend it"), False, False),
    ],
)
def test_only_what_may_pass_is_said_to_pass(error, passing, memory):
    from tasks.execution import _judge

    failure = _judge(None, error)
    assert (failure.passing, failure.memory) == (passing, memory) and failure.message
