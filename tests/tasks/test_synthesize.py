"""``synthesize`` as a user meets it: captures on disk that agree with their truth, made once, refused where wrong."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

import run_pipeline
from data.calibration.reader import read_calibration
from data.synthetic import wardrobe
from data.synthetic.adults import Adults
from data.synthetic.recording import depth_of, normals_of
from data.synthetic.truth import GroundTruth
from pipeline.artifacts import Artifact
from pipeline.config import load_session, read_section
from pipeline.meshes.sequence import MeshSequence
from pipeline.raster_open3d import Open3DRaster
from tasks.synthesize import EXAMPLE, CapturesConfig, SynthesizeConfig

ROOT = Path(run_pipeline.__file__).parent

CONFIG = """\
output: made
seed: 5
workers: 1
captures:
  count: 1
  categories: [two_natural]
  frames: 2
  people: {genders: [female], ages: [30, 40]}
  cameras: {counts: [2], size: [200, 150]}
  truth: {mesh_detail_m: 0.012}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthesize")
    (folder / "config.yaml").write_text(CONFIG)
    assert run_pipeline.main(["synthesize", str(folder / "config.yaml")]) == 0
    return folder


@pytest.fixture(scope="module")
def capture(made):
    return made / "made" / "capture_0000"


def test_the_example_is_a_configuration():
    config = read_section(ROOT / EXAMPLE, SynthesizeConfig, "configuration", EXAMPLE)
    assert config.captures == SynthesizeConfig(output="x", captures=CapturesConfig(count=5)).captures


def pictures(path):
    with av.open(str(path)) as video:
        return np.stack([f.to_ndarray(format="rgb24") for f in video.decode(video=0)])


def test_a_capture_can_be_run_as_it_lies_there(capture):
    session = load_session(capture / "session.yaml")
    rig = read_calibration(session.resolve(session.config.capture.calibration))
    assert rig.names == GroundTruth.read(capture).rig.names == ("cam1", "cam2")
    for name in rig.names:
        assert pictures(capture / "videos" / f"{name}.mp4").shape == (2, 150, 200, 3)


def test_depth_normals_and_labels_are_those_of_the_true_surfaces(capture):
    truth = GroundTruth.read(capture)
    with Artifact(capture / "ground_truth.h5", "capture_truth") as file:
        people = []
        for k in file["person_ids"]:
            with Artifact(capture / "meshes" / f"person_{k}.h5", "surface") as meshes:
                people.append(MeshSequence(meshes).mesh(1))
        for c, camera in enumerate(truth.rig.cameras):
            row = 1 * len(truth.rig) + c
            depth, normals = depth_of(file.encoded("depth", row)), normals_of(file.encoded("normals", row))
            labels = truth.labels(1, c)
            assert file.encoded("labels", row) == truth.label_files[row]
            views = [Open3DRaster(1).render(p.vertices, p.faces, camera) for p in people]
            nearest = np.min([v.depth for v in views], 0)
            on = np.isfinite(depth) & np.isfinite(nearest) & (labels > 0)
            assert on.sum() > 500 and np.quantile(np.abs(depth[on] - nearest[on]), 0.9) < 0.01
            for k, view in enumerate(views):
                mine = on & (labels == k + 1) & (view.depth <= nearest)
                assert mine.sum() > 100
                assert (normals[mine] * view.normal[mine]).sum(-1).mean() > 0.85


def test_keypoints_are_the_joints_and_seen_where_they_are(capture):
    truth = GroundTruth.read(capture)
    with Artifact(capture / "ground_truth.h5", "capture_truth") as file:
        keypoints, visible, hidden = file["keypoints"], file["visible"], file["hidden"]
        assert file.attribute("category") == "two_natural" and len(file.attribute("identities")) == 2
        np.testing.assert_allclose(file["joints"], truth.joints, atol=1e-6)
        for c, camera in enumerate(truth.rig.cameras):
            np.testing.assert_allclose(keypoints[c], camera.project(truth.joints), atol=1e-3)
            for f in range(2):
                labels = truth.labels(f, c)
                u, v = np.round(keypoints[c, f]).astype(int).transpose(2, 0, 1)
                inside = (u >= 0) & (u < 200) & (v >= 0) & (v < 150)
                assert (inside == (visible[c, f] > 0)).all()
                for p in range(2):
                    seen = visible[c, f, p] == 2
                    others = labels[v[p][seen], u[p][seen]] == 2 - p
                    assert seen.sum() >= 5 and others.mean() < 0.1
        assert ((hidden >= 0) & (hidden <= 1)).all()


def test_the_truth_tells_gender_and_age_and_the_body_is_theirs(capture):
    with Artifact(capture / "ground_truth.h5", "capture_truth") as file:
        told = file.attribute("identities")
    for k, who in enumerate(told):
        assert (who["split"], who["number"], who["gender"]) == ("train", k, "female") and 30 <= who["age"] <= 40
        expected = wardrobe.person("train", k, adults=Adults(("female",), (30.0, 40.0)))
        np.testing.assert_array_equal(GroundTruth.read(capture).people[k].betas, expected.betas)


def test_a_whole_capture_is_not_made_again_and_a_broken_one_is(made, capture, capsys):
    stamp = (capture / "videos" / "cam1.mp4").stat().st_mtime_ns
    assert run_pipeline.main(["synthesize", str(made / "config.yaml")]) == 0
    assert "0 made now" in capsys.readouterr().out
    assert (capture / "videos" / "cam1.mp4").stat().st_mtime_ns == stamp
    video = (capture / "videos" / "cam1.mp4").read_bytes()
    (capture / "ground_truth.h5").unlink()
    assert run_pipeline.main(["synthesize", str(made / "config.yaml")]) == 0
    assert "1 made now" in capsys.readouterr().out
    with Artifact(capture / "ground_truth.h5", "capture_truth") as again:
        joints = again["joints"]
    np.testing.assert_array_equal(joints, GroundTruth.read(capture).joints)
    assert (capture / "videos" / "cam1.mp4").read_bytes() == video  # the same seed gives the same


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("seed: 5", "sead: 5"), "sead"),
        (lambda t: t.replace("[200, 150]", "[201, 150]"), "even"),
        (lambda t: t.replace("two_natural", "four"), "categories"),
        (lambda t: t.replace("  frames: 2", "  frames: 0"), "frames"),
        (lambda t: t.replace("  frames: 2", "  frames: 2\n  motions: nowhere"), "no *.bvh"),
        (lambda t: t.replace("  frames: 2", "  frames: 2\n  clothes: nowhere"), "no *.mhclo"),
        (lambda t: t.replace("[30, 40]", "[12, 40]"), "between 25 and 70"),
        (lambda t: t.replace("[female]", "[robot]"), "genders"),
        (lambda t: t[: t.index("captures")], "neither captures nor stills"),
        (lambda t: t.replace("output: made", "output: config.yaml"), "no folder"),
    ],
    ids="key size category frames motions clothes age gender nothing output".split(),
)
def test_wrong_settings_are_named_before_anything_is_made(tmp_path, capsys, change, said):
    (tmp_path / "config.yaml").write_text(change(CONFIG))
    assert run_pipeline.main(["synthesize", str(tmp_path / "config.yaml")]) == 2
    assert said in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


def test_stills_are_made_with_their_truth(tmp_path, capsys):
    from data.still_samples import StillFiles

    (tmp_path / "config.yaml").write_text(
        "output: made\nstills: {count: 2, size: [208, 128], people: [2, 3], wearers: 2, poses: 1}\n"
    )
    assert run_pipeline.main(["synthesize", str(tmp_path / "config.yaml")]) == 0
    stills = StillFiles(sorted((tmp_path / "made").rglob("scenes*/*.npz")))
    assert len(stills) == 2 and stills[0].image.shape == (128, 208, 3)
    assert "2 pictures" in capsys.readouterr().out
