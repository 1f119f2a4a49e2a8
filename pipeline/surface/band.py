"""Where a surface may be: a lattice over the person, the band around the fitted body, the visual hull of the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from pipeline.errors import InputError

BLOCK = 8  # voxels along a block of the sparse grid, and the longest step


@dataclass(frozen=True)
class Lattice:
    """A cube of cells along the world's axes.

    Attributes:
        origin: (3,) float64 metres, its lowest corner and first node.
        voxel: metres, side of a cell.
        cells: along each axis, a multiple of 8; there is one node more.
    """

    origin: np.ndarray
    voxel: float
    cells: int

    def __post_init__(self) -> None:
        if self.cells < 2 * BLOCK or self.cells % BLOCK:
            raise InputError(
                "resolution", f"{self.cells} is not a multiple of {BLOCK} from {2 * BLOCK} on", "Give 128, 256, 512."
            )
        if not (np.isfinite(self.origin).all() and np.isfinite(self.voxel) and self.voxel > 0):
            raise InputError("lattice", "origin or voxel is not finite", "Check the body's vertices.")

    @property
    def side(self) -> float:
        """Metres."""
        return self.voxel * self.cells

    def points(self, nodes: np.ndarray) -> np.ndarray:
        """Nodes (..., 3) to metres."""
        return self.origin + self.voxel * nodes

    def step(self, longest: float) -> int:
        """The longest step of 8, 4, 2, 1 cells that is at most ``longest`` metres."""
        return next((s for s in (8, 4, 2) if s * self.voxel <= longest * (1 + 1e-9)), 1)


def lattice_around(body_vertices: np.ndarray, resolution: int, margin: float = 0.15) -> Lattice:
    """The cube around a body's box, its longest side and ``margin`` metres on both ends.

    Raises InputError where no vertex is finite or the resolution is none.
    """
    vertices = np.asarray(body_vertices, np.float64).reshape(-1, 3)
    vertices = vertices[np.isfinite(vertices).all(-1)]
    if not len(vertices):
        raise InputError("body vertices", "none is finite", "Leave out frames in which the person is absent.")
    low, high = vertices.min(0), vertices.max(0)
    side = float((high - low).max()) + 2 * margin
    return Lattice((low + high - side) / 2, side / max(resolution, 1), int(resolution))


@dataclass(frozen=True)
class Silhouettes:
    """One person's masks in views of pinhole cameras.

    Attributes:
        projections: (V, 3, 4) world to pixels, pixel centres at integers.
        masks: V arrays (H, W), non-zero on the person. A view whose mask is empty carves nothing.
        unknown: V arrays (H, W) or None, non-zero where someone or something else may hide the person.
        margin: pixels by which masks may be wrong.
    """

    projections: np.ndarray
    masks: Sequence[np.ndarray]
    unknown: Sequence[np.ndarray | None] | None = None
    margin: float = 8.0

    def __post_init__(self) -> None:
        if len(self.projections) != len(self.masks) or not len(self.masks):
            raise InputError(
                "silhouettes", f"{len(self.projections)} cameras, {len(self.masks)} masks", "Give one mask a camera."
            )

    def check(self, body_vertices: np.ndarray) -> None:
        """Raise InputError where no view can say anything about this body."""
        if not any((np.asarray(mask) > 0).any() for mask in self.masks):
            raise InputError("masks", "all are empty in this frame", "Mark the frame: nobody sees the person in it.")
        for projection, mask in zip(self.projections, self.masks, strict=True):
            pixels, depth = _project(projection, body_vertices)
            size = np.array(mask.shape[1::-1])
            if ((depth > 0) & (pixels > -0.5).all(-1) & (pixels < size - 0.5).all(-1)).any():
                return
        raise InputError(
            "body", "no vertex is inside any view", "Check that body and cameras share one world frame and unit."
        )

    def possible(self, centres: np.ndarray, radius: float) -> np.ndarray:
        """(N,) bool: which balls around ``centres`` (N, 3) are not carved away by some view."""
        keep = np.ones(len(centres), bool)
        for v, (projection, mask) in enumerate(zip(self.projections, self.masks, strict=True)):
            covered = np.asarray(mask) > 0
            if not covered.any():
                continue
            if self.unknown is not None and self.unknown[v] is not None:
                covered = covered | (np.asarray(self.unknown[v]) > 0)
            keep[keep] &= ~self._carved(projection, covered, centres[keep], radius)
        return keep

    def _carved(self, projection: np.ndarray, covered: np.ndarray, centres: np.ndarray, radius: float) -> np.ndarray:
        """Which balls project wholly inside the image and off what is covered."""
        away = distance_transform_edt(~covered)
        pixels, depth = _project(projection, centres)
        focal = np.linalg.norm(projection[:2, :3], axis=1).max() / np.linalg.norm(projection[2, :3])
        depth = depth / np.linalg.norm(projection[2, :3])
        front = depth > 2 * radius
        reach = 1.5 * focal * radius / np.where(front, depth - radius, 1) + self.margin
        H, W = covered.shape
        inside = (pixels >= reach[:, None]).all(-1) & (pixels <= np.array([W - 1, H - 1]) - reach[:, None]).all(-1)
        column, row = np.clip(np.nan_to_num(pixels).round(), 0, [W - 1, H - 1]).astype(int).T
        return front & inside & (away[row, column] > reach)


def _project(projection: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(points, np.float64) @ projection[:, :3].T + projection[:, 3]
    depth = x[:, 2]
    return x[:, :2] / np.where(depth > 1e-6, depth, 1)[:, None], depth


@dataclass(frozen=True)
class Band:
    """Cells near a body, and inside the visual hull where there are masks.

    Attributes:
        lattice: over the person.
        body_vertices: (V, 3) metres. body_faces: (F, 3).
        distance: metres around the body, inside and out.
        silhouettes: None for no visual hull.
    """

    lattice: Lattice
    body_vertices: np.ndarray
    body_faces: np.ndarray
    distance: float = 0.30
    silhouettes: Silhouettes | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.distance) and self.distance > 0):
            raise InputError("band", f"{self.distance} m", "Give a positive distance, such as 0.30.")
        if self.silhouettes is not None:
            self.silhouettes.check(self.body_vertices)

    def cells(self, step: int) -> np.ndarray:
        """(G, G, G) bool: which cells of ``step`` voxels may hold the surface. Errs on the side of more."""
        side, body = step * self.lattice.voxel, self.body_cells(step)
        near = distance_transform_edt(~body, sampling=side) <= self.distance + np.sqrt(3) * side
        if self.silhouettes is not None:
            index = np.argwhere(near)
            centres = self.lattice.origin + side * (index + 0.5)
            near[near] = self.silhouettes.possible(centres, side * np.sqrt(3) / 2)
        return near

    def body_cells(self, step: int) -> np.ndarray:
        """(G, G, G) bool: which cells of ``step`` voxels hold vertices or middles of faces."""
        count = self.lattice.cells // step
        at = np.floor((self._samples() - self.lattice.origin) / (step * self.lattice.voxel)).astype(int)
        at = at[((at >= 0) & (at < count)).all(-1)]
        if not len(at):
            raise InputError("body", "is outside its box", "Make the lattice around this body.")
        out = np.zeros((count,) * 3, bool)
        out[tuple(at.T)] = True
        return out

    def _samples(self) -> np.ndarray:
        """Vertices and middles of faces: a body mesh is fine enough for these to stand for it."""
        vertices = np.asarray(self.body_vertices, np.float64)
        faces = np.asarray(self.body_faces, np.int64).reshape(-1, 3)
        return np.concatenate([vertices, vertices[faces].mean(1)])
