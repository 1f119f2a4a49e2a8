"""One capture presented in several ways: what the command line makes of it is the same."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from data.calibration.reader import read_calibration
from data.synthetic.walkers import ring_rig
from pipeline.cameras import Rig
from pipeline.keypoints.upright import Upright
from tests.tasks.walkers_session import command, write_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("capture")
    write_capture(folder, frames=12)
    return folder


def session(folder, name, **changes):
    """A configuration of the capture with its own output."""
    text = (folder / "session.yaml").read_text().replace("output: out", f"output: out_{name}")
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_a_calibration_that_does_not_say_what_is_up_is_told_once_and_in_words(capture):
    rig = read_calibration(capture / "calibration.toml")
    (capture / "opencv").mkdir()
    for camera in rig.cameras:
        file = cv2.FileStorage(str(capture / "opencv" / f"{camera.name}.yml"), cv2.FILE_STORAGE_WRITE)
        for key, value in (("K", camera.K), ("D", camera.distortion), ("R", camera.R), ("T", camera.t[:, None])):
            if np.size(value):
                file.write(key, value)
        file.write("image_width", camera.size[0])
        file.write("image_height", camera.size[1])
        file.release()
    done = command("run", session(capture, "opencv", **{"calibration.toml": "opencv"}), "--until", "timeline")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("which way is up") == 1
    assert "set capture.up" in done.stderr.lower()
    assert "CalibrationWarning" not in done.stdout + done.stderr


def test_people_are_looked_for_upright_in_cameras_on_their_side(monkeypatch):
    from tasks import keypoints

    rig = ring_rig(4)
    turned = Rig((rig.cameras[0], rig.cameras[1].turned(1), rig.cameras[2].turned(3), rig.cameras[3]), rig.up)
    plain = object()
    monkeypatch.setattr(keypoints, "detector_of", lambda session: plain)

    def detector(name):
        part = SimpleNamespace(camera=name)
        return keypoints.camera_detector(SimpleNamespace(rig=lambda: turned, part=part, session=None))

    assert detector(rig.names[0]) is plain and detector(rig.names[3]) is plain
    assert isinstance(detector(rig.names[1]), Upright) and isinstance(detector(rig.names[2]), Upright)


def test_a_session_without_anybody_says_so(tmp_path):
    import json

    from tests.tasks.walkers_session import openpose_json

    write_capture(tmp_path, frames=6)
    for path in (tmp_path / "detections").rglob("*.json"):
        path.write_text(openpose_json(np.zeros((0, 25, 2)), np.zeros((0, 25))))
    done = command("run", tmp_path / "session.yaml")
    assert done.returncode == 1 and "nobody was tracked" in done.stderr
    export = tmp_path / "out" / "export"
    with np.load(export / "skeletons.npz", allow_pickle=False) as arrays:
        assert arrays["joints"].shape == (6, 0, 19, 3)
    assert json.loads((export / "identities.json").read_text())["people"] == []
    summary = json.loads((export / "summary.json").read_text())
    assert {s["state"] for s in summary["stages"]} == {"done"} and summary["state"] == "incomplete"
    assert "no camera shows anybody" in summary["verdict"]
    again = command("run", tmp_path / "session.yaml")
    assert again.returncode == 1 and "done:" not in again.stdout


def test_a_dropped_person_leaves_nothing_in_the_exports(tmp_path):
    write_capture(tmp_path, frames=16)
    assert command("run", tmp_path / "session.yaml").returncode == 0
    meshes = tmp_path / "out" / "export" / "meshes"
    (meshes / "notes.txt").write_text("mine")
    assert {p.name for p in meshes.iterdir()} == {"person_0", "person_1", "sources.json", "notes.txt"}
    for rule in ("drop: [7]", "merge: [[0, 7]]", "name: {7: Anna}", "swap: [{people: [0, 1], from: 99}]"):
        (tmp_path / "identities.yaml").write_text(rule)
        refused = command("run", tmp_path / "session.yaml")
        assert refused.returncode == 2 and "identities.yaml" in refused.stderr and "done:" not in refused.stdout
    (tmp_path / "identities.yaml").write_text("drop: [1]\n")
    assert command("run", tmp_path / "session.yaml").returncode == 0
    assert {p.name for p in meshes.iterdir()} == {"person_0", "sources.json", "notes.txt"}
    (tmp_path / "identities.yaml").write_text("drop: [0, 1]\n")
    assert command("run", tmp_path / "session.yaml").returncode == 1
    assert [p.name for p in meshes.iterdir()] == ["notes.txt"]
    assert not (meshes.parent / "session.glb").exists()
