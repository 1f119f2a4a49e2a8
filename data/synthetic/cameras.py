"""Camera rings round a capture volume, with lenses and exposures that differ as a lab's do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.cameras import Camera, Rig


@dataclass(frozen=True)
class Exposure:
    """How one camera turns light into pixels.

    Attributes:
        gain: factor on the light.
        white: (3,) factors on red, green and blue.
        vignette: loss of light in the corners, 0..1.
        blur: standard deviation of the lens blur, pixels.
        noise: standard deviation of the sensor noise, grey levels of 255.
    """

    gain: float
    white: np.ndarray
    vignette: float
    blur: float
    noise: float

    @classmethod
    def sample(cls, generator: np.random.Generator, spread: float = 1.0) -> Exposure:
        """``spread``: how much gain and white balance differ from camera to camera; 1 is a lab that took some care."""
        g = generator
        white = 1 + spread * g.uniform(-0.05, 0.05, 3)
        return cls(
            gain=float(np.exp(spread * g.uniform(-0.16, 0.16))),
            white=white / white.mean(),
            vignette=float(g.uniform(0.05, 0.22)),
            blur=float(g.uniform(0.35, 0.6)),
            noise=float(g.uniform(0.8, 2.0)),
        )


def look_at(centre: np.ndarray, target: np.ndarray, roll: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """R (3, 3) and t (3,) of a camera at ``centre`` that looks at ``target`` (world z up, metres), turned by ``roll``
    radians about its axis."""
    forward = np.asarray(target, np.float64) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll), np.sin(roll)
    R = np.stack([c * right + s * down, c * down - s * right, forward])
    return R, -R @ centre


def ring(
    count: int,
    generator: np.random.Generator,
    *,
    size: tuple[int, int] = (640, 480),
    radius: float = 4.8,
    target: tuple[float, float, float] = (0.0, 0.0, 0.82),
    half_height: float = 1.24,
    distorted: bool = True,
) -> Rig:
    """Cameras all round, at breast height to above the heads in turn, looking at the middle of the volume.

    ``half_height``: metres above and below the target that a camera at ``radius`` sees.
    """
    cameras = []
    for k in range(count):
        angle = 2 * np.pi * (k + 0.25) / count + generator.uniform(-0.12, 0.12)
        away = radius * generator.uniform(0.95, 1.05)
        height = (1.25, 2.15)[k % 2] + generator.uniform(-0.2, 0.2)
        centre = np.array([away * np.cos(angle), away * np.sin(angle), height])
        aim = np.array(target) + generator.uniform(-0.05, 0.05, 3)
        R, t = look_at(centre, aim, generator.uniform(-0.02, 0.02))
        focal = size[1] / 2 / half_height * radius * generator.uniform(0.98, 1.06)
        cx, cy = (np.array(size) - 1) / 2 + generator.uniform(-0.012, 0.012, 2) * size[1]
        K = np.array([[focal, 0, cx], [0, focal * generator.uniform(0.998, 1.002), cy], [0, 0, 1]])
        lens = np.array([generator.uniform(-0.18, -0.08), generator.uniform(0.02, 0.06), *generator.normal(0, 6e-4, 2)])
        cameras.append(Camera(f"cam{k + 1}", size, K, R, t, lens if distorted else np.zeros(0)))
    return Rig(tuple(cameras))


@dataclass(frozen=True)
class LabCameras:
    """What the cameras of a lab are like, from the least to the most of each.

    Attributes:
        size: (width, height) pixels.
        fov_deg: vertical angle of view; the narrower, the further away they stand.
        height_m: over the floor.
        roll_deg: most, to either side.
        distorted: whether lenses bend straight lines.
        room_m: no camera stands further than this from the middle.
    """

    size: tuple[int, int] = (960, 720)
    fov_deg: tuple[float, float] = (30.0, 55.0)
    height_m: tuple[float, float] = (0.9, 2.4)
    roll_deg: float = 4.0
    distorted: bool = True
    room_m: float = 5.6

    def ring(self, count: int, generator: np.random.Generator, half_height: float = 1.15) -> Rig:
        """``count`` cameras all round, that see ``half_height`` metres above and below the middle of the people."""
        g, cameras = generator, []
        for k in range(count):
            angle = 2 * np.pi * (k + 0.25) / count + g.uniform(-0.15, 0.15)
            half = np.radians(g.uniform(*self.fov_deg)) / 2
            away = min(half_height / np.tan(half) + 0.55, self.room_m)
            half = np.arctan(half_height / (away - 0.55))
            centre = np.array([away * np.cos(angle), away * np.sin(angle), g.uniform(*self.height_m)])
            aim = np.array([0, 0, 0.9]) + g.uniform(-0.06, 0.06, 3)
            R, t = look_at(centre, aim, np.radians(g.uniform(-self.roll_deg, self.roll_deg)))
            focal = self.size[1] / 2 / np.tan(half)
            cx, cy = (np.array(self.size) - 1) / 2 + g.uniform(-0.012, 0.012, 2) * self.size[1]
            K = np.array([[focal, 0, cx], [0, focal * g.uniform(0.998, 1.002), cy], [0, 0, 1]])
            lens = np.array([g.uniform(-0.18, -0.06), g.uniform(0.02, 0.06), *g.normal(0, 6e-4, 2)])
            cameras.append(Camera(f"cam{k + 1}", self.size, K, R, t, lens if self.distorted else np.zeros(0)))
        return Rig(tuple(cameras))
