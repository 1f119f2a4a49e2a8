"""Texture coordinates of a mesh that has none, and its texture from the views."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from pipeline.meshes.geometry import check_mesh, vertex_normals
from pipeline.raster import blend, corner_weights
from pipeline.texture import unwrap_child
from pipeline.texture.atlas import Atlas
from pipeline.texture.colours import agreeing, blended, trusted
from pipeline.texture.views import ColourView

PADDING = 2
"""Texels between charts, so that they do not bleed into one another."""
PATIENCE_S = (120.0, 300.0, 900.0)
"""For texture coordinates of one mesh, try by try: they take seconds, and minutes where a machine is overrun."""
JPEG_QUALITY = 85
"""Of textures of single frames: a fifth smaller than at 90."""


class UnwrapStalled(RuntimeError):
    """No texture coordinates came, try after try: the machine hangs or is out of memory."""


def unwrapped(vertices: np.ndarray, faces: np.ndarray, size: int) -> Atlas:
    """Charts of a mesh on ``size`` x ``size`` texels (xatlas, in a process of its own).

    Raises:
        ValueError: no faces, or what ``check_mesh`` refuses.
        UnwrapStalled: no answer within ``PATIENCE_S``.
        RuntimeError: xatlas breaks over the mesh; holds what it said.
    """
    places, triangles = check_mesh(vertices, faces)
    if not len(triangles):
        raise ValueError("a mesh without faces has no texture")
    request = io.BytesIO()
    np.savez(request, vertices=places, faces=triangles.astype(np.uint32), size=size, padding=PADDING)
    with np.load(io.BytesIO(_answer(request.getvalue())), allow_pickle=False) as found:
        uv, uv_faces = np.asarray(found["uv"], np.float64), np.asarray(found["uv_faces"], np.int64)
    # Charts that do not fit at the asked density make the atlas larger: all of it is brought onto the image.
    return Atlas(triangles, uv, uv_faces, size)


def _answer(request: bytes) -> bytes:
    """What the child says; one that hangs is ended and asked again."""
    command = [sys.executable, "-P", unwrap_child.__file__]
    for patience in PATIENCE_S:
        try:
            return subprocess.run(command, input=request, capture_output=True, timeout=patience, check=True).stdout
        except subprocess.TimeoutExpired:
            continue
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace")[-2000:] or f"exit status {error.returncode}"
            raise RuntimeError(f"texture coordinates were not found:\n{said}") from None
    raise UnwrapStalled(f"no texture coordinates in {len(PATIENCE_S)} tries, the last of {PATIENCE_S[-1]:g} s")


def texture_of(
    atlas: Atlas,
    vertices: np.ndarray,
    fine: tuple[np.ndarray, np.ndarray],
    colours: np.ndarray,
    views: Sequence[ColourView],
    gains: np.ndarray,
) -> np.ndarray:
    """(size, size, 3) uint8 texture of a light mesh, from what the views show of the fine mesh that it stands for.

    Places of the light one are looked up where they lie on the fine one, or views from different sides would blur them.

    Args:
        vertices: (K, 3) of the light mesh. fine: vertices (V, 3) and faces of the other.
        colours: (V, 3) of the fine vertices, which count where views say little or disagree.
        views, gains: cameras and their factors (C, 3).
    """
    from pipeline.raster_open3d import RayScene

    places, faces = np.asarray(fine[0], np.float64), np.asarray(fine[1])
    on = RayScene(places, faces, threads=1).nearest(atlas.points(vertices))
    corners, weights = faces[on["triangle"]], corner_weights(on["uv"])
    spread = blend(weights, corners, np.asarray(colours, np.float64))
    if not views:
        return atlas.image(spread)
    normals = blend(weights, corners, vertex_normals(places, faces).astype(np.float64))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    points = blend(weights, corners, places)
    samples = agreeing([v.sample(points, normals) for v in views], gains, spread)
    seen, weight = blended(samples, gains)
    sure = trusted(weight)[:, None]
    return atlas.image(sure * seen + (1 - sure) * spread)
