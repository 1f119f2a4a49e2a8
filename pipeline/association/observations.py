"""2D detections of all cameras as one dense table of SKEL-19 candidates: the nodes of the association graph.

Bottom-up detectors give candidates with part affinities, top-down ones give instances. Both become candidates here; for
instances the affinity of two joints is one if they belong to the same instance and nought otherwise. Cameras may come
from different detectors with different joint sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.association.options import AssociationOptions
from pipeline.cameras import Rig
from pipeline.errors import InputError
from pipeline.keypoints.detections import Detections
from pipeline.skeletons import SKEL19, JointSet, map_joints

LIMBS = SKEL19.limb_indices
"""(18, 2) int: the limbs along which affinities run."""


@dataclass(frozen=True)
class Observations:
    """Candidates of F frames, C cameras, the 19 joints, up to N a joint; unused places have score 0.

    Attributes:
        frames: (F,) int64.
        points: (F, C, 19, N, 2) float32 pixels of the undistorted image, NaN where unused.
        scores: (F, C, 19, N) float32.
        rays: (F, C, 19, N, 3) float32 unit directions in the world, 0 where unused.
        affinity: (F, C, 18, N, N) float32 along ``LIMBS`` (first joint's candidates by second's), 0 to about 1.
        rows: (F, C, 19, N) int32 instance in the camera's ``Detections``; -1 for candidates of a bottom-up detector.
        centres: (C, 3) float64 camera positions, metres.
        axes: (C, 3) float64 unit viewing directions in the world.
        pixel_angle: (C,) float64 radians that a pixel covers.
        projections: (C, 3, 4) float64.
        sizes: (C, 2) width and height of the pictures.
    """

    frames: np.ndarray
    points: np.ndarray
    scores: np.ndarray
    rays: np.ndarray
    affinity: np.ndarray
    rows: np.ndarray
    centres: np.ndarray
    axes: np.ndarray
    pixel_angle: np.ndarray
    projections: np.ndarray
    sizes: np.ndarray

    @cached_property
    def valid(self) -> np.ndarray:
        """(F, C, 19, N) bool: which places hold a candidate."""
        return self.scores > 0

    def places(self, span: slice, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
        """Index into ``points``, ``scores``, ``rays`` and ``rows`` of ``chosen`` (F, P, C, 19) in frames ``span``.

        Numbers from N on mean candidates of the joint on the other side of the body; -1 gives an arbitrary place.
        """
        N = self.scores.shape[-1]
        f = np.arange(*span.indices(len(self.frames)))[:, None, None, None]
        c, j = np.arange(chosen.shape[2])[None, None, :, None], np.arange(19)[None, None, None]
        take = np.maximum(chosen, 0)
        turned = take >= N
        if not turned.any():
            return f, c, j, take
        return f, c, np.where(turned, SKEL19.mirror, j), take % N


def check_detections(rig: Rig, detections: Sequence[Detections]) -> np.ndarray:
    """The frames that all cameras share, (F,) int64.

    Raises:
        InputError: if cameras and detections do not correspond, or an affinity matrix has the wrong size.
    """
    if len(detections) != len(rig):
        raise InputError(
            "detections",
            f"detections of {len(detections)} cameras, but the calibration has {len(rig)}: {', '.join(rig.names)}",
            "Give detections for exactly the calibrated cameras",
        )
    if not detections:
        return np.zeros(0, np.int64)
    frames = np.asarray(detections[0].frames, np.int64)
    for name, d in zip(rig.names, detections, strict=True):
        where = f"detections of camera {name}"
        if not np.array_equal(d.frames, frames):
            raise InputError(where, "frames differ from the first camera's", "Detect the same frames in every camera")
        if len(d.offsets) != len(frames) + 1 or d.offsets[-1] != len(d.keypoints):
            raise InputError(where, "instance offsets do not fit the frames", "Detect this camera again")
        if d.keypoints.shape[1:] != (len(d.joints), 2) or d.scores.shape != d.keypoints.shape[:2]:
            raise InputError(
                where,
                f"keypoints of shape {d.keypoints.shape} are not those of {d.joint_set}",
                "Name the right joint set",
            )
        if d.candidates is not None:
            _check_candidates(where, d)
    return frames


def _check_candidates(where: str, d: Detections) -> None:
    c, joints, limbs, F = d.candidates, len(d.joints), d.joints.limb_indices, len(d.frames)
    if len(c.offsets) != F * joints + 1 or c.offsets[-1] != len(c.points):
        raise InputError(where, "candidate offsets do not fit frames and joints", f"Name the joint set; {d.joint_set}?")
    if len(c.affinity_offsets) != F * len(limbs) + 1 or c.affinity_offsets[-1] != len(c.affinities):
        raise InputError(where, f"not one affinity matrix for each of {len(limbs)} limbs a frame", "Name the joint set")
    counts = np.diff(c.offsets).reshape(F, joints)
    sizes = np.diff(c.affinity_offsets).reshape(F, len(limbs))
    wrong = np.argwhere(sizes != counts[:, limbs[:, 0]] * counts[:, limbs[:, 1]])
    if len(wrong):
        f, k = wrong[0]
        a, b = d.joints.limbs[k]
        raise InputError(
            where,
            f"frame {d.frames[f]}: the affinity matrix {a}-{b} has {sizes[f, k]} entries for "
            f"{counts[f, limbs[k, 0]]} x {counts[f, limbs[k, 1]]} candidates",
            "Export the detections again",
        )


def observe(
    rig: Rig, detections: Sequence[Detections], options: AssociationOptions, span: slice = slice(None)
) -> Observations:
    """Candidates of the frames ``span`` (a slice of frame indices). Run ``check_detections`` first.

    Candidates whose score or position is not finite, or whose score is below the least, are left out.
    """
    frames = np.asarray(detections[0].frames, np.int64)[span]
    indices = np.arange(len(detections[0].frames))[span]
    per_camera = [_candidates(d, indices, options) for d in detections]
    N = max([t[0].shape[2] for t in per_camera] + [1])
    F, C, J, L = len(frames), len(rig), len(SKEL19), len(LIMBS)
    points = np.full((F, C, J, N, 2), np.nan, np.float32)
    scores = np.zeros((F, C, J, N), np.float32)
    rows = np.full((F, C, J, N), -1, np.int32)
    affinity = np.zeros((F, C, L, N, N), np.float32)
    rays = np.zeros((F, C, J, N, 3), np.float32)
    for c, (p, s, r, a) in enumerate(per_camera):
        n = p.shape[2]
        points[:, c, :, :n], scores[:, c, :, :n], rows[:, c, :, :n] = p, s, r
        affinity[:, c, :, :n, :n] = a
        rays[:, c] = np.nan_to_num(rig.cameras[c].undistorted().rays(points[:, c]))
    return Observations(
        frames,
        points,
        scores,
        rays,
        affinity,
        rows,
        rig.centres,
        np.stack([c.R[2] for c in rig.cameras]),
        np.array([2.0 / (c.K[0, 0] + c.K[1, 1]) for c in rig.cameras]),
        rig.projections,
        np.array([c.size for c in rig.cameras]),
    )


def _candidates(d: Detections, indices: np.ndarray, options: AssociationOptions):
    """One camera: points (F, 19, N, 2), scores, rows (F, 19, N), affinity (F, 18, N, N)."""
    if d.candidates is not None:
        return _from_bottom_up(d, indices, options)
    return _from_instances(d, indices, options)


def _from_instances(d: Detections, indices: np.ndarray, options: AssociationOptions):
    points, scores = map_joints(d.keypoints, _clean(d.keypoints, d.scores, options), d.joints, SKEL19)
    counts = np.diff(d.offsets)[indices]
    F, N = len(indices), int(max([*counts, 1]))
    rows = d.offsets[:-1][indices][:, None] + np.arange(N)
    valid = np.arange(N) < counts[:, None]
    rows = np.where(valid, rows, -1)
    if len(points) == 0:
        p, s = np.full((F, N, 19, 2), np.nan), np.zeros((F, N, 19))
    else:
        p = np.where(valid[..., None, None], points[rows], np.nan)
        s = np.where(valid[..., None], scores[rows], 0.0)
    p, s = np.swapaxes(p, 1, 2), np.swapaxes(s, 1, 2)
    present = s > 0
    both = present[:, LIMBS[:, 0], :, None] & present[:, LIMBS[:, 1], None, :]
    affinity = (both & np.eye(N, dtype=bool)).astype(np.float32)
    rows = np.where(present, rows[:, None, :], -1)
    return np.where(present[..., None], p, np.nan), s, rows, affinity


def _from_bottom_up(d: Detections, indices: np.ndarray, options: AssociationOptions):
    source, c = d.joints, d.candidates
    S, F = len(source), len(indices)
    counts = np.diff(c.offsets).reshape(-1, S)
    begins = c.offsets[:-1].reshape(-1, S)
    N = int(max(counts[indices].max(initial=0), 1))
    points = np.full((F, 19, N, 2), np.nan)
    scores = np.zeros((F, 19, N))
    where = {joint: source.index(joint) for joint in SKEL19.joints if joint in source.joints}
    clean = _clean(c.points[:, :2], c.points[:, 2], options)
    for j, joint in enumerate(SKEL19.joints):
        if joint not in where:
            continue
        n, b = counts[indices, where[joint]], begins[indices, where[joint]]
        used = np.arange(N) < n[:, None]
        take = (b[:, None] + np.arange(N))[used]
        scores[:, j][used] = clean[take]
        points[:, j][used] = c.points[take, :2]
    points[scores <= 0] = np.nan
    affinity = np.zeros((F, len(LIMBS), N, N), np.float32)
    for k, (a, b) in enumerate(SKEL19.limbs):
        found = _find_limb(source, a, b)
        if found is None:
            continue
        limb, flipped = found
        ja, jb = source.limb_indices[limb]
        na, nb = counts[indices, ja], counts[indices, jb]
        begin = c.affinity_offsets[:-1].reshape(-1, len(source.limbs))[indices, limb]
        i, m = np.arange(N)[:, None], np.arange(N)[None, :]
        used = (i < na[:, None, None]) & (m < nb[:, None, None])
        take = (begin[:, None, None] + i * nb[:, None, None] + m)[used]
        block = np.zeros((F, N, N), np.float32)
        raw = np.nan_to_num(c.affinities[take], nan=0.0, posinf=0.0, neginf=0.0)
        block[used] = np.maximum(raw, 0.0) ** options.affinity_exponent
        affinity[:, k] = np.swapaxes(block, 1, 2) if flipped else block
    valid = scores > 0
    affinity *= valid[:, LIMBS[:, 0], :, None] & valid[:, LIMBS[:, 1], None, :]
    return points, scores, np.full((F, 19, N), -1, np.int32), affinity


def _find_limb(source: JointSet, a: str, b: str) -> tuple[int, bool] | None:
    """Index of limb a-b in the source set and whether it runs the other way."""
    if (a, b) in source.limbs:
        return source.limbs.index((a, b)), False
    if (b, a) in source.limbs:
        return source.limbs.index((b, a)), True
    return None


def _clean(points: np.ndarray, scores: np.ndarray, options: AssociationOptions) -> np.ndarray:
    """Scores with 0 for whatever is not a usable observation."""
    usable = np.isfinite(points).all(-1) & np.isfinite(scores)
    scores = np.where(usable, scores, 0.0)
    return np.where(scores >= options.min_score, scores, 0.0)


def ray_distance(centre_a, ray_a, centre_b, ray_b) -> np.ndarray:
    """Shortest distance of two lines, metres, broadcasting; near-parallel rays use the distance of point to line."""
    cross = np.cross(ray_a, ray_b)
    length = np.linalg.norm(cross, axis=-1)
    base = centre_b - centre_a
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = np.abs(np.einsum("...i,...i->...", np.broadcast_to(base, cross.shape), cross)) / length
    parallel = np.linalg.norm(np.cross(np.broadcast_to(base, ray_a.shape), ray_a), axis=-1)
    return np.where(length > 1e-4, skew, parallel)
