"""Landmarks that lie off the joints: measured from known bodies, and allowed for in the fit."""

import numpy as np
import pytest

from nets.body import BodyModel
from pipeline.body.fit import fit_track
from pipeline.body.landmarks import landmark_offsets, measure_offsets
from pipeline.body.options import FitOptions
from pipeline.body.parameters import BodyTrack
from pipeline.body.regressor import regress, regressor_for, skel19_joints
from pipeline.cameras import project, triangulate
from pipeline.skeletons import SKEL19
from tests.pipeline.body_tracks import FPS, as_track, known_body, rig_around

SETS = ("blazepose33", "body25", "coco17")


def detected_track(model: BodyModel, joint_set: str, frames: int = 40):
    """A walker seen by a detector whose landmarks lie where those of a joint set do; the true parameters and joints."""
    truth = known_body(model, "walking", 0, frames)
    regressor = regressor_for(model)
    landmarks = regress(model, regressor.with_offsets(landmark_offsets(joint_set)), truth).astype(np.float64)
    rig = rig_around(5)
    pixels = project(rig.projections[None, :, None], landmarks[:, None])
    pixels += np.random.default_rng(1).normal(scale=2, size=pixels.shape)
    scores = np.full(pixels.shape[:3], 0.9)
    seen = triangulate(rig.projections, pixels.swapaxes(1, 2), scores.swapaxes(1, 2))
    return rig, as_track(seen, pixels, scores), truth, regress(model, regressor, truth), seen


@pytest.mark.parametrize("joint_set", SETS)
def test_offsets_are_those_that_were_there(model, joint_set):
    _, track, truth, _, seen = detected_track(model, joint_set, 20)
    still = {name: np.zeros((len(seen), 0)) for name in BodyTrack.FIELDS}
    body = BodyTrack.from_arrays(still | {"frames": track.frames} | truth)
    found = measure_offsets(model, regressor_for(model), body, seen)
    assert np.abs(found - landmark_offsets(joint_set)).max() < 0.004


@pytest.mark.parametrize("joint_set", SETS)
def test_allowing_for_landmarks_finds_the_joints(model, joint_set):
    rig, track, _, joints, _ = detected_track(model, joint_set)
    error = {}
    for name in ("", joint_set):
        body = fit_track(model, rig, track, FitOptions(fps=FPS, landmarks=name))
        error[name] = np.linalg.norm(skel19_joints(model, body) - joints, axis=-1).mean()
    assert error[joint_set] < 0.008
    assert error[joint_set] < 0.6 * error[""]


def test_unmeasured_sets_have_none_and_sides_mirror():
    assert not landmark_offsets("h36m17").any()
    for joint_set in SETS:
        offsets = landmark_offsets(joint_set)
        assert np.allclose(offsets[SKEL19.mirror] * [-1, 1, 1], offsets)
