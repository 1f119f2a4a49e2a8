"""A reconstructed mesh as fusion takes it: checked, mended where that is safe; says where it was amiss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Surface:
    """A triangle mesh in the world.

    Attributes:
        vertices: (V, 3) float64 metres.
        faces: (T, 3) int64, counter-clockwise seen from outside where ``oriented``.
        seen: (V,) float64 0..1, how well each vertex was observed.
        border: (V,) bool, vertices on the edge of a hole.
        oriented: neighbouring triangles agree which side is out.
        notes: what was found and mended, words for a report.
        source: (V,) which of the vertices that were given these are.
    """

    vertices: np.ndarray
    faces: np.ndarray
    seen: np.ndarray
    border: np.ndarray
    oriented: bool
    notes: tuple[str, ...]
    source: np.ndarray

    @property
    def empty(self) -> bool:
        return len(self.faces) == 0


def prepare(vertices: np.ndarray, faces: np.ndarray, seen: np.ndarray | None = None) -> Surface:
    """A mesh of any quality as a ``Surface``.

    Triangles with numbers out of range, corners that are not finite or no area are left out; a mesh that is inside out
    is turned. Holes, edges of three and more triangles and triangles that disagree about the outside are noted.

    Args:
        vertices: (V, 3) metres.
        faces: (T, 3) integers.
        seen: (V,) 0..1 or numbers of cameras; more than 1 counts as 1. None: everything was seen.
    """
    vertices = np.asarray(vertices, np.float64).reshape(-1, 3)
    faces = np.asarray(faces, np.int64).reshape(-1, 3)
    weights = np.ones(len(vertices)) if seen is None else np.clip(np.nan_to_num(np.asarray(seen, np.float64)), 0, 1)
    if len(weights) != len(vertices):
        raise ValueError(f"seen has {len(weights)} values for {len(vertices)} vertices")
    faces, notes = _sound(vertices, faces)
    border, oriented, odd = _edges(faces, len(vertices))
    # Triangles of no area join others, so that their edges count; only after that are they left out: rounding makes
    # some in nearly every closed mesh, and what they leave is a crack of no width.
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    faces = faces[np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-16]
    used = np.unique(faces)
    number = np.zeros(len(vertices), np.int64)
    number[used] = np.arange(len(used))
    vertices, weights, border, faces = vertices[used], weights[used], border[used], number[faces]
    if border.any():
        notes.append("open")
    if odd:
        notes.append("non-manifold")
    if not oriented:
        notes.append("triangles disagree about the outside")
    elif len(faces) and signed_volume(vertices, faces) < 0:
        faces = faces[:, ::-1].copy()
        notes.append("turned inside out")
    return Surface(vertices, faces, weights, border, oriented, tuple(notes), used)


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Cubic metres inside a mesh (V, 3), (T, 3); negative where it is inside out."""
    a, b, c = (vertices[faces[:, k]] - vertices.mean(0) for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def open_edges(faces: np.ndarray) -> int:
    """How many edges of faces (T, 3) have one triangle only: 0 for a closed mesh."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    count = int(faces.max()) + 1 if len(faces) else 1
    return int((np.unique(edges[:, 0] * count + edges[:, 1], return_counts=True)[1] == 1).sum())


def _sound(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, list[str]]:
    notes = []
    inside = ((faces >= 0) & (faces < len(vertices))).all(1)
    if not inside.all():
        notes.append("faces out of range")
    faces = faces[inside]
    finite = np.isfinite(vertices).all(1)[faces].all(1)
    if not finite.all():
        notes.append("vertices not finite")
    faces = faces[finite]
    apart = (faces != np.roll(faces, 1, 1)).all(1)  # one with a corner twice has two edges, which are one
    return faces[apart], notes


def _edges(faces: np.ndarray, count: int) -> tuple[np.ndarray, bool, bool]:
    """Border vertices (V,), whether triangles agree about the outside, whether an edge has more than two triangles."""
    border = np.zeros(count, bool)
    if not len(faces):
        return border, True, False
    start, end = faces.ravel(), np.roll(faces, -1, 1).ravel()
    low, high = np.minimum(start, end), np.maximum(start, end)
    _, first, edge, times = np.unique(low * count + high, return_index=True, return_inverse=True, return_counts=True)
    lone = first[times == 1]
    border[low[lone]] = border[high[lone]] = True
    balance = np.bincount(edge.reshape(-1), np.where(start < end, 1, -1))
    return border, not (balance[times == 2] != 0).any(), bool((times > 2).any())
