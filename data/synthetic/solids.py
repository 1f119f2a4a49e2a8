"""The one true surface of somebody in several layers: the union of closed meshes that may cut themselves and others.

A point is inside where the layers' meshes wind round it at least once. Along an axis that number changes by one at each
crossing of a closed mesh, up or down with the side from which it is crossed, so scan lines through a grid give it
exactly, whatever overlaps. The lines along all three axes also say where between two nodes of the grid the surface
lies: each vertex of the marching cubes' mesh is on the layers, not on a staircase.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from data.synthetic.scanlines import covering
from pipeline.raster import RayScene, scene_here
from pipeline.surface.triangles import CORNERS, EDGES, table

_JITTER = np.array([0.3183098861837907, 0.5772156649015329, 0.4142135623730951])
"""Share of a cell by which the grid is moved, so that no line meets an edge of a mesh made by rule."""


@dataclass(frozen=True)
class Solid:
    """A watertight triangle mesh that does not cut itself: ``vertices`` (V, 3) metres, ``faces`` (T, 3) int32
    counter-clockwise seen from outside."""

    vertices: np.ndarray
    faces: np.ndarray

    def signed_distance(self, points: np.ndarray) -> np.ndarray:
        """(N,) metres from points (N, 3) to the surface, negative inside. Neighbouring points should follow each
        other: sorted in space it is up to three times as fast."""
        return self.scene.signed_distance(points)

    def occupancy(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: which points (N, 3) are inside."""
        return self.scene.inside(points)

    @cached_property
    def scene(self) -> RayScene:
        return scene_here(self.vertices, self.faces)


def union(vertices: np.ndarray, faces: np.ndarray, step: float, weight: np.ndarray | None = None) -> Solid:
    """The surface round everything that closed meshes wind round.

    Args:
        vertices: (V, 3) metres.
        faces: (T, 3) of one or more closed meshes; vertices may be doubled along seams, at exactly the same place.
        step: metres of the grid. Details smaller than it are lost.
        weight: (T,) int, how often each face counts: what is inside a mesh of weight 4 stays inside where up to three
            others are turned inside out. 1 if None.
    """
    vertices = np.asarray(vertices, np.float64)
    low = np.floor(vertices.min(0) / step) * step - (2 - _JITTER) * step
    count = np.ceil((vertices.max(0) - low) / step).astype(int) + 2
    at = (vertices - low) / step
    corners = at[faces]
    weight = np.ones(len(faces), np.int64) if weight is None else weight
    lines = [_crossings(corners, weight, axis, count) for axis in range(3)]
    inside = _filled(lines[0], count)
    cells, full = _surface_cells(inside)
    rows, fans = table()
    fan = fans[rows[(full << np.arange(8)).sum(1), 0]]
    cell, which = np.nonzero(fan[..., 0] >= 0)
    edge = fan[cell, which].reshape(-1)
    first, last = EDGES[edge].T
    base = np.repeat(cells[cell], 3, 0) + CORNERS[first]
    axis = (CORNERS[last] - CORNERS[first]).argmax(1)
    key = (axis * count[0] + base[:, 0]) * count[1] * count[2] + base[:, 1] * count[2] + base[:, 2]
    key, first, number = np.unique(key, return_index=True, return_inverse=True)
    nodes, axis = base[first], axis[first]
    places = nodes.astype(np.float64)
    for k in range(3):
        mine = axis == k
        places[mine, k] += _between(lines[k], nodes[mine], k, count, inside)
    return _largest(places * step + low, number.reshape(-1, 3))


@dataclass(frozen=True)
class _Lines:
    """Where the scan lines along one axis go in and out, sorted along each line: ``key`` (K,) the line's number times
    the nodes along it plus the node before, ``place`` (K,) in cells, ``inside`` (K,) bool, after it."""

    key: np.ndarray
    place: np.ndarray
    inside: np.ndarray


def _crossings(corners: np.ndarray, weight: np.ndarray, axis: int, count: np.ndarray) -> _Lines:
    u, v = (axis + 1) % 3, (axis + 2) % 3
    which, i, j, shares, up = covering(corners[:, :, [u, v]])
    place = (shares * corners[which, :, axis]).sum(1)
    # A triangle that runs counter-clockwise seen from +axis faces up: going up through it one leaves.
    change = np.where(up, -1, 1) * weight[which]
    line = i * count[v] + j
    order = np.lexsort((place, line))
    line, place, change = line[order], place[order], change[order]
    total = np.cumsum(change)
    new = np.r_[True, line[1:] != line[:-1]]
    winding = total - np.repeat((total - change)[new], np.diff(np.r_[np.flatnonzero(new), len(line)]))
    here = winding > 0
    turns = here != (np.r_[False, here[:-1]] & ~new)
    line, place, here = line[turns], place[turns], here[turns]
    # A line that never comes out has met a flaw of a mesh: where it went in last is forgotten.
    comes_out = ~(here & np.r_[line[1:] != line[:-1], True])
    key = line * count[axis] + np.floor(place).astype(np.int64)
    return _Lines(key[comes_out], place[comes_out], here[comes_out])


def _filled(lines: _Lines, count: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: which nodes are inside, from the lines along x."""
    inside = np.zeros(count.prod() + 1, np.int8)
    np.add.at(inside, lines.key + 1, np.where(lines.inside, 1, -1).astype(np.int8))
    filled = np.cumsum(inside[:-1], dtype=np.int8) > 0
    return np.ascontiguousarray(np.moveaxis(filled.reshape(count[1], count[2], count[0]), -1, 0))


def _largest(vertices: np.ndarray, faces: np.ndarray) -> Solid:
    """Without specks, and without cavities that nobody can see into: the connected piece of the most triangles."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]]).T
    graph = coo_matrix((np.ones(ends.shape[1], bool), tuple(ends)), (len(vertices),) * 2)
    number, piece = connected_components(graph, directed=False)
    if number == 1:
        return Solid(vertices, faces.astype(np.int32))
    keep = piece == np.bincount(piece).argmax()
    faces = faces[keep[faces[:, 0]]]
    return Solid(vertices[keep], (np.cumsum(keep) - 1)[faces].astype(np.int32))


def _surface_cells(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells (C, 3) that the surface passes through, and which of their corners (C, 8) are inside."""
    mixed = np.zeros(np.array(inside.shape) - 1, bool)
    for axis in range(3):
        here, there = np.moveaxis(inside, axis, 0)[:-1], np.moveaxis(inside, axis, 0)[1:]
        cut = np.moveaxis(here != there, 0, axis)
        for a in (0, 1):
            for b in (0, 1):
                part = [slice(None)] * 3
                others = [k for k in range(3) if k != axis]
                for k, side in zip(others, (a, b), strict=True):
                    part[k] = slice(side, inside.shape[k] - 1 + side)
                mixed |= cut[tuple(part)]
    cells = np.argwhere(mixed)
    return cells, inside[tuple((cells[:, None] + CORNERS).transpose(2, 0, 1))]


def _between(lines: _Lines, nodes: np.ndarray, axis: int, count: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(N,) where between nodes (N, 3) and their next along the axis the surface is, 0..1."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    key = (nodes[:, u] * count[v] + nodes[:, v]) * count[axis] + nodes[:, axis]
    first, last = np.searchsorted(lines.key, key, "left"), np.searchsorted(lines.key, key, "right")
    leaving = inside[tuple(nodes.T)]
    out = np.full(len(nodes), 0.5)
    for k in range(int((last - first).max(initial=0))):
        at = first + k
        there = np.flatnonzero(at < last)
        right = there[lines.inside[at[there]] != leaving[there]]
        out[right] = lines.place[at[right]] - nodes[right, axis]
    return np.clip(out, 0.02, 0.98)
