"""``notify``: the program of the configuration that is run when a session's run has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from pipeline.config import Session

LIMIT_S = 60.0


class Notification:
    """Runs the configured program without a shell and without waiting for it; what it prints goes to a log.

    A program that is missing, fails or takes longer than ``LIMIT_S`` is told and changes nothing else.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._process = session, None
        self._until = time.monotonic() + LIMIT_S
        if not session.config.notify:
            return
        log = session.output / "logs" / "notify.log"
        summary = session.output / "export" / "summary.json"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("w") as file:
                self._process = subprocess.Popen(
                    [*session.config.notify, str(summary)],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    cwd=session.path.parent,
                    start_new_session=True,
                )
        except OSError as error:
            self._tell(f"cannot be run ({error.strerror})")

    def ended(self) -> bool:
        """Whether it is over, one way or another."""
        if self._process is None:
            return True
        code = self._process.poll()
        if code is None and time.monotonic() > self._until:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._tell(f"took longer than {LIMIT_S:.0f} s and was ended")
            return True
        if code:
            self._tell(f"ended with {code}, see {self._session.output / 'logs' / 'notify.log'}")
        return code is not None

    def _tell(self, what: str) -> None:
        program = self._session.config.notify[0]
        print(f"warning: session {self._session.name}: notify: {program} {what}", file=sys.stderr)
