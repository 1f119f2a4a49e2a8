"""Weights and input of the golden outputs of human parsing, made again from their recipe (README.md)."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent


def golden_parsing():
    with np.load(FOLDER / "human_parsing.npz", allow_pickle=False) as file:
        return dict(file)


def published_shapes(classes):
    """Parameter names and shapes of the published network for so many labels."""
    shapes = json.loads((FOLDER / "human_parsing_keys.json").read_text())
    return {k: tuple(classes if n == "classes" else n for n in v) for k, v in shapes.items()}


def seeded_parsing(key, shape):
    """The recipe's tensor for a published key without its ``module.`` prefix."""
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF)
    r = random.standard_normal(shape).astype(np.float32)
    name = key.rpartition(".")[2]
    if name == "running_var":
        r = 1 + np.float32(0.1) * np.abs(r)
    elif name == "weight" and len(shape) == 1:
        size = 0.3 if ".bn3." in key else 0.8  # so that neither signal nor sum of the residual blocks runs away
        r = np.sign(r) * (np.float32(size) + np.float32(0.1) * np.abs(r))  # published scales may be negative
    elif len(shape) >= 2:
        r = r * np.float32(math.sqrt(2 / math.prod(shape[1:])))
    else:
        r = np.float32(0.1) * r
    return torch.from_numpy(np.asarray(r, np.float32))


def seeded_parsing_state(classes):
    return {"module." + key: seeded_parsing(key, shape) for key, shape in published_shapes(classes).items()}


def seeded_image(size):
    """(1, 3, *size) normalised BGR."""
    return torch.from_numpy(np.random.RandomState(11).standard_normal((1, 3, *size)).astype(np.float32))
