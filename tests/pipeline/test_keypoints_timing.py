"""Images that are taken late: what is seen in them is put where it was at the frame's instant."""

from dataclasses import replace

import numpy as np
import pytest

from data.synthetic.walkers import detect, ring_rig, walk
from pipeline.association.graph import associate
from pipeline.keypoints.timing import on_session_clock

FPS, FRAMES, SUB = 25.0, 30, 20


def scene(late_frames):
    """A running person; camera k is late by ``late_frames[k]`` frames. Truth (F, 19, 3) at the session's instants."""
    fine = np.linspace(-2.5, 2.5, (FRAMES + 4) * SUB)
    joints = walk(np.column_stack([fine, np.zeros(len(fine))]), FPS * SUB)
    rig, rows = ring_rig(len(late_frames)), (np.arange(FRAMES) + 2) * SUB
    found = []
    for k, late in enumerate(late_frames):
        seen = detect(rig, joints[rows + round(late * SUB)][:, None], np.random.default_rng(0))[k]
        error = np.full(FRAMES, late / FPS, np.float32)
        found.append(replace(seen, tracks=np.zeros(len(seen.keypoints), np.int32), time_error_s=error))
    return rig, found, joints[rows]


def median_error(rig, found, truth):
    tracks = associate(rig, found)
    assert len(tracks.person_ids) == 1
    return 1000 * np.median(np.linalg.norm(tracks.joints[2:-2, 0] - truth[2:-2], axis=-1))


@pytest.mark.parametrize("tracked", [True, False])
def test_late_cameras_no_longer_pull_the_joints(tracked):
    rig, found, truth = scene([0.0, 0.4, -0.4, 0.45])
    if not tracked:
        found = [replace(d, tracks=np.full(len(d.tracks), -1, np.int32)) for d in found]
    moved = [on_session_clock(d, FPS) for d in found]
    exact = median_error(rig, scene([0.0] * 4)[1], truth)
    assert median_error(rig, found, truth) > exact + 8
    assert median_error(rig, moved, truth) < exact + 3


def test_projections_fall_on_the_instant():
    rig, found, truth = scene([0.3, 0.3])
    clear = detect(rig, truth[:, None], np.random.default_rng(0))
    gap_before, gap_after = (
        np.nanmedian(np.linalg.norm(d.keypoints - clear[0].keypoints, axis=-1))
        for d in (found[0], on_session_clock(found[0], FPS))
    )
    assert gap_after < 0.5 * gap_before


def test_what_is_in_step_or_not_followed_stays():
    _, found, _ = scene([0.0, 0.4])
    assert on_session_clock(found[0], FPS) is found[0]
    jumping = found[1].keypoints.copy()
    jumping[::2] += 5000
    still = on_session_clock(replace(found[1], keypoints=jumping), FPS).keypoints
    assert np.array_equal(still, jumping, equal_nan=True)
