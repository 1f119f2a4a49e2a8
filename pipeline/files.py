"""Writing files so that at a final name a file is complete or it is not there."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".tmp"
"""How the names of unfinished files end. They begin with a dot and lie beside the final name."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the final name when the block ends without an error.

    The file is flushed to the disk before it is renamed, and the folder after, so that a power cut leaves either the
    old file or the new one. Missing folders are made. After an error nothing is left behind.

    Raises:
        OSError: naming ``path``, on a full or read-only disk.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}@{socket.gethostname()}@{secrets.token_hex(4)}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):  # the user knows the final name alone
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | memoryview | str) -> None:
    """Write ``data`` (text as UTF-8) to ``path`` through ``atomic_path``."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def abandoned_temporaries(folder: Path) -> Iterator[Path]:
    """Unfinished files below ``folder`` whose process on this host is gone; other hosts' are left alone."""
    for path in Path(folder).rglob(f".*{TEMPORARY}"):
        owner, _, host = path.name.rsplit("@", 1)[0].rpartition("@")
        pid = owner.rsplit(".", 1)[-1]
        if host == socket.gethostname() and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            yield path


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems refuse to flush folders; the rename itself stands
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
