"""The zero level set on a sparse grid against surfaces with known answers."""

import numpy as np
import pytest
import torch

from pipeline.fusion.sparse_grid import PlainField, zero_level_set
from pipeline.fusion.surface import open_edges, prepare, signed_volume
from pipeline.surface.triangles import CORNERS, triangulate

LOW, HIGH = np.array([-0.35, -0.35, -0.05]), np.array([0.35, 0.35, 0.05])


def torus(points):
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.3, points[:, 2]) - 0.05


def test_a_torus_comes_out_closed_the_right_way_round_and_in_place():
    vertices, faces = zero_level_set(PlainField(torus), LOW, HIGH, 0.005)
    assert np.abs(torus(vertices)).max() < 1e-4
    assert open_edges(faces) == 0
    assert signed_volume(vertices, faces) == pytest.approx(2 * np.pi**2 * 0.3 * 0.05**2, rel=0.01)
    edges = {tuple(sorted(e)) for f in faces.tolist() for e in zip(f, f[1:] + f[:1], strict=True)}
    assert len(vertices) - len(edges) + len(faces) == 0  # one handle


def test_only_points_near_the_surface_are_asked_for():
    asked = []

    def counted(points):
        asked.append(len(points))
        return torus(points)

    zero_level_set(PlainField(counted), np.full(3, -0.35), np.full(3, 0.35), 0.005)
    assert sum(asked) < 0.04 * (0.7 / 0.005) ** 3


def test_sheets_thinner_than_the_first_voxels_are_found():
    """A disc 6 mm thick, askew, between grid points of 8 mm: whole, on both sides."""
    normal = np.array([0.36, 0.48, 0.8])

    def disc(points):
        along = points @ normal
        radial = np.linalg.norm(points - along[:, None] * normal, axis=1)
        return np.maximum(np.abs(along) - 0.003, radial - 0.15)

    vertices, faces = zero_level_set(PlainField(disc), np.full(3, -0.16), np.full(3, 0.16), 0.004)
    assert open_edges(faces) == 0
    assert signed_volume(vertices, faces) == pytest.approx(np.pi * 0.15**2 * 0.006, rel=0.03)


def test_every_case_of_signs_joins_its_neighbours():
    """Random signs hold all 256 cases and ambiguous faces: the surface must be closed all the same."""
    rng = np.random.default_rng(0)
    grid = np.pad(rng.normal(size=(18, 18, 18)), 1, constant_values=1.0)
    cells = np.stack(np.meshgrid(*[np.arange(19)] * 3, indexing="ij"), -1).reshape(-1, 3)
    at = grid[tuple(np.moveaxis(cells[:, None] + CORNERS, -1, 0))]
    assert len(np.unique(((at < 0) << np.arange(8)).sum(1))) == 256
    active = ((at < 0).any(1)) & ((at >= 0).any(1))
    slots = (cells[:, None] + CORNERS) @ np.array([400, 20, 1])
    _, faces, _ = triangulate(*(torch.as_tensor(x[active]) for x in (cells, slots, -at)))
    found = prepare(rng.normal(size=(int(faces.max()) + 1, 3)), faces.numpy())
    assert not found.border.any() and found.oriented and "non-manifold" not in found.notes


def test_where_there_is_no_value_there_is_no_surface():
    half = PlainField(lambda points: np.where(points[:, 0] > 0, torus(points), np.nan))
    vertices, faces = zero_level_set(half, LOW, HIGH, 0.01)
    assert vertices[:, 0].min() >= 0 and open_edges(faces) > 0
