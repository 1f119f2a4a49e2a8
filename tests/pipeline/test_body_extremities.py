"""Hands and faces that are known come back from their landmarks; unseen ones rest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.synthetic.body_scenes import SETTINGS, body_scene
from pipeline.body.extremities import NAMES, SeenPoints, fit_extremities, gather
from pipeline.body.face import Face
from pipeline.body.hands import Hand
from pipeline.body.options import FitOptions
from pipeline.body.rotations import exponential
from pipeline.cameras import project
from pipeline.keypoints.detections import Detections
from pipeline.skeletons import BLAZEPOSE33, BODY25_HANDS_FACE, SMPLX55

FRAMES, FPS = 24, 30.0
OPTIONS = FitOptions(fps=FPS)
FLAT = np.zeros((FRAMES, 45), np.float32)


@pytest.fixture(scope="module")
def expressive(model):
    """Somebody makes fists, turns the palms, opens the mouth, smiles: the fitted body (all at rest) and the truth."""
    scene = body_scene(model, "arms_crossed", SETTINGS["six_cameras"], 1, FRAMES)
    body = scene.people[0]
    times = np.arange(FRAMES) / FPS
    curl = 0.5 - 0.5 * np.cos(2 * np.pi * times / 0.8)
    hand = body.left_hand_pose.reshape(FRAMES, 5, 3, 3).copy()
    hand[:, :4, :, 2] -= 0.9 * curl[:, None, None]
    right = (hand * np.float32([1, -1, -1])).reshape(FRAMES, 45)
    pose = body.body_pose.reshape(FRAMES, 21, 3).copy()
    for side, sign in (("left", 1), ("right", -1)):
        pose[:, SMPLX55.index(f"{side}_elbow") - 1, 0] += 0.9  # palms turned about the forearms
        pose[:, SMPLX55.index(f"{side}_wrist") - 1, 2] += sign * 0.4
    pose[:, SMPLX55.index("head") - 1, 1] += 0.25
    jaw = np.zeros((FRAMES, 3), np.float32)
    jaw[:, 0] = 0.3 * curl
    smile = np.zeros((FRAMES, 10), np.float32)
    smile[:, 0], smile[:, 2] = 1.2, -0.8 * curl
    truth = replace(
        body, left_hand_pose=hand.reshape(FRAMES, 45), right_hand_pose=right, jaw_pose=jaw, expression=smile,
        body_pose=pose.reshape(FRAMES, 63),
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


def seen(model, rig, truth, names=NAMES, noise_px=2.0, seed=0) -> SeenPoints:
    columns = [NAMES.index(n) for n in names]
    pixels = project(rig.projections[None, :, None], true_points(model, truth)[:, None, columns])
    rng = np.random.default_rng(seed)
    pixels += rng.normal(scale=noise_px, size=pixels.shape)
    stray = rng.random(pixels.shape[:3]) < 0.05
    pixels[stray] += rng.normal(scale=60, size=(int(stray.sum()), 2))
    return SeenPoints(tuple(names), pixels.astype(np.float32), np.full(pixels.shape[:3], 0.8, np.float32))


def errors_mm(model, found, truth, part: str) -> np.ndarray:
    """(F,) mean distance of a part's points, each set about its own mean: articulation, not place."""
    columns = [k for k, n in enumerate(NAMES) if n.startswith(part)]
    a, b = (true_points(model, body)[:, columns] for body in (found, truth))
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    return 1e3 * np.linalg.norm(a - b, axis=-1).mean(1)


def test_derivatives_are_those_of_the_points(model, expressive):
    _, body, _ = expressive
    rng = np.random.default_rng(0)
    turns = exponential(np.array([[0.3, -0.2, 1.0]]))
    for part in (*(Hand(model, s, body.betas, turns, np.ones((1, 3))) for s in ("left", "right")),
                 Face(model, body.betas, turns, np.ones((1, 3)))):  # fmt: skip
        at = part.mean[None] + rng.normal(scale=0.3, size=(1, len(part.mean)))
        points, slope = part.linearised(at)
        assert np.allclose(points, part.points(at))
        for u in range(len(part.mean)):
            step = np.zeros_like(at)
            step[0, u] = 1e-6
            numeric = (part.points(at + step) - part.points(at - step)) / 2e-6
            assert np.abs(numeric - slope[..., u]).max() < 1e-6


def test_parts_are_those_of_the_model(model, expressive):
    """Against the skinning layer, whose finger tips and chin also know pose blend shapes: within millimetres."""
    _, _, truth = expressive
    with torch.no_grad():
        posed = model.pose(**parameters(truth))
    points = true_points(model, truth)
    for side in ("left", "right"):
        wrist = SMPLX55.index(f"{side}_wrist")
        hand = Hand(model, side, truth.betas, posed.rotations[:, wrist].numpy(), posed.positions[:, wrist].numpy())
        angles = np.linalg.lstsq(hand._table, (getattr(truth, f"{side}_hand_pose") - hand._pose).T, rcond=None)[0].T
        found = hand.points(np.concatenate([np.zeros((FRAMES, 6)), angles], 1))
        true = points[:, [NAMES.index(n) for n in hand.names]]
        assert np.linalg.norm(found - true, axis=-1).max() < 0.003
    head = SMPLX55.index("head")
    face = Face(model, truth.betas, posed.rotations[:, head].numpy(), posed.positions[:, head].numpy())
    found = face.points(np.concatenate([np.zeros((FRAMES, 6)), truth.jaw_pose, truth.expression], 1))
    true = points[:, [NAMES.index(n) for n in face.names]]
    assert np.linalg.norm(found - true, axis=-1).max() < 0.005


def test_hands_and_faces_come_back(model, expressive):
    rig, body, truth = expressive
    found, counts = fit_extremities(model, rig, body, seen(model, rig, truth), OPTIONS)
    assert counts == {"left_hand": FRAMES, "right_hand": FRAMES, "face": FRAMES}
    for part, most in (("left_", 4.0), ("right_", 4.0), ("face", 1.5)):
        assert errors_mm(model, body, truth, part).mean() > 2.5 * most
        assert errors_mm(model, found, truth, part).mean() < most
    opened = np.corrcoef(found.jaw_pose[:, 0], truth.jaw_pose[:, 0])[0, 1]
    assert opened > 0.9  # the lips say how far open; jaw and expressions share it
    others = np.setdiff1d(np.arange(63), [3 * (SMPLX55.index(n) - 1) + k for k in range(3) for n in (
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "head")])  # fmt: skip
    assert np.abs(found.body_pose[:, others] - body.body_pose[:, others]).max() < 1e-5
    with torch.no_grad():
        before, after = (model.joints_only(**parameters(b))[:, :22] for b in (body, found))
    assert (before - after).norm(dim=-1).max() < 1e-5  # the body's joints stay where they were


def test_turning_a_palm_turns_the_forearm_more_than_the_wrist(model, expressive):
    rig, body, truth = expressive
    found, _ = fit_extremities(model, rig, body, seen(model, rig, truth), OPTIONS)
    turned = (found.body_pose - body.body_pose).reshape(FRAMES, 21, 3)
    elbow, wrist = (np.abs(turned[:, SMPLX55.index(f"left_{n}") - 1, 0]).mean() for n in ("elbow", "wrist"))
    assert elbow > 0.5 and elbow > 3 * wrist


def test_a_palm_alone_turns_the_hand_and_leaves_the_fingers(model, expressive):
    rig, body, truth = expressive
    names = [f"{s}_{n}" for s in ("left", "right") for n in ("hand_root", "thumb2", "index1", "middle1", "pinky1")]
    found, counts = fit_extremities(model, rig, body, seen(model, rig, truth, names), OPTIONS)
    assert counts == {"left_hand": FRAMES, "right_hand": FRAMES, "face": 0}

    def palm_error(b) -> float:
        with torch.no_grad():
            R, S = (model.pose(**parameters(x)).rotations[:, SMPLX55.index("left_wrist")] for x in (b, truth))
        cosine = ((R.transpose(1, 2) @ S).diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
        return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).mean())

    assert palm_error(body) > 40
    assert palm_error(found) < 12
    fingers = found.left_hand_pose.reshape(FRAMES, 5, 9)[:, :4] - body.left_hand_pose.reshape(FRAMES, 5, 9)[:, :4]
    assert np.abs(fingers).max() < 0.15


def test_what_is_unsure_or_seen_once_or_elsewhere_changes_nothing(model, expressive):
    rig, body, truth = expressive
    good = seen(model, rig, truth)
    alone = good.scores.copy()
    alone[:, 1:] = 0
    elsewhere = project(rig.projections[None, :, None], (true_points(model, truth) + 0.4)[:, None])
    for bad in (
        replace(good, scores=good.scores * 0.2),
        replace(good, scores=alone),
        replace(good, pixels=elsewhere.astype(np.float32)),
    ):
        found, counts = fit_extremities(model, rig, body, bad, OPTIONS)
        assert not any(counts.values())
        assert np.abs(found.body_pose - body.body_pose).max() < 1e-5
        for name in ("left_hand_pose", "right_hand_pose", "jaw_pose", "expression"):
            assert np.array_equal(getattr(found, name), getattr(body, name))


def test_an_unseen_hand_comes_to_rest(model, expressive):
    rig, body, truth = expressive
    good = seen(model, rig, truth)
    scores = good.scores.copy()
    scores[8:] = 0
    found, counts = fit_extremities(model, rig, body, replace(good, scores=scores), OPTIONS)
    assert counts["left_hand"] == 8
    assert np.abs(found.left_hand_pose[-1] - body.left_hand_pose[-1]).max() < 0.25
    assert errors_mm(model, found, truth, "left_")[:8].mean() < 8


def test_points_follow_the_instances_that_association_chose():
    rng = np.random.default_rng(0)
    frames = np.arange(3)

    def camera(joint_set) -> Detections:
        keypoints = rng.uniform(size=(6, len(joint_set), 2)).astype(np.float32)
        return Detections(
            joint_set.name, frames, np.array([0, 2, 4, 6]), keypoints, np.full(keypoints.shape[:2], 0.7, np.float32),
            np.zeros((6, 4), np.float32), np.ones(6, np.float32), np.full(6, -1, np.int32),
        )  # fmt: skip

    from tests.pipeline.body_tracks import as_track

    track = as_track(np.zeros((3, 19, 3)), np.zeros((3, 3, 19, 2)), np.ones((3, 3, 19)))
    track = replace(track, instances=np.array([[[1, 0, 0]], [[-1, 3, 2]], [[5, 5, 4]]], np.int32))
    openpose, without = camera(BODY25_HANDS_FACE), camera(BLAZEPOSE33)
    found = gather(track, [openpose, without, None])
    assert found.names == NAMES
    tip = NAMES.index("left_index")
    assert np.array_equal(found.pixels[2, 0, tip], openpose.keypoints[5, BODY25_HANDS_FACE.index("left_index")])
    assert np.isnan(found.pixels[1, 0]).all() and np.isnan(found.pixels[:, 1:]).all()
    assert found.scores[0, 0].all() and not found.scores[1, 0].any() and not found.scores[:, 1:].any()
    assert gather(track, [None, without, None]) is None
