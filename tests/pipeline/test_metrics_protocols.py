"""The published protocols and the strict one on pictures whose scores are known, leniencies included."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.quality.metrics_protocols import (
    ROMP_JOINTS,
    PosePicture,
    mupots_pck,
    panoptic_crmh_mm,
    panoptic_romp_mm,
    strict,
    with_true_bones,
)
from pipeline.skeletons import H36M17, MPI17

ROOT = 0


def picture(joint_set=H36M17, people=2, seed=0, sequence=""):
    """People who stand two metres apart, found exactly."""
    g = np.random.default_rng(seed)
    joints = g.normal(0, 0.3, (people, len(joint_set), 3)) + np.array([0, 0, 6.0])
    joints[..., 0] += 2.0 * np.arange(people)[:, None]
    pixels = 500 * joints[..., :2] / joints[..., 2:] + 500
    boxes = np.concatenate([pixels.min(1), pixels.max(1)], -1)
    return PosePicture(joints.copy(), pixels.copy(), boxes.copy(), np.ones(people), joints, pixels, boxes,
                       np.zeros(people, bool), sequence)  # fmt: skip


def only(p, k):
    return replace(p, found=p.found[k], found_pixels=p.found_pixels[k], found_boxes=p.found_boxes[k],
                   scores=p.scores[k])  # fmt: skip


def off(p, metres, joint=None):
    found = p.found.copy()
    rows = np.arange(found.shape[1]) != ROOT if joint is None else [joint]
    found[:, rows] += np.array([0, metres, 0])
    return replace(p, found=found)


def test_crmh_lets_one_person_serve_two_and_skips_empty_pictures():
    p = picture()
    assert panoptic_crmh_mm([off(p, 0.05)]) == pytest.approx(50 * 16 / 17)
    same = replace(p, truth=p.truth[[0, 0]], truth_pixels=p.truth_pixels[[0, 0]], truth_boxes=p.truth_boxes[[0, 0]])
    assert panoptic_crmh_mm([only(same, [0])]) == pytest.approx(0, abs=1e-9)
    assert panoptic_crmh_mm([off(p, 0.05), only(p, [])]) == pytest.approx(50 * 16 / 17)
    hidden = replace(off(p, 0.05), truth=np.where(np.arange(17)[:, None] == 5, np.nan, p.truth))
    assert panoptic_crmh_mm([hidden]) == pytest.approx(50 * 15 / 17)
    assert np.isnan(panoptic_crmh_mm([only(p, [])]))


def test_romp_charges_misses_and_shifts_the_truth():
    p = picture()
    rows = [H36M17.index(j) for j in ROMP_JOINTS]
    assert len(rows) == 14 and len(set(rows)) == 14
    shift = np.where(np.isin(np.arange(17), rows[:-1])[:, None], np.array([0, 0.06, 0.03]), 0)
    exact = replace(p, found=p.found + shift)
    assert panoptic_romp_mm([exact]) == pytest.approx(0, abs=1e-6)
    assert panoptic_romp_mm([p]) == pytest.approx(1000 * np.hypot(0.06, 0.03) * 13 / 14)
    assert panoptic_romp_mm([only(exact, [1])]) == pytest.approx(75)
    assert panoptic_romp_mm([only(exact, [])]) == pytest.approx(150)
    exchanged = only(exact, [1, 0])
    assert panoptic_romp_mm([exchanged]) == pytest.approx(0, abs=1e-6)
    few = p.truth_pixels.copy()
    few[0, 4:] = np.nan
    assert panoptic_romp_mm([replace(only(exact, [1]), truth_pixels=few)]) == pytest.approx(0, abs=1e-6)


def test_mupots_counts_or_leaves_out_who_was_not_found():
    p = picture(MPI17, sequence="TS1")
    assert mupots_pck([p], False) == 100 and mupots_pck([only(p, [0])], False) == 50
    assert mupots_pck([only(p, [0])], True) == 100
    other = picture(MPI17, people=1, seed=1, sequence="TS2")
    assert mupots_pck([p, only(other, [])], False) == 50  # the mean of two sequences
    far = replace(p, found_pixels=p.found_pixels + np.array([0, 45]))
    assert mupots_pck([far], False) == 0 and np.isnan(mupots_pck([far], True))
    assert mupots_pck([replace(p, found_pixels=p.found_pixels + np.array([0, 39]))], False) == 100
    assert mupots_pck([replace(p, found=1.3 * p.found)], False) == 100  # size does not count


def test_mupots_judges_14_joints_by_150_mm():
    p = picture(MPI17, people=1, sequence="TS1")
    wrist = MPI17.index("right_wrist")
    bone = p.found[0, wrist] - p.found[0, wrist - 1]
    turned = p.found.copy()
    turned[0, wrist] = p.found[0, wrist - 1] - bone  # the other way round: twice the bone's length off
    assert mupots_pck([replace(p, found=turned)], False) == pytest.approx(100 * 13 / 14)
    moved = p.found[0] - p.found[0, 14]
    np.testing.assert_allclose(with_true_bones(2 * moved, moved), moved, atol=1e-12)


def test_strict_scores_use_everybody_once():
    p = picture(people=2)
    exact = strict([p], [ROOT])
    assert exact.mpjpe_mm == pytest.approx(0, abs=1e-9) and exact.pck150 == 100 and exact.recall == 1
    one = strict([off(only(p, [0]), 0.1)], [ROOT])
    error = 100 * 16 / 17
    assert one.mpjpe_mm == pytest.approx(error) and one.mpjpe_strict_mm == pytest.approx((error + 150) / 2)
    assert one.pck150 == pytest.approx(50) and one.pck150_matched == 100 and one.recall == 0.5
    twice = replace(only(p, [0, 0]))
    assert strict([twice], [ROOT]).recall == 0.5
    assert strict([off(p, 0.2)], [ROOT]).pck150 == pytest.approx(100 / 17)
    turn = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]])
    assert strict([replace(p, found=p.found @ turn.T)], [ROOT]).pa_mpjpe_mm == pytest.approx(0, abs=1e-6)
    ignored = replace(only(p, [0]), ignored=np.array([False, True]))
    assert strict([ignored], [ROOT]).recall == 1
    second = strict([only(p, [0])], [ROOT], chosen=lambda q: np.array([False, True]))
    assert second.recall == 0 and np.isnan(second.mpjpe_mm) and second.mpjpe_strict_mm == 150
    assert np.isnan(strict([], [ROOT]).recall)
