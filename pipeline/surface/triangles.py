"""Marching cubes over a list of cells.

The table of cases is made here from what happens on a cell's faces, which depends on the face alone: neighbours agree,
and the surface has no cracks. Each cell's cuts join to loops, and each loop becomes a fan of triangles,
counter-clockwise seen from outside.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

CORNERS = np.array([(i >> 2, i >> 1 & 1, i & 1) for i in range(8)])  # corner i is 4 x + 2 y + z
EDGES = np.array(
    [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1]
)  # the first corner is the lower one
_EDGE_OF = {frozenset(pair): e for e, pair in enumerate(EDGES.tolist())}


def _faces() -> list[list[int]]:
    """Corners around each of the six faces, counter-clockwise seen from outside the cell."""
    out = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for side in (0, 1):
            ring = []
            for a, b in ((0, 0), (1, 0), (1, 1), (0, 1)):
                corner = np.zeros(3, int)
                corner[axis], corner[u], corner[v] = side, a, b
                ring.append(int(corner @ (4, 2, 1)))
            out.append(ring if side else ring[::-1])
    return out


def _loops(case: int, joined: int) -> list[list[int]]:
    """Loops of edges of one case.

    Args:
        case: bit i says that corner i is inside.
        joined: bit f says that on face f, if two corners inside lie across from each other, they are connected.
    """
    following = {}
    for face, ring in enumerate(_faces()):
        inside = [case >> c & 1 for c in ring]
        edges = [_EDGE_OF[frozenset((ring[i], ring[(i + 1) % 4]))] for i in range(4)]
        enters = [i for i in range(4) if not inside[i] and inside[(i + 1) % 4]]
        leaves = [i for i in range(4) if inside[i] and not inside[(i + 1) % 4]]
        for j in leaves:
            # Cut off the run of inside corners that ends here, or, where runs are joined, the outside one that begins.
            steps = [(j - i) % 4 for i in enters]
            i = enters[steps.index(max(steps) if joined >> face & 1 else min(steps))]
            following[edges[j]] = edges[i]
    loops = []
    while following:
        start, at = following.popitem()
        loop = [start]
        while at != start:
            loop.append(at)
            at = following.pop(at)
        loops.append(loop)
    return loops


def _cut(loop: list[int]) -> list[tuple[int, int, int]]:
    """A loop of edges as triangles, with no diagonal on a face of the cell where that can be: the neighbour may have
    the same one, and four triangles would meet in it."""
    best = _without_diagonals(tuple(loop))
    return best or [(loop[0], loop[i], loop[i + 1]) for i in range(1, len(loop) - 1)]


@cache
def _without_diagonals(loop: tuple[int, ...]) -> list[tuple[int, int, int]]:
    if len(loop) == 3:
        return [loop]
    for k in range(len(loop)):
        before, after = loop[k - 1], loop[(k + 1) % len(loop)]
        if not _on_one_face()[before, after]:
            rest = _without_diagonals(loop[:k] + loop[k + 1 :])
            if rest:
                return [(before, loop[k], after), *rest]
    return []


@cache
def _on_one_face() -> np.ndarray:
    """(12, 12) bool: both edges lie on the same face of the cell."""
    on = np.array([[set(ends) <= set(ring) for ring in _faces()] for ends in EDGES.tolist()])
    return (on[:, None] & on).any(-1)


@cache
def table() -> tuple[np.ndarray, np.ndarray]:
    """Triangles of all cases.

    Returns:
        rows (256, 64): which row is that of a case and of the faces on which corners are joined.
        edges (R, T, 3): of each row's triangles, -1 where there are no more.
    """
    rows, fans, known = np.zeros((256, 64), int), [], {}
    rings = _faces()
    for case in range(256):
        two = [[case >> c & 1 for c in ring] in ([0, 1, 0, 1], [1, 0, 1, 0]) for ring in rings]
        matters = sum(1 << f for f, ambiguous in enumerate(two) if ambiguous)
        for joined in range(64):
            key = (case, joined & matters)
            if key not in known:
                known[key] = len(fans)
                fans.append([t[::-1] for loop in _loops(*key) for t in _cut(loop)])
            rows[case, joined] = known[key]
    edges = np.full((len(fans), max(map(len, fans)), 3), -1)
    for row, fan in enumerate(fans):
        if fan:
            edges[row, : len(fan)] = fan
    return rows, edges


def _joined_faces(values: Tensor) -> Tensor:
    """(C,) int64, bit f: on face f the corners of greater product are inside (asymptotic decider, Nielson 1991)."""
    a, b, c, d = values[:, torch.as_tensor(np.array(_faces()), device=values.device)].double().unbind(-1)
    across, other = a * c, b * d
    joined = torch.where(a >= 0, across > other, other > across)
    return (joined.long() << torch.arange(6, device=values.device)).sum(-1)


def march(values: Tensor) -> tuple[Tensor, Tensor]:
    """Triangles of cells with values (C, 8) at their corners, positive or zero inside: the cell (T,) of each, and the
    edges (T, 3) of the cell (rows of ``EDGES``) on which its corners lie."""
    device = values.device
    case = ((values >= 0).long() << torch.arange(8, device=device)).sum(-1)
    rows, fans = (torch.as_tensor(a, device=device) for a in table())
    fan = fans[rows[case, _joined_faces(values)]]
    cell, which = torch.nonzero(fan[..., 0] >= 0, as_tuple=True)
    return cell, fan[cell, which]


def triangulate(nodes: Tensor, slots: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Triangles of C cells, with shared vertices.

    Args:
        nodes: (C, 3) int, lowest node of each cell. slots: (C, 8) int64, one number a node of the lattice, by which
            shared vertices are found. values: (C, 8) at the corners, positive or zero inside.

    Returns:
        vertices (V, 3) float64 in units of cells, faces (F, 3) int64, slope (V,): length of the gradient, a cell.
    """
    device = nodes.device
    corners, edges = (torch.as_tensor(a, device=device) for a in (CORNERS, EDGES))
    cell, edge = march(values)
    edge, cell = edge.flatten(), cell[:, None].expand(-1, 3).flatten()
    first, last = edges[edge].unbind(-1)
    axis = (corners[last] - corners[first]).argmax(-1)
    key, faces = torch.unique(slots[cell, first] * 3 + axis, return_inverse=True)
    one = torch.empty(len(key), dtype=torch.int64, device=device)
    one[faces] = torch.arange(len(faces), device=device)  # any of the corners that meet in a vertex
    a, b = values[cell[one], first[one]].double(), values[cell[one], last[one]].double()
    # Never quite at a node: a surface through a node would fold several vertices into one place.
    t = (a / (a - b)).clamp(1e-4, 1 - 1e-4)
    start = (nodes[cell[one]] + corners[first[one]]).double()
    vertices = start + t[:, None] * (corners[last[one]] - corners[first[one]])
    cube = values.double().unflatten(-1, (2, 2, 2))
    gradient = torch.stack([cube.diff(dim=i).mean((1, 2, 3)) for i in (1, 2, 3)], -1).norm(dim=-1)
    slope = torch.zeros(len(key), dtype=torch.float64, device=device)
    count = torch.zeros_like(slope)
    slope.index_add_(0, faces, gradient[cell])
    count.index_add_(0, faces, torch.ones_like(gradient[cell]))
    return vertices, faces.reshape(-1, 3), slope / count
