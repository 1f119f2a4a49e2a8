"""Frames of a fit that cannot be used say why: each threshold is crossed by a body of which that is known."""

from dataclasses import replace

import numpy as np
import pytest

from nets.body import BodyModel
from pipeline.body.fit import fit_track
from pipeline.body.floor import find_floor
from pipeline.body.kinematics import State
from pipeline.body.marking import mark_frames
from pipeline.body.observations import observe
from pipeline.body.options import FitOptions
from pipeline.body.parameters import BodyTrack
from pipeline.body.regressor import regress, regressor_for
from pipeline.body.rotations import exponential
from pipeline.cameras import project
from pipeline.skeletons import SKEL19, SMPLX55
from tests.pipeline.body_tracks import FPS, as_track, known_body, rig_around

FRAMES = 12


def marked(model: BodyModel, truth: dict, options: FitOptions | None = None, depth=None) -> list[str]:
    """Reasons of a body that is exactly what the cameras saw."""
    joints = regress(model, regressor_for(model), truth).astype(np.float64)
    rig = rig_around(4)
    pixels = project(rig.projections[None, :, None], joints[:, None])
    track = as_track(joints, pixels, np.full(pixels.shape[:3], 0.9))
    vectors = np.concatenate([truth["global_orient"], truth["body_pose"]], 1).reshape(-1, 22, 3).astype(np.float64)
    state = State(
        truth["transl"].astype(np.float64), exponential(vectors), truth["betas"].astype(np.float64), np.zeros(0)
    )
    body = mark_frames(model, track, state, observe(track, rig, FPS, 0.5), options or FitOptions(fps=FPS), depth)
    return [BodyTrack.REASONS[r] for r in body.reason]


@pytest.fixture
def walker(model):
    return known_body(model, "walking", 1, FRAMES)


def test_a_sound_body_is_valid(model, walker):
    assert marked(model, walker) == [""] * FRAMES


@pytest.mark.parametrize(("degrees", "word"), [(-20, ""), (-30, "joint beyond its range")])
def test_a_knee_that_bends_backwards(model, walker, degrees, word):
    """A knee's range ends at 5 degrees of overextension, and 20 beyond that are let through."""
    knee = 3 * (SMPLX55.index("left_knee") - 1)
    walker["body_pose"][4:6, knee : knee + 3] = [np.deg2rad(degrees), 0, 0]
    assert marked(model, walker) == [word if f in (4, 5) else "" for f in range(FRAMES)]


def test_feet_below_the_floor(model, walker):
    depth = np.zeros(FRAMES)
    depth[7:9] = [0.09, 0.11]
    assert marked(model, walker, depth=depth) == ["below the floor" if f == 8 else "" for f in range(FRAMES)]


def test_a_fit_below_a_given_floor_is_marked(model, walker):
    joints = regress(model, regressor_for(model), walker).astype(np.float64)
    rig = rig_around(4)
    pixels = project(rig.projections[None, :, None], joints[:, None])
    track = as_track(joints, pixels, np.full(pixels.shape[:3], 0.9))
    assert fit_track(model, rig, track, FitOptions(fps=FPS, floor=0.0)).valid.all()
    high = fit_track(model, rig, track, FitOptions(fps=FPS, floor=0.5))
    assert {BodyTrack.REASONS[r] for r in high.reason} == {"below the floor"}
    assert np.isnan(high.transl).all()  # nothing valid beside them to bridge from


def test_a_pelvis_faster_than_anybody(model, walker):
    walker["transl"][6:] += np.float32([12.6 / FPS, 0, 0])
    at = {5, 6}
    assert marked(model, walker) == ["implausible speed" if f in at else "" for f in range(FRAMES)]
    walker["transl"][6:] -= np.float32([2.0 / FPS, 0, 0])
    assert marked(model, walker) == [""] * FRAMES


def test_a_limb_that_one_view_alone_sees_is_in_doubt_among_others(model, walker):
    joints = regress(model, regressor_for(model), walker).astype(np.float64)
    rig = rig_around(4)
    pixels = project(rig.projections[None, :, None], joints[:, None])
    wrist, ear = SKEL19.index("left_wrist"), SKEL19.index("left_ear")
    scores = np.full(pixels.shape[:3], 0.9)
    scores[4:7, 1:, [wrist, ear]] = 0.0  # one view sees it
    pixels[8, 1:, wrist] += 120.0  # three see somebody else's, each elsewhere on it
    track = as_track(joints, pixels, scores)
    entangled = np.zeros(FRAMES, bool)
    entangled[[2, 4, 5, 8]] = True
    body = fit_track(model, rig, track, FitOptions(fps=FPS), entangled=entangled)
    doubt = [BodyTrack.REASONS[r].endswith("not seen in two views") for r in body.reason]
    assert np.flatnonzero(doubt).tolist() == [4, 5, 8]
    assert np.flatnonzero(~body.valid).tolist() == [4, 5, 8]
    assert body.usable.all() and np.isfinite(body.body_pose).all()  # the rest of the body stays
    assert fit_track(model, rig, track, FitOptions(fps=FPS)).valid.all()


def test_a_shape_that_nobody_has(model, walker):
    tall = replace(FitOptions(fps=FPS), stature_m=(0.9, 1.2))
    assert marked(model, walker, tall) == ["implausible shape"] * FRAMES
    walker["betas"][3] = 5.1
    assert marked(model, walker) == ["implausible shape"] * FRAMES


def test_a_room_of_two_levels_has_no_floor():
    rng = np.random.default_rng(0)
    heights = rng.normal(scale=0.005, size=(100, 2))
    rest = np.ones((100, 2), bool)
    assert find_floor(heights, rest) == pytest.approx(0, abs=0.005)
    steps = heights.copy()
    steps[90:] -= 0.3  # down from a stage for the last tenth
    assert find_floor(steps, rest) is None
