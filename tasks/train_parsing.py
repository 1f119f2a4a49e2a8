"""How the small parsing network is trained: on synthetic people with everything that segmentation knows of them.

A configuration whose network has ``labels`` is for the published network (``tasks.train_human_parsing``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.files import write_atomic
from tasks.train import Job, Phase, card_text, known_keys, options_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nets.training import Training

BLOCKS = ("output", "weights", "data", "network", "augmentation", "training", "clutter")


@dataclass(frozen=True)
class DataOptions:
    """Rooms with a cast of their own (``sets``), instants in each, cameras round it, crops a batch; the last
    ``validation_sets`` are kept for validation."""

    sets: int
    moments: int
    cameras: int
    validation_sets: int
    batch: int
    seed: int = 0


def job(config: Mapping[str, Any], path: Path) -> Job:
    """See ``tasks.train``.

    Raises:
        InputError: a key that is unknown, missing or of another type.
    """
    from data.parsing_samples import Augmentation
    from nets.parsing.small import SmallOptions
    from nets.training import TrainingOptions, best_state
    from tasks import train_human_parsing

    if isinstance(config.get("network"), Mapping) and "labels" in config["network"]:
        return train_human_parsing.job(config, path)
    known_keys(config, BLOCKS, path)
    data = options_of(DataOptions, config["data"], f"{path}: data")
    network = options_of(SmallOptions, config["network"], f"{path}: network")
    augmentation = options_of(Augmentation, config["augmentation"], f"{path}: augmentation")
    training = options_of(TrainingOptions, config["training"], f"{path}: training")
    clutter = options_of(TrainingOptions, config["clutter"], f"{path}: clutter")
    weights = (path.parent / str(config["weights"])).resolve()

    def make(folder: Path) -> Training:
        return _training(folder, data, network, replace(augmentation, clutter=0.0), training.seed)

    def make_second(folder: Path) -> Training:
        second = _training(folder, data, network, augmentation, clutter.seed)
        second.network.load_state_dict(best_state(folder / "small")[0])
        return second

    def export(folder: Path, facts: Mapping[str, Any]) -> Path:
        return _export(folder, weights, config, network, facts)

    return Job(
        (path.parent / str(config["output"])).resolve(),
        [Phase("small", training, make), Phase("clutter", clutter, make_second)],
        export,
    )


def _training(folder: Path, data: DataOptions, network, augmentation, seed: int) -> Training:
    import torch

    from data.parsing_samples import batches, make_samples
    from nets.parsing.inputs import decoded
    from nets.parsing.losses import mask_loss
    from nets.parsing.small import SmallParser
    from nets.training import Training

    def told(share: float) -> None:
        print(f"making pictures: {share:.0%}", flush=True)

    samples = make_samples(folder / "samples", data.sets, data.moments, data.cameras, data.seed, told)
    first_held = data.sets - data.validation_sets
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    made = SmallParser(network).to(device, memory_format=torch.channels_last)

    learned = np.flatnonzero(samples.sets < first_held)
    drawn = batches(samples, learned, data.batch, augmentation, seed)

    def tensors(step: int):
        for codes, truth in drawn(step):
            x = torch.from_numpy(codes).to(device)
            yield decoded(x).to(memory_format=torch.channels_last), torch.from_numpy(truth).to(device)

    def loss(net: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return mask_loss(net(batch[0]).float(), batch[1])

    held = np.flatnonzero(samples.sets >= first_held)
    return Training(made, tensors, loss, lambda net: validation(net, samples, held))


def validation(network, samples, which: np.ndarray) -> dict[str, float]:
    """Mean IoU over whole crops, and what the detector's masks alone reach on them; "loss" is 1 - IoU."""
    from data.parsing_samples import TRUTH, signed
    from pipeline.segmentation.parsing import scored

    ours, detectors = [], []
    for k in which:
        planes = samples[k]
        truth = planes[TRUTH] > 0
        ours.append(_iou(scored(network, planes[:TRUTH]) > 0.5, truth))
        detectors.append(_iou(signed(planes, 7) > 0, truth))
    return {"loss": 1 - float(np.mean(ours)), "iou": float(np.mean(ours)), "detector_iou": float(np.mean(detectors))}


def _iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def _export(folder: Path, weights: Path, config: Mapping[str, Any], network, facts: Mapping[str, Any]) -> Path:
    from nets.checkpoints import write_state
    from nets.parsing.small import metadata
    from nets.training import best_state

    state, best = best_state(folder / "clutter")
    weights.parent.mkdir(parents=True, exist_ok=True)
    write_state(weights, state, metadata(network))
    card = {
        "name": "small parsing network",
        "what": "which pixels of a crop are one person's, from image, empty scene, detector's mask, fitted bodies "
        "and chances of colours",
        "architecture": "nets/parsing/small.py, encoder and decoder with skips",
        "data": "data/parsing_scenes.py: synthetic people in rooms, the open detector's masks, bodies off as fits are",
        "licence": "Apache-2.0; made from CC0 shapes and procedural textures alone",
        "config": dict(config),
        "best": best,
        **facts,
    }
    write_atomic(weights.with_suffix(".json"), card_text(card))
    return weights
