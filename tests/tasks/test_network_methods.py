"""Networks as methods of Table 1, on spheres: a fresh network is the body, so every row is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nets.deepmulticap.network import build
from nets.deepmulticap.presets import preset
from nets.deepmulticap.weights import save
from nets.normals import SMALL_REFINER, NormalNetwork
from pipeline.errors import InputError
from tasks.benchmarks import network_methods
from tasks.benchmarks.surface_methods import METHODS, Given, make
from tests.tasks.surface_scenes import BODY, SOURCE

CONFIG = SimpleNamespace(resolution=32)


@pytest.fixture(scope="module")
def given():
    scene = SOURCE.load("two_close_0", 3)
    return Given(scene.rig, scene.images, scene.labels, tuple(p.body for p in scene.people))


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    torch.manual_seed(0)
    of = replace(preset("ours_small"), image_size=64)
    path = tmp_path / "surface.safetensors"
    save(path, build(of), NormalNetwork(of.normals), {})
    monkeypatch.setattr("data.model_files.open_weights", lambda name: path)
    return path


def radii(mesh, body):
    return np.linalg.norm(mesh[0] - body.mesh[0].mean(0), axis=1)


@pytest.mark.parametrize("name", ["ours", "ours_unrefined", "no_image_head"])
def test_a_fresh_network_gives_everybody_their_body(given, shipped, name):
    meshes = make(name, CONFIG).reconstruct(given)
    assert len(meshes) == 2
    for mesh, body in zip(meshes, given.bodies, strict=True):
        assert radii(mesh, body) == pytest.approx(BODY, abs=0.015)  # voxels are 34 mm, the body is triangles


def test_methods_and_weights_tell_results_apart(shipped):
    digests = {make(name, CONFIG).digest for name in ("ours", "ours_grey_images", "no_image_head")}
    digests.add(make("ours", SimpleNamespace(resolution=64)).digest)
    digests.add(make("ours_unrefined", CONFIG).digest)
    digests.add(make(f"weights:{shipped}", CONFIG).digest)
    assert len(digests) == 6


def test_a_refiner_bends_what_pictures_show_unless_it_is_left_out(given, tmp_path, monkeypatch):
    torch.manual_seed(0)
    of = replace(preset("ours_small"), image_size=64)
    path = tmp_path / "refining.safetensors"
    save(path, build(of), NormalNetwork(of.normals), {}, refiner=NormalNetwork(SMALL_REFINER))
    monkeypatch.setattr("data.model_files.open_weights", lambda name: path)
    bent, plain = (make(name, CONFIG).reconstruct(given)[0] for name in ("ours", "ours_unrefined"))
    apart = np.linalg.norm(bent[0] - plain[0], axis=1)
    assert (bent[1] == plain[1]).all() and 1e-4 < apart.max() < 0.016


def test_people_that_were_not_found_have_no_surface(given, shipped):
    meshes = make("ours", CONFIG).reconstruct(replace(given, bodies=(None, given.bodies[1])))
    assert len(meshes[0][1]) == 0 and len(meshes[1][1]) > 0


def test_others_pixels_and_things_in_front_are_said_to_be_hidden(given):
    body = network_methods.body_of(given.bodies[0])
    views = network_methods.views_of(given, 0, body)
    for view, labels in zip(views, given.labels, strict=True):
        assert (view.mask == (labels == 1)).all()
        assert view.blocked[labels == 2].all()
        assert not (view.blocked & view.mask).any()
    # Somebody's upper half behind a thing: nobody is seen there.
    covered = [labels.copy() for labels in given.labels]
    rows = np.nonzero((covered[0] == 1).any(1))[0]
    middle = (rows[0] + rows[-1]) // 2
    covered[0][:middle] = 0
    hidden = network_methods.views_of(replace(given, labels=tuple(covered)), 0, body)[0].blocked
    was = (given.labels[0] == 1) & (covered[0] == 0)
    assert (hidden & was).sum() > 0.6 * was.sum()


def test_what_has_not_been_trained_is_said_to_be_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("data.model_files.open_weights", lambda name: None)
    monkeypatch.setattr(network_methods, "COMPARED", tmp_path)
    for name in METHODS:
        if name in ("body", "visual_hull"):
            continue
        with pytest.raises(InputError, match=r"weights"):
            make(name, CONFIG)
