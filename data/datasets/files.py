"""Reading what data sets are made of, safely: JSON, MATLAB and NumPy files. Pickles are refused, never loaded."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError

MAX_BYTES = 4 << 30
_UNPACK = "Unpack the data set again, or give another root"
_PICKLES = (".pkl", ".pickle", ".pth", ".pt")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: missing, too large, or no JSON.
    """
    try:
        return json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"is no JSON ({error})", _UNPACK) from None


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file, numbers in the class that MATLAB has them in, structs as records.

    Old files (up to v7) through SciPy, which makes arrays and runs nothing; new ones (v7.3, HDF5) as plain arrays, in
    the order of axes that HDF5 has: reversed.

    Raises:
        InputError: missing, damaged, or no MATLAB file.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with _opened(path) as file:
        hdf5 = file.read(512 + 8)[512:] == b"\x89HDF\r\n\x1a\n"
    if hdf5:
        return _read_hdf5(path)
    try:
        return loadmat(path, mat_dtype=True, chars_as_strings=True, verify_compressed_data_integrity=True)
    except (MatReadError, ValueError, TypeError, KeyError, IndexError, NotImplementedError, OSError, EOFError,
            MemoryError) as error:  # fmt: skip
        raise InputError(path, f"is no MATLAB file that can be read ({error})", _UNPACK) from None
    except Exception as error:  # zlib.error and what else a damaged file brings up
        raise InputError(path, f"is damaged ({error})", _UNPACK) from None


def _read_hdf5(path: Path) -> dict[str, Any]:
    """Numeric data sets of the root; nothing outside the file is followed."""
    import h5py

    out: dict[str, Any] = {}
    try:
        with h5py.File(path, "r") as file:
            for name in file:
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    raise InputError(path, f"{name} is a link to elsewhere", _UNPACK)
                item = file[name]
                if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biuf":
                    continue
                if item.is_virtual or item.external:
                    raise InputError(path, f"{name} is stored elsewhere", _UNPACK)
                if item.nbytes > MAX_BYTES:
                    raise InputError(path, f"{name} is larger than 4 GiB", _UNPACK)
                out[name] = item[()]
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(path, f"is damaged ({error})", _UNPACK) from None
    return out


def read_npy(path: Path, remedy: str) -> np.ndarray:
    """A plain array of a .npy file; ``remedy`` says what to do about one that is a pickle.

    Raises:
        InputError: missing, damaged, or a pickle, which is not loaded.
    """
    refuse_pickles(path, remedy)
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise pickled(path, remedy) from None
        raise InputError(path, f"is no array ({error})", _UNPACK) from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, f"cannot be read ({error})", _UNPACK) from None


def refuse_pickles(path: Path, remedy: str) -> None:
    """Raise InputError for a file whose name says that it is a pickle, or that is not there."""
    if path.suffix.lower() in _PICKLES:
        raise pickled(path, remedy)
    _opened(path).close()


def pickled(path: Path, remedy: str) -> InputError:
    return InputError(path, "is a Python pickle, which can run any program and is never loaded", remedy)


def folder(path: Path, what: str) -> Path:
    """Raises InputError if it is not there."""
    if not path.is_dir():
        raise InputError(path, f"is no folder; {what} lies there", "Check dataset.root, or unpack the data set again")
    return path


def table(path: Path, value: Any, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    """Numbers (float64) of a given shape, None for any length. Raises InputError naming the file and the entry."""
    try:
        out = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(path, f"{name} holds what are no numbers", _UNPACK) from None
    if len(shape) != out.ndim or any(want not in (None, got) for want, got in zip(shape, out.shape, strict=True)):
        wanted = " x ".join("?" if s is None else str(s) for s in shape)
        raise InputError(path, f"{name} is {' x '.join(map(str, out.shape)) or 'one number'} instead of {wanted}",
                         _UNPACK)  # fmt: skip
    return out


def entry(path: Path, value: Any, *keys: str | int) -> Any:
    """A value inside nested mappings and lists. Raises InputError naming what is missing."""
    for depth, key in enumerate(keys):
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            where = ".".join(str(k) for k in keys[: depth + 1])
            raise InputError(path, f"has no {where}", _UNPACK) from None
    return value


def _opened(path: Path):
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(path, "no such file", "Check dataset.root, or unpack the data set again") from None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check its permissions") from None
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        file.close()
        raise InputError(path, "is larger than 4 GiB", _UNPACK)
    return file


def _bytes(path: Path) -> bytes:
    with _opened(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise InputError(path, f"cannot be read ({error.strerror})", _UNPACK) from None
