"""Joint candidates of one image, grouped into people by their affinities.

For what needs whole people; association works on the candidates themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_AFFINITY = 0.05
LEAST_JOINTS = 3
"""Groups of fewer joints are nobody."""


def group_candidates(
    counts: Sequence[int], affinities: Sequence[np.ndarray], limbs: np.ndarray, present: Sequence[np.ndarray]
) -> np.ndarray:
    """Greedy grouping: the strongest affinity first, two groups become one if no joint would be twice in it.

    Unlike the parse of Cao et al. (2017, section 2.4), which settles limb after limb, certain limbs anywhere on the
    body are settled before uncertain ones.

    Args:
        counts: candidates of each of J joints.
        affinities: of each limb (a, b) a (counts[a], counts[b]) matrix, the higher the surer.
        limbs: (L, 2) joints a and b.
        present: of each joint which of its candidates are usable, (counts[j],) bool.

    Returns:
        (P, J) int: the candidate of each person's joint, -1 where missing; people with more joints first.
    """
    begins = np.concatenate([[0], np.cumsum(counts)])
    member = {}  # candidate -> its group; a group maps joint -> candidate
    for j, usable in enumerate(present):
        for k in np.flatnonzero(usable):
            member[int(begins[j] + k)] = {j: int(k)}
    for _, one, other in _edges(begins, affinities, limbs):
        a, b = member.get(one), member.get(other)
        if a is None or b is None or a is b or not a.keys().isdisjoint(b):
            continue
        a.update(b)
        for j, k in b.items():
            member[int(begins[j] + k)] = a
    groups = {id(g): g for g in member.values() if len(g) >= LEAST_JOINTS}.values()
    people = np.full((len(groups), len(counts)), -1, np.int64)
    for row, group in zip(people, sorted(groups, key=len, reverse=True), strict=True):
        row[list(group)] = list(group.values())
    return people


def _edges(begins: np.ndarray, affinities: Sequence[np.ndarray], limbs: np.ndarray) -> list[tuple[float, int, int]]:
    """(affinity, candidate, candidate), strongest first; candidates are numbered over all joints."""
    edges = []
    for (a, b), matrix in zip(limbs, affinities, strict=True):
        rows, columns = np.nonzero(matrix > LEAST_AFFINITY)  # NaN is not
        edges += [
            (float(matrix[r, c]), int(begins[a] + r), int(begins[b] + c)) for r, c in zip(rows, columns, strict=True)
        ]
    return sorted(edges, key=lambda e: -e[0])
