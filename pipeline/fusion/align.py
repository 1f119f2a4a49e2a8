"""A carried mesh brought onto the mesh of the frame it was carried to, part by part of the body.

Equation 9 carries a mesh as its body moved. Fitted bodies err by a centimetre, in every frame otherwise, and that
moves each carried mesh against the others. Here the error is found from the meshes themselves: each part of the body
turns and shifts a little, so that the carried mesh lies on the other one (point to plane, robust), and parts stay
together at their joints. Details smaller than a part are left as they are: averaging them is what fusion is for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from nets.meshes import vertex_normals
from pipeline.fusion.surface import Surface
from pipeline.skeletons import SMPLX55

PARTS = 22
"""Parts are those of the body's first joints; fingers go with their wrist, eyes and jaw with the head."""
_ITERATIONS = 4
_SAMPLES, _AIMS = 6000, 40_000
"""Points of the carried mesh that are looked at, and of the other one."""
_NEAR_M, _SCALE_M = 0.05, 0.01
"""Points farther apart are not of the same place; at the second distance a pair counts a quarter."""
_TOGETHER, _STIFF, _STILL = 3.0, 0.03, 0.01
"""Weights of metres that parts come apart at a joint, that a joint bends (at a lever), that a part moves at all."""
_LEVER_M = 0.1
NOISE_M = 0.004
"""What alignment finds where only meshes and bodies are noisy: where it moves a mesh by this much, half of that is left
to the mean, of less more."""
_SHARED = 0.01
"""Two parts are joined if skinning blends them in this share of the smaller one."""


def part_weights(weights: np.ndarray) -> np.ndarray:
    """(B, 22) how much each vertex belongs to each part, from skinning weights (B, 55)."""
    parts = weights[:, :PARTS].copy()
    parts[:, SMPLX55.index("head")] += weights[:, 22:25].sum(1)
    for k, side in enumerate(("left", "right")):
        parts[:, SMPLX55.index(f"{side}_wrist")] += weights[:, 25 + 15 * k : 40 + 15 * k].sum(1)
    return parts


@dataclass(frozen=True)
class Aim:
    """Points (N, 3) of the mesh that others are brought onto, unit normals, and how well each was seen (N,)."""

    points: np.ndarray
    normals: np.ndarray
    seen: np.ndarray
    tree: cKDTree

    @classmethod
    def of(cls, surface: Surface) -> Aim:
        chosen = _some(len(surface.vertices), _AIMS)
        points = surface.vertices[chosen]
        return cls(points, _normals(surface.vertices, surface.faces, chosen), surface.seen[chosen], cKDTree(points))


def part_moves(
    vertices: np.ndarray, faces: np.ndarray, parts: np.ndarray, seen: np.ndarray, aim: Aim
) -> np.ndarray:
    """(22, 3, 4) turns and shifts of the parts that bring a mesh onto ``aim``.

    Args:
        vertices: (V, 3) metres, faces (T, 3): a mesh carried to the pose of ``aim``.
        parts: (V, 22) how much each vertex belongs to each part, rows sum to 1.
        seen: (V,) 0..1 how well each was observed.
    """
    chosen = _some(len(vertices), _SAMPLES)
    start, shares = vertices[chosen], parts[chosen]
    normals = _normals(vertices, faces, chosen)
    middles = shares.T @ start / np.maximum(shares.sum(0), 1e-9)[:, None]
    joints = _joints(start, shares)
    moves, points = np.tile(np.eye(3, 4), (PARTS, 1, 1)), start
    for _ in range(_ITERATIONS):
        rows, residual, weight = _pairs(points, normals, shares, seen[chosen], middles, aim)
        if not weight.sum() > 0:
            break
        moves = _then(moves, _rigid(_solved(rows, residual, weight, middles, joints), middles))
        points = _blended(moves, shares, start)
    return moves


def moved(vertices: np.ndarray, parts: np.ndarray, moves: np.ndarray, noise_m: float = NOISE_M) -> np.ndarray:
    """(V, 3) vertices (V, 3) with what their ``parts`` do.

    Args:
        noise_m: moves that are smaller than this are mostly left out; 0: every move counts whole.
    """
    shift = _blended(moves, parts, vertices) - vertices
    if noise_m:
        square = (shift**2).sum(1, keepdims=True)
        shift *= square / (square + noise_m**2)
    return vertices + shift


def _some(count: int, wanted: int) -> np.ndarray:
    """Rows to look at, the same whenever asked for."""
    return np.sort(np.random.default_rng(0).permutation(count)[:wanted])


def _normals(vertices: np.ndarray, faces: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(N, 3) normals of the chosen vertices, from the triangles around them alone."""
    wanted = np.zeros(len(vertices), bool)
    wanted[chosen] = True
    return vertex_normals(vertices, faces[wanted[faces].any(1)], "angle")[chosen]


def _pairs(points, normals, shares, seen, middles, aim: Aim) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (N, 132) of the linear system, residuals (N,) in metres and weights (N,)."""
    distance, nearest = aim.tree.query(points, distance_upper_bound=_NEAR_M)
    found = np.isfinite(distance)
    points, shares, nearest = points[found], shares[found], nearest[found]
    n = aim.normals[nearest]
    residual = np.einsum("ni,ni->n", n, aim.points[nearest] - points)
    weight = np.clip(np.einsum("ni,ni->n", n, normals[found]), 0, 1) ** 2 / (1 + (residual / _SCALE_M) ** 2) ** 2
    weight *= np.maximum(seen[found], 0.1) * np.maximum(aim.seen[nearest], 0.1)
    turns = np.cross(points[:, None] - middles, n[:, None])  # n · (ω × r) = ω · (r × n)
    rows = shares[:, :, None] * np.concatenate([turns, np.broadcast_to(n[:, None], turns.shape)], -1)
    return rows.reshape(len(rows), -1), residual, weight


def _joints(points: np.ndarray, shares: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """Parts that hang together, with the place where they do: where skinning blends them."""
    mass, blended = shares.sum(0), shares.T @ shares
    out = []
    for one, other in zip(*np.nonzero(np.triu(blended > _SHARED * np.minimum(mass, mass[:, None]), 1)), strict=True):
        both = shares[:, one] * shares[:, other]
        out.append((int(one), int(other), both @ points / both.sum()))
    return out


def _solved(rows, residual, weight, middles, joints) -> np.ndarray:
    """(22, 6) turns about their middles and shifts of the parts, by weighted least squares."""
    size = 6 * PARTS
    normal = rows.T @ (weight[:, None] * rows)
    right = rows.T @ (weight * residual)
    total = weight.sum() / PARTS
    still = np.tile([_LEVER_M**2] * 3 + [1.0] * 3, PARTS)
    normal[np.diag_indices(size)] += total * _STILL**2 * still + 1e-9
    for one, other, place in joints:
        apart, bend = np.zeros((3, size)), np.zeros((3, size))
        for part, sign in ((one, 1), (other, -1)):
            apart[:, 6 * part : 6 * part + 3] = -sign * _cross_matrix(place - middles[part])
            apart[:, 6 * part + 3 : 6 * part + 6] = sign * np.eye(3)
            bend[:, 6 * part : 6 * part + 3] = sign * np.eye(3)
        normal += total * (_TOGETHER**2 * apart.T @ apart + (_STIFF * _LEVER_M) ** 2 * bend.T @ bend)
    return np.linalg.solve(normal, right).reshape(PARTS, 6)


def _cross_matrix(v: np.ndarray) -> np.ndarray:
    x, y, z = v
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _rigid(steps: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """(22, 3, 4) turns about the parts' middles and shifts, from (22, 6)."""
    turns = Rotation.from_rotvec(steps[:, :3]).as_matrix()
    shifts = steps[:, 3:] + middles - np.einsum("kij,kj->ki", turns, middles)
    return np.concatenate([turns, shifts[..., None]], -1)


def _then(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(22, 3, 4) one after the other."""
    out = second[:, :, :3] @ first
    out[:, :, 3] += second[:, :, 3]
    return out


def _blended(moves: np.ndarray, shares: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 3) points moved by what their parts do, linearly blended."""
    each = (shares @ moves.reshape(-1, 12)).reshape(-1, 3, 4)
    return np.einsum("nij,nj->ni", each[:, :, :3], points) + each[:, :, 3]
