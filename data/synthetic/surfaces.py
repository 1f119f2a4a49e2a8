"""Layers of a dressed person: triangle meshes that ride on the body's surface."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Layer:
    """A mesh bound to the body: skin, a garment, a shoe, hair.

    Vertex i of the posed layer is ``binding[i] @ posed body + R_i @ offset[i]``, where R_i turns with the joints that
    carry the vertex: offsets are given for the unposed body.

    Attributes:
        name: what it is.
        binding: (V, body vertices) sparse, rows sum to 1.
        offset: (V, 3) metres in the frame of the unposed body.
        uv: (V, 2) texture coordinates 0..1, v upwards. Seams are made by doubled vertices.
        faces: (T, 3) int.
        weld: (V,) int: vertices with the same number are one point of the surface.
    """

    name: str
    binding: sparse.csr_matrix
    offset: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    weld: np.ndarray

    def rest(self, body: np.ndarray) -> np.ndarray:
        """(V, 3) the layer on an unposed body (B, 3)."""
        return self.binding @ body + self.offset

    def posed(self, body: np.ndarray, rotations: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(V, 3) the layer on a posed body.

        Args:
            body: (B, 3) posed body vertices.
            rotations: (55, 3, 3) world rotations of the joints.
            weights: (V, 55) skinning weights of the layer, ``binding @ body weights``.
        """
        if not self.offset.any():
            return self.binding @ body
        turned = np.einsum("vij,vj->vi", (weights @ rotations.reshape(55, 9)).reshape(-1, 3, 3), self.offset)
        return self.binding @ body + turned

    def combined(self, mix: sparse.csr_matrix, faces: np.ndarray) -> Layer:
        """A layer whose vertices are mixtures (V', V) of this one's, with new faces."""
        unwelded = np.arange(mix.shape[0])
        binding = (mix @ self.binding).tocsr()
        return Layer(self.name, binding, mix @ self.offset, mix @ self.uv, faces, unwelded)

    def welded_by(self, positions: np.ndarray) -> Layer:
        """The same layer, vertices at the same position (V, 3) to a micrometre counted as one point."""
        keys = np.round(positions * 1e6).astype(np.int64)
        return replace(self, weld=np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1))

    @cached_property
    def neighbours(self) -> sparse.csr_matrix:
        """(W, W) adjacency of the welded points, rows sum to 1."""
        pairs = self.weld[np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])]
        pairs = np.unique(np.sort(pairs, 1), axis=0)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        count = int(self.weld.max()) + 1
        i, j = pairs.T
        graph = sparse.coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), (count, count)).tocsr()
        return sparse.diags(1 / np.maximum(np.asarray(graph.sum(1))[:, 0], 1)) @ graph

    def smoothed(self, values: np.ndarray, rounds: int, amount: float = 0.5) -> np.ndarray:
        """Vertex values (V, D) smoothed over the surface, seams closed."""
        points = np.zeros((int(self.weld.max()) + 1, values.shape[1]))
        points[self.weld] = values
        for _ in range(rounds):
            points += amount * (self.neighbours @ points - points)
        return points[self.weld]

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) unit normals of vertices (V, 3), smooth across seams."""
        return vertex_normals(vertices, self.faces, self.weld)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray, weld: np.ndarray | None = None) -> np.ndarray:
    """(V, 3) unit normals weighted by area; vertices with the same ``weld`` number share theirs."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    weld = np.arange(len(vertices)) if weld is None else weld
    count = int(weld.max()) + 1
    corners = weld[faces].reshape(-1)
    sums = np.stack([np.bincount(corners, np.repeat(across[:, k], 3), count) for k in range(3)], -1)[weld]
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-20)


def skin_layer(arrays: dict[str, np.ndarray]) -> Layer:
    """The body's own surface, doubled along the seams of its texture."""
    faces, uv_faces = np.asarray(arrays["f"]).astype(np.int64), np.asarray(arrays["ft"]).astype(np.int64)
    pairs, corners = np.unique(np.stack([faces.ravel(), uv_faces.ravel()], 1), axis=0, return_inverse=True)
    count = len(arrays["v_template"])
    ones = np.ones(len(pairs))
    binding = sparse.csr_matrix((ones, (np.arange(len(pairs)), pairs[:, 0])), (len(pairs), count))
    uv = np.asarray(arrays["vt"], np.float64)[pairs[:, 1]]
    return Layer("skin", binding, np.zeros((len(pairs), 3)), uv, corners.reshape(-1, 3), pairs[:, 0])


def subdivided(layer: Layer, positions: np.ndarray) -> tuple[Layer, np.ndarray]:
    """Each triangle split in four at its edges' middles; also the new positions (V', 3)."""
    f, count = layer.faces, len(positions)
    edges = np.sort(np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]), 1)
    unique, number = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (number.reshape(-1) + count).reshape(3, -1)
    a, b, c = f.T
    faces = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    mix = _mixture(count, unique[:, 0], unique[:, 1], np.full(len(unique), 0.5))
    moved = mix @ positions
    return layer.combined(mix, faces).welded_by(moved), moved


def clipped(layer: Layer, field: np.ndarray, positions: np.ndarray) -> tuple[Layer, np.ndarray]:
    """The part of a layer where the vertex field (V,) is positive, cut cleanly along its zero line; and the cut
    layer's positions (V', 3). The field is taken as linear over each triangle."""
    inside = field > 0
    count = inside[layer.faces].sum(1)
    one, two = (_inside_first(layer.faces[count == k], inside, k) for k in (1, 2))
    cut = np.concatenate([one[:, [0, 1]], one[:, [0, 2]], two[:, [1, 2]], two[:, [0, 2]]])
    edges, number = np.unique(np.sort(cut, 1), axis=0, return_inverse=True)
    number = number.reshape(-1) + len(field)
    ab, ac, bc, ac2 = np.split(number, np.cumsum([len(one), len(one), len(two)]))
    faces = np.concatenate(
        [
            layer.faces[count == 3],
            np.stack([one[:, 0], ab, ac], 1),
            np.stack([two[:, 0], two[:, 1], bc], 1),
            np.stack([two[:, 0], bc, ac2], 1),
        ]
    )
    first, second = field[edges[:, 0]], field[edges[:, 1]]
    share = np.clip(first / (first - second), 1e-6, 1 - 1e-6)
    mix = _mixture(len(field), edges[:, 0], edges[:, 1], 1 - share)
    used, renumbered = np.unique(faces, return_inverse=True)
    mix = mix[used]
    moved = mix @ positions
    return layer.combined(mix, renumbered.reshape(-1, 3)).welded_by(moved), moved


def merged(layers: list[Layer], name: str) -> Layer:
    """Several layers as one."""
    starts = np.cumsum([0] + [len(x.uv) for x in layers[:-1]])
    welds = np.cumsum([0] + [int(x.weld.max()) + 1 for x in layers[:-1]])
    return Layer(
        name,
        sparse.vstack([x.binding for x in layers]).tocsr(),
        np.concatenate([x.offset for x in layers]),
        np.concatenate([x.uv for x in layers]),
        np.concatenate([x.faces + s for x, s in zip(layers, starts, strict=True)]),
        np.concatenate([x.weld + s for x, s in zip(layers, welds, strict=True)]),
    )


def _mixture(count: int, first: np.ndarray, second: np.ndarray, share: np.ndarray) -> sparse.csr_matrix:
    """(count + E, count): the identity, then rows ``share`` of ``first`` and the rest of ``second``."""
    rows = np.arange(len(first))
    values, at = np.r_[share, 1 - share], (np.r_[rows, rows], np.r_[first, second])
    return sparse.vstack([sparse.identity(count), sparse.csr_matrix((values, at), (len(first), count))]).tocsr()


def _inside_first(faces: np.ndarray, inside: np.ndarray, count: int) -> np.ndarray:
    """Triangles with ``count`` corners inside, turned (not mirrored) so that those come first."""
    flags = inside[faces]
    lone = (flags if count == 1 else ~flags).argmax(1)
    start = lone if count == 1 else (lone + 1) % 3
    return np.take_along_axis(faces, (start[:, None] + np.arange(3)) % 3, 1)
