"""Processes: what they may open, and that none outlives the one that started it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1


def raise_file_limit() -> None:
    """Long sessions have more artifacts than the usual limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def peak_memory_mb() -> float:
    """The most that this process, or a child of it that has ended, held at once."""
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(own, children) / 1024


def die_with_parent() -> None:
    """A killed parent takes this child along: nobody goes on writing, or holds a lock, for a run that is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it went before the kernel was told
        os._exit(1)
