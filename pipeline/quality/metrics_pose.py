"""How well 3D joints agree: distances, shares of right joints and limbs, and who is matched with whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

PCK_M = 0.15
AUC_THRESHOLDS_M = np.arange(0, 0.1501, 0.005)


def limbs_right(found: np.ndarray, truth: np.ndarray, limbs: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """(..., L) bool: limbs whose two ends are, in the mean, nearer to the true ones than ``alpha`` of its length.

    Strict PCP as the Shelf and Campus tables use it. Missing joints make limbs wrong.

    Args:
        found, truth: (..., J, 3) metres.
        limbs: (L, 2) joint numbers.
    """
    away = np.linalg.norm(found - truth, axis=-1)
    length = np.linalg.norm(truth[..., limbs[:, 0], :] - truth[..., limbs[:, 1], :], axis=-1)
    with np.errstate(invalid="ignore"):
        return away[..., limbs[:, 0]] + away[..., limbs[:, 1]] <= 2 * alpha * length


def joint_errors(found: np.ndarray, truth: np.ndarray, root: int | Sequence[int] | None = None) -> np.ndarray:
    """(..., J) metres between joints (..., J, 3), after moving both so that ``root`` (a joint, or the mean of several)
    lies at the origin; None: as they are."""
    if root is not None:
        roots = [root] if np.isscalar(root) else list(root)
        found = found - found[..., roots, :].mean(-2, keepdims=True)
        truth = truth - truth[..., roots, :].mean(-2, keepdims=True)
    return np.linalg.norm(found - truth, axis=-1)


def mpjpe_mm(found: np.ndarray, truth: np.ndarray, root: int | Sequence[int] | None = None) -> float:
    """Mean distance of joints (..., J, 3) metres in millimetres; missing joints do not count. See ``joint_errors``."""
    errors = joint_errors(found, truth, root)
    known = np.isfinite(errors)
    return 1000 * float(errors[known].mean()) if known.any() else float("nan")


def procrustes(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """``found`` (J, 3) turned, scaled and moved onto ``truth`` (J, 3) with least squared distance (Umeyama 1991).

    Joints that are NaN in either are left out of the fit.
    """
    known = np.isfinite(found).all(-1) & np.isfinite(truth).all(-1)
    a, b = found[known], truth[known]
    mean_a, mean_b = a.mean(0), b.mean(0)
    a, b = a - mean_a, b - mean_b
    U, S, Vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    spread = (a**2).sum()
    scale = (S * sign).sum() / spread if spread > 0 else 1.0
    return scale * (found - mean_a) @ ((U * sign) @ Vt).T + mean_b


def pa_mpjpe_mm(found: np.ndarray, truth: np.ndarray) -> float:
    """``mpjpe_mm`` of people (N, J, 3), each aligned by ``procrustes`` first."""
    aligned = [procrustes(f, t) for f, t in zip(found, truth, strict=True)]
    return mpjpe_mm(np.stack(aligned), truth) if aligned else float("nan")


def pck(errors: np.ndarray, threshold_m: float = PCK_M) -> float:
    """Percent of joint errors (metres) at most the threshold; NaN is a missing joint and counts as wrong."""
    errors = np.asarray(errors)
    with np.errstate(invalid="ignore"):
        return 100 * float((errors <= threshold_m).mean()) if errors.size else float("nan")


def auc(errors: np.ndarray, thresholds_m: np.ndarray = AUC_THRESHOLDS_M) -> float:
    """Mean of ``pck`` over thresholds, percent."""
    return float(np.mean([pck(errors, t) for t in thresholds_m]))


def match(cost: np.ndarray, most: float = np.inf) -> list[tuple[int, int]]:
    """Pairs (row, column) with the least total cost (N, M), one to one, none dearer than ``most``; NaN never pairs."""
    if not cost.size:
        return []
    safe = np.where(np.isfinite(cost), cost, 1e9)
    pairs = zip(*linear_sum_assignment(safe), strict=True)
    return [(int(r), int(c)) for r, c in pairs if safe[r, c] < min(most, 1e9)]


def mean_joint_distance(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(T, P) mean distance, metres, of every true (T, J, 3) and found (P, J, 3) person; NaN where no joint is known."""
    away = np.linalg.norm(truth[:, None] - found[None], axis=-1)
    count = np.isfinite(away).sum(-1)
    return np.where(count > 0, np.nansum(away, -1) / np.maximum(count, 1), np.nan)
