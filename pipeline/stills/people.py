"""Everybody found in a still, in pixels of the image and metres of its camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StillCamera:
    """The camera of an image: OpenCV axes, no lens distortion. ``focal`` and ``principal`` (2,) in pixels; ``known``
    says whether the user gave them."""

    focal: float
    principal: np.ndarray
    known: bool = False

    @classmethod
    def of(cls, size: tuple[int, int], focal: float | None, assumed: float) -> StillCamera:
        """Of an image (width, height): the focal length given, else ``assumed`` times the longer side."""
        principal = (np.array(size, np.float64) - 1) / 2
        return cls(focal or assumed * max(size), principal, focal is not None)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in camera axes; NaN behind the camera."""
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = points[..., :2] * self.focal / points[..., 2:] + self.principal
        return np.where(points[..., 2:] > 0, pixels, np.nan)


@dataclass(frozen=True)
class StillPeople:
    """N people of one image, surest first. Rotations are axis-angle in camera axes, lengths metres.

    Attributes:
        size: (width, height) of the image.
        boxes: (N, 4) float32 x0 y0 x1 y1 pixels. scores: (N,) float32 in 0..1.
        global_orient: (N, 3). body_pose: (N, 63). betas: (N, 10). transl: (N, 3): SMPL-X parameters.
        joints: (N, 19, 3) float32 SKEL-19 in camera axes. keypoints: (N, 19, 2) float32 pixels.
        masks: (N, 28, 28) uint8, 255 where the box shows the person; N is 0 for a network without masks.
    """

    FIELDS = "boxes scores global_orient body_pose betas transl joints keypoints masks".split()

    size: tuple[int, int]
    camera: StillCamera
    boxes: np.ndarray
    scores: np.ndarray
    global_orient: np.ndarray
    body_pose: np.ndarray
    betas: np.ndarray
    transl: np.ndarray
    joints: np.ndarray
    keypoints: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def nobody(cls, size: tuple[int, int], camera: StillCamera) -> StillPeople:
        shapes = {"boxes": (4,), "scores": (), "global_orient": (3,), "body_pose": (63,), "betas": (10,),
                  "transl": (3,), "joints": (19, 3), "keypoints": (19, 2)}  # fmt: skip
        arrays = {name: np.zeros((0, *shape), np.float32) for name, shape in shapes.items()}
        return cls(size, camera, **arrays, masks=np.zeros((0, 28, 28), np.uint8))

    def to_arrays(self) -> dict[str, np.ndarray]:
        camera = np.array([self.camera.focal, *self.camera.principal, float(self.camera.known)])
        arrays = {name: np.asarray(getattr(self, name)) for name in self.FIELDS}
        return arrays | {"camera": camera, "size": np.array(self.size, np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> StillPeople:
        focal, x, y, known = arrays["camera"]
        camera = StillCamera(float(focal), np.array([x, y]), bool(known))
        width, height = (int(v) for v in arrays["size"])
        return cls((width, height), camera, *(arrays[name] for name in cls.FIELDS))
