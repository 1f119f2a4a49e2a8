"""Bad input for surfaces: a word for the frame instead of a mesh, and nothing that stops the others."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nets.deepmulticap import weights
from nets.deepmulticap.network import build
from nets.normals import NormalNetwork
from pipeline.errors import InputError
from pipeline.raster_open3d import Open3DRaster
from pipeline.surface.networks import Networks, load_networks
from pipeline.surface.prepare import Body, View, prepare, with_normals
from pipeline.surface.reconstruct import reconstruct
from pipeline.surface.stored import pack_volume, unpack_volume
from tests.tasks.surface_session import UP, posed, rig, tiny_preset


@pytest.fixture(scope="module")
def person():
    """Views and body of one person."""
    from pipeline.config import SessionConfig

    config = SessionConfig.model_validate(
        {"session": "s", "output": "o", "capture": {"calibration": "c", "images": "i/{camera}/{frame}.png", "fps": 25}}
    )
    vertices, faces = posed(SimpleNamespace(config=config), 0, 4)
    body, raster, views = Body(vertices, faces, np.array([0.0, 0, 1]), UP), Open3DRaster(threads=1), []
    for camera in rig().cameras:
        seen = raster.render(vertices, faces, camera)
        views.append(View(camera, np.full((*seen.hit.shape, 3), 128, np.uint8), seen.hit))
    return SimpleNamespace(views=views, body=body, raster=raster)


def networks():
    torch.manual_seed(0)
    of = tiny_preset()
    return Networks(build(of).eval(), NormalNetwork(of.normals).eval(), True, {})


@pytest.fixture(scope="module")
def prepared(person):
    found = prepare(person.views, person.body, tiny_preset(), person.raster)
    return with_normals(found, networks().normals)


def test_empty_masks_one_view_and_nobody_in_view_are_words(person):
    of = tiny_preset()
    nobody = [replace(v, mask=np.zeros_like(v.mask)) for v in person.views]
    assert prepare(nobody, person.body, of, person.raster) == "no_mask"
    assert prepare([*nobody[1:], person.views[0]], person.body, of, person.raster, fewest_views=2) == "one_view"
    away = replace(person.body, vertices=person.body.vertices + np.array([0.0, 50, 0]))
    assert prepare(person.views, away, of, person.raster) == "no_view"
    behind = replace(person.body, vertices=person.body.vertices * 0.01 + rig().cameras[0].centre * 2)
    assert prepare(person.views[:1], behind, of, person.raster) == "no_view"


def test_a_view_without_the_person_is_left_out_and_one_view_can_do(person):
    first, *rest = person.views
    hidden = [replace(v, mask=np.zeros_like(v.mask)) for v in rest]
    alone = prepare([first, *hidden], person.body, tiny_preset(), person.raster)
    assert alone.cameras == (first.camera.name,)
    found = networks()
    outcome = reconstruct(found, with_normals(alone, found.normals), person.body, 32)
    assert outcome.reason == "" and outcome.mesh.seen.shape[1] == 1


def test_a_limb_that_a_mask_has_lost_is_not_carved_away(person):
    """A third of the body is missing from one mask: those pixels are unknown; a body a little off is no such thing."""
    view = person.views[0]
    rows = np.flatnonzero(view.mask.any(1))
    cut = view.mask.copy()
    cut[rows[2 * len(rows) // 3] :] = False
    damaged = [replace(view, mask=cut), *person.views[1:]]
    found = prepare(damaged, person.body, tiny_preset(), person.raster)
    lost = (found.depth[0] > 0) & (found.mask[0] < 128)
    assert lost.sum() > 20 and found.blocked[0][lost].mean() > 0.7
    off = replace(person.body, vertices=person.body.vertices + np.array([0.01, 0, 0]))
    assert not any((b & (d > 0)).any() for b, d in _disagreements(person, off))


def _disagreements(person, body):
    found = prepare(person.views, body, tiny_preset(), person.raster)
    return zip(found.blocked, found.depth, strict=True)


def test_nan_in_features_marks_the_frame(person, prepared):
    found = networks()
    with torch.no_grad():
        next(found.surface.coarse.sources["image"].parameters()).fill_(float("nan"))
    outcome = reconstruct(found, prepared, person.body, 64)
    assert outcome.mesh is None and outcome.reason == "nan"


@pytest.mark.parametrize(("shift", "reason"), [(-200.0, "fills_box"), (200.0, "empty")])
def test_a_mesh_that_fills_the_box_and_one_that_is_not_there(person, prepared, shift, reason):
    found = networks()
    with torch.no_grad():
        for level in (found.surface.coarse, found.surface.fine):
            level.decoder.head.mlp.layers[-1].bias.fill_(shift)  # ten metres further out or in
    outcome = reconstruct(found, prepared, person.body, 32)
    assert outcome.mesh is None and outcome.reason == reason


def test_weights_of_another_configuration_are_refused(tmp_path):
    of, path = tiny_preset(), tmp_path / "net.safetensors"
    wide = replace(of, coarse=replace(of.coarse, image=replace(of.coarse.image, base=16)))
    weights.save(path, build(wide), None, {})
    with pytest.raises(InputError, match="no normal network"):
        load_networks(path)
    network = build(wide)
    network.preset = of
    weights.save(path, network, NormalNetwork(of.normals), {})
    with pytest.raises(InputError, match=r"has shape|keys"):
        load_networks(path)


def test_volumes_come_back():
    rng = np.random.default_rng(0)
    for volume in (255 * rng.integers(0, 2, (1, 8, 8, 8)), rng.integers(0, 256, (3, 8, 8, 8)), np.zeros((0, 0, 0, 0))):
        volume = volume.astype(np.uint8)
        assert np.array_equal(unpack_volume(pack_volume(volume), volume.shape), volume)
