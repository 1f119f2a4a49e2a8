"""Readers of public data sets of pictures, on small files laid out as the data sets document them."""

import json
import pickle

import cv2
import h5py
import numpy as np
import pytest
from scipy.io import savemat

from data.calibration.reader import read_calibration
from data.datasets.coco import Coco
from data.datasets.files import read_mat, read_npy
from data.datasets.h36m import Human36m
from data.datasets.labelled import Labelled
from data.datasets.mpi_inf_3dhp import RELEVANT, MpiInf3dhp
from data.datasets.mpii import Mpii
from data.datasets.mupots import Mupots
from data.datasets.panda import Panda
from data.datasets.panoptic import Panoptic
from pipeline.errors import InputError
from pipeline.skeletons import H36M17, MPI17, MPII16

K = np.array([[1500.0, 0, 960], [0, 1490, 540], [0, 0, 1]])


def picture(path, value=90, size=(64, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))


def pose(seed, joints=17):
    """Joints (J, 3) millimetres about 3 m before a camera, and their pixels."""
    points = np.random.default_rng(seed).normal(0, 400, (joints, 3)) + np.array([0, 0, 3000])
    pixels = points @ K.T
    return points, pixels[:, :2] / pixels[:, 2:]


def test_coco(tmp_path):
    keypoints = [0] * 51
    keypoints[0:3], keypoints[15:18] = [10, 20, 2], [30, 25, 1]
    people = [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 6, 40, 30], "keypoints": keypoints, "num_keypoints": 2,
         "iscrowd": 0, "area": 500, "segmentation": [[5, 6, 45, 6, 45, 36]]},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1, "area": 81,
         "segmentation": {"counts": [81], "size": [9, 9]}},
    ]  # fmt: skip
    images = [{"id": 9, "file_name": "000000000009.jpg"}, {"id": 7, "file_name": "000000000007.jpg"}]
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "person_keypoints_val2017.json"
    path.write_text(json.dumps({"images": images, "annotations": people}))
    for image in images:
        picture(tmp_path / "val2017" / image["file_name"], 40 + image["id"])
    first, second = Coco(tmp_path).stills()
    assert first.name == "000000000007" and second.people == () and first.read().shape == (48, 64, 3)
    whole, crowd = first.people
    np.testing.assert_allclose(whole.box, [5, 6, 45, 36])
    np.testing.assert_allclose(whole.keypoints[[0, 5]], [[10, 20], [30, 25]])
    assert np.isnan(whole.keypoints[1]).all() and whole.visible.tolist() == [True] + [False] * 16
    assert crowd.ignored and not whole.ignored and len(whole.outlines) == 1 and crowd.outlines == ()
    people[0]["bbox"] = [1, 2, 3]
    path.write_text(json.dumps({"images": images, "annotations": people}))
    with pytest.raises(InputError, match=r"person_keypoints_val2017.json: bbox is 3 instead of 4"):
        list(Coco(tmp_path).stills())
    path.write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        Coco(tmp_path)
    with pytest.raises(InputError, match=r"person_keypoints_train2017.json: no such file"):
        Coco(tmp_path, "train2017")


def struct(**fields):
    out = np.empty((1, 1), [(k, object) for k in fields])
    for k, v in fields.items():
        out[k][0, 0] = v
    return out


def structs(*rows):
    out = np.empty((1, len(rows)), [(k, object) for k in rows[0]])
    for n, row in enumerate(rows):
        for k, v in row.items():
            out[k][0, n] = v
    return out


def test_mpii(tmp_path):
    points = structs({"x": 100.5, "y": 50.0, "id": 9.0, "is_visible": 1.0}, {"x": 90.0, "y": 80.0, "id": 8.0,
                                                                           "is_visible": 0.0})  # fmt: skip
    whole = {"x1": 80.0, "y1": 40.0, "x2": 110.0, "y2": 80.0, "annopoints": struct(point=points), "scale": 1.2,
             "objpos": struct(x=90.0, y=200.0)}  # fmt: skip
    bare = whole | {"annopoints": np.zeros((0, 0))}
    annolist = structs(
        {"image": struct(name="a.jpg"), "annorect": structs(whole, bare)},
        {"image": struct(name="test.jpg"), "annorect": structs(bare)},
        {"image": struct(name="b.jpg"), "annorect": np.zeros((0, 0))},
    )
    savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat",
            {"RELEASE": struct(annolist=annolist, img_train=np.array([[1.0, 0.0, 1.0]]))})  # fmt: skip
    picture(tmp_path / "images" / "a.jpg")
    first, last = Mpii(tmp_path).stills()
    assert (first.name, last.name, last.people) == ("a", "b", ())
    (one,) = first.people
    np.testing.assert_allclose(one.keypoints[MPII16.index("head_top")], [100.5, 50])
    assert one.visible.sum() == 1 and one.visible[9] and one.head_px == pytest.approx(0.6 * 50)
    savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", {"other": 1.0})
    with pytest.raises(InputError, match="no RELEASE"):
        Mpii(tmp_path)


def test_panda(tmp_path):
    def box(a, b, c, d):
        return {"tl": {"x": a, "y": b}, "br": {"x": c, "y": d}}

    whole = {"category": "person", "pose": "standing", "age": "adult",
             "rects": {"head": box(0.1, 0.1, 0.12, 0.13), "visible body": box(0.1, 0.1, 0.2, 0.3),
                       "full body": box(0.1, 0.1, 0.2, 0.5)}}  # fmt: skip
    crowd = {"category": "crowd", "rect": box(0.5, 0.5, 0.9, 0.9)}
    entry = {"image id": 1, "image size": {"height": 1000, "width": 2000}, "objects list": [whole, crowd]}
    (tmp_path / "image_annos").mkdir()
    (tmp_path / "image_annos" / "person_bbox_train.json").write_text(
        json.dumps({"01_Canteen/IMG_01_01.jpg": entry, "10_Square/IMG_10_01.jpg": entry})
    )
    picture(tmp_path / "image_train" / "01_Canteen" / "IMG_01_01.jpg")
    first, second = Panda(tmp_path).stills()
    assert (first.sequence, second.sequence) == ("01_Canteen", "10_Square") and first.read().shape == (48, 64, 3)
    np.testing.assert_allclose(first.people[0].box, [200, 100, 400, 500])
    assert first.people[1].ignored
    (only,) = Panda(tmp_path, part="head", scenes=["10"]).stills()
    np.testing.assert_allclose(only.people[0].box, [200, 100, 240, 130])
    with pytest.raises(InputError, match=r"IMG_10_01.jpg: cannot be read"):
        only.read()


def test_human36m(tmp_path):
    R = cv2.Rodrigues(np.array([0.3, -0.2, 1.0]))[0]
    t = np.array([100.0, 200, 5000])
    camera = {"R": R.tolist(), "t": t.tolist(), "f": [1145.0, 1143], "c": [512.0, 515]}
    world = np.random.default_rng(0).normal(0, 500, (17, 3))
    for subject in (9, 11):
        images = [{"id": 10 * subject + f, "file_name": f"s_{subject:02d}_act_02/s_{subject:02d}_{f:06d}.jpg",
                   "width": 1000, "height": 1002, "subject": subject, "action_idx": 2, "subaction_idx": 1, "cam_idx": 1,
                   "frame_idx": f} for f in (0, 1, 64)]  # fmt: skip
        boxes = [{"id": i["id"], "image_id": i["id"], "bbox": [100, 110, 50, 60]} for i in images]
        files = {"data": {"images": images, "annotations": boxes}, "camera": {"1": camera},
                 "joint_3d": {"2": {"1": {str(f): world.tolist() for f in (0, 1, 64)}}}}  # fmt: skip
        (tmp_path / "annotations").mkdir(exist_ok=True)
        for kind, content in files.items():
            (tmp_path / "annotations" / f"Human36M_subject{subject}_{kind}.json").write_text(json.dumps(content))
    (tmp_path / "images").mkdir()
    stills = list(Human36m(tmp_path).stills())
    assert len(stills) == 4 and stills[0].sequence == "action02"
    one = stills[0].people[0]
    np.testing.assert_allclose(one.joints, (world @ R.T + t) / 1000)
    np.testing.assert_allclose(one.box, [100, 110, 150, 170])
    seen = stills[0].K @ one.joints[H36M17.index("head_top")]
    np.testing.assert_allclose(one.keypoints[10], seen[:2] / seen[2])
    with pytest.raises(InputError, match=r"Human36M_subject5_data.json: no such file"):
        Human36m(tmp_path, subjects=[5])
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / "data_3d_h36m.npz", a=1)
    with pytest.raises(InputError, match="CDF or npz files, which are not read"):
        Human36m(tmp_path / "other")


def test_mupots(tmp_path):
    cell, labels = np.empty((2, 2), object), np.empty((2, 2), object)
    for f in range(2):
        for p in range(2):
            points, pixels = pose(10 * f + p)
            cell[f, p] = struct(annot2=pixels.T, annot3=points.T, univ_annot3=0.9 * points.T,
                                isValidFrame=float(f == 0 or p == 0))  # fmt: skip
            labels[f, p] = np.eye(17)[p][None]
    for sequence in ("TS2", "TS10"):
        folder = tmp_path / "MultiPersonTestSet" / sequence
        folder.mkdir(parents=True)
        savemat(folder / "annot.mat", {"annotations": cell})
        savemat(folder / "occlusion.mat", {"occlusion_labels": labels})
        picture(folder / "img_000000.jpg")
    stills = list(Mupots(tmp_path).stills())
    assert [s.name for s in stills] == ["TS2_000000", "TS2_000001", "TS10_000000", "TS10_000001"]
    assert [len(s.people) for s in stills] == [2, 1, 2, 1] and stills[0].read().shape == (48, 64, 3)
    points, pixels = pose(1)
    other = stills[0].people[1]
    np.testing.assert_allclose(other.joints, points / 1000)
    np.testing.assert_allclose(other.universal, 0.9 * points / 1000)
    np.testing.assert_allclose(other.keypoints, pixels)
    assert not other.visible[1] and other.visible.sum() == 16
    np.testing.assert_allclose(stills[0].K, K, rtol=1e-6)
    savemat(tmp_path / "MultiPersonTestSet" / "TS2" / "annot.mat", {"annotations": np.zeros((2, 2))})
    with pytest.raises(InputError, match=r"TS2/annot.mat: holds no cell annotations"):
        list(Mupots(tmp_path).stills())
    with pytest.raises(InputError, match="no sequence of MuPoTS"):
        Mupots(tmp_path / "MultiPersonTestSet" / "TS2")


def test_mpi_inf_3dhp_test_set(tmp_path):
    found = [pose(k) for k in range(3)]
    folder = tmp_path / "TS3"
    folder.mkdir()
    with h5py.File(folder / "annot_data.mat", "w", userblock_size=512) as file:
        file["annot2"] = np.stack([p for _, p in found])[:, None]
        file["annot3"] = np.stack([j for j, _ in found])[:, None]
        file["univ_annot3"] = np.stack([j for j, _ in found])[:, None]
        file["valid_frame"] = np.array([[1.0], [0], [1]])
    with (folder / "annot_data.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128))
    stills = list(MpiInf3dhp(tmp_path).stills())
    assert [s.name for s in stills] == ["TS3_000001", "TS3_000003"] and stills[0].sequence == "TS3"
    assert stills[1].path == folder / "imageSequence" / "img_000003.jpg"
    np.testing.assert_allclose(stills[1].people[0].joints, found[2][0] / 1000)
    np.testing.assert_allclose(stills[0].K, K, rtol=1e-6)
    with h5py.File(folder / "annot_data.mat", "r+") as file:
        del file["annot2"]
        file["annot2"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(InputError, match="annot2 is a link to elsewhere"):
        list(MpiInf3dhp(tmp_path).stills())


def test_mpi_inf_3dhp_training_set(tmp_path):
    cells = {"annot2": np.empty((2, 1), object), "annot3": np.empty((2, 1), object)}
    for camera in range(2):
        found = [pose(10 * camera + k, 28) for k in range(3)]
        cells["annot2"][camera, 0] = np.stack([p.ravel() for _, p in found])
        cells["annot3"][camera, 0] = np.stack([j.ravel() for j, _ in found])
    folder = tmp_path / "S1" / "Seq2"
    folder.mkdir(parents=True)
    savemat(folder / "annot.mat", cells | {"univ_annot3": cells["annot3"], "cameras": np.arange(2, dtype=np.uint8)})
    stills = list(MpiInf3dhp(tmp_path, "train", cameras=[1], step=2).stills())
    assert [(s.frame, s.path.name) for s in stills] == [(0, "video_1.avi"), (2, "video_1.avi")]
    points, pixels = pose(12, 28)
    np.testing.assert_allclose(stills[1].people[0].joints, points[RELEVANT] / 1000)
    np.testing.assert_allclose(stills[1].people[0].keypoints, pixels[RELEVANT])
    assert len(MPI17) == len(RELEVANT) == len(set(RELEVANT.tolist()))
    with pytest.raises(InputError, match="has no camera 7"):
        list(MpiInf3dhp(tmp_path, "train", cameras=[7]).stills())
    with pytest.raises(InputError, match="no test sequence"):
        MpiInf3dhp(tmp_path)


def test_panoptic(tmp_path):
    R = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    cameras = [{"name": n, "type": "hd", "resolution": [1920, 1080], "panel": 0, "node": 16, "K": K.tolist(),
                "distCoef": [0.01, 0, 0, 0, 0], "R": R.tolist(), "t": [[0.0], [0.0], [300.0]]}
               for n in ("00_16", "00_30")]  # fmt: skip
    base = tmp_path / "160422_haggling1"
    poses = base / "hdPose3d_stage1_coco19"
    poses.mkdir(parents=True)
    (base / "calibration_160422_haggling1.json").write_text(json.dumps({"cameras": cameras}))
    joints = np.random.default_rng(0).normal(0, 40, (19, 3))
    values = np.column_stack([joints, np.full(19, 0.8)])
    values[4, 3] = 0.05
    far = values + np.array([9000, 0, 0, 0])
    bodies = [{"id": 0, "joints19": values.ravel().tolist()}, {"id": 1, "joints19": far.ravel().tolist()}]
    for frame in (100, 101, 102):
        (poses / f"body3DScene_{frame:08d}.json").write_text(json.dumps({"version": 0.7, "bodies": bodies}))
    stills = list(Panoptic(tmp_path, sequences=["160422_haggling1"], step=2).stills())
    assert [s.name[-14:] for s in stills[:2]] == ["00_16_00000100", "00_30_00000100"] and len(stills) == 4
    (one,) = stills[0].people  # the other is not in the picture
    known = np.arange(19) != 4
    np.testing.assert_allclose(one.joints[known], (joints[known] + [0, 0, 300]) / 100)
    assert np.isnan(one.joints[4]).all()
    camera = read_calibration(base / "calibration_160422_haggling1.json")["00_16"]
    np.testing.assert_allclose(one.keypoints[known], camera.project(joints[known] / 100))
    assert (stills[0].path.name, stills[0].frame) == ("hd_00_16.mp4", 100)
    picture(base / "hdImgs" / "00_16" / "00_16_00000100.jpg")
    first = next(Panoptic(tmp_path, sequences=["160422_haggling1"]).stills())
    assert first.frame is None and first.read().shape == (48, 64, 3)
    (poses / "body3DScene_00000101.json").write_text(json.dumps({"bodies": [{"joints19": [1, 2, 3]}]}))
    with pytest.raises(InputError, match=r"body3DScene_00000101.json: joints19 is 3 instead of 76"):
        list(Panoptic(tmp_path, sequences=["160422_haggling1"]).stills())
    with pytest.raises(InputError, match="has no camera 00_99"):
        Panoptic(tmp_path, sequences=["160422_haggling1"], cameras=["00_99"])


@pytest.mark.parametrize("data", [b"", b"MATLAB 5.0 MAT-file" + bytes(200), b"\x80\x04N." * 50, bytes(range(256)) * 9])
def test_files_that_are_no_matlab_files_are_named(tmp_path, data):
    path = tmp_path / "annot.mat"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"annot.mat"):
        read_mat(path)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickles_are_never_loaded(tmp_path):
    evil = Evil(str(tmp_path / "made"))
    np.save(tmp_path / "a.npy", np.array({"x": evil}, object), allow_pickle=True)
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(evil))
    for name in ("a.npy", "b.pkl"):
        with pytest.raises(InputError, match=r"pickle.*Convert it"):
            read_npy(tmp_path / name, "Convert it")
    assert not (tmp_path / "made").exists()


def test_photographs_labelled_with_keypoints_of_other_names(tmp_path):
    picture(tmp_path / "some" / "7.jpg")
    names = ["Left Ankle", "tail", "Head", "neck"]
    labels = {"categories": [{"id": 1, "name": "person", "keypoints": names}],
              "images": [{"id": 3, "file_name": "7.jpg"}],
              "annotations": [{"image_id": 3, "bbox": [10, 5, 20, 40], "iscrowd": 0,
                               "keypoints": [12, 44, 2, 1, 1, 2, 20, 6, 1, 9, 9, 0]}]}  # fmt: skip
    (tmp_path / "some" / "labels.json").write_text(json.dumps(labels))
    (tmp_path / "some" / "found.json").write_text("[]")
    (still,) = Labelled(tmp_path).stills()
    (p,) = still.people
    assert still.read().shape == (48, 64, 3) and p.box.tolist() == [10, 5, 30, 45] and not p.ignored
    known = {MPI17.joints[j]: p.keypoints[j].tolist() for j in np.flatnonzero(np.isfinite(p.keypoints[:, 0]))}
    assert known == {"left_ankle": [12, 44], "head_top": [20, 6]}
    assert p.visible.tolist() == [j == "left_ankle" for j in MPI17.joints]
    (tmp_path / "some" / "labels.json").unlink()
    with pytest.raises(InputError, match="no labels in COCO's form"):
        Labelled(tmp_path)
