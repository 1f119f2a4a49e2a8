"""The pose prior: a Gaussian over the rotations of the 21 joints of ``body_pose``, fitted on recorded motion.

``pose_prior.npz`` beside this module holds it: ``mean`` (63,), ``covariance`` (63, 63) in rad^2, ``clips``. It was made
by ``python -m data.pose_prior`` from five clips of the CMU motion-capture database (mocap.cs.cmu.edu, free for all
uses), as the MIT-licensed AnimatedDrawings project distributes them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.body.anatomy import joint_ranges

FILE = Path(__file__).with_name("pose_prior.npz")


@dataclass(frozen=True)
class PosePrior:
    """mean (63,) radians and covariance (63, 63) of rotation vectors, joint after joint."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def anatomical(cls) -> PosePrior:
        """Without recorded motion: each joint for itself."""
        ranges = joint_ranges()
        return cls(ranges.mean.ravel(), np.diag(ranges.deviation.ravel() ** 2))

    @classmethod
    @cache
    def shipped(cls) -> PosePrior:
        with np.load(FILE, allow_pickle=False) as file:
            return cls(file["mean"].astype(np.float64), file["covariance"].astype(np.float64))

    def whitening(self) -> np.ndarray:
        """(63, 63) W with W (r - mean) of unit covariance."""
        return np.linalg.inv(np.linalg.cholesky(self.covariance))

    def to_bytes(self, clips: str) -> bytes:
        file = io.BytesIO()
        arrays = {"mean": self.mean.astype(np.float32), "covariance": self.covariance.astype(np.float32)}
        np.savez_compressed(file, **arrays, clips=np.array(clips))
        return file.getvalue()
