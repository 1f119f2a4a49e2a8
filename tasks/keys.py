"""Digests of input files, remembered between runs, and keys made of what a part depends on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.files import write_atomic

_HASH_BLOCK = 1 << 22
YOUNG_S = 2.0
"""A file changed more recently is hashed again next time: its stamp may not show a further change."""


class FileDigests:
    """SHA-256 of files and folders, remembered by real path, inode, size and time stamps.

    The memory is a cache of a cache: lost or stale entries only cost reading a file again.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list] | None = None
        self._changed = False

    def digest(self, path: Path) -> str:
        """Digest of a file's bytes, or of a folder's relative names and files.

        Raises:
            InputError: nothing is there or it cannot be read.
        """
        path = Path(path)
        try:
            if path.is_dir():
                return self._folder(path)
            return self._file(path)
        except FileNotFoundError:
            raise InputError(path, "no such file or folder", "Check the path in the configuration") from None
        except OSError as error:
            raise InputError(path, f"cannot be read ({error.strerror})", "Check its permissions") from None

    def derived(self, path: Path, what: str, compute: Callable[[], str]) -> str:
        """A digest of something read out of a file or folder, remembered like its bytes' digest.

        For stages that depend on a property of a recording (its time stamps), not on every byte of it.
        """
        path = Path(path)
        name = f"{what} of {path.resolve()}"
        stamp = self._stamp(path)
        known = self._load().get(name)
        if known and known[0] == stamp:
            return known[1]
        value = compute()
        if not self._young(path):
            self._load()[name] = [stamp, value]
            self._changed = True
        return value

    def save(self) -> None:
        """Write the memory if it grew. A disk that refuses is not an error: the memory is a convenience."""
        if self._changed and self._known is not None:
            try:
                write_atomic(self._memory, json.dumps(self._known))
            except OSError:
                return
            self._changed = False

    def _stamp(self, path: Path) -> list:
        """What changes when a file, or a folder's files, are written."""
        if path.is_dir():
            listing = [(p.relative_to(path).as_posix(), self._stamp(p)) for p in _files_below(path)]
            return [hashlib.sha256(json.dumps(listing).encode()).hexdigest()]
        stat = path.stat()
        return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]

    def _young(self, path: Path) -> bool:
        stats = [p.stat() for p in ([path] if path.is_file() else _files_below(path))]
        return any(time.time() - max(s.st_mtime, s.st_ctime) <= YOUNG_S for s in stats)

    def _file(self, path: Path) -> str:
        real = path.resolve(strict=True)
        stamp = self._stamp(real)
        known = self._load().get(str(real))
        if known and known[0] == stamp:
            return known[1]
        digest = hashlib.sha256()
        with real.open("rb") as file:
            while block := file.read(_HASH_BLOCK):
                digest.update(block)
        if not self._young(real):
            self._load()[str(real)] = [stamp, digest.hexdigest()]
            self._changed = True
        return digest.hexdigest()

    def _folder(self, path: Path) -> str:
        listing = [(p.relative_to(path).as_posix(), self._file(p)) for p in _files_below(path)]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    def _load(self) -> dict[str, list]:
        if self._known is None:
            try:
                self._known = json.loads(self._memory.read_text())
            except (OSError, ValueError):
                self._known = {}
        return self._known


def _files_below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def settings_of(session: Session, fields: tuple[str, ...]) -> dict[str, Any]:
    """The values of configuration fields, those at their default left out, so that new options stale nothing.

    A field that is a section stands for every field in it.
    """
    found: dict[str, Any] = {}
    for field in fields:
        *path, last = field.split(".")
        section: BaseModel = session.config
        for name in path:
            section = getattr(section, name)
        value = section.model_dump(mode="json", include={last}, exclude_defaults=True).get(last)
        if isinstance(getattr(section, last), BaseModel):
            found |= {f"{field}.{name}": inner for name, inner in (value or {}).items()}
        elif value is not None:
            found[field] = value
    return found


def key_of(components: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a part's components."""
    return hashlib.sha256(json.dumps(components, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
