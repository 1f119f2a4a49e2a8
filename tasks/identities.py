"""Stage: one person, after the user's ``identities.yaml`` beside the configuration.

Everything below reads these artifacts. A rule enters the key of the people it concerns alone, so that naming or
dropping one person remakes nothing of another.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.identities import read_identities
from pipeline.association.identities import IdentityRules, apply_rules, select
from pipeline.association.tracks import Tracks
from pipeline.config import Session
from tasks.execution import Context
from tasks.parts import Part


def rules_path(session: Session) -> Path:
    return session.path.parent / "identities.yaml"


def rules_of(session: Session) -> IdentityRules:
    """The user's rules; none if the file is not there."""
    path = rules_path(session)
    return read_identities(path) if path.exists() else IdentityRules()


def people(session: Session, found: tuple[int, ...]) -> tuple[int, ...]:
    """Ids that are left of those that association found."""
    rules = rules_of(session)
    gone = set(rules.drops) | {i for _, absorbed in rules.merges for i in absorbed}
    return tuple(i for i in found if i not in gone)


def _concerned(rules: IdentityRules, person: int) -> IdentityRules:
    """The rules that can change this person: theirs, and those of whoever they exchange frames with."""
    group, grown = {person}, True
    links = [set(s.people) for s in rules.swaps] + [{kept, *others} for kept, others in rules.merges]
    while grown:
        grown = False
        for link in links:
            if group & link and not link <= group:
                group |= link
                grown = True
    return IdentityRules(
        swaps=tuple(s for s in rules.swaps if group & set(s.people)),
        merges=tuple(m for m in rules.merges if m[0] in group),
        drops=(),
        names={i: n for i, n in rules.names.items() if i == person},
        where=rules.where,
    )


def parameters(session: Session, part: Part) -> dict[str, Any]:
    """The person's rules, without the file's place."""
    rules = asdict(_concerned(rules_of(session), part.person))
    del rules["where"]
    rules["names"] = {str(k): v for k, v in rules["names"].items()}
    return {f"identities.{k}": v for k, v in rules.items() if v}


def compute(context: Context) -> None:
    person = context.part.person
    rules = _concerned(rules_of(context.session), person)
    everybody = context.input("association")
    tracks = Tracks.from_arrays(everybody.arrays())
    mine = select(apply_rules(tracks, rules), [person])
    context.writer.put_all(mine.to_arrays())
    context.writer.attribute("name", rules.names.get(person))
    context.writer.attribute("joint_set", everybody.attribute("joint_set"))
