"""Scores of people found in single pictures, by the rules that published figures follow and by stricter ones.

Published protocols are lenient in ways of their own (see each); figures of different ones do not compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nets.metrics_boxes import box_ious
from pipeline.quality.metrics_pose import PCK_M, joint_errors, match, procrustes
from pipeline.skeletons import H36M17, MPI17

MISS_MM = 150.0
"""What a person who is not found is charged where misses count."""


@dataclass(frozen=True)
class PosePicture:
    """People found (P) and there (T) in one picture, all in one joint set. Joints are metres in the camera's axes,
    NaN where not known.

    Attributes:
        found, truth: (P, J, 3), (T, J, 3).
        found_pixels, truth_pixels: (P, J, 2), (T, J, 2).
        found_boxes, truth_boxes: (P, 4), (T, 4).
        scores: (P,).
        ignored: (T,) bool, who counts neither as found nor as missed.
        sequence: figures are means over sequences where the protocol says so.
    """

    found: np.ndarray
    found_pixels: np.ndarray
    found_boxes: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    truth_pixels: np.ndarray
    truth_boxes: np.ndarray
    ignored: np.ndarray
    sequence: str = ""


def panoptic_crmh_mm(pictures: Sequence[PosePicture]) -> float:
    """MPJPE on CMU Panoptic as Jiang et al. (CRMH, 2020) and after them BMP and MILI compute it; joints of H36M17.

    Lenient: every true person takes whoever is nearest in 3D, root-relative, over the joints that all true people show;
    a found person may serve several; pictures in which nobody is found are left out; joints that are not visible count
    as right in the mean over all 17.
    """
    root, out = H36M17.index("mid_hip"), []
    for p in pictures:
        if not len(p.found) or not len(p.truth):
            continue
        errors = joint_errors(p.found[None], p.truth[:, None], root)  # T, P, J
        shared = np.isfinite(p.truth).all(-1).all(0)
        nearest = np.nan_to_num(errors[..., shared]).mean(-1).argmin(1)
        out += np.nan_to_num(errors[np.arange(len(p.truth)), nearest]).mean(-1).tolist()
    return 1000 * float(np.mean(out)) if out else float("nan")


ROMP_JOINTS = tuple(
    "left_ankle left_knee left_hip right_hip right_knee right_ankle right_wrist right_elbow right_shoulder "
    "left_shoulder left_elbow left_wrist neck mid_hip".split()
)
_ROMP_SHIFT_M = np.array([0.0, 0.06, 0.03])


def panoptic_romp_mm(pictures: Sequence[PosePicture]) -> float:
    """MPJPE on CMU Panoptic as Sun et al. (ROMP, BEV) compute it, of 14 joints of H36M17.

    True people with more than five joints in the picture count; they are matched in 2D, nearest pair first, boxes of
    the joints overlapping by 0.05; a miss is charged 150 mm. The true joints but the root are shifted by (0, 6, 3) cm,
    which brings their definition nearer to SMPL's. Joints that are not visible count as right.
    """
    rows = [H36M17.index(j) for j in ROMP_JOINTS]
    out: list[float] = []
    for p in pictures:
        pixels, truth = p.truth_pixels[:, rows], p.truth[:, rows]
        kept = np.flatnonzero(np.isfinite(pixels).all(-1).sum(1) > 5)
        pixels, truth = pixels[kept], truth[kept] - truth[kept, -1:]
        truth = truth + np.where(np.arange(len(rows)) < len(rows) - 1, 1, 0)[:, None] * _ROMP_SHIFT_M
        found = p.found[:, rows] - p.found[:, rows[-1:]]
        partners = _greedy(p.found_pixels[:, rows], pixels)
        for t in range(len(kept)):
            if t in partners:
                out.append(1000 * float(np.nan_to_num(np.linalg.norm(found[partners[t]] - truth[t], axis=-1)).mean()))
            else:
                out.append(MISS_MM)
    return float(np.mean(out)) if out else float("nan")


def _greedy(found: np.ndarray, truth: np.ndarray, least_iou: float = 0.05) -> dict[int, int]:
    """True -> found person, nearest pairs of pixels (P, J, 2) and (T, J, 2) first."""
    if not len(found) or not len(truth):
        return {}
    away = np.sqrt(np.nansum((truth[:, None] - found[None]) ** 2, axis=(-1, -2)))
    overlap = box_ious(_around(truth), _around(found))
    partners: dict[int, int] = {}
    for t, f in np.dstack(np.unravel_index(np.argsort(away, axis=None, kind="stable"), away.shape))[0].tolist():
        if t not in partners and f not in partners.values() and overlap[t, f] >= least_iou:
            partners[t] = f
    return partners


def _around(pixels: np.ndarray) -> np.ndarray:
    """(N, 4) boxes of pixels (N, J, 2)."""
    return np.concatenate([np.nanmin(pixels, 1), np.nanmax(pixels, 1)], -1)


_PARENTS = np.array([2, 16, 2, 3, 4, 2, 6, 7, 15, 9, 10, 15, 12, 13, 15, 15, 2]) - 1
_TRAVERSAL = np.array([16, 2, 1, 17, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]) - 1
_MATCHED_JOINTS, _SCORED_JOINTS, _NEAR_PX = slice(1, 14), slice(0, 14), 40.0


def mupots_pck(pictures: Sequence[PosePicture], matched_only: bool) -> float:
    """3DPCK of MuPoTS-3D by its own rules, percent, mean over sequences; joints of MPI17, ``truth`` the universal ones.

    True people in their order take the free found one with most of 13 joints within 40 pixels (both axes), if any.
    Found bones get the true lengths, from the root outwards, so that size does not count; right is nearer than 150 mm,
    root-relative, over 14 joints. People who are not found count as wrong ("all") or are left out ("matched").
    """
    root = MPI17.index("mid_hip")
    errors: dict[str, list[np.ndarray]] = {}
    for p in pictures:
        rows = errors.setdefault(p.sequence, [])
        free = np.ones(len(p.found), bool)
        for t in range(len(p.truth)):
            with np.errstate(invalid="ignore"):
                close = (np.abs(p.found_pixels - p.truth_pixels[t]) < _NEAR_PX).all(-1)[:, _MATCHED_JOINTS].sum(1)
            close = np.where(free, close, 0)
            if len(close) and close.max() > 0:
                free[close.argmax()] = False
                truth, found = p.truth[t] - p.truth[t, root], p.found[close.argmax()]
                rows.append(np.linalg.norm(with_true_bones(found - found[root], truth) - truth, axis=-1))
            elif not matched_only:
                rows.append(np.full(len(MPI17), np.inf))
    shares = [100 * float((np.array(r)[:, _SCORED_JOINTS] < PCK_M).mean()) for r in errors.values() if r]
    return float(np.mean(shares)) if shares else float("nan")


def with_true_bones(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A found pose (17, 3) of MPI17, root at the origin, with the bones of the true one (17, 3) in its own directions.
    A joint that is not known leaves those behind it unknown."""
    out = found.copy()
    for joint in _TRAVERSAL:
        parent = _PARENTS[joint]
        bone = found[joint] - found[parent]
        length = np.linalg.norm(truth[joint] - truth[parent])
        out[joint] = out[parent] + bone / max(float(np.linalg.norm(bone)), 1e-9) * length
    return out


@dataclass(frozen=True)
class StrictScores:
    """One to one, by boxes; joints that nobody labelled do not count. Millimetres, percent.

    Attributes:
        mpjpe_mm: root-relative, of people who were found.
        mpjpe_strict_mm: the same with 150 mm for everybody who was not.
        pa_mpjpe_mm: after Procrustes alignment.
        pck150, pck150_matched: joints nearer than 150 mm, root-relative, of all people and of those found.
        recall: share of people found.
    """

    mpjpe_mm: float
    mpjpe_strict_mm: float
    pa_mpjpe_mm: float
    pck150: float
    pck150_matched: float
    recall: float


def strict(
    pictures: Sequence[PosePicture], roots: Sequence[int], least_iou: float = 0.5,
    chosen: Callable[[PosePicture], np.ndarray] | None = None,
) -> StrictScores:  # fmt: skip
    """Scores with every found person used once, matched so that boxes overlap most in total.

    Args:
        roots: joints whose mean is the origin.
        least_iou: of the boxes of partners.
        chosen: which true people (T,) bool count; None: all who are not ignored.
    """
    errors, aligned, missed, wrong = [], [], 0, 0
    for p in pictures:
        counted = ~p.ignored if chosen is None else ~p.ignored & chosen(p)
        partners = dict(match(np.where((overlap := box_ious(p.truth_boxes, p.found_boxes)) >= least_iou,
                                       1 - overlap, np.nan)))  # fmt: skip
        for t in np.flatnonzero(counted):
            known = np.isfinite(p.truth[t]).all(-1)
            if not known.any():
                continue
            if t not in partners:
                missed += 1
                wrong += int(known.sum())
                continue
            found = p.found[partners[t]]
            errors.append(joint_errors(found, p.truth[t], roots)[known])
            usable = known & np.isfinite(found).all(-1)
            if usable.sum() >= 3:
                aligned.append(np.linalg.norm(procrustes(found[usable], p.truth[t][usable]) - p.truth[t][usable],
                                              axis=-1).mean())  # fmt: skip
    people = len(errors) + missed
    if not people:
        return StrictScores(*[float("nan")] * 6)
    means = [float(np.nanmean(e)) for e in errors if np.isfinite(e).any()]
    every = np.concatenate([*errors, np.zeros(0)])
    with np.errstate(invalid="ignore"):
        right = int((every < PCK_M).sum())
    nothing = float("nan")
    return StrictScores(
        1000 * float(np.mean(means)) if means else nothing,
        float((1000 * np.sum(means) + MISS_MM * missed) / max(len(means) + missed, 1)),
        1000 * float(np.mean(aligned)) if aligned else nothing,
        100 * right / max(len(every) + wrong, 1),
        100 * right / len(every) if len(every) else nothing,
        len(errors) / people,
    )
