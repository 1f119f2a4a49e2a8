"""Dressed people: layers that lie on the body, follow it, and cover it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.body_models import load_body_arrays, open_body_model
from data.synthetic.bodies import Outfit, dress, sample_person
from data.synthetic.clothing import HairCut
from data.synthetic.surfaces import clipped, skin_layer, subdivided
from pipeline.raster_open3d import RayScene


@pytest.fixture(scope="module")
def arrays():
    return load_body_arrays(open_body_model())


@pytest.fixture(scope="module")
def person():
    return sample_person(np.random.default_rng(5), long_hair=True)


@pytest.fixture(scope="module")
def dressed(person, arrays):
    return dress(person, arrays, 128)


@pytest.fixture(scope="module")
def body(person, arrays):
    return np.asarray(arrays["v_template"]) + arrays["shapedirs"][:, :, :10] @ person.betas


def area(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_clipping_cuts_along_the_line_and_loses_nothing(arrays):
    skin = skin_layer(arrays)
    at = skin.rest(np.asarray(arrays["v_template"], float))
    field = at[:, 1] - 0.1234
    above, p = clipped(skin, field, at)
    below, q = clipped(skin, -field, at)
    assert p[:, 1].min() == pytest.approx(0.1234, abs=1e-6) and q[:, 1].max() == pytest.approx(0.1234, abs=1e-6)
    whole = area(at, skin.faces)
    assert area(p, above.faces) + area(q, below.faces) == pytest.approx(whole, rel=1e-9)
    np.testing.assert_allclose(above.rest(np.asarray(arrays["v_template"], float)), p, atol=1e-9)
    finer, r = subdivided(above, p)
    assert len(finer.faces) == 4 * len(above.faces)
    assert area(r, finer.faces) == pytest.approx(area(p, above.faces), rel=1e-9)


def test_clothes_lie_outside_the_body(dressed, body, arrays):
    scene = RayScene(body, np.asarray(arrays["f"]), threads=1)
    for layer in dressed.layers[1:3]:
        points = layer.rest(body)[layer.folds.height > 0]  # the rest is its lining
        directions = np.broadcast_to([0.0, 0, 1], points.shape)
        # An odd number of skins on the way out means inside; count by walking from hit to hit.
        inside = np.zeros(len(points), int)
        start = points.copy()
        alive = np.arange(len(points))
        for _ in range(8):
            hit = scene.cast(start[alive], directions[alive])["distance"]
            alive = alive[np.isfinite(hit)]
            start[alive] += (hit[np.isfinite(hit)] + 1e-5)[:, None] * directions[alive]
            inside[alive] += 1
        assert (inside % 2).mean() < 0.04


def test_layers_follow_a_rigid_motion_of_the_body(dressed, body):
    """Tight clothes do, with all their folds; loose ones know which way is down."""
    turn = Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()
    still = dressed.posed(body, np.tile(np.eye(3), (55, 1, 1)))
    for at, posed in zip(still, dressed.posed(body @ turn.T + [1.0, 2, 3], np.tile(turn, (55, 1, 1))), strict=True):
        np.testing.assert_allclose(posed, at @ turn.T + [1, 2, 3], atol=1e-6)


def test_skin_under_clothes_is_left_out_and_the_rest_is_whole(dressed, body, arrays):
    faces = np.asarray(arrays["f"]).astype(int)
    skin = dressed.layers[0]
    assert area(skin.rest(body), skin.faces) < 0.6 * area(body, faces)
    whole = RayScene(body, faces, threads=1)
    parts = [layer.rest(body) for layer in dressed.layers]
    starts = np.cumsum([0] + [len(p) for p in parts[:-1]])
    worn = RayScene(
        np.concatenate(parts), np.concatenate([x.faces + s for x, s in zip(dressed.layers, starts, strict=True)]), 1
    )
    # From all sides: wherever the bare body would be seen, something of the dressed one is. Straight along a sleeve one
    # looks in, past the end of the skin.
    for towards in (np.array([0.0, 0, -1]), np.array([0, 0, 1.0]), np.array([-1.0, 0, 0])):
        x, y = np.meshgrid(np.linspace(-0.9, 0.9, 180), np.linspace(-1, 0.9, 190))
        side = np.array([1.0, 0, 0]) if towards[2] else np.array([0, 0, 1.0])
        origins = x[..., None] * side + y[..., None] * [0, 1.0, 0] - 3 * towards
        directions = np.broadcast_to(towards, origins.shape)
        bare, full = (s.cast(origins, directions)["distance"] for s in (whole, worn))
        seen = np.isfinite(bare)
        assert seen.sum() > 1000
        assert (full[seen] < bare[seen] + 0.02).mean() > (0.99 if towards[2] else 0.97)


def test_people_differ_and_the_same_seed_is_the_same_person(person, arrays, dressed):
    again = dress(sample_person(np.random.default_rng(5), long_hair=True), arrays, 128)
    for a, b in zip(dressed.textures, again.textures, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(dressed.layers[1].offset, again.layers[1].offset)
    other = sample_person(np.random.default_rng(6), long_hair=True)
    assert not np.allclose(other.betas, person.betas)
    assert other.outfit != person.outfit


def test_every_combination_of_cuts_can_be_worn(person, arrays):
    top, trousers, shoes = person.outfit.worn
    for sleeve, leg, length in ((0.5, 1.0, 0.0), (1.95, 2.0, 1.0), (1.0, 1.5, 0.5)):
        cut = (replace(top, cut=replace(top.cut, sleeve=sleeve)), replace(trousers, cut=replace(trousers.cut, leg=leg)))
        outfit = Outfit((*cut, shoes), HairCut(length))
        worn = dress(replace(person, outfit=outfit), arrays, 32)
        assert all(np.isfinite(x.offset).all() and len(x.faces) > 500 for x in worn.layers)
        assert all(np.linalg.norm(x.offset, axis=1).max() < 0.12 for x in worn.layers)
