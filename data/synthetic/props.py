"""Meshes of the things that people use and hide behind."""

from __future__ import annotations

import numpy as np

from data.synthetic.acts import Thing
from data.synthetic.noise import Noise

_CELLS = 6  # of each side of a box, along both edges: light is known at its corners


def thing_mesh(thing: Thing, frame: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (T, 3) of a box; its sides share no vertices, so that its edges stay sharp."""
    vertices, faces, _ = _unit()
    c, s = np.cos(thing.heading[frame]), np.sin(thing.heading[frame])
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return (vertices * thing.size) @ turn.T + thing.centre[frame], faces


def thing_uv() -> np.ndarray:
    """(V, 2) texture coordinates of ``thing_mesh``."""
    return _unit()[2]


def thing_texture(thing: Thing, size: int, generator: np.random.Generator) -> np.ndarray:
    """(S, S, 3) uint8: boards with a grain."""
    u, v = np.meshgrid(np.arange(size) / size, np.arange(size) / size)
    noise = Noise(generator)
    board = np.floor(v * 8)
    grain = noise(np.stack([u * 0.3, v * 4, board], -1), 0.05)
    tone = 1 + 0.12 * grain + 0.06 * np.sin(37.0 * board)[...]
    dark = np.where(np.abs(v * 8 - board) < 0.04, 0.7, 1.0)
    colour = np.array(thing.colour) * (tone * dark)[..., None]
    return np.clip(colour * 255 + 0.5, 0, 255).astype(np.uint8)


def _unit() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cube of one metre about the origin, outside counter-clockwise; each side is drawn on the whole texture."""
    n = _CELLS + 1
    a, b = (x.ravel() for x in np.meshgrid(np.linspace(-0.5, 0.5, n), np.linspace(-0.5, 0.5, n), indexing="ij"))
    i, j = (x.ravel() for x in np.meshgrid(np.arange(_CELLS), np.arange(_CELLS), indexing="ij"))
    corner = i * n + j
    quads = np.stack([corner, corner + n, corner + n + 1, corner + 1], 1)
    one = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    vertices, faces, uv = [], [], []
    for axis in range(3):
        for side in (0.5, -0.5):
            points = np.empty((n * n, 3))
            points[:, axis], points[:, (axis + 1) % 3], points[:, (axis + 2) % 3] = side, a, b
            faces.append((one if side > 0 else one[:, ::-1]) + len(vertices) * n * n)
            vertices.append(points)
            uv.append(np.stack([a + 0.5, b + 0.5], 1))
    return np.concatenate(vertices), np.concatenate(faces), np.concatenate(uv)
