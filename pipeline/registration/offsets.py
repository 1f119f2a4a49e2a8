"""One topology for a person's whole track: the body model, its skin moved out to where the clothed surface is.

In each frame a ray along a vertex' direction (``outwards``) meets the frame's surface; the distance belongs to the
vertex, not to the pose, so that the median over frames is a clothed body at rest that the model's own skeleton moves.
What flaps freely (a coat's tail) is held in its middle place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.registration.outwards import Outwards

ROBUST_STEPS = 4


@dataclass(frozen=True)
class RegistrationOptions:
    """How far the surface is looked for (metres, outwards and inwards), how well its normal has to agree, in how many
    frames at least, and from how far off its surroundings (metres) an offset counts half."""

    outwards: float = 0.20
    inwards: float = 0.05
    agreement: float = 0.4
    fewest: int = 1
    doubtful: float = 0.015


def distances_to(
    vertices: np.ndarray,
    outwards: Outwards,
    surface_vertices: np.ndarray,
    surface_faces: np.ndarray,
    options: RegistrationOptions,
) -> np.ndarray:
    """(V,) metres from the vertices of a posed body to a surface, along the body's smooth directions; NaN where nothing
    is met.

    Of several crossings the nearest that faces the same way counts.
    """
    from pipeline.raster_open3d import RayScene

    ways = outwards.directions(vertices)
    scene = RayScene(surface_vertices, surface_faces, threads=1)
    out = np.full(len(vertices), np.nan)
    for sign, reach in ((1.0, options.outwards), (-1.0, options.inwards)):
        hits = scene.cast(vertices, (sign * ways).astype(np.float32))
        good = (hits["distance"] < reach) & ((hits["normal"] * ways).sum(1) > options.agreement)
        found = sign * hits["distance"]
        nearer = good & ~(np.abs(out) <= hits["distance"])
        out[nearer] = found[nearer]
    return out


def offsets_of(
    per_frame: np.ndarray, outwards: Outwards, still: np.ndarray, options: RegistrationOptions
) -> np.ndarray:
    """(V,) metres by which the body's skin is moved: the median over frames (F, V), smooth, 0 where it is to stay.

    A ray that slips past what it should have met, or meets a neighbour, stands out from those about it: it counts less.

    Args:
        still: (V,) 0..1, 1 for vertices that keep the body's own place (fingers, the face).
    """
    found = (np.isfinite(per_frame).sum(0) >= options.fewest) & outwards.seen
    if not found.any():
        return np.zeros(per_frame.shape[1])
    middle = np.zeros(per_frame.shape[1])
    middle[found] = np.nanmedian(per_frame[:, found], axis=0)
    middle *= 1 - still
    trust = np.where(found, 1.0, 0.0)
    trust[still > 0] = np.maximum(trust, still)[still > 0]
    smooth = outwards.smoothed(middle, trust)
    for _ in range(ROBUST_STEPS):
        doubt = 1 / (1 + ((middle - smooth) / options.doubtful) ** 2)
        smooth = outwards.smoothed(middle, trust * np.maximum(doubt, still))
    return smooth * (1 - still)
