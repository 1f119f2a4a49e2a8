"""``clean``: remove what can be made again, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.files import abandoned_temporaries
from tasks.graph import Graph, Look
from tasks.records import session_lock


def command(session: Session, stage: str | None, stale: bool, dry_run: bool) -> int:
    """Remove cached artifacts of a session (of one stage; only stale ones). Exports, inputs and logs stay."""
    if not (session.output / "session.json").exists():
        raise InputError(session.output, "is not a session's folder", "Nothing is removed")
    graph = Graph(session)
    with session_lock(session):
        found = sorted(set(_targets(graph, stage, stale)))
        size = sum(p.stat().st_size for p in found)
        for path in found:
            print(("would remove " if dry_run else "removed ") + str(path.relative_to(session.output)))
            if not dry_run:
                path.unlink()
                tombstone = graph.cache / ".state" / path.parent.name / f"{path.stem}.released"
                tombstone.unlink(missing_ok=True)
    print(f"{len(found)} files, {size / 1e6:.1f} MB")
    return 0


def _targets(graph: Graph, stage: str | None, stale: bool) -> Iterator[Path]:
    current = set()
    look = Look()
    if stale:
        for row in graph.stages():
            current |= {graph.path(p) for p in graph.parts(row, look) or [] if graph.current(p, look) is not None}
    folders = [graph.cache / stage] if stage else [p for p in graph.cache.iterdir() if p.is_dir()]
    for folder in folders:
        if folder.name != ".state":
            yield from (p for p in folder.glob("*.h5") if p not in current)
    yield from abandoned_temporaries(graph.session.output)
