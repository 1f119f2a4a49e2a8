"""A texture image over a mesh: which texel is which point of the surface."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from pipeline.raster import blend, corner_weights


@dataclass(frozen=True)
class Atlas:
    """Texture coordinates of a mesh.

    Attributes:
        faces: (T, 3) of the mesh's vertices.
        uv: (U, 2) coordinates 0..1, v upwards. uv_faces: (T, 3) of them.
        size: texels a side.
    """

    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    size: int

    @cached_property
    def _texels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and columns (N, 2), triangles (N,) and weights (N, 3) of the texels that show something.

        Those just outside a chart, which viewers mix in at its border, show the place on the border next to them: then
        both sides of a seam look alike.
        """
        from pipeline.raster_open3d import RayScene

        at = np.column_stack([self.uv[:, 0], 1 - self.uv[:, 1]]) * self.size - 0.5
        scene = RayScene(np.column_stack([at, np.zeros(len(at))]), self.uv_faces, threads=1)
        columns, rows = np.meshgrid(np.arange(self.size), np.arange(self.size))
        texels = np.stack([columns, rows, np.zeros_like(rows)], -1).reshape(-1, 3).astype(np.float32)
        down = np.broadcast_to(np.array([0, 0, 1], np.float32), texels.shape)
        hits = scene.cast(texels - np.array([0, 0, 1], np.float32), down)
        inside = hits["triangle"] >= 0
        near = cv2.dilate(inside.reshape(self.size, self.size).astype(np.uint8), np.ones((3, 3), np.uint8)).ravel() > 0
        shown, rim = np.flatnonzero(inside), np.flatnonzero(near & ~inside)
        triangles, weights = hits["triangle"][shown], corner_weights(hits["uv"][shown])
        if len(rim):
            beside = scene.nearest(texels[rim])
            triangles = np.concatenate([triangles, beside["triangle"]])
            weights = np.concatenate([weights, corner_weights(beside["uv"])])
        return texels[np.concatenate([shown, rim])][:, [1, 0]].astype(int), triangles, weights

    @property
    def count(self) -> int:
        """N texels that show something."""
        return len(self._texels[1])

    def points(self, values: np.ndarray) -> np.ndarray:
        """(N, D) vertex values (V, D) at the texels."""
        _, triangles, weights = self._texels
        return blend(weights, self.faces[triangles], np.asarray(values))

    def image(self, colours: np.ndarray) -> np.ndarray:
        """(size, size, 3) uint8 of colours (N, 3) 0..255; texels that show nothing take their nearest neighbour's, so
        that no seam bleeds when the image is shrunk."""
        places, _, _ = self._texels
        out = np.zeros((self.size, self.size, 3), np.uint8)
        empty = np.ones((self.size, self.size), bool)
        out[places[:, 0], places[:, 1]] = np.clip(np.rint(colours), 0, 255)
        empty[places[:, 0], places[:, 1]] = False
        nearest = distance_transform_edt(empty, return_distances=False, return_indices=True)
        return out[tuple(nearest)]

    def split(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mesh with one texture coordinate a vertex, as file formats want it.

        Returns:
            which (W,) vertex of the mesh each is, uv (W, 2), faces (T, 3) of the W.
        """
        pairs = np.stack([self.faces.ravel(), self.uv_faces.ravel()], 1).astype(np.int64)
        unique, back = np.unique(pairs, axis=0, return_inverse=True)
        return unique[:, 0], self.uv[unique[:, 1]], back.reshape(-1, 3)


def encoded(image: np.ndarray, quality: int = 90) -> bytes:
    """A texture as JPEG."""
    # Colours at half the resolution would run from one chart into the next.
    how = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    return cv2.imencode(".jpg", image[..., ::-1], how)[1].tobytes()


def decoded(jpeg: bytes) -> np.ndarray:
    """(size, size, 3) uint8 of a texture."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def looked_up(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(..., 3) float64 of a texture at coordinates (..., 2), v upwards, between texels as viewers do."""
    size = np.array([image.shape[1], image.shape[0]])
    at = np.clip(np.stack([uv[..., 0], 1 - uv[..., 1]], -1) * size - 0.5, 0, size - 1)
    low = np.minimum(at.astype(int), size - 2)
    right, down = np.moveaxis(at - low, -1, 0)[..., None]
    x, y = np.moveaxis(low, -1, 0)
    above = image[y, x] * (1 - right) + image[y, x + 1] * right
    return above * (1 - down) + (image[y + 1, x] * (1 - right) + image[y + 1, x + 1] * right) * down
