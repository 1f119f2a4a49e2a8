"""The skeleton solved over a whole track: unseen joints, wrong rays, windows, triangulation."""

import numpy as np

from data.synthetic.walkers import ring_rig, walk
from pipeline.association.options import AssociationOptions
from pipeline.association.skeleton import BONES, MIRROR_BONE, PARENTS, TEMPLATE, bone_lengths, fill_joints, solve_track
from pipeline.association.triangulation import nearest_point, triangulate_robust
from pipeline.skeletons import SKEL19

OPTIONS = AssociationOptions(fps=25)


def _scene(frames=50, cameras=4):
    t = np.linspace(0, 1, frames)[:, None]
    joints = walk([-1.5, 0.3] + t * [3, 0], 25)
    rig = ring_rig(cameras)
    to = joints[:, None] - rig.centres[:, None]
    rays = to / np.linalg.norm(to, axis=-1, keepdims=True)
    return rig, joints, rays, np.ones(rays.shape[:-1])


def test_tables_fit_the_joint_set():
    assert [SKEL19.joints[PARENTS[SKEL19.index(j)]] for j in ("left_big_toe", "right_big_toe", "left_wrist")] == [
        "left_ankle", "right_ankle", "left_elbow",
    ]  # fmt: skip
    assert (np.arange(19) > PARENTS).all() and (MIRROR_BONE[MIRROR_BONE] == np.arange(len(BONES))).all()
    assert np.allclose(TEMPLATE * [1, -1, 1], TEMPLATE[SKEL19.mirror], atol=1e-9)


def test_rays_are_met_exactly_and_a_wrong_one_is_found():
    rig, joints, rays, weights = _scene()
    rays, weights = np.swapaxes(rays, 1, 2), np.swapaxes(weights, 1, 2)
    assert np.allclose(nearest_point(rig.centres, rays, weights), joints, atol=1e-6)
    wrong = rays.copy()
    wrong[:, :, 2] = rays[:, ::-1, 2]  # one camera takes other joints for these
    point, agrees = triangulate_robust(rig.centres, wrong, weights, 0.05)
    assert np.allclose(point, joints, atol=0.03)
    assert not agrees[:, [7, 13, 15], 2].any() and agrees[..., [0, 1, 3]].all()
    one_view = weights * (np.arange(4) == 0)
    assert np.isnan(triangulate_robust(rig.centres, rays, one_view, 0.05)[0]).all()


def test_hidden_joints_follow_from_motion_and_bones():
    rig, joints, rays, weights = _scene()
    lengths = bone_lengths(joints, np.ones(joints.shape[:2], bool))
    wrist, knee = SKEL19.index("left_wrist"), SKEL19.index("right_knee")
    weights[20:28, :, wrist] = 0  # seen by nobody for a third of a second
    weights[10:40, 1:, knee] = 0  # seen by one camera alone
    start = fill_joints(np.where((weights > 0).any(1)[..., None], joints, np.nan))
    solved = solve_track(rig.centres, rays, weights, start, lengths, OPTIONS, iterations=10)
    error = np.linalg.norm(solved - joints, axis=-1)
    assert error[20:28, wrist].max() < 0.08 and error[10:40, knee].max() < 0.05
    assert np.median(error) < 0.01


def test_a_joint_never_seen_is_put_where_it_usually_is():
    _, joints, _, _ = _scene()
    toes = [SKEL19.index("left_big_toe"), SKEL19.index("right_big_toe")]
    partly = joints.copy()
    partly[:, toes] = np.nan
    filled = fill_joints(partly)
    assert np.isfinite(filled).all()
    assert np.linalg.norm(filled[:, toes] - joints[:, toes], axis=-1).mean() < 0.15
    only_head = np.full_like(joints, np.nan)
    only_head[:, 4] = joints[:, 4]
    assert np.isfinite(fill_joints(only_head)).all()


def test_long_tracks_solved_in_windows_are_the_same():
    rig, joints, rays, weights = _scene(120)
    lengths = bone_lengths(joints, np.ones(joints.shape[:2], bool))
    noisy = joints + np.random.default_rng(0).normal(0, 0.02, joints.shape)
    whole = solve_track(rig.centres, rays, weights, noisy, lengths, OPTIONS)
    parts = solve_track(rig.centres, rays, weights, noisy, lengths, OPTIONS, window=40, overlap=10)
    assert np.abs(whole - parts).max() < 2e-3
