"""What this process may use of the machine: cores and memory, as affinity and control groups (v1, v2) grant them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import Session

MEMORY_PER_WORKER = 3 << 30

CGROUPS = Path("/sys/fs/cgroup")


def worker_count(session: Session) -> int:
    """Processes to use: as configured, else by the cores and memory that this process may use."""
    wanted = session.config.compute.workers
    return automatic_workers() if wanted == "auto" else wanted


def automatic_workers() -> int:
    return max(1, min(cores(), memory_bytes() // MEMORY_PER_WORKER))


def cores(root: Path = CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may keep busy: its affinity, and less where a control group grants less time."""
    granted = float(len(os.sched_getaffinity(0)))
    for folder in _groups(root, membership, "cpu"):
        quota, period = _numbers(folder / "cpu.max")  # v2: "max 100000" or "150000 100000"
        if quota is None:
            (quota,), (period,) = _numbers(folder / "cpu.cfs_quota_us")[:1], _numbers(folder / "cpu.cfs_period_us")[:1]
        if quota and period and quota > 0:
            granted = min(granted, quota / period)
    return max(1, math.floor(granted + 1e-6))


def memory_bytes(root: Path = CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Memory that this process may use: the machine's, and less where a control group grants less."""
    granted = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in _groups(root, membership, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            (limit,) = _numbers(folder / name)[:1]
            if limit:
                granted = min(granted, limit)
    return int(granted)


def _groups(root: Path, membership: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups that this process is in, from its own up to the root, of both versions.

    Inside a container its own group is the root that it sees; the path that the host knows it by is not there.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    tops = {root: "/", root / controller: "/"}
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            tops[root] = path
        elif controller in controllers.split(","):
            tops[root / controller] = path
            tops[root / controllers] = path
    for top, path in tops.items():
        folder = top / path.lstrip("/")
        while True:
            if folder.is_dir():
                yield folder
            if folder == top or top not in folder.parents:
                break
            folder = folder.parent


def _numbers(path: Path) -> list[float | None]:
    """The numbers in a file, None for each word that is none ("max"); two Nones if there is no such file."""
    try:
        words = path.read_text().split()
    except OSError:
        return [None, None]
    return [float(w) if w.lstrip("-").isdigit() else None for w in words] + [None] * (2 - len(words))
