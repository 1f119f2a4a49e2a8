"""A room to stand in: floor, walls, a few things along them, and what of it each camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from data.synthetic.light import LINEAR, Light
from data.synthetic.noise import Noise
from pipeline.cameras import Camera
from pipeline.raster import Raster, RayScene

FLOOR, WALL, THING = 0, 1, 2


@dataclass(frozen=True)
class Room:
    """Triangles, and for each what it is made of.

    Attributes:
        vertices: (V, 3) metres, z up, floor at 0.
        faces: (T, 3).
        kind: (T,) ``FLOOR``, ``WALL`` or ``THING``.
        colour: (T, 3) sRGB 0..1.
        seed: of its textures.
    """

    vertices: np.ndarray
    faces: np.ndarray
    kind: np.ndarray
    colour: np.ndarray
    seed: int

    @classmethod
    def sample(cls, generator: np.random.Generator, half: tuple[float, float] = (6.4, 6.1), height=3.1) -> Room:
        """A room with walls of different colours, a door, pictures, and furniture along the walls."""
        g = generator
        x, y = half
        parts = [_box((-x, -y, 0), (x, y, height))]
        kinds = [np.repeat([WALL, FLOOR, WALL, WALL, WALL, WALL], 2)]
        walls = np.array([0.80, 0.78, 0.73]) + g.uniform(-0.08, 0.08, (6, 3))
        walls[0] = 0.92  # the ceiling
        walls[1] = np.array([0.52, 0.40, 0.29]) + g.uniform(-0.06, 0.06)
        colours = [np.repeat(walls, 2, 0)]
        for slot in range(16):
            low, high, colour = _thing(g, x, y, slot)
            parts.append(_box(low, high))
            kinds.append(np.full(12, THING))
            colours.append(np.tile(colour, (12, 1)))
        starts = 8 * np.arange(len(parts))
        return cls(
            np.concatenate([v for v, _ in parts]),
            np.concatenate([f + s for (_, f), s in zip(parts, starts, strict=True)]),
            np.concatenate(kinds),
            np.clip(np.concatenate(colours), 0.03, 0.95),
            int(g.integers(2**31)),
        )

    def seen_by(self, camera: Camera, light: Light, raster: Raster, sharpness: int = 2) -> View:
        """What a camera sees of the empty room."""
        size = (camera.size[0] * sharpness, camera.size[1] * sharpness)
        result = raster.render(self.vertices, self.faces, camera, size)
        points, triangle = result.interpolate(self.faces, self.vertices), result.triangle
        shade = self._light(camera.centre, light)[triangle] * self._corners(points)[..., None]
        colour = self._paint(points, triangle)
        linear = LINEAR[np.clip(colour * 255, 0, 255).astype(np.uint8)] * shade
        pixels = cv2.resize(linear.astype(np.float32), camera.size, interpolation=cv2.INTER_AREA)
        floor = self.kind[triangle] == FLOOR
        share = cv2.resize(floor.astype(np.float32), camera.size, interpolation=cv2.INTER_AREA)
        middle = slice(sharpness // 2, None, sharpness)
        ground = np.where(floor[..., None], points[..., :2], 0)[middle, middle]
        return View(pixels, share, np.ascontiguousarray(ground, np.float32))

    def _light(self, viewer: np.ndarray, light: Light) -> np.ndarray:
        """(T, 3) light on the side of each triangle that the viewer sees, as if the walls let all light in."""
        a, b, c = (self.vertices[self.faces[:, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        normal *= np.where((normal * (viewer - a)).sum(1) > 0, 1, -1)[:, None]
        return np.stack([light.unshadowed(n) for n in normal])

    def _corners(self, points: np.ndarray) -> np.ndarray:
        """Factor (...) on the light: less of it reaches the lines where walls meet."""
        low, high = self.vertices[:8].min(0), self.vertices[:8].max(0)
        a, b, c = np.moveaxis(np.minimum(points - low, high - points), -1, 0)
        second = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))  # of three distances
        return 0.72 + 0.28 * np.sqrt(np.clip(second / 0.8, 0, 1))

    def _paint(self, points: np.ndarray, triangle: np.ndarray) -> np.ndarray:
        noise = Noise(np.random.default_rng(self.seed))
        colour = self.colour[triangle]
        kind = self.kind[triangle]
        colour = colour * (1 + 0.03 * noise(points, 0.25)[..., None])
        floor = kind == FLOOR
        p = points[floor]
        row = np.floor(p[:, 1] / 0.14)
        along = p[:, 0] + 0.37 * row
        plank = np.floor(along / 1.1)
        tone = np.modf(np.abs(np.sin(row * 12.9898 + plank * 78.233) * 43758.5453))[0]
        grain = noise(np.stack([along * 0.08, p[:, 1], row], 1), 0.008)
        gap = (np.abs(p[:, 1] / 0.14 - row) < 0.035) | (np.abs(along / 1.1 - plank) < 0.004)
        colour[floor] *= ((0.85 + 0.3 * tone + 0.07 * grain) * np.where(gap, 0.55, 1))[:, None]
        wall = (kind == WALL) & (points[..., 2] < 0.12)
        colour[wall] = 0.9 * colour[wall] * [0.7, 0.66, 0.6]
        return colour


@dataclass(frozen=True)
class View:
    """The empty room in one camera.

    Attributes:
        pixels: (H, W, 3) float32 linear light.
        floor: (H, W) float32, share of the pixel that is floor.
        ground: (H, W, 2) float32, world x and y of the floor seen.
    """

    pixels: np.ndarray
    floor: np.ndarray
    ground: np.ndarray


@dataclass(frozen=True)
class FloorLight:
    """How much of the open floor's light is left round people: ``left`` (N, M, 3) on a grid from ``origin`` (2,)
    with ``step`` metres; 1 outside it."""

    left: np.ndarray
    origin: np.ndarray
    step: float

    @classmethod
    def under(cls, scene: RayScene, people: np.ndarray, light: Light, step=0.04, reach=1.3) -> FloorLight:
        """Light round people whose vertices are ``people`` (V, 3)."""
        low = np.floor((people[:, :2].min(0) - reach) / step) * step
        count = np.ceil((people[:, :2].max(0) + reach - low) / step).astype(int)
        x, y = np.meshgrid(low[0] + step * np.arange(count[0]), low[1] + step * np.arange(count[1]))
        points = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
        up = np.array([0, 0, 1.0])
        arriving = light.at(scene, points, np.broadcast_to(up, points.shape), lift=0.002) / light.unshadowed(up)
        return cls(arriving.reshape(*x.shape, 3).astype(np.float32), low, step)

    def on(self, view: View) -> np.ndarray:
        """(H, W, 3) factor on the pixels of a view."""
        at = ((view.ground - self.origin) / self.step).astype(np.float32)
        left = cv2.remap(
            self.left, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(1, 1, 1)
        )
        return 1 + (left - 1) * view.floor[..., None]


def _box(low, high) -> tuple[np.ndarray, np.ndarray]:
    """Corners (8, 3) and triangles (12, 3), two a side: top, bottom, then the four walls."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    v = np.array([[x, y, z] for z in (z0, z1) for y in (y0, y1) for x in (x0, x1)], np.float64)
    quads = [[4, 5, 7, 6], [0, 2, 3, 1], [0, 1, 5, 4], [3, 2, 6, 7], [2, 0, 4, 6], [1, 3, 7, 5]]
    return v, np.array([t for q in quads for t in ([q[0], q[1], q[2]], [q[0], q[2], q[3]])])


def _thing(g: np.random.Generator, x: float, y: float, slot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box along a wall: a picture or board on it, or a cupboard before it; lower corner, upper corner, colour.

    Each wall has four slots, so that no two stand in the same place.
    """
    flat = g.random() < 0.5
    width = g.uniform(0.5, 1.5)
    depth, bottom, tall = (0.03, g.uniform(1.0, 1.6), g.uniform(0.4, 0.9)) if flat else (
        g.uniform(0.25, 0.45), 0.0, g.uniform(0.4, 2.0)
    )  # fmt: skip
    colour = g.uniform(0.15, 0.85, 3) * 0.6 + 0.4 * g.uniform(0.2, 0.9)
    side = slot % 4
    span = (y if side < 2 else x) - 0.6
    at = span * (slot // 4 - 1.5) / 2 + g.uniform(-0.25, 0.25)
    low, high = [0.0, 0.0, bottom], [0.0, 0.0, bottom + tall]
    across, wall = (1, x) if side < 2 else (0, y)
    low[across], high[across] = at - width / 2, at + width / 2
    edge = (wall - depth, wall) if side % 2 else (-wall, depth - wall)
    low[1 - across], high[1 - across] = edge
    return np.array(low), np.array(high), colour
