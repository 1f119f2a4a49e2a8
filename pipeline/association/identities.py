"""Identity as a result of its own: the user's corrections, and what is told about every person.

Ids are stable: a correction moves frames between ids or removes an id, and never renumbers another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.errors import InputError


@dataclass(frozen=True)
class Swap:
    """Two people change places from frame ``first`` to ``last`` (absolute numbers, inclusive; None: to the end)."""

    people: tuple[int, int]
    first: int
    last: int | None = None


@dataclass(frozen=True)
class IdentityRules:
    """A user's corrections, applied in the order swaps, merges, drops.

    Attributes:
        swaps: see ``Swap``; in the order given.
        merges: (kept id, absorbed ids).
        drops: ids to remove.
        names: id to name, for people to read; no part of any array.
        where: the file they came from, for messages.
    """

    swaps: tuple[Swap, ...] = ()
    merges: tuple[tuple[int, tuple[int, ...]], ...] = ()
    drops: tuple[int, ...] = ()
    names: dict[int, str] = field(default_factory=dict)
    where: str = "identities.yaml"


def apply_rules(tracks: Tracks, rules: IdentityRules) -> Tracks:
    """Tracks after the user's corrections. Where merged people are both present, the better observed one counts.

    Raises:
        InputError: if a rule names an id that is not there, or frames outside the session.
    """
    check_rules([int(i) for i in tracks.person_ids], tracks.frames, rules)
    index = {int(i): k for k, i in enumerate(tracks.person_ids)}
    arrays = {f: np.array(getattr(tracks, f)) for f in Tracks.FIELDS[2:]}
    present, confidence = tracks.present.copy(), np.asarray(tracks.confidence).sum(-1)
    for swap in rules.swaps:
        a, b = (index[i] for i in swap.people)
        span = tracks.frames >= swap.first
        if swap.last is not None:
            span &= tracks.frames <= swap.last
        for values in (*arrays.values(), present, confidence):
            values[np.ix_(span, [a, b])] = values[np.ix_(span, [b, a])]
    gone = set(rules.drops)
    for kept, absorbed in rules.merges:
        a = index[kept]
        for other in absorbed:
            b = index[other]
            take = present[:, b] & (~present[:, a] | (confidence[:, b] > confidence[:, a]))
            for values in (*arrays.values(), present, confidence):
                values[take, a] = values[take, b]
            gone.add(other)
    keep = np.array([int(i) not in gone for i in tracks.person_ids], bool)
    return Tracks(tracks.frames, tracks.person_ids[keep], *(arrays[f][:, keep] for f in Tracks.FIELDS[2:]))


def check_rules(people: Sequence[int], frames: np.ndarray, rules: IdentityRules) -> None:
    """Rules against the ids that were found and the session's frame numbers (F,), ascending.

    Raises:
        InputError: as ``apply_rules``.
    """
    known = set(people)
    used = {
        "swap": [i for s in rules.swaps for i in s.people],
        "merge": [i for kept, absorbed in rules.merges for i in (kept, *absorbed)],
        "drop": list(rules.drops),
        "name": list(rules.names),
    }
    for rule, ids in used.items():
        for i in ids:
            if i not in known:
                found = ", ".join(map(str, sorted(known))) or "nobody"
                raise InputError(f"{rules.where}: {rule}", f"there is no person {i} (found: {found})", "Correct the id")
    absorbed = [i for _, others in rules.merges for i in others]
    if len(set(absorbed)) < len(absorbed) or {kept for kept, _ in rules.merges} & set(absorbed):
        raise InputError(
            f"{rules.where}: merge", "a person is merged twice or in a circle", "Name each absorbed person once"
        )
    both = set(rules.drops) & ({kept for kept, _ in rules.merges} | set(absorbed))
    if both:
        raise InputError(f"{rules.where}: drop", f"person {min(both)} is merged and dropped", "Do one of the two")
    for swap in rules.swaps:
        if len(frames) and not frames[0] <= swap.first <= frames[-1]:
            raise InputError(
                f"{rules.where}: swap",
                f"frame {swap.first} is outside the session ({frames[0]} to {frames[-1]})",
                "Give the first frame of the exchange",
            )


def spans(present: np.ndarray, frames: np.ndarray) -> list[tuple[int, int]]:
    """(first, last) frame numbers, inclusive, of the runs in which ``present`` (F,) holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], present.astype(np.int8), [0]])))
    return [(int(frames[a]), int(frames[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def describe(tracks: Tracks, names: dict[int, str] | None = None) -> dict:
    """What ``export/identities.json`` says: people with names, spans of frames and confidence."""
    names = names or {}
    people = []
    for p, i in enumerate(tracks.person_ids):
        on = tracks.present[:, p]
        views = (tracks.scores[on, p] > 0).any(-1).sum(-1)
        people.append(
            {
                "id": int(i),
                "name": names.get(int(i)),
                "frames": int(on.sum()),
                "spans": [list(s) for s in spans(on, tracks.frames)],
                "confidence": round(float(tracks.confidence[on, p].mean()), 4) if on.any() else 0.0,
                "views_mean": round(float(views.mean()), 2) if on.any() else 0.0,
            }
        )
    return {"frames": [int(tracks.frames[0]), int(tracks.frames[-1])] if len(tracks.frames) else [], "people": people}


def select(tracks: Tracks, ids: list[int]) -> Tracks:
    """Only these people, in the order of the tracks."""
    keep = np.isin(tracks.person_ids, ids)
    return replace(
        tracks, person_ids=tracks.person_ids[keep], **{f: getattr(tracks, f)[:, keep] for f in Tracks.FIELDS[2:]}
    )
