"""Pictures of many small people with everything known: cutouts on a floor, before one camera.

The picture is the high-resolution one; ``degraded`` makes what a distant or poor camera would have given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from data.synthetic.cutouts import Cutout
from pipeline.cameras import Camera
from pipeline.meshes.geometry import vertex_normals
from pipeline.raster import raster_here

_UP = np.array([0.0, 0.0, 1.0])
NEAREST_M, MARGIN = 2.0, 1.5
"""Nobody is nearer; feet are at most so far down, in heights of the picture."""


@dataclass(frozen=True)
class StillOptions:
    """What is in the pictures.

    Attributes:
        size: (width, height) pixels.
        people: fewest and most.
        heights: pixels; how tall the people are, from the farthest to the nearest, about.
        least_seen: people of whom less is seen than this share are left out of the truth.
        least_height: pixels; so are those who are smaller.
    """

    size: tuple[int, int] = (416, 256)
    people: tuple[int, int] = (4, 24)
    heights: tuple[float, float] = (18.0, 260.0)
    least_seen: float = 0.25
    least_height: float = 12.0


@dataclass(frozen=True)
class Still:
    """A picture and its M people, nearest first. Pixel centres at integers, camera axes, metres.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, 0 nobody, else row of the person + 1; 255 somebody who is left out of the truth.
        boxes: (M, 4) of the whole body and its clothes, cut at the picture.
        seen: (M,) share of the person inside the picture that nothing hides.
        rotations: (M, 22, 3, 3); betas: (M, 10); joints: (M, 19, 3); keypoints: (M, 19, 2).
        focal, principal: pixels.
    """

    image: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    seen: np.ndarray
    rotations: np.ndarray
    betas: np.ndarray
    joints: np.ndarray
    keypoints: np.ndarray
    focal: float
    principal: np.ndarray


@dataclass(frozen=True)
class _Placed:
    """A cutout in the scene: vertices, joints in the world, and the turn about the vertical."""

    cutout: Cutout
    turn: np.ndarray
    at: np.ndarray

    def world(self, points: np.ndarray) -> np.ndarray:
        return points @ self.turn.T + self.at


def sample_still(
    cutouts: Sequence[Cutout], generator: np.random.Generator, options: StillOptions = StillOptions()
) -> Still:
    """A random picture; the same generator state gives the same picture."""
    g = generator
    camera, horizon = _camera(g, options)
    placed = _placed(cutouts, g, camera, options)
    boxes_of_things = [_thing(g, camera) for _ in range(g.integers(0, 5))]
    meshes = [(p.world(p.cutout.vertices), p.cutout.faces, p.cutout.colours) for p in placed] + boxes_of_things
    picture, owner = _drawn(meshes, camera, g, horizon)
    return _truth(placed, picture, owner, meshes, camera, options)


def degraded(image: np.ndarray, low: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """The picture as a camera of ``low`` (width, height) pixels would give it, uint8: shrunk with more or less blur,
    noise and JPEG."""
    g = generator
    shrunk = cv2.resize(image, low, interpolation=cv2.INTER_AREA).astype(np.float32)
    if g.random() < 0.4:
        shrunk = cv2.GaussianBlur(shrunk, (0, 0), g.uniform(0.3, 0.8))
    shrunk += g.normal(0, g.uniform(0, 4), shrunk.shape)
    shrunk = np.clip(np.rint(shrunk), 0, 255).astype(np.uint8)
    if g.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(g.integers(40, 95))]
        shrunk = cv2.imdecode(cv2.imencode(".jpg", shrunk, quality)[1], cv2.IMREAD_COLOR)
    return shrunk


def _camera(g: np.random.Generator, options: StillOptions) -> tuple[Camera, float]:
    """A camera over the floor and the row of its horizon. World z up; it looks along +y."""
    width, height = options.size
    focal = width * g.uniform(0.85, 1.7)
    eye = g.uniform(1.3, 7.0) if g.random() < 0.7 else g.uniform(1.3, 2.2)
    # Steeper from higher up, so that there is a floor to stand on.
    pitch = np.clip(np.arctan2(eye - 0.9, g.uniform(6, 25)) + g.uniform(-0.05, 0.05), 0.0, 0.7)
    roll = g.normal(0, 0.03)
    forward = np.array([0.0, np.cos(pitch), -np.sin(pitch)])
    right = np.array([1.0, 0.0, 0.0])
    R = np.stack([right, np.cross(forward, right), forward])
    R = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]) @ R
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    camera = Camera("still", options.size, K, R, -R @ np.array([0.0, 0.0, eye]))
    return camera, float((height - 1) / 2 - focal * np.tan(pitch))


def _placed(cutouts: Sequence[Cutout], g: np.random.Generator, camera: Camera, options: StillOptions) -> list[_Placed]:
    """People on the floor, apart from one another, drawn so that all sizes are about equally frequent."""
    wanted = int(np.exp(g.uniform(*np.log(options.people)))) + 1
    focal, (width, height) = camera.K[0, 0], camera.size
    out: list[_Placed] = []
    for _ in range(8 * wanted):
        if len(out) == min(wanted, options.people[1]):
            break
        distance = max(1.7 * focal / np.exp(g.uniform(*np.log(options.heights))), NEAREST_M)
        across = distance * width / focal * g.uniform(-0.5, 0.5) * 1.05
        at = np.array([across, distance, 0.0])
        foot = camera.project(at[None])[0]
        gap = g.uniform(0.35, 0.9)
        if not (np.isfinite(foot).all() and 0.05 * height < foot[1] < MARGIN * height):
            continue
        if any(np.linalg.norm(at - o.at) < gap for o in out):
            continue
        angle = g.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        out.append(_Placed(cutouts[int(g.integers(len(cutouts)))], turn, at))
    return sorted(out, key=lambda p: float(np.linalg.norm(p.at - camera.centre)))


def _thing(g: np.random.Generator, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box on the floor: furniture, a wall, a post."""
    size = g.uniform((0.3, 0.2, 0.4), (2.0, 1.0, 1.6)) if g.random() < 0.7 else np.array([0.2, 0.2, 3.0])
    distance = g.uniform(4, 25)
    at = np.array([distance * camera.size[0] / camera.K[0, 0] * g.uniform(-0.6, 0.6), distance, 0.0])
    corners = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)]) * size
    angle = g.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    faces = np.array([(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1), (2, 3, 7), (2, 7, 6),
                      (1, 5, 7), (1, 7, 3), (0, 2, 6), (0, 6, 4)])  # fmt: skip
    colour = g.integers(20, 235, 3)
    return (corners @ turn.T + at).astype(np.float32), faces, np.tile(colour, (8, 1)).astype(np.uint8)


def _drawn(meshes, camera: Camera, g: np.random.Generator, horizon: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture (H, W, 3) and which mesh each pixel shows (-1: none)."""
    starts = np.cumsum([0, *(len(v) for v, _, _ in meshes)])
    vertices = np.concatenate([v for v, _, _ in meshes])
    faces = np.concatenate([f + s for (_, f, _), s in zip(meshes, starts, strict=False)])
    of_face = np.repeat(np.arange(len(meshes)), [len(f) for _, f, _ in meshes])
    width, height = camera.size
    sharp = 2  # rays a pixel and axis
    size = (width * sharp, height * sharp)
    seen = raster_here(threads=1).render(vertices, faces, camera, size)
    hit = seen.hit
    light = np.array([g.normal(), g.normal() - 0.6, g.uniform(0.4, 1.5)])
    light /= np.linalg.norm(light)
    ambient = g.uniform(0.35, 0.7)
    colours = np.concatenate([c for _, _, c in meshes]).astype(np.float32)
    picture = cv2.resize(background(g, (width, height), horizon), size, interpolation=cv2.INTER_LINEAR)
    normals = vertex_normals(vertices, faces)
    shade = ambient + (1 - ambient) * np.clip(seen.interpolate(faces, normals, 0.0) @ light, 0, 1)
    tint = g.uniform(0.85, 1.15, 3) * g.uniform(0.75, 1.2)
    painted = seen.interpolate(faces, colours, 0.0) * shade[..., None] * tint
    picture[hit] = painted[hit]
    owner = np.full(hit.shape, -1, np.int32)
    owner[hit] = of_face[seen.triangle[hit]]
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    small += g.normal(0, g.uniform(0, 3), small.shape)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8), owner[::sharp, ::sharp]


def background(g: np.random.Generator, size: tuple[int, int], horizon: float) -> np.ndarray:
    """(H, W, 3) float32: a floor that recedes, something behind it, and clutter that is nobody."""
    width, height = size
    rows = np.arange(height, dtype=np.float32)[:, None]
    colours = _paled(g, g.uniform(30, 225, (4, 3)))
    floor = (rows > horizon)[..., None]
    depth = np.clip((rows - horizon) / height, 0, 1)[..., None]
    picture = np.where(floor, colours[0] + (colours[1] - colours[0]) * depth, colours[2]) * np.ones((height, width, 1))
    picture = picture.astype(np.float32)
    for octave in (4, 9, 20, 48):
        noise = g.normal(0, 1, (max(2, octave * height // width), octave, 3)).astype(np.float32)
        noise = cv2.resize(_paled(g, noise), size, interpolation=cv2.INTER_CUBIC)
        picture += noise * g.uniform(0, 60 / np.sqrt(octave))
    for _ in range(int(g.integers(0, 30))):
        x, y = g.integers(0, width), int(np.clip(g.normal(horizon, height / 5), 0, height - 1))
        w, h = (int(v) for v in np.exp(g.uniform(np.log(2), np.log((90, 80)))))
        colour = tuple(float(c) for c in g.uniform(10, 245, 3))
        kind = g.random()
        if kind < 0.6:
            cv2.rectangle(picture, (int(x), y), (int(x) + w, y + h), colour, -1)
        elif kind < 0.8:
            cv2.ellipse(picture, (int(x), y), (w // 2, h // 2), g.uniform(0, 180), 0, 360, colour, -1)
        else:
            cv2.line(picture, (int(x), y), (int(x + g.integers(-90, 90)), y + h), colour, int(g.integers(1, 4)))
    for _ in range(int(g.integers(0, 4))):
        _pattern(g, picture, horizon)
    if g.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), g.uniform(0.4, 2.0))
    return picture


def _pattern(g: np.random.Generator, picture: np.ndarray, horizon: float) -> None:
    """Something regular in the picture: a fence, shelves, windows, tiles."""
    height, width = picture.shape[:2]
    w, h = (int(v) for v in np.exp(g.uniform(np.log(20), np.log((width, height)))))
    x, y = int(g.integers(-w // 2, width)), int(np.clip(g.normal(horizon, height / 4) - h / 2, -h / 2, height))
    low, high = np.maximum((x, y), 0), np.minimum((x + w, y + h), (width, height))
    if (high <= low).any():
        return
    across, down = np.arange(low[0], high[0])[None], np.arange(low[1], high[1])[:, None]
    period = g.uniform(3, 40, 2)
    share = g.uniform(0.2, 0.8)
    bars = [((v / p) % 1 < share) for v, p in zip((across, down), period, strict=True)]
    kind = int(g.integers(3))
    on = bars[0] & (down >= 0) if kind == 0 else bars[1] & (across >= 0) if kind == 1 else bars[0] & bars[1]
    colours = _paled(g, g.uniform(10, 245, (2, 3)))
    patch = picture[low[1] : high[1], low[0] : high[0]]
    patch[on] = colours[0]
    if g.random() < 0.5:
        patch[~on] = colours[1]


def _paled(g: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """Colours (..., 3) nearer to grey, as most surroundings are."""
    grey = colours.mean(-1, keepdims=True)
    return (grey + (colours - grey) * g.uniform(0.02, 0.45)).astype(np.float32)


def _truth(placed: list[_Placed], picture, owner, meshes, camera: Camera, options: StillOptions) -> Still:
    width, height = options.size
    rows, kept = [], []
    for k, p in enumerate(placed):
        pixels = camera.project(np.concatenate([meshes[k][0][::7], p.world(p.cutout.body)]))
        depth = camera.to_camera(meshes[k][0][::7])[:, 2]
        if not np.isfinite(pixels).all() or depth.min() < 0.3:
            continue
        low, high = pixels.min(0), pixels.max(0)
        whole = (high - low).prod()
        box = np.concatenate([np.clip(low, -0.5, (width - 0.5, height - 0.5)),
                              np.clip(high, -0.5, (width - 0.5, height - 0.5))])  # fmt: skip
        inside = (box[2:] - box[:2]).prod()
        if inside <= 0 or whole <= 0:
            continue
        alone = _covered(p, meshes[k], camera)
        seen = float((owner == k).sum() / max(alone, 1))
        if seen >= options.least_seen and high[1] - low[1] >= options.least_height and inside > 0.3 * whole:
            rows.append((box, seen))
            kept.append(k)
    labels = np.where((owner >= 0) & (owner < len(placed)), 255, 0).astype(np.uint8)
    for row, k in enumerate(kept):
        labels[owner == k] = row + 1
    chosen = [placed[k] for k in kept]
    joints = np.array([camera.to_camera(p.world(p.cutout.joints)) for p in chosen], np.float32).reshape(-1, 19, 3)
    rotations = np.array([p.cutout.rotations for p in chosen], np.float32).reshape(-1, 22, 3, 3)
    for row, p in enumerate(chosen):
        rotations[row, 0] = camera.R @ p.turn @ rotations[row, 0]
    pixels = joints[..., :2] * camera.K[0, 0] / joints[..., 2:] + camera.K[:2, 2]
    return Still(
        image=picture,
        labels=labels,
        boxes=np.array([b for b, _ in rows], np.float32).reshape(-1, 4),
        seen=np.array([s for _, s in rows], np.float32),
        rotations=rotations,
        betas=np.array([p.cutout.betas for p in chosen], np.float32).reshape(-1, 10),
        joints=joints,
        keypoints=pixels.astype(np.float32),
        focal=float(camera.K[0, 0]),
        principal=camera.K[:2, 2].copy(),
    )


def _covered(p: _Placed, mesh, camera: Camera) -> int:
    """Pixels that the person would cover alone, by the convex pieces of a coarse drawing of its triangles."""
    vertices, faces, _ = mesh
    pixels = camera.project(vertices)
    drawn = np.zeros(camera.size[::-1], np.uint8)
    corners = np.rint(pixels[faces]).astype(np.int32)
    cv2.fillPoly(drawn, list(corners[::1]), 1) if len(corners) < 2000 else _fill(drawn, corners)
    return int(drawn.sum())


def _fill(drawn: np.ndarray, corners: np.ndarray) -> None:
    """Fill many small triangles: their corners suffice where they are smaller than a pixel."""
    middle = np.rint(corners.mean(1)).astype(int)
    for spots in (corners[:, 0], corners[:, 1], corners[:, 2], middle):
        inside = ((spots >= 0) & (spots < drawn.shape[::-1])).all(-1)
        drawn[spots[inside, 1], spots[inside, 0]] = 1
    closed = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    drawn[:] = closed
