"""How the surface network and its normal network are trained, on synthetic people: normals, then coarse, then fine.

``train deepmulticap`` does all of it and writes one file of weights with its card; ``train normals`` only the first
(``tasks.train_normals``). People are made as they are missing, so the same command starts, goes on and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from tasks.train import Job, Phase, card_text, known_keys, options_of

if TYPE_CHECKING:
    from torch.nn import Module

    from data.training.augment import Flaws
    from data.training.batches import BatchOptions, People, SurfaceBatch
    from nets.deepmulticap.presets import Preset
    from nets.deepmulticap.training import LossWeights
    from nets.normals import NormalNetwork
    from nets.training import Training, TrainingOptions

NORMALS, COARSE, FINE = "normals", "coarse", "fine"
_BATCHES = {COARSE: "batch", FINE: "fine_batch"}
_LOSSES = {COARSE: "losses", FINE: "fine_losses"}
_KEYS = ("output", "start", "weights", "network", "data", "people", "flaws", *_BATCHES.values(), *_LOSSES.values())


@dataclass(frozen=True)
class DataOptions:
    """Which people.

    Attributes:
        folder: where they are kept. train, validation: how many samples of each split.
        images: of a step of the normal network.
        live: processes that make the training people anew as batches ask for them, so that ``train`` may be any number
            and no picture of theirs is stored; 0: they are made once and kept.
    """

    folder: str
    train: int = 300
    validation: int = 18
    images: int = 4
    live: int = 0


@dataclass(frozen=True)
class Recipe:
    """A whole configuration; see ``configs/nets/surface_small.yaml``.

    Attributes:
        start: folder of an earlier training whose best weights the phases begin with; None: from nothing.
        normals: folder of a training whose normal network, and what it has predicted, is taken as it is; None: the
            recipe trains its own.
    """

    preset: Preset
    folder: Path
    data: DataOptions
    people: Any
    start: Path | None
    normals: Path | None
    batches: Mapping[str, BatchOptions]
    losses: Mapping[str, LossWeights]
    flaws: Flaws
    phases: Mapping[str, TrainingOptions]


def job(config: Mapping[str, Any], path: Path) -> Job:
    """All phases of ``deepmulticap`` that the network has."""
    recipe = read_recipe(config, path)
    weights = Path(config["weights"])
    own = recipe.preset.normals is not None and recipe.normals is None
    wanted = [NORMALS] * own + [COARSE] + [FINE] * (recipe.preset.fine is not None)
    phases = [Phase(name, recipe.phases[name], maker(name, recipe)) for name in wanted]

    def export(folder: Path, facts: Mapping[str, Any]) -> Path:
        return export_surface(recipe, folder, weights, facts)

    return Job(recipe.folder, phases, export)


def read_recipe(config: Mapping[str, Any], path: Path) -> Recipe:
    """Check and read a configuration. Paths in it are relative to where the command is run, as ``runs/`` is."""
    from data.training.augment import Flaws
    from data.training.batches import BatchOptions
    from data.training.people import PersonOptions
    from nets.deepmulticap.presets import preset
    from nets.deepmulticap.training import LossWeights
    from nets.training import TrainingOptions

    known_keys(config, (*_KEYS, NORMALS, COARSE, FINE), path)
    taken = Path(config[NORMALS]) if isinstance(config[NORMALS], str) else None
    people = options_of(PersonOptions, config["people"], f"{path}: people")
    try:
        of = replace(preset(config["network"]), image_size=people.size)
        if of.coarse.volume is not None:
            of = replace(of, coarse=replace(of.coarse, volume=replace(of.coarse.volume, resolution=people.volume)))
    except ValueError as error:
        raise InputError(f"{path}: network", str(error), "Choose one of them") from None
    return Recipe(
        preset=of,
        folder=Path(config["output"]),
        data=options_of(DataOptions, config["data"], f"{path}: data"),
        people=people,
        start=None if config["start"] is None else Path(config["start"]),
        normals=taken,
        batches={n: options_of(BatchOptions, config[k], f"{path}: {k}") for n, k in _BATCHES.items()},
        losses={n: options_of(LossWeights, config[k], f"{path}: {k}") for n, k in _LOSSES.items()},
        flaws=options_of(Flaws, config["flaws"], f"{path}: flaws"),
        phases={
            n: options_of(TrainingOptions, config[n], f"{path}: {n}")
            for n in (NORMALS, COARSE, FINE) if n != NORMALS or taken is None
        },
    )


def maker(name: str, recipe: Recipe) -> Callable[[Path], Training]:
    """What builds a phase's training, given the job's folder."""
    make = {NORMALS: normals_training, COARSE: coarse_training, FINE: fine_training}[name]
    return lambda folder: make(recipe, folder)


# --- people ---------------------------------------------------------------------------------------------------------


def people_of(recipe: Recipe, split: str, predicted: Path | None = None) -> People:
    """The people of a split; those that are missing are made first. ``predicted``: see ``predict_maps``."""
    from data.training import shards
    from data.training.batches import People

    if split == "train" and recipe.data.live > 0:
        from data.training.live import LivePeople

        maps = predicted and map_maker(recipe, predicted.parent)
        volume = volume_of(recipe.preset)
        return LivePeople(split, recipe.data.train, recipe.people, recipe.data.live, maps, volume)
    folder, count = Path(recipe.data.folder), getattr(recipe.data, split)
    missing = count - len(shards.people_of(folder, split)[:count])
    if missing > 0:
        print(f"{split}: making {missing} of {count} people", flush=True)
        shards.make(folder, split, count, recipe.people, report=lambda n, s: print(f"{split} {n}: {s:.1f} s"))
    return People(shards.people_of(folder, split)[:count], predicted and predicted / split, volume_of(recipe.preset))


def volume_of(of: Preset) -> Callable[..., Any] | None:
    """What makes the body volume that a network reads; None for one that reads none."""
    options = of.coarse.volume
    if options is None:
        return None
    from data.body_models import load_body_arrays, open_body_model
    from nets.deepmulticap.volumes import body_occupancy, body_semantics, semantic_codes

    arrays = load_body_arrays(open_body_model())
    faces, codes = arrays["f"].astype(int), semantic_codes(arrays["v_template"])
    if options.kind == "occupancy":
        return lambda vertices: body_occupancy(vertices, faces, options.resolution)
    return lambda vertices: body_semantics(vertices, faces, codes, options.resolution)


def map_maker(recipe: Recipe, folder: Path) -> Callable[[Any, Any], Any]:
    """What makes normal maps (V, S, S, 3) int8 of pictures (V, S, S, 3) uint8 and masks (V, S, S) uint8, by the normal
    network of the recipe, whose job has ``folder``."""
    import numpy as np
    import torch

    from nets.deepmulticap.inputs import masked_rgb
    network = normal_network(recipe, folder).to(device())

    def maps(rgb, mask):
        soft = torch.from_numpy(mask.astype(np.float32) / 255)
        images = masked_rgb(torch.from_numpy(rgb.astype(np.float32)).permute(0, 3, 1, 2), soft[:, None])
        with torch.no_grad(), torch.autocast(device().type, torch.bfloat16):
            found = network(images.to(device())).float().cpu()
        return (found * 127).round().clamp(-127, 127).to(torch.int8).permute(0, 2, 3, 1).numpy()

    return maps


def normal_network(recipe: Recipe, folder: Path) -> NormalNetwork:
    """The trained normal network: of the job's folder, or of the training that the recipe takes it from."""
    from nets.checkpoints import CheckpointError
    from nets.normals import NormalNetwork
    from nets.training import best_state

    network = NormalNetwork(recipe.preset.normals)
    where = (recipe.normals or folder) / NORMALS
    try:
        network.load_state_dict(best_state(where)[0])
    except (CheckpointError, RuntimeError) as error:
        raise InputError(where, f"holds no normal network of this size ({error})", "Train it first") from None
    return network.eval()


def predict_maps(recipe: Recipe, folder: Path) -> Path:
    """Normal maps of all who are stored by the trained normal network, for those who have none yet; their folder."""
    import h5py

    from data.training import shards
    from data.training.batches import PREDICTED
    from pipeline.files import atomic_path

    maps, out = map_maker(recipe, folder), (recipe.normals or folder) / PREDICTED
    for split in ("validation",) if recipe.data.live > 0 else ("train", "validation"):
        for file in people_of(recipe, split).files:
            path = out / split / file.name
            if path.exists():
                continue
            a = shards.read(file, "rgb", "mask")
            stored = maps(a["rgb"], a["mask"])
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, h5py.File(temporary, "w") as written:
                written.create_dataset(PREDICTED, data=stored)
    return out


def device():
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def begin_with(network: Module, recipe: Recipe, phase: str) -> None:
    """Take over the best weights of that phase of an earlier training, where there is one; what fits."""
    from nets.training import BEST, best_state

    if recipe.start is None or not (recipe.start / phase / BEST).is_file():
        return
    own = network.state_dict()
    state, _ = best_state(recipe.start / phase)
    network.load_state_dict({k: v for k, v in state.items() if k in own and own[k].shape == v.shape}, strict=False)


def begin_with_state(folder: Path) -> dict[str, Any]:
    """The best weights of a phase that has been trained. Raises InputError."""
    from nets.checkpoints import CheckpointError
    from nets.training import best_state

    try:
        return best_state(folder)[0]
    except CheckpointError as error:
        raise InputError(folder, f"holds no trained network ({error})", "Train it first") from None


# --- normals --------------------------------------------------------------------------------------------------------


def normals_training(recipe: Recipe, folder: Path) -> Training:
    """L1 and angle of normal maps on the mask."""
    import numpy as np
    import torch
    from torch.nn import functional as nn_functional

    from data.training.batches import normal_batch, normal_batches
    from nets.deepmulticap.losses import normal_map_loss
    from nets.normals import NormalNetwork
    from nets.training import Training

    people, held_out = people_of(recipe, "train"), people_of(recipe, "validation")
    torch.manual_seed(recipe.phases[NORMALS].seed)
    network = NormalNetwork(recipe.preset.normals).to(device())
    begin_with(network, recipe, NORMALS)

    def angles(predicted, batch):
        cosine = nn_functional.cosine_similarity(predicted.float(), batch.normals.to(device()), dim=1)
        return cosine.clamp(-1, 1)[batch.mask.to(device())]

    def loss(network, batch):
        predicted = network(batch.rgb.to(device())).float()
        l1 = normal_map_loss(predicted, batch.normals.to(device()), batch.mask.to(device()), weight=1.0)
        turned = (1 - angles(predicted, batch)).mean()
        return {"loss": l1 + turned, "l1": l1, "turned": turned}

    def validate(network):
        rng = np.random.default_rng(0)
        found = []
        for k in range(len(held_out)):
            batch = normal_batch(held_out, [k, k], None, rng)
            found.append(angles(network(batch.rgb.to(device())), batch))
        cosine = torch.cat(found)
        return {"loss": float((1 - cosine).mean()), "degrees": float(torch.rad2deg(cosine.acos()).mean())}

    options = recipe.phases[NORMALS]
    return Training(
        network,
        lambda step: normal_batches(people, recipe.data.images, recipe.flaws, options.seed, step),
        loss,
        validate,
    )


# --- surfaces -------------------------------------------------------------------------------------------------------


def coarse_training(recipe: Recipe, folder: Path) -> Training:
    """The coarse level alone."""
    return surface_training(recipe, folder, fine=False)


def fine_training(recipe: Recipe, folder: Path) -> Training:
    """The fine level over the best coarse one."""
    from nets.training import best_state

    training = surface_training(recipe, folder, fine=True)
    # The coarse level that has just been trained, whatever an earlier training had.
    coarse = {k: v for k, v in best_state(folder / COARSE)[0].items() if k.startswith("surface.coarse.")}
    training.network.load_state_dict(coarse, strict=False)
    return training


def surface_training(recipe: Recipe, folder: Path, fine: bool) -> Training:
    """One level of a surface network, on distances, slopes and reliefs."""
    import torch

    from data.training.batches import surface_batches
    from nets.deepmulticap.training import SurfaceTrainer, surface_losses
    from nets.training import Training

    name = FINE if fine else COARSE
    options = recipe.phases[name]
    reads_normals = any("normals" in level.image.inputs for level in recipe.preset.levels[: 2 if fine else 1])
    predicted = predict_maps(recipe, folder) if reads_normals else None
    people, held_out = (people_of(recipe, split, predicted) for split in ("train", "validation"))
    torch.manual_seed(options.seed)
    trainer = SurfaceTrainer(recipe.preset, fine).to(device())
    begin_with(trainer, recipe, name)
    batch_options, weights = recipe.batches[name], recipe.losses[name]
    fixed = list(validation_batches(held_out, recipe))

    def loss(network, batch):
        return surface_losses(network, *_on_device(batch), apart=batch_options.apart, weights=weights)

    def validate(network):
        found: dict[str, list[float]] = {}
        for batch in fixed:
            for key, value in loss(network, batch).items():
                found.setdefault(key, []).append(float(value))
        return {key: sum(v) / len(v) for key, v in found.items()}

    return Training(
        trainer, lambda step: surface_batches(people, batch_options, recipe.flaws, options.seed, step), loss, validate
    )


def _on_device(batch: SurfaceBatch) -> tuple:
    to = device()
    rest = (batch.points, batch.seen, batch.extra, batch.distance, batch.slopes, batch.relief, batch.detail)
    return (batch.inputs.to(to), *(x.to(to) for x in rest))


def validation_batches(people: People, recipe: Recipe) -> Iterator[SurfaceBatch]:
    """Everybody once, in 4, 6 and 2 views in turn, flawed like the training's but always in the same way."""
    import numpy as np

    from data.training.batches import person_batch

    for k in range(len(people)):
        rng = np.random.default_rng([97, k])
        views = (4, 6, 2)[k % 3]
        yield person_batch(people, k, views, recipe.batches[COARSE], recipe.flaws, rng)


# --- export ---------------------------------------------------------------------------------------------------------


def export_surface(recipe: Recipe, folder: Path, weights: Path, facts: Mapping[str, Any]) -> Path:
    """Join the best of all phases in one file, float16, with its card inside and beside it."""
    from nets.deepmulticap.weights import card_of, save

    surface, normals = trained_networks(recipe, folder)
    card = card_of(recipe.preset, data=described(recipe), **facts)
    weights.parent.mkdir(parents=True, exist_ok=True)
    save(weights, surface, normals, card)
    weights.with_suffix(".json").write_text(card_text(card))
    return weights


def trained_networks(recipe: Recipe, folder: Path):
    """The surface network and the normal network (or None) with the best weights of their phases."""
    from nets.deepmulticap.network import build
    from nets.training import best_state

    surface = build(recipe.preset)
    state = {k: v for k, v in best_state(folder / COARSE)[0].items() if k.startswith("surface.")}
    if recipe.preset.fine is not None:
        state |= {k: v for k, v in best_state(folder / FINE)[0].items() if k.startswith("surface.")}
    surface.load_state_dict({k.removeprefix("surface."): v for k, v in state.items()})
    normals = None if recipe.preset.normals is None else normal_network(recipe, folder)
    return surface.eval(), normals


def described(recipe: Recipe) -> dict[str, Any]:
    return {
        "people": "synthetic, procedurally dressed bodies of the open model; splits of data/synthetic/wardrobe.py",
        **{k: v for k, v in asdict(recipe.data).items() if k != "folder"},
        "making": asdict(recipe.people), "flaws": asdict(recipe.flaws),
        "batches": {k: asdict(v) for k, v in recipe.batches.items()},
        "losses": {k: asdict(v) for k, v in recipe.losses.items()},
        "began_with": began_with(recipe), "normals_of": None if recipe.normals is None else str(recipe.normals),
    }  # fmt: skip


def began_with(recipe: Recipe) -> dict[str, Any] | None:
    """Steps and seconds of the earlier training's phases, if there was one."""
    from nets.training import BEST, best_state

    if recipe.start is None:
        return None
    phases = [p for p in (NORMALS, COARSE, FINE) if (recipe.start / p / BEST).is_file()]
    return {p: {k: round(best_state(recipe.start / p)[1][k]) for k in ("step", "seconds")} for p in phases}
