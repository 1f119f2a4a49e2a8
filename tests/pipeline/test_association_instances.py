"""People begun from whole instances: three who hold each other, one of them seen by half of the cameras."""

from dataclasses import replace

import numpy as np
import pytest

from data.synthetic.walkers import Flaws, detect, ring_rig, walk
from pipeline.association.graph import associate
from pipeline.association.instances import find_whole_people
from pipeline.association.observations import observe
from pipeline.association.options import AssociationOptions
from pipeline.skeletons import SKEL19

FRAMES, OPTIONS = 6, AssociationOptions(fps=25.0)
LEGS = np.array([any(part in j for part in ("hip", "knee", "ankle", "toe", "heel")) for j in SKEL19.joints])


def scene(seed):
    """Six cameras and three people side by side; joints (F, 3, 19, 3). The middle one is detected in cameras 0, 2 and
    3 alone, and in one of them the legs are named the wrong way round."""
    joints = np.stack([walk(np.tile([0.0, y], (FRAMES, 1)), 30.0) for y in (-0.5, 0.0, 0.5)], 1)
    rig = ring_rig(6)
    found = detect(rig, joints, np.random.default_rng(seed), Flaws(noise_px=3.0, missed=0.0, occlusion=False))
    turned = np.where(LEGS, SKEL19.mirror, np.arange(19))
    for c, camera in enumerate(rig.cameras):
        true = camera.project(joints[0, 1])
        near = np.nanmedian(np.linalg.norm(found[c].keypoints - true, axis=-1), axis=1) < 12
        if c == 2:
            points, scores = found[c].keypoints.copy(), found[c].scores.copy()
            points[near], scores[near] = points[near][:, turned], scores[near][:, turned]
            found[c] = replace(found[c], keypoints=points, scores=scores)
        elif c not in (0, 3):
            points = found[c].keypoints.copy()
            points[near] = np.nan
            found[c] = replace(found[c], keypoints=points)
    return rig, found, joints


@pytest.mark.parametrize("seed", [0, 1])
def test_who_is_seen_by_half_of_the_cameras_is_there(seed):
    rig, found, joints = scene(seed)
    tracks = associate(rig, found, OPTIONS)
    apart = np.linalg.norm(np.nanmean(tracks.joints[3], 1)[:, None] - joints[3].mean(1), axis=-1)
    assert apart.shape == (3, 3) and sorted(apart.argmin(1)) == [0, 1, 2] and apart.min(1).max() < 0.03


def test_legs_named_the_wrong_way_round_are_read_right():
    rig, found, joints = scene(0)
    seen = observe(rig, found, OPTIONS)
    people = find_whole_people(seen, 3, np.zeros(seen.valid.shape[1:], bool), OPTIONS)
    assert len(people) == 3
    chosen, middle = min(people, key=lambda found: np.linalg.norm(np.nanmean(found[1], 0) - joints[3, 1].mean(0)))
    for half in (LEGS, ~LEGS):  # which side is left is told by most views, later; but the two sides are not mixed
        ways = [np.linalg.norm(middle - joints[3, 1, side], axis=1) for side in (np.arange(19), SKEL19.mirror)]
        assert min(np.nanmax(way[half]) for way in ways) < 0.06
    assert (chosen[[1, 4, 5]] < 0).all() and (chosen[[0, 2, 3]] >= 0).any(1).all()


def test_two_views_begin_nobody():
    rig, found, _ = scene(0)
    two = [d if c in (0, 3) else replace(d, scores=np.zeros_like(d.scores)) for c, d in enumerate(found)]
    seen = observe(rig, two, OPTIONS)
    assert find_whole_people(seen, 3, np.zeros(seen.valid.shape[1:], bool), OPTIONS) == []
