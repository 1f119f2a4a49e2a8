"""The benchmark's scenes: frozen, hidden as their category says, no easier than clothes are; and made as listed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from data.synthetic.benchmark_scenes import (
    COUNTS,
    LIST,
    SMALL,
    body_chamfer_cm,
    build,
    listed,
)
from data.synthetic.cameras import ring
from data.synthetic.people import People
from data.synthetic.scenes import drawn_mesh, occlusion
from data.synthetic.sheets import unhidden
from data.synthetic.surface_scenes import SyntheticScenes
from pipeline.raster import raster_here

FROZEN = "ce5d252d745db548f56113f0ce27f844167759da5c9a75ea4d2cc3480bbb59a8"
"""SHA-256 of the list. A change makes every figure measured on it void."""


@pytest.fixture(scope="module")
def maker():
    return People(texture_size=8, fineness=1, remember=6)


def of(category):
    return [s for s in listed().values() if s.category == category]


def test_the_list_is_frozen():
    assert hashlib.sha256(LIST.read_bytes()).hexdigest() == FROZEN


def test_categories_and_numbers_are_multihumans_and_nobody_is_in_two_scenes():
    assert {c: len(of(c)) for c in COUNTS} == {
        "single": 30, "occluded": 18, "two_natural": 46, "two_close": 30, "three": 26
    }  # fmt: skip
    everybody = [p for s in listed().values() for p in s.people]
    assert len(everybody) == len(set(everybody)) == 30 + 18 + 92 + 60 + 78
    assert set(SMALL) <= set(listed()) and {listed()[s].category for s in SMALL} == set(COUNTS)


def test_the_body_alone_is_a_centimetre_off_in_every_category():
    for category in COUNTS:
        assert np.mean([s.body_chamfer_cm for s in of(category)]) >= 1.0


def test_people_are_hidden_as_their_category_says():
    hidden = {c: np.array([s.occlusion for s in of(c)]) for c in COUNTS}
    assert (hidden["occluded"] >= 0.1).all()
    assert hidden["single"].mean() < 0.03 < hidden["two_natural"].mean() < hidden["two_close"].mean()


@pytest.mark.parametrize("name", ["single_00", "two_close_01"])
def test_a_scene_is_made_as_it_was_when_it_was_listed(maker, name):
    entry = listed()[name]
    scene = build(maker, entry)
    posed = scene.posed(maker)
    assert scene.act.name == entry.act
    assert body_chamfer_cm(maker, posed) == pytest.approx(entry.body_chamfer_cm, rel=0.02)
    rig = ring(6, np.random.default_rng(0), size=(640, 640), distorted=False)
    assert occlusion(rig, posed, scene.things(), 96) == pytest.approx(entry.occlusion, abs=0.01)


def test_sheets_know_who_is_hidden(maker):
    scene = build(maker, listed()["two_close_01"])
    people = scene.posed(maker)
    for camera in ring(3, np.random.default_rng(0), size=(160, 160), distorted=False).cameras:
        seen = [raster_here(1).render(*drawn_mesh(p), camera) for p in people]
        labels = 1 + np.argmin([v.depth for v in seen], 0)
        labels[~(seen[0].hit | seen[1].hit)] = 0
        expected = [k for k, v in enumerate(seen) if (labels[v.hit] == k + 1).mean() >= 0.9]
        assert unhidden(camera, people, labels) == expected


def test_benchmark_scenes_hold_together(monkeypatch, maker):
    """Labels, true surface, body and cameras of a scene are of the same people at the same place."""
    monkeypatch.setattr("data.synthetic.surface_scenes.SIZE", (160, 160))
    monkeypatch.setattr("data.synthetic.surface_scenes.DETAIL_M", 0.01)
    source = SyntheticScenes()
    monkeypatch.setattr(SyntheticScenes, "maker", maker)
    scene = source.load("two_natural_02", 2)
    assert scene.category == "two_natural" and len(scene.people) == 2 and len(scene.rig) == 2
    for camera, image, labels in zip(scene.rig.cameras, scene.images, scene.labels, strict=True):
        assert image.shape == (160, 160, 3) and camera.is_pinhole
        for k, person in enumerate(scene.people):
            u, v = np.round(camera.project(person.surface[0])).astype(int).T
            inside = (u >= 0) & (u < 160) & (v >= 0) & (v < 160)
            assert (labels[v[inside], u[inside]] > 0).mean() > 0.9
            x, y = np.nonzero((k + 1) == labels.T)
            assert u.min() - 2 <= x.min() and x.max() <= u.max() + 2 and v.min() - 2 <= y.min()
    motion = source.motion("two_natural_02", 2, 3, 25.0)
    moment, told = motion.moment(2), motion.parameters()
    for person, all_frames in zip(moment.people, told, strict=True):
        for name, values in person.body.parameters.items():
            np.testing.assert_array_equal(values, all_frames[name] if name == "betas" else all_frames[name][2:3])
