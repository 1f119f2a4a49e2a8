"""The 4D association graph on synthetic captures with exact answers."""

from dataclasses import replace

import numpy as np
import pytest

from data.synthetic.association_scenes import CATEGORIES, make_scene
from data.synthetic.walkers import Flaws, detect, ring_rig, walk
from pipeline.association.evidence import coverage, drifting_cameras, seen_where_expected, summary, views_of
from pipeline.association.graph import associate
from pipeline.association.options import AssociationOptions
from pipeline.association.scoring import score_tracks
from pipeline.errors import InputError

OPTIONS = AssociationOptions(fps=25)


def _line(a, b, frames):
    s = np.linspace(0, 1, frames)[:, None]
    return np.asarray(a) * (1 - s) + np.asarray(b) * s


@pytest.mark.parametrize("bottom_up", [True, False])
@pytest.mark.parametrize("category", CATEGORIES)
def test_hard_scenes_are_solved(category, bottom_up):
    scene = make_scene(category, bottom_up, seed=1)
    tracks = associate(scene.rig, scene.detections, OPTIONS)
    score = score_tracks(tracks, scene.joints)
    assert len(tracks.person_ids) == scene.joints.shape[1]
    assert score["identity_switches"] == 0
    assert score["coverage"] >= 0.99 and score["ghosts"] <= 0.01
    assert score["pcp"] >= (99.5 if bottom_up else 98.5)
    assert score["mpjpe_mm"] < (15 if bottom_up else 25)


def test_present_people_are_whole_and_absent_ones_are_nan():
    scene = make_scene("missing_camera", seed=2)
    truth = scene.joints
    truth[:30, 1] = np.nan  # enters late
    truth[70:, 2] = np.nan  # leaves early
    detections = detect(scene.rig, truth, np.random.default_rng(0), CATEGORIES["missing_camera"][2], bottom_up=True)
    tracks = associate(scene.rig, detections, OPTIONS)
    finite = np.isfinite(tracks.joints).all((-1, -2))
    assert np.array_equal(finite, tracks.present)
    assert np.isnan(tracks.joints[~finite]).all() and (tracks.confidence[~finite] == 0).all()
    assert (views_of(tracks, 1)[tracks.present] >= 2).all()
    assert sorted(tracks.present.sum(0)) == [70, 70, 100]
    assert ((tracks.confidence >= 0) & (tracks.confidence <= 1)).all()
    assert list(tracks.person_ids) == [0, 1, 2] and tracks.joints.dtype == np.float32


def test_a_person_hidden_for_a_while_keeps_the_id():
    truth = np.stack([walk(_line((-2, 0), (2, 0), 120), 25), walk(_line((0, 2), (0, -2), 120), 25, 1.6)], 1)
    truth[50:70, 0] = np.nan
    rig = ring_rig(5)
    tracks = associate(rig, detect(rig, truth, np.random.default_rng(0), bottom_up=True), OPTIONS)
    score = score_tracks(tracks, truth)
    assert len(tracks.person_ids) == 2 and score["identity_switches"] == 0 and score["coverage"] > 0.98
    assert not tracks.present[52:68].all(1).any()  # nothing is made up while nobody sees him


def test_joint_sets_and_kinds_of_detectors_may_differ_between_cameras():
    truth = CATEGORIES["clean"][0](60)
    rig = ring_rig(6)
    rng = np.random.default_rng(5)
    top = detect(rig, truth, rng, Flaws(), ["coco17", "blazepose33", "body25", "skel19", "skel17", "skel15"])
    bottom = detect(
        rig, truth, rng, Flaws(), ["body25", "skel17", "skel15", "skel19", "body25", "skel19"], bottom_up=True
    )
    mixed = [t if k % 2 else b for k, (t, b) in enumerate(zip(top, bottom, strict=True))]
    for detections in (top, bottom, mixed):
        score = score_tracks(associate(rig, detections, OPTIONS), truth)
        assert score["pcp"] > 99 and score["identity_switches"] == 0 and score["ghosts"] == 0


@pytest.mark.parametrize(("cameras", "people"), [(2, 1), (3, 2), (12, 8)])
def test_from_two_cameras_to_twelve_and_one_person_to_eight(cameras, people):
    angles = np.arange(people) * 2.4
    truth = np.stack(
        [
            walk(_line((1.9 * np.cos(a), 1.9 * np.sin(a)), (1.2 * np.cos(a + 1), 1.2 * np.sin(a + 1)), 30), 25, 1.6, a)
            for a in angles
        ],
        1,
    )
    rig = ring_rig(cameras)
    if cameras == 2:  # not facing each other: rays along the line between cameras do not meet in a point
        rig = replace(ring_rig(5), cameras=ring_rig(5).cameras[:2])
    tracks = associate(rig, detect(rig, truth, np.random.default_rng(1), bottom_up=True), OPTIONS)
    score = score_tracks(tracks, truth)
    assert len(tracks.person_ids) == people
    assert score["pcp"] > 95 and score["identity_switches"] == 0 and score["ghosts"] == 0


def test_two_cameras_exchanged_are_found_and_make_no_ghosts():
    truth = CATEGORIES["clean"][0](100)
    rig = ring_rig(6)
    detections = detect(rig, truth, np.random.default_rng(1), bottom_up=True)
    detections[1], detections[2] = detections[2], detections[1]
    tracks = associate(rig, detections, OPTIONS)
    score = score_tracks(tracks, truth)
    assert score["pcp"] > 99 and score["ghosts"] == 0 and score["identity_switches"] == 0
    share = seen_where_expected(rig, tracks)
    assert (share[[1, 2]] < 0.5).all() and (share[[0, 3, 4, 5]] > 0.9).all()
    assert {finding["camera"] for finding in drifting_cameras(rig, tracks, 25)} <= {"cam02", "cam03"}


def test_a_bumped_camera_is_named_from_when_it_was_bumped():
    truth = CATEGORIES["clean"][0](100)
    rig = ring_rig(5)
    detections = detect(rig, truth, np.random.default_rng(1))
    moved = detections[3].keypoints.copy()
    moved[detections[3].offsets[60] :] += (18, -10)
    detections[3] = replace(detections[3], keypoints=moved)
    tracks = associate(rig, detections, OPTIONS)
    (finding,) = drifting_cameras(rig, tracks, 25)
    assert finding["camera"] == "cam04" and abs(finding["first"] - 60) <= 15 and finding["last"] == 99
    assert score_tracks(tracks, truth)["mpjpe_mm"] < 40
    healthy = detect(rig, truth, np.random.default_rng(1))
    assert drifting_cameras(rig, associate(rig, healthy, OPTIONS), 25) == []


def test_bystanders_outside_the_volume_are_left_out_and_max_people_caps():
    truth = CATEGORIES["clean"][0](60)
    rig = ring_rig(5)
    detections = detect(rig, truth, np.random.default_rng(1), bottom_up=True)
    inside = replace(OPTIONS, volume=((-5, -5, 0), (5, 0.8, 2)))
    tracks = associate(rig, detections, inside)
    assert len(tracks.person_ids) == 2 and score_tracks(tracks, truth[:, :2])["coverage"] == 1
    assert len(associate(rig, detections, replace(OPTIONS, max_people=2)).person_ids) == 2


def test_who_leaves_and_returns_keeps_the_id_when_the_number_of_people_is_known():
    truth = np.stack([walk(_line((-2, 0), (2, 0), 150), 25, 1.9), walk(_line((0, 2), (0.5, -2), 150), 25, 1.55)], 1)
    truth[40:110, 0] = np.nan
    rig = ring_rig(5)
    detections = detect(rig, truth, np.random.default_rng(0), bottom_up=True)
    assert len(associate(rig, detections, OPTIONS).person_ids) == 3  # away for 2.8 s: without knowing, a new person
    tracks = associate(rig, detections, replace(OPTIONS, max_people=2))
    score = score_tracks(tracks, truth)
    assert len(tracks.person_ids) == 2 and score["identity_switches"] == 0
    assert score["coverage"] > 0.98 and score["ghosts"] == 0


def test_evidence_agrees_with_the_noise_put_in():
    truth = CATEGORIES["clean"][0](60)
    rig = ring_rig(5)
    detections = detect(rig, truth, np.random.default_rng(1), Flaws(noise_px=2.0))
    told = summary(rig, associate(rig, detections, OPTIONS), detections)
    # The median length of a 2D error with a deviation of 2 px in each direction is 2.35 px.
    assert 2.0 < told["reprojection_median_px"] < 2.6
    assert 2.4 < told["leave_one_out_median_px"] < 4.0
    assert told["people"] == 3 and told["person_frames_under_two_views"] == 0
    assert all(p["coverage"] == 1 for p in told["persons"])


def test_nothing_to_associate_gives_nobody():
    truth = CATEGORIES["clean"][0](10)
    rig = ring_rig(3)
    empty = detect(rig, np.full_like(truth, np.nan), np.random.default_rng(0), bottom_up=True)
    for cameras, detections in ((rig, empty), (ring_rig(1), detect(ring_rig(1), truth, np.random.default_rng(0)))):
        tracks = associate(cameras, detections, OPTIONS)
        assert tracks.joints.shape == (10, 0, 19, 3) and coverage(tracks) == {}
        assert summary(cameras, tracks, detections)["reprojection_median_px"] is None
    some = detect(rig, truth, np.random.default_rng(0), Flaws(blind=tuple((c, 3, 5) for c in range(3))))
    assert not associate(rig, some, OPTIONS).present[3:5].any()


def test_not_a_number_and_negative_scores_are_no_observations():
    truth = CATEGORIES["clean"][0](40)
    rig = ring_rig(5)
    detections = detect(rig, truth, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    for k, d in enumerate(detections):
        keypoints, scores = d.keypoints.copy(), d.scores.copy()
        scores[rng.random(scores.shape) < 0.1] = (np.nan, -1.0, np.inf, -np.inf, np.nan)[k]
        keypoints[rng.random(scores.shape) < 0.1] = np.inf
        detections[k] = replace(d, keypoints=keypoints, scores=scores)
    score = score_tracks(associate(rig, detections, OPTIONS), truth)
    assert score["pcp"] > 99 and score["ghosts"] == 0


def test_detections_that_do_not_fit_are_named():
    truth = CATEGORIES["clean"][0](6)
    rig = ring_rig(3)
    detections = detect(rig, truth, np.random.default_rng(1), bottom_up=True)
    with pytest.raises(InputError, match=r"3: cam01, cam02, cam03"):
        associate(rig, detections[:2], OPTIONS)
    later = replace(detections[1], frames=detections[1].frames + 1)
    with pytest.raises(InputError, match=r"cam02.*frames differ"):
        associate(rig, [detections[0], later, detections[2]], OPTIONS)
    wrong = detections[2].candidates
    short = replace(
        wrong,
        affinities=wrong.affinities[:-1],
        affinity_offsets=np.minimum(wrong.affinity_offsets, len(wrong.affinities) - 1),
    )
    with pytest.raises(InputError, match=r"cam03.*affinity matrix .* entries for \d+ x \d+"):
        associate(rig, [*detections[:2], replace(detections[2], candidates=short)], OPTIONS)
    with pytest.raises(InputError, match="cam01"):
        associate(rig, [replace(detections[0], joint_set="coco17"), *detections[1:]], OPTIONS)


def test_progress_reaches_the_end_and_never_goes_back():
    scene = make_scene("clean", frames=12)
    told: list[float] = []
    associate(scene.rig, scene.detections, OPTIONS, progress=told.append)
    assert told == sorted(told) and told[0] > 0 and told[-1] == 1.0
