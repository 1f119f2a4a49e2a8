"""Walking: feet that carry weight stand still on the floor, legs reach them, and the body goes where it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.body_models import load_body_arrays, open_body_model
from data.synthetic.motion import Gait, Path, plan_feet, two_bone, walk
from nets.body import BodyModel
from pipeline.skeletons import SMPLX55

TIMES = np.arange(0, 2.2, 0.02)


@pytest.fixture(scope="module")
def model():
    return BodyModel(load_body_arrays(open_body_model()))


@pytest.fixture(scope="module", params=[0, 1])
def walker(model, request):
    """Times, soles, rest joints (55, 3), path, gait, phase and posed joints (F, 55, 3) of somebody who walks."""
    generator = np.random.default_rng(request.param)
    betas = torch.as_tensor(generator.normal(0, 0.8, (1, 10)), dtype=torch.float32)
    rest = model.rest_joints(betas)[0].numpy().astype(float)
    with torch.no_grad():
        soles = np.full(2, float(model(betas=betas).vertices[0, :, 1].min()) - 0.02)
    path, gait, phase = Path(np.array([0.3, -1.0]), 0.7, 1.05, 0.16, 2.2), Gait.sample(generator), generator.uniform()
    moved = walk(rest, soles, path, TIMES, gait, phase, look_at=np.tile([3.0, 1.0, 1.5], (len(TIMES), 1)))
    parameters = {k: torch.as_tensor(v, dtype=torch.float32) for k, v in moved.items()}
    return rest, soles, path, gait, phase, model.joints_only(betas=betas, **parameters).numpy().astype(float)


def test_legs_reach_the_planned_feet(walker):
    rest, soles, path, gait, phase, joints = walker
    feet = plan_feet(dict(zip(SMPLX55.joints, rest, strict=True)), soles, path, TIMES, gait, phase)
    ankles = joints[:, [SMPLX55.index("left_ankle"), SMPLX55.index("right_ankle")]]
    assert np.linalg.norm(ankles - feet.ankles, axis=-1).max() < 1e-3


def test_feet_that_stand_do_not_slide_and_one_always_stands(walker):
    *_, joints = walker
    balls = joints[:, [SMPLX55.index("left_foot"), SMPLX55.index("right_foot")]]
    step = np.linalg.norm(np.diff(balls, axis=0), axis=-1)
    standing = step < 1e-4
    assert standing.any(1).mean() > 0.85  # the rest are the moments when one rolls on to its heel
    assert (step > 0.02).any(0).all()  # and both walk


def test_the_body_follows_its_path(walker):
    _, _, path, _, _, joints = walker
    pelvis = joints[:, 0]
    where, heading = path.at(TIMES)
    assert np.linalg.norm(pelvis[:, :2] - where, axis=1).max() < 0.05
    left = joints[:, SMPLX55.index("left_hip")] - joints[:, SMPLX55.index("right_hip")]
    turn = np.arctan2(-left[:, 0], left[:, 1])
    assert np.abs(np.angle(np.exp(1j * (turn - heading)))).max() < 0.3
    assert np.ptp(pelvis[:, 2]) < 0.06


def test_knees_bend_backwards_only(walker):
    *_, heading_joints = walker
    hip, knee, ankle = (heading_joints[:, SMPLX55.index(f"left_{j}")] for j in ("hip", "knee", "ankle"))
    forward = np.array([np.cos(0.7), np.sin(0.7), 0])
    share = np.linalg.norm(knee - hip, axis=1) / (
        np.linalg.norm(knee - hip, axis=1) + np.linalg.norm(ankle - knee, axis=1)
    )
    assert ((knee - hip - share[:, None] * (ankle - hip)) @ forward).min() > -1e-3


def test_two_bone_keeps_the_lengths():
    generator = np.random.default_rng(0)
    hip, ankle = generator.normal(size=(20, 3)), generator.normal(size=(20, 3))
    ankle = hip + (ankle - hip) / np.linalg.norm(ankle - hip, axis=1, keepdims=True) * generator.uniform(
        0.2, 0.8, (20, 1)
    )
    knee = two_bone(hip, ankle, (0.45, 0.4), np.tile([1.0, 0, 0], (20, 1)))
    np.testing.assert_allclose(np.linalg.norm(knee - hip, axis=1), 0.45, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(knee - ankle, axis=1), 0.4, atol=1e-9)
