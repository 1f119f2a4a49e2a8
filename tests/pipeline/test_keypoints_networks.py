"""What is done around the two BlazePose networks, against known answers and against MediaPipe itself."""

import cv2
import numpy as np
import pytest

from data.model_files import blazepose_files
from pipeline.errors import InputError
from pipeline.keypoints.masks import Cover, covered, mask_in_box, paint_over, read_mask
from pipeline.keypoints.pose_detection import PoseDetection, anchor_centres, suppress
from pipeline.keypoints.pose_landmarks import PoseLandmarks, refine
from pipeline.keypoints.regions import Region, transform


@pytest.fixture(scope="module")
def networks():
    detector, landmarks = blazepose_files()
    return PoseDetection(detector), PoseLandmarks(landmarks)


@pytest.fixture(scope="module")
def portrait():
    """A photograph of a person that comes with scikit-image, on a larger canvas."""
    from skimage.data import astronaut

    canvas = np.full((640, 900, 3), 90, np.uint8)
    canvas[60:572, 200:712] = astronaut()
    return canvas


def test_anchors_are_those_of_the_network():
    centres = anchor_centres()
    assert centres.shape == (2254, 2)
    assert np.allclose(centres[:4], [[4, 4], [4, 4], [12, 4], [12, 4]])
    assert np.allclose(centres[28 * 28 * 2], [8, 8]) and np.allclose(centres[-1], [208, 208])


def test_a_region_stands_on_its_alignment_points():
    region = Region.from_alignment(np.array([100.0, 200.0]), np.array([100.0, 120.0]))
    assert region.angle == 0 and region.side == 200
    lying = Region.from_alignment(np.array([100.0, 200.0]), np.array([180.0, 200.0]))
    up = transform(lying.to_image(256), np.array([[128.0, 0.0]])) - lying.centre
    assert np.allclose(up, [[100, 0]])
    assert np.allclose(lying.corners().mean(0), lying.centre)


def test_suppression_averages_what_overlaps():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], float)
    points = boxes[:, None, :2] * np.ones((1, 4, 1))
    found = suppress(np.array([0.75, 0.25, 0.6]), boxes, points)
    assert np.allclose(found.scores, [0.75, 0.6])
    assert np.allclose(found.boxes, [[0.25, 0, 10.25, 10], [50, 50, 60, 60]])
    assert np.allclose(found.alignment[0], [0.25, 0])


def test_heat_maps_move_points_only_where_they_are_sure():
    heat = np.full((64, 64, 2), -20.0)
    heat[20, 30, 0] = heat[20, 31, 0] = 5.0
    heat[10, 10, 1] = -2.0  # probability 0.12
    points, peaks = refine(np.array([[118.0, 82.0], [44.0, 44.0]]), heat)
    assert np.allclose(points[0], [122.0, 80.0], atol=1e-3)
    assert np.allclose(points[1], [44.0, 44.0])
    assert peaks[0] > 0.99 and peaks[1] < 0.5


def test_points_outside_the_heat_map_stay():
    points, peaks = refine(np.array([[-3.0, 20.0], [np.nan, 5.0]]), np.full((64, 64, 2), 9.0))
    assert np.allclose(points[0], [-3, 20]) and peaks[0] == 0


def test_masks_come_back_where_they_were():
    region = Region(np.array([300.0, 260.0]), 380.0, 0.4)
    mask = np.zeros((256, 256), np.float32)
    cv2.circle(mask, (150, 120), 50, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 2)
    png, box = mask_in_box(mask, region, (640, 480))
    read = read_mask(png, box, (640, 480)).astype(float) / 255
    truth = cv2.warpAffine(mask, region.to_image(256), (640, 480), flags=cv2.INTER_LINEAR)
    both = ((read > 0.5) & (truth > 0.5)).sum() / ((read > 0.5) | (truth > 0.5)).sum()
    assert both > 0.97
    assert (np.array(box[:2]) >= 0).all() and (np.array(box[2:]) <= (640, 480)).all()


@pytest.mark.parametrize("centre", [(0.0, 0.0), (639.0, 479.0), (-900.0, 100.0)])
def test_masks_at_and_beyond_the_border_fit_the_image(centre):
    png, box = mask_in_box(np.ones((256, 256), np.float32), Region(np.array(centre), 200.0), (640, 480))
    assert read_mask(png, box, (640, 480)).shape == (480, 640)
    assert (box[:2] >= 0).all() and (box[2:] <= (640, 480)).all() and (box[2:] > box[:2]).all()


def test_an_empty_mask_is_one_black_pixel():
    png, box = mask_in_box(np.zeros((256, 256), np.float32), Region(np.array([50.0, 50.0]), 80.0), (100, 100))
    assert read_mask(png, box, (100, 100)).max() == 0


def test_who_is_painted_over_is_gone_and_nothing_else():
    window = Region(np.array([128.0, 128.0]), 256.0)
    image = np.full((256, 256, 3), 60, np.uint8)
    cv2.circle(image, (100, 128), 30, (250, 0, 0), -1)
    mask = np.zeros((256, 256), np.float32)
    cv2.circle(mask, (100, 128), 30, 1.0, -1)
    cover = Cover.of(mask, window)
    painted = paint_over(image.copy(), window, [cover])
    assert np.abs(painted.astype(int) - 60).max() < 12
    assert np.array_equal(painted[:, 150:], image[:, 150:])
    assert covered(np.array([[100.0, 128.0], [200.0, 128.0], [-50.0, 3.0]]), [cover]).tolist() == [True, False, False]
    front = np.zeros_like(mask)
    front[:, :100] = 1.0
    assert not covered(np.array([[90.0, 128.0]]), [cover.without(front, window)])[0]
    assert covered(np.array([[112.0, 128.0]]), [cover.without(front, window)])[0]


def test_landmarks_and_mask_equal_those_of_mediapipe(networks, portrait):
    import mediapipe

    detect, landmarks = networks
    height, width = portrait.shape[:2]
    with mediapipe.solutions.pose.Pose(static_image_mode=True, enable_segmentation=True) as pose:
        theirs = pose.process(portrait)
    found = detect.run(portrait, Region(np.array([width, height]) / 2, max(width, height)), 0.5)
    ours = landmarks.run(portrait, found.region(0))
    points = np.array([(p.x * width, p.y * height) for p in theirs.pose_landmarks.landmark])
    visibility = np.array([p.visibility for p in theirs.pose_landmarks.landmark])
    distance = np.linalg.norm(ours.points - points, axis=1)
    # A joint whose heat map is just as sure as the threshold may be refined by one and not by the other.
    assert np.median(distance) < 0.5 and np.mean(distance < 2.0) >= 0.9
    assert np.abs(ours.visibility - visibility).max() < 0.05
    mask = cv2.warpAffine(ours.mask, ours.region.to_image(256), (width, height), flags=cv2.INTER_LINEAR)
    assert np.abs(mask - theirs.segmentation_mask).mean() < 0.01


def test_landmarks_follow_the_image_when_it_turns(networks, portrait):
    _, landmarks = networks
    region = Region(np.array([430.0, 420.0]), 700.0)
    angle = 0.5
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0]])
    turn[:, 2] = region.centre - turn[:, :2] @ region.centre
    turned = cv2.warpAffine(portrait, turn, portrait.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    upright = landmarks.run(portrait, region)
    tilted = landmarks.run(turned, Region(region.centre, region.side, angle))
    seen = upright.visibility > 0.5
    off = np.linalg.norm(transform(turn, upright.points) - tilted.points, axis=1)[seen]
    assert np.median(off) < 0.01 * region.side


@pytest.mark.parametrize("content", [None, b"", b"not a network at all"])
def test_a_file_that_is_no_network_is_named(tmp_path, content):
    path = tmp_path / "wrong.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"wrong\.tflite"):
        PoseDetection(path)


def test_the_other_network_is_told_apart():
    detector, landmarks = blazepose_files()
    with pytest.raises(InputError, match="another network"):
        PoseLandmarks(detector)
    with pytest.raises(InputError, match="another network"):
        PoseDetection(landmarks)
