"""summary.json: figures against a session whose errors are known, flags a lab acts on, JSON without NaN."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from pipeline.association.evidence import drifting_cameras
from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.cameras import Camera, Rig
from pipeline.keypoints.detections import Detections
from pipeline.quality.figures import (
    Residuals,
    camera_figures,
    person_figures,
    quality_tracks,
    worst_frames,
    worst_view,
)
from pipeline.quality.flags import all_flags
from pipeline.quality.overview import headline, most_fused, worst_looks
from pipeline.quality.summary import PartRecord, QualityTrack, Summary, plain, stage_figures, summary_json, verdict
from pipeline.synchronisation import Sync
from tests.pipeline.small_body import moving_body

FRAMES, FPS = np.arange(1000, 1120), 60.0


def looking_at_origin(name, angle):
    centre = np.array([4 * np.cos(angle), 4 * np.sin(angle), 1.5])
    z = np.array([0, 0, 1.0]) - centre
    z /= np.linalg.norm(z)
    x = np.cross(z, [0, 0, 1.0])
    R = np.stack([x / np.linalg.norm(x), np.cross(z, x / np.linalg.norm(x)), z])
    return Camera(name, (1088, 1920), [[1600, 0, 544], [0, 1600, 960], [0, 0, 1]], R, -R @ centre)


RIG = Rig([looking_at_origin(f"cam{i}", a) for i, a in enumerate((0, 1.4, 2.9, 4.5))])


def session(shift=None, absent=(), seed=5):
    """Two walkers, detected exactly but for ``shift`` (F, P, C, 2) pixels; (person, frame) pairs in ``absent``."""
    rng = np.random.default_rng(seed)
    shape = rng.uniform(-0.4, 0.4, (2, 19, 3)) + np.array([0, 0, 1.0])
    way = 0.5 * np.sin(np.arange(len(FRAMES)) / 40)[:, None] * [1, 0.5, 0]
    joints = shape[None] + way[:, None, None] * np.array([1, -1])[:, None, None] + [[[[0, 0.6, 0]], [[0, -0.6, 0]]]]
    for p, frame in absent:
        joints[frame - FRAMES[0], p] = np.nan
    pixels = np.stack([c.project(joints) for c in RIG.cameras], 2)
    if shift is not None:
        pixels = pixels + shift[:, :, :, None]
    seen = np.isfinite(pixels[..., 0])
    rows = np.where(seen.any(-1), np.arange(len(FRAMES) * 2).reshape(-1, 2, 1), -1).astype(np.int32)
    return Tracks(
        FRAMES, np.array([0, 3], np.int32), joints.astype(np.float32), seen.any(2).astype(np.float32),
        pixels.astype(np.float32), seen.astype(np.float32), np.full(seen.shape, np.nan, np.float32), rows,
    )  # fmt: skip


def detections(people_a_frame=2):
    n = len(FRAMES) * people_a_frame
    return Detections(
        "skel19", FRAMES, np.arange(len(FRAMES) + 1) * people_a_frame, np.full((n, 19, 2), np.nan, np.float32),
        np.zeros((n, 19), np.float32), np.zeros((n, 4), np.float32), np.ones(n, np.float32), np.full(n, -1, np.int32),
    )  # fmt: skip


def flags_for(tracks, bodies=None, stages=(), **camera_facts):
    residuals = Residuals(RIG, tracks)
    people = person_figures(residuals, bodies or {})
    cameras = camera_figures(RIG, residuals, **camera_facts)
    drifts = drifting_cameras(RIG, tracks, FPS)
    return all_flags(stages, people, cameras, frames=len(FRAMES), fps=FPS, tracks=tracks, drifts=drifts)


def test_a_faultless_session_has_no_flags_and_small_figures():
    tracks = session()
    assert flags_for(tracks, {0: moving_body(FRAMES), 3: moving_body(FRAMES, 1)}) == ()
    residuals = Residuals(RIG, tracks)
    for person in person_figures(residuals, {}):
        assert person.coverage == 1 and person.gaps == () and (person.first_frame, person.last_frame) == (1000, 1119)
        assert person.reprojection_median_px < 0.01 and person.leave_one_out_median_px < 0.01


def test_residuals_of_people_and_cameras_are_those_put_in():
    shift = np.zeros((len(FRAMES), 2, 4, 2))
    shift[:, 1, 2] = (3, 4)  # five pixels, for the second person in one camera
    residuals = Residuals(RIG, session(shift))
    people = person_figures(residuals, {})
    assert people[0].reprojection_p95_px < 0.01 and people[1].reprojection_p95_px == pytest.approx(5, abs=0.01)
    values = np.array([c.reprojection_median_px for c in camera_figures(RIG, residuals)])
    np.testing.assert_allclose(values[[0, 1, 3]], 0, atol=0.01)
    assert worst_view(residuals, 1010, 3) == "cam2"
    tracks = {(t.name, t.person, t.camera): t for t in quality_tracks(FRAMES, residuals, {}, 1920)}
    np.testing.assert_allclose(tracks["leave-one-out", None, "cam2"].values, 2.5, atol=0.2)  # median of 0 and 5
    assert (tracks["people found", None, None].values == 2).all()


def test_absence_and_bodies_are_counted():
    gone = [(1, f) for f in range(1040, 1060)] + [(1, 1100)] + [(0, 1119)]
    body = moving_body(FRAMES, absent=(1005, 1006))
    body = replace(body, reason=np.where(body.valid, 0, 3).astype(np.int8))
    body.fit_error_m[:50] = 0.1
    tracks = session(absent=gone)
    zero, three = person_figures(Residuals(RIG, tracks), {3: body}, {3: "Ana"})
    assert (zero.frames_present, zero.last_frame, zero.gaps, zero.body_frames) == (119, 1118, (), 0)
    assert three.gaps == ((1040, 1059), (1100, 1100)) and three.frames_present == 99 and three.name == "Ana"
    assert three.coverage == pytest.approx(99 / 120) and three.body_frames == 118
    assert three.fit_error_median_mm == pytest.approx(20) and three.fit_error_p95_mm == pytest.approx(100)
    assert three.invalid_frames == {BodyTrack.REASONS[3]: 2}


def test_cameras_tell_how_much_of_what_they_detected_was_used():
    residuals = Residuals(RIG, session())
    found = {"cam0": detections(2), "cam1": detections(4)}
    sync = Sync(RIG.names, np.array([0, 0.01, -0.02, 0]), np.array([1, 0.9, 0.8, 0.7]), np.zeros(4), "motion")
    a, b, c, _ = camera_figures(RIG, residuals, found, sync, {"cam0": 7})
    assert (a.detections_per_frame, a.assigned_share, a.frames_missing) == (2, 1, 7)
    assert (b.detections_per_frame, b.assigned_share, b.offset_s) == (4, 0.5, 0.01)
    assert (c.detections_per_frame, c.assigned_share, c.sync_confidence) == (None, None, 0.8)


@pytest.mark.parametrize(
    ("camera", "frames", "shift_px", "words"),
    [
        (2, slice(None), 60, r"Camera cam2 disagrees with the others"),
        (1, slice(50, 118), 40, r"Camera cam1 drifted from frame 10[3-7]\d to 11\d\d: what it sees lies"),
    ],
)
def test_a_camera_that_moved_is_named(camera, frames, shift_px, words):
    shift = np.zeros((len(FRAMES), 2, 4, 2))
    shift[frames, :, camera] = shift_px
    found = [f for f in flags_for(session(shift)) if re.match(words, f.text)]
    assert [(f.subject, f.severity) for f in found] == [(f"cam{camera}", "warning")] and found[0].remedy


def test_people_who_vanish_jump_or_pass_by_are_named():
    texts = {f.subject: f.text for f in flags_for(session(absent=[(1, f) for f in range(1030, 1100)]))}
    assert texts == {"person 3": "Person 3 is lost from frame 1030 to 1099 (1.2 s)."}
    texts = [f.text for f in flags_for(session(absent=[(1, f) for f in range(1008, 1120)]))]
    assert texts == ["Person 3 is there in 8 of 120 frames only."]
    swapped = session()
    for name in ("joints", "keypoints", "scores", "confidence"):
        array = getattr(swapped, name)
        array[60:] = array[60:, ::-1].copy()
    jumps = [f for f in flags_for(swapped) if "jumps" in f.text]
    assert [f.subject for f in jumps] == ["person 0", "person 3"] and jumps[0].first_frame == 1060
    assert "identities.yaml" in jumps[0].remedy


def test_bodies_off_their_joints_and_weak_cameras_are_named():
    body = moving_body(FRAMES)
    body.fit_error_m[:] = 0.09
    sync = Sync(RIG.names, np.zeros(4), np.array([1, 1, 1, 0.2]), np.zeros(4), "motion")
    tracks = session()
    tracks.keypoints[:, :, 3], tracks.scores[:, :, 3] = np.nan, 0
    found = flags_for(tracks, {0: body}, sync=sync, frames_missing={"cam1": 30})
    assert [(f.subject, f.text.split(":")[0]) for f in found] == [
        ("cam1", "Camera cam1 has no image for 30 of 120 frames."),
        ("cam3", "Camera cam3 could not be synchronised with confidence (20%)."),
        ("cam3", "Camera cam3 contributes little"),
        ("person 0", "Person 0's body lies 90 mm from the triangulated joints."),
    ]


def test_a_rig_that_fits_nothing_is_named_as_a_whole():
    shift = np.random.default_rng(0).normal(size=(1, 2, 4, 2)) * 60 * np.ones((len(FRAMES), 1, 1, 1))
    assert any(f.text.startswith("The cameras disagree with one another") for f in flags_for(session(shift)))


def test_states_of_stages_and_the_verdict():
    done = stage_figures("frames", "", [PartRecord("a", "done", 2.0, 100, "x"), PartRecord("b", "done", 3.0, 50, "y")])
    assert (done.state, done.seconds, done.longest_part_s, done.peak_memory_mb) == ("done", 5, 3, 100)
    assert done.hosts == ("x", "y")
    states = {
        "failed": ["done", "failed", "running"],
        "running": ["done", "running", "missing"],
        "incomplete": ["done", "stale"],
        "missing": ["missing", "stale"],
    }
    for state, parts in states.items():
        assert stage_figures("s", "", [PartRecord(str(i), p) for i, p in enumerate(parts)]).state == state
    assert stage_figures("s", "", None).state == "missing"
    lost = stage_figures("bodies", "", [PartRecord("person_1", "lost", error="its machine went away")])
    flags = all_flags([done, lost], [], [], frames=5, fps=60)
    assert flags[0].severity == "error" and "its machine went away." in flags[0].text
    assert verdict([done, lost], [], flags, 5, 4) == (
        "incomplete", "This session is incomplete: bodies failed. What there is: 0 people over 5 frames in 4 cameras."
    )  # fmt: skip
    assert verdict([done], [], [], 1, 1)[0] == "complete"
    tracked = stage_figures("association", "", [PartRecord("session", "done")])
    nobody = all_flags([done, tracked], [], [], frames=5, fps=60)
    assert verdict([done, tracked], [], nobody, 5, 4)[0] == "incomplete" and "Nobody was tracked" in nobody[0].text


def test_worst_frames_keep_their_distance():
    values = np.zeros(100)
    values[[10, 11, 12, 50]], values[90] = (9, 10, 9, 5), np.nan
    track = QualityTrack("fit error", "mm", values)
    assert worst_frames(np.arange(100) * 2, track, 2, apart=10) == [22, 100]
    assert worst_frames(np.arange(3), QualityTrack("x", "", np.full(3, np.nan))) == []


def test_the_worst_frames_come_with_the_view_that_shows_why_and_the_way_to_make_them_anew():
    shift = np.zeros((len(FRAMES), 2, 4, 2))
    shift[40, 1] = 20.0
    shift[40, 1, 2] = 90.0  # nothing else is as wrong as person 3 in cam2 at frame 1040
    residuals = Residuals(RIG, session(shift))
    body = moving_body(FRAMES)
    body.fit_error_m[70] = 0.5
    quality = quality_tracks(FRAMES, residuals, {0: body}, 1920)
    summary = Summary("s", "now", "complete", "", {}, {}, (), (), (), (), FRAMES, FPS, quality)
    looks = worst_looks(summary, residuals, 2)
    assert [(k.frame, k.person, k.stage) for k in looks] == [(1070, 0, "bodies"), (1040, 3, "keypoints")]
    assert looks[1].camera == "cam2" and "fit error 500.0 mm; 20.0 mm is usual" in looks[0].caption
    assert looks[0].command("a b.yaml") == "run_pipeline.py rerun 'a b.yaml' bodies --person 0"
    assert looks[1].command("x.yaml") == "run_pipeline.py rerun x.yaml keypoints --frames 1040:1041 --camera cam2"
    assert worst_looks(summary, None) == []
    assert most_fused(summary, residuals) == []
    moved = np.full(len(FRAMES), np.nan)
    moved[20:23] = 2, 9, 3
    fused = replace(summary, quality=(QualityTrack("fusion change", "mm", moved, person=3),))
    (look,) = most_fused(fused, residuals)
    assert look.command("x.yaml") == "run_pipeline.py rerun x.yaml fusion --frames 1021:1022 --person 3"
    assert "9.0 mm; 3.0 mm is usual" in look.caption


def test_the_headline():
    residuals = Residuals(RIG, session(absent=[(1, f) for f in (1030, 1031, 1118, 1119)]))
    figures = headline(4, len(FRAMES), residuals, {0: moving_body(FRAMES)})
    assert (figures["people"], figures["frames"], figures["cameras"]) == (2, 120, 4)
    assert figures["coverage_share"] == pytest.approx((120 + 116) / (120 + 118))  # who left is not lost
    assert figures["fit_error_median_mm"] == pytest.approx(20) and figures["reprojection_median_px"] < 0.01
    assert headline(4, 120, None, {}) == {"people": 0, "frames": 120, "cameras": 4}


def test_json_has_no_nan_and_keeps_every_figure():
    residuals = Residuals(RIG, session(absent=[(1, 1050)]))
    people, cameras = person_figures(residuals, {}), camera_figures(RIG, residuals)
    summary = Summary(
        "é <b>", "now", "complete", "fine", {"people": np.int64(2), "error_px": np.float32("nan")}, {"x_s": np.inf}, (),
        people, cameras, (), FRAMES, FPS, quality_tracks(FRAMES, residuals, {3: moving_body(FRAMES)}, 1920),
    )  # fmt: skip

    def refuse(token):
        raise AssertionError(token)

    content = json.loads(summary_json(summary), parse_constant=refuse)
    assert content["counts"] == {"people": 2, "error_px": None} and content["totals"] == {"x_s": None}
    assert content["session"] == "é <b>" and content["schema"] == "troupe-summary-1"
    assert content["people"][1]["gaps"] == [[1050, 1050]] and len(content["cameras"]) == 4
    reprojection = [q for q in content["quality"] if q["name"] == "reprojection" and q["person"] == 3]
    assert reprojection[0]["values"][50] is None and reprojection[0]["values"][51] is not None
    assert len(content["frames"]) == len(FRAMES)
    with pytest.raises(TypeError, match=r"no place in summary\.json"):
        plain({"a": object()})
