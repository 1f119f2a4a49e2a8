"""Carrying a reconstructed mesh from one body pose to another (section 4.3, equations 7 to 9)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from nets.meshes import vertex_normals
from pipeline.fusion.align import part_weights
from pipeline.fusion.options import FusionOptions
from pipeline.fusion.surface import Surface
from pipeline.meshes.geometry import neighbours

if TYPE_CHECKING:
    from nets.body import BodyModel
    from pipeline.body.parameters import BodyTrack

SMOOTHED = 16
"""Rounds in which what is seen is averaged with its neighbours: some four edges, a centimetre or two."""


@dataclass(frozen=True)
class PosedBody:
    """A body in one frame: what carries a mesh.

    Attributes:
        vertices: (B, 3) posed vertices, metres.
        faces: (T, 3).
        blended: (B, 3, 4) each vertex's blended bone transform, posed from rest.
        parts: (B, 22) how much each vertex belongs to each part of the body, see ``align``; None: not known.
        steadier: (B, 3) metres from ``vertices`` to where they are trusted to be when the body carries a mesh, and
        calm: (B,) 0..1 how little it moves otherwise than frames around it say, see ``calm``; None: not known.
    """

    vertices: np.ndarray
    faces: np.ndarray
    blended: np.ndarray
    parts: np.ndarray | None = None
    steadier: np.ndarray | None = None
    calm: np.ndarray | None = None

    @cached_property
    def tree(self) -> cKDTree:
        return cKDTree(self.vertices)

    @cached_property
    def normals(self) -> np.ndarray:
        return vertex_normals(self.vertices, self.faces, "angle")

    @cached_property
    def rest(self) -> np.ndarray:
        """(B, 3) vertices in the rest pose, with this frame's blend shapes: the body inversely skinned."""
        return inverse_skin(self.blended, self.vertices)


@dataclass(frozen=True)
class Carried:
    """A mesh bound to the body of its own frame; ``carry`` takes it to another.

    Attributes:
        surface: the mesh.
        body: the body of the same frame.
        weights: (V, B) sparse, rows sum to 1: how much each body vertex carries (ω of equation 7).
        distance: metres from the mesh to the body, median over vertices.
    """

    surface: Surface
    body: PosedBody
    weights: sparse.csr_matrix
    distance: float

    @cached_property
    def blended(self) -> np.ndarray:
        """(V, 3, 4) transforms of the mesh's vertices, posed from rest."""
        return (self.weights @ self.body.blended.reshape(-1, 12)).reshape(-1, 3, 4)

    @cached_property
    def at_rest(self) -> np.ndarray:
        """(V, 3) the mesh in the rest pose: W⁻¹ of equation 9."""
        return inverse_skin(self.blended, self.surface.vertices)

    @cached_property
    def parts(self) -> np.ndarray:
        """(V, 22) how much each vertex belongs to each part of the body, in any of its poses."""
        return self.weights @ self.body.parts

    @cached_property
    def seen(self) -> np.ndarray:
        """(V,) 0..1 how well each vertex was observed, without sudden changes from one to the next: where frames see
        different things, the mean would jump with every vertex, and the surface would crumble."""
        count = len(self.surface.vertices)
        joined = neighbours(self.surface.faces, count) + sparse.identity(count, format="csr")
        mean, seen = sparse.diags(1 / np.asarray(joined.sum(1)).ravel()) @ joined, self.surface.seen
        for _ in range(SMOOTHED):
            seen = mean @ seen
        return seen

    def carry(self, target: PosedBody) -> np.ndarray:
        """(V, 3) the mesh in the target's pose (equation 9).

        What blend shapes change between the two frames is added at rest, blended with the same weights; what the fits
        tremble by is taken out, where both bodies know it.
        """
        rest = self.at_rest + self.weights @ (target.rest - self.body.rest)
        blended = (self.weights @ target.blended.reshape(-1, 12)).reshape(-1, 3, 4)
        vertices = _apply(blended, rest)
        if self.body.steadier is not None and target.steadier is not None:
            vertices += self.weights @ (target.steadier - self.body.steadier)
        return vertices

    def calm(self, target: PosedBody) -> np.ndarray:
        """(V,) 0..1 how calm both bodies are where they carry a vertex; 0 where that is not known."""
        if self.body.calm is None or target.calm is None:
            return np.zeros(self.weights.shape[0])
        return self.weights @ np.minimum(self.body.calm, target.calm)

    def spread(self, target: PosedBody) -> np.ndarray:
        """(V,) metres: how far the body vertices that carry a vertex are apart about where it goes.

        Each of them alone would move it as the piece of body around itself; the figure is the weighted standard
        deviation of those places. Large where neighbours move apart: armpits, limbs in contact, cloth between legs.
        """
        own, to = self.body.blended, target.blended
        middle = self.body.vertices.mean(0)
        linear = to[:, :, :3] @ _inverses(own[:, :, :3])
        shift = target.vertices - (linear @ (self.body.vertices - middle)[..., None])[..., 0]
        # Moves less the mean move, about the body's middle: mean of squares less square of mean, without cancellation.
        linear, shift = linear - linear.mean(0), shift - shift.mean(0)
        square = np.einsum("bki,bkj->bij", linear, linear).reshape(-1, 9)[:, [0, 4, 8, 1, 2, 5]]
        cross = np.einsum("bki,bk->bi", linear, shift)
        moments = np.concatenate([linear.reshape(-1, 9), shift, square, cross, (shift**2).sum(1)[:, None]], 1)
        found = self.weights @ moments
        points = self.surface.vertices - middle
        x, y, z = points.T
        mean = np.einsum("vij,vj->vi", found[:, :9].reshape(-1, 3, 3), points) + found[:, 9:12]
        one = np.ones_like(x)
        squares = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z, 2 * x, 2 * y, 2 * z, one], 1)
        variance = np.einsum("vi,vi->v", found[:, 12:], squares) - np.einsum("vi,vi->v", mean, mean)
        return np.sqrt(np.maximum(variance, 0))


def bind(surface: Surface, body: PosedBody, options: FusionOptions) -> Carried:
    """Weights of the nearest body vertices (equations 7 and 8).

    With ``options.weighted``, body vertices that face away from the surface's own normal do not carry it where others
    do: skin of the arm that touches the chest moves with the arm.
    """
    count = min(len(body.vertices), options.neighbours * (2 if options.weighted else 1))
    distance, index = body.tree.query(surface.vertices, k=count)
    distance, index = distance.reshape(-1, count), index.reshape(-1, count)
    # Distances beyond the nearest: the ratio of weights is the same, and far from the body they do not all vanish.
    if options.kernel == "plain":
        weight = np.exp(-(distance - distance[:, :1]) / options.sigma_m)
    else:
        weight = np.exp(-(distance**2 - distance[:, :1] ** 2) / (2 * options.sigma_m**2))
    if options.weighted:
        facing = np.einsum("vki,vi->vk", body.normals[index], vertex_normals(surface.vertices, surface.faces, "angle"))
        weight *= np.clip(0.5 + facing, 1e-3, 1)
    weight /= weight.sum(1, keepdims=True)
    starts = np.arange(0, weight.size + 1, count)
    shape = (len(surface.vertices), len(body.vertices))
    weights = sparse.csr_matrix((weight.ravel(), index.ravel(), starts), shape)
    return Carried(surface, body, weights, float(np.median(distance[:, 0])) if len(distance) else 0.0)


def posed_bodies(model: BodyModel, track: BodyTrack, rows: np.ndarray) -> list[PosedBody | None]:
    """Bodies of a track's rows; None where the track is not valid."""
    import torch

    rows = np.asarray(rows, np.int64)
    good = rows[track.valid[rows]]
    given = {n: torch.as_tensor(np.asarray(getattr(track, n))[good]).to(model.template) for n in track.POSED}
    given["betas"] = torch.as_tensor(track.betas[None]).to(model.template)
    bodies = {}
    with torch.no_grad():
        for k, row in enumerate(good):
            one = {n: v if n == "betas" else v[k : k + 1] for n, v in given.items()}
            bodies[int(row)] = posed_body(model, one)
    return [bodies.get(int(row)) for row in rows]


def posed_body(model: BodyModel, parameters: dict) -> PosedBody:
    """One body (leading axis 1) from the parameters that ``nets.body.BodyModel`` takes."""
    import torch

    with torch.no_grad():
        posed = model.pose(**parameters)
        offsets = posed.positions - (posed.rotations @ posed.rest[..., None]).squeeze(-1)
        transforms = torch.cat([posed.rotations, offsets[..., None]], -1)[0].double().numpy()
        vertices = model(**parameters).vertices[0].double().numpy()
    weights = model.weights.double().numpy()
    blended = (weights @ transforms.reshape(-1, 12)).reshape(-1, 3, 4)
    return PosedBody(vertices, model.faces.numpy(), blended, part_weights(weights))


def inverse_skin(blended: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 3) taken back by transforms (N, 3, 4)."""
    return np.einsum("nij,nj->ni", _inverses(blended[:, :, :3]), points - blended[:, :, 3])


def _inverses(matrices: np.ndarray) -> np.ndarray:
    """(N, 3, 3) by cross products of columns: many times faster than LAPACK for so small ones."""
    a, b, c = np.moveaxis(matrices, 2, 0)
    rows = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], 1)
    return rows / np.einsum("ni,ni->n", a, rows[:, 0])[:, None, None]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (x, y, z), (u, v, w) = a.T, b.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], 1)


def _apply(blended: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.einsum("nij,nj->ni", blended[:, :, :3], points) + blended[:, :, 3]
