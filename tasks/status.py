"""``status``: every part of every stage, told from files and heartbeats alone."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from pipeline.config import Session
from tasks.execution import outcome
from tasks.graph import Graph, Look
from tasks.parts import Part
from tasks.records import Records

STATES = ("done", "running", "failed", "lost", "stale", "missing")


def table(session: Session) -> dict[str, Any]:
    """The state of a session, for programs: per stage its parts with state and what is known of them."""
    graph, records = Graph(session), Records(session.output / "cache")
    look = Look()
    stages = []
    for stage in graph.stages():
        parts = graph.parts(stage, look)
        rows = [_row(graph, records, part, look) for part in parts or []]
        stages.append({"stage": stage.name, "purpose": stage.purpose, "known": parts is not None, "parts": rows})
    graph.digests.save()
    return {"session": session.name, "output": str(session.output), "stages": stages}


def _row(graph: Graph, records: Records, part: Part, look: Look) -> dict[str, Any]:
    state, record = outcome(graph, records, part, look)
    row: dict[str, Any] = {"part": part.name, "state": state}
    if record is not None:
        row |= {"host": record.host, "since": record.since, "error": record.error, "progress": record.progress}
        row["tries"] = record.tries
        row["log"] = str(graph.session.output / "logs" / part.stage / f"{part.name}.log")
    return row


def text(table: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"session {table['session']}, {table['output']}"]
    width = max(len(s["stage"]) for s in table["stages"])
    for stage in table["stages"]:
        counts = Counter(row["state"] for row in stage["parts"])
        if not stage["known"]:
            summary = "waiting: its parts are not known yet"
        else:
            summary = ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s]) or "no parts"
        lines.append(f"  {stage['stage']:<{width}}  {summary}")
        for row in stage["parts"]:
            if row["state"] == "running":
                minutes = (time.time() - row.get("since", time.time())) / 60
                lines.append(f"    {row['part']}: on {row.get('host')} for {minutes:.1f} min, {row['progress']:.0%}")
            elif row["state"] in ("failed", "lost"):
                lines.append(f"    {row['part']}: {row['state']}: {row.get('error', '')}")
                lines.append(f"      log: {row['log']}")
    return "\n".join(lines)
