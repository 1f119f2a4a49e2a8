"""How the stills network is trained: on single synthetic people, then on pictures of many, stage 1 at high, stage 2 at
low resolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.files import write_atomic
from tasks.train import Job, Phase, card_text, known_keys, options_of, read_config

if TYPE_CHECKING:
    from data.still_samples import StillData, StillFiles
    from nets.mili.learning import Pairs, Weights
    from nets.mili.network import MiliNetwork
    from nets.mili.options import MiliOptions
    from nets.mili.pretraining import SingleLearner, Singles
    from nets.training import Training

PHASES = ("pretrain", "stage1", "stage2")
BLOCKS = ("output", "weights", "data", "network", "losses", *PHASES)
VALIDATED_AT = 0.05
"""Score from which people count in the precision curve of a validation."""
HELD_SINGLES = 400
"""Single people that a pretraining is validated on."""


@dataclass(frozen=True)
class DataOptions:
    """People and pictures to train on and to validate on, pictures in a batch, and how much colours vary; drawings of
    single people, and how many of them are in a batch of the pretraining."""

    people: int
    poses: int
    scenes: int
    validation_people: int
    validation_poses: int
    validation_scenes: int
    batch: int
    singles: int
    singles_batch: int
    noise: float = 0.3
    seed: int = 0

    def of_splits(self) -> dict[str, StillData]:
        from data.still_samples import StillData

        return {
            "train": StillData("train", self.people, self.poses, self.scenes, self.seed),
            "validation": StillData(
                "validation", self.validation_people, self.validation_poses, self.validation_scenes, self.seed
            ),
        }


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
    if network.preset not in PRESETS:
        raise InputError(f"{path}: network.preset", f"{network.preset!r} is unknown", f"Known: {', '.join(PRESETS)}")
    try:
        options = ablated(PRESETS[network.preset], network.ablation)
    except ValueError as error:
        raise InputError(f"{path}: network.ablation", str(error), "Correct it") from None
    weights = (path.parent / str(config["weights"])).resolve()
    recipe = _Recipe((path.parent / str(config["output"])).resolve(), data, network, losses, options)

    def export(folder: Path, facts: Mapping[str, Any]) -> Path:
        return _export(recipe, weights, config, facts)

    phases: list[Phase] = []
    for name in PHASES:
        if isinstance(config[name], str):
            phases.append(_phase_of_another(name, path.parent / config[name], recipe))
        else:
            made = options_of(TrainingOptions, config[name], f"{path}: {name}")
            phases.append(Phase(name, made, recipe.maker(name, made.seed), recipe.folder / name))
    recipe.begins.update({name: p.folder for name, p in zip(PHASES[1:], phases[:-1], strict=True)})
    recipe.begins["export"] = phases[-1].folder
    return Job(recipe.folder, phases, export)


@dataclass
class _Recipe:
    """What all phases of a job share. ``begins``: the folder whose best weights a phase starts from."""

    folder: Path
    data: DataOptions
    network: NetworkOptions
    losses: Weights
    options: MiliOptions
    begins: dict[str, Path] = field(default_factory=dict)

    def maker(self, name: str, seed: int) -> Callable[[Path], Training]:
        if name == "pretrain":
            return lambda folder: _pretraining(self, seed)
        return lambda folder: _training(self, PHASES.index(name), seed)


def _phase_of_another(name: str, path: Path, recipe: _Recipe) -> Phase:
    """The same phase of another recipe, given by its file: trained there once for all that begin with it."""
    theirs = job(read_config(path), path)
    return next(p for p in theirs.phases if p.name == name)


def _training(recipe: _Recipe, stage: int, seed: int) -> Training:
    import torch

    from data.still_samples import batches
    from nets.mili.learning import Learner, LearningOptions, loss
    from nets.mili.network import MiliNetwork
    from nets.training import Training

    data, options = recipe.data, recipe.options
    train, held = _files(recipe.folder.parent / "stills_data", data, options.canvas)
    torch.manual_seed(seed)
    made = MiliNetwork(options)
    _begin_with(made, recipe.begins[PHASES[stage]])
    learning = LearningOptions(stage=stage, regions=recipe.network.regions, most_bodies=recipe.network.bodies)
    corpus = tuple(torch.from_numpy(x) for x in train.corpus())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    learner = Learner(made, body_points(), learning, recipe.losses, corpus).to(device)

    def some(step: int):
        return (_on(batch, device) for batch in batches(train, data.batch, options.low, seed, data.noise)(step))

    return Training(learner, some, loss, lambda net: validation(net.network, held, stage == 2))


def _pretraining(recipe: _Recipe, seed: int) -> Training:
    import torch

    from data.single_samples import SinglePeople, Varied, make_singles
    from nets.mili.learning import loss
    from nets.mili.network import MiliNetwork
    from nets.mili.pretraining import SingleLearner
    from nets.training import Training

    data, folder = recipe.data, recipe.folder.parent / "stills_data"
    counts = {"train": data.singles, "validation": HELD_SINGLES}
    train, held = (
        SinglePeople(make_singles(folder, d, counts[split], _told), Varied(noise=data.noise))
        for split, d in data.of_splits().items()
    )
    torch.manual_seed(seed)
    norm = "batch" if recipe.options.norm == "frozen" else recipe.options.norm
    network = MiliNetwork(replace(recipe.options, norm=norm)).to(memory_format=torch.channels_last)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    learner = SingleLearner(network, body_points(), recipe.losses).to(device)
    shown = _on(held.batch(np.arange(HELD_SINGLES), np.random.default_rng(0)), device)

    def some(step: int):
        return (_on(batch, device) for batch in train.batches(data.singles_batch, seed)(step))

    return Training(learner, some, loss, lambda net: singles_figures(net, shown))


def singles_figures(learner: SingleLearner, batch: Singles) -> dict[str, float]:
    """Figures on single people whose boxes are given; "loss" is the mean joint error in metres. ``heading_deg``: median
    angle between true and found first rotations; ``constant_mm``: joint error of the batch's own mean."""
    import torch

    true = batch.people
    bodies = learner.bodies(learner.levels(batch), batch)
    joints = learner.body(bodies.rotations, bodies.betas).keypoints
    wanted = true.joints[..., :3]
    away = ((joints - joints[:, :1]) - wanted).norm(dim=-1).mean()
    turn = bodies.rotations[:, 0].transpose(1, 2) @ true.rotations[:, 0]
    cosine = (turn.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
    heading = torch.rad2deg(torch.acos(cosine.clamp(-1, 1))).median()
    constant = (wanted - wanted.mean(0)).norm(dim=-1).mean()
    figures = {"mpjpe_mm": 1000 * away, "heading_deg": heading, "constant_mm": 1000 * constant}
    return {"loss": float(away), **{name: float(value) for name, value in figures.items()}}


def _told(text: str) -> None:
    print(text, flush=True)


def _files(folder: Path, data: DataOptions, canvas: tuple[int, int]) -> tuple[StillFiles, StillFiles]:
    from data.still_samples import StillFiles, make_data
    from data.synthetic.still_scenes import StillOptions

    options = StillOptions(size=canvas)
    train, held = (StillFiles(make_data(folder, d, options, _told)) for d in data.of_splits().values())
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


def _on(batch: Pairs | Singles, device: str) -> Pairs | Singles:
    from torch import Tensor

    def moved(record):
        tensors = {f.name: v for f in fields(record) if isinstance(v := getattr(record, f.name), Tensor)}
        return replace(record, **{name: v.to(device) for name, v in tensors.items()})

    if device == "cpu":
        return batch
    people = batch.people
    return replace(moved(batch), people=[moved(p) for p in people] if isinstance(people, list) else moved(people))


def _begin_with(network: MiliNetwork, folder: Path) -> None:
    """Weights of the best average of the phase before. A pretraining has those of backbone, pyramid and body head."""
    from nets.mili.pretraining import PARTS, taught_by_pretraining
    from nets.training import best_state

    state, _ = best_state(folder)
    if any(k.startswith("dense.") for k in state):
        missing, unexpected = network.load_state_dict(taught_by_pretraining(state), strict=False)
        if unexpected or any(k.startswith(PARTS) for k in missing):
            raise ValueError(f"{folder} is the pretraining of another network")
    else:
        # A shared first stage may have parts that this network does without.
        own = network.state_dict()
        theirs = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
        network.load_state_dict({k: v for k, v in theirs.items() if k in own})


def validation(network: MiliNetwork, files: StillFiles, low: bool, most: int = 40) -> dict[str, float]:
    """Figures on held-out pictures; "loss" is the strict joint error in metres plus a tenth of the false people."""
    figures = score(network, files, low, most)
    strict, false = figures["mpjpe_strict_mm"], figures["false_people"]
    return {"loss": strict / 1000 + 0.1 * min(false, 5.0), **figures}


def score(network: MiliNetwork, files: StillFiles, low: bool, most: int | None = None) -> dict[str, float]:
    """``nets.mili.scoring`` over pictures, at low or at high resolution."""
    import torch

    from data.still_samples import as_pairs, left_out
    from nets.metrics_boxes import ImageBoxes
    from nets.mili import camera
    from nets.mili.scoring import Scores

    device = next(network.parameters()).device
    points, scores = body_points().to(device), Scores()
    for n in range(min(len(files), most or len(files))):
        still = files[n]
        batch = as_pairs([still], network.options.low, np.random.default_rng(n), [n])
        images = (batch.low if low else batch.high).to(device)
        (found,) = network.detect(images, low, VALIDATED_AT)
        rotations = found.bodies.rotations
        if network.options.ray_frame:
            rotations = camera.from_ray(rotations, found.boxes, batch.focal.to(device), batch.principal.to(device))
        with torch.no_grad():
            joints = points(rotations, found.bodies.betas).keypoints.cpu().numpy()
        truth = np.concatenate([still.boxes, crowds := left_out(still)])
        ignored = np.arange(len(truth)) >= len(truth) - len(crowds)
        boxes = ImageBoxes(truth, found.boxes.cpu().numpy(), found.scores.cpu().numpy(), ignored)
        scores.add(boxes, joints, still.joints, still.seen)
    return scores.figures()


def _export(recipe: _Recipe, weights: Path, config: Mapping[str, Any], facts: Mapping[str, Any]) -> Path:
    from nets.mili.network import MiliNetwork
    from nets.mili.weights import save

    network = MiliNetwork(recipe.options)
    _begin_with(network, recipe.begins["export"])
    card = {
        "name": recipe.options.name,
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
