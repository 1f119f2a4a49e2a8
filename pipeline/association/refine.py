"""Calibration refined from the people in it: bundle adjustment over associated joints.

Camera poses, and focal lengths where asked, move a little so that every joint's views agree better; joints move with
them. The user's file is never touched: the result is a new rig, in the same world frame (the rig as a whole keeps its
place, turn and size).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.association.triangulation import nearest_point
from pipeline.cameras import Camera, Rig


@dataclass(frozen=True)
class Refinement:
    """What bundle adjustment found.

    Attributes:
        rig: the refined cameras (same names, sizes and lens distortion).
        before_px, after_px: (C,) median residual of each camera.
        turned_deg, moved_m: (C,) how far each camera went.
        observations: number of detections used.
    """

    rig: Rig
    before_px: np.ndarray
    after_px: np.ndarray
    turned_deg: np.ndarray
    moved_m: np.ndarray
    observations: int


def refine_rig(
    rig: Rig,
    tracks: Tracks,
    *,
    focal: bool = False,
    min_score: float = 0.5,
    most_points: int = 4000,
    noise_px: float = 4.0,
    turn_deg: float = 1.0,
    move_m: float = 0.05,
    focal_share: float = 0.01,
    iterations: int = 30,
    seed: int = 0,
) -> Refinement:
    """Refine the undistorted cameras of ``rig`` from joints that at least three cameras saw.

    Levenberg-Marquardt on reprojection errors with Cauchy's robust weights; joints are eliminated by the Schur
    complement (Triggs et al., Bundle Adjustment - A Modern Synthesis, section 6.1).

    Args:
        focal: also refine each camera's focal length.
        min_score: detections below it are not used.
        most_points: joints drawn at random if there are more.
        noise_px: standard deviation of detections.
        turn_deg, move_m, focal_share: standard deviations of how wrong the given calibration may be.
    """
    pixels, used = _points(tracks, min_score, most_points, np.random.default_rng(seed))
    C = len(rig)
    if len(pixels) < 10 * C or (used.sum(0) < 20).any():
        still = np.full(C, np.nan)
        return Refinement(rig, still, still, np.zeros(C), np.zeros(C), int(used.sum()))
    prior = np.array([np.deg2rad(turn_deg)] * 3 + [move_m] * 3 + [focal_share if focal else 1e-9])
    cameras = rig.undistorted().cameras
    X = _triangulate(cameras, pixels, used)
    offset = np.zeros((C, 7))
    damping, cost = 1e-3, np.inf
    state = (cameras, X, offset)
    for _ in range(iterations):
        residual, J_camera, J_point = _linearise(*state[:2], pixels, used)
        weight = used / noise_px**2 / (1 + (residual**2).sum(-1) / (2.5 * noise_px) ** 2)
        now = _cost(residual, used, noise_px) + ((state[2] / prior) ** 2).sum()
        cost = now
        step_camera, step_point = _step(residual, J_camera, J_point, weight, state[2], prior, damping)
        trial_cameras = tuple(_moved(c, s) for c, s in zip(state[0], step_camera, strict=True))
        trial = (trial_cameras, state[1] + step_point, state[2] + step_camera)
        residual, _, _ = _linearise(*trial[:2], pixels, used)
        new = _cost(residual, used, noise_px) + ((trial[2] / prior) ** 2).sum()
        if new < cost:
            state, damping = trial, max(damping / 5, 1e-7)
            if cost - new < 1e-6 * cost:
                break
        else:
            damping *= 10
            if damping > 1e6:
                break
    refined = _in_place(state[0], cameras)
    before = _medians(cameras, _triangulate(cameras, pixels, used), pixels, used)
    after = _medians(refined, _triangulate(refined, pixels, used), pixels, used)
    lenses = [replace(c, distortion=o.distortion, model=o.model) for c, o in zip(refined, rig.cameras, strict=True)]
    turned = [_angle(a.R @ b.R.T) for a, b in zip(refined, cameras, strict=True)]
    moved = [np.linalg.norm(a.centre - b.centre) for a, b in zip(refined, cameras, strict=True)]
    return Refinement(Rig(tuple(lenses), rig.up), before, after, np.rad2deg(turned), np.array(moved), int(used.sum()))


def _points(tracks: Tracks, min_score: float, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (M, C, 2) and use (M, C) of joints seen by three cameras or more."""
    pixels = np.moveaxis(np.asarray(tracks.keypoints, np.float64), 2, 3).reshape(-1, tracks.scores.shape[2], 2)
    scores = np.moveaxis(np.asarray(tracks.scores, np.float64), 2, 3).reshape(-1, tracks.scores.shape[2])
    used = (scores > min_score) & np.isfinite(pixels).all(-1)
    rows = np.flatnonzero(used.sum(1) >= min(3, used.shape[1]))
    if len(rows) > most:
        rows = np.sort(rng.choice(rows, most, replace=False))
    return np.nan_to_num(pixels[rows]), used[rows].astype(np.float64)


def _triangulate(cameras, pixels, used) -> np.ndarray:
    rays = np.stack([c.rays(pixels[:, k]) for k, c in enumerate(cameras)], 1)
    return np.nan_to_num(nearest_point(np.stack([c.centre for c in cameras]), rays, used))


def _linearise(cameras, X, pixels, used):
    """Residuals (M, C, 2), derivatives by camera (M, C, 2, 7: turn, move, log focal) and by point (M, C, 2, 3)."""
    M, C = used.shape
    residual, by_camera, by_point = np.zeros((M, C, 2)), np.zeros((M, C, 2, 7)), np.zeros((M, C, 2, 3))
    for k, camera in enumerate(cameras):
        x = camera.to_camera(X)
        z = np.maximum(x[:, 2], 0.05)
        f = camera.K[:2, :2]
        ray = x[:, :2] / z[:, None]
        residual[:, k] = ray @ f.T + camera.K[:2, 2] - pixels[:, k]
        d = np.zeros((M, 2, 3))
        d[:, 0, 0] = d[:, 1, 1] = 1 / z
        d[:, :, 2] = -ray / z[:, None]
        d = f @ d
        cross = np.zeros((M, 3, 3))  # derivative of exp(w) x by w: -[x]x
        cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = x[:, 2], -x[:, 1], x[:, 0]
        cross[:, 1, 0], cross[:, 2, 0], cross[:, 2, 1] = -x[:, 2], x[:, 1], -x[:, 0]
        by_camera[:, k, :, :3] = d @ cross
        by_camera[:, k, :, 3:6] = d
        by_camera[:, k, :, 6] = ray @ f.T
        by_point[:, k] = d @ camera.R
    return residual * used[..., None], by_camera, by_point


def _step(residual, J_camera, J_point, weight, offset, prior, damping):
    """One damped Gauss-Newton step: cameras (C, 7), points (M, 3)."""
    C = weight.shape[1]
    wJ = weight[..., None, None] * J_camera
    U = np.einsum("mcia,mcib->cab", wJ, J_camera) + np.diag(1 / prior**2)
    g = -np.einsum("mcia,mci->ca", wJ, residual) - offset / prior**2
    V = np.einsum("mc,mcia,mcib->mab", weight, J_point, J_point)
    V += (damping * np.trace(V, axis1=1, axis2=2) / 3 + 1e-6)[:, None, None] * np.eye(3)
    h = -np.einsum("mc,mcia,mci->ma", weight, J_point, residual)
    W = np.einsum("mcia,mcib->mcab", wJ, J_point)
    V_inverse = np.linalg.inv(V)
    WV = np.einsum("mcab,mbd->mcad", W, V_inverse)
    schur = -np.einsum("mcad,mkbd->cakb", WV, W)
    for c in range(C):
        schur[c, :, c, :] += U[c] * (1 + damping * np.eye(7))
    right = g - np.einsum("mcad,md->ca", WV, h)
    step = np.linalg.solve(schur.reshape(7 * C, 7 * C), right.reshape(-1)).reshape(C, 7)
    points = np.einsum("mab,mb->ma", V_inverse, h - np.einsum("mcab,ca->mb", W, step))
    return step, points


def _moved(camera: Camera, step: np.ndarray) -> Camera:
    turn, _ = cv2.Rodrigues(step[:3])
    K = camera.K.copy()
    K[:2, :2] *= np.exp(step[6])
    return replace(camera, K=K, R=turn @ camera.R, t=turn @ camera.t + step[3:6])


def _in_place(cameras, original) -> tuple[Camera, ...]:
    """The cameras moved as one (turn, shift, size) to where the original ones are (Umeyama's closed form)."""
    a = np.stack([c.centre for c in cameras])
    b = np.stack([c.centre for c in original])
    if len(a) < 3:
        return tuple(cameras)
    ma, mb = a.mean(0), b.mean(0)
    U, S, Vt = np.linalg.svd((b - mb).T @ (a - ma))
    D = np.diag([1, 1, np.sign(np.linalg.det(U @ Vt))])
    R = U @ D @ Vt
    s = (S * np.diag(D)).sum() / ((a - ma) ** 2).sum()
    out = []
    for c in cameras:
        centre = s * R @ (c.centre - ma) + mb
        turned = c.R @ R.T
        out.append(replace(c, R=turned, t=-turned @ centre))
    return tuple(out)


def _cost(residual, used, noise_px) -> float:
    c2 = (2.5 * noise_px) ** 2
    return float((used * c2 * np.log1p((residual**2).sum(-1) / c2)).sum() / noise_px**2)


def _medians(cameras, X, pixels, used) -> np.ndarray:
    gaps = np.stack([np.linalg.norm(c.project(X) - pixels[:, k], axis=-1) for k, c in enumerate(cameras)], 1)
    return np.array([np.nanmedian(gaps[used[:, k] > 0, k]) for k in range(len(cameras))])


def _angle(R: np.ndarray) -> float:
    return float(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1)))
