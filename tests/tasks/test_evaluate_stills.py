"""The stills benchmark on pictures of public data sets' layouts, with finders whose errors are known."""

import json

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat

import run_pipeline
from data.datasets.mupots import Mupots
from pipeline.skeletons import H36M17, MPI17, SKEL19
from pipeline.stills.people import StillCamera, StillPeople
from tasks.benchmarks import stills
from tasks.benchmarks.fitted_bodies import open_model
from tasks.benchmarks.still_methods import FoundPeople, NetworkFinder, body_joints, lowered

K = np.array([[1500.0, 0, 960], [0, 1490, 540], [0, 0, 1]])


def struct(**fields):
    out = np.empty((1, 1), [(k, object) for k in fields])
    for k, v in fields.items():
        out[k][0, 0] = v
    return out


@pytest.fixture
def mupots(tmp_path):
    """One sequence, two frames of two people side by side."""
    g = np.random.default_rng(0)
    cell = np.empty((2, 2), object)
    folder = tmp_path / "data" / "TS1"
    folder.mkdir(parents=True)
    for f in range(2):
        for p in range(2):
            points = g.normal(0, 300, (17, 3)) + np.array([2000 * p - 1000, 0, 5000])
            pixels = points @ K.T
            cell[f, p] = struct(annot2=(pixels[:, :2] / pixels[:, 2:]).T, annot3=points.T, univ_annot3=points.T,
                                isValidFrame=1.0)  # fmt: skip
        cv2.imwrite(str(folder / f"img_{f:06d}.jpg"), np.zeros((60, 80, 3), np.uint8))
    savemat(folder / "annot.mat", {"annotations": cell})
    return tmp_path


def run(folder, text, capsys=None):
    (folder / "s.yaml").write_text(text)
    code = run_pipeline.main(["evaluate", "stills", str(folder / "s.yaml"), "--json", str(folder / "rows.json")])
    return code, json.loads((folder / "rows.json").read_text())["rows"] if code == 0 else []


CONFIG = "output: out\ndataset: {name: mupots, root: data}\nmethods: {ours: open}\n"


def test_a_finder_with_known_errors(mupots, monkeypatch):
    """At low resolution it finds the first of two people, its wrists 20 cm off; at high resolution everybody."""
    truth = list(Mupots(mupots / "data").stills())
    calls = []

    def finder(image, intrinsics, joint_set, low):
        assert joint_set is MPI17 and intrinsics == pytest.approx(K, rel=1e-4)
        people = truth[len(calls) % 2].people[: 1 if low else 2]
        calls.append(low)
        joints = np.stack([q.joints for q in people])
        if low:
            joints[:, [4, 7]] += np.array([0, 0, 0.2])
        return FoundPeople(np.stack([q.box for q in people]), np.ones(len(people)), joints,
                           np.stack([q.keypoints for q in people]))  # fmt: skip

    monkeypatch.setattr(stills, "open_finder", lambda *arguments: finder)
    code, (low, high) = run(mupots, CONFIG)
    assert code == 0 and (low["category"], high["category"], low["pictures"]) == ("low", "high", 2)
    assert high["mpjpe_mm"] == pytest.approx(0, abs=1e-6) and high["pck_all"] == 100 and high["box_ap"] == 100
    assert low["mpjpe_mm"] == pytest.approx(200 * 2 / 17) and low["recall"] == 0.5
    assert low["mpjpe_strict_mm"] == pytest.approx((200 * 2 / 17 + 150) / 2)
    assert low["pck150"] == pytest.approx(100 * 15 / 34) and low["pck150_matched"] == pytest.approx(100 * 15 / 17)
    assert low["pck_matched"] > low["pck_all"] > 40 and low["false_people"] == 0
    assert low["box_ap"] == pytest.approx(100 * 51 / 101, abs=0.1) and low["keypoint_share"] < 1e-9
    assert "mpjpe_romp_mm" not in low and "pckh50" not in low


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("root: data", "root: gone", ["dataset.root", "gone"]),
        ("name: mupots, root: data", "name: mupots", ["dataset", "needs a root"]),
        ("name: mupots", "name: mupotts", ["'mupotts'", "mupots"]),
        ("root: data", "root: data, split: test", ["has no splits"]),
        ("ours: open", "ours: gone.safetensors", ["methods.ours", "gone.safetensors"]),
        ("ours: open", "ours: s.yaml", ["methods.ours", "s.yaml"]),
        ("methods: {ours: open}", "methods: {}", ["methods"]),
        ("name: mupots, root: data", "name: coco, root: data", ["person_keypoints_val2017.json", "no such file"]),
        ("name: mupots, root: data", "name: mpii, root: data", ["mpii_human_pose_v1_u12_1.mat", "no such file"]),
        ("name: mupots, root: data", "name: panda, root: data", ["person_bbox_train.json"]),
        ("name: mupots, root: data", "name: h36m, root: data", ["annotations"]),
        ("name: mupots, root: data", "name: panoptic, root: data", ["160422_haggling1"]),
        ("name: mupots, root: data", "name: mpi_inf_3dhp, root: data", ["annot_data.mat"]),
    ],
)
def test_bad_input_is_named(mupots, capsys, before, after, words):
    code, _ = run(mupots, CONFIG.replace(before, after))
    message = capsys.readouterr().err
    assert code == 2 and all(w in message for w in words), message


def people(model, count=2):
    """Found bodies that stand 4 m before a camera."""
    g = np.random.default_rng(1)
    pose = {"global_orient": np.tile([np.pi, 0, 0], (count, 1)), "body_pose": g.normal(0, 0.2, (count, 63)),
            "betas": g.normal(0, 1, (count, 10)),
            "transl": np.array([[k, 0.2, 4.0] for k in range(count)])}  # fmt: skip
    empty = StillPeople.nobody((640, 480), StillCamera(600.0, np.array([319.5, 239.5])))
    rest = {n: getattr(empty, n) for n in ("joints", "keypoints", "masks")}
    return StillPeople(empty.size, empty.camera, np.zeros((count, 4)), np.ones(count),
                       **{k: v.astype(np.float32) for k, v in pose.items()}, **rest)  # fmt: skip


def test_joints_of_every_set_lie_on_the_body():
    model = open_model()
    found = people(model)
    for joint_set in (H36M17, MPI17, SKEL19):
        joints = body_joints(model, found, joint_set)
        assert np.isfinite(joints).all()
        ankle, neck = joints[:, joint_set.index("left_ankle")], joints[:, joint_set.index("neck")]
        assert (np.abs(np.linalg.norm(ankle - neck, axis=1) - 1.25) < 0.35).all()
    mpi = body_joints(model, found, MPI17)
    top, head, spine = (mpi[:, MPI17.index(n)] for n in ("head_top", "head", "spine"))
    above = np.linalg.norm(top - head, axis=1)
    assert above.min() > 0.1 and above.max() < 0.3
    assert (np.linalg.norm(spine - mpi[:, 14], axis=1) < 0.4).all()
    nobody = StillPeople.nobody((8, 8), found.camera)
    assert body_joints(model, nobody, MPI17).shape == (0, 17, 3)


def test_low_pictures_fit_and_are_found_where_they_were(monkeypatch):
    image = np.zeros((480, 640, 3), np.uint8)
    small, scale = lowered(image, (208, 128))
    assert small.shape == (128, 171, 3) and scale == pytest.approx(128 / 480)
    assert lowered(small, (208, 128))[1] == 1.0

    def find(shown, network, model, regressor, options, focal):
        assert options.resolution == "low" and shown.shape == small.shape and focal == pytest.approx(600 * scale)
        found = people(model, 1)
        camera = StillCamera(focal, (np.array([171, 128]) - 1) / 2)
        box = np.array([[10.0, 20, 50, 100]], np.float32)
        return StillPeople((171, 128), camera, box, *(getattr(found, n) for n in StillPeople.FIELDS[1:]))

    monkeypatch.setattr("pipeline.stills.find.find_people", find)
    finder = NetworkFinder(torch.nn.Identity(), (208, 128))
    found = finder(image, np.diag([600.0, 600, 1]), SKEL19, True)
    np.testing.assert_allclose(found.boxes[0], (np.array([10, 20, 50, 100]) + 0.5) / scale - 0.5)
    points = found.joints[0]
    pixels = 600 * points[:, :2] / points[:, 2:] + [319.5, 239.5]
    assert np.abs(found.pixels[0] - pixels).max() < 1.5
