"""Fusion as a stage: chunks see their neighbours, go stale with them, and do without what could not be made."""

import json
from argparse import Namespace

import cv2
import numpy as np
import pytest
import trimesh

from pipeline.artifacts import Artifact
from pipeline.fusion.stored import FusionRecord
from pipeline.meshes.sequence import MeshSequence
from tasks import inspect, report, why
from tasks.cached import Cached
from tasks.execution import make
from tasks.parts import Part
from tasks.records import Records
from tasks.run import Request, SessionRun
from tests.tasks.fusion_session import FRAMES, FusionSession


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One chunk of all frames, fused."""
    session = FusionSession(tmp_path_factory.mktemp("whole"), FRAMES)
    session.surface((0, FRAMES))
    session.fuse((0, FRAMES))
    return session


@pytest.fixture
def chunked(tmp_path):
    """Chunks of two frames."""
    return FusionSession(tmp_path / "chunked", 2)


def opened(session, chunk):
    return Artifact(session.graph.path(Part("fusion", person=0, chunk=chunk)), "surface")


def test_chunks_make_the_same_meshes_as_one_for_all(whole, chunked):
    for chunk in chunked.chunks:
        chunked.surface(chunk)
    chunked.fuse((2, 4))
    with opened(whole, (0, FRAMES)) as one, opened(chunked, (2, 4)) as some:
        for frame in (2, 3):
            a, b = MeshSequence(one).mesh(frame), MeshSequence(some).mesh(frame)
            for name in ("vertices", "faces", "confidence", "seen"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_what_each_frame_gave_and_what_fusion_changed_is_kept(whole):
    with opened(whole, (0, FRAMES)) as artifact:
        record, meshes = FusionRecord(artifact), MeshSequence(artifact)
        assert record.valid.all() and meshes.cameras == ("cam0", "cam1", "cam2", "cam3")
        np.testing.assert_allclose(record.contributions[0], [0, 0.5, 0.5], atol=0.02)  # the run begins
        np.testing.assert_allclose(record.contributions[1:-1], 1 / 3, atol=0.02)
        assert not any(word for row in record.left_out for word in row) and not record.open_edges.any()
        assert (record.change_mm > 1).all() and np.isnan(record.flicker_after_mm[[0, -1]]).all()
        before, after = record.flicker_before_mm[1:-1], record.flicker_after_mm[1:-1]
        assert (after < 0.7 * before).all()
        mesh = meshes.mesh(3)
        assert mesh.seen.mean() > 0.9 and 0.4 < mesh.confidence.mean() <= 0.9


def test_a_chunk_goes_stale_with_the_frames_next_to_it_alone(chunked):
    graph, part = chunked.graph, Part("fusion", person=0, chunk=(0, 2))
    chunked.surface((0, 2))
    chunked.fuse((0, 2))
    assert graph.current(part)
    with opened(chunked, (0, 2)) as artifact:
        np.testing.assert_allclose(FusionRecord(artifact).contributions[1], [0.5, 0.5, 0], atol=0.02)
    chunked.surface((4, 6))
    assert graph.current(part)  # two chunks on: out of reach
    chunked.surface((2, 4))
    assert not graph.current(part)
    assert why.reasons(graph, part) == ["input surface/person_0-000002 next to it is new"]
    chunked.fuse((0, 2))
    with opened(chunked, (0, 2)) as artifact:
        np.testing.assert_allclose(FusionRecord(artifact).contributions[1], 1 / 3, atol=0.02)
    assert graph.current(part)
    chunked.surface((2, 4), change=3)  # the second frame on still steadies frame 1
    assert not graph.current(part)


def test_of_a_chunk_next_to_it_two_frames_are_looked_at(tmp_path):
    session = FusionSession(tmp_path, 3)
    graph, part = session.graph, Part("fusion", person=0, chunk=(0, 3))
    session.surface((0, 3))
    session.surface((3, 6))
    session.fuse((0, 3))
    session.surface((3, 6), change=5)
    assert graph.current(part)
    session.surface((3, 6), change=4)
    assert why.reasons(graph, part) == ["input surface/person_0-000003 next to it has other content"]


def test_a_run_waits_for_neighbours_and_goes_on_without_those_that_fail(chunked):
    first, second = (Part(s, person=0, chunk=c) for s, c in (("fusion", (0, 2)), ("surface", (2, 4))))
    chunked.surface((0, 2))
    run = SessionRun(chunked.session, Request(until="fusion"))
    assert run.plan()[first] == [second]
    Records(chunked.graph.cache, run.run).fail(second, "its network is ill", passing=False)
    offered = run.plan()
    assert offered[first] == [] and second not in offered
    make(chunked.session, first, run.run)
    assert chunked.graph.current(first) and first not in run.plan()
    Records(chunked.graph.cache, run.run).clear(second)
    chunked.surface((2, 4))
    assert not chunked.graph.current(first)


def test_a_run_of_some_frames_does_not_ask_for_their_neighbours(chunked):
    from tasks.parts import Selection

    run = SessionRun(chunked.session, Request(until="fusion", selection=Selection(frames=(0, 2))))
    offered = run.plan()
    assert [p for p in offered if p.stage == "surface"] == [Part("surface", person=0, chunk=(0, 2))]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """The person is away in frame 2, and there is no surface in frame 4."""
    session = FusionSession(tmp_path_factory.mktemp("faulty"), FRAMES, absent=(2,))
    session.surface((0, FRAMES), broken={4: "touches_box"})
    session.fuse((0, FRAMES))
    return session


def test_absent_broken_and_bodiless_frames_are_marked_and_the_others_go_on(faulty):
    with opened(faulty, (0, FRAMES)) as artifact:
        record = FusionRecord(artifact)
    assert record.valid.tolist() == [True, True, False, True, False, True]
    assert record.reasons == ["", "", "no_body", "", "touches_box", ""]
    np.testing.assert_allclose(record.contributions[1], [0.5, 0.5, 0], atol=0.02)  # nothing across the absence
    assert record.left_out[1] == ["", "", ""]
    np.testing.assert_allclose(record.contributions[3], [0, 1, 0], atol=0.02)
    assert record.left_out[3] == ["", "", "empty mesh"] and record.left_out[5] == ["empty mesh", "", ""]


def test_exported_meshes_come_from_the_best_there_is_and_say_so(faulty):
    make(faulty.session, Part("export"))
    folder = faulty.session.output / "export/meshes"
    told = json.loads((folder / "sources.json").read_text())
    assert told == {"person_0": {"fusion": [[0, 1], [3, 3], [5, 5]], "body": [[2, 2], [4, 4]]}}
    with opened(faulty, (0, FRAMES)) as artifact:
        mesh = MeshSequence(artifact).mesh(3)
    exported = trimesh.load(folder / "person_0/frame_000003.ply", process=False)
    np.testing.assert_allclose(exported.vertices, mesh.vertices, atol=1e-5)


def test_before_and_after_are_shown_and_summed_up(faulty, tmp_path):
    picture = tmp_path / "fusion.png"
    options = {"frame": 3, "camera": None, "person": None, "compare": False, "image": str(picture)}
    inspect.command(Namespace(config=str(faulty.session.path), stage="fusion", **options))
    seen = cv2.imread(str(picture))
    width = seen.shape[1] // 3  # the image, the surface, the fused surface
    surface, fused = (seen[60:, k * width + 8 : (k + 1) * width - 8].astype(int) for k in (1, 2))
    assert seen.shape[0] > 600
    drawn = [(abs(part - 236).max(2) > 20).mean() for part in (surface, fused)]
    assert min(drawn) > 0.2 and abs(drawn[0] - drawn[1]) < 0.05 and abs(surface - fused).mean() > 1
    with Cached(faulty.session) as cached:
        found = report._fusion_totals(cached)
    assert found["person_frames_fused"] == 4 and 1 < found["fusion_change_mm"] < 10


def test_a_surface_far_from_its_body_stays_as_it_is_and_is_told(tmp_path):
    session = FusionSession(tmp_path, FRAMES)
    session.surface((0, FRAMES), far=1)
    session.fuse((0, FRAMES))
    with opened(session, (0, FRAMES)) as artifact:
        record = FusionRecord(artifact)
    assert record.reasons[1] == "far_from_its_body" and record.valid.sum() == FRAMES - 1
    assert record.left_out[0] == ["", "", "far from its body"] and record.left_out[2][0] == "far from its body"
    with Cached(session.session) as cached:
        (flag,) = report._fusion_flags(cached)
    assert (flag.first_frame, flag.last_frame) == (1, 1) and "far from its body" in flag.text
    make(session.session, Part("export"))
    told = json.loads((session.session.output / "export/meshes/sources.json").read_text())
    assert told["person_0"] == {"fusion": [[0, 0], [2, 5]], "surface": [[1, 1]]}


def test_a_window_of_one_frame_means_no_fusion(tmp_path):
    session = FusionSession(tmp_path, FRAMES, fusion="window: 1")
    names = [s.name for s in session.graph.stages()]
    assert "surface" in names and "fusion" not in names
