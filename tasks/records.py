"""Who is working on what: records of running and failed parts, and the lock of a session.

Records are small JSON files under ``cache/.state``. A running part's file is touched by a heartbeat, so that what a
killed machine was doing is known as lost, never as running.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.files import write_atomic
from tasks.parts import Part

HEARTBEAT_S = 5.0
LOST_AFTER_S = 60.0
"""Another machine's record that has not been touched for so long belongs to nobody any more."""


@dataclass(frozen=True)
class Record:
    """What is known of a part that is being made or could not be made.

    ``state`` is running, failed or lost; ``since`` is in seconds of the epoch; ``passing`` says that another try may
    help (a killed process, a damaged input), as it does not for bad input.
    """

    state: str
    host: str
    pid: int
    since: float
    error: str = ""
    passing: bool = False
    progress: float = 0.0
    born: str = ""
    """When its process started, on the host's own clock: a number that is used again is another process."""


class Records:
    """The records of one session."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / ".state"

    def path(self, part: Part) -> Path:
        return self._folder / part.stage / f"{part.name}.json"

    def read(self, part: Part) -> Record | None:
        """The record of a part; one whose process is gone reads as lost."""
        path = self.path(part)
        try:
            record = Record(**json.loads(path.read_text()))
            age = time.time() - path.stat().st_mtime
        except (OSError, ValueError, TypeError):
            return None
        if record.state != "running":
            return record
        here = record.host == socket.gethostname()
        gone = process_born(record.pid) != record.born if here else age > LOST_AFTER_S
        if gone:
            return replace(record, state="lost", error="its process was killed or its machine went away", passing=True)
        return record

    def clear(self, part: Part) -> None:
        with suppress(FileNotFoundError):
            self.path(part).unlink()

    def fail(self, part: Part, error: str, passing: bool) -> None:
        record = replace(_own_record("failed"), error=error, passing=passing)
        write_atomic(self.path(part), json.dumps(asdict(record)))

    @contextmanager
    def running(self, part: Part) -> Iterator[Heartbeat]:
        """Holds a running record while the block lasts."""
        heartbeat = Heartbeat(self.path(part), _own_record("running"))
        heartbeat.start()
        try:
            yield heartbeat
        finally:
            heartbeat.stop()


def process_born(pid: int) -> str:
    """Start time of a process of this host in clock ticks since boot, empty if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _own_record(state: str) -> Record:
    pid = os.getpid()
    return Record(state, socket.gethostname(), pid, time.time(), born=process_born(pid))


class Heartbeat:
    """Keeps a running record fresh from a thread of the process that does the work."""

    def __init__(self, path: Path, record: Record) -> None:
        self._path, self._record = path, record
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def progress(self, fraction: float) -> None:
        self._record = replace(self._record, progress=float(fraction))

    def start(self) -> None:
        write_atomic(self._path, json.dumps(asdict(self._record)))
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        with suppress(OSError):
            self._path.unlink()

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_S):
            with suppress(OSError):  # a full disk must not end the work that may still fit
                write_atomic(self._path, json.dumps(asdict(self._record)))


def claim_output(session: Session) -> None:
    """Write ``session.json`` into the output folder, or refuse a folder that belongs to something else.

    Raises:
        InputError: the folder is another session's, holds foreign files, or cannot be written.
    """
    folder, where = session.output, f"{session.path}: output"
    owner = folder / "session.json"
    try:
        if owner.exists():
            found = json.loads(owner.read_text()).get("session")
            if found != session.name:
                raise InputError(where, f"{folder} belongs to session {found!r}", "Give this session its own folder")
            return
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(where, f"{folder} holds other files", "Give an empty or new folder")
        write_atomic(owner, json.dumps({"session": session.name, "software": "troupe"}, indent=2) + "\n")
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(owner, "cannot be understood", "Remove it if the folder is this session's") from None
    except OSError as error:
        raise InputError(where, f"{folder} cannot be written ({error.strerror})", "Choose a writable folder") from None


@contextmanager
def session_lock(session: Session) -> Iterator[None]:
    """Held by the one ``run`` of a session; it dies with its process.

    Raises:
        InputError: another run holds it.
    """
    path = session.output / "cache" / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise InputError(
            f"{session.path}: output", f"{path.parent} cannot be written ({error.strerror})", "Choose a writable folder"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip()
            raise InputError(
                session.output, f"another run is working on this session ({holder})", "Wait for it or stop it"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
