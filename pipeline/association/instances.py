"""New people out of whole instances that three views or more see alike.

Bundles (``bundles``) put limbs together, whoever detected them; among people who hold each other, limbs of two make a
third. A detector that finds people whole has answered that question in every picture, often rightly: such people are
begun first. It may have taken a back for a front: each half of a body counts as named or the other way round.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from pipeline.association.bundles import is_plausible
from pipeline.association.observations import Observations, ray_distance
from pipeline.association.options import AssociationOptions
from pipeline.association.triangulation import triangulate_robust
from pipeline.skeletons import SKEL19

VIEWS = 3
"""Views that must see the person; two agree by chance too often."""
WHOLE = 12
"""Joints that an instance must have left."""
ALIKE = 0.75
"""Share of the joints of two instances whose rays must meet."""
_LOWER = np.array([any(part in joint for part in ("knee", "ankle", "toe", "heel", "foot")) for joint in SKEL19.joints])
_HIPS = np.array(["hip" in joint for joint in SKEL19.joints])


def _readings() -> np.ndarray:
    """(4, 19) which joint of the instance is taken for each: as named, the rest, legs, all the other way round; bits of
    the index tell which half is turned."""
    out = []
    for legs, rest in product((False, True), repeat=2):
        turned = np.where(_LOWER | _HIPS, legs, rest)
        out.append(np.where(turned, SKEL19.mirror, np.arange(19)))
    return np.array(out)


READINGS = _readings()


def find_whole_people(
    seen: Observations, f: int, taken: np.ndarray, options: AssociationOptions
) -> list[tuple[np.ndarray, np.ndarray]]:
    """People in frame ``f`` among instances that are not ``taken`` (C, 19, N).

    Returns:
        best first: (chosen (C, 19) int candidates or -1, joints (19, 3) metres), as ``find_people`` of ``bundles``.
        Joints read the other way round take part in ``joints`` alone.
    """
    free = seen.valid[f] & ~taken & (seen.rows[f] >= 0)
    camera, slot = np.nonzero(free.sum(1) >= WHOLE)
    if len(set(camera.tolist())) < VIEWS:
        return []
    rays = seen.rays[f, camera[:, None, None], READINGS, slot[:, None, None]].astype(np.float64)  # (I, 4, 19, 3)
    known = free[camera[:, None, None], READINGS, slot[:, None, None]]
    agreement = _agreement(seen.centres[camera], rays, known, options)
    agreement[camera[:, None] == camera] = 0
    left, found = np.ones(len(camera), bool), []
    while True:
        groups = [_group(i, camera, agreement, left) for i in np.flatnonzero(left)]
        groups = [g for g in groups if len(g[1]) >= VIEWS]
        if not groups:
            return found
        _, members = max(groups, key=lambda g: g[0])
        left[[i for i, _ in members]] = False
        person = _in_space(seen, members, camera, slot, rays, known, options)
        if person is not None:
            found.append(person)


def _agreement(centres: np.ndarray, rays: np.ndarray, known: np.ndarray, options: AssociationOptions) -> np.ndarray:
    """(I, I, 4) how well the first instance as named and the second in each reading are one person: mean of 1 for rays
    that meet to 0 at ``epipolar_m``; 0 where too few of them do."""
    first = np.broadcast_to(rays[:, None, :1], (len(rays), *rays.shape))
    gap = ray_distance(centres[:, None, None, None], first, centres[None, :, None, None], rays[None])
    both = known[:, None, :1] & known[None]
    meet = both & (gap < options.epipolar_m)
    count = both.sum(-1)
    value = np.where(meet, 1 - gap / options.epipolar_m, 0).sum(-1) / np.maximum(count, 1)
    return np.where((count >= options.min_birth_joints) & (meet.sum(-1) >= ALIKE * count), value, 0.0)


def _group(
    first: int, camera: np.ndarray, agreement: np.ndarray, left: np.ndarray
) -> tuple[float, list[tuple[int, int]]]:
    """What is seen of an instance's person: (score, (instance, reading), the best of each camera).

    Two readings stand to each other as the one with the halves that only one of them turns stands to what is named.
    """
    members, total = [(first, 0)], 0.0
    near = np.where(left, agreement[first].max(-1), 0.0)
    cameras = np.unique(camera)
    for c in sorted(cameras, key=lambda c: -near[camera == c].max()):
        best, score = None, 0.0
        for i, r in product(np.flatnonzero((camera == c) & left & (near > 0)), range(len(READINGS))):
            values = np.array([agreement[m, i, r ^ q] for m, q in members])
            if 2 * (values > 0).sum() >= len(values) and values.sum() > score:
                best, score = (int(i), r), float(values.sum())
        if best is not None:
            members.append(best)
            total += score
    return total, members


def _in_space(
    seen: Observations, members, camera, slot, rays, known, options: AssociationOptions
) -> tuple[np.ndarray, np.ndarray] | None:
    """(chosen, joints) of a group; None if it is no body."""
    C = len(seen.centres)
    every, weights, chosen = np.zeros((19, C, 3)), np.zeros((19, C)), np.full((C, 19), -1)
    for i, r in members:
        every[:, camera[i]], weights[:, camera[i]] = rays[i, r], known[i, r]
        chosen[camera[i]] = np.where(known[i, r] & (READINGS[r] == np.arange(19)), slot[i], -1)
    joints, agrees = triangulate_robust(seen.centres, every, weights, options.outlier_m)
    agreed = np.isfinite(joints[:, 0]).sum()
    views = (agrees & (weights > 0)).sum(0) >= options.min_birth_joints
    if agreed < options.min_birth_joints or views.sum() < VIEWS or not is_plausible(joints):
        return None
    return np.where(agrees.T, chosen, -1), joints
