"""Training people on disk: one HDF5 file each, so that a batch reads the views and points it needs and no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from data.training.people import DEFAULT, PersonOptions, PersonSample, Studio
from pipeline.errors import InputError
from pipeline.files import atomic_path

_MESHES = ("vertices", "faces", "body_vertices", "true_body")


def file_name(folder: Path, split: str, number: int) -> Path:
    return folder / split / f"{number:06d}.h5"


def write(path: Path, sample: PersonSample) -> None:
    """Write a person; a file at its final name is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name, array in sample.arrays().items():
            file.create_dataset(name, data=array, compression="lzf" if name in _MESHES else None)


def read(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays of a person, or those named. Raises InputError for a file that is damaged or of something else."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return {name: file[name][()] for name in names or file}
    except (OSError, KeyError) as error:
        raise InputError(path, f"is no training person ({error})", "Remove it; it is made again") from None


def people_of(folder: Path, split: str) -> list[Path]:
    """Files of a split, in order."""
    return sorted(p for p in (folder / split).glob("*.h5") if not p.name.startswith("."))


def make(
    folder: Path,
    split: str,
    count: int,
    options: PersonOptions = DEFAULT,
    start: int = 0,
    step: int = 1,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Make samples ``start``, ``start + step``, ... below ``count`` that are not there yet; several processes may.

    Args:
        report: gets the number of each sample and the seconds it took.
    """
    studio: Studio | None = None
    for number in range(start, count, step):
        path = file_name(folder, split, number)
        if path.exists():
            continue
        begin = time.monotonic()
        studio = studio or Studio(options)
        write(path, studio.sample(split, number))
        if report is not None:
            report(number, time.monotonic() - begin)
