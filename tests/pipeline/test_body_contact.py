"""People in contact: what goes through something is found, pushed out, and nothing else is touched."""

from dataclasses import replace

import numpy as np
import torch

from data.synthetic.body_scenes import SETTINGS, body_scene
from pipeline.body.accuracy import body_errors
from pipeline.body.contact import contact_depths, people_near, refine_contacts
from pipeline.body.options import FitOptions
from pipeline.body.overlap import TOUCH_M, Watch
from pipeline.skeletons import SMPLX55

OPTIONS = FitOptions(fps=30.0)


def moved(body, by):
    return replace(body, transl=body.transl + np.float32(by))


def test_a_hand_in_the_trunk_is_found_and_a_bent_knee_is_not(model):
    watch = Watch(model)
    pose = torch.zeros(1, 21, 3)
    with torch.no_grad():
        assert not len(watch.within(model().vertices[0].double().numpy()).points)
        pose[0, SMPLX55.index("left_knee") - 1, 0] = 2.2
        bent = model(body_pose=pose.reshape(1, 63)).vertices[0].double().numpy()
        pose[0, SMPLX55.index("left_shoulder") - 1, 2] = -1.75  # past hanging: through the hip
        inside = model(body_pose=pose.reshape(1, 63)).vertices[0].double().numpy()
    assert not len(watch.within(bent).points)
    touches = watch.within(inside)
    assert len(touches.points) > 10
    assert touches.depths.max() > 0.02
    assert (inside[watch.vertices[touches.points], 0] > 0.0).all()  # those of the left arm


def test_how_deep_bodies_are_in_each_other_is_measured(model):
    (body,) = body_scene(model, "half_hidden", SETTINGS["six_cameras"], 0, frames=1).people
    apart = contact_depths(model, {0: body, 1: moved(body, [2.0, 0, 0])}, body.frames)
    assert apart[0].between.max() == apart[1].between.max() == 0
    same = contact_depths(model, {0: body, 1: moved(body, [0.0, 0, 0.04])}, body.frames)
    assert TOUCH_M < same[0].between.max() < 0.045
    assert people_near({0: body, 1: moved(body, [2.0, 0, 0])}) == [{0}, {1}]
    assert people_near({0: body, 1: moved(body, [0.5, 0, 0]), 5: moved(body, [1.0, 0, 0])}) == [{0, 1, 5}]


def test_people_who_go_through_each_other_are_parted(model):
    scene = body_scene(model, "hugging", SETTINGS["four_cameras_gaps"], 2, frames=34)
    apart = np.arange(8)
    facing = scene.people[1].transl - scene.people[0].transl
    facing = 0.05 * facing / np.linalg.norm(facing, axis=1, keepdims=True) * (np.arange(34) >= 27)[:, None]
    wrong = {0: moved(scene.people[0], facing), 1: moved(scene.people[1], -facing)}
    tracks = dict(enumerate(scene.tracks))
    found = refine_contacts(model, scene.rig, wrong, tracks, OPTIONS)
    frames = np.arange(28, 34, 3)
    before, after = (contact_depths(model, bodies, frames) for bodies in (wrong, found))
    for i in (0, 1):
        assert before[i].between.mean() > 0.02
        assert after[i].between.mean() < 0.4 * before[i].between.mean()
        truth = scene.people[i]
        assert body_errors(model, found[i], truth, 30.0).joint_mm < body_errors(model, wrong[i], truth, 30.0).joint_mm
        assert np.array_equal(found[i].transl[apart], wrong[i].transl[apart])  # far from contact: to the last bit
        assert np.array_equal(found[i].betas, wrong[i].betas)


def test_nobody_touching_comes_out_as_it_went_in(model):
    scene = body_scene(model, "walking", SETTINGS["six_cameras"], 1, frames=8)
    found = refine_contacts(model, scene.rig, dict(enumerate(scene.people)), dict(enumerate(scene.tracks)), OPTIONS)
    for name, values in scene.people[0].to_arrays().items():
        assert np.array_equal(getattr(found[0], name), values)
