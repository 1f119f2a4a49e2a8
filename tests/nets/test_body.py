import contextlib
import io

import numpy as np
import pytest
import torch

from nets.body import BodyModel, shape_columns
from pipeline.skeletons import SMPLX55_PARENTS

VERTICES = 9940  # smplx picks keypoint vertices up to number 9929


def random_arrays(seed: int, columns: int = 20, pose_shapes: bool = True) -> dict[str, np.ndarray]:
    """A body in SMPL-X format that looks like nothing, but in which every number counts."""
    rng = np.random.default_rng(seed)
    weights = rng.random((VERTICES, 55)) ** 8
    regressor = np.zeros((55, VERTICES))
    for row in regressor:
        row[rng.choice(VERTICES, 20, replace=False)] = rng.dirichlet(np.ones(20))
    posedirs = rng.normal(scale=0.01, size=(VERTICES, 3, 486)) if pose_shapes else np.zeros((VERTICES, 3, 486))
    contour = rng.dirichlet(np.ones(3), (79, 17))
    return {
        "v_template": rng.normal(scale=0.5, size=(VERTICES, 3)),
        "f": rng.integers(0, VERTICES, (400, 3)).astype(np.uint32),
        "shapedirs": rng.normal(scale=0.02, size=(VERTICES, 3, columns)),
        "posedirs": posedirs,
        "J_regressor": regressor,
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.stack([SMPLX55_PARENTS.astype(np.uint32), np.arange(55, dtype=np.uint32)]),
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
        "hands_meanl": rng.normal(size=45),
        "hands_meanr": rng.normal(size=45),
        "lmk_faces_idx": rng.integers(0, 400, 51),
        "lmk_bary_coords": rng.dirichlet(np.ones(3), 51),
        "dynamic_lmk_faces_idx": rng.integers(0, 400, (79, 17)),
        "dynamic_lmk_bary_coords": contour,
    }


def random_parameters(seed: int, batch: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    widths = dict.fromkeys(("global_orient", "jaw_pose", "leye_pose", "reye_pose", "transl"), 3)
    widths |= {"betas": 10, "expression": 10, "body_pose": 63, "left_hand_pose": 45, "right_hand_pose": 45}
    return {k: torch.randn(batch, n, generator=generator) * (0.6 if "pose" in k else 1.0) for k, n in widths.items()}


def smplx_model(path, batch: int):
    import smplx

    with contextlib.redirect_stdout(io.StringIO()):
        return smplx.create(
            str(path), model_type="smplx", ext="npz", use_pca=False, flat_hand_mean=True, num_betas=10,
            num_expression_coeffs=10, use_face_contour=False, batch_size=batch,
        )  # fmt: skip


@pytest.mark.parametrize(("columns", "pose_shapes"), [(20, False), (20, True), (400, True)])
def test_joints_and_vertices_equal_the_smplx_package(tmp_path, columns, pose_shapes):
    arrays = random_arrays(columns, columns, pose_shapes)
    np.savez(tmp_path / "SMPLX_NEUTRAL.npz", **arrays)
    parameters = random_parameters(1)
    with torch.no_grad():
        theirs = smplx_model(tmp_path / "SMPLX_NEUTRAL.npz", 4)(**parameters)
        ours = BodyModel(arrays)(**parameters)
        exact = BodyModel(arrays, torch.float64)(**{k: v.double() for k, v in parameters.items()})
    assert (ours.vertices - theirs.vertices).abs().max() < 1e-5
    assert (ours.joints - theirs.joints[:, :55]).abs().max() < 1e-5
    assert (exact.vertices - theirs.vertices).abs().max() < 1e-5


def test_the_open_model_poses_as_in_the_smplx_package(tmp_path):
    from data.body_models import load_body_arrays, open_body_model

    path, parameters = open_body_model(), random_parameters(3, batch=2)
    arrays = load_body_arrays(path)
    (tmp_path / "SMPLX_NEUTRAL.npz").symlink_to(path)
    with torch.no_grad():
        theirs = smplx_model(tmp_path / "SMPLX_NEUTRAL.npz", 2)(**parameters)
        ours = BodyModel(arrays)(**parameters)
    assert (ours.vertices - theirs.vertices).abs().max() < 1e-5
    assert (ours.joints - theirs.joints[:, :55]).abs().max() < 1e-5


def test_cheap_paths_equal_the_full_one():
    arrays = random_arrays(5)
    model, parameters = BodyModel(arrays, torch.float64), random_parameters(6)
    parameters = {k: v.double() for k, v in parameters.items()}
    full = model(**parameters)
    assert torch.allclose(model.joints_only(**parameters), full.joints, atol=1e-12)
    picks = torch.tensor([3, 9000, 17])
    assert torch.allclose(model.landmarks(picks, **parameters), full.vertices[:, picks], atol=1e-12)
    sets = torch.tensor([[1, 2, 3], [40, 50, 60]])
    weights = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], dtype=torch.float64)
    expected = (full.vertices[:, sets] * weights[..., None]).sum(2)
    assert torch.allclose(model.landmarks(sets, weights, **parameters), expected, atol=1e-12)
    rest = model.rest_joints(parameters["betas"], parameters["expression"])
    unposed = model.joints_only(betas=parameters["betas"], expression=parameters["expression"])
    assert torch.allclose(rest, unposed, atol=1e-12)


def test_one_shape_serves_a_whole_track_and_what_is_left_out_is_zero():
    model, parameters = BodyModel(random_arrays(7)), random_parameters(8)
    shared = model(betas=parameters["betas"][:1], body_pose=parameters["body_pose"])
    spelt_out = model(
        betas=parameters["betas"][:1].expand(4, -1),
        body_pose=parameters["body_pose"],
        transl=torch.zeros(4, 3),
        global_orient=None,
    )
    assert torch.allclose(shared.vertices, spelt_out.vertices, atol=1e-6)
    with pytest.raises(TypeError, match="body_poze"):
        model(body_poze=parameters["body_pose"])


def test_gradients_reach_every_parameter_from_rest():
    model = BodyModel(random_arrays(9), torch.float64)
    parameters = {k: torch.zeros_like(v[:2]).double().requires_grad_() for k, v in random_parameters(0).items()}
    output = model(**parameters)
    (output.vertices.square().sum() + output.joints.square().sum()).backward()
    for name, value in parameters.items():
        assert torch.isfinite(value.grad).all(), name
        assert value.grad.abs().min() > 0, name


def test_columns_of_licensed_files_and_wrong_shapes():
    assert shape_columns(20) == list(range(20))
    assert shape_columns(400) == [*range(10), *range(300, 310)]
    arrays = random_arrays(11, pose_shapes=False)
    arrays["weights"] = arrays["weights"][:, :24]
    with pytest.raises(ValueError, match="weights"):
        BodyModel(arrays)
