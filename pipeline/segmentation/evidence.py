"""What tells whose a pixel is: everybody's projected body with its depth, the detector's person masks, the empty scene.

All of it is brought onto one grid, the crop of a person in a view, as the networks take it (``nets.parsing.inputs``)
in training and inference alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from pipeline.cameras import Camera
from pipeline.raster import Raster, Window, projected_window

MARGIN_M = 0.35
"""Round a projected body: clothes, hair, what is carried, and errors of the fit."""
MOST_PIXELS = 512
"""Longest side of a crop; people who are larger in the image are looked at smaller, then refined on the image."""
SHOWN, VISIBLE = 0.7, 0.1
"""Share of what is to be seen of a body from which a mask shows it; share of a body from which that can be told."""


@dataclass(frozen=True)
class Crop:
    """A window of an image, looked at ``size`` pixels large. Pixel centres are at integers in both.

    Attributes:
        window: x0 y0 x1 y1 in the image, end exclusive.
        size: (width, height) of the crop, never larger than the window.
    """

    window: Window
    size: tuple[int, int]

    @classmethod
    def of(cls, window: Window, most: int = MOST_PIXELS) -> Crop:
        width, height = window[2] - window[0], window[3] - window[1]
        scale = min(1.0, most / max(width, height))
        return cls(window, (max(1, round(width * scale)), max(1, round(height * scale))))

    @property
    def scale(self) -> np.ndarray:
        """(2,) crop pixels an image pixel."""
        x0, y0, x1, y1 = self.window
        return np.array(self.size) / (x1 - x0, y1 - y0)

    def camera(self, camera: Camera) -> Camera:
        """The camera that takes the crop."""
        return camera.cropped(self.window).scaled(self.size)

    def take(self, image: np.ndarray) -> np.ndarray:
        """The crop of an image (H, W, ...)."""
        x0, y0, x1, y1 = self.window
        part = image[y0:y1, x0:x1]
        if part.shape[1::-1] == self.size:
            return np.ascontiguousarray(part)
        return cv2.resize(part, self.size, interpolation=cv2.INTER_AREA)

    def to_window(self, mask: np.ndarray) -> np.ndarray:
        """A mask (h, w) bool of the crop in the pixels of its window of the image: the nearest pixel's."""
        x0, y0, x1, y1 = self.window
        if self.size == (x1 - x0, y1 - y0):
            return mask
        return cv2.resize(mask.astype(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST) > 0

    def to_image(self) -> np.ndarray:
        """(2, 3) affine matrix from pixels of the crop to pixels of the image."""
        step = 1 / self.scale
        return np.column_stack([np.diag(step), np.array(self.window[:2]) + 0.5 * step - 0.5])

    def moved(self, values: np.ndarray, other: Crop, flags: int, beyond: float) -> np.ndarray:
        """What another crop of the same image shows, on this one's grid; ``beyond`` its rim."""
        matrix = _compose(cv2.invertAffineTransform(other.to_image()), self.to_image())
        return cv2.warpAffine(
            values, matrix, self.size, flags=flags | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT,
            borderValue=beyond,
        )  # fmt: skip


@dataclass(frozen=True)
class PersonMask:
    """A detector's person mask, in the box of the image that it covers.

    Attributes:
        values: (h, w) uint8 probability.
        box: x0 y0 x1 y1 pixels of the image, end exclusive; ``values`` is resized to it.
    """

    values: np.ndarray
    box: np.ndarray

    @classmethod
    def decoded(cls, png: bytes, box: np.ndarray) -> PersonMask:
        return cls(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), box)

    def seen_in(self, crop: Crop) -> np.ndarray:
        """(h, w) float32 0..1 on a crop's grid; 0 beyond the box."""
        x0, y0, x1, y1 = (int(v) for v in self.box)
        as_crop = Crop((x0, y0, x1, y1), self.values.shape[::-1])
        return crop.moved(self.values, as_crop, cv2.INTER_LINEAR, 0).astype(np.float32) / 255


@dataclass(frozen=True)
class SeenBody:
    """A person's body as one camera sees it, without what hides it.

    Attributes:
        crop: round the body, with a margin.
        depth: (h, w) float32 metres along the camera's axis; +inf beside the body.
        pixels_per_metre: of the crop, at the body's distance.
        parts: (h, w) uint8, number of the part that is seen where the body is; None if parts are not told apart.
    """

    crop: Crop
    depth: np.ndarray
    pixels_per_metre: float
    parts: np.ndarray | None = None

    @cached_property
    def nearest_part(self) -> np.ndarray:
        """(h, w) uint8: the part of the body, beside it the nearest one's; 0 where parts are not told apart."""
        if self.parts is None or not np.isfinite(self.depth).any():
            return np.zeros(self.depth.shape, np.uint8)
        beside = (~np.isfinite(self.depth)).astype(np.uint8)
        _, places = cv2.distanceTransformWithLabels(beside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        of_place = np.zeros(int(places.max()) + 1, np.uint8)
        on = beside == 0
        of_place[places[on]] = self.parts[on]
        return of_place[places]

    @cached_property
    def silhouette(self) -> np.ndarray:
        """(H, W) bool in the crop's window of the image: the projected body."""
        return self.crop.to_window(np.isfinite(self.depth))


@dataclass(frozen=True)
class Evidence:
    """All that is known of one person in one view, on the crop's grid (h, w).

    Attributes:
        crop: where.
        image: (h, w, 3) uint8.
        background: (h, w, 3) uint8, the scene without people; ``known`` (h, w) bool, where it was ever seen.
        detector: (h, w) float32 0..1, the person's mask by the detector, or None if it did not find the person.
        others: (h, w) float32, the largest of the others' masks; None if there is none.
        depth: (h, w) float32, of the person's body, metres; +inf beside it.
        others_depth: (h, w) float32, of the nearest of the others' bodies.
        pixels_per_metre: at the body's distance.
    """

    crop: Crop
    image: np.ndarray
    background: np.ndarray
    known: np.ndarray
    detector: np.ndarray | None
    others: np.ndarray | None
    depth: np.ndarray
    others_depth: np.ndarray
    pixels_per_metre: float

    @cached_property
    def reach(self) -> np.ndarray:
        """(h, w) float32: metres from the rim of the body's silhouette, positive inside."""
        return signed_distance(np.isfinite(self.depth)) / self.pixels_per_metre

    @cached_property
    def others_reach(self) -> np.ndarray:
        """(h, w) float32: the same for the union of the others' bodies."""
        return signed_distance(np.isfinite(self.others_depth)) / self.pixels_per_metre


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """(h, w) float32 pixels to the rim of a mask, positive inside; far outside if nothing is set."""
    inside = mask.astype(np.uint8)
    if not inside.any():
        return np.full(mask.shape, -float(max(mask.shape)), np.float32)
    out = -cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    return out + cv2.distanceTransform(inside, cv2.DIST_L2, 5)


def see_body(
    camera: Camera, vertices: np.ndarray, faces: np.ndarray, raster: Raster, mask: PersonMask | None = None,
    parts: np.ndarray | None = None, most: int = MOST_PIXELS,
) -> SeenBody | None:
    """Render a body (V, 3) in its crop of the camera's image, which also holds the detector's ``mask``; ``parts`` (T,)
    uint8 are those that its triangles belong to, ``most`` is the longest side of the crop.

    None if body and margin are out of the camera's sight.
    """
    pixels = camera.project(vertices)
    pixels = pixels[np.isfinite(pixels).all(-1)]
    z = camera.to_camera(vertices)[:, 2]
    if not len(pixels) or np.median(z) <= 0.1:
        return None
    per_metre = float(np.sqrt(abs(np.linalg.det(camera.K[:2, :2]))) / np.median(z))
    margin = MARGIN_M * per_metre
    low, high = pixels.min(0) - margin, pixels.max(0) + margin
    if mask is not None:  # a mask that the body explains is not cut off, however wrong the body is
        near = np.clip(mask.box, [*(low - margin), *(low - margin)], [*(high + margin), *(high + margin)])
        low, high = np.minimum(low, near[:2]), np.maximum(high, near[2:])
    window = _clipped(low, high, camera.size)
    if window is None:
        return None
    crop = Crop.of(window, most)
    depth, triangles = _rendered(crop.camera(camera), vertices, faces, raster)
    of_pixels = None if parts is None else np.where(triangles < 0, 0, parts[triangles]).astype(np.uint8)
    return SeenBody(crop, depth, per_metre * float(crop.scale[1]), of_pixels)


def _rendered(camera: Camera, vertices: np.ndarray, faces: np.ndarray, raster: Raster) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) float32 metres, +inf beside the body, and the triangles seen, -1 there. Only where the body is are rays
    cast: most of a crop is margin."""
    depth, triangles = np.full(camera.size[::-1], np.inf, np.float32), np.full(camera.size[::-1], -1, np.int32)
    window = projected_window(camera, vertices)
    if window is not None:
        x0, y0, x1, y1 = window
        seen = raster.render(vertices, faces, Crop(window, (x1 - x0, y1 - y0)).camera(camera))
        depth[y0:y1, x0:x1], triangles[y0:y1, x0:x1] = seen.depth, seen.triangle
    return depth, triangles


def _clipped(low: np.ndarray, high: np.ndarray, size: tuple[int, int]) -> Window | None:
    x0, y0 = np.clip(np.floor(low), 0, size).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(high) + 1, 0, size).astype(int).tolist()
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def shows(mask: PersonMask, owner: SeenBody | None, body: SeenBody) -> bool:
    """Whether a detector's mask of one person shows another too: detectors take people who overlap for one.

    It does if it holds most of what the owner's body leaves to be seen of the other's.
    """
    there = np.isfinite(body.depth)
    whole = int(there.sum())
    if owner is not None:
        silhouette = np.isfinite(owner.depth).astype(np.uint8)
        there &= body.crop.moved(silhouette, owner.crop, cv2.INTER_NEAREST, 0) == 0
    left = int(there.sum())
    return left > VISIBLE * whole and int((there & (mask.seen_in(body.crop) > 0.5)).sum()) > SHOWN * left


def gather(
    person: int,
    bodies: Sequence[SeenBody | None],
    masks: Sequence[PersonMask | None],
    strangers: Sequence[PersonMask],
    image: np.ndarray,
    background: tuple[np.ndarray, np.ndarray] | None,
) -> Evidence:
    """The evidence for the person at index ``person``, whose body is in view.

    Args:
        bodies, masks: of everybody, by index.
        strangers: masks that belong to nobody of the session.
        image: (H, W, 3) uint8.
        background: the empty scene (H, W, 3) uint8 and where it is known (H, W) bool.
    """
    own = bodies[person]
    crop = own.crop
    mask = masks[person]
    other_masks = [m for k, m in enumerate(masks) if k != person and m is not None] + list(strangers)
    if mask is None:  # somebody else's may show this person too
        both = [m for k, m in enumerate(masks) if m is not None and shows(m, bodies[k], own)]
        mask = both[0] if both else None
        other_masks = [m for m in other_masks if m is not mask]
    others = None
    for other in other_masks:
        seen = other.seen_in(crop)
        others = seen if others is None else np.maximum(others, seen)
    picture = crop.take(image)
    if background is None:
        empty, known = picture, np.zeros(picture.shape[:2], bool)
    else:
        empty, known = crop.take(background[0]), crop.take(background[1].astype(np.uint8) * 255) > 254
    return Evidence(
        crop=crop,
        image=picture,
        background=empty,
        known=known,
        detector=None if mask is None else mask.seen_in(crop),
        others=others,
        depth=own.depth,
        others_depth=others_depth(person, bodies),
        pixels_per_metre=own.pixels_per_metre,
    )


def others_depth(person: int, bodies: Sequence[SeenBody | None]) -> np.ndarray:
    """(h, w) float32 on the grid of a person's crop: depth of the nearest of the others' bodies, +inf for none."""
    crop, far = bodies[person].crop, np.float32(1e6)
    out = np.full(bodies[person].depth.shape, np.inf, np.float32)
    for k, body in enumerate(bodies):
        if k != person and body is not None:
            # A linear mixture with "nothing there" is no depth: take the nearest pixel's.
            depth = crop.moved(np.minimum(body.depth, far), body.crop, cv2.INTER_NEAREST, float(far))
            out = np.minimum(out, np.where(depth >= far, np.inf, depth))
    return out.astype(np.float32)


def _compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The (2, 3) affine matrix that applies ``inner`` first."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])
