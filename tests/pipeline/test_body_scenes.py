"""Bodies fitted in scenes with known bodies: the accuracy that captures with few cameras can count on."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.synthetic.body_scenes import SCENES, SETTINGS, body_scene
from pipeline.body.accuracy import body_errors
from pipeline.body.fit import fit_track
from pipeline.body.options import FitOptions
from pipeline.export.bodies import posed_vertices

LIMITS = {"six_cameras": (12, 18), "four_cameras_gaps": (20, 28)}
"""Most mean error of joints and of vertices, mm."""


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_known_bodies_are_found(model, name, setting):
    scene = body_scene(model, name, SETTINGS[setting], seed=3, frames=50)
    joint_mm, vertex_mm = LIMITS[setting]
    options = FitOptions(fps=scene.fps, floor=scene.floor)
    for truth, track in zip(scene.people, scene.tracks, strict=True):
        errors = body_errors(model, fit_track(model, scene.rig, track, options), truth, scene.fps)
        assert errors.joint_mm < joint_mm
        assert errors.vertex_mm < vertex_mm
        assert errors.swaps == 0
        assert errors.acceleration_m_s2 < 5  # noise of the triangulated joints alone: tens of m/s^2
        assert errors.valid_share > 0.9


@pytest.mark.parametrize("name", SCENES)
def test_people_of_scenes_stand_on_the_floor(model, name):
    for body in body_scene(model, name, SETTINGS["six_cameras"], seed=1, frames=40).people:
        lowest = posed_vertices(model, body, np.arange(0, 40, 8))[..., 2].min(1)
        assert np.abs(lowest).max() < 0.02


def test_errors_are_zero_for_the_truth_and_say_what_is_wrong(model):
    (truth,) = body_scene(model, "walking", SETTINGS["six_cameras"], seed=2, frames=20).people
    same = body_errors(model, truth, truth, 30.0)
    assert (same.joint_mm, same.vertex_mm, same.acceleration_m_s2, same.swaps) == (0, 0, 0, 0)
    moved = body_errors(model, replace(truth, transl=truth.transl + np.float32([0.03, 0, 0.04])), truth, 30.0)
    assert moved.joint_mm == pytest.approx(50, abs=0.1)
    assert moved.vertex_mm == pytest.approx(50, abs=0.1)
    about = Rotation.from_rotvec(truth.global_orient) * Rotation.from_rotvec([0, np.pi, 0])  # facing backwards
    turned = replace(truth, global_orient=about.as_rotvec().astype(np.float32))
    assert body_errors(model, turned, truth, 30.0).swaps > 50
