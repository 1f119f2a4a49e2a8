"""Layers of a dressed person: triangle meshes that ride on the body's surface."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from data.synthetic.noise import Noise
from nets.meshes import vertex_normals

_NONE = np.zeros((0, 3), np.int64)


@dataclass(frozen=True)
class Folds:
    """Wrinkles of a layer that come and go with the pose.

    Cloth that the pose compresses folds up, cloth that it stretches lies flat, and the folds wander over it as it is
    pulled along.

    Attributes:
        height: (V,) metres, of the folds of uncompressed cloth; 0 where there are none.
        places: (V, 3) metres, where the pattern is looked up: the unposed cloth, bent and stretched across the limbs.
        noise: the pattern.
        rest: (V, 3) the unposed layer, against which the pose compresses.
        sag: (V,) metres by which loose cloth hangs down (against the world's z), as far as what is under it lets it.
        relaxed: rounds of smoothing of the posed cloth: loose cloth bridges what tight cloth follows.
    """

    height: np.ndarray
    places: np.ndarray
    noise: Noise
    rest: np.ndarray
    sag: np.ndarray
    relaxed: int = 0

    def pattern(self, places: np.ndarray, crowded: np.ndarray) -> np.ndarray:
        """(V,) about -1..1: ridges some centimetres apart and, where cloth is crowded (0..1), finer ones between."""
        n = self.noise
        broad = 1 - 2.2 * np.abs(n(places, 0.055)) + 0.5 * n(places, 0.022)
        return broad + crowded * (0.9 - 1.8 * np.abs(n(places, 0.024))) + 0.25 * n(places, 0.011)


@dataclass(frozen=True)
class Layer:
    """A mesh bound to the body: skin, a garment, a shoe, hair.

    Vertex i of the posed layer is ``binding[i] @ posed body + R_i @ offset[i]``, where R_i turns with the joints that
    carry the vertex: offsets are given for the unposed body. Folds come on top.

    Attributes:
        name: what it is.
        binding: (V, body vertices) sparse, rows sum to 1.
        offset: (V, 3) metres in the frame of the unposed body.
        uv: (V, 2) texture coordinates 0..1, v upwards. Seams are made by doubled vertices.
        faces: (T, 3) int.
        weld: (V,) int: vertices with the same number are one point of the surface.
        closing: (T', 3) faces nobody sees, inside the body: with them the layer bounds a solid.
        folds: what the pose does to it, None for what is stiff.
        sheet: how many of the first faces are the cloth itself, without the rim that closes it; None: all.
    """

    name: str
    binding: sparse.csr_matrix
    offset: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    weld: np.ndarray
    closing: np.ndarray = field(default_factory=lambda: _NONE)
    folds: Folds | None = None
    sheet: int | None = None

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
        under = self.binding @ body
        if not self.offset.any():
            return under
        turned = np.einsum("vij,vj->vi", (weights @ rotations.reshape(55, 9)).reshape(-1, 3, 3), self.offset)
        return under + turned if self.folds is None else self._folded(under, turned)

    def _folded(self, under: np.ndarray, turned: np.ndarray) -> np.ndarray:
        """Let loose cloth hang and bridge, then fold it. ``under`` (V, 3): the skin; ``turned``: how far off it."""
        folds, cloth = self.folds, under + turned
        outer = folds.height > 0
        if folds.relaxed:
            stands = np.linalg.norm(turned, axis=1, keepdims=True)
            away = turned / np.maximum(stands, 1e-9)
            moved = np.where(outer[:, None], self.smoothed(cloth, folds.relaxed), cloth)
            moved[:, 2] -= folds.sag
            gap = ((moved - under) * away).sum(1, keepdims=True)
            cloth = moved + np.maximum(0.45 * stands - gap, 0) * away
        i, j = self._edges
        ratio = np.linalg.norm(cloth[i] - cloth[j], axis=1) / np.maximum(
            np.linalg.norm(folds.rest[i] - folds.rest[j], axis=1), 1e-6
        )
        squeeze = self.smoothed(self._to_points(np.clip(1 - ratio, -0.4, 0.6))[:, None], 6)[:, 0]
        crowded = np.clip(squeeze / 0.25, 0, 1)
        amount = folds.height * np.clip(0.75 + 2.0 * crowded - np.clip(-squeeze / 0.2, 0, 0.6), 0, 2.6)
        wander = 0.06 * squeeze[:, None] * np.array([0.6, 1.0, 0.4])
        return cloth + (amount * folds.pattern(folds.places + wander, crowded))[:, None] * self.normals(cloth)

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertices at both ends of every edge of the visible faces."""
        f = self.faces[: self.sheet]
        pairs = np.sort(np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]), 1)
        pairs = np.unique(pairs[:, 0] * np.int64(len(self.uv)) + pairs[:, 1])
        return pairs // len(self.uv), pairs % len(self.uv)

    def _to_points(self, values: np.ndarray) -> np.ndarray:
        """(V,) the mean of edge values (E,) at each point of the surface."""
        count = int(self.weld.max()) + 1
        ends = self.weld[np.concatenate(self._edges)]
        total = np.bincount(ends, np.tile(values, 2), count) / np.maximum(np.bincount(ends, minlength=count), 1)
        return total[self.weld]

    def closed_on(self, figure_offset: np.ndarray) -> Layer:
        """The layer as a solid: its own sheet, a rim along its edges, and a copy of it just inside the body.

        Args:
            figure_offset: (V, 3) offsets of the copy's vertices, metres in the frame of the unposed body.
        """
        count = len(self.uv)
        f = self.faces
        edges = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
        points = int(self.weld.max()) + 1
        ways = self.weld[edges].astype(np.int64)
        there, back = ways[:, 0] * points + ways[:, 1], ways[:, 1] * points + ways[:, 0]
        a, b = edges[~np.isin(there, back)].T  # no face on the other side
        rim = np.concatenate([np.stack([b, a, a + count], 1), np.stack([b, a + count, b + count], 1)])
        return Layer(
            self.name,
            sparse.vstack([self.binding, self.binding]).tocsr(),
            np.concatenate([self.offset, figure_offset]),
            np.concatenate([self.uv, self.uv]),
            np.concatenate([f, rim]),
            np.concatenate([self.weld, self.weld + points]),
            f[:, ::-1] + count,
            self.folds,
            len(f),
        )

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
        f = self.faces[: self.sheet]
        pairs = self.weld[np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])]
        pairs = np.unique(np.sort(pairs, 1), axis=0)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        count = int(self.weld.max()) + 1
        i, j = pairs.T
        graph = sparse.coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), (count, count)).tocsr()
        degree = np.asarray(graph.sum(1))[:, 0]
        alone = sparse.diags((degree == 0).astype(float))
        return (sparse.diags(1 / np.maximum(degree, 1)) @ graph + alone).tocsr()

    def smoothed(self, values: np.ndarray, rounds: int, amount: float = 0.5) -> np.ndarray:
        """Vertex values (V, D) smoothed over the surface, seams closed."""
        points = np.zeros((int(self.weld.max()) + 1, values.shape[1]))
        points[self.weld] = values
        for _ in range(rounds):
            points += amount * (self.neighbours @ points - points)
        return points[self.weld]

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) unit normals of vertices (V, 3), smooth across seams."""
        return vertex_normals(vertices, self.faces[: self.sheet], weld=self.weld)


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
    closing = np.concatenate([x.closing + s for x, s in zip(layers, starts, strict=True)])
    welds = np.cumsum([0] + [int(x.weld.max()) + 1 for x in layers[:-1]])
    return Layer(
        name,
        sparse.vstack([x.binding for x in layers]).tocsr(),
        np.concatenate([x.offset for x in layers]),
        np.concatenate([x.uv for x in layers]),
        np.concatenate([x.faces + s for x, s in zip(layers, starts, strict=True)]),
        np.concatenate([x.weld + s for x, s in zip(layers, welds, strict=True)]),
        closing,
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
