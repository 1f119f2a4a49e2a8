"""Configurations: what fits is typed, what does not is named with its field."""

import pytest

from pipeline.config import load_session
from pipeline.errors import InputError

GOOD = """
session: pair_dance_04
output: runs/pair
capture:
  calibration: calib.toml
  videos: videos/{camera}.mp4
"""


def load(tmp_path, text):
    path = tmp_path / "session.yaml"
    path.write_text(text)
    return load_session(path)


def test_paths_are_relative_to_the_file(tmp_path):
    session = load(tmp_path, GOOD)
    assert session.output == tmp_path / "runs" / "pair"
    assert session.config.capture.frames.step == 1
    assert session.config.body.model == "open"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (GOOD.replace("videos:", "videoz:"), ["capture.videoz", "Did you mean videos"]),
        (GOOD + "keypionts: {}\n", ["keypionts", "Did you mean keypoints"]),
        (GOOD.replace("pair_dance_04", "../evil"), ["session", "plain name"]),
        (GOOD.replace("pair_dance_04", "a/b"), ["session", "plain name"]),
        (GOOD.replace("pair_dance_04", "..."), ["session", "plain name"]),
        (GOOD.replace("session: pair_dance_04", ""), ["session", "missing"]),
        (GOOD.replace("  calibration: calib.toml\n", ""), ["capture.calibration", "missing"]),
        (GOOD.replace("  videos: videos/{camera}.mp4\n", ""), ["capture.videos", "no input"]),
        (GOOD + "  images: i/{camera}/{frame}.jpg\n", ["capture", "not both"]),
        (GOOD.replace("{camera}", "cam1"), ["capture", "{camera}"]),
        (GOOD.replace("videos: videos/{camera}.mp4", "images: i/{camera}/{frame}.jpg"), ["capture.fps"]),
        (GOOD + "  frames: {start: -1}\n", ["capture.frames.start", "greater than or equal to 0"]),
        (GOOD + "  frames: {start: 5, stop: 5}\n", ["capture.frames", "no frame is left"]),
        (GOOD + "  frames: {step: 0}\n", ["capture.frames.step"]),
        (GOOD + "  frames: {start: '1'}\n", ["capture.frames.start", "integer"]),
        (GOOD + "  fps: 0\n", ["capture.fps"]),
        (GOOD + "  calibration_format: qualysis\n", ["capture.calibration_format", "qualisys"]),
        (GOOD + "  sync: {method: none, offsets: {a: 1}}\n", ["capture.sync", "offsets"]),
        (GOOD + "keypoints: {detector: openpose_json}\n", ["keypoints", "detections"]),
        (GOOD + "keypoints: {detections: here}\n", ["keypoints", "reads no files"]),
        (GOOD + "keypoints: {detector: onnx}\n", ["keypoints", "model"]),
        (GOOD + "association: {volume: [[0, 0, 0], [1, 1]]}\n", ["association", "volume"]),
        (GOOD + "compute: {workers: 0}\n", ["compute", "workers"]),
        (GOOD + "session: twice\n", ["given twice"]),
        (GOOD + "  : : :\n- x", ["not valid YAML", "line"]),
        ("[1, 2]", ["not a session configuration"]),
        ("!!python/object/apply:os.system ['true']", ["not valid YAML"]),
    ],
)
def test_bad_configurations_name_the_field(tmp_path, text, names):
    with pytest.raises(InputError) as error:
        load(tmp_path, text)
    for name in names:
        assert name in str(error.value)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_session(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="is a folder"):
        load_session(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not text"):
        load_session(tmp_path / "binary.yaml")
    (tmp_path / "huge.yaml").write_text("#" * (2 << 20))
    with pytest.raises(InputError, match="1 MiB"):
        load_session(tmp_path / "huge.yaml")


def test_numbers_may_be_whole_but_not_text_or_truth(tmp_path):
    assert load(tmp_path, GOOD + "  fps: 30\n").config.capture.fps == 30.0
    for bad in ("'30'", "true"):
        with pytest.raises(InputError, match=r"capture\.fps"):
            load(tmp_path, GOOD + f"  fps: {bad}\n")
