"""``train refiner``: the guided normal network by which finished surfaces are bent, added to a file of weights.

First the fitted body guides it, then the surfaces that the file's own networks make of the training people, then both
in turn, on windows of the pictures and with more weight on folds; last, in the same way, with a part more that reads
folds from shading. The curves have the error of its normals (``degrees``), of the guide's own (``guide``), and what is
left without the picture (``grey``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from tasks.train import Job, Phase, card_text, known_keys, options_of
from tasks.train_surface import NORMALS, begin_with_state, device

if TYPE_CHECKING:
    from data.training.augment import Flaws
    from data.training.batches import People
    from data.training.guides import Guide
    from data.training.people import PersonOptions
    from nets.training import Training, TrainingOptions

BODY, SURFACE, DETAIL, SHADING = PHASES = ("body", "surface", "detail", "shading")
FOLDS = 3
"""How much the differences from pixel to pixel count in the last two phases."""
_KEYS = ("output", "start", "weights", "data", "people", "flaws", "resolution", *PHASES)


@dataclass(frozen=True)
class DataOptions:
    """Which people.

    Attributes:
        folder: where they are kept, as the surface network's training has them. train, validation: how many.
        surfaces: of how many training people surfaces are made as guides. images: of a step.
        windows: of a step of the last two phases, ``window`` pixels a side.
    """

    folder: str
    train: int = 324
    validation: int = 18
    surfaces: int = 60
    images: int = 4
    windows: int = 8
    window: int = 128


@dataclass(frozen=True)
class Recipe:
    """A whole configuration; see ``configs/nets/surface_refiner.yaml``.

    Attributes:
        weights: the file that is read, and written again with the refiner in it.
        start: folder of the training whose normal network it begins with, the guide counting nothing yet.
        resolution: voxels along the box of the surfaces that guide.
    """

    folder: Path
    start: Path | None
    weights: Path
    data: DataOptions
    people: PersonOptions
    flaws: Flaws
    resolution: int
    phases: Mapping[str, TrainingOptions]


def job(config: Mapping[str, Any], path: Path) -> Job:
    recipe = read_recipe(config, path)
    phases = [
        Phase(BODY, recipe.phases[BODY], lambda folder: body_training(recipe)),
        Phase(SURFACE, recipe.phases[SURFACE], lambda folder: surface_training(recipe, folder)),
        Phase(DETAIL, recipe.phases[DETAIL], lambda folder: detail_training(recipe, folder)),
        Phase(SHADING, recipe.phases[SHADING], lambda folder: shading_training(recipe, folder)),
    ]
    return Job(recipe.folder, phases, lambda folder, facts: export(recipe, folder, facts))


def read_recipe(config: Mapping[str, Any], path: Path) -> Recipe:
    from data.training.augment import Flaws
    from data.training.people import PersonOptions
    from nets.training import TrainingOptions

    known_keys(config, _KEYS, path)
    weights = Path(config["weights"])
    if not weights.is_file():
        raise InputError(f"{path}: weights", f"there is no {weights}", "Train the surface network first")
    return Recipe(
        folder=Path(config["output"]),
        start=None if config["start"] is None else Path(config["start"]),
        weights=weights,
        data=options_of(DataOptions, config["data"], f"{path}: data"),
        people=options_of(PersonOptions, config["people"], f"{path}: people"),
        flaws=options_of(Flaws, config["flaws"], f"{path}: flaws"),
        resolution=int(config["resolution"]),
        phases={n: options_of(TrainingOptions, config[n], f"{path}: {n}") for n in PHASES},
    )


def people_of(recipe: Recipe, split: str, count: int) -> People:
    """The people of a split; those that are missing are made first."""
    from data.training import shards
    from data.training.batches import People

    folder = Path(recipe.data.folder)
    if len(shards.people_of(folder, split)) < count:
        shards.make(folder, split, count, recipe.people, report=lambda n, s: print(f"{split} {n}: {s:.1f} s"))
    return People(shards.people_of(folder, split)[:count])


def body_training(recipe: Recipe) -> Training:
    """Guided by the fitted body, which costs nothing to make, on all people."""
    from data.training.guides import BodyGuide

    people = people_of(recipe, "train", recipe.data.train)
    held_out = people_of(recipe, "validation", recipe.data.validation)
    state = None if recipe.start is None else begin_with_state(recipe.start / NORMALS)
    return _training(recipe, BODY, [(people, BodyGuide(people))], (held_out, BodyGuide(held_out)), state)


def surface_training(recipe: Recipe, folder: Path) -> Training:
    """Guided by the surfaces that the file's networks make."""
    people = people_of(recipe, "train", recipe.data.surfaces)
    held_out = people_of(recipe, "validation", recipe.data.validation)
    guides = [surface_guides(recipe, folder, p, split) for p, split in ((people, "train"), (held_out, "validation"))]
    return _training(recipe, SURFACE, [(people, guides[0])], (held_out, guides[1]), begin_with_state(folder / BODY))


def detail_training(recipe: Recipe, folder: Path) -> Training:
    """Guided by both in turn, on windows."""
    surface, body, held_out = _sources(recipe, folder)
    return _training(recipe, DETAIL, [surface, body], held_out, begin_with_state(folder / SURFACE))


def shading_training(recipe: Recipe, folder: Path) -> Training:
    """The same with the part that reads shading, and guided by surfaces two times in three: those it will meet."""
    surface, body, held_out = _sources(recipe, folder)
    return _training(recipe, SHADING, [surface, body, surface], held_out, begin_with_state(folder / DETAIL))


def _sources(recipe: Recipe, folder: Path) -> list[tuple[People, Guide]]:
    """People with the surfaces that guide, everybody with their bodies, and held-out people with surfaces."""
    from data.training.guides import BodyGuide

    everybody = people_of(recipe, "train", recipe.data.train)
    some = people_of(recipe, "train", recipe.data.surfaces)
    held_out = people_of(recipe, "validation", recipe.data.validation)
    guides = [surface_guides(recipe, folder, p, split) for p, split in ((some, "train"), (held_out, "validation"))]
    return [(some, guides[0]), (everybody, BodyGuide(everybody)), (held_out, guides[1])]


def surface_guides(recipe: Recipe, folder: Path, people: People, split: str) -> Guide:
    """Surfaces of these people, made where they are missing."""
    from data.body_models import load_body_arrays, open_body_model
    from data.training.guides import make_guides
    from pipeline.surface.networks import load_networks
    from pipeline.surface.prepare import with_normals
    from pipeline.surface.reconstruct import reconstruct

    networks = replace(load_networks(recipe.weights), refiner=None)

    def surface(prepared, body):
        if networks.normals is not None:
            prepared = with_normals(prepared, networks.normals)
        return reconstruct(networks, prepared, body, recipe.resolution).mesh

    faces = load_body_arrays(open_body_model())["f"].astype(int)
    return make_guides(people, folder / "guides" / split, faces, recipe.flaws, surface)


def _training(
    recipe: Recipe, name: str, trained: Sequence[tuple[People, Guide]], held_out: tuple[People, Guide], start: Any
) -> Training:
    """L1 and angle of normal maps on the mask, and L1 of their differences from pixel to pixel: of folds."""
    import numpy as np
    import torch
    from torch.nn import functional as nn_functional

    from data.training.guides import guided_batch, guided_batches, taking_turns
    from nets.deepmulticap.losses import normal_edge_loss, normal_map_loss
    from nets.normals import SMALL_REFINER, NormalNetwork
    from nets.training import Training

    torch.manual_seed(recipe.phases[name].seed)
    network = NormalNetwork(SMALL_REFINER if name == SHADING else replace(SMALL_REFINER, shading=0)).to(device())
    if start is not None:
        network.load_state_dict(with_guide(start, network.state_dict()))

    def angles(predicted, batch):
        cosine = nn_functional.cosine_similarity(predicted.float(), batch.normals.to(device()), dim=1)
        return cosine.clamp(-1, 1)[batch.mask.to(device())]

    def loss(network, batch):
        normals, mask = batch.normals.to(device()), batch.mask.to(device())
        predicted = network(batch.rgb.to(device())).float()
        parts = {
            "l1": normal_map_loss(predicted, normals, mask, weight=1.0),
            "turned": (1 - angles(predicted, batch)).mean(),
            "edges": normal_edge_loss(predicted, normals, mask),
        }
        return {"loss": sum(parts.values()) + (folds - 1) * parts["edges"], **parts}

    people, guide = held_out
    fixed = [guided_batch(people, guide, [k, k], None, np.random.default_rng([97, k])) for k in range(len(people))]

    def validate(network):
        found = {"degrees": [], "guide": [], "grey": []}
        for batch in fixed:
            images = batch.rgb.to(device())
            grey = torch.cat([torch.zeros_like(images[:, :3]), images[:, 3:]], 1)
            found["degrees"].append(angles(network(images), batch))
            found["guide"].append(angles(images[:, 3:] + 1e-6, batch))
            found["grey"].append(angles(network(grey), batch))
        cosine = {key: torch.cat(value) for key, value in found.items()}
        figures = {key: float(torch.rad2deg(value.acos()).mean()) for key, value in cosine.items()}
        return {"loss": float((1 - cosine["degrees"]).mean()), **figures}

    options, data = recipe.phases[name], recipe.data
    images, window, folds = (data.windows, data.window, FOLDS) if name in (DETAIL, SHADING) else (data.images, None, 1)

    def source(place, people, guide):
        return lambda step: guided_batches(people, guide, images, recipe.flaws, options.seed + place, step, window)

    sources = [source(place, *pair) for place, pair in enumerate(trained)]
    return Training(network, lambda step: taking_turns(sources, step), loss, validate)


def with_guide(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a normal network for a guided one: if it was not guided, the guide counts nothing yet, and what it
    has no part for begins as ``own``."""
    import torch

    out = {**own, **state}
    for key, value in own.items():
        if out[key].shape != value.shape:  # the first layer, which reads colours alone
            more = torch.zeros_like(value[:, out[key].shape[1] :])
            out[key] = torch.cat([out[key].to(value), more], 1)
    return out


def export(recipe: Recipe, folder: Path, facts: Mapping[str, Any]) -> Path:
    """Write the file of weights again with the refiner in it, its card beside it."""
    from nets.deepmulticap.weights import load, save
    from nets.normals import SMALL_REFINER, NormalNetwork

    there = load(recipe.weights)
    refiner = NormalNetwork(SMALL_REFINER)
    refiner.load_state_dict(begin_with_state(folder / SHADING))
    told = {
        **facts, **asdict(recipe.data), "flaws": asdict(recipe.flaws), "resolution": recipe.resolution,
        "parameters": sum(p.numel() for p in refiner.parameters()),
    }  # fmt: skip
    told.pop("folder")
    card = {**there.card, "refiner": told}
    save(recipe.weights, there.surface, there.normals, card, refiner=refiner)
    recipe.weights.with_suffix(".json").write_text(card_text(card))
    return recipe.weights
