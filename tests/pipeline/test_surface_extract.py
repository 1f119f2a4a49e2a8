"""The query engine against dense evaluation of a person in loose clothes, of whom only the bare body is known."""

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.surface.band import Band, Silhouettes, lattice_around
from pipeline.surface.extract import extract_surface
from pipeline.surface.options import SurfaceOptions
from pipeline.surface.triangles import CORNERS, triangulate
from tests.pipeline.clothed_person import body, clothed, dense, logits

WHOLE = SurfaceOptions(smallest_component=0)


def dense_surface(lattice):
    """Marching cubes over every cell of the lattice."""
    values = dense(logits, lattice)
    n, inside = lattice.cells, values >= 0
    corners = [inside[x : x + n, y : y + n, z : z + n] for x, y, z in CORNERS.tolist()]
    cells = np.argwhere(np.any(corners, 0) & ~np.all(corners, 0))
    nodes = cells[:, None] + CORNERS
    slots = nodes @ np.array([(n + 1) ** 2, n + 1, 1])
    of_cells = torch.as_tensor(values[tuple(np.moveaxis(nodes, -1, 0))])
    vertices, faces, _ = triangulate(torch.as_tensor(cells), torch.as_tensor(slots), of_cells)
    return lattice.points(vertices.numpy()), faces.numpy(), values


def distances(mesh, other):
    """Metres from vertices and middles of the edges and faces of one mesh to the surface of another."""
    import open3d as o3d

    a, b, c = (mesh[0][mesh[1][:, i]] for i in range(3))
    points = np.concatenate([mesh[0], (a + b) / 2, (b + c) / 2, (c + a) / 2, (a + b + c) / 3]).astype(np.float32)
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(o3d.core.Tensor(other[0].astype(np.float32)), o3d.core.Tensor(other[1].astype(np.uint32)))
    return scene.compute_distance(o3d.core.Tensor(points), nthreads=1).numpy()


def edge_uses(faces):
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def band(resolution, distance=0.30, margin=0.15, **more):
    vertices, faces = body()
    return Band(lattice_around(vertices, resolution, margin), vertices, faces, distance, **more)


def ring(views=6, size=256):
    """Projections of cameras around the person, and what they see of it."""
    vertices = extract_surface(logits, band(64), WHOLE).vertices.astype(float)
    projections, masks = [], []
    for k in range(views):
        angle = 2 * np.pi * k / views
        eye = np.array([3 * np.sin(angle), 1.3, 3 * np.cos(angle)])
        z = np.array([0, 0.9, 0]) - eye
        z /= np.linalg.norm(z)
        x = np.cross(z, [0, 1, 0])
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        K = np.array([[1.1 * size, 0, size / 2], [0, 1.1 * size, size / 2], [0, 0, 1]])
        P = K @ np.column_stack([R, -R @ eye])
        p = vertices @ P[:, :3].T + P[:, 3]
        column, row = np.clip((p[:, :2] / p[:, 2:]).round().astype(int), 0, size - 1).T
        mask = np.zeros((size, size), bool)
        mask[row, column] = True
        projections.append(P)
        masks.append(mask)
    return np.stack(projections), masks


@pytest.mark.parametrize(("resolution", "first_cell"), [(128, 0.036), (128, 0.07), (192, 0.05)])
def test_the_surface_is_that_of_a_dense_grid(resolution, first_cell):
    """Also with early stopping, which the larger first cells leave room for. The clothes stand 10 cm off and more."""
    where = band(resolution)
    surface = extract_surface(logits, where, SurfaceOptions(first_cell=first_cell, smallest_component=0))
    *mesh, values = dense_surface(where.lattice)
    assert distances(mesh, body()).max() > 0.10
    found = (surface.vertices, surface.faces)
    assert distances(found, mesh).max() < 0.5 * where.lattice.voxel
    assert distances(mesh, found).max() < 0.5 * where.lattice.voxel
    assert surface.points_evaluated < 0.08 * values.size
    assert surface.flags == ()


def test_a_larger_box_does_not_get_a_finer_first_grid():
    """What is asked first grows with the box, up to the largest there is, whatever the resolution."""
    for resolution in (128, 192, 256, 512):
        counts = []
        for height in (1.6, 1.9, 2.2, 2.5):
            lattice = lattice_around(np.array([[0, 0, 0], [0.5, 0.5, height]]), resolution)
            cell = lattice.step(SurfaceOptions().first_cell) * lattice.voxel
            assert cell <= SurfaceOptions().first_cell
            counts.append(lattice.side / cell)
        assert max(counts) <= 2 * min(counts), resolution
        assert max(counts) <= 96


def test_the_surface_is_closed_and_faces_outwards():
    surface = extract_surface(logits, band(128), WHOLE)
    assert (edge_uses(surface.faces) == 2).all()
    a, b, c = (surface.vertices[surface.faces[:, i]].astype(float) for i in range(3))
    volume = (a * np.cross(b, c)).sum() / 6
    lattice = band(128).lattice
    inside = (dense(logits, lattice) >= 0).sum() * lattice.voxel**3
    assert volume == pytest.approx(inside, rel=0.02)
    # A marching cubes of someone else's, within what two ways to span a cell differ.
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(dense(logits, lattice), 0.0, gradient_direction="ascent")
    apart = distances((lattice.points(vertices), faces), (surface.vertices, surface.faces)) / lattice.voxel
    assert np.quantile(apart, 0.99) < 0.1
    assert apart.max() < 0.9


def test_a_band_that_is_too_narrow_grows():
    """A band as thin as its first cells cuts through coat and skirt; a surface once met is followed to its end."""
    full, narrow = (extract_surface(logits, band(128, distance), WHOLE) for distance in (0.30, 0.001))
    assert narrow.grown > 0
    apart = distances((full.vertices, full.faces), (narrow.vertices, narrow.faces))
    assert apart.max() < 0.5 * band(128).lattice.voxel


def test_masks_spare_points_and_change_nothing():
    plain = extract_surface(logits, band(128), WHOLE)
    projections, masks = ring()
    unknown = [None] * 5 + [np.ones_like(masks[5])]
    hull = extract_surface(logits, band(128, silhouettes=Silhouettes(projections, masks, unknown)), WHOLE)
    assert hull.points_evaluated < 0.8 * plain.points_evaluated
    assert distances((plain.vertices, plain.faces), (hull.vertices, hull.faces)).max() < 1e-3


def test_confidence_is_how_steep_occupancy_is():
    """Logits of twice the slope are surer; the value itself is the one of a plane of known slope."""
    where = band(64)
    sharp, soft = (extract_surface(lambda p, k=k: k * (0.9 - p[:, 1]), where, WHOLE).confidence for k in (400.0, 100.0))
    assert np.allclose(sharp, np.tanh(1.0), atol=1e-3)
    assert np.allclose(soft, np.tanh(0.25), atol=1e-3)


def test_the_same_twice_and_whatever_the_batch():
    first, again = (extract_surface(logits, band(64), SurfaceOptions(batch=b)) for b in (8192, 1000))
    assert np.array_equal(first.faces, again.faces)
    assert np.allclose(first.vertices, again.vertices, atol=1e-6)


def test_largest_components_are_kept():
    """A speck far from the body and a cavity go; both are there if everything is wanted."""

    def with_speck(points):
        speck = 0.05 - (points - torch.tensor([0.75, 0.3, 0.3])).norm(dim=-1)
        hollow = (points - torch.tensor([0.0, 1.2, 0.0])).norm(dim=-1) - 0.04
        return 300 * torch.minimum(torch.maximum(clothed(points), speck), hollow)

    where = band(128, distance=0.8)
    everything, largest = extract_surface(with_speck, where, WHOLE), extract_surface(with_speck, where)
    alone = extract_surface(logits, where)
    assert len(largest.faces) < len(everything.faces)
    assert abs(len(largest.faces) - len(alone.faces)) < 0.01 * len(alone.faces)
    assert largest.faces.max() == len(largest.vertices) - 1 == len(largest.confidence) - 1


def test_memory_is_bounded():
    with pytest.raises(InputError, match="no person's surface"):
        extract_surface(lambda p: torch.sin(1e4 * p).sum(-1), band(128), SurfaceOptions(most_blocks=500))
    assert extract_surface(logits, band(256)).grid_bytes < 20e6


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_field_with_nothing_inside_is_marked():
    surface = extract_surface(lambda p: -torch.ones(len(p)), band(64))
    assert surface.flags == ("empty",)
    assert surface.vertices.shape == surface.faces.shape == (0, 3)
    assert surface.confidence.shape == (0,)


def test_a_field_that_fills_the_box_is_marked():
    surface = extract_surface(lambda p: torch.ones(len(p)), band(64))
    assert "fills_box" in surface.flags
    assert len(surface.faces) == 0


def test_a_surface_that_the_box_cuts_is_marked():
    surface = extract_surface(lambda p: 0.9 - p[:, 1], band(64), WHOLE)
    assert "touches_box" in surface.flags
    assert len(surface.faces)


def test_nan_is_refused_with_its_place():
    with pytest.raises(InputError, match="NaN, the first at"):
        extract_surface(lambda p: torch.where(p[:, 1] > 1, float("nan"), logits(p)), band(64))


def test_a_function_that_returns_the_wrong_number_of_values_is_refused():
    with pytest.raises(InputError, match="one value a point"):
        extract_surface(lambda p: p, band(64))


def test_a_body_outside_all_views_is_refused():
    projections, masks = ring(2)
    far = projections.copy()
    far[:, :, 3] += far[:, :, :3] @ np.array([50.0, 0, 0])
    with pytest.raises(InputError, match="no vertex is inside any view"):
        band(64, silhouettes=Silhouettes(far, masks))
    with pytest.raises(InputError, match="all are empty"):
        band(64, silhouettes=Silhouettes(projections, [np.zeros_like(m) for m in masks]))
    # One empty mask says nothing; the others still carve.
    extract_surface(logits, band(64, silhouettes=Silhouettes(projections, [masks[0], 0 * masks[1]])))


def test_bad_settings_are_refused():
    vertices, _ = body()
    for bad in (100, 0, 12):
        with pytest.raises(InputError, match="resolution"):
            lattice_around(vertices, bad)
    with pytest.raises(InputError, match="none is finite"):
        lattice_around(np.full((5, 3), np.nan), 64)
    with pytest.raises(InputError, match="positive distance"):
        band(64, distance=0.0)
    with pytest.raises(InputError, match="batch"):
        SurfaceOptions(batch=0)


def test_a_speck_at_the_side_of_the_box_does_not_cost_the_surface():
    """A ball in the middle, and a speck on the box's side that is left out as too small anyway."""
    vertices, faces = body()
    lattice = lattice_around(vertices, 64)
    middle = vertices.mean(0)
    corner = np.array([lattice.origin[0], middle[1], middle[2]])

    def level(points):
        p = points.numpy().astype(np.float64)
        ball, speck = (np.linalg.norm(p - c, axis=1) - r for c, r in ((middle, 0.3), (corner, 1.5 * lattice.voxel)))
        return torch.from_numpy(-np.minimum(ball, speck) / 0.006)

    surface = extract_surface(level, Band(lattice, vertices, faces, distance=2.0))
    assert surface.flags == ()
    assert np.linalg.norm(surface.vertices - middle, axis=1) == pytest.approx(0.3, abs=0.01)
    whole = extract_surface(level, Band(lattice, vertices, faces, distance=2.0), WHOLE)
    assert "touches_box" in whole.flags
