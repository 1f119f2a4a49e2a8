"""Which device a process computes on: a GPU is leased to one process at a time, on each machine.

A lease is a ``flock`` on a file of this machine, named after the GPU's UUID: it dies with whoever holds it, whatever
kills it, and it needs no scheduler that knows machines. A CPU needs no lease.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.errors import InputError

POLL_S = 0.5


@contextmanager
def leased_device(wanted: str = "auto", folder: Path | None = None) -> Iterator[str]:
    """The device to compute on, as torch names it, held while the block lasts.

    To be asked before CUDA has started in this process: from then on it sees the leased GPU alone, as ``cuda:0``.

    Args:
        wanted: "auto" (a GPU if there is one), "cpu", "cuda" (any), "cuda:1" (the second of those that
            CUDA_VISIBLE_DEVICES shows).
        folder: of the lock files; that of this machine and user if None.

    Raises:
        InputError: a GPU is asked for and there is none, or no such one.
    """
    devices = [] if wanted == "cpu" else visible_gpus()
    if not devices:
        if wanted not in ("auto", "cpu"):
            raise _no_gpu(wanted)
        yield "cpu"
        return
    chosen = _chosen(devices, wanted)
    with _locked(chosen, folder or _lock_folder()) as uuid:
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = uuid
        try:
            yield "cuda:0"
        finally:
            if before is None:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def check_device(wanted: str) -> None:
    """Raises InputError if a GPU is asked for on a machine that has none; torch is not loaded for it."""
    if wanted not in ("auto", "cpu") and not _listed():
        raise _no_gpu(wanted)


def _no_gpu(wanted: str) -> InputError:
    return InputError("device", f"{wanted} is asked for, and there is no GPU", "Set device: auto or cpu")


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs (or MIG slices) that this process may use, in CUDA's order; none where torch has no CUDA."""
    listed = _listed()
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed and not _torch_has_cuda():
        return []
    if shown is None:
        return [uuid for uuid in listed if not uuid.startswith("MIG")] or listed
    found = []
    for word in (w.strip() for w in shown.split(",")):
        # As CUDA reads it: the first word that names no device ends the list.
        if word.isdigit():
            whole = [uuid for uuid in listed if not uuid.startswith("MIG")]
            match = whole[int(word) : int(word) + 1]
        else:
            match = [uuid for uuid in listed if word and uuid.startswith(word)][:1]
        if not match:
            break
        found += match
    return found


def _listed() -> list[str]:
    """UUIDs as ``nvidia-smi -L`` lists them; nothing where there is no driver."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.rpartition("UUID:")[2].strip(" )") for line in done.stdout.splitlines() if "UUID:" in line]


def _torch_has_cuda() -> bool:
    import torch

    return torch.backends.cuda.is_built()


def _chosen(devices: list[str], wanted: str) -> list[str]:
    kind, _, number = wanted.partition(":")
    if wanted != "auto" and (kind != "cuda" or (number and not number.isdigit())):
        raise InputError("device", f"{wanted!r} is no device", "Give auto, cpu, cuda or cuda:0")
    if not number:
        return devices
    if int(number) >= len(devices):
        raise InputError("device", f"there is no {wanted}: {len(devices)} GPUs are visible", "Give a smaller number")
    return [devices[int(number)]]


def _lock_folder() -> Path:
    """On this machine, never on shared storage."""
    return Path(tempfile.gettempdir()) / f"troupe-gpus-{os.getuid()}"


@contextmanager
def _locked(uuids: list[str], folder: Path) -> Iterator[str]:
    """The first of these GPUs that is free, waiting until one is."""
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for uuid in uuids:
            file = (folder / f"{uuid.replace('/', '_')}.lock").open("a+")
            if _take(file):
                with file:
                    yield uuid
                return
            file.close()
        time.sleep(POLL_S)


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    file.truncate(0)
    file.write(f"process {os.getpid()}\n")
    file.flush()
    return True
