"""Single people in front of nothing, drawn from all sides with where on the body each pixel lies."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from data.synthetic.cutouts import BODY_EVERY, Cutout
from pipeline.cameras import Camera
from pipeline.meshes.geometry import vertex_normals
from pipeline.raster import raster_here

SIZE = (96, 128)
"""Width and height of a drawing, pixels."""
_FILLED = (84.0, 116.0)
_RAYS = 2


@dataclass(frozen=True)
class Single:
    """One person. Pixel centres at integers, camera axes, metres; the camera looks at the person.

    Attributes:
        picture: (H, W, 7) uint8: RGB, coverage, and the place on the body at rest (x, y, z from 0 to 255 over the
            body's extent); colours and places are multiplied with the coverage.
        rotations: (22, 3, 3); betas: (10,); joints: (19, 3) SKEL-19; keypoints: (19, 2).
        box: (4,) of the whole person.
        focal, principal: pixels.
    """

    picture: np.ndarray
    rotations: np.ndarray
    betas: np.ndarray
    joints: np.ndarray
    keypoints: np.ndarray
    box: np.ndarray
    focal: float
    principal: np.ndarray


def draw_single(cutout: Cutout, template: np.ndarray, generator: np.random.Generator) -> Single:
    """Somebody from a random side, height and distance, under a random light.

    Args:
        template: (V, 3) vertices of the body at rest.
    """
    g = generator
    angle = g.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    vertices = cutout.vertices @ turn.T
    camera, box = _camera(g, vertices)
    picture = _drawn(g, camera, vertices, cutout, _places(cutout, template))
    rotations = cutout.rotations.copy()
    rotations[0] = camera.R @ turn @ rotations[0]
    joints = camera.to_camera(cutout.joints @ turn.T)
    keypoints = joints[:, :2] * camera.K[0, 0] / joints[:, 2:] + camera.K[:2, 2]
    parts = (rotations, cutout.betas, joints, keypoints, box)
    return Single(picture, *(np.asarray(p, np.float32) for p in parts), float(camera.K[0, 0]), camera.K[:2, 2].copy())


def _camera(g: np.random.Generator, vertices: np.ndarray) -> tuple[Camera, np.ndarray]:
    """A camera that has the person (V, 3) fill its picture, and their box. Eyes are as high as in
    ``data.synthetic.still_scenes``."""
    eye = g.uniform(1.3, 7.0) if g.random() < 0.7 else g.uniform(0.9, 2.2)
    distance = np.exp(g.uniform(np.log(2.2), np.log(25.0)))
    middle = np.array([0.0, 0.0, (vertices[:, 2].min() + vertices[:, 2].max()) / 2])
    at = np.array([0.0, -max(distance, (eye - middle[2]) / np.tan(0.8)), eye])
    forward = (middle - at) / np.linalg.norm(middle - at)
    right = np.array([1.0, 0.0, 0.0])
    R = np.stack([right, np.cross(forward, right), forward])
    seen = (vertices - at) @ R.T
    rays = seen[:, :2] / seen[:, 2:]
    low, high = rays.min(0), rays.max(0)
    focal = float((np.array(_FILLED) / (high - low)).min())
    principal = (np.array(SIZE) - 1) / 2 - focal * (low + high) / 2
    K = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]])
    return Camera("single", SIZE, K, R, -R @ at), np.concatenate([low, high]) * focal + np.tile(principal, 2)


def _places(cutout: Cutout, template: np.ndarray) -> np.ndarray:
    """(V, 3) in 0..1 for each vertex of the clothed person: where the nearest point of the body lies at rest."""
    low, high = template.min(0), template.max(0)
    at_rest = ((template - low) / (high - low))[::BODY_EVERY]
    return at_rest[cKDTree(cutout.body).query(cutout.vertices)[1]]


def _drawn(g: np.random.Generator, camera: Camera, vertices, cutout: Cutout, places: np.ndarray) -> np.ndarray:
    faces = cutout.faces
    seen = raster_here(threads=1).render(vertices, faces, camera, (SIZE[0] * _RAYS, SIZE[1] * _RAYS))
    light = np.array([g.normal(), g.normal() - 0.6, g.uniform(0.4, 1.5)])
    light /= np.linalg.norm(light)
    ambient = g.uniform(0.35, 0.8)
    normals = vertex_normals(vertices, faces)
    shade = ambient + (1 - ambient) * np.clip(normals @ light, 0, 1)
    values = np.concatenate([cutout.colours * shade[:, None], np.full((len(vertices), 1), 255.0), 255 * places], 1)
    painted = seen.interpolate(faces, values.astype(np.float32), 0.0)
    small = np.stack([cv2.resize(painted[..., k], SIZE, interpolation=cv2.INTER_AREA) for k in range(7)], -1)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)
