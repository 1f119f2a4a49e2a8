"""Any number of views, views and points left out, and the order of views."""

import itertools
from dataclasses import replace

import pytest
import torch

from nets.deepmulticap.inputs import SurfaceInputs, collate, point_visibility
from nets.deepmulticap.network import build
from nets.deepmulticap.presets import MAP_CHANNELS, VolumeOptions, preset, with_choices
from tests.nets.ball_person import ask, awake, extra, random_inputs, random_points


def tiny(name="ours_small", **choices):
    """A small preset at a sixteenth of its volume, so that a test takes milliseconds."""
    of = with_choices(preset(name), **choices)
    if of.coarse.volume is None:
        return of
    return replace(of, coarse=replace(of.coarse, volume=replace(of.coarse.volume, resolution=32)))


def network(of, seed=0):
    torch.manual_seed(seed)
    net = awake(build(of)).eval()
    with torch.no_grad():  # fresh weights speak too softly for a difference to show
        for p in net.parameters():
            p.mul_(1.5)
    return net


def reordered(inputs: SurfaceInputs, order):
    views = ("projection", *MAP_CHANNELS)
    return replace(inputs, **{name: getattr(inputs, name)[:, order] for name in views})


@pytest.fixture(scope="module")
def pooled():
    return network(tiny(volume="occupancy"))


@torch.no_grad()
def test_one_to_twelve_views_with_the_same_weights(pooled):
    points = random_points(20)
    values = [ask(pooled, random_inputs(v), points).occupancy for v in range(1, 13)]
    assert all(v.shape == (1, 20) and bool(torch.isfinite(v).all()) for v in values)
    assert all((a - b).abs().max() > 1e-5 for a, b in itertools.pairwise(values))
    with pytest.raises(ValueError, match="13 views"):
        pooled.encode(random_inputs(13))


@pytest.mark.parametrize("name", ["ours_small", "ours_without_attention_small", "pifuhd_attention_small", "paper_small",
                                  "deepvisualhull_small"])  # fmt: skip
@torch.no_grad()
def test_pooled_networks_do_not_care_which_view_is_first(name):
    net = network(tiny(name))
    assert net.preset.order_free
    inputs, points = random_inputs(5, channels=3 if name == "paper_small" else 1), random_points(30)
    seen = torch.rand(1, 5, 30, generator=torch.Generator().manual_seed(3)) > 0.4
    order = [3, 0, 4, 1, 2]
    for mask, its in ((None, None), (seen, seen[:, order])):
        a, b = ask(net, inputs, points, mask), ask(net, reordered(inputs, order), points, its)
        assert torch.allclose(a.fine, b.fine, atol=2e-5)
        assert torch.allclose(a.coarse, b.coarse, atol=2e-5)


@torch.no_grad()
def test_released_read_out_depends_on_the_first_view():
    net = network(tiny(read_out="first"))
    assert not net.preset.order_free
    inputs, points = random_inputs(4), random_points(30)
    assert (ask(net, inputs, points).fine - ask(net, reordered(inputs, [1, 0, 2, 3]), points).fine).abs().max() > 1e-3


@pytest.mark.parametrize("read_out", ["first", "pooled"])
@torch.no_grad()
def test_a_masked_view_is_as_if_it_were_not_there(read_out):
    """Not fed as black: whatever its images hold, the result is that of the other views alone."""
    net = network(tiny(read_out=read_out))
    inputs, points = random_inputs(4), random_points(30)
    alone = ask(net, reordered(inputs, [1, 3]), points)
    present = torch.tensor([[False, True, False, True]])
    for rgb in (inputs.rgb, torch.zeros_like(inputs.rgb), 100 * inputs.rgb):
        partly = replace(inputs, present=present, rgb=torch.where(present[:, :, None, None, None], inputs.rgb, rgb))
        assert torch.allclose(ask(net, partly, points).fine, alone.fine, atol=2e-5)
    black = ask(net, replace(inputs, rgb=inputs.rgb * present[:, :, None, None, None]), points)
    assert (black.fine - alone.fine).abs().max() > 1e-3


@torch.no_grad()
def test_visibility_is_per_point(pooled):
    inputs, points = random_inputs(3), random_points(40)
    seen = torch.ones(1, 3, 40, dtype=torch.bool)
    seen[0, 2, :20] = False
    mixed = ask(pooled, inputs, points, seen).fine[0]
    all_three, without = ask(pooled, inputs, points).fine[0], ask(pooled, reordered(inputs, [0, 1]), points).fine[0]
    assert torch.allclose(mixed[:20], without[:20], atol=2e-5)
    assert torch.allclose(mixed[20:], all_three[20:], atol=2e-5)


@pytest.mark.parametrize("name", ["ours_small", "pifu_attention_small", "pamir_mean_small", "deepvisualhull_small"])
@torch.no_grad()
def test_points_that_nobody_sees_rest_on_the_body_alone(name):
    net = network(tiny(name))
    channels = 3 if name == "pamir_mean_small" else 1
    points, nobody = random_points(10), torch.zeros(1, 1, 10, dtype=torch.bool)
    values = [
        ask(net, random_inputs(v, seed=s, channels=channels), points, nobody.expand(1, v, 10)).fine
        for v, s in ((2, 0), (2, 5), (6, 5))
    ]
    assert all(bool(torch.isfinite(v).all()) for v in values)
    volume = random_inputs(1, channels=channels).volume
    same_body = [
        ask(net, replace(random_inputs(v, seed=s, channels=channels), volume=volume), points, unseen).fine
        for v, s in ((2, 0), (2, 5), (6, 5))
        for unseen in (nobody.expand(1, v, 10),)
    ]
    assert all(torch.allclose(v, same_body[0], atol=2e-5) for v in same_body)
    if net.preset.coarse.volume is not None:
        assert (values[0] - values[1]).abs().max() > 1e-4


@torch.no_grad()
def test_people_with_different_numbers_of_views_make_one_batch(pooled):
    a, b = random_inputs(2, seed=1), random_inputs(5, seed=2)
    points = random_points(15, people=2)
    together = ask(pooled, collate([a, b]), points).fine
    apart = torch.cat([ask(pooled, a, points[:1]).fine, ask(pooled, b, points[1:]).fine])
    assert torch.allclose(together, apart, atol=1e-4)  # an output of 1 is 8 in the logit


@torch.no_grad()
def test_gradients_and_nothing_else_come_from_visible_views(pooled):
    inputs, points = random_inputs(3), random_points(10)
    rgb = inputs.rgb.clone().requires_grad_(True)
    seen = torch.tensor([True, False, True])[None, :, None].expand(1, 3, 10)
    with torch.enable_grad():
        ask(pooled, replace(inputs, rgb=rgb), points, seen).fine.sum().backward()
    per_view = rgb.grad.abs().sum((0, 2, 3, 4))
    assert per_view[1] == 0
    assert per_view[0] > 0
    assert per_view[2] > 0


def test_eight_bits_for_features_are_enough_and_places_keep_theirs(pooled):
    """Under bfloat16 autocast, as on a GPU or in training: nearly the same, and a millimetre is still a difference."""
    inputs, points = random_inputs(3), random_points(200)
    with torch.no_grad():
        exact = ask(pooled, inputs, points).fine
    with torch.autocast("cpu", torch.bfloat16):
        coarse = ask(pooled, inputs, points).fine
        coarse.sum().backward()
    assert (coarse - exact).abs().mean() < 0.03 * exact.std()
    assert (coarse - exact).abs().max() < 0.10 * exact.std()
    assert all(bool(torch.isfinite(p.grad).all()) for p in pooled.parameters() if p.grad is not None)
    pooled.zero_grad()
    head = pooled.coarse.decoder.head.mlp
    tokens, place = torch.zeros(1, pooled.coarse.width), torch.full((1, head.place), 0.9)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        moved = head.run(None, tokens, place + 0.0005, 0, 1) - head.run(None, tokens, place, 0, 1)
    assert bool((moved != 0).float().mean() > 0.9)


@torch.no_grad()
def test_views_that_all_see_are_as_without_a_mask(pooled):
    inputs, points = random_inputs(3), random_points(20)
    everyone = torch.ones(1, 3, 20, dtype=torch.bool)
    plain = ask(pooled, inputs, points).fine
    assert torch.allclose(ask(pooled, inputs, points, everyone).fine, plain, atol=1e-6)
    assert torch.allclose(ask(pooled, replace(inputs, present=everyone[..., 0]), points).fine, plain, atol=1e-6)


@torch.no_grad()
def test_batches_of_dense_evaluation_are_seamless(pooled):
    features, points = pooled.encode(random_inputs(3)), random_points(50)
    of_body = extra(pooled, points)
    seamless = pooled.occupancy(features, points, extra=of_body, batch=7)
    assert torch.allclose(seamless, pooled.predict(features, points, extra=of_body).occupancy)


def test_points_are_visible_where_they_are_in_the_crop_and_not_behind_someone():
    inputs = random_inputs(2, size=32)
    P = inputs.projection
    ray = torch.linalg.solve(P[0, 0, :, :3], torch.tensor([10.0, 20.0, 1.0]))
    eye = -torch.linalg.solve(P[0, 0, :, :3], P[0, 0, :, 3])
    points = torch.stack([eye + 3 * ray / ray.norm(), eye - 3 * ray / ray.norm(), eye + ray * 1e-9])[None]
    blocked = torch.zeros(1, 2, 32, 32, dtype=torch.bool)
    assert point_visibility(P, points, 32, blocked)[0, 0].tolist()[:2] == [True, False]
    blocked[0, 0, 20, 10] = True  # row, column of pixel (10, 20)
    assert point_visibility(P, points, 32, blocked)[0, 0].tolist()[:2] == [False, False]
    blocked[0, 0, 20, 10], blocked[0, 0, 10, 20] = False, True
    assert point_visibility(P, points, 32, blocked)[0, 0, 0]


def test_inputs_that_cannot_be_read_are_named(pooled):
    inputs = random_inputs(2)
    cases = {
        "rgb: missing": replace(inputs, rgb=None),
        "volume: shape": replace(inputs, volume=inputs.volume[:, :, :8]),
        "normals: holds NaN": replace(inputs, normals=inputs.normals / 0 * 0),
        "present: a person": replace(inputs, present=torch.zeros(1, 2, dtype=torch.bool)),
        "size: 24 pixels": replace(random_inputs(2, size=24)),
        "projection: holds NaN": replace(inputs, projection=inputs.projection * float("nan")),
    }
    for message, bad in cases.items():
        with pytest.raises(ValueError, match=message):
            pooled.encode(bad)
    with pytest.raises(ValueError, match="extra is"):
        pooled(inputs, random_points(3), extra=torch.zeros(1, 3, 2))


def test_a_semantic_network_refuses_an_occupancy_volume():
    of = tiny("paper_small")
    assert of.coarse.volume == VolumeOptions("semantic", (16, 16), "group", 32)
    with pytest.raises(ValueError, match=r"volume: shape \(1, 1, 16, 16, 16\)"):
        build(of).encode(random_inputs(2))
