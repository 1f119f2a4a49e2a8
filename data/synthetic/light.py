"""Light: one soft lamp, a bright ceiling, pale walls and a floor that throws some back. All linear, not sRGB.

Light that arrives at a point does not depend on who looks, so it is computed once a frame, at the vertices of the
people and on a grid over the floor, and shared by every camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.raster import RayScene

_SRGB = np.linspace(0, 1, 256)
LINEAR = np.where(_SRGB <= 0.04045, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4).astype(np.float32)
"""(256,) linear light of sRGB bytes."""


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear light (...) to sRGB 0..255 (...) float32; highlights roll off instead of clipping."""
    x = np.clip(linear, 0, None)
    x = np.where(x > 0.8, 0.8 + 0.2 * (1 - np.exp(-(x - 0.8) / 0.2)), x)
    table = np.linspace(0, 1, 4097)
    srgb = np.where(table <= 0.0031308, table * 12.92, 1.055 * table ** (1 / 2.4) - 0.055) * 255
    return srgb.astype(np.float32)[(x * 4096 + 0.5).astype(np.int32)]


@dataclass(frozen=True)
class Light:
    """Where light comes from.

    Attributes:
        lamp: (L, 3) unit directions towards points of the lamp; ``lamp_colour`` (3,) its light on a facing surface.
        sky: (S, 3) unit directions spread over the sphere; ``sky_colour`` (S, 3) light from each.
    """

    lamp: np.ndarray
    lamp_colour: np.ndarray
    sky: np.ndarray
    sky_colour: np.ndarray

    @classmethod
    def sample(cls, generator: np.random.Generator, lamp_points: int = 5, sky_points: int = 20) -> Light:
        g = generator
        angle, height = g.uniform(0, 2 * np.pi), g.uniform(0.85, 1.1)
        towards = np.array([np.cos(angle) * np.cos(height), np.sin(angle) * np.cos(height), np.sin(height)])
        spread = _sphere(4 * lamp_points)[:lamp_points] * 0.16
        lamp = towards + spread
        sky = _sphere(sky_points)
        up = sky[:, 2:]
        ceiling, walls, floor = np.array([1.0, 1.0, 1.02]), np.array([0.62, 0.6, 0.57]), np.array([0.34, 0.29, 0.24])
        colour = np.where(up > 0, walls + (ceiling - walls) * up, walls + (floor - walls) * np.minimum(1, -1.6 * up))
        return cls(
            lamp / np.linalg.norm(lamp, axis=1, keepdims=True),
            np.array([1.0, 0.95, 0.88]) * g.uniform(0.9, 1.1),
            sky,
            colour * 0.58,
        )

    def at(self, scene: RayScene, points: np.ndarray, normals: np.ndarray, lift: float = 4e-3) -> np.ndarray:
        """(N, 3) light arriving at points (N, 3) with unit normals (N, 3), shadowed by what is in the scene."""
        origins = (points + lift * normals).astype(np.float32)
        lamp = self._reaching(scene, origins, normals, self.lamp) / len(self.lamp)
        sky = self._reaching(scene, origins, normals, self.sky) * (4.0 / len(self.sky))
        return (lamp.sum(1, keepdims=True) * self.lamp_colour + sky @ self.sky_colour).astype(np.float32)

    def unshadowed(self, normal: np.ndarray) -> np.ndarray:
        """(3,) light on an open surface with this unit normal."""
        lamp = np.maximum(self.lamp @ normal, 0).mean() * self.lamp_colour
        return lamp + np.maximum(self.sky @ normal, 0) @ self.sky_colour * (4.0 / len(self.sky))

    @staticmethod
    def _reaching(scene: RayScene, origins: np.ndarray, normals: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """(N, D) cosines of the directions from which nothing stands in the way."""
        cosine = normals.astype(np.float32) @ directions.T.astype(np.float32)
        which, way = np.nonzero(cosine > 0.02)
        blocked = scene.blocked(origins[which], directions[way].astype(np.float32))
        out = np.zeros_like(cosine)
        out[which, way] = np.where(blocked, 0, cosine[which, way])
        return out


def _sphere(count: int) -> np.ndarray:
    """(count, 3) directions spread evenly (a Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    angle = np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)
