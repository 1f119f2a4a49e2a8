"""A finished surface bent until it faces where its pictures say, and faired where they say nothing.

Silhouettes and bodies tell where a surface is, but hardly how it faces from one centimetre to the next; shading tells
that, but not where. A normal network reads each view's picture together with the normals of the surface as that view
sees it. What the views say is joined at the vertices, and vertices then move along their normals until edges lie in the
planes so told, while their places hold the broad shape (Nehab 2005, "Efficiently combining positions and normals for
precise 3D geometry").
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nn_functional

from nets.normals import NormalNetwork, predict_normals
from pipeline.cameras import Camera
from pipeline.meshes.geometry import neighbours, vertex_normals
from pipeline.meshes.sequence import Mesh
from pipeline.raster import raster_here
from pipeline.surface.network_level import sixteen_bits
from pipeline.surface.prepare import Prepared

HOLD = 500.0
"""How much places count, 1/m2: relief shorter than 2 pi / sqrt(HOLD) = 28 cm follows the normals, longer the places."""
REACH = 0.015
"""Metres by which a vertex moves at most."""
SQUARELY = 0.25
"""Cosine to the line of sight from which a view's word counts; it weighs as the square."""
FAIR, FAIR_WEIGHT = 4, 0.2
"""Rounds in which the surface's own normals are averaged with their neighbours', and how much they count beside what
views say: of the surface's own roughness little is true."""
_LEAST_WEIGHT = 0.02


def refined(mesh: Mesh, prepared: Prepared, network: NormalNetwork, device: torch.device | str = "cpu") -> Mesh:
    """``mesh`` with its vertices moved; ``mesh.seen`` says which views speak of which.

    Args:
        network: guided, on ``device``.
    """
    cameras = [Camera.of_projection(P, (prepared.size, prepared.size)) for P in prepared.projection]
    guides = guide_maps(mesh.vertices, mesh.faces, cameras)
    maps = guided_normals(prepared, guides, network, device)
    told, weight = joined_normals(mesh, cameras, maps)
    return replace(mesh, vertices=bent(mesh.vertices, mesh.faces, told, weight))


def guide_maps(vertices: np.ndarray, faces: np.ndarray, cameras: list[Camera]) -> np.ndarray:
    """(V, 3, S, S) float32 unit normals of a surface along each camera's axes, 0 off it."""
    raster = raster_here(threads=torch.get_num_threads(), remember=len(cameras))
    faces = np.asarray(faces, np.int64)
    scene, normals = raster.scene(vertices, faces), vertex_normals(vertices, faces)
    out = []
    for camera in cameras:
        shown = raster.view(scene, camera).interpolate(faces, normals, missing=0.0) @ camera.R.T
        shown /= np.maximum(np.linalg.norm(shown, axis=-1, keepdims=True), 1e-6)
        out.append(shown.transpose(2, 0, 1))
    return np.stack(out).astype(np.float32)


@torch.no_grad()
def guided_normals(
    prepared: Prepared, guides: np.ndarray, network: NormalNetwork, device: torch.device | str = "cpu"
) -> Tensor:
    """(V, 3, S, S) float32 on the CPU, 0 off the masks and where something may be in front."""
    images = torch.cat([prepared.masked_rgb()[0], torch.from_numpy(guides)], 1)
    masks = prepared.soft_masks()[0]
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=sixteen_bits(device)):
        found = [
            predict_normals(network, image[None, None].to(device), mask[None, None].to(device))[0].float().cpu()
            for image, mask in zip(images, masks, strict=True)
        ]
    return torch.cat(found) * ~prepared.blocked_pixels()[0][:, None]


def joined_normals(mesh: Mesh, cameras: list[Camera], maps: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What views say of vertices: unit normals (N, 3) in the world, and how much is known (N,), 0 to about 1 a view.

    Args:
        maps: (V, 3, S, S) normals along the cameras' axes; shorter where the network is less sure.
    """
    own, size = vertex_normals(mesh.vertices, mesh.faces), maps.shape[-1]
    total, weight = np.zeros((len(own), 3)), np.zeros(len(own))
    for k, camera in enumerate(cameras):
        way = camera.centre - mesh.vertices
        cosine = (way * own).sum(-1) / np.linalg.norm(way, axis=-1)
        some = np.flatnonzero(mesh.seen[:, k] & (cosine > SQUARELY))
        places = torch.from_numpy((2 * camera.project(mesh.vertices[some]) + 1) / size - 1).float()
        said = nn_functional.grid_sample(maps[k : k + 1], places[None, None], align_corners=False)[0, :, 0].T.numpy()
        length = np.linalg.norm(said, axis=-1, keepdims=True)
        counts = np.where(length > 0.3, cosine[some, None] ** 2, 0)
        total[some] += counts * said @ camera.R
        weight[some] += counts[:, 0]
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    return np.where(length > 1e-6, total / np.maximum(length, 1e-6), own), weight


def bent(vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Vertices (N, 3) moved along their own normals, at most ``REACH``, so that faces turn towards ``normals``.

    Each edge of a face shall lie in the plane that the face's corners tell; where nobody tells, in a fair one.

    Args:
        weight: (N,) how much each vertex's normal counts, 1 for what one view sees squarely.
    """
    from scipy.sparse import csr_matrix, diags
    from scipy.sparse.linalg import cg

    own, faces = vertex_normals(vertices, faces).astype(np.float64), np.asarray(faces)
    a, b = (faces[:, order].T.ravel() for order in ([0, 1, 2], [1, 2, 0]))
    known = (weight > _LEAST_WEIGHT) & ((normals * own).sum(-1) > 0.3)  # a normal that is turned right over is a flaw
    told = np.where(known, np.clip(weight, 0, 1), 0)
    wanted = _unit(normals * told[:, None] + FAIR_WEIGHT * _fair(own, faces))
    planes = np.tile(_unit(wanted[faces].mean(1)), (3, 1))
    count = np.tile(np.maximum(told, FAIR_WEIGHT)[faces].min(1), 3)
    edge = vertices[b] - vertices[a]
    scale = np.sqrt(count) / np.maximum(np.linalg.norm(edge, axis=-1), 1e-4)
    rows = np.arange(len(a))
    values = np.concatenate([(planes * own[b]).sum(-1) * scale, -(planes * own[a]).sum(-1) * scale])
    slopes = csr_matrix((values, (np.tile(rows, 2), np.concatenate([b, a]))), shape=(len(a), len(vertices)))
    system = (slopes.T @ slopes + 6 * HOLD * diags(np.ones(len(vertices)))).tocsr()  # a vertex has some six edges
    target = slopes.T @ (-(planes * edge).sum(-1) * scale)
    moved, _ = cg(system, target, rtol=1e-4, maxiter=300, M=diags(1 / system.diagonal()))
    return vertices + np.clip(moved, -REACH, REACH)[:, None] * own


def _fair(normals: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (N, 3) averaged with those at the other ends of edges of triangles (T, 3)."""
    from scipy.sparse import identity

    joined = neighbours(faces, len(normals)) + identity(len(normals))
    for _ in range(FAIR):
        normals = _unit(joined @ normals)
    return normals


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
