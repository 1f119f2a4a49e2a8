"""Weights in and out of files, with nothing executed on the way.

Files of others are torch archives (read with ``weights_only``, which refuses code) or safetensors. Ours are
safetensors, written here: eight bytes of header length, a JSON header, raw little-endian tensors. The card of a
network, with the preset it was built from, is in the header's metadata.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

MOST_BYTES = 4 << 30
_MOST_HEADER = 16 << 20
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


class CheckpointError(ValueError):
    """A file of weights that cannot be used: which, what is wrong with it and what to do."""

    def __init__(self, where: object, problem: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = str(where), problem, remedy
        super().__init__(f"{self.where}: {problem}. {remedy}")

    def __reduce__(self):  # exceptions cross process borders; the default rebuilds from args alone
        return type(self), (self.where, self.problem, self.remedy)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a file, by name, on the CPU, and its metadata (empty for a torch archive).

    Raises:
        CheckpointError: the file is missing, damaged, too large, holds code, or holds anything but named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(path, "there is no such file", "Check the path of the weights")
    if path.stat().st_size > MOST_BYTES:
        raise CheckpointError(path, f"larger than {MOST_BYTES >> 30} GiB", "Give a file of network weights")
    if _looks_like_safetensors(path):
        return _read_safetensors(path)
    return _read_torch(path), {}


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise CheckpointError(
            path, f"not a plain file of tensors ({first})", "Files that hold code are never run; give a state dict"
        ) from error
    if isinstance(loaded, Mapping) and not any(isinstance(v, Tensor) for v in loaded.values()):
        inner = [v for k, v in loaded.items() if k in ("state_dict", "net", "model") and isinstance(v, Mapping)]
        loaded = inner[0] if inner else loaded
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointError(path, "holds no named tensors", "Give a state dict")
    wrong = [str(k) for k, v in loaded.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if wrong:
        raise CheckpointError(path, f"{wrong[0]!r} is not a tensor", "Give a state dict, not a training snapshot")
    return dict(loaded)


# --- safetensors ----------------------------------------------------------------------------------------------------


def _looks_like_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] <= path.stat().st_size


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _MOST_HEADER:
            raise _damaged(path, "its header is too long")
        try:
            header = json.loads(file.read(length), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, "its header is not JSON with unique names") from error
        data = bytearray(file.read())
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a table")
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
        raise _damaged(path, "its metadata are not strings")
    spans = []
    tensors = {}
    for name, entry in header.items():
        dtype, shape, begin, end = _entry(path, name, entry, len(data))
        spans.append((begin, end))
        count = math.prod(shape)
        flat = torch.frombuffer(data, dtype=dtype, count=count, offset=begin) if count else torch.empty(0, dtype=dtype)
        tensors[name] = flat.clone().reshape(shape)
    spans.sort()
    edges = [0, *(e for _, e in spans)]
    if [b for b, _ in spans] != edges[:-1] or edges[-1] != len(data):
        raise _damaged(path, "its tensors overlap or leave gaps")
    return tensors, metadata


def _entry(path: Path, name: str, entry: Any, size: int) -> tuple[torch.dtype, list[int], int, int]:
    try:
        dtype, shape, (begin, end) = _TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"tensor {name!r} is not described") from error
    if not all(type(n) is int and n >= 0 for n in numbers) or not begin <= end <= size:
        raise _damaged(path, f"tensor {name!r} lies outside the file")
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise _damaged(path, f"tensor {name!r} has another size than its shape")
    return dtype, shape, begin, end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name twice")
    return out


def _damaged(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(path, f"damaged safetensors file: {problem}", "Get the file again")


def safetensors_bytes(state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file. Widest types first, then by name, so that every tensor is aligned."""
    names = sorted(state, key=lambda k: (-state[k].dtype.itemsize, k))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    chunks, at = [], 0
    for name in names:
        value = state[name].detach().cpu().contiguous()
        raw = value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        header[name] = {
            "dtype": _NAMES[value.dtype], "shape": list(value.shape), "data_offsets": [at, at + len(raw)],
        }  # fmt: skip
        at += len(raw)
        chunks.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(chunks)


def write_state(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file: beside its name first, then moved there."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(safetensors_bytes(state, metadata))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


# --- into networks --------------------------------------------------------------------------------------------------


def without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Keys without ``prefix`` where they have it."""
    return {key.removeprefix(prefix): value for key, value in state.items()}


def check_finite(state: Mapping[str, Tensor], where: object) -> None:
    """Raise CheckpointError for a tensor that holds NaN or infinity."""
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(where, f"{key} holds NaN or infinity", "Get the file again, or train again")


def check_fit(network: nn.Module, state: Mapping[str, Tensor], where: object, name: Callable[[str], str] = str) -> None:
    """Check that a state dict has every key of the network and no other, with its shape. The network may be on "meta".

    Args:
        name: our parameter names as the file calls them, for messages.

    Raises:
        CheckpointError: naming missing keys, unknown keys, or the first tensor of another shape or with bad numbers.
    """
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        named = {"missing": [name(key) for key in missing], "unknown": unknown}
        parts = [f"{what}: {_listed(keys)}" for what, keys in named.items() if keys]
        raise CheckpointError(where, "keys " + "; ".join(parts), "Give the weights of this network's configuration")
    for key, value in own.items():
        if state[key].shape != value.shape:
            problem = f"{name(key)} has shape {tuple(state[key].shape)}, this network needs {tuple(value.shape)}"
            raise CheckpointError(where, problem, "Give the weights of this network's configuration")
    check_finite(state, where)


def load_strictly(
    network: nn.Module, state: Mapping[str, Tensor], where: object, name: Callable[[str], str] = str
) -> None:
    """Load a state dict that fits (``check_fit``). Types become the network's."""
    check_fit(network, state, where, name)
    network.load_state_dict(state, strict=True)


def _listed(keys: list[str], most: int = 8) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")
