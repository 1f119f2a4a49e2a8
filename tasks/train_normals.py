"""``train normals``: the normal network alone, by the same configuration as the surface network it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from tasks.train import Job, Phase
from tasks.train_surface import NORMALS, described, maker, read_recipe


def job(config: Mapping[str, Any], path: Path) -> Job:
    """The first phase of ``train deepmulticap``, exported by itself as ``normals.safetensors``."""
    recipe = read_recipe(config, path)
    if recipe.preset.normals is None:
        raise InputError(f"{path}: network", f"{recipe.preset.name} reads no normal maps", "Choose another network")
    if recipe.normals is not None:
        raise InputError(f"{path}: normals", f"are those of {recipe.normals}", "Train them by its configuration")
    weights = Path(config["weights"]).with_name("normals.safetensors")

    def export(folder: Path, facts: Mapping[str, Any]) -> Path:
        from nets.checkpoints import write_state
        from nets.training import best_state

        state, _ = best_state(folder / NORMALS)
        card = {"network": "normals", **asdict(recipe.preset.normals), "data": described(recipe), **facts}
        weights.parent.mkdir(parents=True, exist_ok=True)
        write_state(weights, {k: v.half() for k, v in state.items()}, {"card": json.dumps(card)})
        return weights

    return Job(recipe.folder, [Phase(NORMALS, recipe.phases[NORMALS], maker(NORMALS, recipe))], export)
