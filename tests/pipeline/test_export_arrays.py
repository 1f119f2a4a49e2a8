"""skeletons.npz and bodies.npz as the outputs contract has them."""

import io
from dataclasses import replace

import numpy as np
import pytest

from pipeline.association.tracks import Tracks
from pipeline.export.bodies import body_arrays, posable
from pipeline.export.people import merged_tracks, npz_bytes
from pipeline.export.skeletons import skeleton_arrays
from pipeline.skeletons import SKEL19
from tests.pipeline.small_body import moving_body


def person(person_id: int, frames, cameras: int = 3) -> Tracks:
    """A track of a figure that walks along x, seen completely; joints carry their person and frame in them."""
    frames = np.asarray(frames, np.int64)
    rng = np.random.default_rng(7)
    shape = rng.normal(size=(19, 3)) * 0.3 + (0, 0, 1)
    joints = (shape + np.stack([0.02 * frames, person_id + 0 * frames, 0 * frames], -1)[:, None])[:, None]
    per_camera = (len(frames), 1, cameras, 19)
    return Tracks(
        frames,
        np.array([person_id], np.int32),
        joints.astype(np.float32),
        np.full((len(frames), 1, 19), 0.9, np.float32),
        np.full((*per_camera, 2), 100.0, np.float32),
        np.full(per_camera, 0.8, np.float32),
        np.full(per_camera, 2.0, np.float32),
        np.zeros(per_camera[:3], np.int32),
    )


def without(track: Tracks, frames, joints=range(19)) -> Tracks:
    places = np.ix_(np.isin(track.frames, frames), [0], list(joints))
    positions, confidence = track.joints.copy(), track.confidence.copy()
    positions[places], confidence[places] = np.nan, 0
    return replace(track, joints=positions, confidence=confidence)


def reload(arrays):
    with np.load(io.BytesIO(npz_bytes(arrays)), allow_pickle=False) as file:
        return dict(file)


def test_skeletons_as_the_contract_has_them():
    late = without(person(4, range(105, 121)), [110])
    arrays = reload(skeleton_arrays([late, person(0, range(100, 116))], fps=50.0))
    assert set(arrays) == {
        "frames", "time_s", "fps", "person_ids", "joints", "confidence", "joint_names", "joint_set"
    }  # fmt: skip
    np.testing.assert_array_equal(arrays["frames"], np.arange(100, 121))
    np.testing.assert_allclose(arrays["time_s"], np.arange(100, 121) / 50)
    assert arrays["fps"] == 50 and arrays["person_ids"].tolist() == [0, 4]
    assert arrays["joints"].shape == (21, 2, 19, 3) and arrays["joints"].dtype == np.float32
    assert arrays["joint_names"].tolist() == list(SKEL19.joints) and str(arrays["joint_set"]) == "SKEL-19"
    present = np.isfinite(arrays["joints"]).all((-1, -2))
    np.testing.assert_array_equal(present[:, 0], arrays["frames"] < 116)
    np.testing.assert_array_equal(present[:, 1], (arrays["frames"] >= 105) & (arrays["frames"] != 110))
    assert np.isnan(arrays["joints"][~present]).all() and not arrays["confidence"][~present].any()
    np.testing.assert_allclose(arrays["joints"][7, 1], late.joints[2, 0], atol=1e-6)


def test_joints_nobody_saw_come_from_the_body_and_say_so():
    track = without(person(0, range(10)), [3, 4], [15, 16])
    fitted = person(0, range(10)).joints[:, 0] + 0.01
    arrays = skeleton_arrays([track], 25, fitted={0: (np.arange(10), fitted)})
    np.testing.assert_allclose(arrays["joints"][3:5, 0, 15:17], fitted[3:5, 15:17], atol=1e-6)
    np.testing.assert_allclose(arrays["joints"][3:5, 0, :15], track.joints[3:5, 0, :15], atol=1e-6)
    assert not arrays["confidence"][3:5, 0, 15:17].any() and (arrays["confidence"][3:5, 0, :15] > 0).all()


def test_without_a_body_a_present_person_is_still_whole():
    arrays = skeleton_arrays([without(person(0, range(10)), range(4, 7), [11, 15])], 25)
    assert np.isfinite(arrays["joints"]).all()
    np.testing.assert_allclose(arrays["joints"], person(0, range(10)).joints, atol=0.01)
    assert not arrays["confidence"][4:7, 0, [11, 15]].any()


def test_a_body_over_a_gap_makes_the_person_present_there():
    arrays = skeleton_arrays(
        [without(person(0, range(10)), [5])], 25, fitted={0: (np.arange(5, 7), person(0, range(5, 7)).joints[:, 0])}
    )
    assert np.isfinite(arrays["joints"][5]).all() and not arrays["confidence"][5].any()


def test_bodies_of_people_nobody_tracked_are_skeletons_too():
    given = person(7, range(2, 6)).joints[:, 0]
    arrays = skeleton_arrays([], 25, frames=np.arange(8), fitted={7: (np.arange(2, 6), given)})
    assert arrays["person_ids"].tolist() == [7]
    np.testing.assert_allclose(arrays["joints"][2:6, 0], given, atol=1e-6)
    assert np.isnan(arrays["joints"][[0, 1, 6, 7]]).all() and not arrays["confidence"].any()
    both = skeleton_arrays([person(9, range(8))], 25, fitted={7: (np.arange(2, 6), given)})
    assert both["person_ids"].tolist() == [7, 9]
    assert both["confidence"][:, 1].all() and not both["confidence"][:, 0].any()


def test_nobody_at_all_is_an_empty_file():
    arrays = reload(skeleton_arrays([], 25, frames=np.arange(5)))
    assert arrays["joints"].shape == (5, 0, 19, 3) and arrays["confidence"].shape == (5, 0, 19)
    assert reload(body_arrays({}, 25, "open", frames=np.arange(5)))["body_pose"].shape == (5, 0, 63)


def test_merging_keeps_everything_of_everybody():
    a, b = person(3, range(8)), person(1, range(4, 12))
    merged = merged_tracks([a, b])
    assert merged.person_ids.tolist() == [1, 3] and merged.frames.tolist() == list(range(12))
    for name in Tracks.FIELDS[2:]:
        np.testing.assert_array_equal(getattr(merged, name)[:8, 1], getattr(a, name)[:, 0])
        np.testing.assert_array_equal(getattr(merged, name)[4:, 0], getattr(b, name)[:, 0])
    assert np.isnan(merged.joints[:4, 0]).all() and (merged.instances[:4, 0] == -1).all()
    with pytest.raises(ValueError, match="twice"):
        merged_tracks([a, a])


def test_bodies_as_the_contract_has_them():
    bodies = {2: moving_body(np.arange(100, 110), 0, absent=(103,)), 0: moving_body(np.arange(105, 115), 1)}
    arrays = reload(body_arrays(bodies, 60.0, "open"))
    widths = {
        "betas": (2, 10), "global_orient": (15, 2, 3), "body_pose": (15, 2, 63), "left_hand_pose": (15, 2, 45),
        "right_hand_pose": (15, 2, 45), "jaw_pose": (15, 2, 3), "expression": (15, 2, 10), "transl": (15, 2, 3),
        "valid": (15, 2), "fit_error_m": (15, 2),
    }  # fmt: skip
    assert {k: arrays[k].shape for k in widths} == widths
    assert arrays["person_ids"].tolist() == [0, 2] and str(arrays["model"]) == "open"
    assert arrays["valid"].dtype == bool and arrays["valid"].sum(0).tolist() == [10, 9]
    assert np.isnan(arrays["body_pose"][~arrays["valid"]]).all()
    np.testing.assert_array_equal(arrays["body_pose"][4, 1], bodies[2].body_pose[4])


def test_bridged_frames_keep_their_pose_but_are_not_valid():
    body = moving_body(np.arange(10), 0)
    body = replace(body, valid=np.arange(10) != 4)
    arrays = body_arrays({0: body}, 60.0, "open")
    assert not arrays["valid"][4, 0] and np.isfinite(arrays["body_pose"][4, 0]).all()
    assert posable(body).all() and not posable(replace(body, betas=np.full(10, np.nan))).any()


def test_objects_are_never_pickled():
    with pytest.raises(ValueError, match="objects: names"):
        npz_bytes({"names": np.array(["a", None], object)})
