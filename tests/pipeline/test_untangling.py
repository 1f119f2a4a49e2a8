"""People who touch, looked at each alone: who needs it, what is believed, and that wrong bodies come right."""

from dataclasses import replace

import numpy as np
import pytest

from data.synthetic.walkers import ring_rig, walk
from pipeline.association.tracks import Tracks
from pipeline.body.fit import fit_track
from pipeline.body.options import FitOptions
from pipeline.body.regressor import regress, regressor_for, skel19_joints
from pipeline.cameras import Camera, Rig, project
from pipeline.keypoints.crops import agreed
from pipeline.segmentation.contest import plain_score
from pipeline.segmentation.segment import ViewInput
from pipeline.skeletons import BLAZEPOSE33, SKEL19, map_joints
from pipeline.untangling.looks import Looks, improved, wanted_looks
from pipeline.untangling.untangle import look_alone, untangle
from tests.pipeline.body_tracks import FPS, as_track, known_body, rig_around, seen_person

COLOURS = np.array([[120, 120, 120], [220, 60, 60], [60, 60, 220]], np.uint8)


def standing(*places):
    """(1, P, 19, 3) joints of people who stand there."""
    return np.stack([walk(np.array([place, place]), 30.0)[:1] for place in places], 1)


def test_only_people_with_too_few_clear_views_are_looked_at():
    rig = ring_rig(6)
    assert not wanted_looks(rig, standing((0.0, -1.2), (0.0, 1.2))).any()
    close = wanted_looks(rig, standing((0.0, -0.15), (0.0, 0.15)))
    assert close.any(2).all() and close.sum(2).min() >= 4
    beside = wanted_looks(rig, standing((0.0, -0.15), (0.0, 0.15), (1.8, 0.0)))
    assert beside[0, :2].any(1).all() and not beside[0, 2].any()
    nobody = np.concatenate([standing((0.0, 0.0)), np.full((1, 1, 19, 3), np.nan)], 1)
    assert not wanted_looks(rig, nobody).any()


def test_looks_take_the_place_of_what_their_views_showed(model):
    rig, track, _, joints = seen_person(model, "walking", seed=0, frames=8)
    true = project(rig.projections[None, :, None], joints[:, None])
    elbow, wrist = SKEL19.index("left_elbow"), SKEL19.index("left_wrist")
    wrong = replace(track, keypoints=track.keypoints.copy(), joints=track.joints.copy())
    wrong.keypoints[3, 0, :, [elbow, wrist]] += 150.0
    wrong.joints[3, 0, [elbow, wrist]] += 0.4
    looks = Looks.none(np.array([2, 3, 4]), [7, 0], len(rig))
    looks.looked[1, 1, :4] = True
    looks.keypoints[1, 1], looks.scores[1, 1] = true[3], 0.9
    looks.scores[1, 1, :, wrist] = 0.0  # hidden in all views that were looked at: two contradicting ones are left
    better = improved(wrong, [looks], rig)
    assert np.linalg.norm(better.joints[3, 0, elbow] - joints[3, elbow]) < 0.005
    assert better.confidence[3, 0, elbow] > 0.5
    assert np.array_equal(better.keypoints[3, 0, 4:], wrong.keypoints[3, 0, 4:])
    others = [0, 1, 2, 4, 5, 6, 7]
    assert all(np.array_equal(getattr(better, f)[others], getattr(wrong, f)[others]) for f in Tracks.FIELDS[2:])
    blind = replace(looks, looked=np.ones_like(looks.looked), scores=np.zeros_like(looks.scores))
    nothing = improved(wrong, [blind], rig)
    assert (nothing.confidence[3, 0] == 0).all() and np.array_equal(nothing.joints[3], wrong.joints[3])


def test_looks_that_disagree_count_for_less_and_sides_are_those_expected():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 200, (33, 2))
    looks = np.repeat(true[None], 5, 0)
    looks[:, 20] += rng.normal(scale=40, size=(5, 2))
    looks[2] = looks[2][BLAZEPOSE33.mirror]
    points, scores = agreed(looks, np.ones((5, 33)), 400.0, true, BLAZEPOSE33)
    sure = np.arange(33) != 20
    assert np.allclose(points[sure], true[sure], atol=1e-6) and np.allclose(scores[sure], 1.0)
    assert scores[20] < 0.2


class SeesWhoIsLeft:
    """Knows where everybody's joints are; gives those of whoever shows most once the hidden pixels are painted over,
    and where both show, their arms mixed up."""

    joint_set = "skel19"

    def __init__(self, true, labels):
        self.true, self.labels = true, labels  # (P, 19, 2), (H, W)

    def alone(self, image, hidden, keypoints):
        left = [((self.labels == k + 1) & ~hidden).sum() / (self.labels == k + 1).sum() for k in range(len(self.true))]
        best = int(np.argmax(left))
        points = self.true[best].copy()
        if min(left) > 0.5:
            points[ARMS] = self.true.mean(0)[ARMS]
        return points, np.full(19, 0.9)


ARMS = [SKEL19.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("elbow", "wrist")]


def hugging(model):
    """A rig of small pictures, two bodies 35 cm apart, their joints (2, 19, 3), pictures and labels."""
    from pipeline.raster_open3d import Open3DRaster

    large = rig_around(6)
    half = np.diag([0.25, 0.25, 1.0])
    rig = Rig(tuple(Camera(c.name, (320, 240), half @ c.K, c.R, c.t) for c in large.cameras))
    people = []
    for k, name in enumerate(("walking", "arms_crossed")):
        body = {f: v[:1] if f != "betas" else v for f, v in known_body(model, name, seed=k, frames=2).items()}
        where = regress(model, regressor_for(model), body)[0, SKEL19.index("mid_hip")]
        body["transl"] = body["transl"] + np.array([0.35 * k - where[0], -where[1], 0.0], np.float32)
        people.append(body)
    joints = np.stack([regress(model, regressor_for(model), body)[0] for body in people])
    meshes = [_vertices(model, body) for body in people]
    raster, pictures, every = Open3DRaster(1), [], []
    for camera in rig.cameras:
        depths = np.stack([raster.render(m, model.faces.numpy(), camera).depth for m in meshes])
        labels = np.where(np.isfinite(depths.min(0)), depths.argmin(0) + 1, 0)
        every.append(labels)
        pictures.append(COLOURS[labels])
    return rig, joints, pictures, every


def _vertices(model, body):
    import torch

    with torch.no_grad():
        values = {k: torch.as_tensor(np.atleast_2d(v)).float() for k, v in body.items()}
        return model(**values).vertices[0].numpy()


@pytest.fixture(scope="module")
def scene(model):
    return hugging(model)


def test_wrong_arms_of_people_who_hug_come_right(model, scene):
    from pipeline.raster_open3d import Open3DRaster

    rig, joints, pictures, labels = scene
    true = np.stack([rig.cameras[c].project(joints) for c in range(len(rig))], 1)  # (P, C, 19, 2)
    merged = true.copy()
    merged[:, :, ARMS] = true.mean(0)[:, ARMS]
    middle = joints.copy()
    middle[:, ARMS] = joints.mean(0)[ARMS]
    frames = np.zeros(6, int)
    options = FitOptions(fps=FPS)
    sure = np.full((1, len(rig), 19), 0.9)
    tracks = {k: replace(as_track(middle[None, k], merged[None, k], sure), person_ids=np.array([k])) for k in (0, 1)}

    def fit(track):
        many = replace(track.part(frames), frames=np.arange(6))
        return fit_track(model, rig, many, options).part(np.array([3]))

    views = [ViewInput(c, lambda row, k=k: pictures[k], None, np.zeros(1)) for k, c in enumerate(rig.cameras)]
    detectors = [SeesWhoIsLeft(true[:, c], labels[c]) for c in range(len(rig))]
    looks = untangle(model, rig, tracks, views, detectors, fit, Open3DRaster(1), plain_score)
    assert looks.looked.any(2).all()
    for k, track in tracks.items():
        before, after = (
            np.linalg.norm(skel19_joints(model, fit(t))[0, ARMS] - joints[k, ARMS], axis=-1).mean()
            for t in (track, improved(track, [looks], rig))
        )
        assert before > 0.10
        assert after < 0.03


def test_joints_under_others_count_for_nothing(scene):
    rig, joints, pictures, labels = scene
    camera = next(c for c in range(len(rig)) if _hidden(rig, joints, labels, c).any())
    true = rig.cameras[camera].project(joints)
    detector = SeesWhoIsLeft(true, labels[camera])
    points, scores = look_alone(detector, pictures[camera], labels[camera], 0, true[0])
    under = _hidden(rig, joints, labels, camera)
    assert (scores[under] == 0).all() and np.isnan(points[under]).all()
    assert (scores[~under] > 0.8).all()


def _hidden(rig, joints, labels, camera):
    """(19,) joints of the first person that lie on pixels of the second."""
    at = np.round(rig.cameras[camera].project(joints)[0]).astype(int)
    return labels[camera][at[:, 1], at[:, 0]] == 2


def test_hints_reach_the_detector_in_its_own_set(scene):
    rig, joints, pictures, labels = scene
    true = rig.cameras[0].project(joints)
    seen = {}

    class Recording(SeesWhoIsLeft):
        def alone(self, image, hidden, keypoints):
            seen["hidden"], seen["points"] = hidden, keypoints
            return super().alone(image, hidden, keypoints)

    look_alone(Recording(true, labels[0]), pictures[0], labels[0], 1, true[1])
    assert not (seen["hidden"] & (labels[0] == 2)).any() and seen["hidden"][labels[0] == 1].all()
    back, _ = map_joints(seen["points"], np.isfinite(seen["points"]).all(-1).astype(float), BLAZEPOSE33, SKEL19)
    known = np.isfinite(back).all(-1) & ~np.isin(SKEL19.joints, ("neck", "mid_hip"))  # means there, points here
    assert known.sum() >= 15 and np.allclose(back[known], true[1][known], atol=1e-6)
