"""A session from OpenPose's files with hands and face: the exported bodies have them."""

import json

import numpy as np
import pytest

from data.body_models import load_body_arrays, open_body_model
from data.calibration.pose2sim import write_pose2sim
from pipeline.body.extremities import NAMES
from pipeline.body.landmarks import landmark_offsets
from pipeline.body.regressor import regress, regressor_for
from pipeline.cameras import project
from pipeline.config import load_session
from pipeline.skeletons import BODY25, BODY25_HANDS_FACE, SKEL19, map_joints
from tasks.bodies import inputs
from tests.pipeline.expressive_person import FPS, articulation_mm, expressive, parameters, true_points
from tests.tasks.walkers_session import command

FRAMES = 10


@pytest.fixture(scope="module")
def model():
    from nets.body import BodyModel

    return BodyModel(load_body_arrays(open_body_model()))


def write_capture(folder, model) -> object:
    """Four cameras' files of one person; the truth."""
    rig, _, truth = expressive(model, FRAMES)
    rig = rig.subset(rig.names[:4])
    write_pose2sim(rig, folder / "calibration.toml")
    regressor = regressor_for(model).with_offsets(landmark_offsets("body25"))
    values = {n: p.numpy() for n, p in parameters(truth).items()} | {"betas": truth.betas}
    body = regress(model, regressor, values).astype(np.float64)
    body, known = map_joints(body, np.ones(body.shape[:2]), SKEL19, BODY25)
    places = np.zeros((FRAMES, len(BODY25_HANDS_FACE), 3))
    places[:, : len(BODY25)] = np.nan_to_num(body)
    places[:, [BODY25_HANDS_FACE.index(n) for n in NAMES]] = true_points(model, truth)
    score = np.zeros(places.shape[:2])
    score[:, : len(BODY25)] = known
    score[:, [BODY25_HANDS_FACE.index(n) for n in NAMES]] = 1.0
    rng = np.random.default_rng(0)
    for camera in rig.cameras:
        pixels = project(camera.P, places) + rng.normal(scale=1.5, size=(*places.shape[:2], 2))
        table = np.concatenate([pixels, 0.9 * score[..., None]], -1)
        table[score == 0] = 0
        target = folder / "detections" / camera.name
        target.mkdir(parents=True)
        for f, points in enumerate(table.round(2)):
            parts = np.split(points, [25, 46, 67])
            names = ("pose", "hand_left", "hand_right", "face")
            entry = {f"{n}_keypoints_2d": p.ravel().tolist() for n, p in zip(names, parts, strict=True)}
            (target / f"{f:06d}_keypoints.json").write_text(json.dumps({"people": [entry]}))
    (folder / "session.yaml").write_text(
        f"session: hands\noutput: out\ncapture: {{calibration: calibration.toml, fps: {FPS}}}\n"
        "keypoints: {detector: openpose_json, detections: 'detections/{camera}'}\n"
        "compute: {workers: 1, chunk_frames: 8}\n"
    )
    return truth


def test_exported_bodies_have_hands_and_face(tmp_path, model):
    from data.body_parameters import read_body_parameters

    truth = write_capture(tmp_path, model)
    done = command("run", tmp_path / "session.yaml", "--until", "bodies")
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_body_parameters(tmp_path / "out/export/bodies.npz", load_body_arrays(open_body_model()))[0]
    log = (tmp_path / "out/logs/bodies/person_0.log").read_text()
    assert f"left hand in {FRAMES}, right hand in {FRAMES}, face in {FRAMES}" in log
    for part, most in (("left_", 6), ("right_", 6), ("face", 3)):
        assert articulation_mm(model, found, truth, part).mean() < most
    with (tmp_path / "session.yaml").open("a") as file:
        file.write("body: {hands_and_face: false}\n")
    assert "keypoints" not in inputs(load_session(tmp_path / "session.yaml"))
