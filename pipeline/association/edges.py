"""The edges of the association graph, and how people's joints choose candidates along them.

Three kinds of edges carry support to "candidate n of joint j in camera c is person p's": temporal ones from where the
person is expected in 3D, parsing ones from neighbouring joints in the same picture (part affinities), and epipolar ones
from the same joint in other pictures. Support is summed once along all edges for every person, camera, joint and
candidate at the same time, over as many frames as are given: clear cases are settled by these arrays alone.
"""

from __future__ import annotations

import numpy as np

from pipeline.association.observations import LIMBS, Observations, ray_distance
from pipeline.association.options import AssociationOptions
from pipeline.association.skeleton import PARENTS, REACH
from pipeline.association.triangulation import triangulate_robust
from pipeline.skeletons import SKEL19

_TOUCHES = np.zeros((19, len(LIMBS)), np.float32)
_TOUCHES[LIMBS[:, 0], np.arange(len(LIMBS))] = 1
_TOUCHES[LIMBS[:, 1], np.arange(len(LIMBS))] = 1
_FIRST = (np.arange(19)[:, None] == LIMBS[:, 0]).astype(np.float32)
_SECOND = (np.arange(19)[:, None] == LIMBS[:, 1]).astype(np.float32)


def temporal_edges(seen: Observations, span: slice, expected: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """(F, P, C, 19, N) in [-1, 1]: 1 on the expected joint, 0 at the radius, -1 at twice the radius and beyond.

    Args:
        span: frames of ``seen``.
        expected: (F, P, 19, 3) metres, NaN for people who are not expected.
        radius: (F, P) or broadcastable, metres.
    """
    rays = seen.rays[span]
    offset = (expected[:, :, None] - seen.centres[:, None]).astype(np.float32)  # (F, P, C, 19, 3)
    depth = np.einsum("fcjni,fpcji->fpcjn", rays, offset, optimize=False)
    square = np.einsum("fpcji,fpcji->fpcj", offset, offset)[..., None] - depth * depth
    distance = np.sqrt(np.maximum(square, 0))
    r = np.asarray(radius, np.float32)[:, :, None, None, None]
    with np.errstate(invalid="ignore"):
        edge = np.maximum(1.0 - distance / r, -1.0)
        usable = (depth > 0) & seen.valid[span][:, None]
    return np.where(usable, edge, -1.0)


def parsing_support(affinity: np.ndarray, hold: np.ndarray) -> np.ndarray:
    """(F, P, C, 19, N) in about [0, 1]: how much neighbouring joints in the picture speak for a candidate.

    Args:
        affinity: (F, C, 18, N, N).
        hold: (F, P, C, 19, N) in [0, 1]: how much each candidate is the person's as far as is known.
    """
    at_first, at_second = hold[..., LIMBS[:, 0], :], hold[..., LIMBS[:, 1], :]
    from_second, from_first = np.zeros_like(at_first), np.zeros_like(at_second)
    for n in range(hold.shape[-1]):  # numpy's maximum over a short last axis is slow
        np.maximum(from_second, affinity[:, None, ..., n] * at_second[..., n, None], out=from_second)
        np.maximum(from_first, affinity[:, None, ..., n, :] * at_first[..., n, None], out=from_first)
    support = np.matmul(_FIRST, from_second) + np.matmul(_SECOND, from_first)
    # Only neighbours that hold any candidate at all are asked.
    asked = np.matmul(_FIRST, at_second.max(-1)[..., None]) + np.matmul(_SECOND, at_first.max(-1)[..., None])
    return support / np.maximum(asked, 0.5)


def epipolar_edges(seen: Observations, f: int, options: AssociationOptions) -> np.ndarray:
    """(19, C, N, C, N) of one frame: 1 where rays meet, 0 at ``epipolar_m``; -1 beyond, within a camera, or unused."""
    rays, valid = seen.rays[f].astype(np.float64), seen.valid[f]
    C, J, N = valid.shape
    edges = np.full((J, C, N, C, N), -1.0)
    for a in range(C):
        for b in range(a + 1, C):
            distance = ray_distance(seen.centres[a], rays[a][:, :, None], seen.centres[b], rays[b][:, None, :])
            edge = 1.0 - distance / options.epipolar_m
            edge[(edge < 0) | ~(valid[a][:, :, None] & valid[b][:, None, :])] = -1.0
            edges[:, a, :, b] = edge
            edges[:, b, :, a] = np.swapaxes(edge, 1, 2)
    return edges


def assign(
    seen: Observations,
    span: slice,
    expected: np.ndarray,
    radius: np.ndarray,
    options: AssociationOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of the expected people, each candidate to at most one person.

    Args:
        expected: (F, P, 19, 3) metres; NaN for people who are not expected.
        radius: (F, P) metres within which a joint is where it is expected.

    Returns:
        chosen (F, P, C, 19) int, -1 for none; explained (F, C, 19, N) bool: the candidate is assigned, or lies where
        somebody's joint is already.
    """
    temporal = temporal_edges(seen, span, expected, radius)
    hold = np.maximum(temporal, 0)
    parsing = parsing_support(seen.affinity[span], hold)
    # A second round, so that support reaches over two limbs and what belongs to another person loses weight.
    rival = _rivals(hold + 0.5 * parsing)
    parsing = parsing_support(seen.affinity[span], np.clip(hold + 0.5 * parsing - 0.5 * rival, 0, 1))
    total = options.weight_temporal + options.weight_parsing
    score = (options.weight_temporal * temporal + options.weight_parsing * parsing) / total
    score[temporal <= -1] = -1
    chosen = greedy_matches(score, options.min_joint_score)
    explained = (temporal > 0.5).any(1)
    f, p, c, j = np.nonzero(chosen >= 0)
    explained[f, c, j, chosen[f, p, c, j]] = True
    return chosen, explained


def recover(
    seen: Observations, span: slice, joints: np.ndarray, chosen: np.ndarray, options: AssociationOptions
) -> np.ndarray:
    """Joints that were lost sight of, found again by parsing and epipolar edges alone; changes both in place.

    A joint that no two views agree on takes, in each view, the free candidate that affinities link best to the
    person's other joints; it is believed where at least two of their rays meet within a limb's reach of its parent.

    Args:
        joints: (F, P, 19, 3) metres.
        chosen: (F, P, C, 19).

    Returns:
        (F, P, 19) bool: joints found again.
    """
    N = seen.scores.shape[-1]
    found = np.zeros(joints.shape[:3], bool)
    hold = chosen[..., None] == np.arange(N)
    if _anybody_close(joints):
        stolen = _stolen(seen.affinity[span], chosen, hold)
        if stolen.any():
            chosen[stolen] = -1
            hold &= ~stolen[..., None]
    views = (chosen >= 0).sum(2)
    lost = (views < 2) & (views.sum(-1, keepdims=True) >= 2 * options.min_evidence_joints)
    if not lost.any():
        return found
    support = parsing_support(seen.affinity[span], hold.astype(np.float32))
    free = seen.valid[span] & ~hold.any(1)
    support = np.where(free[:, None] & lost[:, :, None, :, None], support, 0)
    best, strength = support.argmax(-1), support.max(-1)
    offered = strength > 0.3
    f, p, j = np.nonzero(lost & (offered.sum(2) >= 2))
    if len(f) == 0:
        return found
    take, use = best[f, p, :, j], offered[f, p, :, j]  # (K, C)
    c = np.arange(use.shape[1])
    frame = np.arange(*span.indices(len(seen.frames)))[f][:, None]
    rays = seen.rays[frame, c, j[:, None], take]
    weights = np.where(use, seen.scores[frame, c, j[:, None], take], 0)
    points, agrees = triangulate_robust(seen.centres, rays, weights, options.outlier_m)
    reach = np.linalg.norm(points - joints[f, p, PARENTS[j]], axis=-1)
    with np.errstate(invalid="ignore"):
        good = (agrees.sum(1) >= 2) & ((reach < REACH[j]) | (j == 0))
    for k in np.flatnonzero(good):
        chosen[f[k], p[k], agrees[k], j[k]] = take[k, agrees[k]]
        joints[f[k], p[k], j[k]] = points[k]
        found[f[k], p[k], j[k]] = True
    return found


def _anybody_close(joints: np.ndarray, within_m: float = 1.2) -> bool:
    """Whether two people's hips are ever this close; joints (F, P, 19, 3)."""
    hips = joints[:, :, 0]
    gap = np.linalg.norm(hips[:, :, None] - hips[:, None], axis=-1)
    with np.errstate(invalid="ignore"):
        return bool((gap[:, ~np.eye(hips.shape[1], dtype=bool)] < within_m).any())


def _stolen(affinity: np.ndarray, chosen: np.ndarray, hold: np.ndarray) -> np.ndarray:
    """(F, P, C, 19) bool: candidates whose limb towards the trunk is another person's, in most views.

    Two people close together can exchange, say, a leg, which then moves along with the wrong person as expected. What
    hangs on a stolen joint goes with it.
    """
    parent = hold[..., LIMBS[:, 0], :]
    from_parent = np.zeros(hold.shape, np.float32)  # every joint but the neck is the second of one limb
    linked = np.zeros(parent.shape, np.float32)
    for n in range(hold.shape[-1]):
        np.maximum(linked, affinity[:, None, ..., n, :] * parent[..., n, None], out=linked)
    from_parent[..., LIMBS[:, 1], :] = linked
    own = (from_parent * hold).max(-1)
    other = (_rivals(from_parent) * hold).max(-1)
    against = (chosen >= 0) & (own == 0) & (other > 0.3)
    most = (against.sum(2) >= 2) & (2 * against.sum(2) > (chosen >= 0).sum(2))
    stolen = against & most[:, :, None]
    if stolen.any():
        for a, b in OUTWARDS:
            stolen[..., b] |= stolen[..., a] & (own[..., b] > 0)
    return stolen


OUTWARDS = [
    (1, 0),
    (0, 2),
    (0, 3),
    (1, 5),
    (1, 6),
    (2, 7),
    (3, 8),
    (5, 11),
    (6, 12),
    (7, 13),
    (8, 14),
    (11, 15),
    (12, 16),
]
OUTWARDS += [(14, 17), (13, 18), (5, 9), (6, 10), (1, 4)]
"""Limbs as (nearer the trunk, farther), inner ones first."""


_PAIRED = SKEL19.mirror != np.arange(19)
_HALVES = np.stack(
    [
        _PAIRED & np.array([any(k in j for k in ("shoulder", "elbow", "wrist", "ear")) for j in SKEL19.joints]),
        _PAIRED & np.array([any(k in j for k in ("hip", "knee", "ankle", "toe")) for j in SKEL19.joints]),
    ]
)
"""(2, 19) bool: joints with a left and a right, of the upper and of the lower half of the body."""


def turn_mirrored(
    seen: Observations, span: slice, expected: np.ndarray, radius: np.ndarray, chosen: np.ndarray, margin: float = 1.0
) -> None:
    """Take left for right where a detector has mixed them up; changes ``chosen`` (F, P, C, 19) in place.

    A detector that takes a back for a front names all arms, or all legs, the wrong way round in that picture. Where
    the mirrored reading of a half of the body fits the expectation better by ``margin`` joints, the person gets the
    mirrored candidates: number N + n stands for candidate n of the joint on the other side.
    """
    mirror = SKEL19.mirror
    N = seen.scores.shape[-1]
    straight = np.maximum(temporal_edges(seen, span, expected, radius), 0)
    straight = np.take_along_axis(straight, np.maximum(chosen, 0)[..., None], -1)[..., 0] * (chosen >= 0)
    turned = np.maximum(temporal_edges(seen, span, expected[:, :, mirror], radius), 0)
    # Candidates that other people hold are not to be had.
    f, p, c, j = np.nonzero(chosen >= 0)
    held = np.zeros((len(chosen), *seen.scores.shape[1:]), np.int16)
    held[f, c, j, chosen[f, p, c, j]] = p + 1
    mine = np.arange(1, chosen.shape[1] + 1)[:, None, None, None]
    turned = np.where((held[:, None] == 0) | (held[:, None] == mine), turned, 0)[..., mirror, :]
    best, fit = turned.argmax(-1), turned.max(-1)
    for half in _HALVES:
        as_named, turned_round = (straight * half).sum(-1), (fit * half).sum(-1)
        turn = turned_round > as_named + margin
        # Only where more views are right than wrong: if most disagree, it is the expectation that is mirrored.
        turn &= (turn.sum(-1) < (~turn & (as_named > margin)).sum(-1))[..., None]
        apply = turn[..., None] & half
        chosen[apply] = np.where(fit > 0.2, best + N, -1)[apply]


def _rivals(hold: np.ndarray) -> np.ndarray:
    """(F, P, C, 19, N): the most that any other person holds of each candidate."""
    P = hold.shape[1]
    if P < 2:
        return np.zeros_like(hold)
    order = np.partition(hold, P - 2, axis=1)
    first, second = order[:, -1:], order[:, -2:-1]
    return np.where(hold >= first, second, first)


def greedy_matches(score: np.ndarray, least: float) -> np.ndarray:
    """One-to-one matches of people and candidates, best score first, in every frame, camera and joint at once.

    Args:
        score: (F, P, C, 19, N); overwritten.

    Returns:
        (F, P, C, 19) int candidate, -1 where nothing scored ``least``.
    """
    F, P, C, J, N = score.shape
    flat = np.ascontiguousarray(np.moveaxis(score, 1, 3)).reshape(F * C * J, P, N)
    chosen = np.full((F * C * J, P), -1)
    rows = np.arange(len(flat))
    for _ in range(min(P, N)):
        values = flat[rows].reshape(len(rows), P * N)
        best = values.argmax(1)
        good = values[np.arange(len(rows)), best] >= least
        rows, best = rows[good], best[good]
        if len(rows) == 0:
            break
        p, n = np.divmod(best, N)
        chosen[rows, p] = n
        flat[rows, p, :] = -2
        flat[rows, :, n] = -2
    return np.moveaxis(chosen.reshape(F, C, J, P), 3, 1)
