"""What lands in OUTPUT/export of surfaces: read back by others, with somebody away in the middle, in an odd folder."""

import json
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from pipeline.config import load_session
from pipeline.meshes.sequence import MeshSequence
from tasks.cached import Cached
from tasks.execution import make
from tasks.graph import Graph
from tasks.parts import Part
from tests.pipeline.gltf_player import GltfPlayer
from tests.tasks.fusion_session import FRAMES, FusionSession

AWAY = 2


class Leaving(FusionSession):
    """Without a body in the frame in which the person is away."""

    def track(self):
        track = super().track()
        away = (track.frames == AWAY)[:, None]
        return replace(track, transl=np.where(away, np.nan, track.transl).astype(np.float32))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Surfaces of all frames but one, in which the person is not there; the folder has spaces and accents."""
    folder = tmp_path_factory.mktemp("Zoë et Ångström, prise n° 3 (été)")
    session = Leaving(folder / "une séance", FRAMES, fusion="window: 1", absent=(AWAY,))
    path = session.session.path
    wanted = "export: {formats: [ply, obj, glb], scene_meshes: true, surface_glb_mb: 5, "
    path.write_text(path.read_text().replace("export: {formats: [ply], simplify_mm: 0, ", wanted))
    session.session = load_session(path)
    session.graph = Graph(session.session)
    session.surface((0, FRAMES))
    make(session.session, Part("texture", person=0, chunk=(0, FRAMES)))
    make(session.session, Part("export"))
    return session


@pytest.fixture
def export(made):
    return made.session.output / "export"


def test_every_format_holds_the_same_light_mesh(made, export):
    with Cached(made.session) as cached:
        whole = MeshSequence(cached.open(Part("surface", person=0, chunk=(0, FRAMES)))).mesh(3)
    ply, obj = (trimesh.load(export / f"meshes/person_0/frame_000003.{k}", process=False) for k in ("ply", "obj"))
    glb = trimesh.load(export / "meshes/person_0/frame_000003.glb", process=False).to_mesh()
    assert len(ply.faces) == len(obj.faces) == len(glb.faces) < 0.5 * len(whole.faces)
    np.testing.assert_allclose(np.sort(ply.vertices, 0), np.sort(obj.vertices, 0), atol=2e-6)
    np.testing.assert_allclose(ply.vertices, glb.vertices, atol=3e-5)  # the session is y up already
    points = trimesh.sample.sample_surface(trimesh.Trimesh(whole.vertices, whole.faces), 2000, seed=0)[0]
    assert np.quantile(trimesh.proximity.closest_point(ply, points)[1], 0.999) < 0.0055


def test_a_frame_in_which_nobody_is_has_no_mesh_and_none_is_shown(made, export):
    frames = sorted(int(p.stem[6:]) for p in (export / "meshes/person_0").glob("*.glb"))
    assert frames == [n for n in range(FRAMES) if n != AWAY]
    assert json.loads((export / "meshes/sources.json").read_text()) == {
        "person_0": {"surface": [[0, AWAY - 1], [AWAY + 1, FRAMES - 1]]}
    }
    player = GltfPlayer((export / "session_surface.glb").read_bytes())
    nodes = [n["name"] for n in player.nodes if "mesh" in n]
    assert len(nodes) == 2  # 30 frames a second: every second one, and frame 2 is not there
    shown = {n: [name for name in nodes if np.ptp(player.still(name, n / 30), 0).max() > 0.1] for n in range(FRAMES)}
    assert shown == {n: [] if n in (2, 3) else [nodes[n // 4]] for n in range(FRAMES)}


def test_the_animation_becomes_slower_rather_than_larger(made, export, capfd):
    path = made.session.path
    text = path.read_text()
    size = (export / "session_surface.glb").stat().st_size
    path.write_text(text.replace("surface_glb_mb: 5", f"surface_glb_mb: {0.8 * size / 1e6:.3f}"))
    make(load_session(path), Part("export"))
    path.write_text(text)
    # Meshes of frames 0 and 4 are there: of every eighth frame it is one alone.
    assert "3.75 frames a second instead of 15, for export.surface_glb_mb" in capfd.readouterr().out
    assert (export / "session_surface.glb").stat().st_size < 0.8 * size


def test_what_is_not_asked_for_any_more_goes(made, export):
    path = made.session.path
    text = path.read_text()
    path.write_text(text.replace("scene_meshes: true, surface_glb_mb: 5, ", "").replace("[ply, obj, glb]", "[glb]"))
    make(load_session(path), Part("export"))
    path.write_text(text)
    assert not (export / "session_surface.glb").exists() and not (export / "meshes/scene").exists()
    assert {p.suffix for p in (export / "meshes/person_0").iterdir()} == {".glb"}
