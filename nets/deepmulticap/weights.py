"""Files of surface networks: ours, which say what they are, and the released ones.

One file of ours holds a surface network, the normal network it was trained with, and perhaps a refiner. Its metadata
hold the preset, from which the networks are built again, and a card: plain text of data, recipe, seed and figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nets.checkpoints import CheckpointError, check_fit, load_strictly, read_state, write_state
from nets.deepmulticap.compat import load_released
from nets.deepmulticap.network import SurfaceNetwork, build
from nets.deepmulticap.presets import Preset, choices, preset
from nets.normals import NormalNetwork

_SURFACE, _NORMALS, _REFINER = "surface.", "normals.", "refiner."
_MOST = {"stacks": 16, "layers": 16, "blocks": 64, "halvings": 8}  # anything else: 8192


@dataclass(frozen=True)
class Loaded:
    """Networks in evaluation mode on the CPU.

    Attributes:
        normals: None where the preset needs none, or the file holds none (a released ``netG``: its ``netN`` is apart).
        refiner: the guided normal network by which finished surfaces are bent; None where the file holds none.
        coarse_head: False for a released file without the coarse level's own head.
        card: what the file says of itself; empty for a released file.
    """

    surface: SurfaceNetwork
    normals: NormalNetwork | None
    coarse_head: bool
    card: Mapping[str, Any]
    refiner: NormalNetwork | None = None


def card_of(of: Preset, **facts: Any) -> dict[str, Any]:
    """A card: the preset by name, its six settings, its parameters, and whatever facts are given."""
    with torch.device("meta"):
        count = build(of).parameter_count()
        normals, refiner = (
            0 if o is None else sum(p.numel() for p in NormalNetwork(o).parameters()) for o in (of.normals, of.refiner)
        )
    sizes = {"parameters": count, "normal_network_parameters": normals, "refiner_parameters": refiner}
    return {"preset": of.name, **choices(of), **sizes, **facts}


def save(
    path: Path,
    surface: SurfaceNetwork,
    normals: NormalNetwork | None,
    card: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
    refiner: NormalNetwork | None = None,
) -> None:
    """Write a file of ours; numbers are stored as ``dtype``."""
    given = {_SURFACE: surface, _NORMALS: normals, _REFINER: refiner}
    parts: dict[str, nn.Module] = {start: network for start, network in given.items() if network is not None}
    of = replace(surface.preset, refiner=None if refiner is None else refiner.options)
    state = {
        start + key: value.to(dtype) if value.is_floating_point() else value
        for start, network in parts.items()
        for key, value in network.state_dict().items()
    }
    metadata = {"preset": json.dumps(of.to_dict()), "card": json.dumps(dict(card))}
    write_state(path, state, metadata)


def load(path: Path, expected: Preset | None = None) -> Loaded:
    """Networks of a file, ours or a released ``netG``.

    Raises:
        CheckpointError: the file cannot be used, or is of another configuration than ``expected``.
    """
    state, metadata = read_state(path)
    if "preset" not in metadata:
        of = preset("released")
        _expect(path, of, expected)
        surface = build(of)
        found = load_released(surface, state, str(path))
        return Loaded(surface.eval(), None, found.coarse_head, {})
    of = _preset(path, metadata["preset"])
    _expect(path, of, expected)
    surface = _filled(build, of, _part(state, _SURFACE), path)
    normals = None
    if any(key.startswith(_NORMALS) for key in state):
        if of.normals is None:
            raise CheckpointError(path, "holds a normal network that its preset does not have", "Get the file again")
        normals = _filled(NormalNetwork, of.normals, _part(state, _NORMALS), path)
    refiner = None if of.refiner is None else _filled(NormalNetwork, of.refiner, _part(state, _REFINER), path)
    known = (_SURFACE, _NORMALS) if refiner is None else (_SURFACE, _NORMALS, _REFINER)
    unknown = [key for key in state if not key.startswith(known)]
    if unknown:
        raise CheckpointError(path, f"unknown key {unknown[0]}", "Get the file again")
    return Loaded(surface, normals, True, json.loads(metadata.get("card", "{}")), refiner)


def _part(state: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}


def _filled(make: Any, options: Any, state: Mapping[str, Tensor], path: Path) -> Any:
    """A network with the file's numbers. It gets memory only once the file is known to fit it."""
    with torch.device("meta"):
        network = make(options)
    check_fit(network, state, path)
    network = network.to_empty(device="cpu")
    load_strictly(network, state, path)
    return network.eval()


def _preset(path: Path, text: str) -> Preset:
    try:
        values = json.loads(text)
        _bounded(values)
        return Preset.from_dict(values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(path, f"its preset cannot be read ({error})", "Get the file again") from error


def _bounded(value: Any, key: str = "") -> None:
    """Sizes from a file are small before anything is built of them."""
    if isinstance(value, dict):
        for k, v in value.items():
            _bounded(v, k)
    elif isinstance(value, list):
        if len(value) > 16:
            raise ValueError(f"{key} is too long")
        for v in value:
            _bounded(v, key)
    elif isinstance(value, int | float) and not 0 <= value <= _MOST.get(key, 8192):
        raise ValueError(f"{key} is {value}")


def _expect(path: Path, of: Preset, expected: Preset | None) -> None:
    if expected is None or of == expected:
        return
    ours, theirs = expected.to_dict(), of.to_dict()
    differing = [k for k in ours if ours[k] != theirs[k]]
    raise CheckpointError(
        path, f"weights of network {of.name!r}, not {expected.name!r} (differ in {', '.join(differing)})",
        "Give weights of that network, or name the other one in the configuration",
    )  # fmt: skip
