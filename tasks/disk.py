"""Room on the disk: the floor below which no part begins, and the budget for which intermediates are released.

A released artifact leaves its header behind as a tombstone. It stays current, since all that needs it is made; should
something need it again, the next plan makes it again.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from pipeline.artifacts import read_header
from pipeline.config import Session
from pipeline.files import write_atomic
from tasks.graph import Graph, Look
from tasks.parts import Part
from tasks.stages import STAGES

KEPT = frozenset({"rig", "timeline", "detections", "tracks", "body", "manifest"})
"""Schemas that are never released: planning and the report read them, and they are small."""


def check_room(session: Session) -> None:
    """Raises OSError (no space) if less is free in the output folder than ``compute.disk_floor_gb``."""
    floor = session.config.compute.disk_floor_gb * 1e9
    free = shutil.disk_usage(session.output).free
    if free < floor:
        raise OSError(
            errno.ENOSPC,
            f"only {free / 1e9:.1f} GB are free, less than compute.disk_floor_gb {floor / 1e9:g}: make room",
            str(session.output),
        )


def used_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; what disappears meanwhile counts nothing."""
    total, open_ = 0, [folder]
    while open_:
        try:
            with os.scandir(open_.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        open_.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
    return total


def release(graph: Graph, look: Look) -> list[Part]:
    """Release intermediates that nothing needs any more, oldest first, until the output is within its budget."""
    budget = graph.session.config.compute.disk_budget_gb
    if budget is None:
        return []
    excess = used_bytes(graph.session.output) - budget * 1e9
    if excess <= 0:
        return []
    released = []
    for _, part in sorted((graph.path(p).stat().st_mtime, p) for p in releasable(graph, look)):
        path = graph.path(part)
        header = read_header(path)
        if header is None:
            continue
        write_atomic(graph.tombstone(part), header.block)
        excess -= path.stat().st_size
        path.unlink()
        released.append(part)
        if excess <= 0:
            break
    return released


def releasable(graph: Graph, look: Look) -> list[Part]:
    """Parts whose artifacts are there, could be made again, and are read by nothing that is still to be made."""
    needed: set[Part] = set()
    unknown: set[str] = set()
    for stage in graph.stages():
        parts = graph.parts(stage, look)
        if parts is None:
            unknown |= set(graph.inputs_of(stage))
        for part in parts or []:
            if graph.current(part, look) is None:
                needed |= {*(graph.input_parts(part, look) or []), *graph.border_parts(part, look)}
    return [
        part
        for stage in graph.stages()
        if STAGES[stage.name].schema not in KEPT and stage.name not in unknown
        for part in graph.parts(stage, look) or []
        if part not in needed and graph.current(part, look) is not None and graph.present(part)
    ]
