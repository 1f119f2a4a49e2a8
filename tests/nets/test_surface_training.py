"""What surface networks are trained for, by hand; and that training moves them the right way."""

from dataclasses import replace

import pytest
import torch

from nets.deepmulticap import training
from nets.deepmulticap.body_features import of_bodies
from nets.deepmulticap.presets import MAP_CHANNELS, preset
from nets.deepmulticap.training import SurfaceTrainer, distance_loss, distances, relief_loss, slope_loss, surface_losses
from nets.layers import UNetFilter
from nets.normals import NormalNetwork, NormalOptions
from tests.nets.ball_person import BALL_CENTRE, body_surface, inside, random_inputs

SMALL = preset("ours_small")


def test_far_points_have_to_be_said_far_and_no_more():
    true = torch.tensor([0.01, -0.02, 0.5, 0.5, -0.5])
    found = torch.tensor([0.02, 0.01, 0.30, 0.02, 0.0])
    by_hand = 100 * (0.01 + 0.03 + 0 + 0.04 + 0.06) / 5
    assert distance_loss(found, true).item() == pytest.approx(by_hand, rel=1e-5)


def test_logits_mean_distances():
    logits = torch.tensor([0.0, 1.0, -2.0])
    assert distances(logits, SMALL).tolist() == pytest.approx([0, -SMALL.residual.width, 2 * SMALL.residual.width])


def test_slopes_are_those_between_pairs():
    distance = torch.tensor([[9.0, 0.004, 0.002, -0.004, 0.0]])
    slopes = torch.tensor([[1.0, 0.5]])
    assert slope_loss(distance, slopes, 2, 0.004).item() == pytest.approx((0 + 0.25) / 2)


def test_reliefs_are_compared_where_they_are_known():
    true = torch.full((1, 1, 8, 8), float("nan"))
    true[..., 2, 2] = training.RELIEF
    true[..., 2, 6] = 100.0
    found = torch.zeros(1, 1, 2, 2)
    assert relief_loss(found, true, training.RELIEF).item() == pytest.approx((1 + training.MOST) / 2)
    assert relief_loss(found, torch.full_like(true, float("nan")), 1.0).item() == 0


@pytest.mark.parametrize("fine", [False, True])
def test_training_teaches_the_level_it_is_asked_to_and_leaves_the_other_alone(fine):
    """A ball on a box whose body is the box: a few steps bring the surface off the body."""
    torch.manual_seed(0)
    trainer = SurfaceTrainer(SMALL, fine)
    inputs = replace(random_inputs(3), volume=None)
    g = torch.Generator().manual_seed(1)
    points = torch.from_numpy(BALL_CENTRE).float() + 0.35 * (2 * torch.rand(1, 300, 3, generator=g) - 1)
    extra = of_bodies([body_surface()], points)
    sign = torch.where(torch.from_numpy(inside(points.numpy())), -1.0, 1.0)
    seen = torch.ones(1, 3, 300, dtype=torch.bool)
    size = inputs.size
    flat = torch.zeros(1, 3, size, size)
    given = (inputs, points, seen, extra, 0.05 * sign, torch.zeros(1, 20), flat, flat, 0.004)
    before = {k: v.clone() for k, v in trainer.surface.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in trainer.parameters() if p.requires_grad], lr=3e-3)
    history = []
    for _ in range(12):
        optimizer.zero_grad()
        losses = surface_losses(trainer, *given)
        losses["loss"].backward()
        optimizer.step()
        history.append(losses["distance_cm"].item())
    assert history[-1] < 0.8 * history[0]
    changed = {k.split(".")[0] for k, v in trainer.surface.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == ({"fine"} if fine else {"coarse"})
    assert (trainer.surface.fine is not None) == fine


def test_a_fresh_fine_level_is_the_coarse_surface():
    torch.manual_seed(0)
    trainer = SurfaceTrainer(SMALL, True).eval()
    last = trainer.surface.coarse.decoder.head.mlp.layers[-1]
    torch.nn.init.normal_(last.weight, std=0.1)
    inputs = replace(random_inputs(3), volume=None)
    steps = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0))
    points = torch.from_numpy(BALL_CENTRE).float() + 0.2 * steps
    extra = of_bodies([body_surface()], points)
    prediction = trainer.surface(inputs, points, None, extra)
    assert (prediction.coarse + extra[..., 0] / SMALL.residual.width).abs().max() > 0.1  # it is off the body
    assert torch.allclose(prediction.fine, prediction.coarse, atol=1e-4)


@pytest.mark.parametrize("stride", [2, 4])
def test_u_net_filters_give_a_map_at_their_stride(stride):
    net = UNetFilter(7, 12, 8, stride)
    x = torch.randn(2, 7, 64, 32, requires_grad=True)
    out = net(x)
    assert out.shape == (2, 12, 64 // stride, 32 // stride)
    out.square().mean().backward()
    assert x.grad.abs().sum() > 0 and all(p.grad is not None for p in net.parameters())
    with pytest.raises(ValueError, match="stride is 2 or 4"):
        UNetFilter(3, 8, 8, 8)


def test_normal_networks_with_skips_let_the_finest_detail_pass():
    torch.manual_seed(0)
    options = NormalOptions(base=8, halvings=2, blocks=1, most=32)
    images = torch.randn(1, 3, 32, 32)
    plain, skips = NormalNetwork(options), NormalNetwork(replace(options, skips=True))
    skips.load_state_dict(plain.state_dict())  # the same weights, another way through them
    assert skips(images).shape == images.shape
    assert not torch.allclose(plain(images), skips(images))
    spot = images.clone()
    spot[..., 16, 16] += 1

    def reach(net):
        return (net(spot) - net(images)).abs()[0].amax(0) / (net(spot) - net(images)).abs().max()

    assert reach(skips)[16, 16] > reach(plain)[16, 16] or (reach(skips) > 0.5).sum() < (reach(plain) > 0.5).sum()


def test_every_map_a_network_reads_has_channels():
    assert set(SMALL.inputs) <= set(MAP_CHANNELS)
