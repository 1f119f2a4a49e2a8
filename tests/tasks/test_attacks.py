"""What comes from others attacks: each is refused in words or does no harm, and nothing of it is run or followed.

HDF5 (links, foreign storage, forged sizes): tests/pipeline/test_artifacts.py. Checkpoints and npz with code inside:
tests/nets/test_checkpoints.py, tests/data/test_body_models.py. Videos that take too much memory or time, and decoders
that crash: tests/data/test_video.py. The report's policy: tests/pipeline/test_quality_report.py. Here is the rest.
"""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from data.body_models import load_body_arrays
from data.calibration.reader import read_calibration
from data.detections.reader import read_detections
from data.synthetic.walkers import ring_rig
from pipeline.artifacts import USER_BLOCK, Artifact, ArtifactWriter, DamagedArtifact, read_header
from pipeline.config import load_session
from pipeline.errors import InputError
from tasks.graph import Graph
from tasks.parts import Part
from tasks.records import Records, RunRecord
from tasks.report import Made  # what the report reads
from tests.tasks.stub_science import write_session
from tests.tasks.walkers_session import ROOT, command, write_capture

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
"""Nine to the twelfth words, were it written out."""

YAML = {
    "an object": "session: !!python/object/apply:os.system ['touch PWNED']\n",
    "a module": "session: !!python/module:subprocess\n",
    "a billion laughs": LAUGHS + "session: s\noutput: o\ncapture: *a11\n",
    "laughs for a name": LAUGHS + "session: *a11\noutput: o\n",
    "a deep hole": "session: " + "[" * 50_000,
    "a day that is none": "session: 2001-99-99\n",
    "a number without end": "session: " + "9" * 9000 + "\n",
    "a name with a way out": "session: ../../etc\noutput: o\ncapture: {calibration: c, videos: '{camera}.mp4'}\n",
    "a name with a command": "session: 'x; rm -rf .'\noutput: o\ncapture: {calibration: c, videos: '{camera}.mp4'}\n",
    "a name with an end": "session: \"s\\0\"\noutput: o\ncapture: {calibration: c, videos: '{camera}.mp4'}\n",
}  # fmt: skip


@pytest.mark.parametrize("name", YAML)
def test_yaml_runs_nothing_and_says_what_is_wrong(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "session.yaml").write_text(YAML[name])
    with pytest.raises(InputError) as refused:
        load_session(tmp_path / "session.yaml")
    assert len(str(refused.value)) < 2000
    assert [p.name for p in tmp_path.iterdir()] == ["session.yaml"]


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", ".", "x\x00y", "/etc/passwd", ""])
def test_a_camera_whose_name_would_be_a_path_is_refused(tmp_path, name):
    write_capture(tmp_path, frames=2)
    text = (tmp_path / "calibration.toml").read_text()
    hostile = text.replace('"cam01"', json.dumps(name)).replace("[cam01]", f"[{json.dumps(name)}]")
    assert hostile != text
    (tmp_path / "calibration.toml").write_text(hostile)
    with pytest.raises(InputError):
        rig = read_calibration(tmp_path / "calibration.toml")
        pytest.fail(f"accepted: {rig.names}")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"people": ' * 5000, '{"people": [{"pose_keypoints_2d": [1e999]}]}'])
def test_hostile_detections_are_refused(tmp_path, text):
    (tmp_path / "cam01").mkdir()
    (tmp_path / "cam01" / "cam01_000000000000_keypoints.json").write_text(text)
    with pytest.raises(InputError):
        read_detections("openpose_json", tmp_path / "cam01", ring_rig(4).cameras[0], np.arange(1))


def test_a_body_model_that_claims_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "SMPLX_NEUTRAL.npz"
    told = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    header = b"\x93NUMPY\x01\x00v\x00" + told.ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("v_template.npy", header + bytes(64))
    with pytest.raises(InputError):
        load_body_arrays(path)


# A folder that was copied from somebody else


def forged(path, note, schema="timeline", **arrays):
    """An artifact with honest digests and whatever content."""
    with ArtifactWriter(path, stage=path.parent.name, schema=schema, key="ab" * 32) as writer:
        for name, array in arrays.items():
            writer.put(name, array)
        writer.note = note


TIMELINE = {"frames": np.arange(3), "times_s": np.zeros(3), "plan": np.zeros((4, 3), int),
            "time_error_s": np.zeros((4, 3))}  # fmt: skip
TRACKS = {"frames": np.arange(3), "person_ids": np.arange(0), "joints": np.zeros((3, 0, 19, 3)),
          "confidence": np.zeros((3, 0, 19))}  # fmt: skip


@pytest.mark.parametrize(
    "note", [None, [], {"frames": [0, 10**15, 1, 10**15]}, {"frames": ["0", 3, 1, 3]}, {"frames": [0, 3, 0, 3]},
             {"frames": [0, 3, 1, -1]}, {"frames": [0, 3, 1]}],
)  # fmt: skip
def test_planning_believes_no_note_that_cannot_be(tmp_path, note):
    write_session(tmp_path)
    graph = Graph(load_session(tmp_path / "session.yaml"))
    forged(graph.path(Part("timeline")), note, **TIMELINE)
    assert graph.chunks() is None
    assert [p.name[:9] for p in (graph.cache / "quarantine").iterdir()] == ["timeline-"]


@pytest.mark.parametrize(
    "people", [[-1], ["../x"], [3, 3], "all", [True], {"ranges": [[0, 10**12]]}, {"ranges": [[5, 2]]}]
)
def test_planning_believes_no_people_that_cannot_be(tmp_path, people):
    write_session(tmp_path)
    graph = Graph(load_session(tmp_path / "session.yaml"))
    forged(graph.path(Part("association")), {"people": people}, "tracks", **TRACKS)
    assert graph.people() is None


def test_a_header_whose_note_is_no_json_is_no_header(tmp_path):
    import struct
    import zlib

    from pipeline import artifacts

    path = tmp_path / "timeline" / "session.h5"
    forged(path, {"frames": [0, 3, 1, 3]}, **TIMELINE)
    block = bytearray(path.read_bytes()[:USER_BLOCK])
    place = block.index(b'{"frames"')
    block[place : place + 4] = b"[[[["
    end = artifacts._HEADER.size
    block[end : end + 4] = struct.pack("<I", zlib.crc32(bytes(block[:end])))
    path.write_bytes(bytes(block) + path.read_bytes()[USER_BLOCK:])
    assert read_header(path) is None
    with pytest.raises(DamagedArtifact):
        Artifact(path)


RECORDS = ["[]", "{}", "null", '"x"', "[" * 60_000, '{"state": "running"}', '{"nobody": 1}', "9" * 5000,
           json.dumps({"state": ["running"], "host": "h", "pid": 1, "since": 0}),
           json.dumps({"state": "running", "host": "h", "pid": "1; kill", "since": 0}),
           json.dumps({"state": "failed", "host": "h", "pid": 1, "since": 1e999}),
           json.dumps({"host": {"a": 1}, "ended": "x", "seconds": "<script>", "memory_mb": True})]  # fmt: skip


@pytest.mark.parametrize("text", RECORDS)
def test_records_that_cannot_be_are_no_records(tmp_path, text):
    write_session(tmp_path)
    session = load_session(tmp_path / "session.yaml")
    records, part = Records(session.output / "cache"), Part("bodies", person=0)
    for path in (records.path(part), records.made_path(part), RunRecord.path(session)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert records.read(part) is None and records.made(part) is None and RunRecord.read(session) is None


def test_a_note_of_what_was_made_is_escaped_where_it_is_shown(tmp_path):
    """The host in it is a text from elsewhere."""
    from pipeline.quality.report import render_report
    from pipeline.quality.summary import PartRecord, Summary, stage_figures

    made = Made("<script>alert(1)</script>", 2.0, 1.0, 3.0)
    records, part = Records(tmp_path), Part("bodies", person=0)
    records.note_made(part, made)
    read = records.made(part)
    stage = stage_figures("bodies", "", [PartRecord("p", "done", read.seconds, read.memory_mb, read.host)])
    page = render_report(Summary("s", "now", "complete", "", {}, {}, (stage,), (), (), ()), ())
    assert "&lt;script&gt;" in page and "<script" not in page


# Programs that run others


def test_a_notification_is_never_read_by_a_shell(tmp_path):
    write_capture(tmp_path, frames=4)
    with (tmp_path / "session.yaml").open("a") as file:
        file.write(f"notify: [{sys.executable}, '-c', 'import sys; open(\"told\", \"w\").write(sys.argv[1])', "
                   "'$(touch PWNED); touch PWNED']\n")  # fmt: skip
    done = command("run", tmp_path / "session.yaml", "--until", "timeline")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "told").read_text() == "$(touch PWNED); touch PWNED"
    assert not list(tmp_path.rglob("PWNED"))


def test_no_shell_and_no_unpickling_anywhere():
    """The places that could are few enough to be forbidden."""
    pattern = "|".join((r"shell=True", r"os\.system", r"os\.popen", r"pickle\.loads?", r"allow_pickle=True",
                        r"weights_only=False", r"yaml\.load\((?!text, _UniqueKeyLoader)",
                        r"(?<!\.)\beval\("))  # fmt: skip
    found = subprocess.run(
        ["git", "grep", "-nP", pattern, "--", "run_pipeline.py", "tasks", "data", "pipeline", "nets"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    lines = [line for line in found.stdout.splitlines() if not line.split(":", 2)[2].lstrip().startswith('"')]
    assert not lines, "\n".join(lines)
