"""Fewer triangles for a mesh that moves: some of its own vertices, the same in all poses.

Edges are collapsed onto one of their ends by quadric errors (Garland and Heckbert 1997), the largest of all poses, so
that what is flat in one pose and bent in another stays. Unlike there, planes are not weighed by their triangles' areas:
fingers and ears, whose triangles are small, would go first. Collapses whose surroundings do not touch are done at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pipeline.meshes.geometry import check_mesh, neighbours
from pipeline.meshes.simplify import Measure

COUNTS = tuple(round(1000 * 2 ** (k / 6)) for k in range(37))
"""Numbers of triangles that are tried, up to 64 000."""
_TURN = 0.2  # cosine of the most by which a triangle may turn in one collapse
_SHARE = 0.3  # of the vertices that could go in a round, so many do, the cheapest


@dataclass(frozen=True)
class Thinned:
    """A mesh with some vertices of another.

    Attributes:
        vertices: (K,) which of the other's. faces: (G, 3) of the K.
        error_m: the largest over poses, as ``pipeline.meshes.simplify`` measures it.
    """

    vertices: np.ndarray
    faces: np.ndarray
    error_m: float


def thinned(poses: Sequence[np.ndarray], faces: np.ndarray, bound_m: float) -> Thinned | None:
    """The fewest triangles (of ``COUNTS``) with which a mesh is within ``bound_m`` of itself in all poses (V, 3); None
    if none can be left out.

    Raises:
        ValueError: no faces, or what ``check_mesh`` refuses.
    """
    for pose in poses:
        check_mesh(pose, faces)
    if not len(faces):
        raise ValueError("a mesh without faces cannot be thinned")
    faces = np.asarray(faces, np.int64)
    counts = [c for c in COUNTS if c < len(faces)]
    states = _collapsed(np.stack([np.asarray(p, np.float64) for p in poses], 1), faces, counts)
    measures = [Measure(pose, faces) for pose in poses]
    for state in reversed(states):  # the fewest first
        used, light = np.unique(state, return_inverse=True)
        light = light.reshape(-1, 3).astype(np.int32)
        worst = 0.0
        for measure, pose in zip(measures, poses, strict=True):
            worst = max(worst, measure(np.asarray(pose, np.float64)[used], light).error_m)
            if worst > bound_m:
                break
        else:
            return Thinned(used, light, worst)
    return None


def _collapsed(poses: np.ndarray, faces: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Faces (G, 3) of the mesh (V, P, 3), down to each of ``counts`` (ascending), the largest first; those that cannot
    be reached are left out."""
    quadrics, states = _quadrics(poses, faces), []
    for count in sorted(counts, reverse=True):
        while len(faces) > count:
            fewer = _round(poses, faces, quadrics, (len(faces) - count + 1) // 2)
            if len(fewer) == len(faces):
                return states
            faces = fewer
        states.append(faces)
    return states


def _planes(poses: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, P, 4) unit normals and offsets; zero for triangles without area."""
    a, b, c = (poses[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-15)
    return np.concatenate([normals, -(normals * a).sum(-1, keepdims=True)], -1)


def _quadrics(poses: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, P, 4, 4), the sum over the planes around each vertex."""
    planes = _planes(poses, faces)
    each = planes[..., :, None] * planes[..., None, :]
    corner = sparse.csr_matrix((np.ones(faces.size), (faces.ravel(), np.repeat(np.arange(len(faces)), 3))),
                               (len(poses), len(faces)))  # fmt: skip
    return np.asarray(corner @ each.reshape(len(faces), -1)).reshape(len(poses), *each.shape[1:])


def _round(poses: np.ndarray, faces: np.ndarray, quadrics: np.ndarray, most: int) -> np.ndarray:
    """Faces after up to ``most`` collapses; ``quadrics`` are brought up to date."""
    links = neighbours(faces, len(poses))
    edges = links.tocoo()
    leaving, staying = edges.row.astype(np.int64), edges.col.astype(np.int64)
    sides = sparse.csr_matrix((np.ones(faces.size), (faces.ravel(), np.roll(faces, -1, 1).ravel())), links.shape)
    sides = (sides + sides.T).tocsr()
    border = np.zeros(len(poses), bool)
    odd = sides.tocoo()
    border[odd.row[odd.data != 2]] = True
    # Two ends of an edge may have no other neighbours in common than those of its two triangles.
    common = np.asarray((links @ links)[leaving, staying]).ravel()
    fine = (common == 2) & ~border[leaving]
    leaving, staying = leaving[fine], staying[fine]
    at = np.concatenate([poses[staying], np.ones((*poses[staying].shape[:2], 1))], -1)
    cost = np.einsum("epi,epij,epj->ep", at, quadrics[leaving], at).max(1)
    # Long edges last among equals: what is flat is thinned evenly.
    cost += 1e-4 * ((poses[leaving] - poses[staying]) ** 2).sum(-1).max(1)
    order = np.lexsort((staying, cost, leaving))
    first = order[np.unique(leaving[order], return_index=True)[1]]
    leaving, staying, cost = leaving[first], staying[first], cost[first]
    order = np.lexsort((leaving, cost))
    order = order[: max(8, int(len(order) * _SHARE))]
    leaving, staying = leaving[order], staying[order]
    good = _kept_sides(poses, faces, leaving, staying)
    goes = _apart(links, leaving[good], staying[good], most)
    target = np.arange(len(poses))
    for u, v in goes:
        target[u] = v
        quadrics[v] += quadrics[u]
    moved = target[faces]
    whole = (moved[:, 0] != moved[:, 1]) & (moved[:, 1] != moved[:, 2]) & (moved[:, 2] != moved[:, 0])
    return moved[whole]


def _kept_sides(poses: np.ndarray, faces: np.ndarray, leaving: np.ndarray, staying: np.ndarray) -> np.ndarray:
    """(N,) bool: whether no triangle around a leaving vertex turns far when it goes to the staying one, in any pose."""
    place = np.full(len(poses), -1)
    place[leaving] = np.arange(len(leaving))
    face, corner = np.nonzero(place[faces] >= 0)
    which = place[faces[face, corner]]
    stays = staying[which]
    other = (faces[face] != stays[:, None]).all(1)
    face, corner, which, stays = face[other], corner[other], which[other], stays[other]
    after = faces[face].copy()
    after[np.arange(len(face)), corner] = stays
    before = _planes(poses, faces[face])[..., :3]
    turned = (before * _planes(poses, after)[..., :3]).sum(-1).min(1) < _TURN
    return np.bincount(which[turned], minlength=len(leaving)) == 0


def _apart(links: sparse.csr_matrix, leaving: np.ndarray, staying: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Up to ``most`` pairs, in order, of which no two leaving vertices share a neighbour."""
    used, found = np.zeros(links.shape[0], bool), []
    starts, columns = links.indptr, links.indices
    for u, v in zip(leaving.tolist(), staying.tolist(), strict=True):
        ring = columns[starts[u] : starts[u + 1]]
        if used[u] or used[ring].any():
            continue
        used[u] = True
        used[ring] = True
        found.append((u, v))
        if len(found) == most:
            break
    return found
