"""``train deepmulticap`` from nothing to weights that the pipeline loads, in two slices, the smallest of everything."""

import json
from pathlib import Path

import pytest

import run_pipeline
from nets.checkpoints import read_state
from nets.deepmulticap.presets import PRESET_NAMES
from pipeline.surface.networks import load_networks
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
def test_the_rows_of_table_1_are_trained_by_the_recipe_of_the_shipped_network(path):
    recipe, shipped = (read_recipe(read_config(p), p) for p in (path, SHIPPED))
    assert recipe.preset.name == path.stem + "_small"
    for part in ("data", "people", "flaws", "batches", "losses", "phases"):
        assert getattr(recipe, part) == getattr(shipped, part)
    assert path.stem in str(recipe.folder)
