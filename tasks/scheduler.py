"""``scheduler``: Luigi's central scheduler and its page, for sessions that several machines work on.

It has no login: whoever reaches it can stop tasks and read names. So it listens on this machine alone unless told
otherwise, and other machines come through an SSH tunnel.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import sys
from pathlib import Path

from pipeline.errors import InputError

PORT = 8082


def command(address: str, port: int, state: Path | None) -> int:
    """Serve until interrupted. State and history are this user's alone.

    Raises:
        InputError: the address or port cannot be used, or the folder of the state is open to others.
    """
    folder = _private_folder(state or _default_state())
    _try_port(address, port)
    if not _is_loopback(address):
        print(
            f"warning: everybody who reaches {address}:{port} can stop parts of your sessions and read their names; "
            "there is no login. Better: leave out --address, and ssh -L from the other machines",
            file=sys.stderr,
        )
    from tasks import engine

    where = f"http://{address}:{port}"
    print(f"scheduler at {where}; its state is in {folder}", flush=True)
    print(f"run:    run_pipeline.py run CONFIG --scheduler-url {where}")
    print(f"join:   ssh -N -L {port}:127.0.0.1:{port} {socket.gethostname()} &", flush=True)
    print(f"        run_pipeline.py worker CONFIG --scheduler-url http://127.0.0.1:{port}", flush=True)
    engine.serve(address, port, folder)
    return 0


def _default_state() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "troupe" / "scheduler"


def _private_folder(folder: Path) -> Path:
    """Made for this user alone; one that others can write could feed us their state, which Luigi unpickles."""
    os.umask(0o077)
    try:
        folder = folder.expanduser().absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise InputError("--state", f"{folder} cannot be used ({error.strerror})", "Choose a folder of yours") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise InputError("--state", f"{folder} is open to others", f"chmod 700 {folder}, or choose a folder of yours")
    for path in folder.iterdir():
        if path.stat().st_uid != os.geteuid() or path.is_symlink():
            raise InputError("--state", f"{path} is not this user's", "Remove it, or choose another folder")
    return folder


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _try_port(address: str, port: int) -> None:
    if not 0 < port < 65536:  # else it would be taken modulo 65536 in silence
        raise InputError("--port", f"{port} is no port", "Give a number from 1 to 65535")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise InputError(
            "--address" if isinstance(error, socket.gaierror) else "--port",
            f"{address}:{port} cannot be used ({error.strerror})",
            "Is a scheduler running already? Choose another",
        ) from None
