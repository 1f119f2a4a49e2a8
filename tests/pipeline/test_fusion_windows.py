"""Which frames meet in a window, and that chunks see the same as the whole."""

import numpy as np

from pipeline.fusion.fuse import REASONS, window_frame
from pipeline.fusion.windows import fuse_sequence, runs, windows
from tests.pipeline.fusion_ball import OPTIONS, ball, frame_of


def test_leaving_and_returning_makes_two_runs():
    present = np.array([1, 1, 1, 0, 0, 1, 1], bool)
    assert [r.tolist() for r in runs(np.arange(7), present)] == [[0, 1, 2], [5, 6]]
    plan = windows(np.arange(7), present, 3)
    assert {row: members.tolist() for row, (members, _) in plan.items()} == {
        0: [0, 1], 1: [0, 1, 2], 2: [1, 2], 5: [5, 6], 6: [5, 6],
    }  # fmt: skip
    assert all(members[centre] == row for row, (members, centre) in plan.items())


def test_missing_frame_numbers_end_a_run_unless_the_step_is_as_wide():
    frames = np.array([10, 12, 14, 18])
    assert [r.tolist() for r in runs(frames, np.ones(4, bool), step=2)] == [[0, 1, 2], [3]]
    assert len(runs(frames, np.ones(4, bool))) == 4
    assert runs(frames, np.zeros(4, bool)) == []


def test_a_wide_window_shrinks_at_the_ends():
    plan = windows(np.arange(6), np.ones(6, bool), 5)
    assert [len(plan[k][0]) for k in range(6)] == [3, 4, 5, 5, 4, 3]


def test_a_chunk_with_its_border_frames_is_the_same_as_the_whole_and_loads_each_once():
    loaded = []

    def load(row):
        loaded.append(row)
        return frame_of(row)

    present = np.ones(8, bool)
    whole = dict(fuse_sequence(np.arange(8), present, load, OPTIONS))
    assert loaded == list(range(8))
    loaded.clear()
    done = []
    part = dict(fuse_sequence(np.arange(8), present, load, OPTIONS, wanted=[3, 4], progress=done.append))
    assert loaded == [1, 2, 3, 4, 5, 6] and list(part) == [3, 4] and done == [0.5, 1.0]
    for row in part:
        np.testing.assert_array_equal(part[row].vertices, whole[row].vertices)
        np.testing.assert_array_equal(part[row].faces, whole[row].faces)


def test_an_invalid_body_in_between_is_passed_through_and_the_rest_goes_on():
    vertices, faces = ball()

    def load(row):
        good = frame_of(row, vertices, faces)
        return window_frame(good.surface, None, OPTIONS) if row == 1 else good

    fused = dict(fuse_sequence(np.arange(3), np.ones(3, bool), load, OPTIONS))
    assert [fused[k].valid for k in range(3)] == [True, False, True]
    assert [REASONS[r] for r in fused[0].frame_reasons] == ["", "invalid body", ""]
