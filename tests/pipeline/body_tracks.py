"""Tracks of known bodies for tests of the fit: a person of the open model moves, cameras around see noisy keypoints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data.synthetic.body_scenes import SETTINGS, body_scene
from pipeline.association.tracks import Tracks
from pipeline.body.regressor import regress, regressor_for
from pipeline.cameras import Camera, Rig, project, triangulate
from pipeline.skeletons import SKEL19

FPS = 30.0
MOTIONS = ("walking", "crouching", "arms_crossed")


def rig_around(cameras: int) -> Rig:
    """Cameras on a ring of 3.5 m about the origin, z up."""
    found = []
    for c in range(cameras):
        angle = 2 * np.pi * c / cameras + 0.2
        centre = np.array([3.5 * np.cos(angle), 3.5 * np.sin(angle), 1.2 + 0.8 * (c % 2)])
        z = np.array([0.0, 0.0, 0.95]) - centre
        z /= np.linalg.norm(z)
        x = np.cross(z, [0.0, 0.0, 1.0])
        x /= np.linalg.norm(x)
        R = np.stack([x, np.cross(z, x), z])
        K = np.array([[1100.0, 0.0, 640.0], [0.0, 1100.0, 480.0], [0.0, 0.0, 1.0]])
        found.append(Camera(f"cam{c}", (1280, 960), K, R, -R @ centre))
    return Rig(tuple(found))


def known_body(model, name: str, seed: int, frames: int) -> dict[str, np.ndarray]:
    """global_orient (F, 3), body_pose (F, 63), transl (F, 3), betas (10,) of a scene's first person, z up."""
    body = body_scene(model, name, SETTINGS["six_cameras"], seed, frames).people[0]
    return {f: getattr(body, f) for f in ("global_orient", "body_pose", "transl", "betas")}


def seen_person(
    model, name: str, seed: int, frames: int = 60, cameras: int = 6, noise_px: float = 2.0, missing: float = 0.0,
    outliers: float = 0.0,
) -> tuple[Rig, Tracks, dict[str, np.ndarray], np.ndarray]:  # fmt: skip
    """Rig, noisy track, true parameters (betas drawn from the shape space) and true joints (F, 19, 3)."""
    rng = np.random.default_rng(seed)
    truth = known_body(model, name, seed, frames)
    joints = regress(model, regressor_for(model), truth).astype(np.float64)
    rig = rig_around(cameras)
    pixels = project(rig.projections[None, :, None], joints[:, None])
    pixels = pixels + rng.normal(scale=noise_px, size=pixels.shape)
    stray = rng.random(pixels.shape[:3]) < outliers
    pixels[stray] += rng.normal(scale=120, size=(stray.sum(), 2))
    scores = np.where(rng.random(pixels.shape[:3]) < missing, 0.0, 0.9)
    pixels[scores == 0] = np.nan
    seen = triangulate(rig.projections, pixels.swapaxes(1, 2), scores.swapaxes(1, 2))
    return rig, as_track(seen, pixels, scores), truth, joints


def as_track(joints: np.ndarray, pixels: np.ndarray, scores: np.ndarray) -> Tracks:
    """One person from joints (F, 19, 3), pixels (F, C, 19, 2) and scores (F, C, 19)."""
    frames, cameras = scores.shape[:2]
    confidence = np.where(np.isfinite(joints[..., 0]), 0.9, 0.0)
    f32 = (a[:, None].astype(np.float32) for a in (joints, confidence, pixels, scores, np.zeros_like(scores)))
    return Tracks(
        np.arange(frames), np.zeros(1, np.int32), *f32, instances=np.zeros((frames, 1, cameras), np.int32)
    )  # fmt: skip


def without(track: Tracks, frames=slice(None), joints=slice(None), cameras=slice(None)) -> Tracks:
    """The track with observations left out; 3D joints go too where any camera loses theirs."""
    changed = {name: getattr(track, name).copy() for name in ("joints", "confidence", "keypoints", "scores")}
    rows = np.arange(len(track.frames))[frames]
    columns = np.arange(len(SKEL19))[joints]
    views = np.arange(track.scores.shape[2])[cameras]
    changed["joints"][np.ix_(rows, [0], columns)] = np.nan
    changed["confidence"][np.ix_(rows, [0], columns)] = 0
    changed["keypoints"][np.ix_(rows, [0], views, columns)] = np.nan
    changed["scores"][np.ix_(rows, [0], views, columns)] = 0
    return replace(track, **changed)


def mirrored(track: Tracks, frames=slice(None)) -> Tracks:
    """The track with left and right exchanged in 3D and in every camera."""
    mirror, changed = SKEL19.mirror, {}
    for name in ("joints", "confidence"):
        changed[name] = getattr(track, name).copy()
        changed[name][frames] = changed[name][frames][:, :, mirror]
    for name in ("keypoints", "scores"):
        changed[name] = getattr(track, name).copy()
        changed[name][frames] = changed[name][frames][:, :, :, mirror]
    return replace(track, **changed)
