"""What a surface network reads, built the same way for training and for inference.

Crops are square windows around the person in undistorted images; the camera matrix follows, so perspective stays true.
The canonical frame is the body's own: up is y, the body faces +z (or, for released weights, -z: ``compat``), centre and
scale come from its bounding box. Everything is metres, OpenCV cameras, pixel centres at integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nn_functional

from nets.deepmulticap import presets
from nets.deepmulticap.lookups import project

MOST_VIEWS = 12
EXTENT = 0.9  # the body's longest side in the unit cube, as released


@dataclass(frozen=True)
class SurfaceInputs:
    """One batch: B people seen in V views.

    Attributes:
        size: side of the crops in pixels, S.
        projection: (B, V, 3, 4) world to crop pixels.
        rotation, centre, scale: (B, 3, 3), (B, 3), (B,): canonical = rotation (p - centre) scale.
        present: (B, V) bool, False for a view to be left out altogether; None if all are there.
        rgb: (B, V, 3, S, S) in [-1, 1], 0 off the person.
        normals: (B, V, 3, S, S) predicted, 0 off the person.
        global_normals: (B, V, 3, S, S) of the body in its canonical frame, 0 off the body.
        mask: (B, V, 1, S, S) 1 on the person, -1 where nobody is, 0 where someone or something else is in front.
        body_depth: (B, V, 2, S, S) depth of the body's surface along the camera's axis from the frame's centre, in
            canonical units, 0 off the body; and 1 on the body, 0 off it.
        volume: (B, C, R/2, R/2, R/2) even voxels of the body volume.
    """

    size: int
    projection: Tensor
    rotation: Tensor
    centre: Tensor
    scale: Tensor
    present: Tensor | None = None
    rgb: Tensor | None = None
    normals: Tensor | None = None
    global_normals: Tensor | None = None
    mask: Tensor | None = None
    body_depth: Tensor | None = None
    volume: Tensor | None = None

    def map(self, name: str) -> Tensor:
        return getattr(self, name)

    def geometry(self) -> SurfaceInputs:
        """Itself without images and volume."""
        return replace(self, **dict.fromkeys((*presets.MAP_CHANNELS, "volume")))

    def to(self, device: torch.device | str) -> SurfaceInputs:
        tensors = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        return replace(self, **{name: value.to(device) for name, value in tensors.items()})

    def check(self, of: presets.Preset) -> None:
        """Raise ValueError, naming the field, if a network of this preset cannot read these inputs."""
        B, V = self.projection.shape[:2]
        if not 1 <= V <= MOST_VIEWS:
            raise ValueError(f"projection: {V} views; a network reads 1 to {MOST_VIEWS}")
        even = {level.volume.resolution // 2: level.volume.kind for level in of.levels if level.volume}
        for name in sorted(of.inputs):
            value = self.map(name)
            if value is None:
                raise ValueError(f"{name}: missing; network {of.name!r} reads {', '.join(sorted(of.inputs))}")
            shape = (B, V, presets.MAP_CHANNELS.get(name), self.size, self.size)
            if name == "volume":
                (side, kind), *_ = even.items()
                shape = (B, presets.VOLUME_CHANNELS[kind], side, side, side)
            if tuple(value.shape) != shape:
                raise ValueError(f"{name}: shape {tuple(value.shape)}, network {of.name!r} needs {shape}")
        multiple = max(level.image.stride * 4 for level in of.levels)
        if self.size % multiple:
            raise ValueError(f"size: {self.size} pixels; network {of.name!r} needs a multiple of {multiple}")
        for name in ("projection", "rotation", "centre", "scale", *sorted(of.inputs)):
            if not bool(torch.isfinite(self.map(name)).all()):
                raise ValueError(f"{name}: holds NaN or infinity")
        if self.present is not None and not bool(self.present.any(-1).all()):
            raise ValueError("present: a person of the batch is in no view")


def collate(items: Sequence[SurfaceInputs]) -> SurfaceInputs:
    """Join people whose numbers of views may differ: views are filled up with absent ones (zero images)."""
    views = max(item.projection.shape[1] for item in items)
    padded = [_with_views(item, views) for item in items]
    joined = {
        f.name: torch.cat([getattr(p, f.name) for p in padded])
        for f in fields(SurfaceInputs)
        if f.name != "size" and getattr(padded[0], f.name) is not None
    }
    return SurfaceInputs(size=items[0].size, **joined)


def _with_views(item: SurfaceInputs, views: int) -> SurfaceInputs:
    B, V = item.projection.shape[:2]
    present = torch.ones(B, V, dtype=torch.bool) if item.present is None else item.present
    values = {"present": present.to(item.projection.device)}
    for name in ("projection", "present", *presets.MAP_CHANNELS):
        value = values.get(name, getattr(item, name))
        if value is not None:
            filler = value[:, :1].expand(-1, views - V, *value.shape[2:])
            # An absent view borrows the first one's camera, which is at least a camera; its images are zero.
            values[name] = torch.cat([value, filler if name == "projection" else torch.zeros_like(filler)], 1)
    return replace(item, **values)


# --- crops ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crop:
    """A square window of an image, brought to ``size`` pixels a side.

    Attributes:
        left, top: first column and row of the window in the image; may lie outside it.
        side: of the window, pixels of the image.
        size: of the crop, pixels.
    """

    left: int
    top: int
    side: int
    size: int

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3): homogeneous pixels of the image to pixels of the crop, pixel centres at integers in both."""
        s = self.size / self.side
        return np.array([[s, 0, (0.5 - self.left) * s - 0.5], [0, s, (0.5 - self.top) * s - 0.5], [0, 0, 1]])

    def intrinsics(self, K: np.ndarray) -> np.ndarray:
        """The camera matrix (3, 3) of the crop; rotation and translation stay as they are."""
        return self.matrix @ K

    def window(self, image: np.ndarray) -> np.ndarray:
        """The window of an image (H, W, ...), zero where it reaches beyond."""
        out = np.zeros((self.side, self.side, *image.shape[2:]), image.dtype)
        H, W = image.shape[:2]
        x0, x1 = np.clip([self.left, self.left + self.side], 0, W)
        y0, y1 = np.clip([self.top, self.top + self.side], 0, H)
        out[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left] = image[y0:y1, x0:x1]
        return out

    def resized(self, image: np.ndarray) -> Tensor:
        """The crop of an image (H, W) or (H, W, C) as float32 (C, size, size), in the image's own units."""
        window = self.window(image if image.ndim == 3 else image[..., None])
        x = torch.from_numpy(np.ascontiguousarray(window.transpose(2, 0, 1))).to(torch.float32)[None]
        if self.side == self.size:
            return x[0]
        size, smaller = (self.size, self.size), self.size < self.side
        return nn_functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=smaller)[0]


def crop_around(mask: np.ndarray, size: int, body_pixels: np.ndarray | None = None, margin: float = 0.1) -> Crop | None:
    """The square window around a person: what the mask and the projected body cover, and a margin on every side.

    The body keeps limbs that others hide, or that a mask has lost, inside the crop.

    Args:
        mask: (H, W), non-zero on the person; may be empty if ``body_pixels`` is given.
        body_pixels: (N, 2) projected body vertices; NaN is left out, and so is what lies off the image.
        margin: as a share of the window without it.

    Returns:
        None where neither mask nor body is in the image.
    """
    H, W = mask.shape
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    points = [np.array([[columns[0], rows[0]], [columns[-1], rows[-1]]], float)] if len(rows) else []
    if body_pixels is not None:
        inside = np.isfinite(body_pixels).all(-1)
        inside[inside] = ((body_pixels[inside] > -0.5) & (body_pixels[inside] < (W - 0.5, H - 0.5))).all(-1)
        points.append(body_pixels[inside])
    points = np.concatenate(points) if points else np.zeros((0, 2))
    if not len(points):
        return None
    low, high = points.min(0), points.max(0)
    side = max(int(np.ceil((high - low).max() * (1 + 2 * margin))) + 1, 8)
    left, top = np.floor((low + high + 1 - side) / 2).astype(int)
    return Crop(int(left), int(top), side, size)


def masked_rgb(rgb: Tensor, mask: Tensor) -> Tensor:
    """Colours (3, S, S) in 0..255 and a mask (S, S) in 0..1 to network input in [-1, 1], mid grey (0) off the mask."""
    return (rgb / 127.5 - 1) * mask


def crop_person(image: np.ndarray, mask: np.ndarray, crop: Crop) -> tuple[Tensor, Tensor]:
    """An undistorted RGB image (H, W, 3) uint8 and its mask (H, W) to input (3, S, S) and mask (S, S) in 0..1."""
    soft = crop.resized((np.asarray(mask) > 0).astype(np.float32))[0].clamp(0, 1)
    return masked_rgb(crop.resized(image), soft), soft


# --- canonical frame ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CanonicalFrame:
    """A body's own frame: canonical = rotation (p - centre) scale; the body fits the unit cube around 0.

    Attributes:
        rotation: (3, 3), world to canonical axes: y up, body faces +z.
        centre: (3,) metres, world.
        scale: canonical units per metre.
    """

    rotation: np.ndarray
    centre: np.ndarray
    scale: float

    def to_canonical(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3), metres, to the frame."""
        return (points - self.centre) @ self.rotation.T * self.scale

    def to_world(self, points: np.ndarray) -> np.ndarray:
        return points / self.scale @ self.rotation + self.centre

    def directions(self, vectors: np.ndarray) -> np.ndarray:
        """World directions (..., 3) in the frame's axes."""
        return vectors @ self.rotation.T

    @property
    def side(self) -> float:
        """Side of the unit cube in metres."""
        return 1 / self.scale


def heading(left: np.ndarray, right: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(3,) unit horizontal direction that a body faces, from joints of its left and right side (J, 3), such as both
    shoulders and hips.

    Someone who lies on the side, one shoulder above the other, faces nowhere horizontally: some horizontal direction
    is returned then, the same for the same body.
    """
    forward = np.cross((np.asarray(left) - np.asarray(right)).mean(0), up)
    if np.linalg.norm(forward) < 1e-6:
        forward = np.cross(np.eye(3)[np.abs(up).argmin()], up)
    return forward / np.linalg.norm(forward)


def canonical_frame(vertices: np.ndarray, forward: np.ndarray, up: np.ndarray) -> CanonicalFrame:
    """The frame of body vertices (V, 3), metres, that face ``forward`` in a world with ``up``.

    Centre and scale are those of the box along the world's axes as released: its longest side becomes 0.9.
    """
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    z = forward - up * (forward @ up)
    z = z / np.linalg.norm(z)
    low, high = vertices.min(0), vertices.max(0)
    return CanonicalFrame(np.stack([np.cross(up, z), up, z]), (low + high) / 2, float(EXTENT / (high - low).max()))


def global_normal_map(interpolated: np.ndarray, hit: np.ndarray) -> Tensor:
    """Canonical vertex normals as rendered per pixel (S, S, 3), and where something was hit, to input (3, S, S)."""
    length = np.linalg.norm(interpolated, axis=-1, keepdims=True)
    unit = np.where(hit[..., None], interpolated / np.maximum(length, 1e-6), 0)
    return torch.from_numpy(np.ascontiguousarray(unit.transpose(2, 0, 1), np.float32))


def mask_map(soft: Tensor, blocked: Tensor | None = None) -> Tensor:
    """The mask as networks read it: (1, S, S) in -1..1.

    Args:
        soft: (S, S) in 0..1, on the person. blocked: (S, S) bool, where someone or something else is in front.
    """
    out = 2 * soft - 1
    return (out if blocked is None else torch.where(blocked, out.clamp_min(0), out))[None]


def body_depth_map(depth: np.ndarray, centre_depth: float, scale: float) -> Tensor:
    """Depth of the body as rendered, (S, S) metres along the axis and infinity off it, to input (2, S, S).

    Args:
        centre_depth: metres, of the canonical frame's centre. scale: of that frame.
    """
    hit = np.isfinite(depth)
    relative = np.where(hit, (np.where(hit, depth, 0) - centre_depth) * scale, 0)
    return torch.from_numpy(np.stack([relative, hit]).astype(np.float32))


# --- visibility of points -------------------------------------------------------------------------------------------


def point_visibility(projection: Tensor, points: Tensor, size: int, blocked: Tensor | None = None) -> Tensor:
    """Which views may speak of which points: (B, V, N) bool.

    A view may where the point is before the camera and inside the crop, and where nobody else stands in the pixel.
    Background pixels do speak: they say that nothing is there.

    Args:
        projection: (B, V, 3, 4). points: (B, N, 3). size: of the crops.
        blocked: (B, V, S, S) bool, pixels that belong to someone or something else in front.
    """
    pixels, depth = project(projection, points)
    nearest = pixels.round()
    inside = (depth > 0) & (nearest >= 0).all(-1) & (nearest < size).all(-1)
    if blocked is None:
        return inside
    x, y = nearest.clamp(0, size - 1).long().unbind(-1)
    return inside & ~blocked.flatten(2).gather(2, y * size + x)
