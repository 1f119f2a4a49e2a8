"""``why``: which component of a key changed since an artifact was made."""

from __future__ import annotations

from typing import Any

from pipeline.artifacts import Artifact, DamagedArtifact
from tasks.graph import Graph
from tasks.keys import key_of
from tasks.parts import Part
from tasks.stages import Stage

_KINDS = {"parameters": "configuration field", "inputs": "input", "files": "file"}


def text(graph: Graph, stage: Stage) -> str:
    """One line a reason, for every part of the stage."""
    parts = graph.parts(stage)
    if parts is None:
        return f"{stage.name}: its parts are not known yet; an earlier stage has to run first"
    lines = []
    for part in parts:
        lines += [f"{part}: {reason}" for reason in reasons(graph, part)]
    return "\n".join(lines) or f"{stage.name}: no parts"


def reasons(graph: Graph, part: Part) -> list[str]:
    """Why a part is not current; ['current'] if it is."""
    if graph.rerun_marker(part).exists():
        return ["asked for by rerun"]
    try:
        with Artifact(graph.path(part)) as artifact:
            made = artifact.provenance
    except FileNotFoundError:
        return ["not made yet"]
    except DamagedArtifact as damage:
        return [f"damaged: {damage.problem}"]
    now = graph.components(part)
    if now is None:
        waiting = [str(p) for p in graph.input_parts(part) or [] if graph.current(p) is None]
        return [f"waits for {', '.join(waiting) or 'an earlier stage'}"]
    if key_of(now) == made["key"]:
        return ["current"] if graph.current(part) else ["an exported file is missing or has another size"]
    found = []
    if now["revision"] != made["revision"]:
        found.append(f"revision {made['revision']} became {now['revision']}: the program computes it differently")
    for component, kind in _KINDS.items():
        found += _differences(kind, made[component], now[component])
    return found or ["its key was made in another way"]


def _differences(kind: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if kind == "configuration field":
            shown = ["its default" if v is None else repr(v) for v in (old, new)]
            found.append(f"{kind} {name} changed from {shown[0]} to {shown[1]}")
        else:
            change = "is new" if old is None else "is gone" if new is None else "has other content"
            found.append(f"{kind} {name} {change}")
    return found
