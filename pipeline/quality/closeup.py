"""People close up in one camera: the image, and beside it their meshes, a column a source, lit so that relief shows."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from pipeline.cameras import Camera
from pipeline.meshes.colours import person_colour
from pipeline.meshes.geometry import vertex_normals
from pipeline.quality.drawing import Mesh, draw_tag
from pipeline.raster import projected_window
from pipeline.raster_open3d import Open3DRaster

HEIGHT, WIDEST = 900, 1200  # of a column, pixels
_LIGHT = np.array([-0.35, -0.55, -0.75])  # in the camera: from its upper left
GROUND = 236


def closeup(
    camera: Camera, image: np.ndarray | None, columns: Mapping[str, Mapping[int, Mesh]], height: int = HEIGHT
) -> np.ndarray:
    """(H, W, 3) RGB: the image cut to the people, and every column's meshes as the camera sees them, with its name.

    Args:
        camera, image: undistorted; the image may be missing.
        columns: name -> meshes by person id, in the world.

    Raises:
        ValueError: nobody is in view.
    """
    everybody = [vertices for people in columns.values() for vertices, _ in people.values()]
    window = projected_window(camera, np.concatenate(everybody), margin=12) if everybody else None
    if window is None:
        raise ValueError(f"nobody is in view of camera {camera.name}")
    x0, y0, x1, y1 = window
    scale = min(height / (y1 - y0), WIDEST / (x1 - x0))
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    near = camera.cropped(window).scaled(size)
    tiles = {} if image is None else {"image": cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_CUBIC)}
    tiles |= {name: shaded(near, people) for name, people in columns.items()}
    for name, tile in tiles.items():
        draw_tag(tile, name, (0, 0), max(1.0, size[1] / 600))
    return np.concatenate([np.pad(t, ((0, 0), (0, 6), (0, 0)), constant_values=255) for t in tiles.values()], 1)


def shaded(camera: Camera, people: Mapping[int, Mesh], ground: int = GROUND) -> np.ndarray:
    """(H, W, 3) RGB: meshes by person id as a camera sees them, each person in a pale colour of their own, lit from the
    camera's upper left and from both sides, over ``ground``."""
    picture = np.full((camera.size[1], camera.size[0], 3), ground, np.uint8)
    if not any(len(faces) for _, faces in people.values()):
        return picture
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in people.values())])[:-1]
    vertices = np.concatenate([vertices for vertices, _ in people.values()])
    faces = np.concatenate([np.asarray(f, np.int64) + s for (_, f), s in zip(people.values(), starts, strict=True)])
    seen = Open3DRaster(threads=1).render(vertices, faces, camera)
    hit = seen.hit
    normals = seen.interpolate(faces, vertex_normals(vertices, faces))[hit] @ camera.R.T
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    normals *= np.where(normals[:, 2:] > 0, -1, 1)  # both sides are seen
    light = 0.28 + 0.72 * np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    colours = np.stack([0.33 * np.array(person_colour(i)) + 0.67 * 210 for i in people])
    owner = np.searchsorted(starts, faces[seen.triangle[hit], 0], side="right") - 1
    picture[hit] = (colours[owner] * light[:, None]).clip(0, 255)
    return picture
