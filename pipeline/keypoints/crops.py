"""Several looks at one person: crops a little smaller and turned, and what of them to believe."""

from __future__ import annotations

import numpy as np

from pipeline.keypoints.regions import Region
from pipeline.skeletons import BLAZEPOSE33, JointSet, map_joints

LOOKS = ((1.0, 0.0), (0.85, 0.0), (1.0, 8.0), (1.0, -8.0), (0.9, 4.0))
"""Side of a crop as a share of the person's square, and degrees it is turned by."""
AGREE = 0.02
"""How far looks may differ, as a share of the square's side, before a joint loses two thirds of its score."""
MIRRORED = 0.7
"""Left and right are exchanged where that brings joints nearer to the expected ones by this."""


def crops_around(region: Region) -> list[Region]:
    """The squares to look at for a person in ``region``."""
    return [Region(region.centre, scale * region.side, region.angle + np.deg2rad(turn)) for scale, turn in LOOKS]


def agreed(
    points: np.ndarray, scores: np.ndarray, side: float, expected: np.ndarray, joints: JointSet
) -> tuple[np.ndarray, np.ndarray]:
    """One set of joints from several looks.

    Args:
        points: (L, J, 2) pixels; scores: (L, J).
        side: of the person's square, pixels.
        expected: (33, 2) pixels, NaN where unknown: tells which side is left.
        joints: which set J is.

    Returns:
        (J, 2) medians; (J,) mean scores, less where looks differ; NaN and 0 where half of the looks saw nothing.
    """
    wanted, known = map_joints(expected, np.isfinite(expected).all(-1).astype(float), BLAZEPOSE33, joints)
    every = []
    for p, s in zip(points, scores, strict=True):
        seen = (known > 0) & np.isfinite(p).all(-1)
        turned = seen & seen[joints.mirror]
        if turned.any():
            straight, crossed = (np.median(np.linalg.norm(q - wanted, axis=-1)[turned]) for q in (p, p[joints.mirror]))
            if crossed < MIRRORED * straight:
                p, s = p[joints.mirror], s[joints.mirror]
        every.append((p, np.where(np.isfinite(p).all(-1), s, 0.0)))
    points, scores = (np.array(a) for a in zip(*every, strict=True))
    enough = 2 * np.isfinite(points).all(-1).sum(0) > len(points)
    middle = np.full(points.shape[1:], np.nan)
    middle[enough] = np.nanmedian(points[:, enough], axis=0)
    apart = np.full(len(enough), np.inf)
    apart[enough] = np.nanmedian(np.linalg.norm(points[:, enough] - middle[enough], axis=-1), axis=0) / side
    return middle, scores.mean(0) * np.exp(-((apart / AGREE) ** 2))
