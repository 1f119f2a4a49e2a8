"""The verb ``train`` with a network that is trained in no time: slices, pictures, the export, and bad input."""

import json
from argparse import Namespace

import pytest
import torch
from torch import nn

import run_pipeline
from nets.checkpoints import read_state, write_state
from nets.training import Training, TrainingOptions, best_state
from pipeline.errors import InputError
from tasks import train

CONFIG = """\
output: {out}
first: {{steps: 30, learning_rate: 0.05, warmup: 3, validate_every: 10, precision: float32}}
second: {{steps: 20, precision: float32}}
"""


def _training(folder, seed):
    torch.manual_seed(seed)
    net = nn.Linear(2, 1)

    def batches(step):
        while True:
            x = torch.randn(8, 2, generator=torch.Generator().manual_seed(step))
            yield x, x.sum(1, keepdim=True)
            step += 1

    def loss(net, batch):
        return {"loss": (net(batch[0]) - batch[1]).pow(2).mean()}

    return Training(net, batches, loss, lambda net: {"loss": (net.weight - 1).abs().max().item()})


def job(config, path):
    """What a network's module has."""
    train.known_keys(config, ("output", "first", "second"), path)
    first, second = (train.options_of(TrainingOptions, config[k], f"{path}: {k}") for k in ("first", "second"))

    def export(folder, facts):
        state, _ = best_state(folder / "second")
        write_state(folder / "toy.safetensors", state, {"card": json.dumps(facts)})
        return folder / "toy.safetensors"

    def make(folder):
        assert (folder / "first" / "best.safetensors").exists()  # what came before is there to build on
        return _training(folder, 1)

    out = path.parent / config["output"]
    return train.Job(out, [train.Phase("first", first, lambda f: _training(f, 0)), train.Phase("second", second, make)],
                     export)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    monkeypatch.setattr(train, "_module", lambda net: Namespace(job=job))
    path = tmp_path / "toy.yaml"
    path.write_text(CONFIG.format(out="out"))
    return path


def command(path, stop_after=None):
    return train.command(Namespace(net="toy", config=str(path), stop_after=stop_after))


def test_phases_are_trained_in_turn_and_exported_with_facts(toy, capsys):
    assert command(toy) == 0
    assert "weights: " in capsys.readouterr().out
    _, metadata = read_state(toy.parent / "out" / "toy.safetensors")
    card = json.loads(metadata["card"])
    assert list(card["phases"]) == ["first", "second"]
    assert card["phases"]["first"]["steps"] == 30
    assert card["phases"]["first"]["figures"]["loss"] < 0.5
    assert "torch" in card["hardware"]
    assert card["made_by"] == f"run_pipeline.py train toy {toy}"
    curves = (toy.parent / "out" / "first" / "curves.svg").read_text()
    assert curves.startswith("<svg xmlns")
    assert "validation/loss" in curves


def test_slices_stop_with_1_and_go_on(toy, capsys):
    codes = [command(toy, stop_after=0) for _ in range(3)]
    assert codes == [1, 1, 1]
    assert "3 of 30 steps" in capsys.readouterr().out
    assert not (toy.parent / "out" / "toy.safetensors").exists()
    assert command(toy) == 0
    assert json.loads((toy.parent / "out" / "first" / "curves.json").read_text())[-1]["step"] == 30


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("steps: 30", "steps: many", "first.steps: 'many' is not a whole number"),
        ("steps: 30, ", "", "first.steps: is missing"),
        ("warmup: 3", "warm: 3", "first.warm: is not known"),
        ("second:", "third:", "third: is not known"),
        ("second: {steps: 20, precision: float32}", "", "second: is missing"),
        ("{steps: 20, precision: float32}", "7", "second: is no mapping"),
        ("output: out", "[", "is no YAML"),
    ],
)
def test_bad_configurations_say_where(toy, before, after, message):
    text = toy.read_text()
    assert before in text
    toy.write_text(text.replace(before, after))
    with pytest.raises(InputError, match=message):
        command(toy)
    assert not (toy.parent / "out").exists()


def test_a_changed_recipe_does_not_go_on_silently(toy):
    command(toy, stop_after=0)
    toy.write_text(toy.read_text().replace("learning_rate: 0.05", "learning_rate: 0.01"))
    with pytest.raises(InputError, match="other options"):
        command(toy)


def test_the_command_line_names_unknown_networks_and_missing_files(tmp_path, capsys):
    assert run_pipeline.main(["train", "nonsense", str(tmp_path / "a.yaml")]) == 2
    assert "nonsense" in capsys.readouterr().err
