"""Pictures are the same by either renderer, and machines with torch alone make people to train on."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from data.synthetic.cameras import Exposure, ring
from data.synthetic.drawing import Cast, Painter
from data.synthetic.light import Light
from data.synthetic.people import People
from data.synthetic.props import thing_mesh
from data.synthetic.scene import Room
from data.synthetic.scenes import stage
from data.training import shards
from data.training.people import PersonOptions, Studio
from pipeline.raster import RENDERER, raster_here
from pipeline.raster_open3d import Open3DRaster
from pipeline.raster_torch import TorchRaster

SMALL = PersonOptions(poses=1, views=2, size=64, points=600, on_surface=200, step=0.012, texture=64, fineness=1)
BARE = """\
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in "open3d trimesh luigi pydantic mediapipe anny smplx av tqdm ai_edge_litert pygltflib yaml".split():
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in ("open3d", "anny") else found(name, package)
from pathlib import Path
from data.training import shards
from data.training.batches import BatchOptions, People, surface_batches
from data.training.augment import Flaws
from data.training.people import PersonOptions

folder = Path(sys.argv[1])
shards.make(folder, "train", 1, {options})
batch = next(surface_batches(People(shards.people_of(folder, "train")), BatchOptions(1, 100, 9, 9, (2, 2)), Flaws(), 0))
assert batch.distance.isfinite().all()
assert not {"open3d", "anny"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def people():
    return People(texture_size=128, fineness=1)


def photographed(people):
    """Somebody behind boxes in a room: pictures and labels of two cameras with bent lenses."""
    scene = stage(people, "occluded", 3, [people.person("train", 0)])
    g = np.random.default_rng(1)
    light = Light.sample(g, lamp_points=2, sky_points=7)
    rig = ring(2, g, size=(160, 120))
    posed, things = scene.posed(people), scene.act.things
    cast = Cast.of([p.wearer.dressed for p in posed], things)
    painter = Painter(rig, [Exposure.sample(g) for _ in rig.cameras], light, cast, g)
    with ThreadPoolExecutor(1) as pool:
        painter.enter(Room.sample(g), pool)
    moment = painter.moment([p.layers for p in posed], [thing_mesh(t)[0] for t in things])
    return [painter.picture(c, moment, 0) for c in range(len(rig))]


def test_the_renderer_is_open3d_where_it_is_installed_and_can_be_chosen(monkeypatch):
    assert isinstance(raster_here(1), Open3DRaster)
    monkeypatch.setenv(RENDERER, "torch")
    assert isinstance(raster_here(1), TorchRaster)
    monkeypatch.setenv(RENDERER, "opengl")
    with pytest.raises(ValueError, match="open3d or torch"):
        raster_here()


def test_both_renderers_give_the_same_lit_pictures(people, monkeypatch):
    views = {}
    for name in ("open3d", "torch"):
        monkeypatch.setenv(RENDERER, name)
        views[name] = photographed(people)
    for (ours, our_labels), (theirs, their_labels) in zip(views["torch"], views["open3d"], strict=True):
        assert (their_labels == 1).sum() > 300 and theirs.std() > 20  # somebody is seen, in a room with contrast
        assert (our_labels == their_labels).mean() > 0.999
        away = np.abs(ours.astype(int) - theirs).max(-1)
        assert away.mean() < 0.05 and (away > 2).mean() < 0.002
        # What is compared matters: without shadows, say, pictures differ by far more than that.
        assert np.abs(np.roll(theirs, 1, 1).astype(int) - theirs).max(-1).mean() > 1


def test_a_machine_with_torch_alone_makes_the_same_people_to_train_on(tmp_path):
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BARE.replace("{options}", repr(SMALL)), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=root, timeout=300)
    assert done.returncode == 0, done.stderr
    bare = shards.read(shards.people_of(tmp_path, "train")[0])
    here = Studio(SMALL).sample("train", 0).arrays()
    assert bare.keys() == here.keys()
    for name, tolerance in {"rgb": 2, "mask": 1, "normals": 2, "global_normals": 2}.items():
        away = np.abs(bare[name].astype(int) - here[name].astype(int))
        assert (away > tolerance).mean() < 0.003, name
    for name in ("distance", "body_depth", "relief", "points", "surface", "vertices"):
        same = np.isclose(bare[name], here[name], atol=2e-3, equal_nan=True)
        assert same.mean() > 0.997, name
    same = np.isclose(bare["body"], here["body"], atol=2e-3).all(-1)
    assert same.mean() > 0.99

