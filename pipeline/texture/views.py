"""Colours of surface points in one view, and how far each is to be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from pipeline.cameras import Camera
from pipeline.raster import Raster, projected_window

EDGE_PX = 5.0
"""Pixels from the mask's border over which trust rises: colours at the very border are the background's too."""
LEAST_COSINE = 0.15
"""Surface seen more aslant than this is not coloured."""
DEPTH_M = 0.012
"""A point this far behind what the view shows of its own surface is hidden."""
JUMP_M = 0.05
"""Where the person's own depth jumps by more (an arm before the chest), trust falls as at the mask's border."""
MARGIN_PX = 8
BEHIND_M = 0.03
"""What lies so far behind the body's hand is hidden by it, although the surface lacks the hand: nearer is the hand
itself."""


@dataclass(frozen=True)
class Seen:
    """One camera's picture of the person at one instant: pinhole camera, image (H, W, 3) uint8, mask (H, W) bool."""

    camera: Camera
    image: np.ndarray
    mask: np.ndarray

    def cropped(self, window: tuple[int, int, int, int]) -> Seen:
        """The part x0 y0 x1 y1 of it."""
        x0, y0, x1, y1 = window
        return Seen(self.camera.cropped(window), self.image[y0:y1, x0:x1], self.mask[y0:y1, x0:x1])


@dataclass(frozen=True)
class ColourView:
    """What one camera saw of one person at one instant.

    Attributes:
        camera: pinhole. image: (H, W, 3) uint8. mask: (H, W) bool, the person's pixels.
        depth: (H, W) metres along the axis of the person's own surface, infinity off it.
    """

    camera: Camera
    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray

    @cached_property
    def _inside(self) -> np.ndarray:
        """(H, W) float32, pixels to the mask's border, or to where the person hides something of themselves."""
        hit = np.isfinite(self.depth)
        square = np.ones((3, 3), np.uint8)
        near = cv2.erode(np.where(hit, self.depth, np.float32(1e6)).astype(np.float32), square)
        far = cv2.dilate(np.where(hit, self.depth, np.float32(0)).astype(np.float32), square)
        steady = self.mask & ~(hit & (far - near > JUMP_M))
        return cv2.distanceTransform(steady.astype(np.uint8), cv2.DIST_L2, 3)

    def sample(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colours (N, 3) float32 0..255 and weights (N,) of points (N, 3) with unit normals (N, 3), world.

        The weight is 0 where the view says nothing of a point, else the pixels a metre of surface covers there, times
        how squarely it is seen and how far from the mask's border.
        """
        camera = self.camera
        local = camera.to_camera(points)
        pixels = camera.project(points)
        known = np.isfinite(pixels).all(-1)
        at = np.where(known[:, None], pixels, -10).astype(np.float32)
        x, y = at[:, 0], at[:, 1]
        inside = _looked_up(self._inside, x, y, cv2.INTER_LINEAR, 0)
        ramp = np.clip((inside - 0.5) / EDGE_PX, 0, 1)
        depth = _looked_up(self.depth.astype(np.float32), x, y, cv2.INTER_NEAREST, np.inf)
        toward = camera.centre - points
        distance = np.linalg.norm(toward, axis=1)
        cosine = (toward * normals).sum(1) / np.maximum(distance, 1e-9)
        shown = known & (local[:, 2] < depth + DEPTH_M) & (cosine > LEAST_COSINE)
        scale = camera.K[0, 0] / np.maximum(local[:, 2], 1e-3)
        weights = np.where(shown, ramp * cosine * cosine * scale, 0)
        colours = _looked_up(self.image, x, y, cv2.INTER_LINEAR, 0).astype(np.float32)
        return colours, weights


Mesh = tuple[np.ndarray, np.ndarray]
"""vertices (V, 3) world metres and faces (F, 3)."""


def colour_views(
    vertices: np.ndarray, faces: np.ndarray, seen: Mapping[str, Seen], raster: Raster, hands: Mesh | None = None
) -> dict[str, ColourView]:
    """What cameras say of a person whose surface is (vertices, faces), by name; those that it is not before are left
    out. Images are cut to the person.

    Args:
        hands: of the person's body. Surfaces often lack fingers, which would be painted on the thigh behind them.
    """
    windows = {n: projected_window(s.camera, vertices, MARGIN_PX) for n, s in seen.items()}
    cut = {n: seen[n].cropped(w) for n, w in windows.items() if w is not None}
    rendered = raster.render_views(vertices, faces, [s.camera for s in cut.values()])
    depths = [r.depth if hands is None else _behind(r.depth, s.camera, hands, raster)
              for s, r in zip(cut.values(), rendered, strict=True)]  # fmt: skip
    return {
        name: ColourView(s.camera, np.ascontiguousarray(s.image), s.mask, depth)
        for (name, s), depth in zip(cut.items(), depths, strict=True)
    }


def _behind(depth: np.ndarray, camera: Camera, hands: Mesh, raster: Raster) -> np.ndarray:
    """Depth (H, W) with the hands before it, where they clearly are."""
    window = projected_window(camera, hands[0], 0)
    if window is None:
        return depth
    x0, y0, x1, y1 = window
    out = depth.copy()
    here = out[y0:y1, x0:x1]
    nearer = raster.render(*hands, camera.cropped(window)).depth + (BEHIND_M - DEPTH_M)
    # Beside the person there is nothing to hide.
    here[:] = np.where(np.isfinite(here), np.minimum(here, nearer), here)
    return out


def _looked_up(image: np.ndarray, x: np.ndarray, y: np.ndarray, how: int, beyond: float) -> np.ndarray:
    """Values at N points, in strips that OpenCV can index."""
    out = [
        cv2.remap(image, x[None, a : a + 32000], y[None, a : a + 32000], how, borderMode=cv2.BORDER_CONSTANT,
                  borderValue=beyond)[0]
        for a in range(0, max(len(x), 1), 32000)
    ]  # fmt: skip
    return np.concatenate(out)
