"""What a benchmark is made of. A module here gives one as ``BENCHMARK``; ``tasks.evaluate`` knows them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import Section

Row = dict[str, Any]
"""``method``, ``category``, settings, and measures with their unit in the name; NaN where nobody can tell."""


@dataclass(frozen=True)
class Request:
    """What the command line asks of a benchmark.

    Attributes:
        path: of the configuration, absolute; its paths are relative to it.
        external: folders of meshes made elsewhere, by the name of their rows.
        tell: takes a line on how far the benchmark is.
    """

    path: Path
    external: Mapping[str, Path] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda line: None

    def resolve(self, text: str) -> Path:
        """A path of the configuration."""
        return (self.path.parent / Path(text).expanduser()).resolve()


@dataclass(frozen=True)
class Benchmark:
    """Attributes:
        config: the block that its configuration file is.
        run: makes the rows. Raises ``InputError`` for what the user gave before any long work.
        measures: names of the measures in the order they are shown, with the digits after the point.
        notes: lines for below the table, made from the rows.
        takes_external: whether rows can come from folders of meshes made elsewhere.
    """

    config: type[Section]
    run: Callable[[Any, Request], list[Row]]
    measures: Mapping[str, int]
    notes: Callable[[Sequence[Row]], Sequence[str]] = lambda rows: ()
    takes_external: bool = False
