"""A frame's own mesh put where the frames around it say it is, part by part of the body.

The mean over a window (equation 10) is taken in the pose of the middle frame, and alignment brings its neighbours onto
that frame's mesh: what is wrong with where its parts stand stays. Here each part's way through the frames is followed
from mesh to mesh and smoothed by a parabola (Savitzky and Golay, 1964), which keeps places, speeds and accelerations.
A body's motion between frames is close to a parabola; a reconstruction's errors are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipeline.fusion.align import moved
from pipeline.fusion.calm import DEGREE, smoothing

if TYPE_CHECKING:
    from pipeline.fusion.fuse import WindowFrame

LIMIT_M = 0.004
"""A parabola that is farther off is a motion it cannot follow: a shift of this length counts half, longer ones less."""


def steadying(own: WindowFrame, around: Mapping[int, WindowFrame]) -> np.ndarray:
    """(V, 3) metres by which the vertices of ``own`` are to be shifted.

    Args:
        own: a frame that takes part (``reason`` 0), its body with ``parts``.
        around: the frames beside it, by how many frames later each is; those that take no part are passed over. Fewer
            than three that do say nothing: the shift is 0.
    """
    carried = own.carried
    vertices = carried.surface.vertices
    there = {k: f for k, f in sorted(around.items()) if k and f.reason == 0}
    if len(there) <= DEGREE:
        return np.zeros_like(vertices)
    *shares, _ = smoothing([*there, 0])
    shift = np.zeros_like(vertices)
    for share, frame in zip(shares, there.values(), strict=True):
        shift += share * (moved(own.at(frame), carried.parts, own.onto(frame), noise_m=0.0) - vertices)
    return shift / (1 + (shift**2).sum(1, keepdims=True) / LIMIT_M**2)
