"""Fewer triangles: within the bound by measures of this file's own, and the bad meshes that come along."""

import numpy as np
import pytest
import trimesh

from pipeline.meshes.simplify import simplified
from pipeline.meshes.thin import thinned


def bumpy(subdivisions=5, radius=0.3):
    """A ball with waves of 6 mm: curved everywhere, so that nothing can be left out for free."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    direction = mesh.vertices / radius
    waves = 0.006 * np.sin(9 * direction[:, 0]) * np.sin(7 * direction[:, 1])
    return np.asarray(mesh.vertices + direction * waves[:, None]), np.asarray(mesh.faces)


def away(vertices, faces, points):
    """Distances of points from a mesh, by trimesh."""
    return trimesh.proximity.closest_point(trimesh.Trimesh(vertices, faces, process=False), points)[1]


@pytest.mark.parametrize("bound", [0.0005, 0.002])
def test_both_surfaces_stay_within_the_bound(bound):
    vertices, faces = bumpy()
    light = simplified(vertices, faces, bound)
    rng = np.random.default_rng(0)
    for of, to in (((vertices, faces), light), (light, (vertices, faces))):
        mesh = of if isinstance(of, tuple) else (of.vertices, of.faces)
        onto = to if isinstance(to, tuple) else (to.vertices, to.faces)
        corners = mesh[0][mesh[1][rng.integers(0, len(mesh[1]), 1500)]]
        distance = away(*onto, np.einsum("nk,nkd->nd", rng.dirichlet((1, 1, 1), 1500), corners))
        assert np.quantile(distance, 0.999) <= 1.1 * bound
    assert light.error_m <= bound and len(light.faces) < len(faces) * (0.6 if bound < 0.001 else 0.25)
    assert trimesh.Trimesh(light.vertices, light.faces, process=False).is_watertight


def test_a_guess_changes_nothing():
    vertices, faces = bumpy(4)
    results = [simplified(vertices, faces, 0.002, guess) for guess in (None, 10, 3000, 10**9)]
    for other in results[1:]:
        np.testing.assert_array_equal(other.faces, results[0].faces)


def test_a_mesh_of_ten_pieces_keeps_all_that_matter():
    vertices, faces = bumpy(3, 0.05)
    places = np.arange(10)[:, None] * (0.2, 0, 0)
    many = np.concatenate([vertices + p for p in places])
    light = simplified(many, np.concatenate([faces + k * len(vertices) for k in range(10)]), 0.002)
    mesh = trimesh.Trimesh(light.vertices, light.faces, process=False)
    assert mesh.body_count == 10 and len(light.faces) < 10 * len(faces)


def test_borders_stay():
    vertices, faces = bumpy(4)
    half = faces[vertices[faces][..., 2].min(1) > 0]
    light = simplified(vertices, half, 0.001)
    lowest = vertices[np.unique(half)][:, 2].min()
    assert abs(light.vertices[np.unique(light.faces)][:, 2].min() - lowest) < 0.002


def test_what_cannot_be_lighter_comes_back_and_what_is_no_mesh_is_refused():
    vertices, faces = bumpy(2)
    same = simplified(vertices, faces, 1e-7)
    np.testing.assert_array_equal(same.faces, faces)
    assert same.error_m == 0
    with pytest.raises(ValueError, match="without faces"):
        simplified(vertices, faces[:0], 0.001)
    with pytest.raises(ValueError, match="1 of 162 vertices are not finite"):
        simplified(np.where(np.arange(len(vertices))[:, None] == 5, np.nan, vertices), faces, 0.001)


def bending(angle):
    """A bumpy sausage, 1.2 m long, whose upper half is turned by ``angle`` radians; and its faces."""
    vertices, faces = bumpy(4, 0.2)
    vertices = vertices * (1, 1, 3)
    share = angle / (1 + np.exp(-vertices[:, 2] / 0.05))
    x, y, z = vertices.T
    return np.column_stack([np.cos(share) * x + np.sin(share) * z, y, np.cos(share) * z - np.sin(share) * x]), faces


def test_a_mesh_that_moves_keeps_some_of_its_own_vertices_within_the_bound_in_all_poses():
    poses, faces = [bending(a)[0] for a in (0, 0.7, 1.5)], bending(0)[1]
    light = thinned(poses, faces, 0.004)
    assert light.error_m <= 0.004 and len(light.faces) < 0.6 * len(faces)
    for pose in poses:
        few = pose[light.vertices]
        for of, onto in (((pose, faces), (few, light.faces)), ((few, light.faces), (pose, faces))):
            rng = np.random.default_rng(0)
            corners = of[0][of[1][rng.integers(0, len(of[1]), 1500)]]
            points = np.einsum("nk,nkd->nd", rng.dirichlet((1, 1, 1), 1500), corners)
            assert np.quantile(away(*onto, points), 0.999) <= 1.1 * 0.004
        mesh = trimesh.Trimesh(few, light.faces, process=False)
        assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    # In one pose alone more can go: what bends needs its vertices.
    assert len(thinned(poses[:1], faces, 0.004).faces) < len(light.faces)


def test_a_mesh_that_moves_may_have_ten_pieces_borders_and_triangles_without_area():
    vertices, faces = bumpy(4, 0.05)
    vertices[5] = vertices[faces[(faces == 5).any(1)][0]][0]  # two corners in one place
    half = faces[vertices[faces][..., 2].min(1) > 0]
    pieces = [vertices + p for p in np.arange(10)[:, None] * (0.2, 0, 0)]
    many = np.concatenate([half + k * len(vertices) for k in range(10)])
    light = thinned([np.concatenate(pieces)], many, 0.002)
    places = np.concatenate(pieces)[light.vertices]
    assert len(light.faces) < 0.7 * len(many)
    for k in range(10):
        mine = places[np.abs(places[:, 0] - 0.2 * k) < 0.08]
        assert np.abs(mine[:, 2].max() - vertices[:, 2].max()) < 0.003
        assert np.abs(np.ptp(mine[:, 0]) - np.ptp(vertices[np.unique(half), 0])) < 1e-9  # the border is as it was


def test_what_cannot_be_thinned():
    vertices, faces = bumpy(4)
    assert thinned([vertices], faces, 1e-7) is None
    with pytest.raises(ValueError, match="without faces"):
        thinned([vertices], faces[:0], 0.001)
    with pytest.raises(ValueError, match="1 of 2562 vertices are not finite"):
        thinned([vertices, np.where(np.arange(len(vertices))[:, None] == 5, np.nan, vertices)], faces, 0.001)
