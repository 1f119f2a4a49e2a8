"""Faults: killed runs, damaged artifacts, failing parts. What was done stays done and the next run finishes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from pipeline.artifacts import USER_BLOCK, Artifact, read_header
from tests.tasks.walkers_session import ROOT, command, write_capture

UNTIL = ("--until", "identities")


def artifacts(capture):
    return {str(p.relative_to(capture)): read_header(p) for p in sorted((capture / "out" / "cache").glob("*/*.h5"))}


def contents(capture):
    return {p: (h.key, h.content) for p, h in artifacts(capture).items() if "quarantine" not in p}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "capture"
    write_capture(folder)
    done = command("run", folder / "session.yaml", *UNTIL)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def capture(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "capture", copy_function=shutil.copy2)
    return tmp_path / "capture"


@pytest.fixture
def fresh(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "capture", copy_function=shutil.copy2, ignore=shutil.ignore_patterns("out"))
    return tmp_path / "capture"


def start(capture):
    arguments = [sys.executable, str(ROOT / "run_pipeline.py"), "run", str(capture / "session.yaml"), *UNTIL]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def test_killed_runs_leave_whole_artifacts_and_resume(fresh, finished):
    """The whole process group is killed at random moments until a run gets through."""
    rng = random.Random(0)
    for _ in range(6):
        process = start(fresh)
        time.sleep(rng.uniform(0.5, 3.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for path in (fresh / "out").glob("cache/*/*.h5"):
            Artifact(path).close()  # whatever stands at a final name is whole
    assert command("run", fresh / "session.yaml", *UNTIL).returncode == 0
    assert contents(fresh) == contents(finished)
    assert not list((fresh / "out").rglob(".*.tmp"))


def test_a_killed_run_is_never_left_running(fresh):
    process = start(fresh)
    deadline = time.monotonic() + 30
    while not list((fresh / "out").glob("cache/.state/*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    table = json.loads(command("status", fresh / "session.yaml", "--json").stdout)
    states = {row["state"] for stage in table["stages"] for row in stage["parts"]}
    assert "running" not in states


def test_an_interrupted_run_exits_130_and_resumes(fresh, finished):
    process = start(fresh)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) in (0, 130)
    assert command("run", fresh / "session.yaml", *UNTIL).returncode == 0
    assert contents(fresh) == contents(finished)


@pytest.mark.parametrize("stage", ["calibration", "timeline", "keypoints", "association", "identities"])
@pytest.mark.parametrize("damage", ["header", "body", "truncated", "emptied"])
def test_a_damaged_artifact_is_noticed_put_aside_and_remade(capture, finished, stage, damage):
    path = sorted((capture / "out" / "cache" / stage).glob("*.h5"))[0]
    data = bytearray(path.read_bytes())
    if damage == "header":
        data[40] ^= 4
    elif damage == "body":
        data[(USER_BLOCK + len(data)) // 2] ^= 4
    data = {"truncated": data[: len(data) // 2], "emptied": b""}.get(damage, data)
    path.write_bytes(data)
    # Header and length are looked at every time, the rest when it is read; planning itself reads the calibration.
    noticed = damage != "body" or stage == "calibration"
    states = command("status", capture / "session.yaml").stdout
    assert ("stale" in states) == noticed
    if not noticed:
        verified = command("check", capture / "session.yaml", "--verify")
        assert "damaged" in verified.stdout and str(path.name) in verified.stdout
        below = {"calibration": "timeline", "timeline": "keypoints", "keypoints": "association",
                 "association": "identities", "identities": "identities"}[stage]
        if below == stage:
            path.unlink()  # nothing that this test runs reads it
        else:
            assert command("rerun", capture / "session.yaml", below).returncode in (0, 1)
            assert list((capture / "out" / "cache" / "quarantine").iterdir())
    assert command("run", capture / "session.yaml", *UNTIL).returncode == 0
    after, before = contents(capture), contents(finished)
    assert {p: after[p] for p in before} == before


def test_a_failing_part_stops_nothing_beside_it(fresh):
    (fresh / "detections" / "cam01" / "cam01_000000000020_keypoints.json").write_text("{not json")
    done = command("run", fresh / "session.yaml", *UNTIL)
    assert done.returncode in (1, 2)
    if done.returncode == 1:
        made = set(artifacts(fresh))
        assert "out/cache/keypoints/cam04-000000.h5" in made and "out/cache/keypoints/cam01-000000.h5" in made
        assert "cam01_000000000020_keypoints.json" in done.stderr


def test_two_runs_of_one_session_do_not_meet(fresh):
    process = start(fresh)
    deadline = time.monotonic() + 30
    while not (fresh / "out" / "cache" / ".lock").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    second = command("run", fresh / "session.yaml", *UNTIL)
    first = process.wait(timeout=120)
    assert first == 0
    assert second.returncode == 0 or (second.returncode == 2 and "another run" in second.stderr)
