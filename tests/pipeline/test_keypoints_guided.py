"""The second look: who is missing, where they should be, what is believed; and who is beside others."""

import numpy as np
import pytest

from data.synthetic.walkers import detect, ring_rig, walk
from pipeline.association.graph import associate
from pipeline.keypoints.detections import Detections
from pipeline.keypoints.detector import InstanceList
from pipeline.keypoints.guided import SAMPLED_EVERY, expected_people, look_again, look_beside
from pipeline.skeletons import BLAZEPOSE33, SKEL19

FRAMES = 20


class Knowing:
    """A detector that finds, in a crop, the person whose true joints lie in it, off by ``error`` pixels."""

    joint_set = "skel19"

    def __init__(self, truth, error=0.0):
        self.truth, self.error, self.frame = truth, error, 0

    def in_crops(self, image, boxes, keypoints=None):
        out = InstanceList("skel19", 19)
        out.start_frame(0)
        frame = int(image[0, 0, 0])
        for row, box in enumerate(boxes):
            centre = (box[:2] + box[2:]) / 2
            person = np.argmin(np.linalg.norm(self.truth[frame].mean(1) - centre, axis=-1))
            points = self.truth[frame, person] + self.error
            out.add(points, np.ones(19), box, 1.0, track=row)
        return out.finish()


@pytest.fixture
def scene():
    """Four cameras; camera 2 misses person 1 from frame 5 to 9. Truth is (F, P, 19, 2) pixels in that camera."""
    t = np.linspace(-1, 1, FRAMES)
    ways = [np.column_stack([t, np.full(FRAMES, 0.7)]), np.column_stack([-t, np.full(FRAMES, -0.7)])]
    joints = np.stack([walk(way, 30.0, phase=i) for i, way in enumerate(ways)], 1)
    rig = ring_rig(4)
    found = detect(rig, joints, np.random.default_rng(0))
    truth = rig.cameras[2].project(joints)
    found[2] = without(found[2], truth[:, 1], range(5, 10))
    return rig, found, truth, associate(rig, found)


def without(found, truth, frames):
    out = InstanceList(found.joint_set, 19)
    for f, number in enumerate(found.frames):
        out.start_frame(int(number))
        rows = found.instances(f)
        for i in range(rows.start, rows.stop):
            near = np.nanmedian(np.linalg.norm(found.keypoints[i] - truth[f], axis=-1)) < 15
            if not (near and f in frames):
                out.add(found.keypoints[i], found.scores[i], found.boxes[i], float(found.box_scores[i]))
    return out.finish()


def pictures():
    return [np.full((8, 8, 3), f, np.uint8) for f in range(FRAMES)]


def test_boxes_stand_where_a_camera_missed_somebody(scene):
    rig, _, truth, tracks = scene
    expected = expected_people(rig.cameras[2], 2, tracks)
    boxes, missing = expected.boxes, expected.missing
    assert np.isfinite(boxes[missing]).all()
    assert missing.sum(1)[5:10].tolist() == [1] * 5
    for f in range(5, 10):
        box = boxes[f, np.flatnonzero(missing[f])[0]]
        assert (truth[f, 1] > box[:2]).all() and (truth[f, 1] < box[2:]).all()
        assert (box[2:] - box[:2]).max() < 2 * np.ptp(truth[f, 1], axis=0).max()


def test_who_is_found_where_expected_is_added(scene):
    rig, found, truth, tracks = scene
    expected = expected_people(rig.cameras[2], 2, tracks)
    every, added = look_again(Knowing(truth), pictures(), found[2], expected)
    assert isinstance(every, Detections) and added >= 5
    again = associate(rig, [*found[:2], every, found[3]])
    assert (again.instances[5:10, :, 2] >= 0).all()
    assert np.array_equal(every.frames, found[2].frames)


def test_who_is_found_elsewhere_is_not_believed(scene):
    rig, found, truth, tracks = scene
    expected = expected_people(rig.cameras[2], 2, tracks)
    every, added = look_again(Knowing(truth, error=80.0), pictures(), found[2], expected)
    assert added == 0 and len(every.keypoints) == len(found[2].keypoints)


def test_the_detector_is_told_of_everybody_nearest_first(scene):
    rig, found, truth, tracks = scene
    expected = expected_people(rig.cameras[2], 2, tracks)
    told = []

    class Listening(Knowing):
        def in_crops(self, image, boxes, keypoints=None):
            told.append((int(image[0, 0, 0]), keypoints))
            return super().in_crops(image, boxes)

    look_again(Listening(truth), pictures(), found[2], expected)
    assert {5, 6, 7, 8, 9} <= {f for f, _ in told}
    for f, keypoints in told:
        nearest = np.argmin(expected.depth[f])
        hip = BLAZEPOSE33.index("left_hip")
        assert keypoints.shape == (2, 33, 2)
        assert np.allclose(keypoints[0, hip], expected.joints[f, nearest, SKEL19.index("left_hip")])


def test_who_is_there_already_is_not_added_twice(scene):
    rig, found, truth, tracks = scene
    expected = expected_people(rig.cameras[2], 2, tracks)
    once, _ = look_again(Knowing(truth), pictures(), found[2], expected)
    _, added = look_again(Knowing(truth), pictures(), once, expected)
    assert added == 0


class Parting:
    """Sees in some frames that the known person is two."""

    joint_set = "skel19"

    def __init__(self, hugs):
        self.hugs, self.looked = hugs, []

    def beside(self, image, keypoints):
        frame = int(image[0, 0, 0])
        self.looked.append(frame)
        out = InstanceList("skel19", 19)
        out.start_frame(0)
        if frame in self.hugs and len(keypoints):
            for k in range(2):
                out.add(np.full((19, 2), 100.0 + k), np.ones(19), np.zeros(4), 1.0, track=0)
        return out.finish()


def alone_in_the_picture(frames=40, without=()):
    out = InstanceList("skel19", 19)
    for f in range(frames):
        out.start_frame(f)
        if f not in without:
            out.add(np.full((19, 2), 50.0), np.ones(19), np.zeros(4), 1.0, track=3)
    return out.finish()


def beside(detector, found):
    return look_beside(detector, lambda f: np.full((8, 8, 3), f, np.uint8), found)


def test_nobody_beside_others_costs_a_look_now_and_then():
    detector, found = Parting(()), alone_in_the_picture()
    every, added = beside(detector, found)
    assert added == 0 and np.array_equal(every.keypoints, found.keypoints)
    assert detector.looked == list(range(0, 40, SAMPLED_EVERY))


def test_who_hugs_somebody_is_found_in_all_frames_about_a_sample():
    hugs = set(range(10, 30))
    every, added = beside(Parting(hugs), alone_in_the_picture(without=(12,)))
    assert added == len(hugs) - 1 and len(every.keypoints) == 39 + added
    counts = np.diff(every.offsets)
    assert all(counts[f] == (2 if f in hugs else 1) for f in range(40) if f != 12) and counts[12] == 0


def test_a_mixture_of_two_gives_way_to_both():
    every, added = beside(Parting({8}), alone_in_the_picture())
    assert added == 1 and every.keypoints[every.instances(8), 0, 0].tolist() == [100.0, 101.0]
    assert every.tracks[every.instances(7)].tolist() == [3]
