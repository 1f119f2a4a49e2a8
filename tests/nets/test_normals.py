"""What a guided normal network reads from shading: the light, and folds that the guide does not have."""

import pytest
import torch
from torch.nn import functional as nn_functional

from nets.normals import SMALL_REFINER, NormalNetwork, ShadingHead, _shading

SIZE = 96
LIGHT = torch.tensor([0.5, -0.4, -0.3])


def folded(height: float) -> torch.Tensor:
    """(3, S, S) normals along a camera's axes of a broad bulge with folds, ``height`` pixels high and ten apart."""
    y, x = torch.meshgrid(torch.arange(SIZE) - SIZE / 2, torch.arange(SIZE) - SIZE / 2, indexing="ij")
    wave = 2 * torch.pi / 10 * height * torch.cos(2 * torch.pi / 10 * (x + 0.5 * y))
    return nn_functional.normalize(torch.stack([x / 60 + wave, y / 60 + 0.5 * wave, -torch.ones_like(x)]), dim=0)


def seen(colours: torch.Tensor, normals: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
    """(1, 6, S, S): a surface of these colours in the light, with a guide."""
    bright = colours * (0.6 + torch.einsum("c,chw->hw", LIGHT, normals).clamp_min(-0.5))
    return torch.cat([(2 * bright - 1).clamp(-1, 1).expand(3, -1, -1), guide])[None]


@pytest.mark.parametrize("striped", [False, True])
def test_folds_are_read_from_brightness_but_at_edges_of_colours(striped):
    colours = torch.full((SIZE, SIZE), 0.6)
    if striped:
        colours[30:60] = 0.3
    guide, true = folded(0.0), folded(0.3)
    told = _shading(seen(colours, true, guide))[0]
    light, turn = told[1:4, 0, 0], told[4:]
    assert nn_functional.cosine_similarity(light[:2], LIGHT[:2], dim=0) > 0.9
    along = nn_functional.normalize(LIGHT, dim=0)[:, None, None]
    rows = [r for r in range(10, SIZE - 10) if not striped or min(abs(r - 29.5), abs(r - 59.5)) > 6]
    folds, read = (((x * along).sum(0)[rows][:, 10:-10]).ravel() for x in (true - guide, turn))
    assert torch.corrcoef(torch.stack([folds, read]))[0, 1] > 0.9


def test_a_picture_without_shading_tells_of_no_folds():
    guide = folded(0.3)
    flat = torch.cat([torch.full((3, SIZE, SIZE), 0.1), guide])[None]
    told = _shading(flat)
    assert told[:, :1].abs().max() < 1e-4 and told[:, 4:].abs().max() < 1e-3
    assert not _shading(torch.zeros(1, 6, SIZE, SIZE)).any()


def test_what_has_learned_nothing_yet_says_what_was_said_before():
    torch.manual_seed(0)
    head, images, said = ShadingHead(8, 16), seen(torch.full((SIZE, SIZE), 0.6), folded(0.3), folded(0.0)), folded(0.1)
    better = head(images, said[None], torch.randn(1, 8, SIZE, SIZE))[0]
    assert ((better - said).norm(dim=0) <= 0.13 * (images[0, 3:] - said).norm(dim=0) + 1e-5).all()
    network = NormalNetwork(SMALL_REFINER)
    assert network(images).shape == (1, 3, SIZE, SIZE)
