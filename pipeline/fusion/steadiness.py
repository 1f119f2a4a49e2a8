"""How far a surface is from the body beneath it, at points that ride on the body: what is left of it is flicker."""

from __future__ import annotations

import numpy as np

from pipeline.fusion.skinning import PosedBody
from pipeline.meshes.geometry import vertex_areas
from pipeline.quality.metrics_motion import flicker_mm, offsets_along_normals

POINTS = 2000
REACH_M = 0.05  # further out is another limb, or cloth that hangs free of the body


class Probe:
    """The same points of a body in every frame, as many a square centimetre everywhere."""

    def __init__(self, body: PosedBody, count: int = POINTS) -> None:
        share = vertex_areas(body.vertices, body.faces)
        self._points = np.random.default_rng(0).choice(len(share), count, p=share / share.sum())

    def offsets(self, body: PosedBody, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """(N,) metres along the body's normals to a mesh; NaN beyond ``REACH_M``."""
        return offsets_along_normals(body.vertices[self._points], body.normals[self._points], vertices, faces, REACH_M)


def change_mm(before: np.ndarray, after: np.ndarray) -> float:
    """Root mean square difference of offsets, millimetres; NaN if none is known."""
    moved = after - before
    known = np.isfinite(moved)
    return 1000 * float(np.sqrt((moved[known] ** 2).mean())) if known.any() else float("nan")


def flickers_mm(before: list[np.ndarray], after: list[np.ndarray]) -> tuple[float, float]:
    """Flicker of three frames in a row, without and with fusion, at points that are known in all of both."""
    both = np.stack([*before, *after])
    both = both[:, np.isfinite(both).all(0)]
    return flicker_mm(both[:3]), flicker_mm(both[3:])
