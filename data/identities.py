"""Reader of the user's ``identities.yaml``.

    swap:                          # from that frame on (or in a span) two people change places
      - {people: [0, 1], from: 120}
      - {people: [0, 2], from: 200, to: 240}
    merge:                         # the first id keeps, the others become part of it
      - [0, 3]
    drop: [4]
    name: {0: Anna, 1: Ben}

All parts are optional. Ids and frame numbers are those of ``export/skeletons.npz``.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from pipeline.association.identities import IdentityRules, Swap
from pipeline.errors import InputError

_PARTS = ("swap", "merge", "drop", "name")


def read_identities(path: Path) -> IdentityRules:
    """The corrections in the file.

    Raises:
        InputError: names the file and the entry that is not understood.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({error})", "Check the file") from error
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(path, f"is not YAML ({str(error).splitlines()[0]})", "Correct the file") from error
    if content is None:
        return IdentityRules(where=str(path))
    if not isinstance(content, dict):
        raise InputError(path, "is not a mapping", f"Use the keys {', '.join(_PARTS)}")
    unknown = [k for k in content if k not in _PARTS]
    if unknown:
        raise InputError(path, f"unknown key {unknown[0]!r}", f"Use only {', '.join(_PARTS)}")
    return IdentityRules(
        swaps=tuple(_swap(path, k, entry) for k, entry in enumerate(_entries(path, content, "swap"))),
        merges=tuple(_merge(path, k, entry) for k, entry in enumerate(_entries(path, content, "merge"))),
        drops=tuple(_id(f"{path}: drop", entry) for entry in _entries(path, content, "drop")),
        names=_names(path, content.get("name")),
        where=str(path),
    )


def _entries(path: Path, content: dict, part: str) -> list:
    entries = content.get(part)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise InputError(f"{path}: {part}", "is not a list", "Write a list, one entry a line with a leading dash")
    return entries


def _id(where: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(where, f"{value!r} is not a person's id", "Give the number of a person, 0 or more")
    return value


def _swap(path: Path, k: int, entry: object) -> Swap:
    where = f"{path}: swap entry {k + 1}"
    remedy = "Write {people: [0, 1], from: 120} and, if it ends again, to: 240"
    if not isinstance(entry, dict) or not {"people", "from"} <= set(entry) <= {"people", "from", "to"}:
        raise InputError(where, "needs people and from", remedy)
    people = entry["people"]
    if not isinstance(people, list) or len(people) != 2 or people[0] == people[1]:
        raise InputError(where, f"people is {people!r}, not two different ids", remedy)
    ends = [entry["from"]] + ([entry["to"]] if entry.get("to") is not None else [])
    if any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in ends) or ends != sorted(ends):
        raise InputError(where, f"from and to are {ends}, not frame numbers in order", remedy)
    return Swap((_id(where, people[0]), _id(where, people[1])), ends[0], ends[1] if len(ends) > 1 else None)


def _merge(path: Path, k: int, entry: object) -> tuple[int, tuple[int, ...]]:
    where = f"{path}: merge entry {k + 1}"
    if not isinstance(entry, list) or len(entry) < 2:
        raise InputError(
            where, f"{entry!r} is not a list of two or more ids", "Write [0, 3]: person 3 becomes part of 0"
        )
    ids = [_id(where, i) for i in entry]
    if len(set(ids)) < len(ids):
        raise InputError(where, "names a person twice", "Name each person once")
    return ids[0], tuple(ids[1:])


def _names(path: Path, names: object) -> dict[int, str]:
    if names is None:
        return {}
    if not isinstance(names, dict):
        raise InputError(f"{path}: name", "is not a mapping of ids to names", "Write {0: Anna, 1: Ben}")
    out = {_id(f"{path}: name", i): name for i, name in names.items()}
    for i, name in out.items():
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"{path}: name {i}", f"{name!r} is not a name", "Write a text, in quotes if it is a number"
            )
    if len(set(out.values())) < len(out):
        raise InputError(f"{path}: name", "two people have the same name", "Merge them, or name them apart")
    return out
