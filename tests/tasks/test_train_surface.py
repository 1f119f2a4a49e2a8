"""``train deepmulticap`` from nothing to weights that the pipeline loads, in two slices, the smallest of everything."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import run_pipeline
from data.training import shards
from nets.checkpoints import read_state
from nets.deepmulticap.presets import PRESET_NAMES
from pipeline.cameras import Camera
from pipeline.surface.networks import load_networks
from pipeline.surface.refine import guide_maps
from tasks import train_refiner
from tasks.train import read_config
from tasks.train_surface import read_recipe, surface_training

ROOT = Path(run_pipeline.__file__).parent
SHIPPED = ROOT / "configs/nets/surface_small.yaml"
CONFIG = """\
output: {folder}/run
start: null
weights: {folder}/weights/surface.safetensors
network: ours_small
data: {{folder: {folder}/people, train: 2, validation: 1, images: 2}}
people: {{poses: 2, views: 3, size: 64, points: 1500, on_surface: 400, step: 0.015, texture: 64, fineness: 1,
         volume: 32}}
batch: {{people: 2, points: 200, far: 30, pairs: 40, views: [2, 3]}}
fine_batch: {{people: 2, points: 200, far: 30, pairs: 60, views: [2, 3]}}
losses: {{slope: 0.3}}
fine_losses: {{slope: 0.6, detail: 0.3}}
flaws: {{company: 0.5, hidden: 0.3, mask_edge: 1.0, camera_shift: 0.004, camera_turn: 0.0008, colour: 0.1}}
normals: {{steps: 3, validate_every: 3, precision: float32}}
coarse: {{steps: 3, validate_every: 3, precision: float32, monitor: distance_cm}}
fine: {{steps: 3, validate_every: 3, precision: float32, monitor: distance_cm}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    path = folder / "small.yaml"
    path.write_text(CONFIG.format(folder=folder))
    codes = [run_pipeline.main(["train", "deepmulticap", str(path), *more]) for more in (["--stop-after", "0"], [])]
    return folder, path, codes


def test_it_goes_on_after_a_slice_and_ends_with_weights_and_a_card(trained):
    folder, path, codes = trained
    assert codes == [1, 0]
    networks = load_networks(folder / "weights/surface.safetensors")
    assert networks.preset.name == "ours_small" and networks.preset.image_size == 64
    assert networks.normals is not None
    card = networks.card
    assert json.loads((folder / "weights/surface.json").read_text()) == card
    assert list(card["phases"]) == ["normals", "coarse", "fine"]
    assert card["phases"]["fine"]["figures"]["distance_cm"] > 0
    assert card["data"]["train"] == 2 and card["data"]["making"]["size"] == 64
    assert str(path) in card["made_by"] and "torch" in card["hardware"]
    assert card["parameters"] > 1e5


def test_the_normal_network_can_be_trained_alone(trained, capsys):
    folder, path, _ = trained
    assert run_pipeline.main(["train", "normals", str(path)]) == 0
    state, metadata = read_state(folder / "weights/normals.safetensors")
    assert json.loads(metadata["card"])["network"] == "normals"
    assert any(key.startswith("model.") for key in state)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("network: ours_small", "network: nonsense", "network: unknown network 'nonsense'"),
        ("size: 64", "size: large", "people.size: 'large' is not a whole number"),
        ("hidden: 0.3", "hide: 0.5", "flaws.hide: is not known"),
        ("images: 2", "pictures: 2", "data.pictures: is not known"),
        ("pairs: 40, views: [2, 3]", "pairs: 40, views: 3", "batch.views: 3 is no list"),
        ("fine:", "finest:", "finest: is not known"),
    ],
)
def test_a_bad_configuration_names_its_field(tmp_path, capsys, before, after, message):
    path = tmp_path / "bad.yaml"
    text = CONFIG.format(folder=tmp_path)
    assert before in text
    path.write_text(text.replace(before, after))
    assert run_pipeline.main(["train", "deepmulticap", str(path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", [n for n in PRESET_NAMES if n.endswith("_small")])
def test_every_network_of_the_comparison_can_be_trained(trained, name):
    """One step of its last level on the same people."""
    folder, path, _ = trained
    config = read_config(path) | {"network": name}
    recipe = read_recipe(config, path)
    fine = recipe.preset.fine is not None
    training = surface_training(recipe, folder / "run", fine)
    batch = next(iter(training.batches(0)))
    losses = training.loss(training.network, batch)
    losses["loss"].backward()
    assert losses["loss"].isfinite()
    level = training.network.surface.fine if fine else training.network.surface.coarse
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in level.parameters())


def test_the_shipped_configuration_is_good():
    recipe = read_recipe(read_config(SHIPPED), SHIPPED)
    assert recipe.preset.name == "ours_small"


@pytest.mark.parametrize("path", sorted((ROOT / "configs/nets/table1").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_rows_of_table_1_have_one_recipe_and_as_many_steps(path):
    ours = path.with_name("ours.yaml")
    recipe, other = (read_recipe(read_config(p), p) for p in (path, ours))
    name, _, seed = path.stem.partition("_seed_")
    assert recipe.preset.name == name + "_small"
    for part in ("data", "people", "flaws", "batches", "losses", "start", "normals"):
        assert getattr(recipe, part) == getattr(other, part)
    levels = ["coarse", "fine"][: len(recipe.preset.levels)]
    assert sum(recipe.phases[n].steps for n in levels) == sum(p.steps for p in other.phases.values())
    for n in levels:
        same = replace(recipe.phases[n], steps=0, validate_every=0, seed=0)
        assert same == replace(other.phases[n], steps=0, validate_every=0)
        assert recipe.phases[n].seed == int(seed or 0)
    assert str(recipe.folder).endswith(path.stem)


def test_normals_of_another_training_are_taken_as_they_are(trained, tmp_path):
    folder, path, _ = trained
    config = read_config(path) | {"normals": str(folder / "run"), "output": str(tmp_path / "run")}
    config |= {"weights": str(tmp_path / "surface.safetensors")}
    recipe_path = tmp_path / "taken.yaml"
    recipe_path.write_text(json.dumps(config))
    predicted = {p: p.stat().st_mtime_ns for p in (folder / "run/predicted").rglob("*.h5")}
    assert run_pipeline.main(["train", "deepmulticap", str(recipe_path)]) == 0
    own, taken = (load_networks(p / "surface.safetensors") for p in (folder / "weights", tmp_path))
    assert list(taken.card["phases"]) == ["coarse", "fine"] and taken.card["data"]["normals_of"] == str(folder / "run")
    for a, b in zip(own.normals.parameters(), taken.normals.parameters(), strict=True):
        assert (a == b).all()
    assert predicted and all(p.stat().st_mtime_ns == t for p, t in predicted.items())
    assert run_pipeline.main(["train", "normals", str(recipe_path)]) == 2


REFINER = """\
output: {folder}/refiner
start: {folder}/run
weights: {weights}
data: {{folder: {folder}/people, train: 2, validation: 1, surfaces: 1, images: 2, windows: 3, window: 32}}
people: {{poses: 2, views: 3, size: 64, points: 1500, on_surface: 400, step: 0.015, texture: 64, fineness: 1,
         volume: 32}}
flaws: {{company: 0.5, hidden: 0.3, mask_edge: 1.0, camera_shift: 0.004, camera_turn: 0.0008, colour: 0.1}}
resolution: 64
body: {{steps: 2, validate_every: 2, precision: float32}}
surface: {{steps: 2, validate_every: 2, precision: float32}}
detail: {{steps: 3, validate_every: 3, precision: float32}}
shading: {{steps: 3, validate_every: 3, precision: float32}}
"""


def test_a_refiner_is_added_to_weights_that_stay_as_they_are(trained, tmp_path):
    folder, _, _ = trained
    weights, path = tmp_path / "surface.safetensors", tmp_path / "refiner.yaml"
    shutil.copy(folder / "weights/surface.safetensors", weights)
    path.write_text(REFINER.format(folder=folder, weights=weights))
    assert run_pipeline.main(["train", "refiner", str(path), "--stop-after", "0"]) == 1
    assert run_pipeline.main(["train", "refiner", str(path)]) == 0
    before, after = load_networks(folder / "weights/surface.safetensors"), load_networks(weights)
    assert before.refiner is None and after.refiner is not None
    assert after.preset == replace(before.preset, refiner=after.refiner.options)
    for name in ("surface", "normals"):
        for a, b in zip(getattr(before, name).parameters(), getattr(after, name).parameters(), strict=True):
            assert (a == b).all()
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card == after.card and list(card["refiner"]["phases"]) == list(train_refiner.PHASES)
    assert 0 < card["refiner"]["phases"]["shading"]["figures"]["degrees"] < 120
    guides = sorted((folder / "refiner/guides").rglob("*.h5"))
    assert len(guides) == 2
    assert shards.read(guides[0], "used")["used"].sum() == 3
    shown = shards.read(guides[0], "guide")["guide"]
    assert shown.shape == (3, 64, 64, 3) and (np.abs(shown).sum(-1) > 0).mean() > 0.05


def test_a_guide_has_the_normals_that_are_true_where_it_is_true(trained):
    """The true surface, rendered as guides are, is what the true normal maps say."""
    folder, _, _ = trained
    file = shards.people_of(folder / "people", "train")[0]
    person = shards.read(file)
    views = [Camera.of_projection(P, (64, 64)) for P in person["projection"]]
    maps = guide_maps(person["vertices"], person["faces"], views)
    true = person["normals"].transpose(0, 3, 1, 2) / 127
    both = (np.linalg.norm(maps, axis=1) > 0.5) & (np.linalg.norm(true, axis=1) > 0.5)
    cosine = (maps * true).sum(1)[both]
    assert both.sum() > 500 and np.median(cosine) > 0.97


def test_the_shipped_refiner_configuration_is_good(monkeypatch):
    monkeypatch.chdir(ROOT)
    path = Path("configs/nets/surface_refiner.yaml")
    assert train_refiner.read_recipe(read_config(path), path).weights == Path("data/weights/surface.safetensors")
