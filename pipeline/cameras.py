"""Cameras and rigs: projection, undistortion, rays, triangulation.

Frames and conventions, used everywhere in the project:

    x_cam = R @ x_world + t          (``cam_from_world`` = [R | t], metres, OpenCV axes: x right, y down, z forward)
    x_img = K @ x_cam / z            (pixels, pixel centres at integers)
    centre = -R.T @ t                (camera position in the world)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np

from pipeline.errors import InputError

RADIAL_TANGENTIAL = "radial_tangential"  # OpenCV order k1 k2 p1 p2 k3 [k4 k5 k6 ...]
FISHEYE = "fisheye"  # OpenCV fisheye (Kannala-Brandt) k1 k2 k3 k4


@dataclass(frozen=True)
class Camera:
    """One calibrated camera.

    Attributes:
        name: as in file names and cache parts.
        size: (width, height) in pixels of the images that ``K`` is for.
        K: (3, 3) float64, pixels.
        R: (3, 3) float64, ``cam_from_world`` rotation.
        t: (3,) float64, metres, ``cam_from_world`` translation.
        distortion: coefficients of ``model``; empty for a pinhole camera.
    """

    name: str
    size: tuple[int, int]
    K: np.ndarray
    R: np.ndarray
    t: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    model: str = RADIAL_TANGENTIAL

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "size", (int(self.size[0]), int(self.size[1])))
        set_(self, "K", np.asarray(self.K, np.float64).reshape(3, 3))
        set_(self, "R", np.asarray(self.R, np.float64).reshape(3, 3))
        set_(self, "t", np.asarray(self.t, np.float64).reshape(3))
        set_(self, "distortion", np.asarray(self.distortion, np.float64).reshape(-1))
        if self.model not in (RADIAL_TANGENTIAL, FISHEYE):
            raise ValueError(f"camera {self.name}: unknown lens model {self.model!r}")

    @property
    def is_pinhole(self) -> bool:
        return not np.any(self.distortion)

    @cached_property
    def P(self) -> np.ndarray:
        """(3, 4) projection matrix of the undistorted camera."""
        return self.K @ np.column_stack([self.R, self.t])

    @cached_property
    def centre(self) -> np.ndarray:
        """(3,) position in the world, metres."""
        return -self.R.T @ self.t

    def to_camera(self, points_world: np.ndarray) -> np.ndarray:
        """World points (..., 3) to camera coordinates (..., 3), metres."""
        return np.asarray(points_world, np.float64) @ self.R.T + self.t

    def project(self, points_world: np.ndarray) -> np.ndarray:
        """World points (..., 3) to pixels (..., 2), lens distortion included; behind the camera: NaN."""
        x_cam = self.to_camera(points_world)
        depth = x_cam[..., 2:]
        with np.errstate(divide="ignore", invalid="ignore"):
            normalised = np.where(depth > 1e-9, x_cam[..., :2] / depth, np.nan)
        if not self.is_pinhole:
            normalised = self._distort(normalised)
        return normalised @ self.K[:2, :2].T + self.K[:2, 2]

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Undistorted or distorted pixels (..., 2) of this camera to unit directions in the world (..., 3)."""
        pixels = np.asarray(pixels, np.float64)
        if not self.is_pinhole:
            pixels = self.undistort_points(pixels)
        x = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1) @ np.linalg.inv(self.K).T
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return x @ self.R

    def undistorted(self) -> Camera:
        """The pinhole camera with the same K: what images look like after ``undistort_image``."""
        return replace(self, distortion=np.zeros(0), model=RADIAL_TANGENTIAL)

    def undistort_points(self, pixels: np.ndarray) -> np.ndarray:
        """Distorted pixels (..., 2) to pixels (..., 2) of ``undistorted()``. NaN stays NaN."""
        if self.is_pinhole:
            return np.asarray(pixels, np.float64)
        flat = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
        if self.model == FISHEYE:
            out = cv2.fisheye.undistortPoints(flat, self.K, self.distortion[:4], P=self.K)
        else:
            criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-9)
            out = cv2.undistortPointsIter(flat, self.K, self.distortion, np.eye(3), self.K, criteria)
        return out.reshape(np.shape(pixels))

    @cached_property
    def _undistort_maps(self) -> tuple[np.ndarray, np.ndarray]:
        if self.model == FISHEYE:
            return cv2.fisheye.initUndistortRectifyMap(
                self.K, self.distortion[:4], np.eye(3), self.K, self.size, cv2.CV_16SC2
            )
        return cv2.initUndistortRectifyMap(self.K, self.distortion, None, self.K, self.size, cv2.CV_16SC2)

    def undistort_image(self, image: np.ndarray) -> np.ndarray:
        """Image (H, W, ...) of this camera to the image that ``undistorted()`` would have taken."""
        if self.is_pinhole:
            return image
        return cv2.remap(image, *self._undistort_maps, interpolation=cv2.INTER_LINEAR)

    def scaled(self, size: tuple[int, int]) -> Camera:
        """The same camera for images resized to ``size`` (width, height); pixel centres at integers."""
        s = np.asarray(size, np.float64) / np.asarray(self.size)
        K = self.K.copy()
        K[:2] *= s[:, None]
        K[:2, 2] += 0.5 * s - 0.5
        return replace(self, size=size, K=K)

    def _distort(self, normalised: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(normalised.reshape(-1, 2))
        finite = np.isfinite(flat).all(1)
        out = np.full_like(flat, np.nan)
        if finite.any():
            if self.model == FISHEYE:
                d = cv2.fisheye.distortPoints(flat[finite][:, None], np.eye(3), self.distortion[:4])
            else:
                rays = np.column_stack([flat[finite], np.ones(finite.sum())])
                d, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.eye(3), self.distortion)
            out[finite] = d.reshape(-1, 2)
        return out.reshape(normalised.shape)


@dataclass(frozen=True)
class Rig:
    """The cameras of a session in one world frame, and which way is up in it.

    Attributes:
        cameras: in the order of the calibration; names are unique.
        up: (3,) unit vector in world coordinates.
    """

    cameras: tuple[Camera, ...]
    up: np.ndarray = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))
        up = np.asarray(self.up, np.float64).reshape(3)
        object.__setattr__(self, "up", up / np.linalg.norm(up))
        names = self.names
        if len(set(names)) != len(names):
            raise InputError("calibration", f"two cameras share a name in {names}", "Give every camera its own name")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.cameras)

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, name: str) -> Camera:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise KeyError(name)

    def undistorted(self) -> Rig:
        return replace(self, cameras=tuple(c.undistorted() for c in self.cameras))

    def subset(self, names: Sequence[str]) -> Rig:
        return replace(self, cameras=tuple(self[n] for n in names))

    @cached_property
    def projections(self) -> np.ndarray:
        """(C, 3, 4) projection matrices of the undistorted cameras."""
        return np.stack([c.P for c in self.cameras])

    @cached_property
    def centres(self) -> np.ndarray:
        """(C, 3) camera positions, metres."""
        return np.stack([c.centre for c in self.cameras])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for an artifact: every dataset is fixed-size numbers or bytes strings."""
        width = max([len(c.distortion) for c in self.cameras] + [1])
        distortion = np.zeros((len(self), width))
        for row, c in zip(distortion, self.cameras, strict=True):
            row[: len(c.distortion)] = c.distortion
        return {
            "names": np.array([c.name.encode() for c in self.cameras]),
            "size": np.array([c.size for c in self.cameras], np.int32),
            "K": np.stack([c.K for c in self.cameras]),
            "R": np.stack([c.R for c in self.cameras]),
            "t": np.stack([c.t for c in self.cameras]),
            "distortion": distortion,
            "model": np.array([c.model.encode() for c in self.cameras]),
            "up": self.up,
        }

    @classmethod
    def from_arrays(cls, arrays) -> Rig:
        cameras = [
            Camera(n.decode(), tuple(s), K, R, t, d, m.decode())
            for n, s, K, R, t, d, m in zip(
                *(arrays[k] for k in ("names", "size", "K", "R", "t", "distortion", "model")), strict=True
            )
        ]
        return cls(tuple(cameras), arrays["up"])


def project(projections: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Project points (..., 3) with matrices (..., 3, 4), broadcasting leading axes: pixels (..., 2).

    Points at or behind the camera plane become NaN.
    """
    x = np.einsum("...ij,...j->...i", projections[..., :3], points) + projections[..., 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x[..., 2:] > 1e-9, x[..., :2] / x[..., 2:], np.nan)


def triangulate(projections: np.ndarray, pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted linear triangulation, batched (homogeneous DLT, Hartley & Zisserman 12.2).

    Args:
        projections: (C, 3, 4) of undistorted cameras.
        pixels: (..., C, 2); entries of weight zero may hold anything, NaN included.
        weights: (..., C) non-negative.

    Returns:
        (..., 3) points in metres; NaN where fewer than two weights are positive.
    """
    weights = np.asarray(weights, np.float64)
    used = weights > 0
    pixels = np.where(used[..., None], pixels, 0.0)
    # Rows in units of pixels over focal length, so that no camera outweighs another by its resolution.
    scale = 1.0 / np.linalg.norm(projections[:, 0, :3], axis=-1)
    w = (weights * scale)[..., None]
    rows_u = w * (pixels[..., :1] * projections[:, 2] - projections[:, 0])
    rows_v = w * (pixels[..., 1:] * projections[:, 2] - projections[:, 1])
    A = np.concatenate([rows_u, rows_v], axis=-2)
    normal = np.swapaxes(A, -1, -2) @ A
    lhs, rhs = normal[..., :3, :3], -normal[..., :3, 3:]
    enough = used.sum(-1) >= 2
    lhs = np.where(enough[..., None, None], lhs, np.eye(3))
    lhs = lhs + 1e-12 * np.trace(lhs, axis1=-2, axis2=-1)[..., None, None] * np.eye(3)
    points = np.linalg.solve(lhs, rhs)[..., 0]
    return np.where(enough[..., None], points, np.nan)
