"""Cameras round a training person, and what each sees in its crop: colours, mask, normals, the fitted body."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from data.synthetic.cameras import Exposure, look_at
from data.synthetic.drawing import Cast
from data.synthetic.light import Light, encode
from data.synthetic.noise import Noise
from nets.deepmulticap.inputs import crop_around
from nets.meshes import vertex_normals
from pipeline.cameras import Camera
from pipeline.raster import Raster, RayScene, blend, raster_here

IMAGE = 1200  # pixels, side of the images that the crops are thought to be from


def sample_cameras(
    generator: np.random.Generator, people: np.ndarray, fitted: np.ndarray, count: int, size: int
) -> list[Camera]:
    """Crops around a person, ``count`` of them evenly all round at random heights and distances.

    Args:
        people: (N, 3) points of the person, metres, z up. fitted: (M, 3) vertices of the fitted body.
        size: of the crops, pixels. They are placed as ``nets.deepmulticap.inputs.crop_around`` places them.
    """
    g, middle = generator, (people.min(0) + people.max(0)) / 2
    start, cameras = g.uniform(0, 2 * np.pi), []
    for k in range(count):
        angle = start + 2 * np.pi * (k + g.uniform(-0.25, 0.25)) / count
        away, height = g.uniform(2.4, 6.0), g.uniform(0.3, 2.9)
        centre = np.array([middle[0] + away * np.cos(angle), middle[1] + away * np.sin(angle), height])
        R, t = look_at(centre, middle + g.uniform(-0.15, 0.15, 3), g.uniform(-0.05, 0.05))
        focal = IMAGE * np.linalg.norm(centre - middle) / g.uniform(2.6, 4.0)
        K = np.array([[focal, 0, IMAGE / 2 - 0.5], [0, focal, IMAGE / 2 - 0.5], [0, 0, 1]])
        whole = Camera(f"view{k}", (IMAGE, IMAGE), K, R, t)
        # Somebody who reaches out of the image is cropped as if it were larger: crops need no image here.
        pixels = np.concatenate([whole.project(people), whole.project(fitted)])
        shift = np.array([IMAGE, IMAGE])
        crop = crop_around(np.zeros((3 * IMAGE, 3 * IMAGE), bool), size, pixels + shift)
        moved = K.copy()
        moved[:2, 2] += shift
        cameras.append(Camera(f"view{k}", (size, size), crop.intrinsics(moved), R, t))
    return cameras


@dataclass(frozen=True)
class Pictures:
    """What V cameras see of a person: ``rgb`` (V, S, S, 3) uint8 with what is behind, ``mask`` (V, S, S) float32 in
    0..1, ``normals`` (V, S, S, 3) float32 along the camera's axes and 0 off the person, ``depth`` (V, S, S) metres."""

    rgb: np.ndarray
    mask: np.ndarray
    normals: np.ndarray
    depth: np.ndarray


def take_pictures(
    cast: Cast,
    layers: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    cameras: list[Camera],
    generator: np.random.Generator,
    sharpness: int = 2,
) -> Pictures:
    """Pictures of a person.

    Args:
        layers: (L, 3) vertices of the cast, which are what is coloured. vertices, faces: of the true surface.
        sharpness: rays a pixel and axis.
    """
    light = Light.sample(generator, lamp_points=3, sky_points=14)
    raster = raster_here(threads=1, remember=1)
    scene = raster.scene(layers, cast.faces)
    arriving = _lit(scene, cast, layers, light)
    solid = raster.scene(vertices, faces)
    smooth = vertex_normals(vertices, faces)
    rgb, mask, normals, depth = [], [], [], []
    for camera in cameras:
        size = camera.size[0] * sharpness
        seen = raster.view(solid, camera, (size, size))
        cover = _shrunk(seen.hit.astype(np.float32), sharpness)
        normal = seen.interpolate(faces, smooth, missing=0.0) @ camera.R.T.astype(np.float32)
        normal = _shrunk(normal, sharpness)
        length = np.linalg.norm(normal, axis=-1, keepdims=True)
        inside = cover >= 0.5
        normals.append(np.where(inside[..., None], normal / np.maximum(length, 1e-6), 0))
        mask.append(cover)
        # A pixel's depth is that of its nearest ray.
        near = seen.depth.reshape(camera.size[1], sharpness, camera.size[0], sharpness).min((1, 3))
        depth.append(np.where(inside, near, np.inf))
        rgb.append(_colours(raster, scene, cast, arriving, camera, light, generator, sharpness, seen.hit))
    return Pictures(*(np.stack(x) for x in (rgb, mask, normals, depth)))


def _lit(scene: RayScene, cast: Cast, layers: np.ndarray, light: Light) -> np.ndarray:
    """(L, 3) light that arrives at the vertices of the coloured mesh."""
    points = np.unique(cast.weld, return_index=True)[1]
    normals = vertex_normals(layers, cast.faces, weld=cast.weld)[points]
    return light.at(scene, layers[points], normals)[cast.weld]


def _colours(
    raster: Raster, scene: RayScene, cast: Cast, arriving: np.ndarray, camera: Camera, light: Light,
    generator: np.random.Generator, sharpness: int, expected: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """(S, S, 3) uint8, exposed as some camera would."""
    S = camera.size[0]
    size = S * sharpness
    rows, columns = np.nonzero(cv2.dilate(expected.astype(np.uint8), np.ones((5, 5), np.uint8)))
    seen = raster.view(scene, camera, (size, size), pixels=(rows, columns))
    hit = seen.hit
    triangle, weights = seen.triangle[hit], seen.barycentric[hit]
    colour = cast.albedo(triangle, weights) * blend(weights, cast.faces[triangle], arriving)
    pixel = (rows[hit] // sharpness) * S + columns[hit] // sharpness

    def share(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(pixel, values, S * S).reshape(S, S) / sharpness**2

    linear = _background(S, generator) * (1 - share(None))[..., None]
    linear += np.stack([share(colour[:, k]) for k in range(3)], -1)
    exposure = Exposure.sample(generator)
    picture = encode(linear * exposure.gain * exposure.white)
    picture = cv2.GaussianBlur(picture, (0, 0), float(generator.uniform(0.3, 0.6)))
    picture += generator.normal(0, 0.7 * exposure.noise, picture.shape)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _background(size: int, generator: np.random.Generator) -> np.ndarray:
    """(S, S, 3) linear light of something behind the person: wall above, floor below, patches."""
    y, x = np.mgrid[:size, :size] / size
    noise = Noise(generator)
    at = np.stack([x, y, 0 * x], -1)
    tones = generator.uniform(0.05, 0.7, (3, 1)) * generator.uniform(0.8, 1.2, (3, 3))
    patch = noise(at, float(generator.uniform(0.08, 0.4))) > generator.uniform(0.1, 0.8)
    tone = np.where((y > generator.uniform(0.4, 1.0))[..., None], tones[0], tones[1])
    tone = np.where(patch[..., None], tones[2], tone)
    return np.clip(tone * (1 + 0.15 * noise(at, 0.05))[..., None], 0.01, 1)


def _shrunk(image: np.ndarray, sharpness: int) -> np.ndarray:
    """Means over squares of ``sharpness`` pixels."""
    H, W = image.shape[0] // sharpness, image.shape[1] // sharpness
    return image.reshape(H, sharpness, W, sharpness, *image.shape[2:]).mean((1, 3))
