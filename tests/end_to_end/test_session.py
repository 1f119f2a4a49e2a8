"""A whole session as a user runs it: rendered videos in, tracked bodies out, measured against the truth."""

import json

import numpy as np
import pygltflib
import pytest
import trimesh

from data.synthetic.capture import CaptureSpec, make_demo_capture
from tasks.demo import SESSION, joint_errors
from tests.tasks.walkers_session import command

CAMERAS, FRAMES = 4, 16
EXPORT = "export: {formats: [ply, glb], scene_meshes: true, simplify_mm: 0}\n"
"""Meshes as they are: what they are held against is exact."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    spec = CaptureSpec(cameras=CAMERAS, frames=FRAMES, fps=20, size=(640, 480), texture_size=256)
    make_demo_capture(folder / "capture", seed=0, spec=spec)
    (folder / "session.yaml").write_text(SESSION + EXPORT)
    done = command("run", folder / "session.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def export(demo):
    return demo / "run" / "export"


def test_people_are_where_they_are(demo, export):
    error = joint_errors(export / "skeletons.npz", demo / "capture" / "ground_truth.npz")
    assert error["people_found"] == error["people_true"] == 2
    assert error["coverage"] == 1.0
    assert error["joint_median_mm"] < 45 and error["joint_mean_mm"] < 60


def test_skeletons_keep_their_contract(export):
    with np.load(export / "skeletons.npz", allow_pickle=False) as arrays:
        assert arrays["joints"].shape == (FRAMES, 2, 19, 3) and arrays["joints"].dtype == np.float32
        assert arrays["confidence"].shape == (FRAMES, 2, 19)
        assert arrays["frames"].tolist() == list(range(FRAMES))
        assert arrays["person_ids"].tolist() == [0, 1]
        assert str(arrays["joint_set"]) == "SKEL-19" and arrays["joint_names"][0] == "mid_hip"
        assert np.allclose(arrays["time_s"], np.arange(FRAMES) / 20) and float(arrays["fps"]) == 20
        present = np.isfinite(arrays["joints"]).any((-1, -2))
        assert np.isfinite(arrays["joints"][present]).all()


def test_bodies_pose_to_the_exported_meshes(export):
    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel

    with np.load(export / "bodies.npz", allow_pickle=False) as arrays:
        bodies = {k: arrays[k] for k in arrays.files}
    assert bodies["betas"].shape == (2, 10) and bodies["body_pose"].shape == (FRAMES, 2, 63)
    assert bodies["valid"].mean() > 0.9
    import torch

    model = BodyModel(load_body_arrays(open_body_model()))
    frame, person = FRAMES // 2, 1
    poses = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "jaw_pose", "expression", "transl")
    given = {k: torch.as_tensor(bodies[k][frame, person][None]) for k in poses}
    with torch.no_grad():
        vertices = model(betas=torch.as_tensor(bodies["betas"][person][None]), **given).vertices[0].numpy()
    mesh = trimesh.load(export / "meshes" / "person_1" / f"frame_{frame:06d}.ply", process=False)
    assert np.abs(mesh.vertices - vertices).max() < 1e-4
    assert len(mesh.faces) == len(model.faces)


def test_every_frame_has_its_meshes_and_the_scene_holds_everybody(export):
    for name in ("person_0", "person_1", "scene"):
        assert len(list((export / "meshes" / name).glob("frame_*.ply"))) == FRAMES
    scene = trimesh.load(export / "meshes" / "scene" / "frame_000003.ply", process=False)
    one = trimesh.load(export / "meshes" / "person_0" / "frame_000003.ply", process=False)
    assert len(scene.vertices) == 2 * len(one.vertices)


def test_the_animated_scene_is_read_by_others(export):
    glb = pygltflib.GLTF2().load(str(export / "session.glb"))
    assert len(glb.skins) == 2 and len(glb.animations) == 1
    assert {n.name for n in glb.nodes} >= {"person_0", "person_1"}
    seconds = max(glb.accessors[s.input].max[0] for s in glb.animations[0].samplers)
    assert seconds == pytest.approx((FRAMES - 1) / 20, abs=1e-6)


def test_overlays_have_every_frame(export):
    import cv2

    for k in range(1, CAMERAS + 1):
        video = cv2.VideoCapture(str(export / "overlays" / f"cam{k}.mp4"))
        assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES
        video.release()


def test_the_report_says_what_was_found(export):
    summary = json.loads((export / "summary.json").read_text())
    assert summary["counts"]["people"] == 2 and summary["counts"]["frames"] == FRAMES
    assert {s["state"] for s in summary["stages"]} == {"done"}
    assert summary["counts"]["reprojection_median_px"] < 10
    for camera in summary["cameras"]:
        assert camera["silhouette_iou"] > 0.6 and camera["colour_error"] < 30
    page = (export / "report.html").read_text()
    assert "<script" not in page and "demo" in page and "data:image/jpeg" in page


def test_a_second_run_does_nothing_and_a_lost_file_is_made_again(demo, export):
    assert "nothing to do" in command("run", demo / "session.yaml").stdout
    (export / "meshes" / "person_0" / "frame_000005.ply").unlink()
    done = command("run", demo / "session.yaml")
    assert done.returncode == 0 and "1 parts made" in done.stdout
    assert (export / "meshes" / "person_0" / "frame_000005.ply").exists()


def test_inspect_draws_any_stage(demo, tmp_path):
    import cv2

    for stage in ("frames", "keypoints", "association", "identities", "bodies"):
        done = command("inspect", demo / "session.yaml", stage, "--frame", 5, "--camera", "cam2", "--image",
                       tmp_path / f"{stage}.png")  # fmt: skip
        assert done.returncode == 0, done.stderr
    plain, drawn = (cv2.imread(str(tmp_path / f"{s}.png")).astype(int) for s in ("frames", "bodies"))
    assert plain.shape == drawn.shape == (480, 640, 3)
    done = command("inspect", demo / "session.yaml", "export", "--frame", 5, "--compare", "--image",
                   tmp_path / "result.png")  # fmt: skip
    assert done.returncode == 0 and done.stdout.count("IoU 0.") == 2 * CAMERAS, done.stdout + done.stderr
    changed = np.abs(plain - drawn).max(-1) > 40
    assert 0.01 < changed.mean() < 0.6
    listed = command("inspect", demo / "run" / "cache" / "bodies" / "person_0.h5").stdout
    assert "body_pose" in listed and "parameters" in listed
