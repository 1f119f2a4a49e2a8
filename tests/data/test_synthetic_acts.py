"""What people do: hands where they should be, feet on the floor, bodies out of each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.body_models import load_body_arrays, open_body_model
from data.synthetic import acts
from data.synthetic.acts import Build
from nets.body import BodyModel
from pipeline.skeletons import SMPLX55

TIMES = np.arange(0, 2.0, 0.1)
MIDDLE = len(TIMES) // 2


@pytest.fixture(scope="module")
def model():
    return BodyModel(load_body_arrays(open_body_model()))


@pytest.fixture(scope="module")
def builds(model):
    out = []
    for seed in range(3):
        betas = torch.as_tensor(np.random.default_rng(seed).normal(0, 0.8, (1, 10)), dtype=torch.float32)
        with torch.no_grad():
            low = float(model(betas=betas).vertices[0, :, 1].min()) - 0.02
        out.append((Build(model.rest_joints(betas)[0].numpy().astype(float), np.full(2, low)), betas))
    return out


def joints(model, builds, act) -> np.ndarray:
    """(P, F, 55, 3)."""
    out = []
    for (_, betas), moved in zip(builds, act.people, strict=False):
        parameters = {k: torch.as_tensor(np.asarray(v, np.float32)) for k, v in moved.items()}
        out.append(model.joints_only(betas=betas, **parameters).numpy())
    return np.stack(out)


def of(name: str) -> int:
    return SMPLX55.index(name)


@pytest.mark.parametrize("category", list(acts.CATEGORIES))
def test_everybody_of_every_act_stands_or_sits_on_the_floor(model, builds, category):
    count, makers = acts.CATEGORIES[category]
    for seed, maker in enumerate(dict.fromkeys(makers)):
        act = maker(TIMES, np.random.default_rng(seed), [b for b, _ in builds[:count]])
        places = joints(model, builds[:count], act)
        assert len(act.people) == count and np.isfinite(places).all()
        feet = places[:, :, [of("left_ankle"), of("right_ankle")]]
        for person, (build, _) in zip(feet, builds, strict=False):
            ankle = build.above_floor("left_ankle")
            assert person[..., 2].min() > ankle - 0.03  # nobody sinks in
            assert np.median(person[..., 2].min(1)) < ankle + 0.06  # and one foot is down
        assert np.abs(np.diff(places, axis=1)).max() < 0.6  # in a tenth of a second: nobody jumps from frame to frame


def test_hands_meet_when_they_are_shaken_and_part_afterwards(model, builds):
    act = acts.shaking_hands(TIMES, np.random.default_rng(0), [b for b, _ in builds[:2]])
    wrists = joints(model, builds[:2], act)[:, :, of("right_wrist")]
    apart = np.linalg.norm(wrists[0] - wrists[1], axis=1)
    assert apart[MIDDLE] < 0.22 and apart[0] > 0.35 and apart[-1] > 0.35


def test_those_who_hug_are_close_with_hands_behind_the_other(model, builds):
    act = acts.hugging(TIMES, np.random.default_rng(1), [b for b, _ in builds[:2]])
    one, other = joints(model, builds[:2], act)[:, MIDDLE]
    way = other[of("spine3")] - one[of("spine3")]
    assert 0.2 < np.linalg.norm(way[:2]) < 0.5
    for side in ("left_wrist", "right_wrist"):
        assert (one[of(side)] - one[of("spine3")]) @ way > way @ way
        assert (other[of(side)] - other[of("spine3")]) @ -way > way @ way


def test_a_box_that_two_carry_is_in_their_hands(model, builds):
    act = acts.carrying(TIMES, np.random.default_rng(2), [b for b, _ in builds[:2]])
    box = act.things[0]
    wrists = joints(model, builds[:2], act)[:, :, [of("left_wrist"), of("right_wrist")]]
    c, s = np.cos(box.heading), np.sin(box.heading)
    away = wrists - box.centre[None, :, None]
    local = np.stack([c[:, None] * away[..., 0] + s[:, None] * away[..., 1],
                      c[:, None] * away[..., 1] - s[:, None] * away[..., 0], away[..., 2]], -1)  # fmt: skip
    out = np.linalg.norm(np.maximum(np.abs(local) - box.size / 2, 0), axis=-1)
    assert out.max() < 0.12


def test_who_sits_does_so_on_something(model, builds):
    act = acts.sitting(TIMES, np.random.default_rng(3), [builds[0][0]])
    seat = act.things[0]
    hips = joints(model, builds[:1], act)[0][:, [of("left_hip"), of("right_hip")]]
    top = seat.centre[0, 2] + seat.size[2] / 2
    assert (hips[..., 2] > top + 0.03).all() and (hips[..., 2] < top + 0.2).all()
    assert np.linalg.norm(hips.mean(1)[:, :2] - seat.centre[:, :2], axis=1).max() < 0.25
