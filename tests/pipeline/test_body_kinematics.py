"""The solver's closed forms against numbers that do not depend on them."""

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag
from scipy.spatial.transform import Rotation

from nets.body import BodyModel
from pipeline.body.anatomy import joint_ranges
from pipeline.body.kinematics import UNKNOWNS, Kinematics, OffsetBasis, State
from pipeline.body.observations import Observations
from pipeline.body.problem import NormalEquations, Problem, Weights
from pipeline.body.regressor import regress, regressor_for
from pipeline.body.rotations import exponential, logarithm, logarithm_jacobian, swing
from pipeline.body.solver import LARGEST_TURN, newton_step, solve
from pipeline.body.terms import Floor, Skin
from pipeline.skeletons import SKEL19, SMPLX55
from tests.pipeline.small_body import small_body_arrays

FRAMES = 6


@pytest.fixture(scope="module")
def model() -> BodyModel:
    arrays = small_body_arrays()
    names = [n for n in SKEL19.joints if n not in SMPLX55.joints and n not in ("mid_hip", "neck")]
    arrays["troupe_keypoint_names"] = np.array(names)
    arrays["troupe_keypoint_vertices"] = np.arange(len(names)) * 31 + 5
    arrays["posedirs"] = np.random.default_rng(3).normal(scale=1e-3, size=(len(arrays["v_template"]), 3, 486))
    return BodyModel(arrays, torch.float64)


@pytest.fixture(scope="module")
def kinematics(model) -> Kinematics:
    regressor = regressor_for(model)
    return Kinematics(model, regressor, OffsetBasis.symmetric(regressor))


def random_state(kinematics: Kinematics, seed: int = 0, turn: float = 0.4) -> State:
    rng = np.random.default_rng(seed)
    rotations = exponential(rng.normal(scale=turn, size=(FRAMES, 22, 3)))
    offsets = rng.normal(scale=0.03, size=kinematics.basis.matrix.shape[2])
    return State(rng.normal(size=(FRAMES, 3)), rotations, rng.normal(size=10), offsets)


def random_problem(kinematics: Kinematics, state: State, kernel: float = np.inf, offset_m: float = 0.02) -> Problem:
    rng = np.random.default_rng(9)
    points = kinematics.points(state)
    R = Rotation.random(3, random_state=1).as_matrix()
    projections = np.array([[800, 0, 400], [0, 800, 300], [0, 0, 1.0]]) @ np.concatenate(
        [R, np.tile([[[0.0], [0.0], [9.0]]], (3, 1, 1))], 2
    )
    pixels = rng.uniform(200, 500, (FRAMES, 3, 19, 2))
    times = np.cumsum(rng.uniform(0.02, 0.06, FRAMES))
    joints = points + rng.normal(scale=0.05, size=points.shape)
    obs = Observations(
        np.arange(FRAMES), times, joints, rng.random((FRAMES, 19)), pixels, rng.random((FRAMES, 3, 19)), projections,
        np.array([0, 0, 1.0]),
    )  # fmt: skip
    weights = Weights(np.full(19, 0.03), np.full(19, 20.0), kernel, 10.0, 60.0, offset_m)
    return Problem(kinematics, obs, weights)


def test_points_are_those_of_the_skinning_layer(model, kinematics):
    state = random_state(kinematics)
    regressor = kinematics.regressor.with_offsets(kinematics.basis.matrix @ state.offsets)
    r = logarithm(state.rotations)
    parameters = {"global_orient": r[:, 0], "body_pose": r[:, 1:].reshape(FRAMES, 63), "transl": state.transl}
    expected = regress(model, regressor, parameters | {"betas": state.betas})
    assert np.abs(kinematics.points(state) - expected).max() < 1e-5


def test_derivatives_are_those_of_finite_differences(model):
    # Pose blend shapes are left out of the derivative on purpose: a body without them shows the rest exactly.
    arrays = small_body_arrays() | {
        "troupe_keypoint_names": np.array([n for n in SKEL19.joints if "ear" in n or "toe" in n or n == "nose"]),
        "troupe_keypoint_vertices": np.array([3, 50, 90, 200, 300]),
    }
    regressor = regressor_for(BodyModel(arrays, torch.float64))
    plain = Kinematics(BodyModel(arrays, torch.float64), regressor, OffsetBasis.symmetric(regressor))
    state = random_state(plain)
    _, by_frame, by_track = plain.linearised(state)
    h = 1e-6
    for k in range(UNKNOWNS):
        step = np.zeros((FRAMES, UNKNOWNS))
        step[:, k] = h
        still = np.zeros(plain.shared_count)
        numeric = (plain.points(state.moved(step, still)) - plain.points(state.moved(-step, still))) / (2 * h)
        assert np.abs(numeric - by_frame[..., k]).max() < 1e-7
    for k in range(plain.shared_count):
        step = np.zeros(plain.shared_count)
        step[k] = h
        still = np.zeros((FRAMES, UNKNOWNS))
        numeric = (plain.points(state.moved(still, step)) - plain.points(state.moved(still, -step))) / (2 * h)
        assert np.abs(numeric - by_track[..., k]).max() < 1e-7


def test_logarithm_its_jacobian_and_swing():
    rng = np.random.default_rng(0)
    r = rng.normal(size=(50, 3)) * np.geomspace(1e-6, 1.2, 50)[:, None]
    assert np.abs(logarithm(exponential(r)) - r).max() < 1e-9
    half_turns = Rotation.from_rotvec([[np.pi - 1e-4, 0, 0], [0, 3.13, 0.01]])
    turned = Rotation.from_rotvec(logarithm(half_turns.as_matrix())) * half_turns.inv()
    assert turned.magnitude().max() < 1e-7
    h = 1e-6
    for axis in np.eye(3):
        small = exponential(h * axis), exponential(-h * axis)
        numeric = (logarithm(exponential(r) @ small[0]) - logarithm(exponential(r) @ small[1])) / (2 * h)
        assert np.abs(numeric - logarithm_jacobian(r) @ axis).max() < 1e-6
    a, b = rng.normal(size=(2, 20, 3))
    a[0] = -b[0]
    assert np.allclose(np.cross((swing(a, b) @ a[..., None])[..., 0], b), 0, atol=1e-7)


@pytest.mark.parametrize("kernel", [np.inf, 3.0])
def test_gradient_of_the_cost_is_that_of_finite_differences(kinematics, kernel):
    # Small turns and rates: the change of joint angles is linearised as if rotations commuted.
    state = random_state(kinematics, 1, turn=1e-4)
    problem = random_problem(kinematics, state, kernel)
    equations = problem.normal_equations(state)
    rng = np.random.default_rng(2)
    for _ in range(5):
        step, shared = rng.normal(size=(FRAMES, UNKNOWNS)) * 1e-6, rng.normal(size=kinematics.shared_count) * 1e-6
        numeric = problem.cost(state.moved(step, shared)) - problem.cost(state.moved(-step, -shared))
        analytic = 4 * ((equations.gradient * step).sum() + equations.shared_gradient @ shared)
        assert numeric == pytest.approx(analytic, rel=2e-3)


def test_gradient_of_the_floor_is_that_of_finite_differences(model):
    plain = Kinematics(model, regressor_for(model))
    state = random_state(plain, 5)
    skin = Skin(model, np.arange(8) * 40, plain)
    points = skin.points(state)
    times = np.arange(FRAMES) / 30.0
    planted = np.random.default_rng(1).random((FRAMES, 8)) < 0.7
    floor = Floor(skin, np.array([0, 0, 1.0]), float(np.median(points[..., 2])), planted, np.full(8, 0.01), times)

    def equations() -> NormalEquations:
        n, s = UNKNOWNS, plain.shared_count
        blocks = tuple(np.zeros((FRAMES - b, n, n)) for b in range(3))
        return NormalEquations(blocks, np.zeros((FRAMES, n)), np.zeros((FRAMES, n, s)), np.zeros((s, s)), np.zeros(s))

    found = equations()
    floor.add(state, found)
    rng = np.random.default_rng(2)
    step, shared = rng.normal(size=(FRAMES, UNKNOWNS)) * 1e-6, rng.normal(size=plain.shared_count) * 1e-6
    numeric = floor.cost(state.moved(step, shared)) - floor.cost(state.moved(-step, -shared))
    assert numeric == pytest.approx(4 * ((found.gradient * step).sum() + found.shared_gradient @ shared), rel=1e-2)


def test_the_banded_step_is_that_of_the_whole_matrix(kinematics):
    state = random_state(kinematics, 4)
    equations = random_problem(kinematics, state).normal_equations(state)
    n, s = FRAMES * UNKNOWNS, kinematics.shared_count
    H = np.zeros((n + s, n + s))
    H[:n, :n] = block_diag(*equations.blocks[0])
    for b in (1, 2):
        for t in range(FRAMES - b):
            rows, columns = np.s_[t * UNKNOWNS : (t + 1) * UNKNOWNS], np.s_[(t + b) * UNKNOWNS : (t + b + 1) * UNKNOWNS]
            H[rows, columns], H[columns, rows] = equations.blocks[b][t], equations.blocks[b][t].T
    H[:n, n:] = equations.mixed.reshape(n, s)
    H[n:, :n] = H[:n, n:].T
    H[n:, n:] = equations.shared
    assert np.linalg.eigvalsh(H).min() > -1e-6 * np.linalg.eigvalsh(H).max()
    damping = 10.0  # steps short enough not to be bounded
    H[np.diag_indices(n + s)] *= 1 + damping
    H[np.diag_indices(n)] += 1e-6
    g = np.concatenate([equations.gradient.ravel(), equations.shared_gradient])
    dense = -np.linalg.solve(H, g)
    step, shared = newton_step(equations, damping, True)
    turns = np.linalg.norm(dense[:n].reshape(FRAMES, -1)[:, 3:].reshape(FRAMES, -1, 3), axis=-1)
    assert turns.max() < LARGEST_TURN
    assert np.allclose(step.ravel(), dense[:n], rtol=1e-5, atol=1e-8)
    assert np.allclose(shared, dense[n:], rtol=1e-5, atol=1e-8)


def test_the_solver_only_goes_down_and_holds_the_shape_when_told(kinematics):
    state = random_state(kinematics, 5, turn=0.2)
    problem = random_problem(kinematics, state)
    solution = solve(problem, state, iterations=8)
    assert solution.cost < problem.cost(state)
    fixed = Weights(np.full(19, 0.03), np.full(19, 20.0), np.inf, 10.0, 60.0, 0.02, beta=0.0)
    held = solve(Problem(kinematics, problem.obs, fixed), state, iterations=3).state
    assert np.array_equal(held.betas, state.betas)
    assert np.array_equal(held.offsets, state.offsets)


def test_ranges_are_mirror_images_and_hold_their_means():
    low, high, mean, deviation = joint_ranges()
    names = list(SMPLX55.joints[1:22])
    for k, name in enumerate(names):
        assert (low[k] <= mean[k]).all(), name
        assert (mean[k] <= high[k]).all(), name
        if name.startswith("left_"):
            other = names.index("right_" + name[5:])
            flip = np.array([1, -1, -1])
            assert np.allclose(mean[other], mean[k] * flip)
            assert np.allclose(low[other, 1:], -high[k, 1:])
            assert np.allclose(deviation[other], deviation[k])
