"""Somebody whose hands, palms and face move, and the points of them that a detector would see."""

from dataclasses import replace

import numpy as np
import torch

from data.synthetic.body_scenes import SETTINGS, body_scene
from pipeline.body.extremities import NAMES
from pipeline.skeletons import SMPLX55

FPS = 30.0


def expressive(model, frames: int):
    """Rig; the body with hands, forearms and face at rest; the truth: fists, turned palms, open mouth, smile."""
    scene = body_scene(model, "arms_crossed", SETTINGS["six_cameras"], 1, frames)
    body = scene.people[0]
    curl = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames) / FPS / 0.8)
    hand = body.left_hand_pose.reshape(frames, 5, 3, 3).copy()
    hand[:, :4, :, 2] -= 0.9 * curl[:, None, None]
    right = (hand * np.float32([1, -1, -1])).reshape(frames, 45)
    pose = body.body_pose.reshape(frames, 21, 3).copy()
    for side, sign in (("left", 1), ("right", -1)):
        pose[:, SMPLX55.index(f"{side}_elbow") - 1, 0] += 0.9  # palms turned about the forearms
        pose[:, SMPLX55.index(f"{side}_wrist") - 1, 2] += sign * 0.4
    pose[:, SMPLX55.index("head") - 1, 1] += 0.25
    jaw = np.zeros((frames, 3), np.float32)
    jaw[:, 0] = 0.3 * curl
    smile = np.zeros((frames, 10), np.float32)
    smile[:, 0], smile[:, 2] = 1.2, -0.8 * curl
    truth = replace(
        body, left_hand_pose=hand.reshape(frames, 45), right_hand_pose=right, jaw_pose=jaw, expression=smile,
        body_pose=pose.reshape(frames, 63),
    )  # fmt: skip
    return scene.rig, body, truth


def parameters(body) -> dict[str, torch.Tensor]:
    names = "global_orient body_pose left_hand_pose right_hand_pose jaw_pose expression transl".split()
    return {n: torch.as_tensor(getattr(body, n)) for n in names} | {"betas": torch.as_tensor(body.betas)[None]}


def true_points(model, body) -> np.ndarray:
    """(F, K, 3) of ``NAMES``."""
    with torch.no_grad():
        joints = model.joints_only(**parameters(body)).numpy()
        tips = torch.as_tensor(list(model.keypoint_vertices.values()))
        tips = model.landmarks(tips, **parameters(body)).numpy()
        skin = dict(zip(model.keypoint_vertices, tips.swapaxes(0, 1), strict=True))
        corners, share = (torch.as_tensor(a) for a in model.face_landmarks)
        face = model.landmarks(corners, share, **parameters(body)).numpy()
    found = []
    for name in NAMES:
        if name.startswith("face"):
            found.append(face[:, int(name.split("_")[1]) - 17])
        elif name.endswith("hand_root"):
            found.append(joints[:, SMPLX55.index(name.replace("hand_root", "wrist"))])
        else:
            found.append(joints[:, SMPLX55.index(name)] if name in SMPLX55.joints else skin[name])
    return np.stack(found, 1).astype(np.float64)


def articulation_mm(model, found, truth, part: str) -> np.ndarray:
    """(F,) mean distance of a part's points, each set about its own mean: articulation, not place."""
    columns = [k for k, n in enumerate(NAMES) if n.startswith(part)]
    a, b = (true_points(model, body)[:, columns] for body in (found, truth))
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    return 1e3 * np.linalg.norm(a - b, axis=-1).mean(1)
