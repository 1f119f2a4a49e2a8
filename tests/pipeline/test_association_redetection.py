"""People missing in a view: where to look again, and what is found joins the detections."""

import numpy as np

from data.synthetic.association_scenes import CATEGORIES
from data.synthetic.walkers import Flaws, detect, ring_rig
from pipeline.association.evidence import view_coverage
from pipeline.association.graph import associate
from pipeline.association.options import AssociationOptions
from pipeline.association.redetection import wanted_crops, with_found
from pipeline.cameras import project
from pipeline.keypoints.detections import Detections


def test_a_blind_camera_is_asked_for_exactly_what_it_missed_and_then_covers_it():
    options = AssociationOptions(fps=25)
    rig, truth = ring_rig(4), CATEGORIES["clean"][0](40)
    flaws = Flaws(noise_px=1.0, missed=0.0, occlusion=False, blind=((2, 10, 30),))
    detections = detect(rig, truth, np.random.default_rng(0), flaws)
    tracks = associate(rig, detections, options)
    crops = wanted_crops(rig, tracks)
    assert set(crops.camera) == {2} and crops.frame.min() == 10 and crops.frame.max() == 29
    assert len(crops.frame) >= 55  # three people over twenty frames, a few of them half outside the picture

    pixels = project(rig.cameras[2].P, truth)  # (F, P, 19, 2): what a detector would find in the crops
    part = crops.of_camera(2, 10, 30)
    found = []
    for index in np.unique(part.frame):
        boxes = part.boxes[part.frame == index]
        centres = boxes.reshape(-1, 1, 2, 2).mean(2)
        who = np.abs(pixels[index][None] - centres[:, :, None]).mean((2, 3)).argmin(1)
        inside = (pixels[index, who] >= boxes[:, None, :2]) & (pixels[index, who] <= boxes[:, None, 2:])
        assert inside.all() and len(set(who)) == len(who)
        found.append((int(index), _one_frame(pixels[index, who], boxes)))
    counts = np.diff(detections[2].offsets)
    detections[2] = with_found(detections[2], found)
    assert np.array_equal(np.diff(detections[2].offsets), counts + np.bincount(part.frame, minlength=40))
    before, after = view_coverage(tracks), view_coverage(associate(rig, detections, options))
    assert (before[:, 2] < 0.6).all() and (after[:, 2] > 0.9).all()


def _one_frame(keypoints, boxes, score=1.0) -> Detections:
    """What a detector gives for crops: one instance a box."""
    n = len(keypoints)
    return Detections(
        "skel19", np.zeros(1, np.int64), np.array([0, n]), keypoints.astype(np.float32),
        np.full((n, 19), score, np.float32), boxes, np.full(n, score, np.float32), np.arange(n, dtype=np.int32),
    )  # fmt: skip


def test_nothing_is_wanted_where_everybody_is_seen_and_empty_crops_add_nothing():
    rig, truth = ring_rig(4, radius=7), CATEGORIES["clean"][0](20)
    detections = detect(rig, truth, np.random.default_rng(0), Flaws(missed=0.0, occlusion=False))
    assert len(wanted_crops(rig, associate(rig, detections, AssociationOptions(fps=25))).frame) == 0
    empty = _one_frame(np.full((1, 19, 2), np.nan), np.zeros((1, 4), np.float32), score=0.0)
    assert with_found(detections[0], [(3, empty)]) is detections[0]
    assert with_found(detections[0], []) is detections[0]
