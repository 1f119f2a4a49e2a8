"""How the published parsing network is trained: on labelled pictures, then in cycles that correct network and labels.

The first phase learns from the labels as they are given. Each cycle after it starts anew from the network so far at
half the rate, and learns from labels mixed with what the average of all networks before says (Self-Correction for Human
Parsing, section 3.2); the average of all is what is exported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.files import write_atomic
from tasks.train import Job, Phase, card_text, known_keys, options_of

if TYPE_CHECKING:
    from data.datasets.parsing import ParsingAugmentation, ParsingSplit
    from nets.parsing.ce2p import HumanParser
    from nets.parsing.correction import SelfCorrection
    from nets.training import Training

BLOCKS = ("output", "weights", "data", "network", "augmentation", "training", "correction")
REESTIMATED = 200
"""Batches from which the averaged network's normalisation is estimated anew."""


@dataclass(frozen=True)
class DataOptions:
    """Folder of the pictures (``data.datasets.parsing``; relative to the configuration), pictures a batch, side lengths
    (height, width) of the network's input, by default those of the label set."""

    root: str
    batch: int
    size: tuple[int, ...] = ()


@dataclass(frozen=True)
class NetworkOptions:
    """lip, atr or pascal; blocks in each stage and width of the network; weights that training starts from, where their
    names and shapes are the network's (a file of the backbone, say; "": none)."""

    labels: str
    layers: tuple[int, ...] = (3, 4, 23, 3)
    width: int = 64
    start: str = ""


@dataclass(frozen=True)
class CorrectionOptions:
    """Cycles after the first phase, steps in each, and the rate that each starts from."""

    cycles: int
    steps: int
    learning_rate: float


@dataclass(frozen=True)
class _Recipe:
    data: DataOptions
    network: NetworkOptions
    augmentation: ParsingAugmentation
    train: ParsingSplit
    held: ParsingSplit
    start: Path | None
    seed: int

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.data.size) or self.train.labels.size


def job(config: Mapping[str, Any], path: Path) -> Job:
    """See ``tasks.train``.

    Raises:
        InputError: a key that is unknown, missing or of another type; pictures or labels that are not there.
    """
    from data.datasets.parsing import ParsingAugmentation, ParsingSplit
    from nets.parsing.labels import LABEL_SETS
    from nets.training import TrainingOptions

    known_keys(config, BLOCKS, path)
    data = options_of(DataOptions, config["data"], f"{path}: data")
    network = options_of(NetworkOptions, config["network"], f"{path}: network")
    augmentation = options_of(ParsingAugmentation, config["augmentation"], f"{path}: augmentation")
    training = options_of(TrainingOptions, config["training"], f"{path}: training")
    correction = options_of(CorrectionOptions, config["correction"], f"{path}: correction")
    if network.labels not in LABEL_SETS:
        raise InputError(f"{path}: network.labels", f"{network.labels!r} is unknown", f"Known: {', '.join(LABEL_SETS)}")
    if len(network.layers) != 4:
        raise InputError(f"{path}: network.layers", f"{list(network.layers)} are not four", "Give [3, 4, 23, 3]")
    if data.size and len(data.size) != 2:
        raise InputError(f"{path}: data.size", f"{list(data.size)} are not two numbers", "Give [height, width]")
    root = (path.parent / data.root).resolve()
    splits = (ParsingSplit(root, split, LABEL_SETS[network.labels]) for split in ("train", "val"))
    start = (path.parent / network.start).resolve() if network.start else None
    recipe = _Recipe(data, network, augmentation, *splits, start, training.seed)
    cycle = dataclasses.replace(
        training, steps=correction.steps, learning_rate=correction.learning_rate, warmup=0,
        final_rate=training.final_rate * training.learning_rate / correction.learning_rate,
    )  # fmt: skip
    phases = [Phase("start", training, lambda folder: _training(folder, recipe, 0))]
    phases += [Phase(f"cycle_{c}", cycle, lambda folder, c=c: _training(folder, recipe, c))
               for c in range(1, correction.cycles + 1)]  # fmt: skip
    weights = (path.parent / str(config["weights"])).resolve()
    return Job(
        (path.parent / str(config["output"])).resolve(), phases,
        lambda folder, facts: _export(folder, weights, config, recipe, [p.name for p in phases], facts),
    )  # fmt: skip


def _network(recipe: _Recipe) -> HumanParser:
    from nets.parsing.ce2p import HumanParser

    return HumanParser(len(recipe.train.labels.names), recipe.network.layers, recipe.network.width)


def _training(folder: Path, recipe: _Recipe, cycle: int) -> Training:
    """The first phase (cycle 0), or one of correction, which goes on from those before."""
    import torch

    from data.datasets.parsing import parsing_batches
    from nets.parsing.losses import parsing_losses
    from nets.training import Training

    torch.manual_seed(recipe.seed)
    network, device = _network(recipe), "cuda" if torch.cuda.is_available() else "cpu"
    before = ["start", *(f"cycle_{c}" for c in range(1, cycle))] if cycle else []
    correction = _corrected(folder, recipe, before, network, device) if before else None
    if not before and recipe.start is not None:
        _begin_with(network, recipe.start)
    network.to(device)
    drawn = parsing_batches(recipe.train, recipe.data.batch, recipe.size, recipe.augmentation, recipe.seed + cycle)

    def tensors(step: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (tuple(torch.from_numpy(a).to(device) for a in batch) for batch in drawn(step))

    def loss(net: HumanParser, batch) -> Mapping[str, torch.Tensor]:
        images, labels = batch
        answers = tuple(a.float() for a in net(images))
        soft = None if correction is None else tuple(a.float() for a in correction.soft_labels(images))
        return parsing_losses(answers, labels, soft, cycle)

    return Training(network, tensors, loss, lambda net: validation(net, recipe))


def _corrected(folder: Path, recipe: _Recipe, phases: list[str], network: HumanParser, device: str) -> SelfCorrection:
    """The average of the networks that phases ended with; the last of them is left in ``network``."""
    from nets.parsing.correction import SelfCorrection
    from nets.training import last_state

    correction = SelfCorrection(_network(recipe).to(device))
    for name in phases:
        network.load_state_dict(last_state(folder / name))
        last = name == phases[-1]
        correction.close_cycle(network, _pictures(recipe, device) if last else ())
    return correction


def _pictures(recipe: _Recipe, device: str):
    """Batches of whole training pictures."""
    import torch

    count = recipe.data.batch
    for first in range(0, min(len(recipe.train), REESTIMATED * count), count):
        rows = range(first, min(first + count, len(recipe.train)))
        if len(rows) > 1 or first == 0:
            yield torch.from_numpy(np.stack([recipe.train.whole(k, recipe.size)[0] for k in rows])).to(device)


def _begin_with(network: HumanParser, path: Path) -> None:
    """Take what a file holds of the network, under the names of the published checkpoints."""
    from nets.checkpoints import CheckpointError, read_state, without_prefix

    try:
        state, own = without_prefix(read_state(path)[0], "module."), network.state_dict()
    except CheckpointError as error:
        raise InputError(error.where, error.problem, error.remedy) from None
    fits = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    if "conv1.weight" not in fits:
        raise InputError(path, "holds nothing of this network", "Give a ResNet-101 or a checkpoint of this network")
    network.load_state_dict(own | fits)
    print(f"{len(fits)} of {len(own)} tensors come from {path.name}", flush=True)


def validation(network: HumanParser, recipe: _Recipe) -> dict[str, float]:
    """Mean IoU over the labels that are there, and share of right pixels; "loss" is 1 - mean IoU."""
    import torch

    from nets.parsing.ce2p import answer
    from nets.parsing.losses import IGNORED

    classes = len(recipe.train.labels.names)
    device = next(network.parameters()).device
    counts = np.zeros((classes, classes), np.int64)
    for k in range(len(recipe.held)):
        image, truth = recipe.held.whole(k, recipe.size)
        found = answer(network, torch.from_numpy(image)[None].to(device), recipe.size)[0].argmax(0).cpu().numpy()
        valid = truth != IGNORED
        pairs = classes * truth[valid].astype(np.int64) + found[valid]
        counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    right, either = np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts)
    there = counts.sum(1) > 0
    iou = float((right[there] / either[there]).mean())
    return {"loss": 1 - iou, "mean_iou": iou, "accuracy": float(right.sum() / max(1, counts.sum()))}


def _export(folder: Path, weights: Path, config, recipe: _Recipe, phases: list[str], facts) -> Path:
    import torch

    from nets.checkpoints import write_state

    device = "cuda" if torch.cuda.is_available() else "cpu"
    averaged = _corrected(folder, recipe, phases, _network(recipe), device).averaged
    figures = validation(averaged, recipe)
    weights.parent.mkdir(parents=True, exist_ok=True)
    write_state(weights, averaged.state_dict())
    card = {
        "name": "human parsing",
        "what": "labels of body parts and clothes in a crop of one person",
        "architecture": "nets/parsing/ce2p.py; segmentation.network takes these weights where layers and width are the "
        "published ones",
        "data": f"{len(recipe.train)} pictures of {recipe.data.root}, labels of {recipe.network.labels}",
        "config": dict(config),
        "averaged": {"networks": len(phases), "figures": figures},
        **facts,
    }
    write_atomic(weights.with_suffix(".json"), card_text(card))
    return weights
