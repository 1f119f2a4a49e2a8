"""Where scenes with known surfaces come from, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, model_validator

from data.surface_scenes import SceneSource
from pipeline.config import Section
from pipeline.errors import InputError

SOURCES: dict[str, str] = {
    "synthetic": "data.synthetic.surface_scenes:open_synthetic",
    "multihuman": "data.datasets.multihuman:open_multihuman",
    "zju_mocap": "data.datasets.zju_mocap:open_zju_mocap",
}
"""Names of sources and the function that opens each, given the root folder (None for those that need none)."""

NEED_A_ROOT = ("multihuman", "zju_mocap")


class DatasetConfig(Section):
    """A source of scenes."""

    name: str = Field("synthetic", description="synthetic: made by the project; multihuman: the paper's scans; "
                      "zju_mocap: no true surfaces, silhouettes in cameras that are not given.")
    root: str | None = Field(None, description="Folder of the data set; null for what the project makes itself.")

    @model_validator(mode="after")
    def _known(self) -> DatasetConfig:
        if self.name not in SOURCES:
            raise ValueError(f"name {self.name!r} is not one of {', '.join(SOURCES)}")
        if (self.name in NEED_A_ROOT) != (self.root is not None):
            raise ValueError(f"{self.name} {'needs a' if self.name in NEED_A_ROOT else 'has no'} root")
        return self


def open_source(config: DatasetConfig, resolve: Callable[[str], Path]) -> SceneSource:
    """Raises InputError for a root that does not hold the data set."""
    root = None if config.root is None else resolve(config.root)
    if root is not None and not root.is_dir():
        raise InputError("dataset.root", f"{root} is no folder", f"Give the folder of {config.name}")
    module, function = SOURCES[config.name].split(":")
    return getattr(importlib.import_module(module), function)(root)
