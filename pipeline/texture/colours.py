"""Colours of a surface from several views: blended by trust, balanced, and filled where nobody saw it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from pipeline.meshes.geometry import neighbours, vertex_normals
from pipeline.raster import corner_weights
from pipeline.texture.views import ColourView

SHARPNESS = 2.0
"""Power of the weights: higher prefers the best view, lower blends."""
GREY = 128.0
DOUBTFUL = 30.0
"""A camera that is so many levels off the others (Euclidean, 0..255) counts half."""
FADING = 0.01
"""How soon, away from what is seen, a mesh looks as the person usually does (``filled``)."""


def blended(samples: Sequence[tuple[np.ndarray, np.ndarray]], gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours (N, 3) 0..255 and their weight (N,), of samples (colours, weights) a camera, in ``gains``' order."""
    total = np.zeros(len(samples[0][1]))
    mixed = np.zeros((len(total), 3))
    for (colours, weights), gain in zip(samples, gains, strict=True):
        weight = weights**SHARPNESS
        mixed += weight[:, None] * np.clip(colours * gain, 0, 255)
        total += weight
    return mixed / np.maximum(total, 1e-12)[:, None], total


def vertex_colours(
    vertices: np.ndarray,
    faces: np.ndarray,
    views: Sequence[ColourView],
    gains: np.ndarray,
    usual: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (V, 3) uint8 of a mesh and which vertices (V,) bool some view saw; the others are filled.

    Args:
        views, gains: the cameras and their factors (C, 3), in the same order.
        usual: (V, 3) what the person usually looks like there, or None. What no view sees now takes that, changed as
            its neighbours are changed, so that neither a seam nor a flicker is left; what a view sees badly lies
            between.
    """
    normals = vertex_normals(vertices, faces).astype(np.float64)
    blank = np.full((len(vertices), 3), GREY)
    samples = [v.sample(vertices, normals) for v in views]
    if usual is not None and samples:
        samples = agreeing(samples, gains, usual)
    colours, total = blended(samples, gains) if samples else (blank, np.zeros(len(vertices)))
    seen = total > 0
    if usual is None:
        colours = filled(colours, seen, faces)
    else:
        trust = trusted(total)
        change = np.where(seen[:, None], colours - usual, 0)
        spread = filled(change, trust > 0.5, faces, towards=0.0, pull=FADING)
        colours = usual + trust[:, None] * change + (1 - trust[:, None]) * spread
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8), seen


def agreeing(
    samples: Sequence[tuple[np.ndarray, np.ndarray]], gains: np.ndarray, usual: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Samples whose weights fall where a camera disagrees with the others and with what is usual (N, 3): a hand that
    the surface lacks lies over the thigh in one view, not in most.

    Held against the median of the cameras that see a point and the usual colour, which counts as one of them.
    """
    every = np.stack([np.clip(c * g, 0, 255) for (c, _), g in zip(samples, gains, strict=True)])
    every[np.stack([w for _, w in samples]) <= 0] = np.nan
    middle = np.nanmedian(np.concatenate([every, usual[None]]), axis=0)
    away = np.linalg.norm(np.nan_to_num(every - middle), axis=-1)
    return [(c, w / (1 + (a / DOUBTFUL) ** 2)) for (c, w), a in zip(samples, away, strict=True)]


def trusted(weight: np.ndarray, share: float = 0.05) -> np.ndarray:
    """(N,) 0..1, how far colours of that ``weight`` (N,) are believed: half at ``share`` of the median weight."""
    usual = np.median(weight[weight > 0]) if (weight > 0).any() else 1.0
    return weight / (weight + share * usual)


def believed(colours: np.ndarray, weight: np.ndarray, faces: np.ndarray, share: float) -> np.ndarray:
    """Colours (V, 3) as far as their weights (V,) let them be ``trusted``, for the rest what surrounds them: what was
    seen at the border of masks alone has the background's colours."""
    trust = trusted(weight, share)
    spread = filled(colours, trust > 0.5, faces)
    return trust[:, None] * colours + (1 - trust[:, None]) * spread


def filled(
    colours: np.ndarray, known: np.ndarray, faces: np.ndarray, towards: float | None = None, pull: float = 1e-4
) -> np.ndarray:
    """Colours (V, 3) with those that are not ``known`` (V,) spread from their neighbours over the mesh: what a membrane
    fixed at the known ones would give. A piece with none known takes ``towards``, the mean of all if None.

    Args:
        pull: how strongly ``towards`` draws everything unknown, beside a neighbour's 1: at p it is reached after some
            1 / sqrt(p) vertices.
    """
    out = np.array(colours, np.float64)
    if towards is None:
        towards = out[known].mean(0) if known.any() else GREY
    out[~known] = towards
    missing = np.flatnonzero(~known)
    if not len(missing) or not known.any():
        return out
    rows = neighbours(faces, len(colours))[missing]
    degree = np.asarray(rows.sum(1)).ravel()
    # A pull, however faint, keeps pieces without anything known from being undetermined.
    matrix = (sparse.diags(degree + pull) - rows[:, missing]).tocsr()
    right = rows[:, np.flatnonzero(known)] @ out[known] + pull * out[missing]
    for channel in range(out.shape[1]):
        out[missing, channel] = cg(matrix, right[:, channel], x0=out[missing, channel], rtol=1e-4, maxiter=400)[0]
    return out


def nearby(points: np.ndarray, places: np.ndarray, colours: np.ndarray, count: int = 4) -> np.ndarray:
    """Colours (N, 3) at points (N, 3) from those (V, 3) of the ``count`` nearest places (V, 3), the nearer the more."""
    distance, index = cKDTree(places).query(points, k=count)
    weight = 1 / (distance + 1e-3) ** 2
    return np.einsum("nk,nkc->nc", weight / weight.sum(1, keepdims=True), np.asarray(colours, np.float64)[index])


def carried_over(
    vertices: np.ndarray, faces: np.ndarray, fine_vertices: np.ndarray, fine_colours: np.ndarray
) -> np.ndarray:
    """Colours (K, 3) uint8 of a light mesh that, interpolated over its triangles, come closest to those (V, 3) of the
    fine mesh that it stands for: least squares, which loses less than looking at the light mesh's corners alone."""
    from pipeline.raster_open3d import RayScene

    found = RayScene(vertices, faces, threads=1).nearest(fine_vertices)
    weights = corner_weights(found["uv"])
    rows = np.repeat(np.arange(len(fine_vertices)), 3)
    spread = sparse.csr_matrix((weights.ravel(), (rows, faces[found["triangle"]].ravel())),
                               (len(fine_vertices), len(vertices)))
    reach = np.asarray(spread.sum(0)).ravel()
    near = cKDTree(fine_vertices).query(vertices)[1]
    start = np.where(reach[:, None] > 0.5, (spread.T @ fine_colours) / np.maximum(reach, 0.5)[:, None],
                     fine_colours[near])
    hold = 0.1 * reach + 1e-3  # what little of the fine mesh tells of keeps the mean around it
    matrix = (spread.T @ spread + sparse.diags(hold)).tocsr()
    right = spread.T @ fine_colours + hold[:, None] * start
    best = [cg(matrix, right[:, c], x0=start[:, c], rtol=1e-3, maxiter=60)[0] for c in range(3)]
    return np.clip(np.rint(np.column_stack(best)), 0, 255).astype(np.uint8)
