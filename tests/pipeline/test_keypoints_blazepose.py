"""Several people with BlazePose: cut-outs of a photograph that move past each other."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.model_files import blazepose_files
from pipeline.keypoints.blazepose import BlazePose
from pipeline.keypoints.detections import concatenate
from pipeline.keypoints.detector import InstanceList, without_flashes
from pipeline.keypoints.guided import look_beside
from pipeline.keypoints.masks import read_mask
from pipeline.keypoints.person_tracking import BlazePoseOptions, search_windows
from pipeline.skeletons import BLAZEPOSE33, SKEL19, map_joints

NOSE, SHOULDERS = 0, [11, 12]
FRAMES = 10
HUG = Path(__file__).parents[1] / "golden" / "hug.jpg"
_NOSE_IN_PHOTOGRAPH = np.array([228.0, 115.0]) / 512


@pytest.fixture(scope="module")
def photograph():
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture(scope="module")
def detector():
    return BlazePose(*blazepose_files())


def scene(photograph, t):
    """Frame t, and where the two noses are."""
    image = np.full((600, 1000, 3), 90, np.uint8)
    noses = []
    for x, y, side, mirrored in ((40 + 6 * t, 60, 420, False), (620 - 6 * t, 150, 330, True)):
        cut = cv2.resize(photograph, (side, side), interpolation=cv2.INTER_AREA)
        nose = _NOSE_IN_PHOTOGRAPH * side
        if mirrored:
            cut, nose[0] = cut[:, ::-1], side - 1 - nose[0]
        image[y : y + side, x : x + side] = cut[: 600 - y]
        noses.append(nose + np.array([x, y]))
    return image, np.array(noses)


@pytest.fixture(scope="module")
def followed(detector, photograph):
    return detector.run(((t, scene(photograph, t)[0]) for t in range(FRAMES)), 0)


def test_both_are_found_in_every_frame_where_they_are(followed, photograph):
    assert followed.frames.tolist() == list(range(FRAMES))
    tracks = []
    for t in range(FRAMES):
        rows = followed.instances(t)
        assert rows.stop - rows.start == 2
        found, true = followed.keypoints[rows, NOSE], scene(photograph, t)[1]
        nearest = np.linalg.norm(found[:, None] - true, axis=-1).argmin(0)
        assert np.linalg.norm(found[nearest] - true, axis=-1).max() < 15
        tracks.append(followed.tracks[rows][nearest].tolist())
    assert len({tuple(t) for t in tracks}) == 1
    assert followed.box_scores.min() > 0.4


def test_masks_lie_on_the_people(followed):
    for i in range(2):
        mask = read_mask(followed.masks[i], followed.mask_boxes[i], (1000, 600)) > 127
        chest = followed.keypoints[i, SHOULDERS].mean(0).round().astype(int)
        assert mask[chest[1], chest[0]] and not mask[580, 980]
        other = followed.keypoints[1 - i, SHOULDERS].mean(0).round().astype(int)
        assert not mask[other[1], other[0]]


def test_results_hardly_depend_on_where_chunks_begin(detector, followed, photograph):
    frames = [(t, scene(photograph, t)[0]) for t in range(FRAMES)]
    late = detector.run(frames[2:], 7)
    assert late.frames.tolist() == [7, 8, 9]
    for i, t in enumerate((7, 8, 9)):
        here, there = followed.keypoints[followed.instances(t)], late.keypoints[late.instances(i)]
        assert len(here) == len(there)
        off = np.linalg.norm(here[:, None][:, :, :13] - there[None][:, :, :13], axis=-1)
        assert np.median(off, -1).min(1).max() < 8
    whole = concatenate([followed.since(0), late])
    assert len(whole.frames) == FRAMES + 3


def test_nobody_is_found_where_nobody_is(detector):
    noise = np.random.default_rng(0).integers(0, 255, (3, 300, 400, 3), np.uint8)
    found = detector.run(((i, cv2.GaussianBlur(f, (0, 0), 5)) for i, f in enumerate(noise)), 0)
    assert len(found.keypoints) == 0 and found.offsets.tolist() == [0, 0, 0, 0]
    assert found.keypoints.shape == (0, 33, 2) and found.masks == ()


def test_no_frames_give_no_people(detector):
    found = detector.run([], 0)
    assert len(found.frames) == 0 and found.offsets.tolist() == [0]


def test_no_more_people_than_asked_for(photograph):
    one = BlazePose(*blazepose_files(), BlazePoseOptions(max_people=1))
    found = one.run([(0, scene(photograph, 0)[0])], 0)
    assert len(found.keypoints) == 1


def test_looking_again_finds_who_is_there_and_nobody_else(detector, followed, photograph):
    image = scene(photograph, 5)[0]
    rows = followed.instances(5)
    boxes = np.vstack([followed.boxes[rows], [[30, 480, 140, 590]]])
    again = detector.in_crops(image, boxes)
    assert again.tracks.tolist() == [0, 1, 2]
    off = np.linalg.norm(again.keypoints[:2, :13] - followed.keypoints[rows, :13], axis=-1)
    assert np.median(off, axis=1).max() < 12
    assert again.box_scores[:2].min() > 0.4 and again.box_scores[2] == 0
    assert np.isnan(again.keypoints[2]).all() and len(again.masks) == 3


def test_expected_joints_say_which_side_is_left(detector, followed, photograph):
    image = scene(photograph, 5)[0]
    rows = followed.instances(5)
    mirror = followed.joints.mirror
    expected = followed.keypoints[rows][:, mirror]
    again = detector.in_crops(image, followed.boxes[rows], expected)
    assert np.median(np.linalg.norm(again.keypoints - expected, axis=-1)[:, :13]) < 12


@pytest.mark.parametrize("size", [(640, 480), (480, 480), (1080, 1920), (2000, 300)])
def test_windows_cover_the_image(size):
    wide, close = search_windows(size)
    for windows in (wide, close):
        seen = np.zeros((size[1], size[0]), bool)
        for w in windows:
            low = np.maximum(np.floor(w.centre - w.side / 2), 0).astype(int)
            high = np.ceil(w.centre + w.side / 2).astype(int)
            seen[low[1] : high[1], low[0] : high[0]] = True
        assert seen.all()


def test_flashes_are_left_out_and_people_stay():
    out = InstanceList("coco17", 17)
    for t in range(6):
        out.start_frame(t)
        here = [0] + ([1] if t == 2 else []) + ([2] if t == 5 else [])
        for track in here:
            out.add(np.full((17, 2), float(track)), np.ones(17), np.zeros(4), 1.0, track)
    kept = without_flashes(out.finish())
    assert kept.tracks.tolist() == [0, 0, 0, 0, 0, 0, 2]
    assert kept.offsets.tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert (kept.keypoints[:, 0, 0] == kept.tracks).all()


HUGGING = np.array(
    [
        [(244, 194), (250, 106), (234, 193), (255, 194), (233, 74), (230, 107), (270, 104), (234, 264), (248, 267),
         (237, 72), (248, 70), (197, 126), (280, 133), (246, 333), (254, 340), (167, 141), (284, 93), (230, 356),
         (220, 348)],
        [(188, 196), (182, 103), (198, 196), (179, 195), (200, 72), (201, 101), (164, 105), (199, 269), (186, 264),
         (194, 66), (184, 68), (233, 137), (198, 113), (187, 345), (181, 338), (263, 93), (245, 111), (208, 346),
         (217, 354)],
    ],
    float,
)  # fmt: skip
"""Joints (2, 19, 2) of the two in the picture, pixels."""


def errors(found, row):
    """(instances, 2) median distance to each of the two, as a share of their height; whichever side is called left."""
    out = []
    for i in range(found.instances(row).start, found.instances(row).stop):
        points, scores = map_joints(found.keypoints[i], found.scores[i], BLAZEPOSE33, SKEL19)
        sure = scores > 0.3
        ways = [HUGGING, HUGGING[:, SKEL19.mirror]]
        out.append(np.min([np.median(np.linalg.norm(w - points, axis=-1)[:, sure], axis=1) for w in ways], axis=0))
    return np.array(out) / np.ptp(HUGGING[..., 1], axis=1)


def test_two_who_hug_are_parted(detector):
    image = cv2.imread(str(HUG))[..., ::-1].copy()
    found = detector.run(((t, image) for t in range(3)), 0)
    assert (errors(found, 1).min(0) < 0.05).sum() == 1  # the network makes one of them
    every, _ = look_beside(detector, lambda row: image, found)
    for row in range(3):
        assert (errors(every, row).min(0) < 0.05).all()


def test_nobody_is_beside_those_who_stand_alone(detector, followed, photograph):
    every, added = look_beside(detector, lambda row: scene(photograph, row)[0], followed)
    assert added == 0 and np.array_equal(every.keypoints, followed.keypoints)
