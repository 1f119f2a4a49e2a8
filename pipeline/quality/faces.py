"""Faces made unrecognisable in pictures: where they are is told by the bodies, skeletons and detections that are there.

Whoever must not show faces had rather blur a head too many: every source that knows of a face adds to what is blurred.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.cameras import Camera
from pipeline.keypoints.detections import Detections
from pipeline.skeletons import SKEL19, SMPLX55

RADIUS_M = 0.14
"""Of a ball about the middle of the head that holds the face."""
SHARE = 3.0
"""In images alone: the circle's radius in distances between the landmarks of a face; no less than ``LEAST_PX``."""
LEAST_PX = 6.0
CELLS = 5
"""So many flat cells are left across a face."""
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


@dataclass(frozen=True)
class Circle:
    """Part of an image: centre x y and radius, pixels."""

    x: float
    y: float
    radius: float


def heads_of_joints(joints: np.ndarray) -> np.ndarray:
    """(P, 3) middles of the heads of SKEL-19 joints (P, 19, 3), metres; NaN where nothing of a head is known."""
    head = joints[:, [SKEL19.index(n) for n in ("nose", "left_ear", "right_ear")]]
    known = np.isfinite(head).all(-1)
    total = np.where(known[..., None], head, 0).sum(1)
    return np.where(known.any(1)[:, None], total / np.maximum(known.sum(1), 1)[:, None], np.nan)


def face_vertices(model) -> np.ndarray:
    """Numbers of the vertices of a body model that the head moves."""
    names = [SMPLX55.index(n) for n in SMPLX55.joints if n == "head" or "eye" in n or n == "jaw"]
    return np.flatnonzero(model.weights.cpu().numpy()[:, names].sum(1) > 0.5)


def circles(camera: Camera, heads: Iterable[np.ndarray], radius_m: float = RADIUS_M) -> list[Circle]:
    """Heads (3,) in the world as a camera sees them; those behind it or not known are left out."""
    out = []
    for head in heads:
        head = np.asarray(head, np.float64)
        if np.isfinite(head).all():
            (pixel,), depth = camera.project(head[None]), float(camera.to_camera(head[None])[0, 2])
            if np.isfinite(pixel).all() and depth > 0.05:
                out.append(Circle(*pixel.tolist(), camera.K[0, 0] * radius_m / depth))
    return out


def detected_circles(detections: Detections, row: int) -> list[Circle]:
    """Faces of everybody whom a detector saw in an image, whoever they are."""
    places = [detections.joints.index(n) for n in _FACE if n in detections.joints.joints]
    out = []
    for i in range(*detections.instances(row).indices(len(detections.keypoints))):
        points = detections.keypoints[i][places].astype(np.float64)
        points = points[(detections.scores[i][places] > 0) & np.isfinite(points).all(-1)]
        if len(points):
            middle = points.mean(0)
            spread = np.linalg.norm(points - middle, axis=1).max()
            out.append(Circle(*middle.tolist(), max(SHARE * spread, LEAST_PX, 0.1 * _height(detections, i))))
    return out


def _height(detections: Detections, i: int) -> float:
    """Of everything detected of somebody, pixels: a face seen from the side has no width to go by."""
    points = detections.keypoints[i][detections.scores[i] > 0]
    return float(np.ptp(points[:, 1])) if len(points) > 1 else 0.0


def blurred(image: np.ndarray, faces: Sequence[Circle]) -> np.ndarray:
    """A copy of an image (H, W, 3) with circles reduced to a few flat cells and smoothed, so that nothing of what was
    there can be had back; the image itself if there are none."""
    out = None
    for face in faces:
        window = _window(face, image.shape)
        if window is None:
            continue
        out = image.copy() if out is None else out
        x0, y0, x1, y1 = window
        part = image[y0:y1, x0:x1]
        cells = [max(1, round(CELLS * side / (2 * face.radius + 1))) for side in (x1 - x0, y1 - y0)]
        flat = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
        flat = cv2.resize(flat, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        row, column = np.mgrid[y0:y1, x0:x1]
        inside = (column - face.x) ** 2 + (row - face.y) ** 2 <= face.radius**2
        out[y0:y1, x0:x1][inside] = flat[inside]
    return image if out is None else out


def _window(face: Circle, shape: Sequence[int]) -> tuple[int, int, int, int] | None:
    low = np.floor([face.x - face.radius, face.y - face.radius]).astype(int)
    high = np.ceil([face.x + face.radius, face.y + face.radius]).astype(int) + 1
    (x0, y0), (x1, y1) = np.maximum(low, 0).tolist(), np.minimum(high, shape[1::-1]).tolist()
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
