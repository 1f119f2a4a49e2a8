"""``python -m data.pose_prior CLIP.bvh ...``: fits the pose prior that ships beside ``pipeline/body/prior.py``.

A Gaussian over the 63 rotation components of ``body_pose``. A few clips show how joints go together (a bent knee with a
bent hip, the three parts of the spine, a raised arm with its collar bone) but not all that people do: correlations come
from the clips, held back towards none, deviations never fall below those of plain anatomy, and left mirrors right.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.body_models import load_body_arrays, open_body_model
from data.motion_clips import body_poses, read_bvh
from pipeline.body.anatomy import joint_ranges
from pipeline.body.prior import FILE, PosePrior
from pipeline.errors import InputError
from pipeline.files import write_atomic
from pipeline.skeletons import SMPLX55

APART_RAD = 0.35
"""Poses of a clip that differ less than this (norm over all joints) count as one."""
SHRINKAGE = 0.5
"""How far correlations are drawn towards zero. Of the values tried (0.05 to 0.8): four of the five clips, left out, are
explained better than by anatomy alone, by 5 to 8 nats a pose, and the fifth (jumping jacks) by 8 worse. With less
shrinkage that one is far worse, with more the others gain less."""
ENDS = ("wrist", "foot", "ankle")
"""Joints that stay as anatomy has them: the clips' hands and feet carried a marker or two."""
_MIRROR = np.array([1.0, -1.0, -1.0])


def different_poses(poses: np.ndarray) -> np.ndarray:
    """Rows of poses (F, 63) no two of which are alike, and their mirror images: (N, 63)."""
    kept: list[np.ndarray] = []
    for pose in poses:
        if all(np.linalg.norm(pose - k) > APART_RAD for k in kept):
            kept.append(pose)
    found = np.array(kept).reshape(-1, 21, 3)
    mirror = SMPLX55.mirror[1:22] - 1
    return np.concatenate([found, found[:, mirror] * _MIRROR]).reshape(-1, 63)


def fit_prior(clips: Sequence[np.ndarray], shrinkage: float = SHRINKAGE) -> PosePrior:
    """A prior from poses (N, 63) of several clips, each clip with equal weight."""
    ranges = joint_ranges()
    anatomy, deviation = ranges.mean.ravel(), ranges.deviation.ravel()
    mean = 0.5 * anatomy + 0.5 * np.mean([c.mean(0) for c in clips], 0)
    ends = np.repeat([n.endswith(ENDS) for n in SMPLX55.joints[1:22]], 3)
    mean[ends] = anatomy[ends]
    second = np.mean([(c - mean).T @ (c - mean) / len(c) for c in clips], 0)
    own = np.sqrt(np.diag(second))
    correlation = second / np.outer(own, own) * (1 - shrinkage) + shrinkage * np.eye(63)
    correlation[np.ix_(ends, ~ends)] = correlation[np.ix_(~ends, ends)] = 0.0
    correlation[np.ix_(ends, ends)] = np.eye(ends.sum())
    spread = np.where(ends, deviation, np.maximum(own, deviation))
    return PosePrior(mean, correlation * np.outer(spread, spread))


def log_likelihood(prior: PosePrior, poses: np.ndarray) -> float:
    """Mean over poses (N, 63), in nats."""
    apart = poses - prior.mean
    squared = np.einsum("ni,ij,nj->n", apart, np.linalg.inv(prior.covariance), apart)
    return float(-0.5 * (squared.mean() + np.linalg.slogdet(2 * np.pi * prior.covariance)[1]))


def main(paths: Sequence[str]) -> None:
    arrays = load_body_arrays(open_body_model())
    rest = np.asarray(arrays["J_regressor"]) @ arrays["v_template"]
    clips, names = [], []
    for path in map(Path, paths):
        try:
            poses = body_poses(read_bvh(path), rest)[:, 1:].reshape(-1, 63)
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        clips.append(different_poses(poses))
        names.append(path.stem)
        print(f"{path.name}: {len(poses)} frames, {len(clips[-1]) // 2} different poses")
    plain = PosePrior.anatomical()
    for shrinkage in (0.05, 0.2, 0.35, SHRINKAGE, 0.8):
        held_out = [
            log_likelihood(fit_prior([o for o in clips if o is not c], shrinkage), c) - log_likelihood(plain, c)
            for c in clips
        ]
        print(f"shrinkage {shrinkage}: nats a pose that clips left out gain over anatomy: {np.round(held_out, 1)}")
    prior = fit_prior(clips)
    write_atomic(FILE, prior.to_bytes(" ".join(names)))
    print(f"wrote {FILE.name}, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m data.pose_prior CLIP.bvh ...")
    main(sys.argv[1:])
