"""Losses and sampling against values worked out by hand."""

import numpy as np
import pytest
import torch

from nets.deepmulticap import losses, sampling
from nets.deepmulticap.sampling import Deviations, SurfacePoints
from tests.nets.ball_person import CENTRE, ring


def rng():
    return np.random.default_rng(0)


def test_occupancy_losses_by_hand():
    logits, inside = torch.tensor([[0.0, 2.0, -1.0]]), torch.tensor([[True, True, False]])
    p = logits.sigmoid()
    assert losses.occupancy_mse(logits, inside).item() == pytest.approx(((p - inside.float()) ** 2).mean().item())
    by_hand = -(p[0, 0].log() + p[0, 1].log() + (1 - p[0, 2]).log()) / 3
    assert losses.occupancy_bce(logits, inside).item() == pytest.approx(by_hand.item())
    one, other = torch.zeros(1, 3), torch.ones(1, 3)
    twice = losses.of_levels(losses.occupancy_mse, one, other, inside)
    assert twice == losses.occupancy_mse(one, inside) + losses.occupancy_mse(other, inside)
    assert losses.of_levels(losses.occupancy_mse, one, one, inside) == losses.occupancy_mse(one, inside)


def test_soft_occupancy_is_half_on_the_surface_and_one_inside():
    soft = losses.soft_occupancy(torch.tensor([-0.1, -0.006, 0.0, 0.1]), 0.006)
    assert soft.tolist() == pytest.approx([1.0, 0.7311, 0.5, 0.0], abs=1e-3)


def test_normals_of_a_field_are_those_of_its_level_set():
    """A ball's occupancy falls outwards: normals are radial, the loss is nothing, and it trains the field."""
    centre = torch.zeros(3, requires_grad=True)

    def field(points):
        return 0.4 - (points - centre).norm(dim=-1)

    outward = torch.nn.functional.normalize(torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert torch.allclose(losses.surface_normals(field, 0.4 * outward), outward, atol=1e-5)
    assert losses.surface_normal_loss(field, 0.4 * outward, outward).item() == pytest.approx(0, abs=1e-6)
    assert losses.surface_normal_loss(field, 0.4 * outward, -outward).item() == pytest.approx(2, abs=1e-5)
    aslant = torch.nn.functional.normalize(outward + torch.tensor([0.5, 0, 0]), dim=-1)
    losses.surface_normal_loss(field, 0.4 * outward, aslant).backward()
    assert centre.grad.abs().sum() > 1e-3


def test_normal_maps_are_compared_on_the_mask_alone():
    predicted, target = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5)
    mask = torch.zeros(1, 4, 4)
    mask[:, 1:3, 1:3] = 1
    target[:, :, 0] = 100
    assert losses.normal_map_loss(predicted, target, mask).item() == pytest.approx(5 * 0.5)
    with_more = losses.normal_map_loss(predicted, target, mask, perceptual=lambda a, b: (a - b).abs().amax())
    assert with_more.item() == pytest.approx(5 * 0.5 + 0.5)
    assert losses.normal_map_loss(predicted, target, 0 * mask).item() == 0


def square(side=1.0, z=0.0, at=0):
    v = np.array([[0, 0, z], [side, 0, z], [side, side, z], [0, side, z]], float)
    return v, np.array([[0, 1, 2], [0, 2, 3]]) + at


def test_surface_points_are_even_over_area():
    (v, f), (w, g) = square(1.0), square(3.0, z=1.0, at=4)
    found = sampling.on_surface(np.concatenate([v, w]), np.concatenate([f, g]), 20000, rng())
    large = found.points[:, 2] == 1
    assert large.mean() == pytest.approx(0.9, abs=0.01)
    assert found.points[large, :2].mean(0) == pytest.approx([1.5, 1.5], abs=0.03)
    assert found.points[large, :2].var(0) == pytest.approx([0.75, 0.75], abs=0.02)
    assert np.allclose(found.normals, [0, 0, 1])
    assert ((found.faces >= 2) == large).all()


def test_points_behind_what_a_depth_map_shows_are_not_seen():
    P = np.array([[[50.0, 0, 31.5, 0], [0, 50.0, 31.5, 0], [0, 0, 1, 0]]])
    depths = np.full((1, 64, 64), np.inf)
    depths[:, :, :32] = 2.0
    points = np.array([[-0.4, 0, 2.0], [-0.4, 0, 2.004], [-0.4, 0, 2.1], [0.4, 0, 5.0], [9, 0, 2.0], [-0.4, 0, -2.0]])
    assert sampling.seen_in_depth(points, P, depths)[:, 0].tolist() == [True, True, False, True, False, False]


def test_seen_points_stay_near_and_unseen_ones_go_far():
    surface = np.zeros((40000, 3))
    seen = np.arange(40000) % 2 == 0
    moved = sampling.around_surface(surface, seen, Deviations(seen=(0.01,), unseen=(0.05, 0.1)), rng())
    assert moved[seen].std() == pytest.approx(0.01, rel=0.03)
    assert moved[~seen].std() == pytest.approx(np.sqrt((0.05**2 + 0.1**2) / 2), rel=0.03)
    assert sampling.released_deviations(0.06, fine=True) == Deviations((0.02, 0.06), (0.06, 0.12))
    assert sampling.released_deviations(0.06, fine=False) == Deviations((0.06, 0.12), (0.12, 0.24))


def on_ball(n, radius=0.3):
    d = rng().standard_normal((n, 3))
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    return SurfacePoints(radius * d, d, np.zeros(n, int))


def in_ball(p, radius=0.3):
    return np.linalg.norm(p, axis=-1) < radius


def test_training_points_are_labelled_balanced_and_in_the_box():
    box = (np.full(3, -0.5), np.full(3, 0.5))
    points, inside = sampling.training_points(on_ball(4000), np.ones(4000, bool), box, in_ball, 2000, rng())
    assert points.shape == (2000, 3)
    assert (inside == in_ball(points)).all()
    assert inside.sum() == 1000
    assert (np.abs(points) <= 0.5).all()
    near = np.abs(np.linalg.norm(points, axis=-1) - 0.3) < 0.05
    assert 0.75 < near.mean() < 0.95
    again, _ = sampling.training_points(on_ball(4000), np.ones(4000, bool), box, in_ball, 2000, rng())
    assert (points == again).all()


def test_few_insides_are_filled_up_with_outsides():
    box = (np.full(3, -0.5), np.full(3, 0.5))
    points, inside = sampling.training_points(
        on_ball(3000), np.ones(3000, bool), box, lambda p: in_ball(p, 0.285), 3000, rng()
    )
    assert len(points) == 3000
    assert 0 < inside.sum() < 1500
    with pytest.raises(ValueError, match="too few for 9000 points"):
        sampling.training_points(on_ball(3000), np.ones(3000, bool), box, in_ball, 9000, rng())


def test_a_person_in_front_takes_pixels():
    mask, other = np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)
    mask[10:50, 20:40], other[30:60, 0:12] = 1, 1
    left, taken = sampling.paste_person(mask, other, rng(), reach=0.1)
    assert taken.sum() == other.sum()  # moved, whole
    assert (left[taken] == 0).all()
    assert (left[~taken] == mask[~taken]).all()
    assert 0 < left.sum() < mask.sum()
    assert left.dtype == mask.dtype
    empty, nothing = sampling.paste_person(mask, 0 * other, rng())
    assert (empty == mask).all()
    assert not nothing.any()


def test_shifted_masks_lose_what_leaves():
    mask = np.eye(4)
    assert sampling.shifted(mask, 1, 0).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert sampling.shifted(mask, 0, -1).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert sampling.shifted(mask, 9, 0).sum() == 0


def test_shapes_in_front_have_the_released_sizes():
    ones = np.ones((512, 512), np.float32)
    left, taken = sampling.paste_shapes(ones, 1, np.random.default_rng(4))
    rows, columns = np.nonzero(taken.any(1))[0], np.nonzero(taken.any(0))[0]
    assert 20 <= rows[-1] - rows[0] <= 101
    assert 20 <= columns[-1] - columns[0] <= 101
    assert (left == ~taken).all()
    assert sampling.paste_shapes(ones, 0, rng())[1].sum() == 0
    assert sampling.paste_shapes(ones, 16, rng())[1].mean() > 0.1


def test_mask_edges_move_by_whole_pixels():
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 8:12] = 1
    grown, shrunk = sampling.with_edge_error(mask, 2), sampling.with_edge_error(mask, -1)
    assert grown.sum() == 14 * 8
    assert shrunk.sum() == 8 * 2
    assert (sampling.with_edge_error(mask, 0) == mask).all()


def test_the_ring_of_cameras_looks_at_the_person():
    """The fixture itself: the centre is in the middle of every image."""
    for P in ring(6, 64):
        x = P @ [*CENTRE, 1]
        assert x[:2] / x[2] == pytest.approx([31.5, 31.5])
        assert x[2] > 2.5
