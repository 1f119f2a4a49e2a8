"""The HDF5 artifact: atomic verified writing, distrustful reading. The only door to the cache.

Layout of a file: a 512-byte user block (magic word, key, content digest, SHA-256 and length of the rest, a short note
for planning, CRC of the block itself), then a plain HDF5 file that any viewer opens. At its final name a file is
complete and verified, or it is not there; it is never opened for writing again.

The *key* says what an artifact was made from; the *content digest* says what it holds, without time or host. The
layout of named arrays is free; ``SCHEMAS`` lists what a reader may rely on.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import socket
import struct
import uuid
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from pipeline.files import atomic_path

USER_BLOCK = 512
MAGIC = b"TROUPE artifact\x01"
NOTE_BYTES = 320
_HEADER = struct.Struct(f"<16s32s32s32sQH{NOTE_BYTES}s")
"""Magic word, key, content digest, SHA-256 of the rest, length of the rest, length of the note, note (JSON)."""
MAX_DATASET_BYTES = 1 << 36  # 64 GiB: no dataset of ours comes near; a forged shape goes far beyond
MAX_DEPTH = 4
_HASH_BLOCK = 1 << 22

SCHEMAS: dict[str, tuple[int, dict[str, tuple[str, int]]]] = {
    "rig": (1, {"K": ("f", 3), "R": ("f", 3), "t": ("f", 2), "names": ("S", 1), "size": ("i", 2), "up": ("f", 1)}),
    "timeline": (1, {"frames": ("i", 1), "times_s": ("f", 1), "plan": ("i", 2), "time_error_s": ("f", 2)}),
    "frames": (1, {"frames": ("i", 1), "valid": ("b", 1), "images/bytes": ("u", 1), "images/offsets": ("i", 1)}),
    "detections": (1, {"frames": ("i", 1), "offsets": ("i", 1), "keypoints": ("f", 3), "scores": ("f", 2)}),
    "tracks": (1, {"frames": ("i", 1), "person_ids": ("i", 1), "joints": ("f", 4), "confidence": ("f", 3)}),
    "body": (1, {"frames": ("i", 1), "betas": ("f", 1), "body_pose": ("f", 2), "valid": ("b", 1)}),
    "masks": (
        1,
        {"frames": ("i", 1), "person_ids": ("i", 1), "cameras": ("S", 1), "sizes": ("i", 2), "state": ("i", 3),
         "entry": ("i", 3), "windows": ("i", 4), "bits/bytes": ("u", 1), "bits/offsets": ("i", 1)},
    ),
    "registered": (1, {"offsets": ("f", 1), "vertex_colours": ("u", 2), "seen": ("b", 1), "texture": ("u", 1)}),
    "capture_truth": (
        1,
        {"frames": ("i", 1), "person_ids": ("i", 1), "joints": ("f", 4), "keypoints": ("f", 5), "visible": ("u", 4),
         "labels/bytes": ("u", 1), "labels/offsets": ("i", 1)},
    ),
    "stills": (1, {"names": ("S", 1), "reason": ("u", 1)}),
    "manifest": (1, {"names": ("S", 1), "sizes": ("i", 1)}),
    "surface_inputs": (
        1,
        {"frames": ("i", 1), "valid": ("b", 1), "views/offsets": ("i", 1), "views/projection": ("f", 3)},
    ),
    "surface": (
        1,
        {
            "frames": ("i", 1),
            "valid": ("b", 1),
            "vertices/values": ("u", 2),
            "vertices/offsets": ("i", 1),
            "faces/values": ("i", 2),
            "faces/offsets": ("i", 1),
            "confidence": ("u", 1),
            "seen": ("u", 2),
        },
    ),
}
"""Schema name -> (version, datasets that are always there: kind and number of dimensions)."""


class DamagedArtifact(Exception):
    """A file of the cache is not what was written: truncated, altered, or not an artifact."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = Path(path), problem
        super().__init__(path, problem)

    def __str__(self) -> str:
        return f"{self.path}: damaged artifact: {self.problem}"


@dataclass(frozen=True)
class Header:
    """What the user block says. Digests are hexadecimal; ``note`` is a small JSON value, such as the ids of people."""

    key: str
    content: str
    sha256: str
    length: int
    note: Any = None

    @property
    def block(self) -> bytes:
        """As the first bytes of an artifact hold it."""
        return _pack(self)


def read_header(path: Path) -> Header | None:
    """The user block of an artifact, or None if no intact artifact of that length stands at ``path``.

    Reads 512 bytes; whether the rest is intact is seen by ``Artifact``.
    """
    try:
        with Path(path).open("rb") as file:
            block = file.read(USER_BLOCK)
            size = os.fstat(file.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    header = _unpack(block)
    if header is None or size != USER_BLOCK + header.length:
        return None
    return header


def read_block(path: Path) -> Header | None:
    """The header in a file that holds a user block alone, such as ``Header.block`` makes; None if there is none."""
    try:
        return _unpack(Path(path).read_bytes()[: USER_BLOCK + 1])
    except (FileNotFoundError, NotADirectoryError):
        return None


def _pack(header: Header) -> bytes:
    digests = (bytes.fromhex(d) for d in (header.key, header.content, header.sha256))
    note = json.dumps(header.note, separators=(",", ":")).encode()
    if len(note) > NOTE_BYTES:
        raise ValueError(f"a note of {len(note)} bytes does not fit the {NOTE_BYTES} of the user block")
    body = _HEADER.pack(MAGIC, *digests, header.length, len(note), note)
    body += struct.pack("<I", zlib.crc32(body))
    return body.ljust(USER_BLOCK, b"\0")


def _unpack(block: bytes) -> Header | None:
    end = _HEADER.size
    if len(block) != USER_BLOCK or any(block[end + 4 :]):
        return None
    magic, key, content, sha256, length, note_length, note = _HEADER.unpack(block[:end])
    if magic != MAGIC or struct.unpack("<I", block[end : end + 4])[0] != zlib.crc32(block[:end]):
        return None
    try:
        told = json.loads(note[:note_length])
    except (ValueError, RecursionError):
        return None
    return Header(key.hex(), content.hex(), sha256.hex(), length, told)


class Artifact:
    """An artifact opened for reading, verified before HDF5 parses a byte.

    Behaves as a mapping of dataset paths to arrays. Use as a context manager or call ``close``.

    Raises:
        FileNotFoundError: nothing is there.
        DamagedArtifact: the bytes are not those that were written, or the file holds what ours never hold
            (links out of the file, virtual or external storage, object types, absurd shapes, an unknown schema).
    """

    def __init__(self, path: Path, schema: str | None = None) -> None:
        self.path = Path(path)
        self.header = _verify(self.path)
        try:
            self._file = h5py.File(self.path, "r", locking="best-effort")
        except OSError as error:
            raise DamagedArtifact(self.path, f"HDF5 cannot open it ({error})") from None
        try:
            self.schema = _check_structure(self.path, self._file, schema)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Artifact:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return isinstance(self._file.get(name), h5py.Dataset)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._file[name][()]

    def read(self, name: str, rows: slice) -> np.ndarray:
        """Rows of a dataset, without reading the rest."""
        return self._file[name][rows]

    def arrays(self, group: str = "", without: Collection[str] = ()) -> dict[str, np.ndarray]:
        """All datasets below a group, by path relative to it, but those in groups named in ``without``."""
        found: dict[str, np.ndarray] = {}
        root = self._file[group] if group else self._file

        def read(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset) and name.split("/")[0] not in without:
                found[name] = item[()]

        root.visititems(read)
        return found

    def attribute(self, name: str) -> Any:
        """An attribute that was written with ``ArtifactWriter.attribute``."""
        text = self._file.attrs["content/" + name]
        try:
            return json.loads(text)
        except (ValueError, TypeError, RecursionError):
            raise DamagedArtifact(self.path, f"attribute {name!r} is no JSON") from None

    @property
    def provenance(self) -> dict[str, Any]:
        """What the artifact was made from and where: stage, key, components of the key, software, time, host."""
        attributes = {k: v for k, v in self._file.attrs.items() if not k.startswith("content/")}
        parsed = {k: json.loads(attributes[k]) for k in ("parameters", "inputs", "files", "software")}
        return attributes | parsed

    @property
    def hdf5(self) -> h5py.File:
        """The open file, for viewers such as ``inspect``."""
        return self._file

    def encoded(self, name: str, index: int) -> bytes:
        """Item ``index`` of a ragged byte sequence written with ``ArtifactWriter.stream``."""
        start, stop = self._file[f"{name}/offsets"][index : index + 2]
        return self._file[f"{name}/bytes"][start:stop].tobytes()


def _verify(path: Path) -> Header:
    with path.open("rb") as file:
        header = _unpack(file.read(USER_BLOCK))
        if header is None:
            raise DamagedArtifact(path, "its first 512 bytes are not an artifact's")
        size = os.fstat(file.fileno()).st_size
        if size != USER_BLOCK + header.length:
            raise DamagedArtifact(path, f"{size} bytes long instead of {USER_BLOCK + header.length}")
        digest = hashlib.sha256()
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    if digest.hexdigest() != header.sha256:
        raise DamagedArtifact(path, "its bytes have changed since it was written")
    return header


def _check_structure(path: Path, file: h5py.File, expected: str | None) -> str:
    try:
        schema, version = str(file.attrs["schema"]), int(file.attrs["schema_version"])
    except (KeyError, ValueError, TypeError):
        raise DamagedArtifact(path, "has no schema") from None
    if schema not in SCHEMAS or SCHEMAS[schema][0] != version:
        raise DamagedArtifact(path, f"has the unknown schema {schema!r} version {version}")
    if expected is not None and schema != expected:
        raise DamagedArtifact(path, f"holds {schema!r} where {expected!r} is expected")
    _refuse_foreign(path, file)
    for name, (kind, dimensions) in SCHEMAS[schema][1].items():
        dataset = file.get(name)
        if not isinstance(dataset, h5py.Dataset) or (dataset.dtype.kind, dataset.ndim) != (kind, dimensions):
            raise DamagedArtifact(path, f"dataset {name!r} is missing or of the wrong kind")
    return schema


def _refuse_foreign(path: Path, group: h5py.Group, depth: int = 0) -> None:
    """Refuse everything through which a file could reach out of itself or claim what it does not hold."""
    if depth > MAX_DEPTH:
        raise DamagedArtifact(path, f"{group.name!r} lies too deep, or is a group within itself")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise DamagedArtifact(path, f"{name!r} is a link to elsewhere")
        item = group[name]
        if isinstance(item, h5py.Group):
            _refuse_foreign(path, item, depth + 1)
        elif not isinstance(item, h5py.Dataset):
            raise DamagedArtifact(path, f"{name!r} is no dataset")
        elif item.external or item.is_virtual:
            raise DamagedArtifact(path, f"dataset {name!r} keeps its data elsewhere")
        elif item.dtype.kind not in "biufS":
            raise DamagedArtifact(path, f"dataset {name!r} has the type {item.dtype}")
        elif item.size * item.dtype.itemsize > MAX_DATASET_BYTES:
            raise DamagedArtifact(path, f"dataset {name!r} claims {item.size * item.dtype.itemsize} bytes")


class ArtifactWriter:
    """Writes one artifact beside its final name and moves it there when the ``with`` block ends without an error.

    Args:
        path: final name; its folder is made.
        stage, schema, key: recorded; ``key`` is hexadecimal.
        components: what the key was made from (``parameters``, ``inputs``, ``files``, ``revision``), recorded as JSON.
        seconds: callable that gives the seconds spent so far, recorded.
    """

    def __init__(
        self,
        path: Path,
        *,
        stage: str,
        schema: str,
        key: str,
        components: Mapping[str, Any] | None = None,
        seconds: Callable[[], float] | None = None,
    ) -> None:
        self.path, self._key = Path(path), key
        self._schema, self._stage, self._seconds = schema, stage, seconds
        self._components = dict(components or {})
        self._digests: dict[str, str] = {}
        self._streams: list[_Stream | _Rows] = []
        self._final = atomic_path(self.path)
        self.note: Any = None
        """Small JSON value for the user block: what planning wants to know without opening the file."""
        self.header: Header | None = None

    def __enter__(self) -> ArtifactWriter:
        self._temporary = self._final.__enter__()
        self._file = h5py.File(self._temporary, "w", userblock_size=USER_BLOCK, locking=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self._commit()
            except BaseException as failed:
                self._file.close()
                self._final.__exit__(type(failed), failed, failed.__traceback__)
                raise
        self._file.close()
        self._final.__exit__(kind, error, trace)

    @property
    def key(self) -> str:
        return self._key

    def put(self, name: str, array: np.ndarray) -> None:
        """Write one array. Kinds: bool, integers, floats, fixed-length byte strings."""
        array = np.asarray(array)
        if array.dtype.kind not in "biufS":
            raise TypeError(f"{name}: {array.dtype} has no place in an artifact")
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        _create(self._file, name, little)
        self._digests[name] = _digest(little.dtype, little.shape, hashlib.sha256(little.tobytes()))

    def put_all(self, arrays: Mapping[str, np.ndarray], group: str = "") -> None:
        for name, array in arrays.items():
            self.put(f"{group}/{name}" if group else name, array)

    def attribute(self, name: str, value: Any) -> None:
        """Write a small value (JSON) that belongs to the content."""
        text = json.dumps(value, sort_keys=True)
        self._file.attrs["content/" + name] = text
        self._digests["@" + name] = hashlib.sha256(text.encode()).hexdigest()

    def stream(self, name: str) -> _Stream:
        """A ragged sequence of byte strings, written as it comes: ``name/bytes`` and ``name/offsets``."""
        stream = _Stream(self, name)
        self._streams.append(stream)
        return stream

    def rows(self, name: str, dtype: np.dtype | type, columns: tuple[int, ...] = ()) -> _Rows:
        """An array (N, *columns) that is written a few rows at a time, for what does not fit into memory at once."""
        rows = _Rows(self, name, np.dtype(dtype).newbyteorder("<"), columns)
        self._streams.append(rows)
        return rows

    def _commit(self) -> None:
        for stream in self._streams:
            stream._finish()
        text = json.dumps(self._digests, sort_keys=True)
        content = hashlib.sha256(text.encode()).hexdigest()
        attributes = {
            "stage": self._stage,
            "schema": self._schema,
            "schema_version": SCHEMAS[self._schema][0],
            "key": self._key,
            "revision": self._components.get("revision", 0),
            "parameters": json.dumps(self._components.get("parameters", {}), sort_keys=True),
            "inputs": json.dumps(self._components.get("inputs", {}), sort_keys=True),
            "files": json.dumps(self._components.get("files", {}), sort_keys=True),
            "software": json.dumps({"h5py": h5py.__version__, "numpy": np.__version__}),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": float(self._seconds()) if self._seconds else 0.0,
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "host": socket.gethostname(),
        }
        for name, value in attributes.items():
            self._file.attrs[name] = value
        self._file.close()
        self.header = _seal(self._temporary, self._key, content, self.note)
        with h5py.File(self._temporary, "r", locking=False) as file:  # reopened: what stands there can be read
            _check_structure(self._temporary, file, self._schema)


class _Stream:
    """Byte strings appended one after another, in blocks, with offsets."""

    BLOCK = 1 << 22

    def __init__(self, writer: ArtifactWriter, name: str) -> None:
        self._writer, self._name = writer, name
        self._dataset = writer._file.create_dataset(
            f"{name}/bytes", (0,), np.uint8, maxshape=(None,), chunks=(1 << 18,), fletcher32=True
        )
        self._offsets, self._pending, self._hash = [0], bytearray(), hashlib.sha256()

    def append(self, data: bytes) -> None:
        self._pending += data
        self._offsets.append(self._offsets[-1] + len(data))
        if len(self._pending) >= self.BLOCK:
            self._flush()

    def _flush(self) -> None:
        block = np.frombuffer(bytes(self._pending), np.uint8)
        start = len(self._dataset)
        self._dataset.resize(start + len(block), 0)
        self._dataset[start:] = block
        self._hash.update(block)
        self._pending.clear()

    def _finish(self) -> None:
        self._flush()
        self._writer._digests[f"{self._name}/bytes"] = _digest(np.dtype(np.uint8), self._dataset.shape, self._hash)
        self._writer.put(f"{self._name}/offsets", np.array(self._offsets, np.int64))


class _Rows:
    """An array that grows along its first axis."""

    CHUNK_BYTES = 1 << 19

    def __init__(self, writer: ArtifactWriter, name: str, dtype: np.dtype, columns: tuple[int, ...]) -> None:
        self._writer, self._name = writer, name
        row = max(dtype.itemsize * math.prod(columns), 1)
        self._dataset = writer._file.create_dataset(
            name, (0, *columns), dtype, maxshape=(None, *columns), chunks=(max(self.CHUNK_BYTES // row, 1), *columns),
            **_FILTERS,
        )  # fmt: skip
        self._hash = hashlib.sha256()

    def append(self, array: np.ndarray) -> None:
        """Rows (n, *columns) of the array's type; n may be 0."""
        array = np.ascontiguousarray(array, self._dataset.dtype).reshape(-1, *self._dataset.shape[1:])
        start = len(self._dataset)
        self._dataset.resize(start + len(array), 0)
        self._dataset[start:] = array
        self._hash.update(array.tobytes())

    def _finish(self) -> None:
        self._writer._digests[self._name] = _digest(self._dataset.dtype, self._dataset.shape, self._hash)


_FILTERS: dict[str, Any] = {"shuffle": True, "compression": "gzip", "compression_opts": 4, "fletcher32": True}


def _create(file: h5py.File, name: str, array: np.ndarray) -> None:
    if array.ndim == 0 or array.size == 0:
        file.create_dataset(name, data=array)
    else:
        file.create_dataset(name, data=array, chunks=True, **_FILTERS)


def _digest(dtype: np.dtype, shape: tuple[int, ...], data: Any) -> str:
    return hashlib.sha256(f"{dtype.str}{tuple(shape)}{data.hexdigest()}".encode()).hexdigest()


def _seal(path: Path, key: str, content: str, note: Any) -> Header:
    with path.open("r+b") as file:
        file.seek(USER_BLOCK)
        digest = hashlib.sha256()
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
        header = Header(key, content, digest.hexdigest(), file.tell() - USER_BLOCK, note)
        file.seek(0)
        file.write(_pack(header))
    return header


def quarantine(path: Path, folder: Path) -> Path:
    """Move a damaged file out of the way, keeping it for whoever wants to know. Returns where it went."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.parent.name}-{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}"
    path.replace(target)
    return target
