"""``evaluate BENCHMARK [CONFIG]``: runs a benchmark, prints its table and writes its rows as JSON.

A benchmark plugs in as a module with one name, ``BENCHMARK`` (``tasks.benchmarks.benchmark``), named in ``BENCHMARKS``.
Its configuration is a file of ``configs/benchmarks`` unless another is given.
"""

from __future__ import annotations

import importlib
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.config import read_section
from pipeline.errors import InputError
from pipeline.files import write_atomic
from tasks.benchmarks.benchmark import Benchmark, Request
from tasks.benchmarks.tables import json_text, text_table

BENCHMARKS: dict[str, str] = {
    "association": "tasks.benchmarks.association",
    "body": "tasks.benchmarks.body",
    "segmentation": "tasks.benchmarks.segmentation",
    "stills": "tasks.benchmarks.stills",
    "fusion": "tasks.benchmarks.fusion",
    "table1": "tasks.benchmarks.table1",
    "texture": "tasks.benchmarks.texture",
}
"""Names of benchmarks and the modules that run them."""

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "benchmarks"
OK = 0


def command(options: Namespace) -> int:
    """Run one benchmark; the exit code."""
    name = options.benchmark
    path = Path(options.config) if options.config else CONFIGS / f"{name}.yaml"
    path = path.expanduser().resolve()
    target = None if options.json is None else _writable(Path(options.json))
    benchmark = load(name)
    config = read_section(path, benchmark.config, "benchmark's configuration", f"configs/benchmarks/{name}.yaml")
    external = _external(options.external or (), benchmark, name)
    begin = time.monotonic()
    rows = benchmark.run(config, Request(path, external, _tell))
    print(text_table(rows, benchmark.measures))
    for line in benchmark.notes(rows):
        print(line)
    if target is not None:
        write_atomic(target, json_text(name, software(), rows))
        print(f"rows: {target}")
    _tell(f"{name}: {len(rows)} rows in {time.monotonic() - begin:.0f} s")
    return OK


def load(name: str) -> Benchmark:
    """Raises InputError for a benchmark that is not known."""
    if name not in BENCHMARKS:
        raise InputError("BENCHMARK", f"{name!r} is not known", f"Choose one of {', '.join(BENCHMARKS)}")
    return importlib.import_module(BENCHMARKS[name]).BENCHMARK


def software() -> dict[str, str]:
    """Versions of what figures depend on."""
    found = {}
    for package in ("numpy", "scipy", "torch", "open3d-cpu", "open3d"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _external(given: Sequence[tuple[str, str]], benchmark: Benchmark, name: str) -> Mapping[str, Path]:
    if given and not benchmark.takes_external:
        raise InputError("--external", f"benchmark {name} compares no meshes made elsewhere", "Leave it out")
    out: dict[str, Path] = {}
    for label, text in given:
        folder = Path(text).expanduser().resolve()
        if not folder.is_dir():
            raise InputError(f"--external {label}", f"{folder} is no folder", "Give the folder that holds the meshes")
        if label in out:
            raise InputError(f"--external {label}", "is given twice", "Name each folder differently")
        out[label] = folder
    return out


def _writable(path: Path) -> Path:
    path = path.expanduser().resolve()
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else f"lies in {path.parent}, which is no folder"
        raise InputError("--json", f"{path} {problem}", "Give the name of a file")
    return path


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
