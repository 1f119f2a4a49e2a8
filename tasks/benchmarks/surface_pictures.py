"""Pictures that compare surfaces: what the cameras saw, what every method makes of it, and the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from data.surface_scenes import SurfaceScene, Triangles
from pipeline.cameras import Camera
from pipeline.quality.closeup import shaded
from pipeline.raster import projected_window

TILE = 300  # pixels, height of a tile


def compare(scene: SurfaceScene, meshes: Mapping[str, Sequence[Triangles]]) -> bytes:
    """A PNG: a row of input views, below it a column a method and the truth, each from two sides."""
    truth = [p.surface for p in scene.people if p.surface is not None]
    columns = {**meshes, **({"truth": truth} if truth else {})}
    half = max(1, len(scene.rig) // 2)
    sides = [_framed(scene.rig.cameras[k], scene) for k in (0, half)]
    people = {name: dict(enumerate(parts)) for name, parts in columns.items()}
    rows = [[_named(shaded(camera, them, 255), _short(name)) for name, them in people.items()] for camera in sides]
    views = [_crop(c, i, scene) for c, i in zip(scene.rig.cameras, scene.images, strict=True)]
    sheets = [_row(views), *(_row(tiles) for tiles in rows)]
    width = max(s.shape[1] for s in sheets)
    padded = [np.pad(s, ((0, 8), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in sheets]
    picture = np.concatenate(padded)
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def _row(tiles: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.pad(t, ((0, 0), (0, 8), (0, 0)), constant_values=255) for t in tiles], 1)


def _window(camera: Camera, scene: SurfaceScene) -> tuple[int, int, int, int]:
    known = [p.surface or (p.body.mesh if p.body else None) for p in scene.people]
    points = np.concatenate([mesh[0] for mesh in known if mesh is not None] or [np.zeros((0, 3))])
    return projected_window(camera, points, margin=12) or (0, 0, *camera.size)


def _crop(camera: Camera, image: np.ndarray, scene: SurfaceScene) -> np.ndarray:
    x0, y0, x1, y1 = _window(camera, scene)
    part = image[y0:y1, x0:x1]
    return cv2.resize(part, (max(1, round(part.shape[1] * TILE / part.shape[0])), TILE), interpolation=cv2.INTER_AREA)


def _framed(camera: Camera, scene: SurfaceScene) -> Camera:
    """The camera, cut to the people and scaled to a tile."""
    x0, y0, x1, y1 = window = _window(camera, scene)
    return camera.cropped(window).scaled((max(1, round((x1 - x0) * TILE / (y1 - y0))), TILE))


def _short(name: str) -> str:
    """A file of weights (``weights:FOLDER/surface.safetensors``) goes by its folder's name."""
    return name.split("/")[-2] if "/" in name else name


def _named(tile: np.ndarray, name: str) -> np.ndarray:
    out = np.ascontiguousarray(np.pad(tile, ((22, 0), (0, max(0, 9 * len(name) - tile.shape[1])), (0, 0)),
                                      constant_values=255))  # fmt: skip
    cv2.putText(out, name, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return out
