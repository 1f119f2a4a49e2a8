"""What points know of the body: distances and sides against closed forms and Open3D; the network around it."""

from dataclasses import replace

import numpy as np
import torch

from nets.deepmulticap.body_features import BodySurface, nearest_on_triangles
from nets.deepmulticap.inputs import body_depth_map, mask_map
from nets.deepmulticap.network import build
from nets.deepmulticap.presets import preset
from tests.nets.ball_person import BOX, CENTRE, ask, body_surface, extra, random_inputs, random_points, surface_inputs
from tests.pipeline.clothed_person import body


def box_distance(points):
    """(N,) signed metres to the box of ``ball_person``, positive outside."""
    over = np.abs(points - CENTRE) - BOX
    return np.linalg.norm(np.maximum(over, 0), axis=-1) + np.minimum(over.max(-1), 0)


def test_distance_normal_and_way_to_a_box():
    points = CENTRE + np.random.default_rng(0).uniform(-0.8, 0.8, (4000, 3))
    found = body_surface().features(torch.from_numpy(points).float()).numpy()
    assert np.abs(found[:, 0] - box_distance(points)).max() < 1e-5
    assert np.allclose(np.linalg.norm(found[:, 1:4], axis=1), 1, atol=1e-5)
    assert np.allclose(np.linalg.norm(found[:, 4:], axis=1), np.abs(found[:, 0]), atol=1e-5)
    assert np.array_equal((found[:, 1:4] * found[:, 4:]).sum(1) >= 0, found[:, 0] >= 0)


def test_directions_are_along_the_canonical_axes():
    surface, turn = body_surface(), torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    points = random_points(50)[0]
    plain = surface.features(points)
    turned = BodySurface(surface.vertices, surface.faces, turn).features(points)
    assert torch.equal(plain[:, 0], turned[:, 0])
    assert torch.allclose(plain[:, 1:4] @ turn.T, turned[:, 1:4], atol=1e-6)
    assert torch.allclose(plain[:, 4:] @ turn.T, turned[:, 4:], atol=1e-6)


def test_nearest_points_of_a_body_are_open3d_s():
    import open3d as o3d

    vertices, faces = body()
    rng = np.random.default_rng(1)
    near = vertices[rng.integers(len(vertices), size=3000)] + rng.normal(0, 0.03, (3000, 3))
    points = np.concatenate([near, rng.uniform(vertices.min(0) - 0.3, vertices.max(0) + 0.3, (1000, 3))])
    surface = BodySurface(torch.from_numpy(vertices).float(), torch.from_numpy(np.array(faces)).long(), torch.eye(3))
    found = surface.features(torch.from_numpy(points).float()).numpy()
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3d.core.Tensor(vertices.astype(np.float32)), o3d.core.Tensor(np.array(faces).astype(np.uint32))
    )
    true = scene.compute_signed_distance(o3d.core.Tensor(points.astype(np.float32)), nthreads=1, nsamples=5).numpy()
    off = np.abs(np.abs(found[:, 0]) - np.abs(true))
    assert (off < 1e-4).mean() > 0.995
    assert off.max() < 0.003
    far = np.abs(true) > 1e-3
    assert ((found[:, 0] >= 0) == (true >= 0))[far].mean() > 0.999


def test_every_region_of_a_triangle():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    at = torch.tensor([[0.2, 0.3, 1], [-1, -1, 0], [2, 0, 0], [0, 3, 1], [0.5, -1, 0], [-1, 0.5, 0], [1.0, 1.0, 0]])
    expected = torch.tensor([[0.2, 0.3, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0, 0], [0, 0.5, 0], [0.5, 0.5, 0]])
    weights = nearest_on_triangles(at, corners.expand(7, 3, 3))
    assert torch.allclose((weights[..., None] * corners).sum(-2), expected, atol=1e-6)


def test_a_fresh_network_is_the_body_and_learning_moves_it():
    of = preset("ours_small")
    torch.manual_seed(0)
    net, inputs, points = build(of), random_inputs(3), random_points(200)
    prediction = ask(net, inputs, points)
    distance = torch.from_numpy(box_distance(points[0].numpy())).float()
    assert torch.allclose(-prediction.fine[0] * of.residual.width, distance, atol=1e-5)
    assert torch.equal(prediction.fine, prediction.coarse)
    prediction.fine.sum().backward()
    assert net.fine.decoder.head.mlp.layers[-1].weight.grad.abs().sum() > 0


@torch.no_grad()
def test_views_say_how_far_behind_the_body_and_whether_the_mask_covers():
    """A body of one plane a quarter metre before its centre, in the left half of the image; the mask on the right."""
    net, inputs = build(preset("ours_small")), random_inputs(1, size=64, resolution=64)
    scale, centre_depth = float(inputs.scale), 3.0
    depth = np.full((64, 64), np.inf)
    depth[:, :32] = centre_depth - 0.25
    covered = torch.zeros(64, 64)
    covered[:, 32:] = 1
    blocked = torch.zeros(64, 64, dtype=torch.bool)
    blocked[:32, :32] = True
    inputs = replace(
        inputs,
        body_depth=body_depth_map(depth, centre_depth, scale)[None, None],
        mask=mask_map(covered, blocked)[None, None],
    )
    P = inputs.projection[0, 0]
    pixels = torch.tensor([[10.0, 50.0], [10.0, 10.0], [50.0, 50.0]])  # covered by body; body and blocked; mask alone
    rays = torch.linalg.solve(P[:, :3], torch.cat([pixels, torch.ones(3, 1)], 1).T).T
    eye = -torch.linalg.solve(P[:, :3], P[:, 3])
    z = P[2, :3] @ inputs.centre[0] + P[2, 3]
    points = (eye + rays * z)[None]  # in the plane of the body's centre
    cues = net.locate(net.encode(inputs), points, extra=extra(net, points)).cues[0, :, 0]
    assert torch.allclose(cues[:, 0], torch.tensor([0.25 * scale, 0.25 * scale, 0.0]), atol=1e-4)
    assert cues[:, 1].tolist() == [1, 1, 0]
    assert cues[:, 2].tolist() == [-1, 0, 1]


@torch.no_grad()
def test_deep_inside_the_volume_the_distance_is_negative_whatever_is_nearest():
    """A body with another shell inside, as eyeballs are: its volume says that there is no cavity."""
    net, inputs = build(preset("ours_small")), surface_inputs(2, 64, resolution=64)
    points = random_points(500)
    wrong = extra(net, points)
    wrong[..., 0] = wrong[..., 0].abs()  # all outside, says the nearest face
    located = net.locate(net.encode(inputs), points, extra=wrong)
    distance, true = located.extra[0, :, 0], torch.from_numpy(box_distance(points[0].numpy())).float()
    voxel = 2 / 128 / float(inputs.scale)
    assert torch.allclose(distance[true < -2 * voxel], true[true < -2 * voxel], atol=1e-5)
    assert bool((distance[true > 0] > 0).all())
    assert int((true < -2 * voxel).sum()) > 50
