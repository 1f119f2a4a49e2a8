"""Measures of joints, boxes and masks against answers worked out by hand."""

import numpy as np
import pytest

from pipeline.quality.metrics import (
    ImageBoxes,
    MaskFigures,
    auc,
    average_precision,
    boundary_error,
    box_ious,
    false_people,
    iou,
    limbs_right,
    match,
    mean_average_precision,
    mean_joint_distance,
    mpjpe_mm,
    pa_mpjpe_mm,
    pck,
    procrustes,
)

LIMBS = np.array([[0, 1], [1, 2]])


def person(generator, joints=15):
    return generator.normal(0, 0.4, (joints, 3))


def test_distances_of_joints():
    truth = person(np.random.default_rng(0))
    assert mpjpe_mm(truth + np.array([0.03, 0, 0.04]), truth) == pytest.approx(50)
    assert mpjpe_mm(truth + np.array([0.03, 0, 0.04]), truth, root=0) == pytest.approx(0, abs=1e-9)
    bent = truth.copy()
    bent[3] += [0, 0.15, 0]
    bent[4] = np.nan
    assert mpjpe_mm(bent, truth) == pytest.approx(150 / 14)
    assert mpjpe_mm(truth + np.array([0.1, 0, 0]), truth, root=(2, 3)) == pytest.approx(0, abs=1e-9)


def test_procrustes_undoes_turn_scale_and_shift_but_no_mirror():
    g = np.random.default_rng(1)
    truth = person(g)
    turn = np.linalg.qr(g.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = 1.7 * truth @ turn.T + [1, 2, 3]
    np.testing.assert_allclose(procrustes(moved, truth), truth, atol=1e-12)
    moved[2] = np.nan
    known = np.arange(15) != 2
    np.testing.assert_allclose(procrustes(moved, truth)[known], truth[known], atol=1e-12)
    assert pa_mpjpe_mm((truth * [-1, 1, 1])[None], truth[None]) > 50


def test_shares_of_right_joints():
    errors = np.array([[0.0, 0.1, 0.15, 0.151], [np.nan, 0.2, 0.05, 0.0]])
    assert pck(errors) == pytest.approx(100 * 5 / 8)
    assert auc(np.full(10, 0.075)) == pytest.approx(100 * 16 / 31)  # 0, 5 ... 150 mm: right from 75 on


def test_a_limb_is_right_if_its_ends_are_off_by_half_its_length_in_the_mean():
    truth = np.array([[0, 0, 0], [0, 0, 1.0], [0, 0, 1.4]])
    found = truth + np.array([[0.6, 0, 0], [0.39, 0, 0], [0, 0, 0.02]])
    assert limbs_right(found, truth, LIMBS).tolist() == [True, False]
    found[0] = np.nan
    assert limbs_right(found, truth, LIMBS).tolist() == [False, False]


def test_people_are_matched_with_the_least_total():
    truth = np.stack([np.zeros((4, 3)), np.ones((4, 3))])
    found = np.stack([np.full((4, 3), 0.9), np.full((4, 3), 0.45), np.full((4, 3), np.nan)])
    cost = mean_joint_distance(found, truth)
    assert cost[1, 0] == pytest.approx(0.1 * np.sqrt(3)) and np.isnan(cost[:, 2]).all()
    assert match(cost) == [(0, 1), (1, 0)]
    assert match(cost, most=0.5) == [(1, 0)]
    assert match(np.zeros((2, 0))) == []


def boxes(*rows):
    return np.array(rows, float).reshape(-1, 4)


def test_average_precision_worked_by_hand():
    """Right, wrong, right of two people: precision 1 up to half of them, 2/3 beyond."""
    truth = boxes([0, 0, 10, 10], [20, 0, 30, 10])
    found = boxes([0, 0, 10, 10], [50, 0, 60, 10], [20, 0, 30, 10])
    image = ImageBoxes(truth, found, np.array([0.9, 0.8, 0.7]))
    assert average_precision([image]) == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert false_people([image]) == 1 and false_people([image], least_score=0.85) == 0
    twice = ImageBoxes(truth[:1], found[[0, 0]], np.array([0.9, 0.8]))
    assert average_precision([twice]) == 1 and false_people([twice]) == 1
    nobody = ImageBoxes(truth, boxes(), np.zeros(0))
    assert average_precision([nobody]) == 0
    assert np.isnan(average_precision([ImageBoxes(boxes(), found, np.ones(3))]))


def test_average_precision_by_size_ignores_the_others():
    truth = boxes([0, 0, 10, 20], [50, 0, 90, 100])
    image = ImageBoxes(truth, boxes([50, 0, 90, 100], [0, 40, 10, 60]), np.array([0.9, 0.8]))
    assert average_precision([image], height_px=(0, 50)) == 0
    assert average_precision([image], height_px=(50, np.inf)) == 1
    crowd = ImageBoxes(truth, image.found, image.scores, np.array([True, False]))
    assert average_precision([crowd]) == 1
    within = ImageBoxes(boxes([0, 0, 500, 500], [600, 0, 640, 90]), boxes([600, 0, 640, 90], [10, 10, 30, 60]),
                        np.array([0.8, 0.9]), np.array([True, False]))  # fmt: skip
    assert average_precision([within]) == 1 and false_people([within]) == 0
    assert box_ious(boxes([0, 0, 2, 2]), boxes([1, 1, 3, 3]))[0, 0] == pytest.approx(1 / 7)


def test_mean_average_precision_falls_with_loose_boxes():
    image = ImageBoxes(boxes([0, 0, 100, 100]), boxes([0, 0, 100, 72]), np.ones(1))
    assert mean_average_precision([image]) == pytest.approx(0.5)  # right at 0.50 to 0.70, five of ten


def disc(radius, centre=(50, 50), size=(100, 100)):
    y, x = np.mgrid[: size[0], : size[1]]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def test_masks_that_overlap_by_a_third():
    a, b = np.zeros((10, 30), bool), np.zeros((10, 30), bool)
    a[:, :20], b[:, 10:] = True, True
    assert iou(a, b) == pytest.approx(1 / 3)
    assert np.isnan(iou(a & ~a, b & ~b)) and iou(a, b & ~b) == 0


def test_boundaries_of_discs_lie_apart_by_the_difference_of_radii():
    assert boundary_error(disc(30), disc(30)) == 0
    assert boundary_error(disc(30), disc(33)) == pytest.approx(3, abs=0.15)
    left = np.zeros((50, 60), bool)
    left[:, :20] = True
    right = np.zeros((50, 60), bool)
    right[:, :25] = True
    assert boundary_error(left, right) == pytest.approx(5)  # edges of the image do not count
    assert np.isnan(boundary_error(disc(30), disc(30) & False))


def test_label_images_tell_missed_people_from_swapped_ones():
    truth = np.zeros((20, 30), np.uint8)
    truth[:, :10], truth[:, 10:20] = 1, 2
    figures = MaskFigures()
    figures.add(truth, truth, [1, 2])
    assert figures.row() == {"iou": 1, "identity_swaps": 0, "boundary_px": 0, "masks": 2}
    exchanged = np.where(truth > 0, 3 - truth, 0).astype(np.uint8)
    figures.add(exchanged, truth, [1, 2])
    figures.add(np.where(truth == 1, 1, 0).astype(np.uint8), truth, [1, 2])
    assert figures.swaps == 2 and figures.iou == [1, 1, 0, 0, 1, 0]
