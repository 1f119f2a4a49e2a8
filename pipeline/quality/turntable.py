"""A turntable: everybody of one frame from all around, as one moving picture that a page can hold without a script."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from pipeline.cameras import Camera
from pipeline.meshes.colours import person_colour
from pipeline.quality.drawing import Mesh
from pipeline.raster import Raster

FIELD_OF_VIEW = np.deg2rad(28)
GROUND = (24, 28, 34)


def turntable(
    people: Mapping[int, Mesh], up: np.ndarray, raster: Raster, views: int = 24, height: int = 360, seconds: float = 4.0
) -> bytes:
    """An animated WebP, once around in ``seconds``.

    Args:
        people: person id -> (vertices (V, 3) metres, faces (T, 3)).
        up: (3,) direction, unit length.

    Raises:
        ValueError: nobody is there.
    """
    from PIL import Image

    if not people:
        raise ValueError("nobody to turn")
    vertices = np.concatenate([v for v, _ in people.values()])
    starts = np.cumsum([0, *(len(v) for v, _ in people.values())])
    faces = np.concatenate([f + s for (_, f), s in zip(people.values(), starts, strict=False)])
    owner = np.repeat(np.arange(len(people)), [len(f) for _, f in people.values()])
    palette = np.array([person_colour(i) for i in people], np.float32)
    cameras = _around(vertices, up, views, height)
    pictures = []
    for camera, seen in zip(cameras, raster.render_views(vertices, faces, cameras), strict=True):
        light = 0.3 + 0.75 * np.abs(seen.normal @ camera.R[2].astype(np.float32))
        picture = np.empty((*seen.hit.shape, 3), np.uint8)
        picture[:] = GROUND
        colour = palette[owner[seen.triangle[seen.hit]]] * light[seen.hit][:, None]
        picture[seen.hit] = np.minimum(colour, 255).astype(np.uint8)
        pictures.append(Image.fromarray(picture))
    out = io.BytesIO()
    pictures[0].save(
        out, "WEBP", save_all=True, append_images=pictures[1:], duration=round(1000 * seconds / views), loop=0,
        quality=60, method=2,
    )  # fmt: skip
    return out.getvalue()


def _around(vertices: np.ndarray, up: np.ndarray, views: int, height: int) -> list[Camera]:
    """Cameras on a circle, slightly above, that all see everything."""
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    side = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    side /= np.linalg.norm(side)
    ahead = np.cross(up, side)
    middle = (vertices.min(0) + vertices.max(0)) / 2
    tall = np.ptp(vertices @ up)
    flat = vertices - middle - ((vertices - middle) @ up)[:, None] * up
    wide = 2 * np.linalg.norm(flat, axis=1).max()
    aspect = float(np.clip(1.15 * wide / max(tall, 1e-6), 0.75, 1.8))
    focal = 0.5 * height / np.tan(FIELD_OF_VIEW / 2)
    distance = wide / 2 + 1.35 * max(tall, wide / aspect) / (2 * np.tan(FIELD_OF_VIEW / 2))
    width = round(height * aspect)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    cameras = []
    for turn in np.arange(views) / views * 2 * np.pi:
        away = np.cos(turn) * side + np.sin(turn) * ahead + 0.15 * up
        away /= np.linalg.norm(away)
        right = np.cross(up, away)
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(right, away), -away])
        R[1] = np.cross(R[2], R[0])  # y points down in the image
        cameras.append(Camera("turntable", (width, height), K, R, -R @ (middle + distance * away)))
    return cameras
