"""Colours of a surface from several views: blended by trust, balanced, and filled where nobody saw it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from pipeline.meshes.geometry import neighbours, vertex_normals
from pipeline.texture.views import ColourView

SHARPNESS = 2.0
"""Power of the weights: higher prefers the best view, lower blends."""
GREY = 128.0


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
    vertices: np.ndarray, faces: np.ndarray, views: Sequence[ColourView], gains: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (V, 3) uint8 of a mesh and which vertices (V,) bool some view saw; the others are filled."""
    normals = vertex_normals(vertices, faces)
    if not views:
        return np.full((len(vertices), 3), GREY, np.uint8), np.zeros(len(vertices), bool)
    colours, total = blended([v.sample(vertices, normals) for v in views], gains)
    seen = total > 0
    return np.clip(np.rint(filled(colours, seen, faces)), 0, 255).astype(np.uint8), seen


def filled(colours: np.ndarray, known: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Colours (V, 3) with those that are not ``known`` (V,) spread from their neighbours over the mesh: what a membrane
    fixed at the known ones would give. A piece with none known takes the mean of all."""
    out = np.array(colours, np.float64)
    out[~known] = out[known].mean(0) if known.any() else GREY
    missing = np.flatnonzero(~known)
    if not len(missing) or not known.any():
        return out
    rows = neighbours(faces, len(colours))[missing]
    degree = np.asarray(rows.sum(1)).ravel()
    # A faint pull to the mean keeps pieces without anything known from being undetermined.
    pull = 1e-4
    matrix = (sparse.diags(degree + pull) - rows[:, missing]).tocsr()
    right = rows[:, np.flatnonzero(known)] @ out[known] + pull * out[missing]
    for channel in range(out.shape[1]):
        out[missing, channel] = cg(matrix, right[:, channel], x0=out[missing, channel], rtol=1e-4, maxiter=400)[0]
    return out
