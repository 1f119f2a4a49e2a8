"""Signed distance to a mesh of any quality at given points."""

from __future__ import annotations

import numpy as np

from nets.meshes import vertex_normals

_RAY = np.array([0.5773, 0.2113, 0.7887], np.float32)
"""Any direction that no mesh is likely to be aligned with (about a unit vector; only its direction matters)."""
_STEP = 2e-6  # metres past a triangle
_CROSSINGS = 64  # of a ray, at most


class SignedDistance:
    """Distances to a mesh, negative inside, by Open3D's ray casting scene.

    Sign of a closed mesh: the side of the nearest triangle and the parity of crossings along a ray are both cheap;
    where they differ (next to edges, and where the surface overlaps itself, as warped armpits do) the winding number
    decides, so that overlapping parts count as one. An open mesh has only the nearest triangle to go by, or the mean
    normal of the nearest edge or corner. Where triangles disagree about the outside, parity alone.
    """

    def __init__(
        self,
        vertices: np.ndarray,
        faces: np.ndarray,
        trust: np.ndarray,
        border: np.ndarray,
        oriented: bool = True,
        threads: int = 0,
    ) -> None:
        """Vertices (V, 3) near the origin, faces (T, 3), trust (V,), border (V,) bool; ``threads`` 0: all cores."""
        import open3d as o3d

        self._tensor, self._threads = o3d.core.Tensor, threads
        self._faces = np.ascontiguousarray(faces, np.int32)
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
        self._scene.add_triangles(
            self._tensor(np.ascontiguousarray(vertices, np.float32)), self._tensor(self._faces.view(np.uint32))
        )
        self._trust = None if (trust == 1).all() else trust.astype(np.float32)
        self._border = border if border.any() else None
        self._oriented = oriented
        self._normals = vertex_normals(vertices, faces, "angle").astype(np.float32) if border.any() else None

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """At points (N, 3): distances (N,) float32 in metres, and how far to trust them (N,) 0..1.

        Trust is that of the surface at the nearest point, and 0 where that point lies on the edge of a hole: there is
        no inside there. Points that follow each other in space are answered faster.
        """
        queries = self._tensor(np.ascontiguousarray(points, np.float32))
        found = self._scene.compute_closest_points(queries, nthreads=self._threads)
        away = queries.numpy() - found["points"].numpy()
        distance = np.sqrt(np.einsum("ij,ij->i", away, away))
        corners = self._faces[found["primitive_ids"].numpy().view(np.int32)]
        shares = _shares(found["primitive_uvs"].numpy())
        trust = np.ones(len(distance), np.float32)
        if self._trust is not None:
            trust = np.einsum("ij,ij->i", self._trust[corners], shares)
        if self._border is not None:
            # on the border: every corner that the nearest point leans on is
            trust[(self._border[corners] | (shares == 0)).all(1)] = 0
        return np.where(self._inside(queries, found, away, corners, shares), -distance, distance), trust

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """At points (N, 3): the vertex (N,) that is closest to the nearest point of the mesh, of its triangle's three,
        and metres (N,) to that point."""
        queries = self._tensor(np.ascontiguousarray(points, np.float32))
        found = self._scene.compute_closest_points(queries, nthreads=self._threads)
        away = queries.numpy() - found["points"].numpy()
        corners = self._faces[found["primitive_ids"].numpy().view(np.int32)]
        which = _shares(found["primitive_uvs"].numpy()).argmax(1)
        return corners[np.arange(len(corners)), which], np.sqrt(np.einsum("ij,ij->i", away, away))

    def _inside(self, queries, found, away, corners, shares) -> np.ndarray:
        if not self._oriented:
            return self._scene.compute_occupancy(queries, nthreads=self._threads, nsamples=3).numpy() > 0
        side = np.einsum("ij,ij->i", away, found["primitive_normals"].numpy())
        if self._normals is not None:
            edge = np.flatnonzero((shares == 0).any(1))
            normal = np.einsum("ij,ijk->ik", shares[edge], self._normals[corners[edge]])
            side[edge] = np.einsum("ij,ij->i", away[edge], normal)
            return side < 0
        inside = side < 0
        unsure = np.flatnonzero(inside != (self._scene.compute_occupancy(queries, nthreads=self._threads).numpy() > 0))
        inside[unsure] = self._winding(queries.numpy()[unsure]) > 0
        return inside

    def _winding(self, points: np.ndarray) -> np.ndarray:
        """(N,) how many times the mesh goes around points: triangles left less triangles entered along a ray."""
        winding, left = np.zeros(len(points)), np.arange(len(points))
        rays = np.concatenate([points, np.broadcast_to(_RAY, points.shape)], 1).astype(np.float32)
        for _ in range(_CROSSINGS):
            if not len(left):
                break
            found = self._scene.cast_rays(self._tensor(rays), nthreads=self._threads)
            reach = found["t_hit"].numpy()
            hit = np.isfinite(reach)
            left, rays, reach = left[hit], rays[hit], reach[hit]
            winding[left] += np.sign(found["primitive_normals"].numpy()[hit] @ _RAY)
            rays[:, :3] += (reach[:, None] + _STEP) * _RAY
        return winding


def _shares(uv: np.ndarray) -> np.ndarray:
    """(N, 3) barycentric coordinates, tiny ones set to zero so that edges and corners are told from insides."""
    shares = np.concatenate([1 - uv.sum(1, keepdims=True), uv], 1)
    shares[shares < 1e-4] = 0
    return shares
