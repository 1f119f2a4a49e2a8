"""Texture coordinates of a mesh that has none, and its texture from the views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.meshes.geometry import check_mesh, vertex_normals
from pipeline.texture.atlas import Atlas
from pipeline.texture.colours import blended, trusted
from pipeline.texture.views import ColourView

PADDING = 2
"""Texels between charts, so that they do not bleed into one another."""


def unwrapped(vertices: np.ndarray, faces: np.ndarray, size: int) -> Atlas:
    """Charts of a mesh on ``size`` x ``size`` texels (xatlas).

    Raises:
        ValueError: no faces, or what ``check_mesh`` refuses.
    """
    import xatlas

    places, triangles = check_mesh(vertices, faces)
    if not len(triangles):
        raise ValueError("a mesh without faces has no texture")
    atlas = xatlas.Atlas()
    atlas.add_mesh(places, triangles.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = size, PADDING, True
    atlas.generate(pack_options=packing)
    _, uv_faces, uv = atlas[0]
    # Charts that do not fit at the asked density make the atlas larger: all of it is brought onto the image.
    return Atlas(triangles, np.asarray(uv, np.float64), np.asarray(uv_faces, np.int64), size)


def texture_of(
    atlas: Atlas, vertices: np.ndarray, colours: np.ndarray, views: Sequence[ColourView], gains: np.ndarray
) -> np.ndarray:
    """(size, size, 3) uint8 texture of a mesh (V, 3) from views, balanced by gains (C, 3); where they say little it
    takes what the vertices' colours (V, 3) say."""
    spread = atlas.points(np.asarray(colours, np.float64))
    if not views:
        return atlas.image(spread)
    points, normals = atlas.points(vertices), atlas.points(vertex_normals(vertices, atlas.faces).astype(np.float64))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    seen, weight = blended([v.sample(points, normals) for v in views], gains)
    sure = trusted(weight)[:, None]
    return atlas.image(sure * seen + (1 - sure) * spread)
