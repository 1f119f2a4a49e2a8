"""Surface inputs and surfaces as stages make them: a fresh network's surface is the body, whoever is in front."""

import shutil

import numpy as np
import pytest

from pipeline.artifacts import Artifact
from pipeline.config import load_session
from pipeline.errors import InputError
from pipeline.meshes.sequence import MeshSequence
from pipeline.raster_open3d import RayScene
from pipeline.surface.stored import StoredInputs
from tasks.partial import partial_folder
from tasks.parts import Part
from tests.tasks.surface_session import CAMERAS, CHUNK, FRAMES, configure, posed, run_stage, write_session


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_session(tmp_path_factory.mktemp("surface"))


@pytest.fixture
def fresh(written, tmp_path):
    """The same session before any surface stage, with settings of its own."""

    def configured(surface="resolution: 64"):
        ignore = shutil.ignore_patterns("surface*")
        shutil.copytree(written.session.path.parent, tmp_path / "session", ignore=ignore)
        return configure(tmp_path / "session", surface)

    return configured


@pytest.fixture(scope="module")
def made(written):
    graph = written
    for stage in ("surface_inputs", "surface"):
        for person in (0, 1):
            run_stage(graph, stage, person)
    return graph


def opened(graph, stage, person):
    return Artifact(graph.path(Part(stage, person=person, chunk=CHUNK)), stage)


def test_inputs_hold_every_view_of_the_person(made):
    with opened(made, "surface_inputs", 0) as artifact:
        stored = StoredInputs(artifact)
        assert stored.frames.tolist() == FRAMES.tolist() and stored.valid.all()
        prepared = stored.prepared(5)
        assert prepared.cameras == tuple(f"cam{k}" for k in range(CAMERAS))
        assert prepared.rgb.shape == (CAMERAS, 64, 64, 3)
        vertices, _ = posed(made.session, 0, 5)
        x = np.einsum("vij,nj->nvi", prepared.projection[..., :3], vertices) + prepared.projection[..., 3]
        pixels = x[..., :2] / x[..., 2:]
        assert pixels.min() > -0.5 and pixels.max() < 63.5  # the whole body is in every crop
        covered = prepared.depth > 0
        shared = (covered & ((prepared.mask > 127) | prepared.blocked)).sum() / covered.sum()
        assert shared > 0.97  # body maps lie on the masks, or where somebody is in front
        assert prepared.volume.shape == (1, 16, 16, 16) and 0.005 < (prepared.volume > 0).mean() < 0.03
        assert set(np.unique(prepared.volume)) == {0, 255}


def test_who_is_in_front_blocks_and_does_not_carve(made):
    with opened(made, "surface_inputs", 0) as artifact:
        prepared = StoredInputs(artifact).prepared(5)
    assert prepared.blocked.any()
    assert not (prepared.blocked & (prepared.mask > 127)).any()


def test_a_fresh_network_makes_the_body(made):
    with opened(made, "surface", 0) as artifact:
        sequence = MeshSequence(artifact)
        assert sequence.valid.all() and sequence.cameras == tuple(f"cam{k}" for k in range(CAMERAS))
        mesh = sequence.mesh(6)
        scene = RayScene(*posed(made.session, 0, 6), threads=1)
        off = np.linalg.norm(scene.nearest(mesh.vertices)["point"] - mesh.vertices, axis=1)
        assert np.median(off) < 0.005 and np.quantile(off, 0.99) < 0.03  # voxels are 33 mm
        assert mesh.seen.any(1).mean() > 0.6 and not mesh.seen.all(1).any()
        assert mesh.confidence.min() >= 0 and mesh.confidence.max() <= 1


def test_a_frame_without_a_body_is_marked_and_the_others_stand(made):
    for stage, sequence in (("surface_inputs", StoredInputs), ("surface", MeshSequence)):
        with opened(made, stage, 1) as artifact:
            found = sequence(artifact)
            assert found.valid.tolist() == [True, True, False]
            assert found.reasons == ["", "", "no_body"]


def test_finished_frames_of_an_interrupted_chunk_are_kept(fresh, monkeypatch):
    from pipeline.surface import prepare as module

    graph = fresh()
    whole, part = module.prepare, Part("surface_inputs", person=0, chunk=CHUNK)
    made = []

    def counted(*arguments, fail_at=2, **options):
        if len(made) == fail_at:
            raise KeyboardInterrupt
        made.append(1)
        return whole(*arguments, **options)

    monkeypatch.setattr(module, "prepare", counted)
    with pytest.raises(KeyboardInterrupt):
        run_stage(graph, "surface_inputs")
    folder = partial_folder(graph.cache, part)
    assert sorted(p.name for p in folder.iterdir()) == ["000004.h5", "000005.h5"]
    assert not graph.path(part).exists()
    made.clear()
    with Artifact(run_stage(graph, "surface_inputs")) as artifact:
        assert StoredInputs(artifact).valid.all()
    assert len(made) == 1  # only the frame that was missing
    made.clear()
    monkeypatch.setattr(module, "prepare", lambda *a, **k: counted(*a, fail_at=99, **k))
    run_stage(graph, "surface_inputs", key="ef" * 32)
    assert len(made) == 3  # frames of another key are not used


def test_where_memory_ran_out_fewer_points_are_asked_at_once_for_the_same_surface(made, tmp_path, monkeypatch):
    from pipeline.surface import reconstruct as module
    from tasks.surface import BATCH

    shutil.copytree(made.session.path.parent, tmp_path / "session", ignore=shutil.ignore_patterns("surface"))
    graph, asked, whole = configure(tmp_path / "session", "resolution: 64"), [], module.reconstruct
    monkeypatch.setattr(module, "reconstruct", lambda *a: (asked.append(a[-1].batch), whole(*a))[1])
    again = run_stage(graph, "surface", memory_failures=2)
    assert set(asked) == {BATCH["cpu"] // 4}
    with Artifact(again) as one, opened(made, "surface", 0) as other:
        for frame in FRAMES:
            mine, theirs = (MeshSequence(a).mesh(int(frame)) for a in (one, other))
            np.testing.assert_allclose(mine.vertices, theirs.vertices, atol=1e-4)


def test_frames_are_chosen_and_chunks_without_any_have_no_part(fresh):
    from tasks.surfaces import wanted_frames, wants

    graph = fresh("resolution: 64, frames: {start: 3, stop: 200, step: 2}")
    assert wanted_frames(graph.session, (0, 120), np.arange(120))[:3] == [3, 5, 7]
    assert wanted_frames(graph.session, (120, 240), np.arange(240))[0] == 121
    assert wanted_frames(graph.session, (120, 240), np.arange(240))[-1] == 199
    assert wants(graph.session, (120, 240)) and not wants(graph.session, (240, 360))
    with Artifact(run_stage(graph, "surface_inputs")) as artifact:
        assert StoredInputs(artifact).frames.tolist() == [5]


def test_the_network_s_file_is_looked_at_before_the_night(fresh, tmp_path):
    from tasks.surfaces import check_network, network_files

    graph = fresh()
    assert check_network(graph.session) == ""
    weights = network_files(graph.session)["surface network"]
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged safetensors"):
        check_network(graph.session)
    weights.unlink()
    with pytest.raises(InputError, match="no such file"):
        check_network(graph.session, thorough=False)


def test_a_session_without_weights_of_ours_makes_no_surfaces_and_says_so(fresh, monkeypatch):
    from tasks import surfaces
    from tasks.graph import Graph

    graph = fresh()
    path = graph.session.path
    path.write_text(path.read_text().replace("net.safetensors", "open"))
    session = load_session(path)
    monkeypatch.setattr(surfaces, "open_weights", lambda name: None)
    assert "no weights of ours" in surfaces.check_network(session)
    assert not {s.name for s in Graph(session).stages()} & set(surfaces.STAGES_OF_SURFACES)
    monkeypatch.setattr(surfaces, "open_weights", lambda name: path.parent / "net.safetensors")
    assert surfaces.check_network(session, thorough=False) == ""
    assert {"surface_inputs", "surface"} <= {s.name for s in Graph(session).stages()}
