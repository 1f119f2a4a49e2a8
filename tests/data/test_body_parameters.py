"""Bodies fitted elsewhere: every layout gives the same skin, and what is not SMPL-X in metres is refused."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from data.body_models import load_body_arrays, open_body_model
from data.body_parameters import on_frames, people_in, read_body_parameters
from data.synthetic.body_scenes import SETTINGS, body_scene
from nets.body import BodyModel
from pipeline.errors import InputError
from pipeline.export.bodies import body_arrays, posed_vertices
from pipeline.export.parameters import smplx_arrays

FRAMES = 5


@pytest.fixture(scope="module")
def arrays():
    return load_body_arrays(open_body_model())


@pytest.fixture(scope="module")
def model(arrays):
    torch.set_num_threads(1)
    return BodyModel(arrays)


@pytest.fixture(scope="module")
def people(model):
    return dict(zip((0, 4), body_scene(model, "hugging", SETTINGS["six_cameras"], 0, FRAMES).people, strict=True))


def same_skin(model, found, known):
    assert np.array_equal(found.frames, known.frames)
    rows = np.arange(FRAMES)
    assert np.abs(posed_vertices(model, found, rows) - posed_vertices(model, known, rows)).max() < 1e-4
    assert found.valid.all()


def test_what_troupe_exports_comes_back(tmp_path, arrays, model, people):
    np.savez(tmp_path / "bodies.npz", **body_arrays(people, 30.0, "open neutral"))
    (tmp_path / "amass").mkdir()
    for i, body in people.items():
        np.savez(tmp_path / "amass" / f"person_{i}_smplx.npz", **smplx_arrays(body, "neutral", 30.0))
    for path in (tmp_path / "bodies.npz", tmp_path / "amass"):
        assert people_in(path) == (0, 4)
        found = read_body_parameters(path, arrays)
        for i, body in people.items():
            same_skin(model, found[i], body)


def test_separate_smplx_names_are_read(tmp_path, arrays, model, people):
    names = ("global_orient", "body_pose", "transl", "betas", "left_hand_pose", "right_hand_pose")
    np.savez(tmp_path / "one.npz", **{n: getattr(people[4], n) for n in names})
    same_skin(model, read_body_parameters(tmp_path / "one.npz", arrays)[0], people[4])


def easymocap(folder, people, arrays, number_of_poses=87):
    """As EasyMocap writes: turned and moved about the model's origin, hands as coefficients of their components."""
    folder.mkdir()
    for f in range(FRAMES):
        entries = []
        for i, body in people.items():
            rest = arrays["J_regressor"][0] @ (arrays["v_template"] + arrays["shapedirs"][:, :, :10] @ body.betas)
            turn = Rotation.from_rotvec(body.global_orient[f].astype(float))
            poses = np.concatenate([np.zeros(3), body.body_pose[f], np.zeros(21)])[:number_of_poses]
            entries.append({
                "id": i, "Rh": [body.global_orient[f].tolist()],
                "Th": [(body.transl[f] + rest - turn.apply(rest)).tolist()],
                "poses": [poses.tolist()], "shapes": [body.betas.tolist()], "expression": [[0.0] * 10],
            })  # fmt: skip
        (folder / f"{f:06d}.json").write_text(json.dumps(entries))
    return folder


def test_easymocap_turns_about_another_point(tmp_path, arrays, model, people):
    folder = easymocap(tmp_path / "smplx", people, arrays)
    assert people_in(folder) == (0, 4)
    found = read_body_parameters(folder, arrays)
    for i, body in people.items():
        same_skin(model, found[i], body)  # coefficients of zero are the model's mean hands, which are relaxed


def test_what_is_no_body_of_ours_is_refused(tmp_path, arrays, people):
    def fails(path, words):
        with pytest.raises(InputError, match=words):
            read_body_parameters(path, arrays)

    fails(easymocap(tmp_path / "smpl", people, arrays, 72), "of SMPL")
    body = smplx_arrays(people[0], "neutral", 30.0)
    np.savez(tmp_path / "millimetres.npz", **(body | {"trans": body["trans"] * 1000}))
    fails(tmp_path / "millimetres.npz", "metres")
    np.savez(tmp_path / "short.npz", **(body | {"pose_body": body["pose_body"][:, :60]}))
    fails(tmp_path / "short.npz", "body_pose")
    np.savez(tmp_path / "unshaped.npz", **{k: v for k, v in body.items() if k != "betas"})
    fails(tmp_path / "unshaped.npz", "betas")
    np.savez(tmp_path / "pickled.npz", poses=np.array([{"a": 1}], dtype=object))
    fails(tmp_path / "pickled.npz", "unpickling")
    (tmp_path / "text.npz").write_text("no archive")
    fails(tmp_path / "text.npz", "npz")
    fails(tmp_path / "absent.npz", "no such file")


def test_frames_without_a_body_are_absent(people):
    body = on_frames(people[0], np.arange(3, 8))
    assert body.valid.tolist() == [True, True, False, False, False]
    assert np.isnan(body.transl[2:]).all()
