"""The training loop: it learns, goes on where it stopped, keeps the best average, and refuses what is not its own."""

import csv
import json

import pytest
import torch
from torch import nn

from nets.checkpoints import CheckpointError
from nets.training import (
    Average,
    Training,
    TrainingError,
    TrainingOptions,
    best_state,
    precision_of,
    rate_at,
    train,
)

TRUE = torch.tensor([[2.0, -1.0, 0.5]])


def network():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))


def batch(step):
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    return x, x @ TRUE.T


def batches(step):
    while True:
        yield batch(step)
        step += 1


def loss(net, data):
    x, y = data
    error = (net(x) - y).pow(2).mean()
    return {"loss": error, "twice": 2 * error}


def validate(net):
    assert not net.training
    x, y = batch(10**6)
    return {"loss": (net(x).float() - y).pow(2).mean().item()}


def options(**changes):
    given = {"steps": 60, "learning_rate": 0.02, "warmup": 5, "validate_every": 20, "record_every": 10, "ema": 0.9}
    return TrainingOptions(**given | {"precision": "float32"} | changes)


def test_it_learns_and_keeps_curves_and_the_best_average(tmp_path):
    seen = []
    what = Training(network(), batches, loss, validate)
    done = train(what, options(steps=400), tmp_path, report=lambda p: seen.append(p.step))
    assert done.done
    assert seen == list(range(1, 401))
    rows = json.loads((tmp_path / "curves.json").read_text())
    assert rows[-1]["loss"] < 0.2 * rows[0]["loss"]
    assert rows[-1]["twice"] == pytest.approx(2 * rows[-1]["loss"])
    table = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert [int(r["step"]) for r in table] == [r["step"] for r in rows]
    validated = {r["step"]: r["validation/loss"] for r in rows if "validation/loss" in r}
    assert sorted(validated) == list(range(20, 401, 20))
    state, notes = best_state(tmp_path)
    assert notes["step"] == min(validated, key=validated.get) == done.best_step
    again = network()
    again.load_state_dict(state)
    assert validate(again.eval())["loss"] == pytest.approx(min(validated.values()), rel=1e-4)


def test_slices_give_what_one_uninterrupted_training_gives(tmp_path):
    whole = network()
    train(Training(whole, batches, loss, validate), options(), tmp_path / "whole")
    for _ in range(60):
        part = network()
        progress = train(Training(part, batches, loss, validate), options(), tmp_path / "parts", stop_after_s=0)
        if progress.done:
            break
    assert progress.step == 60
    for a, b in zip(whole.state_dict().values(), part.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    best = [best_state(tmp_path / name)[0] for name in ("whole", "parts")]
    assert all(torch.equal(best[0][key], best[1][key]) for key in best[0])
    curves = [json.loads((tmp_path / n / "curves.json").read_text()) for n in ("whole", "parts")]
    untimed = [[{k: v for k, v in row.items() if k != "seconds"} for row in c] for c in curves]
    assert untimed[0] == untimed[1]


def test_an_interruption_loses_nothing(tmp_path):
    def interrupting(step):
        for k, data in enumerate(batches(step)):
            if k == 17:
                raise KeyboardInterrupt
            yield data

    with pytest.raises(KeyboardInterrupt):
        train(Training(network(), interrupting, loss, validate), options(), tmp_path / "a")
    rest = network()
    progress = train(Training(rest, batches, loss, validate), options(), tmp_path / "a")
    whole = network()
    train(Training(whole, batches, loss, validate), options(), tmp_path / "b")
    assert progress.done
    assert torch.equal(rest[0].weight, whole[0].weight)


def test_a_finished_training_is_left_as_it_is(tmp_path):
    train(Training(network(), batches, loss, validate), options(), tmp_path)
    before = (tmp_path / "best.safetensors").read_bytes()

    def none_left(step):
        raise AssertionError("no batch is needed")

    assert train(Training(network(), none_left, loss, validate), options(), tmp_path).done
    assert (tmp_path / "best.safetensors").read_bytes() == before


def test_a_folder_of_another_training_is_refused(tmp_path):
    train(Training(network(), batches, loss, validate), options(), tmp_path, stop_after_s=0)
    with pytest.raises(TrainingError, match="learning_rate"):
        train(Training(network(), batches, loss, validate), options(learning_rate=1.0), tmp_path)
    with pytest.raises(TrainingError, match="another network"):
        train(Training(nn.Linear(3, 1), batches, loss, validate), options(), tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(Training(network(), batches, loss, validate), options(), tmp_path)


def test_losses_that_are_not_finite_are_skipped_and_end_the_training_if_they_go_on(tmp_path):
    def once(step):
        for x, y in batches(step):
            yield (x * float("nan"), y) if step == 7 else (x, y)
            step += 1

    net = network()
    assert train(Training(net, once, loss), options(steps=20), tmp_path / "once").skipped == 1
    assert all(torch.isfinite(p).all() for p in net.parameters())

    def always(step):
        return ((x * float("nan"), y) for x, y in batches(step))

    with pytest.raises(TrainingError, match="not finite"):
        train(Training(network(), always, loss), options(), tmp_path / "always")


def test_rates_rise_then_fall_along_a_cosine():
    o = options(steps=105, learning_rate=1.0, warmup=5, final_rate=0.1)
    assert rate_at(0, o) == pytest.approx(0.2)
    assert rate_at(4, o) == rate_at(5, o) == pytest.approx(1.0)
    assert rate_at(55, o) == pytest.approx(0.55)
    assert rate_at(105, o) == pytest.approx(0.1)


def test_averages_follow_and_can_be_worn():
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 0.0)
    average = Average(net, 0.5)
    nn.init.constant_(net.weight, 1.0)
    for _ in range(30):
        average.update(net)
    nn.init.constant_(net.weight, 7.0)
    with average.worn_by(net) as worn:
        assert worn.weight.item() == pytest.approx(1.0, abs=1e-4)
    assert net.weight.item() == 7.0


def test_half_precision_trains_and_keeps_float32_weights(tmp_path):
    net = network()
    train(Training(net, batches, loss, validate), options(steps=100, precision="bfloat16"), tmp_path)
    rows = json.loads((tmp_path / "curves.json").read_text())
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert net[0].weight.dtype == torch.float32
    with pytest.raises(ValueError, match="precision 'half'"):
        precision_of(options(precision="half"), torch.device("cpu"))
