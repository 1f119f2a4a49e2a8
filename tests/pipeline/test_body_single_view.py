"""Bodies from one view against bodies that are known: poses, distances, a common floor, nobody inside anybody."""

import numpy as np
import pytest

from pipeline.body.kinematics import State
from pipeline.body.rotations import exponential, swing
from pipeline.body.silhouette import state_vertices
from pipeline.body.single_view import SingleView, View
from pipeline.body.together import Body, Together, find_ground, stature_scales
from pipeline.skeletons import SKEL19

FOCAL, PRINCIPAL = 1000.0, np.array([319.5, 239.5])
LEVEL = np.array([np.pi, 0.0, 0.0])
"""Stands upright before the camera and looks at it."""


@pytest.fixture(scope="module")
def single(model):
    return SingleView(model)


@pytest.fixture(scope="module")
def together(model, single):
    return Together(model, single)


def person(seed, place, betas=(), stand=False, turn=0.0):
    """A known state; ``place`` of the pelvis."""
    g = np.random.default_rng(seed)
    vectors = np.zeros((22, 3)) if stand else g.normal(0, 0.15, (22, 3))
    rotations = exponential(vectors[None])
    rotations[0, 0] = exponential(LEVEL) @ exponential(np.array([0.0, turn, 0.0])) @ rotations[0, 0]
    shape = np.zeros(10)
    shape[: len(betas)] = betas
    return State(np.array([place], np.float64), rotations, shape, np.zeros(0))


def seen(single, state, seed=0, pixel=1.0, guess_m=0.04, hidden=()):
    """What a detector would say of it."""
    g = np.random.default_rng(seed)
    points = single.kinematics.points(state)[0]
    pixels = points[:, :2] * FOCAL / points[:, 2:] + PRINCIPAL
    weights = np.ones(19)
    weights[[SKEL19.index(n) for n in hidden]] = 0.0
    ray = points.mean(0) / np.linalg.norm(points.mean(0))
    straight = (points - points[SKEL19.index("mid_hip")]) @ swing(ray, np.array([0.0, 0.0, 1.0])).T
    height = float(np.ptp(pixels[:, 1]))
    pixels = pixels + g.normal(0, pixel, pixels.shape)
    return View(pixels, weights, straight + g.normal(0, guess_m, straight.shape), height)


def fitted(single, state, **how):
    view = seen(single, state, **how)
    return Body(view, *single.fit(view, FOCAL, PRINCIPAL))


def errors(single, found, true):
    """(19,) metres about the mid hip."""
    a, b = (single.kinematics.points(s)[0] for s in (found, true))
    root = SKEL19.index("mid_hip")
    return np.linalg.norm((a - a[root]) - (b - b[root]), axis=1)


@pytest.mark.parametrize(("seed", "place"), [(0, (0.0, 0.0, 4.0)), (1, (1.2, 0.3, 5.0)), (2, (-0.8, 0.0, 3.0))])
def test_pose_and_place_of_a_body_of_mean_size(single, seed, place):
    true = person(seed, place, turn=0.5 * seed)
    found = fitted(single, true, seed=seed).state
    assert errors(single, found, true).mean() < 0.05  # the guess alone is 0.09 off
    assert np.abs(found.transl[0] - true.transl[0])[:2].max() < 0.06
    assert abs(found.transl[0, 2] / true.transl[0, 2] - 1) < 0.05


def test_hidden_legs_follow_the_guess(single):
    true = person(3, (0.0, 0.0, 3.0))
    legs = [f"{side}_{j}" for side in ("left", "right") for j in ("knee", "ankle", "big_toe")]
    found = fitted(single, true, hidden=legs).state
    away = errors(single, found, true)
    shown = [k for k, n in enumerate(SKEL19.joints) if n not in legs]
    assert away[shown].mean() < 0.05 and away.mean() < 0.08


def test_pixels_overrule_a_guess_of_another_pose(single):
    true = person(4, (0.0, 0.0, 4.0))
    view = seen(single, true)
    wrong = view.guess.copy()
    wrong[SKEL19.index("left_wrist")] += [0.3, 0.3, 0.0]
    state, _ = single.fit(View(view.pixels, view.weights, wrong, view.height), FOCAL, PRINCIPAL)
    wrist = single.kinematics.points(state)[0, SKEL19.index("left_wrist")]
    pixel = wrist[:2] * FOCAL / wrist[2] + PRINCIPAL
    assert np.linalg.norm(pixel - view.pixels[SKEL19.index("left_wrist")]) < 12


def standing(single, model, z, x, betas, pitch):
    """Somebody upright on a floor 1.5 m below a camera that is pitched down."""
    state = person(0, (0.0, 0.0, 0.0), betas, stand=True)
    lowest = state_vertices(model, state)[0][:, 1].max()
    level = State(np.array([[x, 1.5 - lowest, z]]), state.rotations, state.betas, state.offsets)
    turned = exponential(np.array([pitch, 0.0, 0.0]))
    rest = single.kinematics.rest(state.betas)[0]
    rotations = level.rotations.copy()
    rotations[0, 0] = turned @ rotations[0, 0]
    return State((turned @ (level.transl[0] + rest) - rest)[None], rotations, level.betas, level.offsets)


def test_a_common_floor_tells_statures_and_distances(single, together, model):
    """Five people, the second tall and the fourth short: alone they are taken for nearer and farther ones."""
    by = single._by_betas / np.linalg.norm(single._by_betas) ** 2
    changes = [0.0, 0.13, 0.0, -0.13, 0.0]
    places = [(3.5, -1.0), (5.0, 0.6), (6.5, -0.9), (5.5, 1.5), (9.0, 0.2)]
    true = [standing(single, model, z, x, c * by, 0.15) for c, (z, x) in zip(changes, places, strict=True)]
    people = [fitted(single, t, seed=k, pixel=0.5) for k, t in enumerate(true)]
    alone = [abs(p.state.transl[0, 2] / t.transl[0, 2] - 1) for p, t in zip(people, true, strict=True)]
    ground = together.settle(people, FOCAL, PRINCIPAL)
    settled = [abs(p.state.transl[0, 2] / t.transl[0, 2] - 1) for p, t in zip(people, true, strict=True)]
    up = exponential(np.array([0.15, 0.0, 0.0])) @ [0, -1, 0]
    assert ground is not None and np.degrees(np.arccos(ground.up @ up)) < 2
    assert min(alone[1], alone[3]) > 0.05
    assert max(settled[1], settled[3]) < 0.6 * min(alone[1], alone[3]) and max(settled) < 0.05


def test_no_floor_where_feet_disagree_or_are_not_below():
    feet = np.array([[0.0, 1.0, 4.0], [1.0, -0.5, 4.0], [-1.0, 3.0, 4.0], [0.5, 0.2, 7.0]])
    assert find_ground(feet) is None
    assert find_ground(-np.ones((4, 3))) is None
    flat = np.array([[0.0, 1.5, 4.0], [1.0, 1.5, 6.0], [-1.0, 1.5, 9.0]])
    ground = find_ground(flat)
    assert np.allclose(ground.up, [0, -1, 0], atol=1e-3) and abs(ground.height + 1.5) < 1e-2
    assert np.allclose(stature_scales(ground, 0.9 * flat), 1 / 0.9, atol=0.01)


@pytest.mark.parametrize("front", [0, 1])
def test_people_in_one_place_are_parted_by_who_is_in_front(single, together, front):
    true = [person(k, (0.05 * k, 0.0, 4.0), stand=True) for k in range(2)]
    people = [fitted(single, t, seed=k) for k, t in enumerate(true)]
    people[1 - front].rank = 1
    together.settle(people, FOCAL, PRINCIPAL)
    depths = [p.state.transl[0, 2] for p in people]
    assert depths[1 - front] - depths[front] > 0.2
    for body, before in zip(people, true, strict=True):
        points = single.kinematics.points(body.state)[0]
        pixels = points[:, :2] * FOCAL / points[:, 2:] + PRINCIPAL
        assert np.linalg.norm(pixels - body.view.pixels, axis=1).mean() < 8  # 480 px tall
        assert abs(body.state.transl[0, 2] / before.transl[0, 2] - 1) < 0.08
