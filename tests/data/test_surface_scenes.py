"""The test set of clothed people as a source of scenes; one scene is made and measured."""

import numpy as np
import pytest

from data.surface_scenes import CATEGORIES
from data.synthetic.surface_scenes import SyntheticScenes, entries
from pipeline.raster_open3d import Open3DRaster
from pipeline.segmentation.figures import MaskFigures
from tasks.benchmarks.table1 import score_scene


def test_the_numbers_are_those_of_multihuman_and_nobody_comes_twice():
    source = SyntheticScenes()
    assert [len(source.names(c)) for c in CATEGORIES] == [30, 18, 46, 30, 26]
    people = [p for entry in entries().values() for p in entry.people]
    assert len(people) == len(set(people)) == 278  # as many as MultiHuman has
    assert len({source.digest(name) for name in entries()}) == 150


@pytest.mark.slow
def test_a_scene_is_seen_as_it_is(monkeypatch):
    monkeypatch.setattr("data.synthetic.surface_scenes.SIZE", (256, 256))
    monkeypatch.setattr("data.synthetic.surface_scenes.DETAIL_M", 0.008)
    scene = SyntheticScenes().load("single_00", 3)
    (person,) = scene.people
    assert 1.3 < person.height_m < 2.1 and len(scene.images) == 3 and scene.images[0].shape == (256, 256, 3)
    figures = MaskFigures()
    for camera, labels in zip(scene.rig.cameras, scene.labels, strict=True):
        figures.add(Open3DRaster(1).render(*person.surface, camera).hit.astype(np.uint8), labels, [1])
    assert figures.row()["iou"] > 0.93  # at 8 mm detail and 5 mm pixels
    score = score_scene(scene, [person.body.mesh], 1.8 / person.height_m, 5000, 0)
    assert 0.5 < score["chamfer_cm"] < 5
