"""The zero level set on a sparse grid against surfaces with known answers."""

import numpy as np
import pytest

from pipeline.fusion.marching import CORNERS, march
from pipeline.fusion.sparse_grid import zero_level_set
from pipeline.fusion.surface import open_edges, prepare, signed_volume


def torus(points):
    d = np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.3, points[:, 2]) - 0.05
    return d, d, d


def test_a_torus_comes_out_closed_the_right_way_round_and_in_place():
    vertices, faces = zero_level_set(torus, np.array([-0.35, -0.35, -0.05]), np.array([0.35, 0.35, 0.05]), 0.005)
    assert np.abs(torus(vertices)[0]).max() < 1e-4
    assert open_edges(faces) == 0
    assert signed_volume(vertices, faces) == pytest.approx(2 * np.pi**2 * 0.3 * 0.05**2, rel=0.01)
    edges = {tuple(sorted(e)) for f in faces.tolist() for e in zip(f, f[1:] + f[:1], strict=True)}
    assert len(vertices) - len(edges) + len(faces) == 0  # one handle


def test_only_points_near_the_surface_are_asked_for():
    asked = []

    def field(points):
        asked.append(len(points))
        return torus(points)

    zero_level_set(field, np.array([-0.35, -0.35, -0.35]), np.array([0.35, 0.35, 0.35]), 0.005)
    assert sum(asked) < 0.05 * (0.7 / 0.005) ** 3


def test_every_case_of_signs_joins_its_neighbours():
    """Random signs hold all 256 cases and ambiguous faces: the surface must be closed all the same."""
    rng = np.random.default_rng(0)
    grid = np.pad(rng.normal(size=(18, 18, 18)), 1, constant_values=1.0)
    cells = np.stack(np.meshgrid(*[np.arange(19)] * 3, indexing="ij"), -1).reshape(-1, 3)
    at = grid[tuple(np.moveaxis(cells[:, None] + CORNERS, -1, 0))]
    assert len(np.unique(((at < 0) << np.arange(8)).sum(1))) == 256
    from pipeline.fusion.sparse_grid import _triangles

    strides = np.array([400, 20, 1])
    active = ((at < 0).any(1)) & ((at >= 0).any(1))
    _, faces = _triangles(cells[active] @ strides, at[active], strides, np.zeros(3, np.int64))
    found = prepare(rng.normal(size=(faces.max() + 1, 3)), faces)
    assert not found.border.any() and found.oriented and "non-manifold" not in found.notes


def test_a_corner_cut_faces_outwards():
    values = np.ones((1, 8))
    values[0, 0] = -1
    cells, edges = march(values)
    assert cells.tolist() == [0] and sorted(edges[0].tolist()) == [0, 4, 8]


def test_where_there_is_no_value_there_is_no_surface():
    def half(points):
        d, low, high = torus(points)
        return np.where(points[:, 0] > 0, d, np.nan), low, high

    vertices, faces = zero_level_set(half, np.array([-0.35, -0.35, -0.05]), np.array([0.35, 0.35, 0.05]), 0.01)
    assert vertices[:, 0].min() >= 0 and open_edges(faces) > 0
