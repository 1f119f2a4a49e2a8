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

import numpy as np

from pipeline.errors import InputError

RADIAL_TANGENTIAL = "radial_tangential"  # OpenCV order k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4]]]
FISHEYE = "fisheye"  # OpenCV fisheye (Kannala-Brandt) k1 k2 k3 k4; all zero is the equidistant lens, not a pinhole

# Numbers of coefficients, as in OpenCV but for its tilted sensor (14); shorter lists are filled up with zeros.
_LENGTHS = {RADIAL_TANGENTIAL: (0, 4, 5, 8, 12), FISHEYE: (4,)}
_SOLVER_STEPS = 30
_SOLVER_TOLERANCE = 1e-11  # in units of the focal length


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
        if self.model not in _LENGTHS:
            raise ValueError(f"camera {self.name}: unknown lens model {self.model!r}")
        set_(self, "distortion", _padded(self.distortion, self.model, self.name))

    @classmethod
    def of_projection(cls, P: np.ndarray, size: tuple[int, int], name: str = "") -> Camera:
        """The pinhole camera whose matrix (3, 4) is ``P`` up to scale, of positive depth before it."""
        P = np.asarray(P, np.float64)
        P = P if np.linalg.det(P[:, :3]) > 0 else -P
        turned, upper = np.linalg.qr(np.linalg.inv(P[:, :3]))  # inverse of K R is R^T times an upper triangle
        signs = np.sign(np.diag(upper))
        R = (turned * signs).T
        K = P[:, :3] @ R.T
        return cls(name, size, np.triu(K / K[2, 2]), R, R @ np.linalg.solve(P[:, :3], P[:, 3]))

    @property
    def is_pinhole(self) -> bool:
        return self.model == RADIAL_TANGENTIAL and not np.any(self.distortion)

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
        return self._to_pixels(normalised)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of this camera's images, distortion included, to unit directions in the world (..., 3)."""
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
        """Distorted pixels (..., 2) to pixels (..., 2) of ``undistorted()``.

        NaN stays NaN; a pixel that no ray in front of the camera reaches (beyond the edge of what the lens
        model covers, or 90 degrees off the axis) becomes NaN too.
        """
        pixels = np.asarray(pixels, np.float64)
        if self.is_pinhole:
            return pixels
        distorted = self._normalise(pixels).reshape(-1, 2)
        finite = np.isfinite(distorted).all(-1)
        out = np.full_like(distorted, np.nan)
        if finite.any():
            out[finite] = self._undistort_normalised(distorted[finite])
        return self._to_pixels(out.reshape(pixels.shape))

    @cached_property
    def _undistort_maps(self) -> tuple[np.ndarray, np.ndarray]:
        import cv2  # here, so that rigs are read and checked without it

        # Through project's own code: OpenCV's map functions leave out the skew of K.
        columns, rows = np.meshgrid(np.arange(self.size[0], dtype=np.float64), np.arange(self.size[1]))
        source = self._to_pixels(self._distort(self._normalise(np.stack([columns, rows], -1)))).astype(np.float32)
        return cv2.convertMaps(source[..., 0], source[..., 1], cv2.CV_16SC2)

    def undistort_image(self, image: np.ndarray) -> np.ndarray:
        """Image (H, W, ...) of this camera to the image that ``undistorted()`` would have taken."""
        if self.is_pinhole:
            return image
        import cv2

        if image.shape[:2] != self.size[::-1]:
            raise ValueError(f"camera {self.name}: image of {image.shape[1::-1]}, calibrated for {self.size}")
        return cv2.remap(image, *self._undistort_maps, interpolation=cv2.INTER_LINEAR)

    def scaled(self, size: tuple[int, int]) -> Camera:
        """The same camera for images resized to ``size`` (width, height); pixel centres at integers."""
        s = np.asarray(size, np.float64) / np.asarray(self.size)
        K = self.K.copy()
        K[:2] *= s[:, None]
        K[:2, 2] += 0.5 * s - 0.5
        return replace(self, size=size, K=K)

    def cropped(self, window: tuple[int, int, int, int]) -> Camera:
        """The camera of the part x0 y0 x1 y1 of its images."""
        x0, y0, x1, y1 = window
        K = self.K.copy()
        K[:2, 2] -= (x0, y0)
        return replace(self, K=K, size=(x1 - x0, y1 - y0))

    def turned(self, quarter_turns: int) -> Camera:
        """The camera of the same images turned clockwise by 90 degrees ``quarter_turns`` times.

        A pixel (u, v) of a W x H image stands at (H - 1 - v, u) after one turn: ``np.rot90(image, -quarter_turns)``.
        """
        camera = self
        for _ in range(quarter_turns % 4):
            camera = camera._turned_once()
        return camera

    def _turned_once(self) -> Camera:
        turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # new camera axes from old ones
        pixel_turn = turn.copy()
        pixel_turn[0, 2] = self.size[1] - 1
        d = self.distortion.copy()
        if self.model == RADIAL_TANGENTIAL and len(d) >= 4:
            d[2], d[3] = d[3], -d[2]
            if len(d) == 12:  # thin prism s1 s2 | s3 s4
                d[8:] = [-d[10], -d[11], d[8], d[9]]
        return replace(
            self,
            size=self.size[::-1],
            K=pixel_turn @ self.K @ turn.T,
            R=turn @ self.R,
            t=turn @ self.t,
            distortion=d,
        )

    def _normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) to image-plane coordinates x / z, y / z (..., 2); K may hold a skew."""
        return (pixels - self.K[:2, 2]) @ np.linalg.inv(self.K[:2, :2]).T

    def _to_pixels(self, normalised: np.ndarray) -> np.ndarray:
        return normalised @ self.K[:2, :2].T + self.K[:2, 2]

    def _distort(self, normalised: np.ndarray) -> np.ndarray:
        """Image-plane coordinates (..., 2) through the lens (..., 2)."""
        distorted, _ = self._distort_with_slope(normalised.reshape(-1, 2))
        return distorted.reshape(normalised.shape)

    def _distort_with_slope(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, 2) through the lens, and the derivative (N, 2, 2) by the point (OpenCV's camera models)."""
        x, y = points.T
        q = x * x + y * y
        if self.model == FISHEYE:
            k = self.distortion
            r = np.sqrt(q)
            near = r < 1e-8
            safe = np.where(near, 1.0, r)
            theta = np.arctan(r)
            t2 = theta * theta
            theta_d = theta * (1 + t2 * (k[0] + t2 * (k[1] + t2 * (k[2] + t2 * k[3]))))
            by_theta = 1 + t2 * (3 * k[0] + t2 * (5 * k[1] + t2 * (7 * k[2] + t2 * 9 * k[3])))
            scale = np.where(near, 1.0, theta_d / safe)
            # d(scale)/dq = (d theta_d/dr - scale) / (2 r^2)
            scale_by_q = np.where(near, 0.0, (by_theta / (1 + q) - scale) / (2 * safe * safe))
            p1 = p2 = s1 = s2 = s3 = s4 = 0.0
        else:
            k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = np.pad(self.distortion, (0, 12 - len(self.distortion)))
            above = 1 + q * (k1 + q * (k2 + q * k3))
            below = 1 + q * (k4 + q * (k5 + q * k6))
            scale = above / below
            above_by_q, below_by_q = k1 + q * (2 * k2 + q * 3 * k3), k4 + q * (2 * k5 + q * 3 * k6)
            scale_by_q = (above_by_q - scale * below_by_q) / below
        u = x * scale + 2 * p1 * x * y + p2 * (q + 2 * x * x) + q * (s1 + s2 * q)
        v = y * scale + 2 * p2 * x * y + p1 * (q + 2 * y * y) + q * (s3 + s4 * q)
        prism_u, prism_v = s1 + 2 * s2 * q, s3 + 2 * s4 * q
        slope = np.empty((len(points), 2, 2))
        slope[:, 0, 0] = scale + 2 * x * x * scale_by_q + 2 * p1 * y + 6 * p2 * x + 2 * x * prism_u
        slope[:, 0, 1] = 2 * x * y * scale_by_q + 2 * p1 * x + 2 * p2 * y + 2 * y * prism_u
        slope[:, 1, 0] = 2 * x * y * scale_by_q + 2 * p2 * y + 2 * p1 * x + 2 * x * prism_v
        slope[:, 1, 1] = scale + 2 * y * y * scale_by_q + 2 * p2 * x + 6 * p1 * y + 2 * y * prism_v
        return np.stack([u, v], -1), slope

    def _undistort_normalised(self, distorted: np.ndarray) -> np.ndarray:
        """Invert ``_distort`` for (N, 2) finite points: Newton's method, NaN where it does not converge.

        OpenCV's fixed-point iteration diverges towards the corners of wide lenses.
        """
        with np.errstate(all="ignore"):  # pixels far outside the image may overflow on their way to NaN
            return self._newton(distorted)

    def _newton(self, distorted: np.ndarray) -> np.ndarray:
        x = self._first_guess(distorted)
        open_ = np.flatnonzero(np.isfinite(x).all(-1))
        for _ in range(_SOLVER_STEPS):
            image, slope = self._distort_with_slope(x[open_])
            residual = image - distorted[open_]
            wrong = np.abs(residual).max(-1) > _SOLVER_TOLERANCE
            open_, residual, slope = open_[wrong], residual[wrong], slope[wrong]
            if not len(open_):
                break
            (a, b), (c, d) = np.moveaxis(slope, 0, -1)
            determinant = a * d - b * c
            folded = determinant < 1e-9  # past the edge of what the polynomial covers: no ray is there
            u, v = residual.T
            step = np.stack([d * u - b * v, a * v - c * u], -1) / np.where(folded, np.nan, determinant)[:, None]
            x[open_] -= step
            open_ = open_[~folded]
        x[open_] = np.nan
        return x

    def _first_guess(self, distorted: np.ndarray) -> np.ndarray:
        if self.model != FISHEYE:
            return distorted.copy()
        k = self.distortion
        theta_d = np.linalg.norm(distorted, axis=-1)
        theta = theta_d.copy()
        for _ in range(_SOLVER_STEPS):
            q = theta**2
            value = theta * (1 + q * (k[0] + q * (k[1] + q * (k[2] + q * k[3])))) - theta_d
            slope = 1 + q * (3 * k[0] + q * (5 * k[1] + q * (7 * k[2] + q * 9 * k[3])))
            theta = np.clip(theta - value / np.where(slope > 1e-9, slope, np.nan), 0, np.pi / 2)
        scale = np.where(theta_d > 1e-12, np.tan(theta) / theta_d, 1.0)
        return np.where((theta < np.pi / 2 - 1e-6)[:, None], distorted * scale[:, None], np.nan)


def _padded(distortion: np.ndarray, model: str, name: str) -> np.ndarray:
    significant = np.trim_zeros(distortion, "b")
    for length in _LENGTHS[model]:
        if len(significant) <= length:
            out = np.zeros(length)
            out[: len(significant)] = significant
            return out
    raise ValueError(f"camera {name}: {len(significant)} distortion coefficients for a {model} lens")


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
        if not np.linalg.norm(up) > 0:  # also refuses NaN
            raise InputError("calibration", f"the up direction {up.tolist()} has no length", "Give an axis, such as z")
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
        pixels: (..., C, 2); entries of weight zero may hold anything; NaN counts as weight zero.
        weights: (..., C) non-negative.

    Returns:
        (..., 3) points in metres; NaN where fewer than two weights are positive.
    """
    weights = np.asarray(weights, np.float64)
    used = (weights > 0) & np.isfinite(pixels).all(-1)
    weights = np.where(used, weights, 0.0)
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
