"""A ball as a body: one bone that moves it, so that every answer is known and quick."""

from __future__ import annotations

import numpy as np

from pipeline.fusion.fuse import WindowFrame, window_frame
from pipeline.fusion.options import FusionOptions
from pipeline.fusion.skinning import PosedBody
from pipeline.fusion.sparse_grid import PlainField, zero_level_set
from pipeline.fusion.surface import prepare

RADIUS = 0.2
OPTIONS = FusionOptions(voxel_m=0.012, sigma_m=0.02)


def ball(radius: float = RADIUS, voxel: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces around the origin."""
    field = PlainField(lambda points: np.linalg.norm(points, axis=1) - radius)
    return zero_level_set(field, np.full(3, -radius), np.full(3, radius), voxel)


def at(frame: int) -> np.ndarray:
    """(3, 4) the bone's transform in a frame: it turns and moves."""
    c, s = np.cos(0.2 * frame), np.sin(0.2 * frame)
    return np.array([[c, -s, 0, 0.03 * frame], [s, c, 0, 1.0], [0, 0, 1, 0.5]])


def moved(points: np.ndarray, frame: int) -> np.ndarray:
    return points @ at(frame)[:, :3].T + at(frame)[:, 3]


def body(frame: int) -> PosedBody:
    vertices, faces = ball(voxel=0.04)
    return PosedBody(moved(vertices, frame), faces, np.broadcast_to(at(frame), (len(vertices), 3, 4)))


def frame_of(frame: int, vertices=None, faces=None, options: FusionOptions = OPTIONS, seen=None) -> WindowFrame:
    """A window's frame whose mesh, given at rest, is carried by the ball exactly."""
    if vertices is None:
        vertices, faces = ball()
    return window_frame(prepare(moved(vertices, frame), faces, seen), body(frame), options)
