"""Fewer triangles: within the bound by a measure of this file's own, and the bad meshes that come along."""

import numpy as np
import pytest
import trimesh

from pipeline.meshes.simplify import Riding, riding_simplified, simplified


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


def test_a_light_mesh_rides_on_one_that_moves():
    vertices, faces = bumpy(4)
    turn = trimesh.transformations.rotation_matrix(1.0, (1, 2, 3), (0.5, 0, 0))
    stretched = vertices * (1.0, 1.2, 0.9)
    poses = [vertices, trimesh.transform_points(vertices, turn), stretched]
    riding, error = riding_simplified(poses, faces, 0.003)
    assert error <= 0.003 and len(riding.faces) < 0.6 * len(faces)
    for pose in poses:
        assert np.quantile(away(pose, faces, riding.places(pose, faces)), 0.999) <= 0.003
    back = Riding.of(vertices + 0.0, vertices, faces, faces)
    np.testing.assert_allclose(back.places(poses[1], faces), poses[1], atol=1e-6)
