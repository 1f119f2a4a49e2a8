"""Images of cameras on their side: found upright, told as given."""

import cv2
import numpy as np
import pytest

from pipeline.keypoints.detector import InstanceList
from pipeline.keypoints.masks import read_mask
from pipeline.keypoints.upright import Upright, turn_points

UPRIGHT = (60, 90)  # width, height of the image in which people stand
BLOB = (20, 12, 29, 70)  # x0 y0 x1 y1 of the "person" there, inclusive; his head is the brightest row, at the top


class BlobDetector:
    """Finds the person of ``picture`` and refuses images in which the head is not at the top."""

    joint_set = "skel19"

    def run(self, frames, first_kept):
        out = InstanceList(self.joint_set, 19)
        for number, image in frames:
            if number >= first_kept:
                out.start_frame(number)
                self._add(out, image)
        return out.finish()

    def in_crops(self, image, boxes, keypoints=None):
        out = InstanceList(self.joint_set, 19)
        out.start_frame(0)
        for row, box in enumerate(boxes):
            whole = np.zeros_like(image)
            x0, y0, x1, y1 = np.round(box).astype(int)
            whole[y0 : y1 + 1, x0 : x1 + 1] = image[y0 : y1 + 1, x0 : x1 + 1]
            self._add(out, whole, row, None if keypoints is None else keypoints[row])
        return out.finish()

    def beside(self, image, keypoints):
        """Whom it sees, in the first joints; where the known one is, in the third."""
        return self.in_crops(image, np.array([[0, 0, image.shape[1], image.shape[0]]]), keypoints)

    def alone(self, image, hidden, keypoints):
        out = InstanceList(self.joint_set, 19)
        out.start_frame(0)
        self._add(out, np.where(hidden[..., None], 0, image).astype(np.uint8), 0, keypoints)
        return out.finish().keypoints[0], np.ones(19)

    def _add(self, out, image, row=0, guess=None):
        rows, columns = np.nonzero(image[..., 0] > 100)
        assert image[rows.min(), columns.min(), 0] == 255, "the person does not stand upright"
        box = np.array([columns.min(), rows.min(), columns.max(), rows.max()], float)
        points = np.full((19, 2), np.nan)
        points[0], points[1] = box[:2], box[2:]
        if guess is not None:
            points[2] = guess[0]
        mask = np.full((rows.max() - rows.min() + 1, columns.max() - columns.min() + 1), 200, np.uint8)
        mask[0] = 250
        png = cv2.imencode(".png", mask)[1].tobytes()
        out.add(points, np.ones(19), box, 0.9, row, png, np.array([*box[:2], *(box[2:] + 1)], np.int32))


def picture():
    image = np.zeros((UPRIGHT[1], UPRIGHT[0], 3), np.uint8)
    x0, y0, x1, y1 = BLOB
    image[y0 : y1 + 1, x0 : x1 + 1] = 150
    image[y0, x0 : x1 + 1] = 255
    return image


def pixel_of(image, point):
    return image[round(float(point[1])), round(float(point[0])), 0]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_person_on_his_side_is_found_and_told_where_he_is(turns):
    stored = np.ascontiguousarray(np.rot90(picture(), turns))  # `turns` clockwise turns set it upright
    size = stored.shape[1::-1]
    found = Upright(BlobDetector(), turns, size).run([(8, stored)], 8)
    assert found.frames.tolist() == [8]
    head, foot = found.keypoints[0, :2]
    assert pixel_of(stored, head) == 255 and pixel_of(stored, foot) == 150
    assert np.isnan(found.keypoints[0, 2:]).all()
    rows, columns = np.nonzero(stored[..., 0])
    assert found.boxes[0].tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
    mask = read_mask(found.masks[0], found.mask_boxes[0], size)
    assert np.array_equal(mask > 0, stored[..., 0] > 0)
    assert np.array_equal(mask == 250, stored[..., 0] == 255)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_crops_are_given_and_answered_in_the_image_as_it_is(turns):
    stored = np.ascontiguousarray(np.rot90(picture(), turns))
    size = stored.shape[1::-1]
    rows, columns = np.nonzero(stored[..., 0])
    box = np.array([[columns.min() - 2, rows.min() - 1, columns.max() + 1, rows.max() + 2]], float)
    guess = np.tile([3.0, 7.0], (1, 19, 1))
    found = Upright(BlobDetector(), turns, size).in_crops(stored, box, guess)
    assert pixel_of(stored, found.keypoints[0, 0]) == 255
    assert found.keypoints[0, 2].tolist() == [3.0, 7.0]
    assert found.tracks.tolist() == [0]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_people_beside_others_are_looked_for_in_the_upright_image(turns):
    stored = np.ascontiguousarray(np.rot90(picture(), turns))
    known = np.tile([3.0, 7.0], (1, 33, 1))
    found = Upright(BlobDetector(), turns, stored.shape[1::-1]).beside(stored, known)
    assert pixel_of(stored, found.keypoints[0, 0]) == 255 and pixel_of(stored, found.keypoints[0, 1]) == 150
    assert found.keypoints[0, 2].tolist() == [3.0, 7.0]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_what_is_painted_over_turns_with_the_image(turns):
    both = picture()
    both[80:86, 40:46] = 200  # somebody else
    stored = np.ascontiguousarray(np.rot90(both, turns))
    hidden = stored[..., 0] == 200
    guess = np.tile([3.0, 7.0], (33, 1))
    points, scores = Upright(BlobDetector(), turns, stored.shape[1::-1]).alone(stored, hidden, guess)
    assert pixel_of(stored, points[0]) == 255 and pixel_of(stored, points[1]) == 150
    assert points[2].tolist() == [3.0, 7.0] and (scores == 1).all()


def test_nobody_stays_nobody():
    class Blind(BlobDetector):
        def _add(self, *_):
            pass

    found = Upright(Blind(), 1, (90, 60)).run([(0, np.zeros((60, 90, 3), np.uint8))], 0)
    assert found.keypoints.shape == (0, 19, 2) and found.mask_boxes.shape == (0, 4)


def test_turned_points_are_those_of_the_turned_camera():
    from data.synthetic.walkers import ring_rig

    camera, point = ring_rig(4).cameras[1], np.array([[0.1, -0.2, 1.0]])
    for turns in range(4):
        pixel = turn_points(camera.project(point), turns, camera.size)
        assert np.allclose(pixel, camera.turned(turns).project(point))
