"""Who is entangled with whom in which views, and what a look at each of them alone tells: better tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.association.tracks_from import confidence_of
from pipeline.association.triangulation import triangulate_robust
from pipeline.body.observations import rays_of
from pipeline.cameras import Rig, project
from pipeline.skeletons import SKEL19

REACH_M = 0.15
"""Limbs that pass each other in the image nearer than this, at the person's distance, confuse detectors."""
CROWDED = 0.05
"""Share of a person's limbs from which a view in which others come so near does not count as clear."""
CLEAR_VIEWS = 3
"""With so many clear views a person needs no second look: of fourteen scenes, bodies of people with four clear views
came out no better for it, those with two or none did; and two people who pass each other are not looked at in vain."""
OUTLIER_M = 0.12
"""Rays farther from a joint than this are of something else."""


@dataclass(frozen=True)
class Looks:
    """What looks at single people gave, over F frames, P people, C cameras and the 19 joints of SKEL-19.

    Attributes:
        frames: (F,) int64, ascending. person_ids: (P,) int32.
        looked: (F, P, C) bool: looked at, and what was known of the view before does not count.
        keypoints: (F, P, C, 19, 2) float32 pixels; NaN where nothing was seen. scores: (F, P, C, 19) float32.
    """

    FIELDS = ("frames", "person_ids", "looked", "keypoints", "scores")

    frames: np.ndarray
    person_ids: np.ndarray
    looked: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray

    @classmethod
    def none(cls, frames: np.ndarray, people: Sequence[int], cameras: int) -> Looks:
        shape = (len(frames), len(people), cameras)
        return cls(
            np.asarray(frames, np.int64), np.asarray(people, np.int32).reshape(-1), np.zeros(shape, bool),
            np.full((*shape, 19, 2), np.nan, np.float32), np.zeros((*shape, 19), np.float32),
        )  # fmt: skip

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {f: np.asarray(getattr(self, f)) for f in self.FIELDS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Looks:
        return cls(*(arrays[f] for f in cls.FIELDS))


def crowded_views(rig: Rig, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where people come near each other in the image.

    Args:
        joints: (F, P, 19, 3) metres, NaN where unknown.

    Returns:
        (F, P, C) bool, the person is in the image and others come too near; likewise, and nobody does.
    """
    ends = joints[:, :, SKEL19.limb_indices]  # (F, P, 18, 2, 3)
    share = np.linspace(0, 1, 4)[:, None]
    points = (ends[..., :1, :] * (1 - share) + ends[..., 1:, :] * share).reshape(*joints.shape[:2], -1, 3)
    crowded, clear = (np.zeros((*joints.shape[:2], len(rig)), bool) for _ in range(2))
    for c, camera in enumerate(rig.cameras):
        pixels = camera.project(points)
        depth = camera.to_camera(points)[..., 2].mean(-1)
        with np.errstate(invalid="ignore"):
            radius = REACH_M * camera.K[1, 1] / depth
            inside = ((pixels > 0) & (pixels < np.array(camera.size) - 1)).all(-1)
        for f, k in np.argwhere(inside.sum(-1) > 0.5 * pixels.shape[2]):
            others = pixels[f, np.arange(pixels.shape[1]) != k].reshape(-1, 2)
            others = others[np.isfinite(others).all(-1)]
            own = pixels[f, k][np.isfinite(pixels[f, k]).all(-1)]
            gaps = np.linalg.norm(own[:, None] - others[None], axis=-1).min(1, initial=np.inf)
            near = (gaps < radius[f, k]).mean() > CROWDED
            crowded[f, k, c], clear[f, k, c] = near, not near
    return crowded, clear


def wanted_looks(rig: Rig, joints: np.ndarray) -> np.ndarray:
    """(F, P, C) bool: views in which people should be looked at alone, since too few others show them clearly."""
    crowded, clear = crowded_views(rig, joints)
    return crowded & (clear.sum(-1) < CLEAR_VIEWS)[..., None]


def improved(track: Tracks, looks: Sequence[Looks], rig: Rig) -> Tracks:
    """A person's track (P = 1) with the keypoints of looks in place of those of the views looked at.

    Joints of these frames are triangulated anew; those on which no two views agree stay where they were, with
    confidence 0.
    """
    person = int(track.person_ids[0])
    pixels, scores = track.keypoints.copy(), track.scores.copy()
    changed = np.zeros(len(track.frames), bool)
    for look in looks:
        column = np.flatnonzero(look.person_ids == person)
        if not len(column):
            continue
        _, rows, theirs = np.intersect1d(track.frames, look.frames, return_indices=True)
        f, c = np.nonzero(look.looked[theirs, column[0]])
        pixels[rows[f], 0, c] = look.keypoints[theirs[f], column[0], c]
        scores[rows[f], 0, c] = look.scores[theirs[f], column[0], c]
        changed[rows[f]] = True
    if not changed.any():
        return track
    rows = np.flatnonzero(changed)
    joints, confidence, residuals = track.joints.copy(), track.confidence.copy(), track.residuals.copy()
    seen = pixels[rows, 0].astype(np.float64)
    weights = np.where(np.isfinite(seen).all(-1), scores[rows, 0], 0.0).transpose(0, 2, 1)
    found, agrees = triangulate_robust(*rays_of(rig.projections, np.nan_to_num(seen)), weights, OUTLIER_M)
    known = np.isfinite(found).all(-1)
    joints[rows, 0] = np.where(known[..., None], found, joints[rows, 0])
    agreeing = (weights * agrees).transpose(0, 2, 1)[:, None]
    confidence[rows] = np.where(known[:, None], confidence_of(agreeing, np.zeros((len(rows), 1), bool)), 0.0)
    apart = project(rig.projections[None, :, None], joints[rows].astype(np.float64)) - seen
    residuals[rows, 0] = np.linalg.norm(apart, axis=-1)
    return replace(
        track, joints=joints, confidence=confidence, keypoints=pixels, scores=scores, residuals=residuals
    )
