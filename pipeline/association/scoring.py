"""Scores of tracks against known answers."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.association.observations import LIMBS
from pipeline.association.tracks import Tracks
from pipeline.quality.metrics_pose import limbs_right


def score_tracks(tracks: Tracks, truth: np.ndarray, near_m: float = 0.5) -> dict[str, float]:
    """Tracks against joints (F, P, 19, 3) metres; NaN for people who are not there.

    A predicted and a true person are partners in a frame if they are each other's in the matching with the least total
    distance and their mean joint distance is below ``near_m``.

    Returns:
        pcp: percent of true limbs whose two ends are together nearer than the limb's length (alpha 0.5; every true
        person-frame counts). mpjpe_mm: mean distance of partners' joints. identity_switches: changes of partner.
        coverage: share of true person-frames with a partner. ghosts: predicted person-frames without a partner, as a
        share of all predicted.
    """
    F = len(truth)
    there = np.isfinite(truth[..., 0]).any(-1)
    right = limbs = covered = ghosts = predicted = switches = 0
    errors: list[np.ndarray] = []
    last: dict[int, int] = {}
    for f in range(F):
        true = np.flatnonzero(there[f])
        mine = np.flatnonzero(tracks.present[f])
        predicted += len(mine)
        limbs += len(true) * len(LIMBS)
        if len(true) == 0 or len(mine) == 0:
            ghosts += len(mine)
            continue
        gaps = np.linalg.norm(tracks.joints[f, mine][None].astype(np.float64) - truth[f, true][:, None], axis=-1)
        cost = np.nanmean(gaps, -1)
        partners = [(r, c) for r, c in zip(*linear_sum_assignment(cost), strict=True) if cost[r, c] < near_m]
        ghosts += len(mine) - len(partners)
        covered += len(partners)
        for r, c in partners:
            d = gaps[r, c]
            errors.append(d)
            right += int(limbs_right(tracks.joints[f, mine[c]], truth[f, true[r]], LIMBS).sum())
            who = int(tracks.person_ids[mine[c]])
            switches += last.get(int(true[r]), who) != who
            last[int(true[r])] = who
    return {
        "pcp": 100.0 * right / max(limbs, 1),
        "mpjpe_mm": float(1000 * np.nanmean(np.concatenate(errors))) if errors else float("nan"),
        "identity_switches": int(switches),
        "coverage": covered / max(int(there.sum()), 1),
        "ghosts": ghosts / max(predicted, 1),
    }
