"""Marching cubes over cells that are given one by one: no dense grid, vertices shared.

The table of cases is made, not copied: on each face of a cube, runs of inside corners are cut off (ambiguous faces keep
inside corners apart), and what is left are closed loops over the cube's edges. The rule looks at one face alone, so
neighbouring cells agree and the surface is closed wherever the cells are.
"""

from __future__ import annotations

from functools import cache

import numpy as np

CORNERS = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)])
"""Corner c of a cell is at its origin plus these (x, y, z)."""
EDGES = np.array([(a, a | 1 << axis) for axis in range(3) for a in range(8) if not a >> axis & 1])
"""Corners at both ends of each of the twelve edges, lower end first; edge e runs along axis e // 4."""
_FACES = (
    (0, 2, 3, 1), (4, 5, 7, 6),
    (0, 1, 5, 4), (2, 6, 7, 3),
    (0, 4, 6, 2), (1, 3, 7, 5),
)  # fmt: skip
"""Corners around each face, counter-clockwise seen from outside the cube."""


def march(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of cells.

    Args:
        values: (C, 8) signed distances at the corners, negative inside; finite.

    Returns:
        cells (T,) each triangle's cell, and edges (T, 3) which of its cell's edges its corners lie on,
        counter-clockwise seen from the positive side.
    """
    table = _table()
    case = ((values < 0) << np.arange(8)).sum(1)
    counts = np.array([len(t) for t in table])[case]
    cells = np.repeat(np.arange(len(case)), counts)
    starts = np.concatenate([[0], np.cumsum([len(t) for t in table])])[case]
    within = np.arange(len(cells)) - np.repeat(np.cumsum(counts) - counts, counts)
    return cells, np.array([x for t in table for x in t], np.int64).reshape(-1, 3)[np.repeat(starts, counts) + within]


@cache
def _table() -> tuple[tuple[tuple[int, int, int], ...], ...]:
    number = {frozenset(e): k for k, e in enumerate(EDGES.tolist())}
    return tuple(_triangles([bool(case >> c & 1) for c in range(8)], number) for case in range(256))


def _triangles(inside: list[bool], number: dict) -> tuple[tuple[int, int, int], ...]:
    following = {}
    for face in _FACES:
        crossed = [(face[k], face[(k + 1) % 4]) for k in range(4) if inside[face[k]] != inside[face[(k + 1) % 4]]]
        for k, (a, b) in enumerate(crossed):
            if not inside[a]:  # a run of inside corners begins: it ends at the next crossing
                c, d = crossed[(k + 1) % len(crossed)]
                following[number[frozenset((a, b))]] = number[frozenset((c, d))]
    out = []
    while following:
        first, now = following.popitem()
        loop = [first]
        while now != first:
            loop.append(now)
            now = following.pop(now)
        out += _cut(loop)
    return tuple(out)


def _cut(loop: list[int]) -> list[tuple[int, int, int]] | None:
    """Triangles of a loop of edges, none of whose diagonals lies on a face of the cube: the neighbour's may too, and
    four triangles would share it."""
    if len(loop) == 3:
        return [tuple(loop)]
    for k in range(len(loop)):
        before, after = loop[k - 1], loop[(k + 1) % len(loop)]
        if not _on_one_face(before, after):
            rest = _cut(loop[:k] + loop[k + 1 :])
            if rest is not None:
                return [(before, loop[k], after), *rest]
    return None


def _on_one_face(one: int, other: int) -> bool:
    ends = set(EDGES[[one, other]].ravel().tolist())
    return any(ends <= set(face) for face in _FACES)
