"""Left and right over a track: a walking figure whose sides a detector swaps."""

import numpy as np
import pytest

from pipeline.keypoints.detector import InstanceList
from pipeline.keypoints.sides import settle_sides
from pipeline.skeletons import BLAZEPOSE33, COCO17, JointSet

FRAMES = 120


def figure(joints: JointSet, frames: int = FRAMES) -> np.ndarray:
    """(F, J, 2) pixels: a person facing the camera who walks sideways and swings his limbs."""
    rng = np.random.default_rng(0)
    heights = {"ankle": 400, "heel": 410, "toe": 415, "knee": 300, "hip": 200, "wrist": 200, "elbow": 150}
    points = np.zeros((frames, len(joints), 2))
    t = np.arange(frames)
    for j, name in enumerate(joints.joints):
        height = next((h for part, h in heights.items() if part in name), 100 if "shoulder" in name else 40)
        side = 1 if name.startswith("left") else -1 if name.startswith("right") else 0
        swing = 10 * np.sin(t / 8) * side if height > 140 else 0
        points[:, j, 0] = 300 + 2 * t + 45 * side
        points[:, j, 1] = 50 + height + swing
    return points + rng.normal(0, 1.5, points.shape)


def detections(points: np.ndarray, joints: JointSet, track: int = 0):
    out = InstanceList(joints.name, len(joints))
    for t, p in enumerate(points):
        out.start_frame(t)
        out.add(p, np.linspace(0.6, 1.0, len(joints)), np.zeros(4), 1.0, track)
    return out.finish()


def swapped(points, joints, frames, part=None):
    points = points.copy()
    which = [j for j in range(len(joints)) if part is None or any(p in joints.joints[j] for p in part)]
    for t in frames:
        points[t, which] = points[t, joints.mirror[which]]
    return points


@pytest.mark.parametrize("joints", [BLAZEPOSE33, COCO17], ids=lambda j: j.name)
@pytest.mark.parametrize("frames", [[10], [10, 11, 30, 32, 33], range(40, 85), range(30), range(90, 120)])
def test_swaps_of_the_whole_body_are_undone(joints, frames):
    true = figure(joints)
    settled = settle_sides(detections(swapped(true, joints, frames), joints))
    assert np.allclose(settled.keypoints, true, atol=1e-3)


def test_swaps_of_the_legs_alone_are_undone():
    true = figure(BLAZEPOSE33)
    legs = ("hip", "knee", "ankle", "heel", "toe")
    settled = settle_sides(detections(swapped(true, BLAZEPOSE33, range(50, 62), legs), BLAZEPOSE33))
    assert np.allclose(settled.keypoints, true, atol=1e-3)


def test_scores_go_with_their_joints():
    true = figure(BLAZEPOSE33)
    settled = settle_sides(detections(swapped(true, BLAZEPOSE33, [40]), BLAZEPOSE33))
    shown = np.linspace(0.6, 1.0, 33, dtype=np.float32)
    assert np.allclose(settled.scores[40], shown[BLAZEPOSE33.mirror]) and np.allclose(settled.scores[41], shown)


def test_what_was_right_stays():
    true = figure(BLAZEPOSE33)
    assert np.allclose(settle_sides(detections(true, BLAZEPOSE33)).keypoints, true, atol=1e-3)


def test_a_person_who_turns_round_keeps_his_sides():
    """Over twenty frames the sides pass each other: no swap, the body turned."""
    points = figure(BLAZEPOSE33)
    middle = points.mean(1, keepdims=True)
    turn = np.cos(np.clip((np.arange(FRAMES) - 50) / 20, 0, 1) * np.pi)
    points[..., 0] = middle[..., 0] + (points[..., 0] - middle[..., 0]) * turn[:, None]
    assert np.allclose(settle_sides(detections(points, BLAZEPOSE33)).keypoints, points, atol=1e-3)


def test_missing_joints_do_no_harm():
    true = figure(COCO17)
    true[20:25, 5:] = np.nan
    true[60] = np.nan
    settled = settle_sides(detections(swapped(true, COCO17, [40, 41]), COCO17))
    assert np.allclose(settled.keypoints, true, atol=1e-3, equal_nan=True)


def test_people_without_a_track_stay():
    points = swapped(figure(COCO17), COCO17, [40])
    assert np.allclose(settle_sides(detections(points, COCO17, track=-1)).keypoints, points, atol=1e-3)


def test_one_frame_and_none():
    assert len(settle_sides(detections(figure(COCO17, 1), COCO17)).keypoints) == 1
    assert len(settle_sides(detections(figure(COCO17, 0), COCO17)).keypoints) == 0
