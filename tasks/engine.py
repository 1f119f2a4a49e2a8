"""Luigi, and nothing but: one generic task over the table of stages, and static builds of it.

The parent process never imports torch, Open3D or a detector: every part is made in a forked child (tasks.execution).
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("LUIGI_CONFIG_PATH", str(Path(__file__).resolve().parent.parent / "configs" / "luigi.cfg"))

import luigi  # it reads its configuration when imported

from pipeline.config import Session, load_session
from tasks import execution
from tasks.graph import Graph
from tasks.parts import Part
from tasks.stages import STAGES

_PR_SET_PDEATHSIG = 1

_events: int | None = None
"""File descriptor that children write a line to when they start, finish or fail a part."""


@functools.cache
def _graph(config: str) -> Graph:
    return Graph(load_session(config))


class PartTask(luigi.Task):
    """One part of a session. Complete when its artifact is current."""

    config = luigi.Parameter(description="absolute path of the session's configuration")
    part = luigi.Parameter(description="encoded tasks.parts.Part")

    @property
    def _part(self) -> Part:
        return Part.decode(self.part)

    @property
    def worker_timeout(self) -> int | None:
        return _graph(self.config).session.config.compute.timeout_s or None

    @property
    def priority(self) -> int:
        """Finish what is far along first: a night that ends early leaves whole results, not many halves."""
        return list(STAGES).index(self._part.stage)

    def requires(self) -> list[PartTask]:
        if STAGES[self._part.stage].tolerant:
            return []  # made from what there is
        inputs = _graph(self.config).input_parts(self._part) or []
        return [PartTask(self.config, p.encode()) for p in inputs]

    def complete(self) -> bool:
        return _graph(self.config).current(self._part) is not None

    def run(self) -> None:
        _die_with_parent()
        _tell("started", self._part)
        started = time.monotonic()
        try:
            execution.make(_graph(self.config).session, self._part)
        except execution.PartFailed as error:
            _tell("failed", self._part, str(error))
            raise
        _tell("done", self._part, f"{time.monotonic() - started:.1f} s")


def build(session: Session, parts: Iterable[Part], workers: int, scheduler_url: str | None = None) -> None:
    """Make parts and whatever they need, as far as it can be made. Which were made is asked of the graph afterwards."""
    graph = _graph(str(session.path))
    parts = list(parts)
    graph.digests.save()
    logging.getLogger("luigi-interface").setLevel(logging.CRITICAL)
    logging.getLogger("luigi").setLevel(logging.CRITICAL)
    with _monitor(len(parts)):
        luigi.build(  # its own messages go nowhere: the monitor and the records tell more
            [PartTask(str(session.path), p.encode()) for p in parts],
            workers=workers,
            local_scheduler=scheduler_url is None,
            scheduler_url=scheduler_url or "",
            detailed_summary=True,
            log_level="CRITICAL",
        )
    graph.digests.save()


def _die_with_parent() -> None:
    """A killed parent takes its children along: nobody goes on writing for a run that is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _tell(event: str, part: Part, detail: str = "") -> None:
    if _events is not None:
        line = f"{event}\t{part}\t{' '.join(detail.split())}"[:2000]
        os.write(_events, f"{line}\n".encode())


@contextmanager
def _monitor(total: int) -> Iterator[None]:
    """A forked child that shows what the parts tell: a bar on a terminal, plain lines elsewhere."""
    global _events
    reading, _events = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(_events)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            _show(reading, total)
        finally:
            os._exit(0)
    os.close(reading)
    try:
        yield
    finally:
        os.close(_events)
        _events = None
        os.waitpid(child, 0)


def _show(reading: int, total: int) -> None:
    from tqdm import tqdm

    terminal = sys.stdout.isatty()
    bar = tqdm(total=total, disable=not terminal, unit="part", file=sys.stdout, dynamic_ncols=True)
    finished = 0
    with os.fdopen(reading) as lines, bar:
        for line in lines:
            event, part, detail = line.rstrip("\n").split("\t")
            if event == "started":
                bar.set_postfix_str(part)
                continue
            finished += 1
            bar.update()
            if event == "failed" or not terminal:
                what = detail if event == "failed" else f"{part} {detail}"
                bar.write(f"[{finished}/{total}] {event}: {what}", file=sys.stdout)
                sys.stdout.flush()
