"""Training people against geometry: what is stored of a person fits together; flaws are as large as is asked for."""

import cv2
import numpy as np
import pytest
import torch

from data.training import shards
from data.training.augment import Flaws, edge_error, hide, in_company, recoloured, shaken, splatted
from data.training.batches import BatchOptions, People, normal_batch, person_batch, surface_batches
from data.training.errors import perturbed
from data.training.live import LivePeople
from data.training.people import PersonOptions, Studio
from nets.deepmulticap.body_features import BodySurface
from pipeline.errors import InputError

SMALL = PersonOptions(poses=2, views=3, size=64, points=1500, on_surface=400, step=0.012, texture=64, fineness=1)


@pytest.fixture(scope="module")
def studio():
    return Studio(SMALL)


@pytest.fixture(scope="module")
def sample(studio):
    return studio.sample("train", 3)


@pytest.fixture(scope="module")
def people(studio, sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    shards.write(shards.file_name(folder, "train", 3), sample)
    shards.make(folder, "train", 4, SMALL, start=2)
    return People(shards.people_of(folder, "train"))


def project(P, points):
    x = points @ P[:, :3].T + P[:, 3]
    return x[:, :2] / x[:, 2:], x[:, 2]


def test_a_sample_is_the_same_every_time_and_every_split_has_its_own(studio, sample):
    again = Studio(SMALL).sample("train", 3)
    for a, b in zip(sample.arrays().values(), again.arrays().values(), strict=True):
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    assert not np.array_equal(studio.sample("test", 3).true_body, sample.true_body)


def test_the_true_surface_fills_the_masks_and_is_seen_where_it_is_said_to_be(sample):
    for v in range(3):
        pixel, _ = project(sample.projection[v], sample.surface)
        column, row = np.rint(pixel).astype(int).clip(0, 63).T
        # At the outline a place may round into the pixel beside.
        grown = cv2.dilate(sample.mask[v], np.ones((3, 3), np.uint8))
        assert (grown[row, column] > 0).mean() > 0.995
        assert 0.2 < sample.surface_seen[:, v].mean() < 0.7
        inside = sample.mask[v] > 250
        assert np.abs(np.linalg.norm(sample.normals[v][inside] / 127.0, axis=-1) - 1).max() < 0.02
        seen = sample.surface_seen[:, v]
        towards = (sample.surface_normals * (-np.linalg.inv(sample.projection[v][:, :3]) @ sample.projection[v][:, 3]
                                             - sample.surface)).sum(1)  # fmt: skip
        assert (towards[seen] > 0).mean() > 0.8 > 0.6 > (towards[~seen] > 0).mean()


def test_distances_and_signs_are_those_of_the_surface(sample):
    from scipy.spatial import cKDTree

    near, _ = cKDTree(sample.vertices).query(sample.points)
    assert (np.abs(sample.distance) <= near + 1e-4).all()
    assert np.abs(near - np.abs(sample.distance)).mean() < 0.005  # vertices are 12 mm apart
    close = np.abs(sample.distance) < 0.08
    assert close.mean() > 0.6
    assert 0.2 < (sample.distance[close] < 0).mean() < 0.6


def test_body_features_are_those_that_networks_get_later(studio, sample):
    rotation = torch.from_numpy(sample.rotation).float()
    body = BodySurface(torch.from_numpy(sample.body_vertices), torch.from_numpy(studio.faces), rotation)
    expected = body.features(torch.from_numpy(sample.points)).numpy()
    assert np.quantile(np.abs(sample.body[:, 0] - expected[:, 0]), 0.99) < 1e-4
    assert np.quantile(np.abs(sample.body - expected).max(1), 0.95) < 1e-3


def test_relief_leads_from_the_body_to_the_surface(sample):
    v = 1
    known = np.isfinite(sample.relief[v]) & (sample.mask[v] > 250)
    assert known.sum() > 100
    depth = sample.body_depth[v].astype(float) / sample.scale
    P = sample.projection[v]
    centre = P[2, :3] @ sample.centre + P[2, 3]
    row, column = np.nonzero(known)
    true_depth = (depth + centre)[known] + sample.relief[v][known].astype(float)
    rays = np.linalg.inv(P[:, :3])
    points = (rays @ (np.stack([column, row, np.ones(len(row))]) * true_depth - P[:, 3:])).T
    from scipy.spatial import cKDTree

    away = cKDTree(sample.vertices).query(points)[0]
    assert np.median(away) < 0.012


def test_a_fitted_body_is_off_by_what_is_asked_for(studio, sample):
    assert 0.003 < sample.body_error < 0.08
    wearer = studio.people.person("train", 0)
    truth = {k: np.asarray(v)[0] for k, v in studio.people.pose(wearer, np.random.default_rng(0)).items()}
    truth |= {"betas": wearer.person.betas}
    at = studio._body(truth)[0]

    def error(amount):
        found = [studio._body(perturbed(truth, np.random.default_rng(k), amount))[0] for k in range(4)]
        return np.mean([np.linalg.norm(f - at, axis=1).mean() for f in found])

    assert error(0) < 1e-6
    assert 0.008 < error(0.5) < error(1) < error(2)
    assert 0.015 < error(1) < 0.045


def test_a_batch_belongs_to_its_step(people):
    options = BatchOptions(points=200, far=20, pairs=50, views=(2, 3))
    a = [next(surface_batches(people, options, Flaws(), 7, start)) for start in (0, 5)]
    stream = surface_batches(people, options, Flaws(), 7)
    b = [x for k, x in zip(range(6), stream, strict=False) if k in (0, 5)]
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x.points, y.points)
        assert torch.equal(x.inputs.rgb, y.inputs.rgb)
        assert x.inputs.projection.shape[1] in (2, 3)
    assert not torch.equal(a[0].points, a[1].points)


def test_people_made_beside_the_training_are_those_that_are_stored(sample):
    live = LivePeople("train", 4, SMALL, processes=1, remember=1)
    made = live.arrays(3)
    for name, expected in sample.arrays().items():
        np.testing.assert_array_equal(made[name], expected)
    options = BatchOptions(people=1, points=100, far=10, pairs=20, views=(2, 2))
    first, second = (next(surface_batches(live, options, Flaws(), 7, step)) for step in (0, 0))
    assert torch.equal(first.points, second.points) and torch.equal(first.inputs.rgb, second.inputs.rgb)


def test_pairs_lie_across_the_surface(people):
    batch = person_batch(people, 0, [0, 1], BatchOptions(points=100, far=10, pairs=60), None, np.random.default_rng(0))
    before, behind = batch.points[0, 100:160], batch.points[0, 160:]
    assert torch.allclose((before - behind).norm(dim=-1), torch.tensor(0.008), atol=1e-5)
    assert torch.allclose(batch.distance[0, 100:160], 0.004 * batch.slopes[0], atol=1e-6)
    assert (batch.slopes > 0).float().mean() > 0.8


def test_inputs_without_flaws_are_what_is_stored_and_points_in_hidden_pixels_are_not_seen(people):
    a = people.arrays(0, "rgb", "mask")
    options = BatchOptions(points=500, far=20, pairs=10)
    clean = person_batch(people, 0, [0, 2], options, None, np.random.default_rng(0))
    expected = (a["rgb"][2] / 127.5 - 1) * (a["mask"][2] / 255)[..., None]
    assert np.allclose(clean.inputs.rgb[0, 1].numpy(), expected.transpose(2, 0, 1), atol=1e-5)
    assert clean.seen.float().mean() > 0.8
    flawed = person_batch(people, 0, [0, 2], options, Flaws(hidden=1.0, company=0), np.random.default_rng(1))
    zero = (flawed.inputs.mask == 0).float().mean()
    assert 0 < zero < 0.9
    assert flawed.seen.float().mean() < clean.seen.float().mean()


def test_normal_batches_show_one_view_of_each(people):
    batch = normal_batch(people, [0, 1], None, np.random.default_rng(0))
    assert batch.rgb.shape == batch.normals.shape == (2, 3, 64, 64)
    length = batch.normals.norm(dim=1)[batch.mask]
    assert (length - 1).abs().max() < 0.02
    assert (batch.normals[:, 2][batch.mask] < 0.2).float().mean() > 0.97  # they face the camera


def test_mask_edges_move_no_farther_than_asked():
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(x - 32, y - 32)
    disk = np.clip(20 - radius + 0.5, 0, 1).astype(np.float32)
    for seed in range(8):
        off = edge_error(disk, np.random.default_rng(seed), 2.0)
        assert (off[radius < 15.5] == 1).all()
        assert (off[radius > 24.5] == 0).all()
    assert np.abs(edge_error(disk, np.random.default_rng(0), 1e-9) - disk).max() < 1e-6


def test_what_hides_is_taken_from_the_mask():
    disk = (np.hypot(*(np.mgrid[:64, :64] - 32)) < 20).astype(np.float32)
    for seed in range(8):
        left, taken = hide(disk, [disk], np.random.default_rng(seed))
        assert (left[taken] == 0).all()
        assert (left[~taken] == disk[~taken]).all()


def test_company_hides_what_is_behind_it_and_is_hidden_by_what_is_before():
    """Two boards of points before two cameras that look at them from opposite sides."""
    y, z = np.meshgrid(np.linspace(-0.5, 0.5, 60), np.linspace(0, 1, 60))
    board = np.stack([0 * y, y, z], -1).reshape(-1, 3)
    K = np.array([[100.0, 0, 31.5], [0, 100, 31.5], [0, 0, 1]])
    views = []
    for side in (1, -1):
        R = np.array([[0, side, 0], [0, 0, -1], [-side, 0, 0]], float)
        views.append(K @ np.column_stack([R, -R @ [2.5 * side, 0, 0.5]]))
    P = np.stack(views)
    depth = splatted(board, P, 64)
    covered = depth < 999
    assert np.allclose(depth[covered], 2.5, atol=1e-5) and 0.3 < covered.mean() < 0.6
    hidden = []
    for seed in range(30):
        left, taken = in_company(covered.astype(np.float32), board, board, P, np.random.default_rng(seed))
        assert (left[taken] == 0).all() and (left[~taken] == covered[~taken]).all()
        hidden.append([1 - left[v].sum() / covered[v].sum() for v in range(2)])
    hidden = np.array(hidden)
    # Whoever stands before one camera stands behind for the other.
    most = hidden.max(1) > 0.7
    assert most.any() and (hidden.min(1)[most] < 0.2).all()


def test_shaken_cameras_are_off_by_about_what_is_asked():
    P = np.array([[[200.0, 0, 128, 400], [0, 200, 128, 400], [0, 0, 1, 3]]])
    points = np.random.default_rng(0).normal(0, 0.3, (50, 3))
    moves = [
        np.linalg.norm(project(shaken(P, np.zeros(3), np.random.default_rng(k), Flaws(camera_shift=0.01))[0], points)[0]
                       - project(P[0], points)[0], axis=1).mean()
        for k in range(40)
    ]  # fmt: skip
    assert 0.2 < np.mean(moves) < 1.5  # 1 cm at 3 m and 200 pixels is 0.7 pixels
    still = shaken(P, np.zeros(3), np.random.default_rng(0), Flaws(camera_shift=0, camera_turn=0))
    assert np.allclose(still, P)


def test_colours_change_by_view_and_stay_in_range():
    rgb = torch.full((3, 3, 4, 4), 120.0)
    out = recoloured(rgb, np.random.default_rng(0), Flaws())
    assert ((out >= 0) & (out <= 255)).all()
    assert out.mean((1, 2, 3)).std() > 1


def test_a_damaged_file_is_named(tmp_path):
    path = shards.file_name(tmp_path, "train", 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a person")
    with pytest.raises(InputError, match=r"000000.h5: is no training person"):
        People([path]).arrays(0, "rgb")
