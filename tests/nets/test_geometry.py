import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nets import geometry as g


def rotation_vectors(seed: int = 0) -> np.ndarray:
    """Directions at random; angles from zero through tiny ones to half a turn."""
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(400, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.concatenate([[0.0], np.geomspace(1e-9, 0.2, 199), np.linspace(0.2, np.pi - 1e-6, 200)])
    return axes * angles[:, None]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-3)])
def test_axis_angle_survives_the_way_through_matrices_up_to_half_a_turn(dtype, tolerance):
    vectors = rotation_vectors()
    matrices = g.matrix_from_axis_angle(torch.tensor(vectors, dtype=dtype))
    assert np.allclose(matrices.double(), Rotation.from_rotvec(vectors).as_matrix(), atol=2e-6)
    back = g.axis_angle_from_matrix(matrices).double().numpy()
    apart = np.linalg.norm(back - vectors, axis=1)
    assert apart[np.linalg.norm(vectors, axis=1) < 3.1].max() < tolerance
    turned = Rotation.from_rotvec(back) * Rotation.from_rotvec(vectors).inv()
    assert turned.magnitude().max() < tolerance


def test_gradients_are_right_at_zero_and_across_the_series_border():
    for scale in (0.0, 1e-6, 0.0099, 0.0101, 0.5):
        r = (torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64) * scale).requires_grad_()
        assert torch.autograd.gradcheck(g.matrix_from_axis_angle, r)
        there_and_back = torch.autograd.functional.jacobian(
            lambda x: g.axis_angle_from_matrix(g.matrix_from_axis_angle(x)).sum(0), r
        )
        assert torch.allclose(there_and_back[:, 0], torch.eye(3, dtype=torch.float64), atol=1e-7)


def test_quaternions_and_the_six_number_form_hold_the_same_rotation():
    R = g.matrix_from_axis_angle(torch.tensor(rotation_vectors(1)))
    assert torch.allclose(g.matrix_from_quaternion(g.quaternion_from_matrix(R)), R, atol=1e-9)
    assert torch.allclose(g.matrix_from_six(g.six_from_matrix(R)), R, atol=1e-9)
    stretched = g.six_from_matrix(R) * 3.0
    assert torch.allclose(g.matrix_from_six(stretched), R, atol=1e-9)


def test_swing_turns_one_direction_into_the_other_even_when_opposite():
    rng = np.random.default_rng(2)
    a = torch.tensor(rng.normal(size=(50, 3)))
    b = torch.tensor(rng.normal(size=(50, 3)))
    b[0], b[1] = -a[0], a[1] * 2
    R = g.swing_between(a, b)
    unit = torch.nn.functional.normalize
    assert torch.allclose((R @ unit(a, dim=-1)[..., None]).squeeze(-1), unit(b, dim=-1), atol=1e-6)
    assert torch.allclose(torch.linalg.det(R), torch.ones(50, dtype=torch.float64))
    assert torch.allclose(R[1], torch.eye(3, dtype=torch.float64), atol=1e-9)
