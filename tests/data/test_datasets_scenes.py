"""Readers of scans and captures, on small files laid out as the data sets document them."""

import json

import cv2
import numpy as np
import pytest

from data.datasets.multihuman import MultiHuman
from data.datasets.zju_mocap import ZjuMocap
from data.scene_files import StoredScenes
from data.synthetic.walkers import ring_rig
from pipeline.errors import InputError
from pipeline.meshes.obj import obj_text
from pipeline.raster_open3d import Open3DRaster
from tasks.benchmarks.table1 import SettingConfig, prepare, score_scene
from tests.tasks.surface_scenes import sphere


def write(path, vertices, faces, colour=None, texture=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = obj_text(vertices, faces)
    if colour is not None:
        lines = [f"{line} {colour[0]} {colour[1]} {colour[2]}" if line.startswith("v ") else line
                 for line in text.splitlines()]  # fmt: skip
        text = "\n".join(lines) + "\n"
    if texture is not None:
        cv2.imwrite(str(path.parent / "skin.png"), np.full((8, 8, 3), texture[::-1], np.uint8))
        (path.parent / "skin.mtl").write_text("newmtl skin\nmap_Kd skin.png\n")
        uv = "".join("vt 0.5 0.5\n" for _ in vertices)
        body = "".join(f"f {a}/{a} {b}/{b} {c}/{c}\n" for a, b, c in np.asarray(faces) + 1)
        points = "".join(f"v {x} {y} {z}\n" for x, y, z in vertices)
        text = f"mtllib skin.mtl\n{points}{uv}usemtl skin\n{body}"
    path.write_text(text)


@pytest.fixture
def multihuman(tmp_path):
    """Heads of 0.5 units on the floor; a box beside the single one."""
    vertices, faces = sphere()
    small = 0.25 * vertices + [0, 0.25, 0]
    for k, name in enumerate(("3_0", "3_1", "10_0", "10_1")):
        moved = small + np.array([0.6 * (k % 2), 0, 0])
        base = tmp_path / "two_natural_inter"
        write(base / "obj" / name / f"{name}.obj", moved, faces, texture=(200, 30, 30) if k == 0 else None)
        write(base / "smplx" / name / "smplx.obj", moved * [1, 0.9, 1], faces)
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float) * 0.2 + [0.5, 0, 0]
    box = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6],
                    [0, 6, 4], [1, 5, 7], [1, 7, 3]])  # fmt: skip
    base = tmp_path / "single_occluded"
    write(base / "obj" / "7" / "7.obj", small, faces, colour=(0.1, 0.8, 0.1))
    write(base / "obj_all" / "7" / "7.obj", np.concatenate([small, corners]), np.concatenate([faces, box + len(small)]))
    return tmp_path


def test_multihuman_scenes_by_category(multihuman):
    source = MultiHuman(multihuman)
    assert source.names("two_natural") == ["two_natural_3", "two_natural_10"]
    assert source.names("occluded") == ["occluded_7"] and source.names("three") == []
    assert source.digest("two_natural_3") != source.digest("two_natural_10")


def test_multihuman_is_brought_to_180_cm_and_seen(multihuman):
    scene = MultiHuman(multihuman).load("two_natural_3", 3)
    assert len(scene.people) == 2 and len(scene.rig) == 3 and scene.others[1].size == 0
    for person in scene.people:
        np.testing.assert_allclose(np.ptp(person.surface[0], axis=0), 1.8, rtol=0.01)
        assert abs(person.surface[0][:, 2].min()) < 1e-5 and person.height_m == 1.8
        assert np.ptp(person.body.mesh[0][:, 2]) == pytest.approx(0.9 * 1.8, rel=0.01)
    first, second = (scene.images[0][scene.labels[0] == k].mean(0) for k in (1, 2))
    assert first[0] > 3 * first[1] and np.ptp(second) < 2  # a red texture; grey where there is none
    score = score_scene(scene, [p.body.mesh for p in scene.people], 1.0, 2000, 0)
    assert 1 < score["chamfer_cm"] < 20 and 0 < score["seen_share"] < 1


def test_multihuman_objects_hide_people(multihuman):
    scene = MultiHuman(multihuman).load("occluded_7", 4)
    assert scene.category == "occluded" and len(scene.others[1]) == 12 and scene.people[0].body is None
    hidden = [(image == 0) & (Open3DRaster(1).render(*scene.people[0].surface, camera).hit)
              for camera, image in zip(scene.rig.cameras, scene.labels, strict=True)]  # fmt: skip
    assert max(h.sum() for h in hidden) > 500
    green = scene.images[3][scene.labels[3] == 1].mean(0)
    assert green[1] > 2 * green[0]


def test_multihuman_bad_input(multihuman, tmp_path):
    with pytest.raises(InputError, match="holds no category"):
        MultiHuman(tmp_path / "two_natural_inter")
    (multihuman / "two_natural_inter" / "obj" / "3_0" / "3_0.obj").unlink()
    with pytest.raises(InputError, match=r"3_0: holds 0 OBJ files"):
        MultiHuman(multihuman).load("two_natural_3", 4)
    (multihuman / "two_natural_inter" / "obj" / "3_0" / "3_0.obj").write_text("v 0 0 0\n")
    with pytest.raises(InputError, match=r"3_0.obj"):
        MultiHuman(multihuman).load("two_natural_3", 4)


@pytest.fixture
def zju(tmp_path):
    """A sphere in a ring of five cameras, two frames."""
    tmp_path = tmp_path / "zju"
    sequence = tmp_path / "CoreView_377"
    vertices, faces = sphere()
    rig = ring_rig(5, size=(160, 120), focal=140.0)
    points = 0.5 * vertices + [0, 0, 1.0]
    lists = {"K": [c.K for c in rig.cameras], "R": [c.R for c in rig.cameras],
             "T": [1000 * c.t[:, None] for c in rig.cameras], "D": [np.zeros((5, 1))] * 5}  # fmt: skip
    cams = {k: np.stack(v).tolist() for k, v in lists.items()}
    for k, camera in enumerate(rig.cameras):
        mask = Open3DRaster(1).render(points, faces, camera).hit
        for f in range(2):
            for base, values in (("", mask * 120), ("mask_cihp", mask * 7)):
                path = sequence / base / f"Camera_B{k + 1}" / f"{f:06d}.{'png' if base else 'jpg'}"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), values.astype(np.uint8))
    (sequence / "new_vertices").mkdir()
    for f in range(2):
        np.save(sequence / "new_vertices" / f"{f}.npy", points.astype(np.float32))
    (sequence / "annots.json").write_text(json.dumps({"cams": cams}))
    return tmp_path


def test_zju_mocap_is_judged_by_cameras_that_are_not_given(zju):
    source = ZjuMocap(zju, step=1)
    assert source.names("single") == ["CoreView_377_000000", "CoreView_377_000001"] and source.names("three") == []
    scene = source.load("CoreView_377_000001", 3)
    assert len(scene.rig) == 3 and len(scene.witnesses) == 2 and scene.people[0].surface is None
    vertices, faces = sphere()
    given = prepare(scene, SettingConfig(views=3), np.random.default_rng(0))
    assert given.bodies[0].mesh[0].shape == (len(vertices), 3)
    truth = (given.bodies[0].mesh[0], faces)
    assert score_scene(scene, [truth], 1.0, 1000, 0)["silhouette_iou"] > 0.98
    small = (0.5 * (truth[0] - [0, 0, 1]) + [0, 0, 1], faces)
    assert score_scene(scene, [small], 1.0, 1000, 0)["silhouette_iou"] == pytest.approx(0.25, abs=0.03)


def test_zju_mocap_bad_input(zju):
    sequence = zju / "CoreView_377"
    with pytest.raises(InputError, match="has 5 cameras"):
        ZjuMocap(zju).load("CoreView_377_000000", 5)
    (sequence / "annots.json").rename(sequence / "kept.json")
    with pytest.raises(InputError, match=r"holds no cameras \(intri.yml"):
        ZjuMocap(zju).load("CoreView_377_000000", 3)
    np.save(sequence / "annots.npy", np.array({"cams": 1}, object), allow_pickle=True)
    with pytest.raises(InputError, match=r"annots.npy.*pickle.*annots.json"):
        ZjuMocap(zju).load("CoreView_377_000000", 3)
    (sequence / "kept.json").rename(sequence / "annots.json")
    np.save(sequence / "new_vertices" / "0.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"0.npy.*pickle"):
        ZjuMocap(zju).load("CoreView_377_000000", 3)
    cv2.imwrite(str(sequence / "mask_cihp" / "Camera_B1" / "000000.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(InputError, match="5, 5"):
        ZjuMocap(zju).load("CoreView_377_000000", 3)
    with pytest.raises(InputError, match="no sequence of ZJU"):
        ZjuMocap(sequence)


@pytest.mark.parametrize("name", ["occluded_7", "CoreView_377_000000"])
def test_scenes_are_kept_in_files(name, multihuman, zju, tmp_path, monkeypatch):
    source = MultiHuman(multihuman) if name[0] == "o" else ZjuMocap(zju, step=1)
    stored = StoredScenes(source, tmp_path / "kept")
    made = stored.load(name, 3)
    (path,) = (tmp_path / "kept").iterdir()
    monkeypatch.setattr(source, "load", None)
    again = stored.load(name, 3)
    assert (again.name, again.category, len(again.rig)) == (made.name, made.category, 3)
    np.testing.assert_array_equal(again.images[2], made.images[2])
    np.testing.assert_array_equal(again.labels[1], made.labels[1])
    np.testing.assert_allclose(again.rig.projections, made.rig.projections)
    np.testing.assert_allclose(again.others[0], made.others[0], atol=1e-6)
    for a, b in zip(again.people, made.people, strict=True):
        assert (a.surface is None, a.body is None, a.height_m) == (b.surface is None, b.body is None, b.height_m)
    assert len(again.witnesses) == len(made.witnesses)
    for a, b in zip(again.witnesses, made.witnesses, strict=True):
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_allclose(a.camera.P, b.camera.P)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(TypeError):  # damaged: made again, which is not possible here
        stored.load(name, 3)
