"""New people out of candidates that nobody expected: limb bundles searched over views, then put together.

A bundle is one limb seen in several cameras: at most one pair of candidates a camera, with part affinity in each and
rays that meet between each two. Bundles are grown from every pair of candidates, best agreement first, and scored by
agreement, affinity and number of views; people are assembled from them in order of score.
"""

from __future__ import annotations

import numpy as np

from pipeline.association.edges import epipolar_edges
from pipeline.association.observations import LIMBS, Observations
from pipeline.association.options import AssociationOptions
from pipeline.association.skeleton import TEMPLATE
from pipeline.association.triangulation import nearest_point, triangulate_robust

_USUAL = 1.7 * np.linalg.norm(TEMPLATE[LIMBS[:, 0]] - TEMPLATE[LIMBS[:, 1]], axis=1)
_TRUNK_LIMBS = np.array([min(a, b) < 2 and max(a, b) < 7 for a, b in LIMBS])


def find_people(
    seen: Observations, f: int, taken: np.ndarray, options: AssociationOptions
) -> list[tuple[np.ndarray, np.ndarray]]:
    """People in frame ``f`` among candidates that are not ``taken`` (C, 19, N).

    Returns:
        best first: (chosen (C, 19) int candidates or -1, joints (19, 3) metres, NaN where not seen in two views).
    """
    free = seen.valid[f] & ~taken
    views = free.any(-1).sum(-1) >= options.min_birth_joints
    if views.sum() < 2:
        return []
    affinity = seen.affinity[f] * (free[:, LIMBS[:, 0], :, None] & free[:, LIMBS[:, 1], None, :])
    affinity[~views] = 0
    if (affinity.max((-1, -2)) > 0).sum() < options.min_birth_joints:
        return []
    edges = epipolar_edges(seen, f, options)
    bundles = _bundles(seen, f, affinity, edges, options)
    found = []
    for chosen in _put_together(bundles, edges, affinity):
        joints, agreeing = _in_space(seen, f, chosen, options)
        if np.isfinite(joints[:, 0]).sum() >= options.min_birth_joints and is_plausible(joints):
            found.append((agreeing, joints))
    return found


def _bundles(seen, f, affinity, edges, options) -> list[tuple[float, int, list[tuple[int, int, int]]]]:
    """(score, limb, [(camera, candidate of first joint, of second)]), best first."""
    found = []
    for limb, (ja, jb) in enumerate(LIMBS):
        c, a, b = np.nonzero(affinity[:, limb] > 0)
        if len(set(c.tolist())) < 2:
            continue
        first = edges[ja][c[:, None], a[:, None], c[None], a[None]]
        second = edges[jb][c[:, None], b[:, None], c[None], b[None]]
        meet = np.where((first >= 0) & (second >= 0), (first + second) / 2, -1.0)
        paf = affinity[c, limb, a, b]
        known = set()
        for i in range(len(c)):
            members = [i]
            for k in np.argsort(-meet[i]):
                if meet[i, k] < 0:
                    break
                if all(meet[k, m] >= 0 for m in members):
                    members.append(int(k))
            key = tuple(sorted(members))
            if len(members) < 2 or key in known:
                continue
            known.add(key)
            m = np.array(members)
            agreement = meet[np.ix_(m, m)][~np.eye(len(m), dtype=bool)].mean()
            many = 1 - np.exp(-((len(m) / 1.5) ** 2) / 2)
            score = (2 * agreement + paf[m].mean() + 2 * many + 0.5 * _TRUNK_LIMBS[limb]) / 5.5
            found.append((score, limb, [(int(c[k]), int(a[k]), int(b[k])) for k in members]))
    found = _of_usual_length(seen, f, found)
    found.sort(key=lambda item: -item[0])
    return found


def _of_usual_length(seen, f, bundles):
    """Without bundles whose limb would be far too short or too long."""
    if not bundles:
        return bundles
    C = len(seen.centres)
    rays, weights = np.zeros((len(bundles), 2, C, 3)), np.zeros((len(bundles), 2, C))
    for k, (_, limb, members) in enumerate(bundles):
        for end in (0, 1):
            for member in members:
                rays[k, end, member[0]] = seen.rays[f, member[0], LIMBS[limb, end], member[1 + end]]
                weights[k, end, member[0]] = 1
    ends = nearest_point(seen.centres, rays, weights)
    with np.errstate(invalid="ignore"):
        ratio = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1) / _USUAL[[b[1] for b in bundles]]
        good = (ratio > 0.3) & (ratio < 2.0)
    return [b for b, g in zip(bundles, good, strict=True) if g]


def _put_together(bundles, edges, affinity: np.ndarray) -> list[np.ndarray]:
    """People (C, 19) from bundles, largest first.

    People who share a limb's end are joined where nothing contradicts; so are, at last, pieces that affinities link in
    two views or more though no bundle of views agreed on the limb between them.
    """
    C = len(affinity)
    people: list[np.ndarray | None] = []
    owner: dict[tuple[int, int, int], int] = {}
    for _, limb, members in bundles:
        ja, jb = LIMBS[limb]
        cells = [(c, ja, a) for c, a, _ in members] + [(c, jb, b) for c, _, b in members]
        votes: dict[int, int] = {}
        for cell in cells:
            if cell in owner:
                votes[owner[cell]] = votes.get(owner[cell], 0) + 1
        ranked = sorted(votes, key=votes.get, reverse=True)
        if not ranked:
            ranked = [len(people)]
            people.append(np.full((C, 19), -1))
        p = ranked[0]
        for q in ranked[1:]:
            if _compatible(people[p], people[q], edges):
                people[p] = np.maximum(people[p], people[q])
                for cell, who in owner.items():
                    if who == q:
                        owner[cell] = p
                people[q] = None
        for c, a, b in members:
            both = [(c, ja, a), (c, jb, b)]
            # A view joins with both ends or not at all: half a limb is what another bundle is for.
            if all(owner.get(cell, p) == p and people[p][c, cell[1]] in (-1, cell[2]) for cell in both) and all(
                _meets(people[p], cell, edges) for cell in both
            ):
                for cell in both:
                    people[p][c, cell[1]] = cell[2]
                    owner[cell] = p
    whole = sorted((p for p in people if p is not None), key=lambda p: -(p >= 0).sum())
    out: list[np.ndarray] = []
    for piece in whole:
        for k, person in enumerate(out):
            if _linked_views(person, piece, affinity) >= 2 and _compatible(person, piece, edges):
                out[k] = np.maximum(person, piece)
                break
        else:
            out.append(piece)
    return out


def _linked_views(p: np.ndarray, q: np.ndarray, affinity: np.ndarray) -> int:
    """In how many cameras an affinity links a joint of one with a joint of the other."""
    c = np.arange(len(affinity))[:, None]
    limb = np.arange(len(LIMBS))
    linked = np.zeros((len(affinity), len(LIMBS)), bool)
    for a, b in ((p, q), (q, p)):
        first, second = a[:, LIMBS[:, 0]], b[:, LIMBS[:, 1]]
        linked |= (first >= 0) & (second >= 0) & (affinity[c, limb, first, second] > 0)
    return int(linked.any(1).sum())


def is_whole(joints: np.ndarray) -> bool:
    """Whether joints (19, 3) hold both the upper and the lower end of a trunk."""
    known = np.isfinite(joints[:, 0])
    return bool(known[[1, 5, 6]].any() and known[[0, 2, 3]].any())


def _meets(person: np.ndarray, cell: tuple[int, int, int], edges: np.ndarray) -> bool:
    """Whether the candidate's ray meets those that the person has of that joint in other cameras."""
    c, j, n = cell
    others = np.flatnonzero(person[:, j] >= 0)
    others = others[others != c]
    return bool((edges[j, c, n, others, person[others, j]] >= 0).all())


def _compatible(p: np.ndarray, q: np.ndarray, edges: np.ndarray) -> bool:
    """No place filled in both, and rays of the same joint meet."""
    if ((p >= 0) & (q >= 0)).any():
        return False
    return all(_meets(p, (c, j, q[c, j]), edges) for c, j in np.argwhere(q >= 0))


def _in_space(seen, f, chosen, options) -> tuple[np.ndarray, np.ndarray]:
    """Joints (19, 3) that two views agree on, and ``chosen`` without what disagrees."""
    c, j = np.nonzero(chosen >= 0)
    rays, weights = np.zeros((19, chosen.shape[0], 3)), np.zeros((19, chosen.shape[0]))
    rays[j, c], weights[j, c] = seen.rays[f, c, j, chosen[c, j]], seen.scores[f, c, j, chosen[c, j]]
    joints, agrees = triangulate_robust(seen.centres, rays, weights, options.outlier_m)
    return joints, np.where(agrees.T, chosen, -1)


def is_plausible(joints: np.ndarray) -> bool:
    """Limbs of about one body's proportions, and no larger than people are."""
    length = np.linalg.norm(joints[LIMBS[:, 0]] - joints[LIMBS[:, 1]], axis=1) / _USUAL
    length = length[np.isfinite(length)]
    if len(length) < 4:
        return False
    scale = np.median(length)
    return bool(0.4 < scale < 1.4 and (np.abs(length / scale - 1) < 0.6).mean() > 0.6)
