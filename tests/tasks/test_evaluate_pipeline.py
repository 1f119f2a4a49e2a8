"""The benchmarks that run the pipeline itself: fusion and segmentation, on small inputs with known answers."""

import json

import numpy as np
import pytest

import run_pipeline
from data.surface_scenes import NOTHING, SceneBody, ScenePerson, SurfaceScene
from data.synthetic.carried_skin import walker
from data.synthetic.walkers import ring_rig
from pipeline.association.tracks import Tracks
from pipeline.body.regressor import skel19_joints
from pipeline.keypoints.detections import Detections
from pipeline.quality.metrics import MaskFigures
from pipeline.raster_open3d import Open3DRaster
from pipeline.segmentation.contest import plain_score
from pipeline.skeletons import BLAZEPOSE33
from tasks.benchmarks import fitted_bodies, scene_sources, segmentation
from tasks.benchmarks.fitted_bodies import REPEATS, Found, open_model, segmented
from tasks.benchmarks.table1 import SettingConfig, prepare
from tests.tasks.surface_scenes import SOURCE


def rows(folder, name, text):
    (folder / "c.yaml").write_text(text)
    target = folder / "rows.json"
    assert run_pipeline.main(["evaluate", name, str(folder / "c.yaml"), "--json", str(target)]) == 0
    return json.loads(target.read_text())["rows"]


def test_fusion_against_exact_answers(tmp_path):
    text = "methods: [weighted]\nframes: 7\ndivisions: 0\nvoxel_m: 0.015\npoints: 1500\ncategories: [noise]\n"
    (noise,) = rows(tmp_path, "fusion", text)
    assert (noise["method"], noise["category"]) == ("weighted", "noise")
    assert noise["error_ratio"] < 0.8 and noise["flicker_ratio"] < 0.6 and noise["p95_mm"] < 12
    assert "amplitude_ratio" not in noise


@pytest.fixture(scope="module")
def scene():
    """One body of the open model, grey on grey, seen by three cameras."""
    skin, model = walker(REPEATS, 0), open_model()
    body = skin.bodies[REPEATS // 2]
    mesh = (body.vertices, model.faces.numpy())
    rig = ring_rig(3, radius=3.0, height=1.0, size=(240, 320), focal=300.0)
    seen = Open3DRaster(1).render_views(*mesh, rig.cameras)
    images = tuple(np.where(v.hit[..., None], 190, 60).astype(np.uint8).repeat(3, -1) for v in seen)
    names = ("global_orient", "body_pose", "transl", "left_hand_pose", "right_hand_pose")
    row = slice(REPEATS // 2, REPEATS // 2 + 1)
    parameters = {n: getattr(skin.track, n)[row] for n in names} | {"betas": skin.track.betas[None]}
    person = ScenePerson(mesh, SceneBody(mesh, parameters), 1.7)
    scene = SurfaceScene("single_0", "single", rig, images, tuple(v.hit.astype(np.uint8) for v in seen), (person,),
                         NOTHING)  # fmt: skip
    joints = skel19_joints(model, skin.track)
    pixels = np.stack([c.project(joints) for c in rig.cameras], 1)[:, None]
    count = np.zeros((REPEATS, 1, 3))
    tracks = Tracks(np.arange(REPEATS), np.zeros(1, np.int32), joints[:, None], np.ones((REPEATS, 1, 19)),
                    pixels.astype(np.float32), np.ones(pixels.shape[:-1]), np.zeros(pixels.shape[:-1]),
                    count.astype(np.int32) - 1)  # fmt: skip
    frames = np.arange(REPEATS)
    empty = Detections("blazepose33", frames, np.zeros(REPEATS + 1, np.int64), np.zeros((0, 33, 2), np.float32),
                       np.zeros((0, 33), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
                       np.zeros(0, np.int32))  # fmt: skip
    assert len(BLAZEPOSE33) == 33
    found = Found([empty] * 3, tracks, [SceneBody(mesh, parameters)], [0], {0: 0}, [""])
    return scene, found


def test_masks_come_in_the_numbers_of_the_true_people(scene):
    scene, found = scene
    labels = segmented(scene, found, plain_score)
    figures = MaskFigures()
    for mine, true in zip(labels, scene.labels, strict=True):
        figures.add(mine, true, [1])
    assert figures.row()["iou"] > 0.93 and figures.swaps == 0
    stranger = Found(found.detections, found.tracks, found.bodies, found.rows, {}, found.reasons)
    assert not any(image.any() for image in segmented(scene, stranger, plain_score))
    nobody = Found(found.detections, found.tracks, [], [], {}, [])
    assert [image.shape for image in segmented(scene, nobody, plain_score)] == [i.shape for i in scene.labels]


def test_fitted_inputs_are_what_the_pipeline_found(scene, monkeypatch):
    scene, found = scene
    monkeypatch.setattr(fitted_bodies, "find", lambda s: found)
    monkeypatch.setattr(fitted_bodies, "configured_score", lambda: plain_score)
    given = prepare(scene, SettingConfig(bodies="fitted", views=3), np.random.default_rng(0))
    assert given.bodies[0] is found.bodies[0] and set(np.unique(given.labels[0])) == {0, 1}
    missed = Found(found.detections, found.tracks, [], [], {}, [])
    monkeypatch.setattr(fitted_bodies, "find", lambda s: missed)
    given = prepare(scene, SettingConfig(bodies="fitted", views=3), np.random.default_rng(0))
    assert given.bodies == (None,) and not given.labels[0].any()


def test_bodies_that_are_off_by_what_was_asked_for(scene):
    scene, _ = scene
    setting = SettingConfig(views=3, body_error_cm=2)
    given = prepare(scene, setting, np.random.default_rng(0))
    away = np.linalg.norm(given.bodies[0].mesh[0] - scene.people[0].body.mesh[0], axis=1)
    assert away.mean() == pytest.approx(0.02, abs=1e-4)


def test_segmentation_counts_people_who_were_missed(tmp_path, monkeypatch):
    """Spheres: the first scene's mask is right, in the second nobody is found."""
    monkeypatch.setitem(scene_sources.SOURCES, "synthetic", "tests.tasks.surface_scenes:open_spheres")
    monkeypatch.setattr(segmentation, "_score", lambda name: name)

    def find(scene):
        return Found([], None, [], [], {0: 0} if scene.name == "single_0" else {}, [])

    def made(scene, found, score):
        return scene.labels if found.partners else tuple(0 * image for image in scene.labels)

    monkeypatch.setattr(fitted_bodies, "find", find)
    monkeypatch.setattr(fitted_bodies, "segmented", made)
    (row,) = rows(tmp_path, "segmentation", "output: out\nmethods: [pipeline]\ncategories: [single]\nviews: 3\n")
    assert row["iou"] == 0.5 and row["people_missed"] == 1 and row["scenes"] == 2 and row["identity_swaps"] == 0
    assert SOURCE.names("three") == []
