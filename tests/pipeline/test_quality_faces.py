"""Blurred faces: nothing of them is left, nothing else is touched, and they are found from whatever knows of them."""

import cv2
import numpy as np
import pytest

from pipeline.cameras import Camera
from pipeline.keypoints.detections import Detections
from pipeline.quality.faces import (
    RADIUS_M,
    Circle,
    blurred,
    circles,
    detected_circles,
    face_vertices,
    heads_of_joints,
)
from pipeline.skeletons import SKEL19

CAMERA = Camera("cam", (320, 240), [[250, 0, 160], [0, 250, 120], [0, 0, 1]], np.eye(3), [0, 0, 4])
IMAGE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def inside(circle, grow=0.0):
    row, column = np.mgrid[:240, :320]
    return (column - circle.x) ** 2 + (row - circle.y) ** 2 <= (circle.radius + grow) ** 2


CIRCLES = Circle(160, 100, 30), Circle(2, 3, 20.5), Circle(318, 239, 12), Circle(50, 50, 1.5)


@pytest.mark.parametrize("circle", CIRCLES)
def test_a_face_goes_and_the_rest_stays(circle):
    out = blurred(IMAGE, [circle])
    np.testing.assert_array_equal(out[~inside(circle)], IMAGE[~inside(circle)])
    assert (out[inside(circle)] != IMAGE[inside(circle)]).mean() > 0.9
    if circle.radius > 10:
        fine = out.astype(float) - cv2.GaussianBlur(out.astype(float), (0, 0), 2)
        assert fine[inside(circle, -6)].std() < 5 < 40 < fine[~inside(circle, 6)].std()


def test_different_faces_of_one_kind_come_out_alike():
    """The cells' means are all that is left of two faces that have nothing else in common."""
    circle = Circle(160, 100, 25)
    other = IMAGE.copy()
    for x0 in range(135, 185, 10):
        for y0 in range(75, 125, 10):
            cell = other[y0 : y0 + 10, x0 : x0 + 10]
            cell[:] = cell[::-1, ::-1]
    a, b = (blurred(image, [circle]).astype(int)[inside(circle)] for image in (IMAGE, other))
    assert np.abs(a - b).mean() < 12 < np.abs(IMAGE.astype(int) - other)[inside(circle)].mean()


def test_the_image_itself_is_never_changed_and_comes_back_where_there_is_no_face():
    before = IMAGE.copy()
    blurred(IMAGE, [Circle(100, 100, 20)])
    np.testing.assert_array_equal(IMAGE, before)
    assert blurred(IMAGE, []) is IMAGE and blurred(IMAGE, [Circle(-100, 0, 20), Circle(0, 400, 9)]) is IMAGE


def test_heads_are_where_cameras_see_them():
    joints = np.full((3, 19, 3), np.nan)
    joints[0, [SKEL19.index(n) for n in ("nose", "left_ear", "right_ear")]] = [(0, 0, -0.1), (0.1, 0, 0), (-0.1, 0, 0)]
    joints[1, SKEL19.index("left_ear")] = (0, 0, -10)  # behind the camera
    found = heads_of_joints(joints)
    np.testing.assert_allclose(found[0], (0, 0, -0.1 / 3))
    assert np.isnan(found[2]).all()
    (only,) = circles(CAMERA, found)
    assert (only.x, only.y) == (160, 120) and only.radius == pytest.approx(250 * RADIUS_M / (4 - 0.1 / 3))


def test_a_detected_face_is_covered_whoever_it_is():
    points = np.zeros((2, 19, 2), np.float32)
    scores = np.zeros((2, 19), np.float32)
    face = [SKEL19.index(n) for n in ("nose", "left_ear", "right_ear")]
    points[0, face], scores[0, face] = [(100, 60), (90, 58), (110, 58)], 0.9
    points[1, [face[0], 13]], scores[1, [face[0], 13]] = [(200, 50), (200, 210)], 0.9  # from the side: a nose, an ankle
    found = Detections("skel19", np.array([7]), np.array([0, 2]), points, scores, np.zeros((2, 4), np.float32),
                       np.ones(2, np.float32), np.full(2, -1, np.int32))  # fmt: skip
    first, second = detected_circles(found, 0)
    assert first.radius >= 25 and abs(first.x - 100) < 1
    assert second.radius >= 15 and (second.x, second.y) == (200, 50)


def test_the_open_models_face_is_in_its_head():
    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel

    model = BodyModel(load_body_arrays(open_body_model()))
    vertices = model.template.numpy()
    head = vertices[face_vertices(model)]
    nose = vertices[model.keypoint_vertices["nose"]]
    middle = head.mean(0)
    assert np.linalg.norm(nose - middle) < RADIUS_M - 0.01  # eyes, nose and mouth are within the ball
    eyes = vertices[[model.keypoint_vertices[n] for n in ("left_eye", "right_eye")]]
    assert np.linalg.norm(eyes - middle, axis=1).max() < RADIUS_M - 0.01
