"""One training loop for every network of ours: seeded, resumable, in time slices.

    options = TrainingOptions(steps=3000, precision="bfloat16")
    done = train(Training(network, batches, loss, validate), options, folder, stop_after_s=540)

``folder`` holds ``checkpoint.pt`` (everything that is needed to go on, written beside its name and moved there),
``best.safetensors`` (the moving average of the weights at the best validation so far), ``curves.csv`` and
``curves.json``. The same call goes on where the last one stopped and ends with the weights that one uninterrupted call
would have given: batches are asked for by the number of their step, and torch's generator is seeded by it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nets.checkpoints import CheckpointError, read_state, write_state

CHECKPOINT, BEST, CURVES, TABLE = "checkpoint.pt", "best.safetensors", "curves.json", "curves.csv"
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


class TrainingError(RuntimeError):
    """Training cannot go on: losses are not finite, or the folder belongs to another training."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Attributes:
        steps: in all.
        learning_rate: after ``warmup`` steps; falls along a cosine to ``final_rate`` of it.
        optimizer: "adamw", or "sgd" with momentum 0.9.
        clip: largest norm of the gradient.
        ema: decay a step of the moving average of the weights, which is what is validated and kept.
        precision: of the forward pass: "float32", "bfloat16", "float16" (losses are scaled), or "auto": bfloat16
            where the device has instructions for it.
        validate_every, record_every: steps.
        checkpoint_every_s: seconds between checkpoints; one is also written at the end of a slice and on interruption.
        monitor: the validation figure whose smallest value is the best.
        seed: of everything that is drawn.
    """

    steps: int
    learning_rate: float = 1.2e-3
    final_rate: float = 0.01
    warmup: int = 60
    weight_decay: float = 1e-2
    clip: float = 1.0
    ema: float = 0.995
    precision: str = "auto"
    validate_every: int = 200
    record_every: int = 20
    checkpoint_every_s: float = 60.0
    monitor: str = "loss"
    seed: int = 0
    optimizer: str = "adamw"


@dataclass(frozen=True)
class Training:
    """What is trained, on what, by what.

    Attributes:
        network: in training mode while losses are taken, in evaluation mode while it is validated.
        batches: a step to the batches from that step on; the same step always gets the same batch.
        loss: network and batch to named scalars; "loss" among them is minimised, the rest is recorded.
        validate: network to named figures; None for no validation (the last average is then the best).
    """

    network: nn.Module
    batches: Callable[[int], Iterable[Any]]
    loss: Callable[[nn.Module, Any], Mapping[str, Tensor]]
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        step: steps made. steps: in all. seconds: spent training, over all slices.
        best: figures of the best validation, empty before the first; ``best_step`` its step.
        skipped: steps left out because their loss or gradient was not finite.
        rows: the curves: "step", "seconds", "rate", losses (means since the last row) and "validation/..." figures.
    """

    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    best_step: int = -1
    skipped: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.step >= self.steps


def rate_at(step: int, options: TrainingOptions) -> float:
    """Learning rate of a step: a linear rise over ``warmup`` steps, then a cosine to ``final_rate`` of the highest."""
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    share = (step - options.warmup) / max(options.steps - options.warmup, 1)
    low = options.final_rate
    return options.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * min(share, 1))) / 2)


def precision_of(options: TrainingOptions, device: torch.device) -> torch.dtype:
    """The type of the forward pass. Raises ValueError for a precision that is not known."""
    if options.precision not in PRECISIONS:
        raise ValueError(f"precision {options.precision!r}: one of {', '.join(PRECISIONS)}")
    if options.precision != "auto":
        return getattr(torch, options.precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if supported() else torch.float32


def _optimizer(parameters: list[nn.Parameter], options: TrainingOptions) -> torch.optim.Optimizer:
    given = {"lr": options.learning_rate, "weight_decay": options.weight_decay}
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, **given)
    if options.optimizer != "adamw":
        raise ValueError(f"optimizer {options.optimizer!r}: one of adamw, sgd")
    return torch.optim.AdamW(parameters, **given)


class Average:
    """Exponential moving average of a network's floating-point state; younger averages decay faster."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)

    @contextlib.contextmanager
    def worn_by(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network with the average as its weights, in evaluation mode."""
        own = {k: v.detach().clone() for k, v in network.state_dict().items()}
        training = network.training
        network.load_state_dict(self.state)
        network.eval()
        try:
            yield network
        finally:
            network.load_state_dict(own)
            network.train(training)


def train(
    what: Training,
    options: TrainingOptions,
    folder: Path,
    stop_after_s: float | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train until all steps are made or ``stop_after_s`` seconds have passed; go on from ``folder`` if it has a state.

    Args:
        report: called after every step.

    Raises:
        TrainingError: ten losses in a row were not finite, or ``folder`` is of a training with other options.
        CheckpointError: its checkpoint is damaged.
    """
    return _Loop(what, options, Path(folder), report).run(stop_after_s)


class _Loop:
    def __init__(
        self, what: Training, options: TrainingOptions, folder: Path, report: Callable[[Progress], None] | None
    ) -> None:
        self.what, self.options, self.folder, self.report = what, options, folder, report
        self.network = what.network
        self.device = next(self.network.parameters()).device
        self.dtype = precision_of(options, self.device)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = _optimizer(self.parameters, options)
        scaled = self.dtype == torch.float16 and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self.average = Average(self.network, options.ema)
        self.progress = Progress(steps=options.steps)
        self.sums: dict[str, list[float]] = {}
        self.bad = 0
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, stop_after_s: float | None) -> Progress:
        self._resume()
        progress, begin, before = self.progress, time.monotonic(), self.progress.seconds
        saved = begin
        self.network.train()
        try:
            for batch in self.what.batches(progress.step) if not progress.done else ():
                self._step(batch)
                now = time.monotonic()
                progress.seconds = before + now - begin
                self._record_and_validate()
                if self.report is not None:
                    self.report(progress)
                if now - saved > self.options.checkpoint_every_s:
                    self._save()
                    saved = time.monotonic()
                if progress.done or (stop_after_s is not None and time.monotonic() - begin >= stop_after_s):
                    break
        finally:
            progress.seconds = before + time.monotonic() - begin
            if progress.rows or progress.step:
                self._save()
        return progress

    # --- one step ---

    def _step(self, batch: Any) -> None:
        step, options = self.progress.step, self.options
        torch.manual_seed(options.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(step, options)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            losses = self.what.loss(self.network, batch)
        finite = bool(torch.isfinite(losses["loss"]))
        if finite:
            self.scaler.scale(losses["loss"]).backward()
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.parameters, options.clip)
            finite = bool(torch.isfinite(norm)) or self.scaler.is_enabled()  # a scaler looks for itself
        if finite:
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.average.update(self.network)
            for key, value in losses.items():
                self.sums.setdefault(key, []).append(float(value.detach()))
            self.bad = 0
        else:
            self.progress.skipped += 1
            self.bad += 1
            if self.bad >= 10:
                raise TrainingError(f"step {step}: ten losses in a row are not finite; lower the learning rate")
        self.progress.step += 1

    def _record_and_validate(self) -> None:
        step, options = self.progress.step, self.options
        validating = step % options.validate_every == 0 or step >= options.steps
        if not validating and step % options.record_every:
            return
        row = {"step": step, "seconds": round(self.progress.seconds, 2), "rate": rate_at(step - 1, options)}
        row |= {key: sum(v) / len(v) for key, v in self.sums.items()}
        self.sums.clear()
        if validating:
            figures = self._validated()
            row |= {f"validation/{key}": value for key, value in figures.items()}
            self._keep_best(figures)
        self.progress.rows.append(row)

    def _validated(self) -> dict[str, float]:
        if self.what.validate is None:
            return {}
        with self.average.worn_by(self.network) as network, torch.no_grad(), self._autocast():
            return {key: float(value) for key, value in self.what.validate(network).items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _keep_best(self, figures: dict[str, float]) -> None:
        progress, key = self.progress, self.options.monitor
        if figures and key not in figures:
            raise TrainingError(f"validation gives {', '.join(figures)}; monitor {key!r} is not among them")
        better = not figures or not progress.best or figures[key] < progress.best[key]
        if better and (not figures or math.isfinite(figures[key])):
            progress.best, progress.best_step = figures, progress.step
            notes = {"step": progress.step, "seconds": progress.seconds, "figures": figures}
            write_state(self.folder / BEST, self.average.state, {"best": json.dumps(notes)})

    # --- state ---

    def _save(self) -> None:
        progress = self.progress
        state = {
            "options": json.dumps(asdict(self.options)),
            "progress": json.dumps(asdict(progress)),
            "sums": json.dumps(self.sums),
            "network": self.network.state_dict(),
            "average": self.average.state,
            "updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        _write(self.folder / CHECKPOINT, buffer.getvalue())
        _write(self.folder / CURVES, json.dumps(progress.rows).encode())
        _write(self.folder / TABLE, _table(progress.rows).encode())

    def _resume(self) -> None:
        read = _read(self.folder, self.options)
        if read is None:
            return
        state, progress = read
        try:
            self.network.load_state_dict(state["network"])
            self.average.state = {k: v.to(self.device) for k, v in state["average"].items()}
            self.average.updates = state["updates"]
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(f"{self.folder} is of a training of another network ({error})") from error
        self.sums = json.loads(state["sums"])
        self.progress = progress


def _read(folder: Path, options: TrainingOptions) -> tuple[dict[str, Any], Progress] | None:
    """The checkpoint of a training with these options; None if there is none yet."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        theirs, progress = json.loads(state["options"]), Progress(**json.loads(state["progress"]))
    except Exception as error:
        raise CheckpointError(path, f"cannot be read ({error})", "Remove it to start this training anew") from error
    # JSON both ways, so that numbers compare as they were written.
    ours = json.loads(json.dumps(asdict(options)))
    theirs = {"optimizer": "adamw", **theirs}  # trainings begun before there was a choice
    differing = [k for k in ours if k != "checkpoint_every_s" and ours[k] != theirs.get(k)]
    if differing:
        raise TrainingError(
            f"{folder} is of a training with other options ({', '.join(differing)}); "
            "give another folder, or remove this one"
        )
    return state, progress


def finished(folder: Path, options: TrainingOptions) -> Progress | None:
    """How a training ended, without its data; None if it has not.

    Raises:
        TrainingError, CheckpointError: as ``train``.
    """
    read = _read(Path(folder), options)
    return read[1] if read is not None and read[1].done else None


def _table(rows: list[dict[str, float]]) -> str:
    """The curves as CSV; a figure that a row does not have is left empty."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Beside its name first, flushed, then moved there: at its name a file is whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def last_state(folder: Path) -> dict[str, Tensor]:
    """The weights at the end of a training's folder, not averaged.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    path = Path(folder) / CHECKPOINT
    try:
        return torch.load(path, map_location="cpu", weights_only=True)["network"]
    except Exception as error:
        raise CheckpointError(path, f"cannot be read ({error})", "Train again") from error


def best_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The best averaged weights of a training's folder, and what is known of them: step, seconds, figures."""
    state, metadata = read_state(Path(folder) / BEST)
    return state, json.loads(metadata["best"])
