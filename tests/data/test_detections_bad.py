"""Detections that cannot be used: the message names the file and what is wrong, before the night."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.detections.reader import check_detections_source, count_frames, read_detections
from pipeline.cameras import Camera
from pipeline.errors import InputError

CAMERA = Camera("cam01", (640, 480), np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), np.eye(3), np.zeros(3))
POSE, COCO, TEXT = "openpose_json", "coco_json", "association4d_text"
DEEP = "[" * 100_000 + "]" * 100_000


def joints(count, at=(300, 200), score=0.9):
    """Flat x, y, score; a person of some extent around ``at``."""
    spread = np.random.default_rng(0).uniform(-50, 50, (count, 2)) * (np.asarray(at) > 2).all()
    table = np.column_stack([spread + at, np.full(count, score)])
    if count == 25:
        table[8, :2] = table[[9, 12], :2].mean(0)
    return table.ravel().tolist()


def pose(values, key="pose_keypoints_2d"):
    return json.dumps({"people": [{key: values}]})


def results(*entries):
    return json.dumps([{"image_id": i, "keypoints": joints(17)} | e for i, e in enumerate(entries)])


def text(header="4 2", counts=((1,) * 25, (1,) * 25), affinities=26, x=0.5, score=0.9):
    """Frames with one candidate a joint."""
    return "\n".join([header, *(" ".join([f"{n} {x} 0.5 {score}" for n in f] + ["0.5"] * affinities) for f in counts)])


def body_25b():
    """A standing person in BODY_25B's order, where 8 is the right elbow and 9 and 12 are left wrist and right hip."""
    table = np.array(joints(25)).reshape(25, 3)
    table[[8, 9, 12], :2] = (260, 200), (350, 240), (285, 240)
    table[[0, 24], :2] = (300, 100), (300, 420)
    return table.ravel().tolist()


CASES = {
    # name: (kind, {file: content}, what is given: a name below the folder, words of the message)
    "no folder": (POSE, {}, "cam", ["cam", "no such file or folder"]),
    "no file": (TEXT, {}, "0.txt", ["0.txt", "no such file"]),
    "a file for a folder": (POSE, {"cam": "{}"}, "cam", ["cam", "folder"]),
    "a folder for a file": (TEXT, {"cam/0.txt": text()}, "cam", ["cam", "is a folder"]),
    "a folder without JSON": (POSE, {"cam/notes.txt": "x"}, "cam", ["cam", "no .json"]),
    "a COCO folder without JSON": (COCO, {"cam/notes.txt": "x"}, "cam", ["cam", "no .json"]),
    "a name without number": (POSE, {"cam/a_1.json": "{}", "cam/notes.json": "{}"}, "cam", ["notes.json", "number"]),
    "a time stamp for a number": (POSE, {"cam/1699999999123.json": pose(joints(25))}, "cam", ["1699999999123"]),
    "endless digits": (POSE, {f"cam/{'9' * 200}.json": pose(joints(25))}, "cam", ["9999", "no frame number"]),
    "two cameras in one folder": (
        POSE, {"cam/a_01.json": pose(joints(25)), "cam/b_01.json": pose(joints(25))}, "cam", ["a_01.json", "b_01.json"]
    ),
    "empty file": (POSE, {"cam/1.json": ""}, "cam", ["1.json", "empty"]),
    "cut off": (POSE, {"cam/1.json": pose(joints(25))[:-20]}, "cam", ["1.json", "JSON"]),
    "binary": (POSE, {"cam/1.json": b"\x89PNG\r\n\xff\x00"}, "cam", ["1.json", "JSON"]),
    "nested without end": (POSE, {"cam/1.json": DEEP}, "cam", ["1.json", "nested"]),
    "a frame of many megabytes": (POSE, {"cam/1.json": " " * (17 << 20)}, "cam", ["1.json", "MB"]),
    "not OpenPose": (POSE, {"cam/1.json": results({})}, "cam", ["1.json", "people"]),
    "no body keypoints": (POSE, {"cam/1.json": pose(joints(25), "face_keypoints_2d")}, "cam", ["pose_keypoints_2d"]),
    "people that are no people": (POSE, {"cam/1.json": '{"people": [3]}'}, "cam", ["1.json", "pose_keypoints_2d"]),
    "COCO_18 of OpenPose": (POSE, {"cam/1.json": pose(joints(18))}, "cam", ["1.json", "54", "COCO_18", "BODY_25"]),
    "hands of other points": (
        POSE,
        {"cam/1.json": json.dumps({"people": [
            {"pose_keypoints_2d": joints(25), "hand_left_keypoints_2d": joints(20)}]})},
        "cam", ["1.json", "hand_left_keypoints_2d", "60", "63"],
    ),
    "BODY_25B": (POSE, {f"cam/{i}.json": pose(body_25b()) for i in range(6)}, "cam", ["BODY_25B"]),
    "words for numbers": (POSE, {"cam/1.json": pose(["a"] * 75)}, "cam", ["1.json", "not numbers"]),
    "an unequal table": (COCO, {"cam/1.json": json.dumps([{"keypoints": [[1, 2, 3], [4]]}])}, "cam", ["1.json"]),
    "a number beyond all numbers": (POSE, {"cam/1.json": pose([*joints(25)[:-1], 10**400])}, "cam", ["1.json"]),
    "only NaN scores": (POSE, {"cam/1.json": pose(joints(25, score=np.nan))}, "cam", ["cam", "no number"]),
    "only negative scores": (POSE, {"cam/1.json": pose(joints(25, score=-1))}, "cam", ["cam", "negative"]),
    "only NaN positions": (POSE, {"cam/1.json": pose(joints(25, at=(np.nan, 3)))}, "cam", ["cam", "no number"]),
    "of a larger image": (POSE, {"cam/1.json": pose(joints(25, (1700, 900)))}, "cam", ["1.json", "outside", "640"]),
    "of another camera": (COCO, {"cam.json": results(*[{"keypoints": joints(17, (-400, 90))}] * 3)}, "cam.json",
                          ["cam.json", "outside", "cam01"]),
    "fractions of the image": (POSE, {"cam/1.json": pose(joints(25, (0.4, 0.6)))}, "cam", ["1.json", "fractions"]),
    "not a list": (COCO, {"cam.json": '{"a": 1}'}, "cam.json", ["cam.json", "people"]),
    "no results": (COCO, {"cam.json": "[]"}, "cam.json", ["cam.json", "no results"]),
    "boxes without keypoints": (COCO, {"cam.json": '[{"image_id": 1, "bbox": [1, 2, 3, 4]}]'}, "cam.json",
                                ["cam.json", "keypoints"]),
    "results without frame": (COCO, {"cam.json": json.dumps([{"keypoints": joints(17)}])}, "cam.json", ["image_id"]),
    "a frame of no number": (COCO, {"cam.json": results({"image_id": "left.jpg"})}, "cam.json", ["left.jpg"]),
    "a negative frame": (COCO, {"cam.json": results({"image_id": -4})}, "cam.json", ["cam.json", "-4"]),
    "a frame that fills the memory": (COCO, {"cam.json": results({"image_id": 10**15})}, "cam.json", ["cam.json"]),
    "a frame that is true": (COCO, {"cam.json": results({"image_id": True})}, "cam.json", ["cam.json", "True"]),
    "whole bodies": (COCO, {"cam.json": results({"keypoints": joints(133)})}, "cam.json", ["399", "WholeBody"]),
    "OpenPose as COCO": (COCO, {"cam/1.json": json.dumps([{"keypoints": joints(25)}])}, "cam", ["1.json", "BODY_25"]),
    "scores of other joints": (COCO, {"cam/1.json": json.dumps([{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1]}])},
                               "cam", ["1.json", "keypoint_scores"]),
    "entries that are no objects": (COCO, {"cam.json": "[3]"}, "cam.json", ["cam.json", "entry 0"]),
    "COCO nested without end": (COCO, {"cam.json": DEEP}, "cam.json", ["cam.json", "nested"]),
    "empty text": (TEXT, {"0.txt": ""}, "0.txt", ["0.txt", "begin"]),
    "text of words": (TEXT, {"0.txt": "4 2 one two"}, "0.txt", ["0.txt", "numbers"]),
    "binary for text": (TEXT, {"0.txt": b"\x00\xff\xfe" * 99}, "0.txt", ["0.txt"]),
    "text of other joints": (TEXT, {"0.txt": text("2 2")}, "0.txt", ["0.txt", "BODY_25"]),
    "text of fewer joints": (TEXT, {"0.txt": text(counts=((1,) * 19,) * 2, affinities=18)}, "0.txt", ["0.txt"]),
    "text of more joints": (TEXT, {"0.txt": text(counts=((1,) * 26,) * 2)}, "0.txt", ["0.txt"]),
    "text cut off": (TEXT, {"0.txt": text()[:-60]}, "0.txt", ["0.txt", "ends"]),
    "text with a rest": (TEXT, {"0.txt": text() + " 1 2 3"}, "0.txt", ["0.txt", "3 numbers are left"]),
    "text of more frames than it says": (TEXT, {"0.txt": text("4 1")}, "0.txt", ["0.txt", "left after 1"]),
    "text of fewer frames than it says": (TEXT, {"0.txt": text("4 9000000")}, "0.txt", ["0.txt", "too short"]),
    "text of no frames": (TEXT, {"0.txt": "4 0"}, "0.txt", ["0.txt", "0 frames"]),
    "text in pixels": (TEXT, {"0.txt": text(x=320)}, "0.txt", ["0.txt", "fractions"]),
    "text of a negative count": (TEXT, {"0.txt": text(counts=((-1,) + (1,) * 24,) * 2)}, "0.txt", ["0.txt", "nose"]),
    "text without a usable score": (TEXT, {"0.txt": text(score="nan")}, "0.txt", ["0.txt", "score"]),
}  # fmt: skip


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("name", CASES)
def test_bad_detections_are_named(tmp_path, name):
    kind, files, given, words = CASES[name]
    write(tmp_path, files)
    with pytest.raises(InputError) as raised:
        check_detections_source(kind, tmp_path / given, CAMERA)
    message = str(raised.value).replace(str(tmp_path), "")
    for word in words:
        assert word in message
    assert raised.value.remedy and len(message) < 500
    for use in (lambda: count_frames(kind, tmp_path / given),
                lambda: read_detections(kind, tmp_path / given, CAMERA, range(3))):  # fmt: skip
        with contextlib.suppress(InputError):  # in the night: an answer or a message, nothing else
            use()


def test_the_good_files_of_these_cases_are_accepted(tmp_path):
    write(tmp_path, {"cam/1.json": pose(joints(25)), "cam.json": results({}, {}), "0.txt": text()})
    for kind, given, count in ((POSE, "cam", 2), (COCO, "cam.json", 2), (TEXT, "0.txt", 2)):
        check_detections_source(kind, tmp_path / given, CAMERA)
        assert count_frames(kind, tmp_path / given) == count
        assert len(read_detections(kind, tmp_path / given, CAMERA, range(2)).frames) == 2


def test_a_capture_without_people_at_its_ends_is_fine(tmp_path):
    """Nobody is a valid answer, and hidden joints are guessed a little outside the image."""
    write(tmp_path, {f"cam/{i}.json": '{"people": []}' for i in range(40)})
    check_detections_source(POSE, tmp_path / "cam", CAMERA)
    write(tmp_path, {"cam/0.json": pose(joints(25, (655, 440)))})
    check_detections_source(POSE, tmp_path / "cam", CAMERA)


def test_an_unknown_kind_is_told(tmp_path):
    with pytest.raises(InputError, match="openpose_json"):
        count_frames("detectron", tmp_path)


def test_the_readers_load_without_heavy_modules():
    """The command line's parent process imports them."""
    root = Path(__file__).parents[2]
    script = (
        "import sys, data.detections.reader; "
        "print([m for m in ('torch', 'cv2', 'mediapipe', 'scipy', 'open3d', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
