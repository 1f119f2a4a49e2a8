"""Frame by frame: people are followed by where they are expected, and begun from limb bundles.

The result is a draft; ``pipeline.association.graph`` then solves whole tracks and assigns anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.association.bundles import find_people, is_whole
from pipeline.association.edges import assign, recover
from pipeline.association.instances import find_whole_people
from pipeline.association.observations import Observations
from pipeline.association.options import AssociationOptions
from pipeline.association.skeleton import fill_joints, within_reach
from pipeline.association.triangulation import point_to_rays

BRIEF = 3
"""Drafts with evidence in fewer frames are forgotten when they end."""


@dataclass(eq=False)
class Draft:
    """One person while being tracked.

    Attributes:
        joints: (F, 19, 3) metres, NaN outside the frames tracked.
        chosen: (F, C, 19) int16 candidates, -1 for none.
        evidence: (F,) joints seen in two or more views.
        first, last: frame indices of the first and last frames with enough evidence.
    """

    joints: np.ndarray
    chosen: np.ndarray
    evidence: np.ndarray
    first: int
    last: int


class Follower:
    """Moves live drafts from frame to frame, forwards or backwards."""

    def __init__(self, seen: Observations, options: AssociationOptions) -> None:
        self.seen, self.options = seen, options
        self.velocity: dict[int, np.ndarray] = {}

    def expect(self, draft: Draft, f: int, step: int) -> tuple[np.ndarray, float]:
        """Joints (19, 3) expected in frame ``f`` and the radius about them, metres."""
        end = draft.last if step > 0 else draft.first
        away = abs(f - end) - 1
        here = draft.joints[f - step]
        radius = self.options.temporal_m + min(away / self.options.fps, 0.5) * 0.6
        return here + self.velocity.get(id(draft), np.zeros(3)), radius

    def follow(self, drafts: list[Draft], others: list[Draft], f: int, step: int) -> np.ndarray:
        """Assign frame ``f`` to ``drafts``; ``others`` are there too and keep what they have.

        Returns:
            (C, 19, N) bool: candidates that are explained by anybody.
        """
        everybody = drafts + others
        if not everybody:
            return np.zeros(self.seen.valid.shape[1:], bool)
        guess = [self.expect(d, f, step) for d in drafts] + [(d.joints[f], self.options.temporal_m / 2) for d in others]
        expected = np.stack([g[0] for g in guess])[None]
        radius = np.array([g[1] for g in guess])[None]
        chosen, explained = assign(self.seen, slice(f, f + 1), expected, radius, self.options)
        self._update(drafts, chosen[0, : len(drafts)], expected[0, : len(drafts)], f, step)
        return explained[0]

    def _update(self, drafts: list[Draft], chosen: np.ndarray, expected: np.ndarray, f: int, step: int) -> None:
        """New joints from the assigned rays and the expectation together."""
        if not drafts:
            return
        seen, options = self.seen, self.options
        rays, weights = gather(seen, slice(f, f + 1), chosen[None])
        rays, weights = np.swapaxes(rays[0], 1, 2), np.swapaxes(weights[0], 1, 2)  # (P, 19, C, ...)
        joints, distance = settle(seen.centres, rays, weights, expected, options)
        agree = (weights > 0) & (distance < options.outlier_m)
        joints = within_reach(joints, agree.sum(-1) >= 2)
        found = recover(seen, slice(f, f + 1), joints[None], chosen[None], options)[0]
        evidence = ((agree.sum(-1) >= 2) | found).sum(-1)
        moved = joints - expected
        for k, draft in enumerate(drafts):
            draft.joints[f], draft.chosen[f], draft.evidence[f] = joints[k], chosen[k], evidence[k]
            if evidence[k] < options.min_evidence_joints:
                self.velocity[id(draft)] = 0.8 * self.velocity.get(id(draft), np.zeros(3))
                continue
            if step > 0:
                draft.last = f
            else:
                draft.first = f
            surely = agree[k].sum(-1) >= 2
            drift = np.median(moved[k][surely], axis=0)
            self.velocity[id(draft)] = self.velocity.get(id(draft), np.zeros(3)) + 0.4 * drift
            # Joints that nobody saw move with those that were seen.
            unseen = ~(weights[k] > 0).any(-1) & ~found[k]
            draft.joints[f][unseen] += drift


def gather(seen: Observations, span: slice, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rays (F, P, C, 19, 3) and scores (F, P, C, 19), 0 for none, of chosen candidates (F, P, C, 19)."""
    index = seen.places(span, chosen)
    return seen.rays[index], np.where(chosen >= 0, seen.scores[index], 0.0)


def settle(
    centres: np.ndarray, rays: np.ndarray, weights: np.ndarray, expected: np.ndarray, options: AssociationOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Joints between rays and expectation: robust least squares, a few reweighted steps.

    Args:
        rays: (..., C, 3); weights: (..., C); expected: (..., 3) metres.

    Returns:
        joints (..., 3); distance of each ray to its joint (..., C), metres.
    """
    prior = (options.observation_m / 0.1) ** 2
    X = expected
    rays = rays.astype(np.float64)
    along = np.einsum("...ci,ci->...c", rays, centres)
    for width in (2.0, 1.0):
        distance, _ = point_to_rays(centres, rays, X)
        w = weights / (1 + (distance / (width * options.outlier_m)) ** 2) ** 2
        wd = w[..., None] * rays
        A = (w.sum(-1) + prior)[..., None, None] * np.eye(3) - np.swapaxes(wd, -1, -2) @ rays
        b = prior * expected + w @ centres - (wd * along[..., None]).sum(-2)
        X = np.linalg.solve(A, b[..., None])[..., 0]
    return X, point_to_rays(centres, rays, X)[0]


def draft_tracks(
    seen: Observations, options: AssociationOptions, progress: Callable[[float], None] | None = None
) -> list[Draft]:
    """Drafts of everybody, forwards through time and then backwards from where each began."""
    F = len(seen.frames)
    follower = Follower(seen, options)
    patience = max(1, round(options.max_unseen_s * options.fps))
    live: list[Draft] = []
    done: list[Draft] = []
    waiting: list[tuple[int, int, np.ndarray]] = []
    for f in range(F):
        explained = follower.follow(live, [], f, 1)
        for draft in [d for d in live if f - d.last > patience]:
            live.remove(draft)
            if (draft.evidence > 0).sum() >= BRIEF:
                done.append(draft)
        waiting = _begin(seen, f, explained, live, waiting, options)
        if progress:
            progress(0.5 * (f + 1) / F)
    drafts = done + live
    backwards = Follower(seen, options)
    for f in range(F - 2, -1, -1):
        begun = [d for d in drafts if 0 < d.first - f <= patience]
        if begun:
            others = [d for d in drafts if d.first <= f <= d.last]
            backwards.follow(begun, others, f, -1)
        if progress:
            progress(1 - 0.5 * (f + 1) / F)
    return drafts


def _begin(seen, f, explained, live, waiting, options) -> list[tuple[int, int, np.ndarray]]:
    """Begin drafts of new people; half bodies (first frame, last frame, joints) wait, lest the other half follow."""
    F, C = len(seen.frames), len(seen.centres)
    patience = round(options.half_body_s * options.fps)
    waiting = [w for w in waiting if f - w[1] <= patience]
    whole = find_whole_people(seen, f, explained, options)
    for chosen, joints in [*whole, *find_people(seen, f, explained | _held(seen, f, whole), options)]:
        if any(_distance(d.joints[f], joints) < options.same_person_m for d in live):
            continue
        if not is_whole(joints):
            same = [w for w in waiting if _distance(w[2], joints) < 2 * options.same_person_m]
            since = min([w[0] for w in same] + [f])
            waiting = [w for w in waiting if not any(w is s for s in same)] + [(since, f, joints)]
            if f - since < patience:
                continue
        draft = Draft(np.full((F, 19, 3), np.nan), np.full((F, C, 19), -1, np.int16), np.zeros(F, np.int16), f, f)
        draft.joints[f] = fill_joints(joints[None])[0]
        draft.chosen[f] = chosen
        draft.evidence[f] = np.isfinite(joints[:, 0]).sum()
        live.append(draft)
    return waiting


def _held(seen: Observations, f: int, people: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(C, 19, N) bool: candidates of the instances of which people hold any."""
    held = np.zeros(seen.valid.shape[1:], bool)
    for chosen, _ in people:
        for c in np.flatnonzero((chosen >= 0).any(1)):
            held[c, :, np.unique(chosen[c][chosen[c] >= 0])] = True
    return held


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Median distance of joints (19, 3) that both have, metres."""
    gap = np.linalg.norm(a - b, axis=1)
    gap = gap[np.isfinite(gap)]
    return float(np.median(gap)) if len(gap) else np.inf
