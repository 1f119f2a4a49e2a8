"""The stills benchmark on pictures of public data sets' layouts, with finders whose errors are known."""

import json

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat

import run_pipeline
from data.datasets.mupots import Mupots
from data.datasets.panoptic import Panoptic
from data.datasets.stills import person
from pipeline.skeletons import H36M17, MPI17, PANOPTIC19, SKEL19
from pipeline.stills.people import StillCamera, StillPeople
from tasks.benchmarks import still_pictures, stills
from tasks.benchmarks.fitted_bodies import open_model
from tasks.benchmarks.still_methods import FoundPeople, NetworkFinder, body_joints, lowered, roots_of

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
    poses = np.stack([q.joints for still in truth for q in still.people])
    poses -= poses[:, roots_of(MPI17)].mean(1, keepdims=True)
    constant = 1000 * np.linalg.norm(poses - poses.mean(0), axis=-1).mean()
    assert high["mpjpe_constant_mm"] == pytest.approx(constant)
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


def test_panoptic_has_the_figures_of_both_protocols(tmp_path, monkeypatch):
    """Two people in one camera; the finder finds the first, exactly."""
    base = tmp_path / "data" / "160422_haggling1"
    poses = base / "hdPose3d_stage1_coco19"
    poses.mkdir(parents=True)
    camera = {"name": "00_16", "type": "hd", "resolution": [1920, 1080], "K": K.tolist(), "distCoef": [0] * 5,
              "R": np.eye(3).tolist(), "t": [[0.0], [0.0], [400.0]]}  # fmt: skip
    cameras = [camera, camera | {"name": "00_30"}]
    (base / "calibration_160422_haggling1.json").write_text(json.dumps({"cameras": cameras}))
    g = np.random.default_rng(0)
    people = [g.normal(0, 40, (19, 3)) + np.array([150 * k - 75, 0, 0]) for k in range(2)]
    bodies = [{"id": k, "joints19": np.column_stack([p, np.ones(19)]).ravel().tolist()} for k, p in enumerate(people)]
    (poses / "body3DScene_00000100.json").write_text(json.dumps({"bodies": bodies}))
    for name in ("00_16", "00_30"):
        (base / "hdImgs" / name).mkdir(parents=True)
        cv2.imwrite(str(base / "hdImgs" / name / f"{name}_00000100.jpg"), np.zeros((54, 96, 3), np.uint8))
    monkeypatch.setattr(Panoptic.__init__, "__defaults__", (("160422_haggling1",), ("00_16", "00_30"), 1))
    first = (people[0] + np.array([0, 0, 400])) / 100

    def finder(image, intrinsics, joint_set, low):
        known = np.array([PANOPTIC19.joints.index(j) if j in PANOPTIC19.joints else -1 for j in joint_set.joints])
        joints = np.where(known[:, None] >= 0, first[known], 0.5)[None]
        pixels = (joints @ K.T)[..., :2] / joints[..., 2:]
        truth = (first @ K.T)[:, :2] / first[:, 2:]
        return FoundPeople(np.concatenate([truth.min(0), truth.max(0)])[None], np.ones(1), joints, pixels)

    monkeypatch.setattr(stills, "open_finder", lambda *arguments: finder)
    text = "output: out\ndataset: {name: panoptic, root: data}\nmethods: {ours: open}\ncategories: [high]\n"
    code, (row,) = run(tmp_path, text)
    assert code == 0 and row["pictures"] == 2 and row["recall"] == 0.5
    assert row["mpjpe_mm"] == pytest.approx(0, abs=1e-6) and row["mpjpe_strict_mm"] == pytest.approx(75)
    shift = 1000 * np.hypot(0.06, 0.03) * 13 / 14
    assert row["mpjpe_romp_mm"] == pytest.approx((shift + 150) / 2, rel=1e-6)
    assert 0 < row["mpjpe_crmh_mm"] < 600  # the second takes the first, whose pose is another


def test_mpii_counts_in_heads(tmp_path, monkeypatch):
    """Of two joints, one is off by less than half a head, the other by more."""
    points = np.empty((1, 3), [(k, object) for k in ("x", "y", "id", "is_visible")])
    for k, (x, y, joint) in enumerate(((100.0, 50.0, 9.0), (90.0, 180.0, 8.0), (40.0, 120.0, 0.0))):
        points["x"][0, k], points["y"][0, k], points["id"][0, k], points["is_visible"][0, k] = x, y, joint, 1.0
    rect = struct(x1=80.0, y1=40.0, x2=110.0, y2=80.0, annopoints=struct(point=points))
    annolist = struct(image=struct(name="a.jpg"), annorect=rect)
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    savemat(data / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": struct(annolist=annolist, img_train=np.ones((1, 1)))})
    cv2.imwrite(str(data / "images" / "a.jpg"), np.zeros((200, 200, 3), np.uint8))

    def finder(image, intrinsics, joint_set, low):
        pixels = np.full((1, 16, 2), np.nan)
        pixels[0, [9, 8, 0]] = [[100, 50], [90, 190], [40, 140]]  # off by 0, 10 and 20; half a head is 15
        return FoundPeople(np.array([[40.0, 50, 100, 180]]), np.ones(1), np.full((1, 16, 3), np.nan), pixels)

    monkeypatch.setattr(stills, "open_finder", lambda *arguments: finder)
    text = "output: out\ndataset: {name: mpii, root: data}\nmethods: {ours: open}\ncategories: [high]\n"
    code, (row,) = run(tmp_path, text)
    assert code == 0 and row["pckh50"] == pytest.approx(200 / 3) and row["box_ap"] == 100
    assert row["keypoint_share"] == pytest.approx(10 / 130) and "mpjpe_mm" not in row


def test_a_shrunk_picture_has_a_shrunk_answer():
    image = np.zeros((40, 60, 3), np.uint8)
    image[20:24, 32:36] = 255
    people = (person(SKEL19, box=np.array([31.5, 19.5, 35.5, 23.5]), keypoints=np.full((19, 2), (33.5, 21.5))),)
    K_of_it = np.array([[50.0, 0, 29.5], [0, 50, 19.5], [0, 0, 1]])
    whole = still_pictures.TestPicture("a", "", lambda: image, K_of_it, people, np.ones(1))
    half = still_pictures.shrunk(whole, 0.5)
    bright = np.argwhere(half.read()[..., 0] == 255)
    assert bright.mean(0)[::-1].tolist() == half.people[0].keypoints[0].tolist() == [16.5, 10.5]
    assert half.people[0].box.tolist() == [15.5, 9.5, 17.5, 11.5]
    assert half.K.tolist() == [[25, 0, 14.5], [0, 25, 9.5], [0, 0, 1]]
