"""Pictures of a still's people: their bodies over the image, and the scene from above."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.cameras import Camera
from pipeline.meshes.colours import person_colour
from pipeline.raster import projected_window
from pipeline.raster_open3d import Open3DRaster
from pipeline.stills.people import StillPeople

LONGEST, SHORTEST, MOST_ENLARGED = 1600, 832, 8
"""Pixels of a picture's longer side at most, and at least as far as so much enlarging gives them."""
_PAPER, _LINE = (250, 250, 250), (205, 205, 205)


def overlay(image: np.ndarray, people: StillPeople, meshes: list[np.ndarray], faces: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) uint8 with the bodies (N of (V, 3), camera axes) drawn over, nearest in front; large images
    made smaller, small ones larger, so that bodies of a few pixels can be seen."""
    longest = max(image.shape[:2])
    scale = min(LONGEST / longest, max(1.0, min(SHORTEST / longest, MOST_ENLARGED)))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    out = cv2.resize(image, size, interpolation=how).astype(np.float32)
    camera = camera_of(people)
    raster = Open3DRaster(threads=1)
    depth = np.full(out.shape[:2], np.inf, np.float32)
    for number, vertices in enumerate(meshes):
        window = projected_window(camera.scaled(size), vertices)
        if window is None:
            continue
        x0, y0, x1, y1 = window
        seen = raster.render(vertices, faces, camera, size, window)
        nearer = seen.hit & (seen.depth < depth[y0:y1, x0:x1])
        depth[y0:y1, x0:x1][nearer] = seen.depth[nearer]
        shade = 0.45 + 0.55 * np.clip(-(seen.normal @ camera.R[2]), 0, 1)
        colour = shade[..., None] * _of(number)
        out[y0:y1, x0:x1][nearer] = (0.25 * out[y0:y1, x0:x1] + 0.75 * colour)[nearer]
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def from_above(people: StillPeople, meshes: list[np.ndarray], side: int = 800) -> np.ndarray:
    """The bodies' vertices seen from above (side, side, 3): camera at the bottom, a line every five metres."""
    out = np.full((side, side, 3), _PAPER, np.uint8)
    if not meshes:
        return out
    points = [m[:, [0, 2]] for m in meshes]
    low, high = np.min([p.min(0) for p in points], 0), np.max([p.max(0) for p in points], 0)
    reach = max(float(high[1]), 2 * float(np.abs([low[0], high[0]]).max()), 1.0) * 1.08
    for metres in range(0, int(reach) + 1, 5):
        y = side - 1 - round(metres / reach * (side - 1))
        cv2.line(out, (0, y), (side - 1, y), _LINE, 1)
        cv2.putText(out, f"{metres} m", (6, max(12, y - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (120, 120, 120), 1)
    for number, at in enumerate(points):
        x = np.rint((at[:, 0] / reach + 0.5) * (side - 1)).astype(int)
        y = side - 1 - np.rint(at[:, 1] / reach * (side - 1)).astype(int)
        inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
        out[y[inside], x[inside]] = _of(number).astype(np.uint8)
    return out


def _of(number: int) -> np.ndarray:
    return np.asarray(person_colour(number), np.float32) * (255 if np.max(person_colour(number)) <= 1 else 1)


def camera_of(people: StillPeople) -> Camera:
    focal, (x, y) = people.camera.focal, people.camera.principal
    K = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1.0]])
    return Camera(name="still", K=K, R=np.eye(3), t=np.zeros(3), size=people.size)
