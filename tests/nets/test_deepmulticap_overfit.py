"""The whole path learns: a small network fits one person from a few views and is evaluated on a dense grid."""

from dataclasses import replace

import numpy as np
import torch

from nets.deepmulticap.inputs import point_visibility
from nets.deepmulticap.losses import occupancy_bce, of_levels
from nets.deepmulticap.network import build
from nets.deepmulticap.presets import preset
from tests.nets.ball_person import CENTRE, body_inside, extra, frame, inside, surface_inputs

SIZE, RESOLUTION, STEPS = 48, 32, 120


def little():
    """The small preset with filters narrow enough to train in seconds."""
    of = preset("small")
    coarse = replace(of.coarse, image=replace(of.coarse.image, base=8, outputs=32))
    return replace(of, coarse=coarse, fine=replace(of.fine, image=replace(of.fine.image, base=4)))


def dense_grid():
    half = frame().side / 2
    axis = (np.arange(RESOLUTION) + 0.5) / RESOLUTION * 2 * half - half
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3) + CENTRE


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_a_small_network_learns_what_the_body_does_not_show():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    inputs = surface_inputs(4, SIZE, resolution=16)
    network = build(little())
    optimiser = torch.optim.Adam(network.parameters(), 4e-3)
    half = frame().side / 2
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, STEPS)
    for _ in range(STEPS):
        # Half evenly in the cube, half around the ball and the box, where the surface is.
        points = CENTRE + np.concatenate([rng.uniform(-half, half, (200, 3)), rng.normal(0, 0.28, (300, 3))])
        at = torch.from_numpy(points).float()[None]
        seen = point_visibility(inputs.projection, at, SIZE)
        prediction = network(inputs, at, seen, extra(network, at))
        loss = of_levels(occupancy_bce, prediction.coarse, prediction.fine, torch.from_numpy(inside(points))[None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
    network.eval()
    grid = dense_grid()
    at = torch.from_numpy(grid).float()[None]
    seen = point_visibility(inputs.projection, at, SIZE)
    found = (network.occupancy(network.encode(inputs), at, seen, extra(network, at))[0] > 0.5).numpy()
    print(f"loss {loss:.4f}, IoU {iou(found, inside(grid)):.3f}, body alone {iou(body_inside(grid), inside(grid)):.3f}")
    assert iou(body_inside(grid), inside(grid)) < 0.6
    assert iou(found, inside(grid)) > 0.85
