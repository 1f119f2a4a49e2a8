"""The benchmark of surfaces, on spheres: what it measures, what it remembers, and meshes made elsewhere."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import run_pipeline
from data.surface_scenes import CATEGORIES
from data.synthetic.surface_scenes import open_synthetic
from pipeline.config import read_section
from pipeline.meshes.obj import obj_text
from pipeline.meshes.ply import ply_bytes
from pipeline.surface.visual_hull import visual_hull
from tasks.benchmarks import scene_sources
from tasks.benchmarks.surface_methods import METHODS
from tasks.benchmarks.table1 import SettingConfig, Table1Benchmark, _SceneUnderTest
from tasks.stages import STAGES
from tests.tasks.surface_scenes import BODY, CLOTHED, SOURCE

CONFIGS = sorted((Path(run_pipeline.__file__).parent / "configs/benchmarks").glob("table1*.yaml"))
CONFIG = """\
output: out
categories: [single, two_close]
methods: [body, visual_hull]
samples: 3000
keep_scenes: false
hull_voxel_m: 0.04
settings: [{views: 8}]
scenes: 1
"""
DOUBLE = 1.8 / 0.9  # these people are 90 cm tall


@pytest.fixture
def source(monkeypatch):
    monkeypatch.setitem(scene_sources.SOURCES, "synthetic", "tests.tasks.surface_scenes:open_spheres")
    return SOURCE


def rows(folder, text, *more):
    (folder / "t.yaml").write_text(text)
    target = folder / "rows.json"
    code = run_pipeline.main(["evaluate", "table1", str(folder / "t.yaml"), "--json", str(target), *more])
    return code, json.loads(target.read_text())["rows"] if code == 0 else []


def test_bodies_and_hulls_are_measured_at_180_cm(tmp_path, source, capsys):
    code, found = rows(tmp_path, CONFIG)
    assert code == 0 and [(r["method"], r["category"]) for r in found] == [
        ("body", "single"), ("body", "two_close"), ("visual_hull", "single"), ("visual_hull", "two_close")
    ]  # fmt: skip
    off = 100 * (CLOTHED - BODY) * DOUBLE
    for row in found[:2]:
        assert row["chamfer_cm"] == pytest.approx(off, rel=0.01) and row["p2s_cm"] == pytest.approx(off, rel=0.01)
        assert row["seen_cm"] == pytest.approx(off, rel=0.02) and row["normal_consistency"] > 0.99
        assert row["scenes"] == 1 and row["views"] == 8 and 0.5 < row["seen_share"] < 1
    assert 0.2 < found[2]["chamfer_cm"] < 0.6 * off  # a hull of eight views touches the sphere where it bulges least
    each = json.loads((tmp_path / "out/per_scene.json").read_text())["rows"]
    assert [r["scene"] for r in each] == ["single_0"] * 2 + ["two_close_0"] * 2
    table = capsys.readouterr().out
    assert "bodies given, views 8" in table and "not comparable" in table and "0.895 / 0.887" in table
    picture = cv2.imread(str(tmp_path / "out/pictures/two_close.png"))
    assert picture.shape[0] > 900 and picture.std() > 10


def test_what_is_scored_is_not_made_again(tmp_path, source):
    text = CONFIG + "pictures: false\n"
    first = rows(tmp_path, text)[1]
    before = source.loaded
    assert rows(tmp_path, text)[1] == first and source.loaded == before
    more = rows(tmp_path, text.replace("views: 8", "views: 8, mask_error_px: 2"))[1]
    assert source.loaded > before
    assert more[0] == first[0] | {"mask_error_px": 2.0}  # bodies do not mind masks
    # Masks 2 px larger all round: at 5 m and a focal length of 300 px, 3.3 cm, at 180 cm twice that.
    assert more[2]["p2s_cm"] - first[2]["p2s_cm"] == pytest.approx(2 * 100 * 5 / 300 * DOUBLE, rel=0.25)


def test_scores_of_fitted_bodies_are_made_again_when_the_pipeline_finds_others(source, monkeypatch):
    def key(bodies):
        config = Table1Benchmark(output="out", methods=["body"], settings=[SettingConfig(bodies=bodies)])
        return _SceneUnderTest(source, "single_0", config.settings[0], config).key("ours", "digest")

    given, fitted = key("given"), key("fitted")
    newer = replace(STAGES["association"], revision=STAGES["association"].revision + 1)
    monkeypatch.setitem(STAGES, "association", newer)
    assert key("given") == given and key("fitted") not in (fitted, given)


def test_cameras_that_are_off_make_hulls_smaller(tmp_path, source):
    text = CONFIG.replace("[single, two_close]", "[single]\nnames: [single_1]") + "pictures: false\n"
    true = rows(tmp_path, text)[1]
    off = rows(tmp_path, text.replace("views: 8", "views: 8, camera_error_cm: 5"))[1]
    assert off[1]["chamfer_cm"] > 1.5 * true[1]["chamfer_cm"] and off[0]["chamfer_cm"] == true[0]["chamfer_cm"]


def test_meshes_made_elsewhere_are_rows(tmp_path, source):
    """A perfect single person as PLY; of two, one as OBJ and one not there: (0 + 20) / 2."""
    truth = {name: source.load(name, 6) for name in ("single_0", "two_close_0")}
    for k, name in enumerate(truth):
        (tmp_path / "theirs" / name).mkdir(parents=True)
        mesh = truth[name].people[0].surface
        if k == 0:
            (tmp_path / "theirs" / name / "person_0.ply").write_bytes(ply_bytes(*mesh))
        else:
            (tmp_path / "theirs" / name / "person_0.obj").write_text(obj_text(*mesh))
    text = CONFIG + "pictures: false\n"
    code, found = rows(tmp_path, text, "--external", f"theirs={tmp_path / 'theirs'}")
    assert code == 0 and [r["method"] for r in found] == ["body"] * 2 + ["visual_hull"] * 2 + ["theirs"] * 2
    assert found[4]["chamfer_cm"] == pytest.approx(0, abs=0.02) and found[5]["chamfer_cm"] == pytest.approx(10, abs=0.1)


def test_kept_meshes_can_be_given_back(tmp_path, source):
    text = CONFIG + "pictures: false\nkeep_meshes: true\n"
    assert rows(tmp_path, text)[0] == 0
    code, found = rows(tmp_path, text, "--external", f"again={tmp_path / 'out/meshes/visual_hull'}")
    assert code == 0
    for ours, theirs in zip(found[2:4], found[4:], strict=True):
        assert theirs["chamfer_cm"] == pytest.approx(ours["chamfer_cm"], abs=1e-3)


@pytest.mark.parametrize(
    ("before", "after", "more", "words"),
    [
        ("methods: [body, visual_hull]", "methods: [boddy]", (), ["'boddy'", "body, visual_hull"]),
        ("methods: [body, visual_hull]\n", "", (), ["methods", "missing"]),
        ("views: 8", "views: 0", (), ["settings.0.views"]),
        ("views: 8", "bodies: fitted, body_error_cm: 1", (), ["body_error_cm", "fitted"]),
        ("views: 8", "body_error_cm: 2", (), ["body_error_cm", "no body parameters"]),
        ("categories:", "dataset: {name: nowhere}\ncategories:", (), ["dataset", "'nowhere'"]),
        ("categories:", "dataset: {name: multihuman}\ncategories:", (), ["dataset", "needs a root"]),
        ("categories:", "dataset: {name: multihuman, root: gone}\ncategories:", (), ["dataset.root", "gone"]),
        ("[single, two_close]", "[three]", (), ["there is no scene"]),
        ("categories:", "names: [single_7]\ncategories:", (), ["names", "single_7"]),
        ("", "", ("--external", "theirs=nowhere"), ["--external theirs", "nowhere"]),
        ("", "", ("--external", "theirs={folder}"), ["--external theirs", "none of the 2 scenes", "person_<k>.ply"]),
        ("", "", ("--external", "body={folder}/ok"), ["--external body", "one of our methods"]),
    ],
)
def test_bad_input_is_named_before_any_work(tmp_path, source, capsys, before, after, more, words):
    (tmp_path / "ok" / "single_0").mkdir(parents=True)
    filled = [m.format(folder=tmp_path) for m in more]
    code, _ = rows(tmp_path, CONFIG.replace(before, after, 1) if before else CONFIG, *filled)
    message = capsys.readouterr().err
    assert code == 2 and all(w in message for w in words), message


def test_a_mesh_that_is_none_is_named(tmp_path, source, capsys):
    folder = tmp_path / "theirs" / "two_close_0"
    folder.mkdir(parents=True)
    (folder / "person_0.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 9\n")
    before = source.loaded
    code, _ = rows(tmp_path, CONFIG + "pictures: false\n", "--external", f"theirs={tmp_path / 'theirs'}")
    assert code == 2 and "person_0.ply" in capsys.readouterr().err and source.loaded == before


def test_a_hull_keeps_what_stands_behind_somebody_and_nothing_more():
    scene = SOURCE.load("two_close_0", 8)
    for k, person in enumerate(scene.people):
        centre = person.surface[0].mean(0)
        vertices, faces = visual_hull(scene.rig.cameras, scene.labels, k + 1, centre - 0.9, centre + 0.9, 0.04)
        away = np.linalg.norm(vertices - centre, axis=1)
        assert away.min() > CLOTHED - 0.02 and np.percentile(away, 75) < CLOTHED + 0.1
        other = scene.people[1 - k].surface[0].mean(0)
        assert np.linalg.norm(vertices - other, axis=1).min() > 0.5 * CLOTHED
        assert len(faces)
    two, centre = scene.rig.cameras[:1] + scene.rig.cameras[4:5], scene.people[0].surface[0].mean(0)
    vertices, faces = visual_hull(two, [scene.labels[k] for k in (0, 4)], 1, centre - 0.6, centre + 0.6, 0.05)
    assert len(faces) and np.abs(vertices - centre).max() < 0.66  # two cameras face to face leave it open
    nobody = visual_hull(scene.rig.cameras, [0 * image for image in scene.labels], 1, -np.ones(3), np.ones(3), 0.1)
    assert not len(nobody[1])


def test_rows_may_be_by_groups_of_scenes(tmp_path, source, capsys):
    text = CONFIG + "groups: {alone: [single_0], all: [single_0, two_close_0]}\n"
    code, found = rows(tmp_path, text.replace("scenes: 1\n", "").replace("[body, visual_hull]", "[body]"))
    assert code == 0 and [(r["category"], r["scenes"]) for r in found] == [("alone", 1), ("all", 2)]
    table = capsys.readouterr().out
    assert "alone" in table and "Published" not in table
    assert rows(tmp_path, CONFIG + "groups: {alone: [single_9]}\n")[0] == 2
    assert "groups.alone" in capsys.readouterr().err


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_the_configurations_that_come_along_are_good(path):
    config = read_section(path, Table1Benchmark, "benchmark's configuration", "table1.yaml")
    known = {name for category in CATEGORIES for name in open_synthetic(None).names(category)}
    assert set(config.methods) <= set(METHODS)
    assert {name for names in (config.groups or {}).values() for name in names} <= known
