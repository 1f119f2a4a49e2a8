"""Batches for guided normal networks: windows lie on the person, and a later start sees what it would have seen."""

import itertools

import numpy as np
import torch

from data.training.batches import NormalBatch
from data.training.guides import taking_turns, windows_of


def test_windows_lie_on_the_person_and_cut_all_maps_alike():
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    place = torch.stack([rows, columns, rows + columns])
    mask = (rows > 50) & (columns < 9)  # a corner: windows are held inside the image
    batch = NormalBatch(place.repeat(2, 1, 1)[None], place[None], mask[None])
    for seed in range(20):
        cut = windows_of(batch, 16, np.random.default_rng(seed))
        assert cut.rgb.shape == (1, 6, 16, 16) and cut.normals.shape == (1, 3, 16, 16)
        assert (cut.rgb[0, :3] == cut.normals[0]).all() and cut.mask.any()
        there = (cut.normals[0, 0] > 50) & (cut.normals[0, 1] < 9)
        assert (cut.mask[0] == there).all()
    nobody = NormalBatch(batch.rgb, batch.normals, torch.zeros_like(batch.mask))
    assert windows_of(nobody, 16, np.random.default_rng(0)).mask.shape == (1, 16, 16)


def test_sources_take_turns_wherever_a_training_goes_on():
    def source(name):
        return lambda start: (f"{name}{k}" for k in itertools.count(start))

    sources = [source("a"), source("b"), source("c")]
    whole = list(itertools.islice(taking_turns(sources, 0), 12))
    assert whole[:4] == ["a0", "b0", "c0", "a1"]
    for start in range(1, 7):
        assert list(itertools.islice(taking_turns(sources, start), 5)) == whole[start : start + 5]
