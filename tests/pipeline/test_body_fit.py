"""Whole-track fits of known bodies: accuracy against the truth, and honesty about tracks that cannot be fitted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.synthetic.walkers import detect, ring_rig, walk
from nets.body import BodyModel
from pipeline.association.graph import associate
from pipeline.body.anatomy import joint_ranges
from pipeline.body.fit import fit_track
from pipeline.body.observations import never_located
from pipeline.body.options import FitOptions
from pipeline.body.parameters import BodyTrack
from pipeline.body.regressor import skel19_joints
from pipeline.errors import InputError
from pipeline.skeletons import SKEL19
from tests.pipeline.body_tracks import FPS, MOTIONS, mirrored, seen_person, without

OPTIONS = FitOptions(fps=FPS)


def errors_mm(model: BodyModel, body: BodyTrack, truth: dict, joints: np.ndarray) -> tuple[np.ndarray, float]:
    """Distance of each joint (F, 19) and mean distance of vertices from the truth, in frames with parameters."""
    rows = np.flatnonzero(np.isfinite(body.transl[:, 0]))
    true = {k: torch.as_tensor(v[rows] if k != "betas" else v[None]).float() for k, v in truth.items()}
    found = {k: torch.as_tensor(getattr(body, k)[rows] if k != "betas" else body.betas[None]) for k in truth}
    with torch.no_grad():
        apart = (model(**true).vertices - model(**found).vertices).norm(dim=-1).mean()
    return 1e3 * np.linalg.norm(skel19_joints(model, body) - joints, axis=-1)[rows], 1e3 * float(apart)


def test_a_long_track_in_windows_is_the_same_body(model):
    rig, track, truth, joints = seen_person(model, "walking", seed=3, frames=120)
    whole = fit_track(model, rig, track, OPTIONS)
    cut = fit_track(model, rig, track, replace(OPTIONS, window_frames=40, overlap_frames=10))
    assert cut.valid.all()
    joint, vertex = errors_mm(model, cut, truth, joints)
    assert joint.mean() < 12
    assert vertex < 18
    assert np.linalg.norm(skel19_joints(model, cut) - skel19_joints(model, whole), axis=-1).mean() < 0.006
    steps = np.linalg.norm(np.diff(skel19_joints(model, cut) - skel19_joints(model, whole), axis=0), axis=-1)
    assert steps.max() < 0.01  # no jump where windows meet


def test_skeletons_without_keypoints_are_enough(model):
    rig, track, truth, joints = seen_person(model, "crouching", seed=4)
    track = replace(track, keypoints=track.keypoints[:, :, :0], scores=track.scores[:, :, :0])
    joint, vertex = errors_mm(model, fit_track(model, rig, track, OPTIONS), truth, joints)
    assert joint.mean() < 15
    assert vertex < 20


@pytest.mark.parametrize("name", MOTIONS)
def test_a_third_of_stray_keypoints_does_not_matter(model, name):
    rig, track, truth, joints = seen_person(model, name, seed=5, outliers=0.3)
    body = fit_track(model, rig, track, OPTIONS)
    joint, vertex = errors_mm(model, body, truth, joints)
    assert joint.mean() < 12
    assert vertex < 18


def test_left_and_right_are_set_right(model):
    rig, track, truth, joints = seen_person(model, "walking", seed=6)
    sides = SKEL19.index("left_hip"), SKEL19.index("right_hip")
    for frames in (slice(None), np.r_[10:14, 30, 45:60]):
        body = fit_track(model, rig, mirrored(track, frames), OPTIONS)
        joint, _ = errors_mm(model, body, truth, joints)
        assert joint.max() < 40
        assert body.valid.all()
    legs = [SKEL19.index(f"left_{j}") for j in ("hip", "knee", "ankle", "big_toe")]
    keypoints = track.keypoints.copy()
    keypoints[:, :, 1:3, legs] = track.keypoints[:, :, 1:3, SKEL19.mirror[legs]]
    keypoints[:, :, 1:3, SKEL19.mirror[legs]] = track.keypoints[:, :, 1:3, legs]
    joint, _ = errors_mm(model, fit_track(model, rig, replace(track, keypoints=keypoints), OPTIONS), truth, joints)
    assert joint[:, sides].max() < 40


def test_an_unseen_limb_hangs_as_limbs_do(model):
    rig, track, _, joints = seen_person(model, "walking", seed=7)
    arm = [SKEL19.index("left_elbow"), SKEL19.index("left_wrist")]
    body = fit_track(model, rig, without(track, joints=arm), OPTIONS)
    found = skel19_joints(model, body)
    assert body.valid.all()
    assert never_located(track) == []
    assert set(never_located(without(track, joints=arm))) == {"left_elbow", "left_wrist"}
    others = np.setdiff1d(np.arange(19), arm)
    assert np.linalg.norm(found - joints, axis=-1)[:, others].mean() < 0.012
    assert (found[:, arm[0], 2] < found[:, SKEL19.index("left_shoulder"), 2]).all()
    assert np.linalg.norm(np.diff(found[:, arm], axis=0), axis=-1).max() < 0.1


def test_short_gaps_are_bridged_and_marked_long_ones_left_out(model):
    rig, track, _, joints = seen_person(model, "walking", seed=8)
    body = fit_track(model, rig, without(track, frames=slice(20, 28)), OPTIONS)
    assert np.array_equal(np.flatnonzero(~body.valid), np.arange(20, 28))
    assert np.linalg.norm(skel19_joints(model, body) - joints, axis=-1)[20:28].mean() < 0.04
    body = fit_track(model, rig, without(track, frames=slice(20, 45)), OPTIONS)
    assert np.array_equal(np.flatnonzero(~body.valid), np.arange(20, 45))
    assert np.isnan(body.body_pose[20:45]).all()
    assert {BodyTrack.REASONS[r] for r in body.reason[20:45]} == {"absent"}
    none = fit_track(model, rig, without(track, frames=slice(20, 28)), replace(OPTIONS, max_gap_s=0.0))
    assert np.isnan(none.body_pose[20:28]).all() and none.valid[[19, 28]].all()


def test_one_camera_is_not_enough_for_long(model):
    rig, track, _, _ = seen_person(model, "walking", seed=9)
    body = fit_track(model, rig, without(without(track, cameras=slice(1, None)), cameras=slice(0, 0)), OPTIONS)
    assert not body.valid.any()
    assert {BodyTrack.REASONS[r] for r in body.reason} == {"too few joints"}
    assert np.isnan(body.transl).all()


def test_three_frames_are_fitted(model):
    rig, track, truth, joints = seen_person(model, "arms_crossed", seed=10, frames=3)
    body = fit_track(model, rig, track, OPTIONS)
    assert body.valid.all()
    assert errors_mm(model, body, truth, joints)[0].mean() < 12


def test_nothing_known_is_absent(model):
    rig, track, _, _ = seen_person(model, "walking", seed=11, frames=4)
    body = fit_track(model, rig, without(track), OPTIONS)
    assert {BodyTrack.REASONS[r] for r in body.reason} == {"absent"}
    assert not body.valid.any()


def test_millimetres_and_foreign_rigs_are_refused(model):
    rig, track, _, _ = seen_person(model, "walking", seed=12, frames=10)
    with pytest.raises(InputError, match="not in metres"):
        fit_track(model, rig, replace(track, joints=track.joints * 1000), OPTIONS)
    with pytest.raises(InputError, match="cameras"):
        fit_track(model, rig.subset(rig.names[:3]), track, OPTIONS)


def test_a_body_that_jumps_or_does_not_fit_is_marked(model):
    rig, track, _, _ = seen_person(model, "walking", seed=13)
    moved = track.joints.copy()
    moved[30:] += np.float32([3.0, 0, 0])
    blind = {"keypoints": track.keypoints[:, :, :0], "scores": track.scores[:, :, :0]}
    jumping = fit_track(model, rig, replace(track, joints=moved, **blind), OPTIONS)
    assert not jumping.valid[[29, 30]].any()
    rng = np.random.default_rng(0)
    wild = track.joints + rng.normal(scale=0.5, size=track.joints.shape).astype(np.float32)
    body = fit_track(model, rig, replace(track, joints=wild, **blind), OPTIONS)
    assert not body.valid.any()


def test_straight_legs_are_not_turned_about(model):
    """A knee that noise bends backwards once looks like a leg twisted by half a turn."""
    along = np.linspace(-1, 1, 16)
    ways = (np.column_stack([along, np.full(16, 0.5)]), np.column_stack([-along, np.full(16, -0.5)]))
    joints = np.stack([walk(way, FPS, phase=i) for i, way in enumerate(ways)], 1)
    rig = ring_rig(4)
    tracks = associate(rig, detect(rig, joints, np.random.default_rng(0), joint_set="body25"))
    for person in range(2):
        body = fit_track(model, rig, tracks.person(person), replace(OPTIONS, landmarks="body25"))
        assert body.valid.all()
        turned = joint_ranges().beyond(body.body_pose.reshape(-1, 21, 3))
        assert np.abs(turned).max() < 0.1


def test_the_same_track_gives_the_same_body(model):
    rig, track, _, _ = seen_person(model, "walking", seed=14, frames=20)
    first, second = (fit_track(model, rig, track, OPTIONS) for _ in range(2))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(
        first.to_arrays().values(), second.to_arrays().values(), strict=True
    ))  # fmt: skip


def test_stray_skeleton_joints_are_passed_over(model):
    rig, track, truth, joints = seen_person(model, "crouching", seed=15)
    rng = np.random.default_rng(1)
    seen = track.joints.copy()
    stray = rng.random(seen.shape[:3]) < 0.3
    seen[stray] += rng.normal(scale=0.4, size=(int(stray.sum()), 3)).astype(np.float32)
    for cameras in (0, 6):
        views = {"keypoints": track.keypoints[:, :, :cameras], "scores": track.scores[:, :, :cameras]}
        body = fit_track(model, rig, replace(track, joints=seen, **views), OPTIONS)
        assert body.valid.mean() > 0.9
        assert errors_mm(model, body, truth, joints)[0].mean() < (20 if cameras == 0 else 12)
