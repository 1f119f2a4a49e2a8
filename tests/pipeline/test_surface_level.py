"""Level functions: pairs, occupancies, closing by the body, and the network as one."""

import numpy as np
import pytest
import torch

from nets.deepmulticap.network import build
from nets.deepmulticap.presets import preset, with_choices
from pipeline.errors import InputError
from pipeline.surface import level
from pipeline.surface.band import Band, lattice_around
from pipeline.surface.extract import extract_surface
from pipeline.surface.network_level import encode, network_level
from tests.nets.ball_person import CENTRE, awake, extra, random_inputs, random_points
from tests.pipeline.clothed_person import body, logits

POINTS = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 2 - torch.tensor([1.0, 0.0, 1.0])


def band(resolution=64):
    vertices, faces = body()
    return Band(lattice_around(vertices, resolution), vertices, faces)


def test_the_fine_level_is_asked_only_where_the_coarse_one_is_uncertain():
    asked = []

    def fine(points):
        asked.append(len(points))
        return logits(points)

    coarse_calls = []

    def coarse(points):
        coarse_calls.append(len(points))
        return logits(points) + 0.5

    pair = extract_surface(level.LevelPair(coarse, fine, certain=6.0), band())
    alone = extract_surface(logits, band())
    assert sum(asked) < 0.5 * sum(coarse_calls)
    assert np.array_equal(pair.faces, alone.faces)
    assert np.abs(pair.vertices - alone.vertices).max() < 0.1 * band().lattice.voxel


def test_occupancies_and_arrays_give_the_same_surface():
    of_occupancy = level.of_occupancy(lambda p: torch.sigmoid(logits(p)))
    of_arrays = level.of_arrays(lambda p: logits(torch.as_tensor(p)).numpy())
    expected = extract_surface(logits, band())
    for function in (of_occupancy, of_arrays):
        found = extract_surface(function, band())
        assert np.array_equal(found.faces, expected.faces)
        assert np.allclose(found.vertices, expected.vertices, atol=1e-4)
    with pytest.raises(InputError, match="between 0 and 1"):
        level.of_occupancy(logits, 1.0)


def test_the_body_closes_what_nobody_sees():
    """Half of the person is missing where nobody looks; the body stands in there, and nowhere else."""

    def half(points):
        return torch.where(points[:, 0] > 0, -5.0, 5.0)

    closed = level.closed_by_body(half, logits, lambda p: p[:, 2] > 0, shrink=1.0)
    values, seen, right = closed(POINTS), POINTS[:, 2] > 0, POINTS[:, 0] > 0
    assert torch.equal(values[seen], half(POINTS)[seen])
    hidden = ~seen & right
    assert torch.allclose(values[hidden], torch.maximum(logits(POINTS) - 1, torch.tensor(-5.0))[hidden])
    assert bool((values[~seen & ~right] >= 5).all())


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return awake(build(with_choices(preset("ours_small"), volume="occupancy"))).eval()


def of_body(network):
    return lambda points: extra(network, points[None])[0]


def inputs_of(network, **more):
    resolution = network.preset.coarse.volume.resolution
    return random_inputs(3, size=64, resolution=resolution // 2, **more)


def test_the_network_is_asked_as_it_would_answer_by_itself(network):
    features = encode(network, inputs_of(network))
    points = random_points(300)[0]
    with torch.no_grad():
        expected = network.predict(features, points[None], extra=extra(network, points[None]))


    def found(certain):
        return network_level(network, features, extra=of_body(network), certain=certain)(points)

    assert torch.allclose(found(1e9), expected.fine[0], atol=1e-5)
    assert torch.allclose(found(0), expected.coarse[0], atol=1e-5)
    middle = float(expected.coarse.abs().median())
    mixed = torch.where(expected.coarse.abs() < middle, expected.fine, expected.coarse)[0]
    assert torch.allclose(found(middle), mixed, atol=1e-5)


def test_views_that_may_not_speak_do_not(network):
    features = encode(network, inputs_of(network))
    points = random_points(200)[0]
    seen = torch.rand(3, 200, generator=torch.Generator().manual_seed(2)) > 0.5
    with torch.no_grad():
        expected = network.predict(features, points[None], seen[None], extra(network, points[None])).fine[0]
    found = network_level(network, features, extra=of_body(network), seen=lambda p: seen, certain=1e9)(points)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_surface_of_a_network(network):
    """Random weights, steered to a ball: what is tested is that grid and network fit together."""
    features = encode(network, inputs_of(network))
    answer = network_level(network, features, extra=of_body(network))
    centre = torch.as_tensor(CENTRE, dtype=torch.float32)

    def steered(points):
        return 0.01 * answer(points) + 100 * (0.3 - (points - centre).norm(dim=-1))

    corners = CENTRE + 0.2 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    surface = extract_surface(steered, Band(lattice_around(corners, 64), corners, np.array([[0, 1, 2], [5, 6, 7]])))
    radius = np.linalg.norm(surface.vertices - CENTRE, axis=1)
    assert np.allclose(radius, 0.3, atol=0.01)


def test_features_with_nan_are_refused(network):
    inputs = inputs_of(network)
    inputs.rgb[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="rgb"):
        encode(network, inputs)
    features = encode(network, inputs_of(network, people=2))
    with pytest.raises(InputError, match="one person"):
        network_level(network, features, extra=of_body(network))
