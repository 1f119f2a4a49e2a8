"""Who is working on what: records of running and failed parts, and the lock of a session.

Records are small JSON files under ``cache/.state``. A running part's file is touched by a heartbeat, so that what a
killed machine was doing is known as lost, never as running.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TextIO

from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.files import write_atomic
from tasks.parts import Part

MAX_RECORD_BYTES = 1 << 16
HEARTBEAT_S = 5.0
LOST_AFTER_S = 60.0
"""Another machine's record that has not been touched for so long belongs to nobody any more."""


@dataclass(frozen=True)
class Record:
    """What is known of a part that is being made or could not be made.

    Attributes:
        state: running, failed or lost.
        since: seconds of the epoch.
        passing: another try may help (a killed process, a damaged input), as it does not for bad input.
        born: when its process started, on the host's own clock: a number that is used again is another process.
        run: the run (see ``RunRecord``) that it was made in.
        tries: how often the part failed in that run, this failure included.
        memory_failures: how often of these memory ran out.
    """

    state: str
    host: str
    pid: int
    since: float
    error: str = ""
    passing: bool = False
    progress: float = 0.0
    born: str = ""
    run: str = ""
    tries: int = 0
    memory_failures: int = 0


@dataclass(frozen=True)
class Made:
    """What making a part took: a note beside the artifact, for the report and for planning."""

    host: str
    ended: float
    seconds: float
    memory_mb: float
    gpu: str = ""
    gpu_memory_mb: float = 0.0
    frames: int = 0
    tries: int = 1


class Records:
    """The records of one session, as one run writes them."""

    def __init__(self, cache: Path, run: str = "") -> None:
        self.folder, self._run = cache / ".state", run

    def path(self, part: Part) -> Path:
        return self.folder / part.stage / f"{part.name}.json"

    def read(self, part: Part) -> Record | None:
        """The record of a part; one whose process is gone reads as lost."""
        path = self.path(part)
        record = _read(path, Record)
        if record is None or record.state != "running":
            return record
        if _alive(path, record.host, record.pid, record.born):
            return record
        error = "its process was killed or its machine went away"
        return replace(record, state="lost", error=error, passing=True, tries=record.tries + 1)

    def before(self, part: Part) -> Record | None:
        """The failure that this run's next try of the part follows, if it is not the first."""
        record = self.read(part)
        return record if record is not None and record.run == self._run and record.state != "running" else None

    def made_path(self, part: Part) -> Path:
        return self.folder / part.stage / f"{part.name}.made"

    def note_made(self, part: Part, made: Made) -> None:
        """Never a reason to fail: the artifact itself is there."""
        with suppress(OSError):
            write_atomic(self.made_path(part), json.dumps(asdict(made)))

    def made(self, part: Part) -> Made | None:
        """What it took, or None for an artifact that came from elsewhere."""
        return _read(self.made_path(part), Made)

    def clear(self, part: Part) -> None:
        with suppress(FileNotFoundError):
            self.path(part).unlink()

    def fail(
        self, part: Part, error: str, *, passing: bool, memory: bool = False, before: Record | None = None
    ) -> None:
        """Leave word of a failure; ``memory`` says that it ran out, ``before`` is the failure of the try before."""
        tries, memory_failures = (before.tries, before.memory_failures) if before else (0, 0)
        record = replace(
            _own_record("failed", self._run),
            error=error,
            passing=passing,
            tries=tries + 1,
            memory_failures=memory_failures + memory,
        )
        write_atomic(self.path(part), json.dumps(asdict(record)))

    def fail_ended(self, part: Part, error: str, *, passing: bool, memory: bool = False) -> None:
        """The same for a part whose process ended without leaving word. A disk that refuses is not an error here."""
        running = _read(self.path(part), Record)
        before = running if running is not None and running.run == self._run else None
        if running is not None and running.state == "failed" and before is not None:
            return  # it did leave word
        with suppress(OSError):
            self.fail(part, error, passing=passing, memory=memory, before=before)

    @contextmanager
    def running(self, part: Part, before: Record | None = None) -> Iterator[Heartbeat]:
        """Holds a running record while the block lasts."""
        record = _own_record("running", self._run)
        if before is not None:
            record = replace(record, tries=before.tries, memory_failures=before.memory_failures)
        heartbeat = Heartbeat(self.path(part), record)
        heartbeat.start()
        try:
            yield heartbeat
        finally:
            heartbeat.stop()


@dataclass(frozen=True)
class RunRecord:
    """The run that works on a session, for machines that join it and for ``status``.

    ``request`` is what it was asked for (``tasks.run.Request``), as JSON; ``ended`` is when, in seconds of the epoch.
    """

    run: str
    host: str
    pid: int
    born: str
    since: float
    request: dict[str, Any]
    ended: float | None = None

    @classmethod
    def path(cls, session: Session) -> Path:
        return session.output / "cache" / ".state" / "run.json"

    @classmethod
    def begin(cls, session: Session, run: str, request: dict[str, Any]) -> RunRecord:
        pid = os.getpid()
        record = cls(run, socket.gethostname(), pid, process_born(pid), time.time(), request)
        write_atomic(cls.path(session), json.dumps(asdict(record)))
        return record

    @classmethod
    def read(cls, session: Session) -> RunRecord | None:
        """The run that is going on, or None."""
        path = cls.path(session)
        record = _read(path, cls)
        if record is None or record.ended is not None or not _alive(path, record.host, record.pid, record.born):
            return None
        return record

    def beat(self, session: Session) -> None:
        """Has to be called more often than every ``LOST_AFTER_S``."""
        with suppress(OSError):
            os.utime(self.path(session))

    def end(self, session: Session) -> None:
        with suppress(OSError):
            write_atomic(self.path(session), json.dumps(asdict(replace(self, ended=time.time()))))


def _read(path: Path, kind: type) -> Any:
    """A record, or None if there is none that has the right fields and types: the folder may come from elsewhere."""
    try:
        with path.open() as file:
            found = kind(**json.loads(file.read(MAX_RECORD_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return found if all(_fits(getattr(found, f.name), str(f.type)) for f in fields(kind)) else None


def _fits(value: Any, kind: str) -> bool:
    if value is None:
        return "None" in kind
    if kind.startswith("float"):
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    words = {"str": str, "int": int, "bool": bool, "dict": dict}
    wanted = words[kind.split("[")[0].split(" ")[0]]
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _alive(path: Path, host: str, pid: int, born: str) -> bool:
    """Whether the process that keeps a record fresh is still there."""
    if host == socket.gethostname():
        return process_born(pid) == born
    try:
        return _storage_time(path.parent) - path.stat().st_mtime <= LOST_AFTER_S
    except OSError:
        return False


def _storage_time(folder: Path) -> float:
    """Now, by the clock that stamps files there: machines' own clocks differ, and jump."""
    probe = folder / f".clock-{socket.gethostname()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # only looking, on storage that cannot be written
        return time.time()


def process_born(pid: int) -> str:
    """Start time of a process of this host in clock ticks since boot, empty if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _own_record(state: str, run: str) -> Record:
    pid = os.getpid()
    return Record(state, socket.gethostname(), pid, time.time(), born=process_born(pid), run=run)


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
            _lock(file)
        except BlockingIOError:
            raise _occupied(session, _holder(file)) from None
        except OSError:  # storage without locks: the record of a run that is going on has to do
            going_on = RunRecord.read(session)
            if going_on is not None:
                raise _occupied(session, f"process {going_on.pid} on {going_on.host}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


LETTING_GO_S = 5.0
"""How long the children of a run that was killed may take to end: they hold its lock with it."""


def _lock(file: TextIO) -> None:
    until = time.monotonic() + LETTING_GO_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            words = _holder(file).split()
            here = len(words) == 4 and words[3] == socket.gethostname() and words[1].isdigit()
            if not here or process_born(int(words[1])) or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _holder(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip()


def _occupied(session: Session, holder: str) -> InputError:
    return InputError(session.output, f"another run is working on this session ({holder})", "Wait for it or stop it")
