"""One topology for a person's whole track: the body model, its skin moved out to where the clothed surface is.

In each frame a ray along a vertex' normal meets the frame's surface; the distance belongs to the vertex, not to the
pose, so that the median over frames is a clothed body at rest that the model's own skeleton moves. What flaps freely
(a coat's tail) is held in its middle place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pipeline.meshes.geometry import neighbours, vertex_normals
from pipeline.texture.colours import filled


@dataclass(frozen=True)
class RegistrationOptions:
    """How far the surface is looked for (metres, outwards and inwards), how well its normal has to agree, in how many
    frames at least, and how often the offsets are smoothed."""

    outwards: float = 0.20
    inwards: float = 0.05
    agreement: float = 0.4
    fewest: int = 1
    smoothing: int = 6


def distances_to(
    vertices: np.ndarray,
    faces: np.ndarray,
    surface_vertices: np.ndarray,
    surface_faces: np.ndarray,
    options: RegistrationOptions,
) -> np.ndarray:
    """(V,) metres along the normals of a posed body from its vertices to a surface; NaN where there is none.

    Of several crossings the nearest that faces the same way counts.
    """
    from pipeline.raster_open3d import RayScene

    normals = vertex_normals(vertices, faces).astype(np.float64)
    scene = RayScene(surface_vertices, surface_faces, threads=1)
    out = np.full(len(vertices), np.nan)
    for sign, reach in ((1.0, options.outwards), (-1.0, options.inwards)):
        hits = scene.cast(vertices, (sign * normals).astype(np.float32))
        good = (hits["distance"] < reach) & ((hits["normal"] * normals).sum(1) > options.agreement)
        found = sign * hits["distance"]
        nearer = good & ~(np.abs(out) <= hits["distance"])
        out[nearer] = found[nearer]
    return out


def offsets_of(per_frame: np.ndarray, faces: np.ndarray, still: np.ndarray, options: RegistrationOptions) -> np.ndarray:
    """(V,) metres by which the body's skin is moved: the median over frames (F, V), smooth, 0 where it is to stay.

    Args:
        still: (V,) 0..1, 1 for vertices that keep the body's own place (fingers, eyes).
    """
    found = np.isfinite(per_frame).sum(0) >= options.fewest
    middle = np.zeros(per_frame.shape[1])
    if found.any():
        middle[found] = np.nanmedian(per_frame[:, found], axis=0)
    known = found | (still >= 1)
    middle[still >= 1] = 0
    middle = filled(middle[:, None], known, faces)[:, 0] if known.any() else middle
    smooth = _averaging(faces, len(middle))
    for _ in range(options.smoothing):
        middle = 0.5 * middle + 0.5 * (smooth @ middle)
    return middle * (1 - still)


def _averaging(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    links = neighbours(faces, count)
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    return sparse.diags(1 / degree) @ links
