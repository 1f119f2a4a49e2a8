"""``train NET CONFIG``: trains a network of ours, in slices if need be, and writes its weights with their card.

A network plugs in as a module with one function, named in ``NETS``:

    def job(config: Mapping, path: Path) -> Job

It reads its own blocks of the configuration with ``options_of``, which refuses what it does not know. A job's phases
are trained one after the other, each in a folder of its own under ``output``; an interrupted job goes on where it
stopped. Runs without Luigi, pydantic or Open3D, as a bare GPU machine has none: ``python -m tasks.train NET CONFIG``.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import platform
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from pipeline.errors import InputError
from pipeline.files import write_atomic

if TYPE_CHECKING:
    from nets.training import Progress, Training, TrainingOptions

NETS: dict[str, str] = {
    "parsing": "tasks.train_parsing",
    "deepmulticap": "tasks.train_surface",
    "normals": "tasks.train_normals",
    "refiner": "tasks.train_refiner",
    "mili": "tasks.train_mili",
}
"""Names of networks and the modules that know how each is trained."""

OK, INCOMPLETE = 0, 1
Options = TypeVar("Options")


@dataclass(frozen=True)
class Phase:
    """One training of a job.

    Attributes:
        name: of its folder under the job's.
        options: how it is trained.
        make: builds network and data; called when its turn has come, with the job's folder, so that it can read what
            earlier phases left there.
        folder: None: named after the phase, under the job's; another where jobs share a phase.
    """

    name: str
    options: TrainingOptions
    make: Callable[[Path], Training]
    folder: Path | None = None


@dataclass(frozen=True)
class Job:
    """What ``train`` does.

    Attributes:
        folder: of everything that is made.
        phases: in order.
        export: writes the weights, given the job's folder and the facts for the card; returns the file.
    """

    folder: Path
    phases: Sequence[Phase]
    export: Callable[[Path, Mapping[str, Any]], Path]


def command(options: Namespace) -> int:
    """Train; the exit code: 0 finished, 1 stopped by ``--stop-after`` with more to do."""
    path = Path(options.config)
    job = _module(options.net).job(read_config(path), path)
    return run(job, options.stop_after, f"run_pipeline.py train {options.net} {options.config}")


def run(job: Job, stop_after_s: float | None, made_by: str) -> int:
    """Train the phases of a job in turn, then export."""
    from nets.checkpoints import CheckpointError
    from nets.training import TrainingError, finished, train

    begin, phases = time.monotonic(), {}
    for phase in job.phases:
        left = None if stop_after_s is None else max(0.0, stop_after_s - (time.monotonic() - begin))
        folder = phase.folder or job.folder / phase.name
        try:
            progress = finished(folder, phase.options)
            if progress is None:
                training = phase.make(job.folder)
                with _Bar(phase.name, phase.options.steps) as bar:
                    progress = train(training, phase.options, folder, left, bar.show)
        except (TrainingError, CheckpointError) as error:
            raise InputError(folder, str(error), "Fix that and run the same command again") from error
        if progress.rows:
            write_atomic(folder / "curves.svg", picture(phase.name, progress.rows))
        if not progress.done:
            print(f"{phase.name}: {progress.step} of {progress.steps} steps; run the same command again to go on")
            return INCOMPLETE
        phases[phase.name] = {
            **dataclasses.asdict(phase.options), "seconds": round(progress.seconds), "best_step": progress.best_step,
            "figures": progress.best, "skipped_steps": progress.skipped,
        }  # fmt: skip
    weights = job.export(job.folder, {"made_by": made_by, "hardware": hardware(), "phases": phases})
    print(f"weights: {weights} ({weights.stat().st_size / 1e6:.1f} MB)")
    return OK


# --- configuration --------------------------------------------------------------------------------------------------


def read_config(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file. Raises InputError."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Give a file of configs/nets") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, f"is no YAML ({error})", "See configs/nets for examples") from None
    if not isinstance(values, dict):
        raise InputError(path, "is no mapping of names to values", "See configs/nets for examples")
    return values


def known_keys(config: Mapping[str, Any], known: Sequence[str], where: object) -> None:
    """Raise InputError for a key that is not known, or one that is missing."""
    for key in config:
        if key not in known:
            raise InputError(f"{where}: {key}", "is not known", f"Known are {', '.join(known)}")
    for key in known:
        if key not in config:
            raise InputError(f"{where}: {key}", "is missing", "See configs/nets for examples")


def options_of(kind: type[Options], values: Any, where: str) -> Options:
    """A dataclass of plain numbers, strings and tuples of them, from a block of a configuration.

    Raises:
        InputError: naming a key that is unknown or missing, or whose value has another type.
    """
    if not isinstance(values, Mapping):
        raise InputError(where, "is no mapping", "See configs/nets for examples")
    hints, fields = get_type_hints(kind), {f.name: f for f in dataclasses.fields(kind)}
    out = {}
    for key, value in values.items():
        if key not in fields:
            raise InputError(f"{where}.{key}", "is not known", f"Known are {', '.join(fields)}")
        out[key] = _typed(hints[key], value, f"{where}.{key}")
    for key, f in fields.items():
        if key not in out and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}.{key}", "is missing", "See configs/nets for examples")
    return kind(**out)


def _typed(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if getattr(hint, "__origin__", None) is tuple:
        if not isinstance(value, list):
            raise InputError(where, f"{value!r} is no list", "Write [a, b, ...]")
        inner = hint.__args__[0]
        return tuple(_typed(inner, v, where) for v in value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
        raise InputError(where, f"{value!r} is not {names.get(hint, hint)}", "Correct it")
    return value


def _module(net: str) -> Any:
    if net not in NETS:
        raise InputError("NET", f"{net!r} is no network that can be trained", f"Choose one of {', '.join(NETS)}")
    return importlib.import_module(NETS[net])


# --- what is shown and kept -----------------------------------------------------------------------------------------


def hardware() -> str:
    """Device, threads and torch of this machine, for a card."""
    import torch

    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
        device = f"{model or platform.machine()}, {torch.get_num_threads()} thread(s)"
    return f"{device}, torch {torch.__version__}"


class _Bar:
    """A progress bar on a terminal, a line now and then in a log."""

    def __init__(self, name: str, steps: int, every_s: float = 20.0) -> None:
        self.name, self.steps, self.every_s = name, steps, every_s
        self.terminal, self.shown = sys.stdout.isatty(), time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> _Bar:
        if self.terminal:
            from tqdm import tqdm

            self.bar = tqdm(total=self.steps, desc=self.name, unit="step", dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, progress: Progress) -> None:
        row = progress.rows[-1] if progress.rows else {}
        best = ", ".join(f"{k} {v:.4g}" for k, v in progress.best.items())
        if self.bar is not None:
            self.bar.update(progress.step - self.bar.n)
            self.bar.set_postfix_str(f"loss {row.get('loss', float('nan')):.4f}; {best}", refresh=False)
        elif time.monotonic() - self.shown > self.every_s or progress.done:
            self.shown = time.monotonic()
            loss = f"loss {row['loss']:.4f}" if "loss" in row else ""
            print(f"{self.name} {progress.step}/{self.steps} {progress.seconds:.0f} s {loss}; best {best}", flush=True)


def picture(name: str, rows: Sequence[Mapping[str, float]]) -> str:
    """The curves of a training, losses and validation, as an SVG picture."""
    import numpy as np

    from pipeline.quality.plots import CAMERA_COLOURS, Plot, Series, svg

    keys = [k for k in dict.fromkeys(k for row in rows for k in row) if k not in ("step", "seconds", "rate")]
    keys = [k for k in keys if any(np.isfinite(row.get(k, np.nan)) for row in rows)]  # a figure may never be known
    steps = np.array([int(row["step"]) for row in rows])
    series = tuple(
        Series(key, np.array([row.get(key, np.nan) for row in rows], float), CAMERA_COLOURS[k % len(CAMERA_COLOURS)])
        for k, key in enumerate(keys)
    )
    legend = "".join(
        f'<text x="{60 + 240 * (k % 4)}" y="{214 + 16 * (k // 4)}" fill="{s.colour}">{s.label} '
        f"{s.values[np.isfinite(s.values)][-1]:.4g}</text>"
        for k, s in enumerate(series)
    )
    drawn = svg(Plot(name, "", steps, series))
    height = 224 + 16 * (len(series) // 4)
    opened = drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    opened = opened.replace("0 0 1040 190", f"0 0 1040 {height}", 1)
    return opened.removesuffix("</svg>") + legend + "</svg>"


def card_text(card: Mapping[str, Any]) -> str:
    """A card as indented JSON, as it lies beside the weights."""
    return json.dumps(card, indent=1, sort_keys=False) + "\n"


def add_arguments(parser: ArgumentParser) -> None:
    """The arguments of the verb."""
    parser.add_argument("net", metavar="NET", help="parsing, normals, deepmulticap, refiner or mili")
    parser.add_argument("config", metavar="CONFIG", help="training configuration (YAML), see configs/nets")
    parser.add_argument(
        "--stop-after", type=float, metavar="SECONDS", help="stop then; the same command goes on where it stopped"
    )


if __name__ == "__main__":
    arguments = ArgumentParser(prog="python -m tasks.train", description=__doc__.splitlines()[0])
    add_arguments(arguments)
    try:
        sys.exit(command(arguments.parse_args()))
    except InputError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
