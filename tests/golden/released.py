"""Weights and inputs of the golden outputs, made again from their recipe (README.md), one tensor at a time."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent


def golden():
    with np.load(FOLDER / "deepmulticap.npz", allow_pickle=False) as file:
        return dict(file)


def released_keys():
    return json.loads((FOLDER / "deepmulticap_keys.json").read_text())


def seeded(key, shape):
    """The recipe's tensor for a released key without its ``module.`` prefix."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF)
    r = random.standard_normal(shape).astype(np.float32)
    name = key.rpartition(".")[2]
    if name == "running_var":
        r = 1 + np.float32(0.1) * np.abs(r)
    elif name == "weight" and len(shape) == 1:
        r = 1 + np.float32(0.1) * r
    elif len(shape) >= 2:
        r = r / np.float32(math.sqrt(math.prod(shape[1:])))
    else:
        r = np.float32(0.1) * r
    return torch.from_numpy(np.asarray(r, np.float32))


def seeded_state(shapes, prefix=""):
    """A state dict as released: every key with its seeded tensor, under its name with ``prefix``."""
    return {prefix + key: seeded(key, tuple(shape)) for key, shape in shapes.items()}


def seeded_inputs():
    """Images, predicted normals and global normal maps (1, 4, 3, 512, 512), volume (1, 1, 128, 128, 128)."""
    random = np.random.RandomState(7)
    maps = [(random.rand(1, 4, 3, 512, 512) * 2 - 1).astype(np.float32) for _ in range(3)]
    return *map(torch.from_numpy, maps), torch.from_numpy((random.rand(1, 1, 128, 128, 128) > 0.7).astype(np.float32))
