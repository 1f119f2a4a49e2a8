"""Pose blend shapes that keep elbows and knees round when they bend.

Linear blend skinning averages matrices, so skin around a bent hinge sinks towards its axis. Turning each vertex by its
own share of the angle about the axis instead (which is what dual quaternion skinning does for a hinge: Kavan et al.
2008) keeps its distance. The pose blend shapes of the format (Loper et al. 2015, eq. 9) are linear in the entries of
R − I, that is in sin θ and 1 − cos θ of the hinge; their coefficients are fitted vertex by vertex over the range of the
joint so that the skinned result is nearest to that.
"""

from __future__ import annotations

import numpy as np

from data.open_body.makehuman import MIRROR
from data.open_body.rotations import from_axis_angle
from pipeline.skeletons import SMPLX55, SMPLX55_PARENTS

HINGES = {
    "left_elbow": (np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, -1.0])),
    "left_knee": (np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])),
}
"""Axis about which each hinge bends in T-pose, and the outer side of the bend; the right side mirrors the left."""
ANGLES = np.radians(np.arange(-10.0, 141.0, 10.0))
DAMPING = 0.05
"""Against the sum of squares over the angles: holds corrections back where skinning is nearly singular."""
INNER_DEPTH, INNER_SHARE = 0.06, 0.3
"""In the fold the correction falls off over so many metres behind the axis to this share: flesh gives way there."""


def pose_blend_shapes(template: np.ndarray, joints: np.ndarray, weights: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """(V, 3, 486) float32 pose blend shapes, zero but for elbows and knees.

    Args:
        template: (V, 3) T-pose. joints: (55, 3). weights: (V, 55). mirror: (V,) vertex on the other side.
    """
    shapes = np.zeros((len(template), 3, 54, 3, 3))
    for name, (axis, outer) in HINGES.items():
        joint = SMPLX55.index(name)
        rows, sine, cosine = _hinge_coefficients(template - joints[joint], axis, outer, _carried(weights, joint))
        on_sine, on_cosine = _features(axis)
        left = sine[..., None, None] * on_sine + cosine[..., None, None] * on_cosine
        shapes[rows, :, joint - 1] += left
        flipped = left * MIRROR[:, None, None] * np.outer(MIRROR, MIRROR)
        shapes[mirror[rows], :, SMPLX55.mirror[joint] - 1] += flipped
    return shapes.reshape(len(template), 3, 486).round(6).astype(np.float32)


def _carried(weights: np.ndarray, joint: int) -> np.ndarray:
    """(V,) share of each vertex that moves with the joint or with what hangs on it."""
    below = {joint}
    for child in range(joint + 1, len(SMPLX55)):
        if SMPLX55_PARENTS[child] in below:
            below.add(child)
    return weights[:, sorted(below)].sum(1)


def _hinge_coefficients(
    offsets: np.ndarray, axis: np.ndarray, outer: np.ndarray, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (n,) that need correction and their coefficients (n, 3) of sin θ and of 1 − cos θ."""
    rows = np.flatnonzero((share > 1e-3) & (share < 1.0 - 1e-3))
    x, w = offsets[rows], share[rows]
    gram = DAMPING * np.broadcast_to(np.eye(6), (len(rows), 6, 6)).copy()
    right = np.zeros((len(rows), 6))
    for angle in ANGLES:
        blended = (1.0 - w)[:, None, None] * np.eye(3) + w[:, None, None] * from_axis_angle(angle * axis)
        wanted = np.einsum("nij,nj->ni", from_axis_angle(w[:, None] * angle * axis), x)
        matrix = np.concatenate([np.sin(angle) * blended, (1.0 - np.cos(angle)) * blended], axis=2)
        gram += np.swapaxes(matrix, 1, 2) @ matrix
        right += np.einsum("nij,ni->nj", matrix, wanted - np.einsum("nij,nj->ni", blended, x))
    solved = np.linalg.solve(gram, right[..., None])[..., 0]
    solved *= np.clip(1.0 + (x @ outer) / INNER_DEPTH, INNER_SHARE, 1.0)[:, None]
    return rows, solved[:, :3], solved[:, 3:]


def _features(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices A and C with ⟨A, R − I⟩ = sin θ and ⟨C, R − I⟩ = 1 − cos θ for a turn by θ about the coordinate axis
    given, and both zero for turns about the other two."""
    quarter = from_axis_angle(0.5 * np.pi * axis)
    return 0.25 * (quarter - quarter.T), np.diag(np.abs(axis) - 0.5)
