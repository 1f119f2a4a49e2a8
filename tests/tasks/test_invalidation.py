"""What goes stale and what does not: one parameter, one input byte, one weight file, one upstream result."""

import json
import shutil

import pytest

from pipeline.artifacts import read_header
from pipeline.config import load_session
from tasks.graph import Graph
from tests.tasks.walkers_session import command, write_capture

UNTIL = ("--until", "identities")


def run(capture, *extra):
    done = command("run", capture / "session.yaml", *UNTIL, *extra)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def states(capture):
    """part -> state, of the stages before bodies."""
    table = json.loads(command("status", capture / "session.yaml", "--json").stdout)
    rows = {f"{s['stage']}/{r['part']}": r["state"] for s in table["stages"] for r in s["parts"]}
    return {k: v for k, v in rows.items() if not k.startswith(("bodies", "contact", "export", "overlays"))}


def stale(capture):
    return {k for k, v in states(capture).items() if v != "done"}


def headers(capture):
    return {p: read_header(p) for p in sorted((capture / "out" / "cache").glob("*/*.h5"))}


def edit(capture, before, after):
    path = capture / "session.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


BELOW_KEYPOINTS = {"draft/session", "refinement/session", "association/session", "identities/person_0",
                   "identities/person_1"}
KEYPOINTS = {f"keypoints/cam{c:02d}-{k:06d}" for c in (1, 2, 3, 4) for k in (0, 12)}
EVERYTHING = {"calibration/session", "timeline/session"} | KEYPOINTS | BELOW_KEYPOINTS


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "capture"
    write_capture(folder)
    run(folder)
    return folder


@pytest.fixture
def capture(finished, tmp_path):
    """A copy of the finished session; inputs keep their time stamps."""
    shutil.copytree(finished, tmp_path / "capture", copy_function=shutil.copy2)
    return tmp_path / "capture"


def test_a_finished_session_has_nothing_to_do(capture):
    assert set(states(capture)) == EVERYTHING and not stale(capture)
    before = headers(capture)
    assert "nothing to do" in run(capture).stdout
    assert headers(capture) == before


def test_moving_a_session_stales_nothing(capture, tmp_path):
    capture.rename(tmp_path / "elsewhere")
    assert not stale(tmp_path / "elsewhere")


def test_a_parameter_reaches_its_own_stage_and_what_is_below(capture):
    edit(capture, "keypoints:", "association: {max_ray_distance_m: 0.14}\nkeypoints:")
    assert stale(capture) == BELOW_KEYPOINTS
    before = headers(capture)
    run(capture)
    changed = {p.parent.name for p, h in headers(capture).items() if before[p].key != h.key}
    assert "association" in changed and not changed & {"calibration", "timeline", "keypoints"}


def test_settings_of_computing_and_reporting_stale_nothing(capture):
    edit(capture, "workers: 2", "workers: 1, timeout_s: 1000")
    edit(capture, "session: walkers", "session: walkers\nreport: {max_invalid_share: 0.5}")
    assert not stale(capture)


def test_a_field_set_to_its_default_stales_nothing(capture):
    edit(capture, "keypoints:", "association: {max_people: null, min_track_frames: 5}\nkeypoints:")
    assert not stale(capture)


def test_an_input_byte_reaches_its_camera_alone(capture):
    path = capture / "detections" / "cam02" / "cam02_000000000003_keypoints.json"
    path.write_text(path.read_text().replace('"version": 1.3', '"version": 1.4'))
    touched = {"keypoints/cam02-000000", "keypoints/cam02-000012"}
    assert stale(capture) == touched | BELOW_KEYPOINTS
    before = headers(capture)
    run(capture)
    after = headers(capture)
    assert not stale(capture)
    remade = {f"{p.parent.name}/{p.stem}" for p in before if before[p].key != after[p].key}
    # The byte meant nothing: the stages that read it were remade, came out equal, and nothing below was touched.
    assert remade == touched
    assert {p: h.content for p, h in before.items()} == {p: h.content for p, h in after.items()}


def test_a_changed_input_changes_what_is_below(capture):
    path = capture / "detections" / "cam02" / "cam02_000000000003_keypoints.json"
    people = json.loads(path.read_text())
    people["people"][0]["pose_keypoints_2d"][0] += 3
    path.write_text(json.dumps(people))
    before = headers(capture)
    run(capture)
    after = headers(capture)
    remade = {f"{p.parent.name}/{p.stem}" for p in before if before[p].content != after[p].content}
    assert {"keypoints/cam02-000000", "association/session"} <= remade
    assert not remade & {"calibration/session", "keypoints/cam01-000000", "keypoints/cam02-000012"}


def test_naming_a_person_remakes_nothing_of_another(capture):
    (capture / "identities.yaml").write_text("name: {1: Ben}\n")
    assert stale(capture) == {"identities/person_1"}
    run(capture)
    assert not stale(capture)
    (capture / "identities.yaml").write_text("name: {1: Ben}\ndrop: [0]\n")
    assert not stale(capture)
    assert set(states(capture)) == EVERYTHING - {"identities/person_0"}


def test_a_removed_artifact_is_remade_and_nothing_below(capture):
    path = capture / "out" / "cache" / "keypoints" / "cam01-000012.h5"
    before = headers(capture)
    path.unlink()
    run(capture)
    after = headers(capture)
    assert after[path].content == before[path].content
    assert {p: h.sha256 for p, h in after.items() if p != path} == {p: h.sha256 for p, h in before.items() if p != path}


def test_a_raised_revision_is_told_by_why(capture, monkeypatch):
    from dataclasses import replace

    from tasks import stages, why

    graph = Graph(load_session(capture / "session.yaml"))
    row = stages.STAGES["association"]
    monkeypatch.setitem(stages.STAGES, "association", replace(row, revision=row.revision + 1))
    assert why.text(graph, stages.STAGES["association"]) == (
        f"association/session: revision {row.revision} became {row.revision + 1}: the program computes it differently"
    )


def test_why_names_what_changed(capture):
    def why(stage):
        return command("why", capture / "session.yaml", stage).stdout

    assert why("association") == "association/session: current\n"
    edit(capture, "keypoints:", "association: {max_people: 2}\nkeypoints:")
    assert "configuration field association.max_people changed from its default to 2" in why("draft")
    assert "waits for association/session" in why("identities")
    path = capture / "calibration.toml"
    path.write_text(path.read_text() + "\n# a remark\n")
    assert "file calibration has other content" in why("calibration")
    (capture / "out" / "cache" / "keypoints" / "cam04-000000.h5").unlink()
    run(capture)
    assert "current" in why("keypoints")


def test_rerun_makes_the_selected_parts_again_and_nothing_that_stays_equal(capture):
    before = {p: p.stat().st_ino for p in headers(capture)}
    done = command("rerun", capture / "session.yaml", "keypoints", "--frames", "12:13", "--camera", "cam03")
    assert done.returncode == 0, done.stderr
    after = {p: p.stat().st_ino for p in headers(capture) if p in before}
    changed = {f"{p.parent.name}/{p.stem}" for p in after if after[p] != before[p]}
    assert changed == {"keypoints/cam03-000012"}


@pytest.mark.parametrize(
    ("stage", "option"),
    [("association", ("--frames", "0:5")), ("identities", ("--camera", "cam04")), ("keypoints", ("--person", "0"))],
)
def test_a_selector_that_a_stage_lacks_is_an_error(capture, stage, option):
    done = command("rerun", capture / "session.yaml", stage, *option)
    assert done.returncode == 2 and option[0] in done.stderr
    assert not stale(capture)


def test_clean_removes_only_what_is_asked(capture):
    listed = command("clean", capture / "session.yaml", "--stage", "association", "--dry-run")
    assert "would remove cache/association/session.h5" in listed.stdout and not stale(capture)
    edit(capture, "keypoints:", "association: {max_people: 2}\nkeypoints:")
    done = command("clean", capture / "session.yaml", "--stale")
    assert done.returncode == 0
    left = {f"{p.parent.name}/{p.stem}" for p in headers(capture)}
    assert left >= {k for k in EVERYTHING if k.startswith(("calibration", "timeline", "keypoints"))}
    assert "association/session" not in left
