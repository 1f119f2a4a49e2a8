"""The networks of a surface: ours from one file, or a released ``netG`` with the ``netN`` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nets.checkpoints import CheckpointError, read_state
from nets.deepmulticap import weights
from nets.deepmulticap.compat import load_released_normals
from nets.deepmulticap.network import SurfaceNetwork
from nets.deepmulticap.presets import NORMALS, Preset
from nets.normals import NormalNetwork
from pipeline.errors import InputError


@dataclass(frozen=True)
class Networks:
    """Networks in evaluation mode.

    Attributes:
        normals: None where ``surface`` reads no predicted normals.
        coarse_head: whether the coarse level may be asked by itself.
        card: what the file says of itself.
        refiner: the normal network by which finished surfaces are bent; None where there is none.
    """

    surface: SurfaceNetwork
    normals: NormalNetwork | None
    coarse_head: bool
    card: Mapping[str, Any]
    refiner: NormalNetwork | None = None

    @property
    def preset(self) -> Preset:
        return self.surface.preset

    @property
    def released(self) -> bool:
        return self.preset.sampling == "released"

    def to(self, device: torch.device | str) -> Networks:
        self.surface.to(device)
        for network in (self.normals, self.refiner):
            if network is not None:
                network.to(device)
        return self


def normals_beside(path: Path) -> Path | None:
    """The released normal network beside a released surface network: ``netN...`` beside ``netG...``."""
    other = path.with_name(path.name.replace("netG", "netN", 1))
    return other if other != path and other.is_file() else None


def load_networks(path: Path) -> Networks:
    """Networks of a file, ours or released.

    Raises:
        InputError: the file cannot be used, is of another configuration than it says, or the normal network is missing.
    """
    try:
        loaded = weights.load(path)
        normals = loaded.normals
        if normals is None and NORMALS in loaded.surface.preset.inputs:
            beside = normals_beside(path)
            if beside is None:
                raise CheckpointError(
                    path, "no normal network came with it", "Put the released netN file beside netG, under that name"
                )
            normals = NormalNetwork(loaded.surface.preset.normals)
            load_released_normals(normals, read_state(beside)[0], str(beside))
    except CheckpointError as error:
        raise InputError(error.where, error.problem, error.remedy) from None
    normals = None if normals is None else normals.eval()
    return Networks(loaded.surface, normals, loaded.coarse_head, loaded.card, loaded.refiner)
