"""How the stills network is trained: on pictures of synthetic people, stage 1 at high, stage 2 at low resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.files import write_atomic
from tasks.train import Job, Phase, card_text, known_keys, options_of

if TYPE_CHECKING:
    from data.still_samples import StillFiles
    from nets.mili.learning import Pairs, Weights
    from nets.mili.network import MiliNetwork
    from nets.training import Training

BLOCKS = ("output", "weights", "data", "network", "losses", "stage1", "stage2")
VALIDATED_AT = 0.05
"""Score from which people count in the precision curve of a validation."""


@dataclass(frozen=True)
class DataOptions:
    """People and pictures to train on and to validate on, people in a batch of pictures, and how much colours vary."""

    people: int
    poses: int
    scenes: int
    validation_people: int
    validation_poses: int
    validation_scenes: int
    batch: int
    noise: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class NetworkOptions:
    """A preset of ``nets.mili.options`` and a row of its ablation; how the body and box heads are taught."""

    preset: str
    ablation: str = "full"
    regions: int = 96
    bodies: int = 48


def job(config: Mapping[str, Any], path: Path) -> Job:
    """See ``tasks.train``.

    Raises:
        InputError: a key that is unknown, missing or of another type.
    """
    from nets.mili.learning import Weights
    from nets.mili.options import PRESETS, ablated
    from nets.training import TrainingOptions

    known_keys(config, BLOCKS, path)
    data = options_of(DataOptions, config["data"], f"{path}: data")
    network = options_of(NetworkOptions, config["network"], f"{path}: network")
    losses = options_of(Weights, config["losses"], f"{path}: losses")
    stages = [options_of(TrainingOptions, config[k], f"{path}: {k}") for k in ("stage1", "stage2")]
    if network.preset not in PRESETS:
        raise InputError(f"{path}: network.preset", f"{network.preset!r} is unknown", f"Known: {', '.join(PRESETS)}")
    try:
        options = ablated(PRESETS[network.preset], network.ablation)
    except ValueError as error:
        raise InputError(f"{path}: network.ablation", str(error), "Correct it") from None
    weights = (path.parent / str(config["weights"])).resolve()

    def make(stage: int):
        def training(folder: Path) -> Training:
            return _training(folder, data, network, losses, options, stage, stages[stage - 1].seed)

        return training

    def export(folder: Path, facts: Mapping[str, Any]) -> Path:
        return _export(folder, weights, config, options, facts)

    phases = [Phase(f"stage{k}", stages[k - 1], make(k)) for k in (1, 2)]
    return Job((path.parent / str(config["output"])).resolve(), phases, export)


def _training(
    folder: Path, data: DataOptions, network: NetworkOptions, losses: Weights, options, stage: int, seed: int
) -> Training:
    import torch

    from data.still_samples import batches
    from nets.mili.learning import Learner, LearningOptions, loss
    from nets.mili.network import MiliNetwork
    from nets.training import Training

    train, held = _files(folder.parent / "stills_data", data, options.canvas)
    torch.manual_seed(seed)
    made = MiliNetwork(options)
    if stage == 2:
        _begin_with(made, folder / "stage1")
    learning = LearningOptions(stage=stage, regions=network.regions, most_bodies=network.bodies)
    corpus = tuple(torch.from_numpy(x) for x in train.corpus())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    learner = Learner(made, body_points(), learning, losses, corpus).to(device)

    def some(step: int):
        return (_on(batch, device) for batch in batches(train, data.batch, options.low, seed, data.noise)(step))

    return Training(learner, some, loss, lambda net: validation(net.network, held, stage == 2))


def _files(folder: Path, data: DataOptions, canvas: tuple[int, int]) -> tuple[StillFiles, StillFiles]:
    from data.still_samples import StillData, StillFiles, make_data
    from data.synthetic.still_scenes import StillOptions

    options = StillOptions(size=canvas)
    of_split = {
        "train": StillData("train", data.people, data.poses, data.scenes, data.seed),
        "validation": StillData(
            "validation", data.validation_people, data.validation_poses, data.validation_scenes, data.seed
        ),
    }
    train, held = (StillFiles(make_data(folder, d, options, lambda t: print(t, flush=True))) for d in of_split.values())
    return train, held


def body_points():
    """Keypoints and sample vertices of the open body model, for the losses."""
    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel
    from nets.mili.body import BodyPoints
    from pipeline.body.regressor import regressor_for

    model = BodyModel(load_body_arrays(open_body_model()))
    regressor = regressor_for(model)
    sample = np.random.default_rng(0).choice(model.vertex_count, 400, replace=False)
    return BodyPoints(model, regressor.joint_weights, regressor.vertices, np.sort(sample))


def _on(batch: Pairs, device: str) -> Pairs:
    from dataclasses import fields, replace

    from torch import Tensor

    def moved(record):
        tensors = {f.name: v for f in fields(record) if isinstance(v := getattr(record, f.name), Tensor)}
        return replace(record, **{name: v.to(device) for name, v in tensors.items()})

    return batch if device == "cpu" else replace(moved(batch), people=[moved(p) for p in batch.people])


def _begin_with(network: MiliNetwork, folder: Path) -> None:
    """Weights of the first stage's best average."""
    from nets.training import best_state

    state, _ = best_state(folder)
    own = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    network.load_state_dict(own)


def validation(network: MiliNetwork, files: StillFiles, low: bool, most: int = 80) -> dict[str, float]:
    """Figures on held-out pictures; "loss" is the strict joint error in metres plus a tenth of the false people."""
    figures = score(network, files, low, most)
    strict, false = figures["mpjpe_strict_mm"], figures["false_people"]
    return {"loss": strict / 1000 + 0.1 * min(false, 5.0), **figures}


def score(network: MiliNetwork, files: StillFiles, low: bool, most: int | None = None) -> dict[str, float]:
    """``nets.mili.scoring`` over pictures, at low or at high resolution."""
    import torch

    from data.still_samples import as_pairs, left_out
    from nets.metrics_boxes import ImageBoxes
    from nets.mili.scoring import Scores

    device = next(network.parameters()).device
    points, scores = body_points().to(device), Scores()
    for n in range(min(len(files), most or len(files))):
        still = files[n]
        batch = as_pairs([still], network.options.low, np.random.default_rng(n), [n])
        images = (batch.low if low else batch.high).to(device)
        (found,) = network.detect(images, low, VALIDATED_AT)
        with torch.no_grad():
            joints = points(found.bodies.rotations, found.bodies.betas).keypoints.cpu().numpy()
        truth = np.concatenate([still.boxes, crowds := left_out(still)])
        ignored = np.arange(len(truth)) >= len(truth) - len(crowds)
        boxes = ImageBoxes(truth, found.boxes.cpu().numpy(), found.scores.cpu().numpy(), ignored)
        scores.add(boxes, joints, still.joints, still.seen)
    return scores.figures()


def _export(folder: Path, weights: Path, config: Mapping[str, Any], options, facts: Mapping[str, Any]) -> Path:
    from nets.mili.network import MiliNetwork
    from nets.mili.weights import save

    network = MiliNetwork(options)
    _begin_with(network, folder / "stage2")
    card = {
        "name": options.name,
        "what": "everybody's body in low-resolution stills: boxes, masks, SMPL-X parameters of the open body model",
        "parameters": sum(p.numel() for p in network.parameters()),
        "data": "synthetic people of this project, pictures made by it; no photograph",
        "config": {k: v for k, v in config.items() if k not in ("output", "weights")},
        **facts,
    }
    weights.parent.mkdir(parents=True, exist_ok=True)
    save(weights, network, card)
    write_atomic(weights.with_suffix(".json"), card_text(card))
    return weights
