"""The result beside what was filmed: rendered views, how silhouettes overlap, how colours differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.cameras import Camera
from pipeline.meshes.glb import StillMesh
from pipeline.quality.drawing import draw_tag
from pipeline.raster import Raster, RasterResult, Window, projected_window
from pipeline.texture.atlas import decoded, looked_up
from pipeline.texture.views import Seen

GROUND = 236
STRETCH = 3.0
"""Differences are shown so many times as large."""


@dataclass(frozen=True)
class ViewScore:
    """A person's result in one view.

    Attributes:
        iou: of the mask and the rendered silhouette, less what others hide.
        colour_error: mean absolute difference from the image over the pixels that both have, 0..255; None where the
            result has no colours or no pixel.
    """

    iou: float
    colour_error: float | None


def view_score(
    seen: Seen, hidden: np.ndarray, mesh: StillMesh, gain: np.ndarray, raster: Raster
) -> ViewScore | None:
    """Of one person. None where neither mask nor mesh is in view.

    Args:
        seen: the camera's picture and the person's mask. hidden: (H, W) bool, where somebody stands before them.
        gain: (3,) by which this camera's colours were multiplied when the mesh was coloured.
    """
    window = _joined(projected_window(seen.camera, mesh.vertices), _window_of(seen.mask))
    if window is None:
        return None
    cut = seen.cropped(window)
    x0, y0, x1, y1 = window
    result = raster.render(mesh.vertices, mesh.faces, cut.camera)
    shown = result.hit & ~hidden[y0:y1, x0:x1]
    both = cut.mask & shown
    error = None
    if _coloured(mesh) and both.any():
        error = float(np.abs(painted(result, mesh, gain)[both] - cut.image[both]).mean())
    return ViewScore(float(both.sum() / max(1, (cut.mask | shown).sum())), error)


def _coloured(mesh: StillMesh) -> bool:
    return mesh.skin is not None or mesh.colours is not None


def painted(result: RasterResult, mesh: StillMesh, gain: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 0..255 of a rendered mesh with texture or colours, in the exposure of the camera that has the
    gain."""
    if mesh.skin is not None:
        coordinates = result.interpolate(mesh.skin.faces, mesh.skin.uv, 0.0)
        own = np.where(result.hit[..., None], looked_up(decoded(mesh.skin.image), coordinates), 0).astype(np.float32)
    else:
        own = result.interpolate(mesh.faces, mesh.colours, 0.0)
    return np.clip(own / np.asarray(gain, np.float32), 0, 255)


def comparison(
    camera: Camera,
    image: np.ndarray | None,
    people: Mapping[int, tuple[StillMesh, np.ndarray]],
    raster: Raster,
    label: str,
    *,
    beside: bool = True,
    height: int = 420,
) -> np.ndarray | None:
    """(height, W, 3) RGB: the people as they were delivered, in one view; None if nobody is in it.

    Args:
        image: undistorted, or None. people: mesh and gain by id.
        beside: the image on the left, and on the right where and how much the result differs from it.
    """
    window = projected_window(camera, np.concatenate([m.vertices for m, _ in people.values()]), 16) if people else None
    if window is None:
        return None
    blank = np.full((camera.size[1], camera.size[0], 3), GROUND, np.uint8) if image is None else image
    cut = Seen(camera, blank, np.zeros(blank.shape[:2], bool)).cropped(window)
    picture, hit = _rendered(cut.camera, list(people.values()), raster)
    tiles = [np.where(hit[..., None], picture, GROUND)]
    if beside and image is not None:
        off = np.clip(STRETCH * np.abs(picture - cut.image).mean(-1), 0, 255)
        tiles = [cut.image, *tiles, np.where(hit, off, 0)[..., None].repeat(3, -1)]
    scale = height / tiles[0].shape[0]
    size = (max(1, round(scale * tiles[0].shape[1])), height)
    made = [cv2.resize(t.astype(np.uint8), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
            for t in tiles]  # fmt: skip
    row = np.concatenate([np.pad(t, ((0, 4), (0, 4), (0, 0)), constant_values=255) for t in made], 1)
    draw_tag(row, label, (0, 0), 0.8)
    return row


def sheet(rows: Sequence[np.ndarray], columns: int = 2) -> np.ndarray:
    """Pictures of one height as one, ``columns`` beside one another."""
    lines = [np.concatenate(rows[k : k + columns], 1) for k in range(0, len(rows), columns)]
    width = max(line.shape[1] for line in lines)
    return np.concatenate([np.pad(t, ((0, 0), (0, width - t.shape[1]), (0, 0)), constant_values=255) for t in lines])


def _rendered(
    camera: Camera, meshes: Sequence[tuple[StillMesh, np.ndarray]], raster: Raster
) -> tuple[np.ndarray, np.ndarray]:
    """Everybody in one picture (H, W, 3) float32, the nearest in front, and where somebody is."""
    depth = np.full(camera.size[::-1], np.inf, np.float32)
    picture = np.zeros((*depth.shape, 3), np.float32)
    for mesh, gain in meshes:
        result = raster.render(mesh.vertices, mesh.faces, camera)
        if not _coloured(mesh):
            light = 0.35 + 0.65 * np.abs(result.normal @ camera.R[2].astype(np.float32))
            colours = light[..., None] * np.array(mesh.colour, np.float32)
        else:
            colours = painted(result, mesh, gain)
        front = result.depth < depth
        picture[front], depth[front] = colours[front], result.depth[front]
    return picture, np.isfinite(depth)


def _window_of(mask: np.ndarray) -> Window | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _joined(a: Window | None, b: Window | None) -> Window | None:
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
