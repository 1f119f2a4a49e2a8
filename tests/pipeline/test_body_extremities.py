"""Hands and faces that are known come back from their landmarks; unseen ones rest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.body.extremities import NAMES, SeenPoints, fit_extremities, gather
from pipeline.body.face import Face
from pipeline.body.hands import Hand
from pipeline.body.options import FitOptions
from pipeline.body.rotations import exponential
from pipeline.cameras import project
from pipeline.keypoints.detections import Detections
from pipeline.skeletons import BLAZEPOSE33, BODY25_HANDS_FACE, SMPLX55
from tests.pipeline.body_tracks import as_track
from tests.pipeline.expressive_person import FPS, articulation_mm, expressive, parameters, true_points

FRAMES = 24
OPTIONS = FitOptions(fps=FPS)


@pytest.fixture(scope="module")
def people(model):
    return expressive(model, FRAMES)


def seen(model, rig, truth, names=NAMES, noise_px=2.0, seed=0) -> SeenPoints:
    columns = [NAMES.index(n) for n in names]
    pixels = project(rig.projections[None, :, None], true_points(model, truth)[:, None, columns])
    rng = np.random.default_rng(seed)
    pixels += rng.normal(scale=noise_px, size=pixels.shape)
    stray = rng.random(pixels.shape[:3]) < 0.05
    pixels[stray] += rng.normal(scale=60, size=(int(stray.sum()), 2))
    return SeenPoints(tuple(names), pixels.astype(np.float32), np.full(pixels.shape[:3], 0.8, np.float32))


def test_derivatives_are_those_of_the_points(model, people):
    _, body, _ = people
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


def test_parts_are_those_of_the_model(model, people):
    """Against the skinning layer, whose finger tips and chin also know pose blend shapes: within millimetres."""
    _, _, truth = people
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


def test_hands_and_faces_come_back(model, people):
    rig, body, truth = people
    found, counts = fit_extremities(model, rig, body, seen(model, rig, truth), OPTIONS)
    assert counts == {"left_hand": FRAMES, "right_hand": FRAMES, "face": FRAMES}
    for part, most in (("left_", 4.0), ("right_", 4.0), ("face", 1.5)):
        assert articulation_mm(model, body, truth, part).mean() > 2.5 * most
        assert articulation_mm(model, found, truth, part).mean() < most
    opened = np.corrcoef(found.jaw_pose[:, 0], truth.jaw_pose[:, 0])[0, 1]
    assert opened > 0.9  # the lips say how far open; jaw and expressions share it
    others = np.setdiff1d(np.arange(63), [3 * (SMPLX55.index(n) - 1) + k for k in range(3) for n in (
        "left_elbow", "right_elbow", "left_wrist", "right_wrist", "head")])  # fmt: skip
    assert np.abs(found.body_pose[:, others] - body.body_pose[:, others]).max() < 1e-5
    with torch.no_grad():
        before, after = (model.joints_only(**parameters(b))[:, :22] for b in (body, found))
    assert (before - after).norm(dim=-1).max() < 1e-5  # the body's joints stay where they were


def test_turning_a_palm_turns_the_forearm_more_than_the_wrist(model, people):
    rig, body, truth = people
    found, _ = fit_extremities(model, rig, body, seen(model, rig, truth), OPTIONS)
    turned = (found.body_pose - body.body_pose).reshape(FRAMES, 21, 3)
    elbow, wrist = (np.abs(turned[:, SMPLX55.index(f"left_{n}") - 1, 0]).mean() for n in ("elbow", "wrist"))
    assert elbow > 0.5 and elbow > 3 * wrist


def test_a_palm_alone_turns_the_hand_and_leaves_the_fingers(model, people):
    rig, body, truth = people
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


def test_what_is_unsure_or_seen_once_or_elsewhere_changes_nothing(model, people):
    rig, body, truth = people
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


def test_an_unseen_hand_comes_to_rest(model, people):
    rig, body, truth = people
    good = seen(model, rig, truth)
    scores = good.scores.copy()
    scores[8:] = 0
    found, counts = fit_extremities(model, rig, body, replace(good, scores=scores), OPTIONS)
    assert counts["left_hand"] == 8
    assert np.abs(found.left_hand_pose[-1] - body.left_hand_pose[-1]).max() < 0.25
    assert articulation_mm(model, found, truth, "left_")[:8].mean() < 8


def test_points_follow_the_instances_that_association_chose():
    rng = np.random.default_rng(0)
    frames = np.arange(3)

    def camera(joint_set) -> Detections:
        keypoints = rng.uniform(size=(6, len(joint_set), 2)).astype(np.float32)
        return Detections(
            joint_set.name, frames, np.array([0, 2, 4, 6]), keypoints, np.full(keypoints.shape[:2], 0.7, np.float32),
            np.zeros((6, 4), np.float32), np.ones(6, np.float32), np.full(6, -1, np.int32),
        )  # fmt: skip

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
