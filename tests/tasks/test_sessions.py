"""Several sessions in one run: they share the processes and nothing else."""

import json
import shutil
import sys

import pytest

from tests.tasks.walkers_session import command, write_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures") / "capture"
    write_capture(folder, frames=12)
    return folder


@pytest.fixture
def evening(capture, tmp_path):
    """A folder of configurations as a lab leaves it: two good sessions, one that breaks in the night, one misspelt."""
    for name in ("anna", "broken", "carla"):
        shutil.copytree(capture, tmp_path / name, copy_function=shutil.copy2)
        (tmp_path / name / "session.yaml").unlink()
        text = (capture / "session.yaml").read_text().replace("session: walkers", f"session: {name}")
        for field in ("calibration.toml", "detections/{camera}"):
            text = text.replace(field, f"{name}/{field}")
        text = text.replace("output: out", f"output: {name}/out")
        (tmp_path / f"{name}.yaml").write_text(text)
    # A calibration of one camera less and detections of a camera that is torn: found when its part is made.
    torn = tmp_path / "broken" / "detections" / "cam03" / "cam03_000000000007_keypoints.json"
    torn.write_text('{"people": [{"pose_keypoints_2d": [1, 2')
    (tmp_path / "misspelt.yaml").write_text("session: misspelt\noutptu: nowhere\n")
    (tmp_path / "identities.yaml").write_text("name: {0: Anna}\n")  # not a configuration: left alone
    return tmp_path


def test_a_folder_of_sessions_runs_whatever_becomes_of_one(evening):
    told = evening / "told.txt"
    program = f"import sys, pathlib; pathlib.Path({str(told)!r}).write_text(sys.argv[1])"
    with (evening / "anna.yaml").open("a") as file:
        file.write(f"notify: {json.dumps([sys.executable, '-c', program])}\n")
    done = command("run", evening, "--workers", "2", "--until", "identities")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "misspelt.yaml: outptu: unknown key" in done.stderr and "Traceback" not in done.stderr
    assert "cam03_000000000007_keypoints.json" in done.stderr
    for name in ("anna", "carla"):
        summary = json.loads((evening / name / "out/export/summary.json").read_text())
        assert {s["stage"] for s in summary["stages"] if s["state"] == "done"} >= {"keypoints", "identities", "export"}
        assert f"{name}: " in done.stdout
    assert told.read_text() == str(evening / "anna/out/export/summary.json")
    # They are made beside one another: a session does not wait for another one's end.
    lines = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("[") and "done:" in line]
    assert lines.index("carla") < len(lines) - 1 - lines[::-1].index("anna")
    again = command("run", evening / "anna.yaml", evening / "carla.yaml", "--until", "identities")
    assert again.returncode == 0 and again.stdout.count("nothing to do") == 2


def test_a_session_that_another_run_holds_is_left_to_it(evening):
    import fcntl

    lock = evening / "anna/out/cache/.lock"
    lock.parent.mkdir(parents=True)
    (evening / "anna/out/session.json").write_text('{"session": "anna"}')
    with lock.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = command("run", evening / "anna.yaml", evening / "carla.yaml", "--until", "keypoints")
    assert done.returncode == 1 and "another run is working" in done.stderr
    assert not list((evening / "anna/out/cache").glob("*/*.h5"))
    assert len(list((evening / "carla/out/cache/keypoints").glob("*.h5"))) == 4


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("['/no/such/program']", ["notify", "/no/such/program"]),
        ("tell-me", ["notify", "list"]),
    ],
)
def test_a_notification_that_cannot_work_is_told_in_the_evening(capture, tmp_path, program, words):
    shutil.copytree(capture, tmp_path / "capture")
    with (tmp_path / "capture/session.yaml").open("a") as file:
        file.write(f"notify: {program}\n")
    done = command("run", tmp_path / "capture/session.yaml")
    assert done.returncode == 2 and all(w in done.stderr for w in words), done.stderr


def test_a_notification_that_fails_changes_nothing_else(capture, tmp_path):
    shutil.copytree(capture, tmp_path / "capture")
    with (tmp_path / "capture/session.yaml").open("a") as file:
        file.write("notify: ['false']\n")
    done = command("run", tmp_path / "capture/session.yaml", "--until", "keypoints")
    assert done.returncode == 0 and "notify: false ended with 1" in done.stderr
