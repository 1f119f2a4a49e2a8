"""The stage that makes surfaces light and colours them: two people whose images show their normals."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.meshes.geometry import vertex_normals
from pipeline.meshes.sequence import Mesh, MeshWriter
from tasks.execution import Context
from tasks.parts import Part
from tasks.stages import STAGES
from tasks.texture import LightSequence
from tests.tasks.surface_session import CAMERAS, CHUNK, FRAMES, StubGraph, configure, posed, rig, write_session

FRAME = int(FRAMES[0])


class Graph(StubGraph):
    """Without the inputs that were not written."""

    def input_parts(self, part, look=None):
        part = replace(part, chunk=CHUNK)  # of whole people too
        surfaces = [Part(s, person=part.person, chunk=part.chunk) for s in ("surface", "fusion")]
        found = [*super().input_parts(part), *surfaces, Part("registration", person=part.person)]
        return [p for p in found if self.path(p).exists()]

    def current(self, part, look=None):
        return self.path(part).exists() or None


def written(graph, part, fill):
    schema = STAGES[part.stage].schema
    with ArtifactWriter(graph.path(part), stage=part.stage, schema=schema, key="ab" * 32) as writer:
        fill(writer)


def texture(graph, name="texture", person=0):
    part = Part("texture", person=person, chunk=CHUNK)
    with ExitStack() as stack:
        writer = stack.enter_context(ArtifactWriter(graph.path(part), stage="texture", schema="surface", key="cd" * 32))
        STAGES["texture"].module.compute(Context(graph.session, part, graph, writer, lambda f: None, stack))
    return Artifact(graph.path(part), "surface")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Surfaces are the bodies themselves; the middle frame has none."""
    folder = tmp_path_factory.mktemp("texture")
    write_session(folder)
    graph = Graph(configure(folder, "resolution: 64").session)

    def fill(writer):
        with MeshWriter(writer, rig().names) as out:
            for n in FRAMES.tolist():
                if n == FRAMES[1]:
                    out.mark(n, "one_view")
                    continue
                vertices, faces = posed(graph.session, 0, n)
                seen = np.zeros((len(vertices), CAMERAS), bool)
                seen[:, n % CAMERAS] = vertices[:, 1] > 0
                out.add(n, Mesh(vertices, faces.astype(np.int32), np.full(len(vertices), 0.5), seen))

    written(graph, Part("surface", person=0, chunk=CHUNK), fill)
    return graph


def test_surfaces_are_light_coloured_and_say_where_they_come_from(made, capsys):
    with texture(made) as artifact:
        sequence = LightSequence(artifact)
        assert sequence.frames.tolist() == FRAMES.tolist() and sequence.valid.tolist() == [True, False, True]
        assert sequence.reason(int(FRAMES[1])) == "one_view"
        mesh, colours = sequence.mesh(FRAME), sequence.colours(FRAME)
        truth = 128 + 120 * vertex_normals(mesh.vertices, mesh.faces)
        seen = mesh.vertices[:, 1] > -0.2  # the soles and the crotch are seen by nobody
        assert len(colours) == len(mesh.vertices) and np.median(np.abs(colours - truth)[seen]) < 12
        assert sequence.source(FRAME) == "surface"
        assert len(mesh.faces) < 0.4 * artifact["triangles"][0] and artifact["error_m"][0] <= 0.005
        assert 0.5 < artifact["covered"][0] <= 1 and np.isnan(artifact["error_m"][1])
        assert mesh.seen[mesh.vertices[:, 1] > 0.05, FRAME % CAMERAS].all() and (mesh.confidence > 0.49).all()
    assert "2 of 3 frames; within" in capsys.readouterr().out


def test_a_fused_surface_goes_before_one_that_is_not(made):
    part = Part("fusion", person=0, chunk=CHUNK)

    def fill(writer):
        with MeshWriter(writer, rig().names) as out:
            vertices, faces = posed(made.session, 0, FRAME)
            seen = np.ones((len(vertices), CAMERAS), bool)
            out.add(FRAME, Mesh(vertices + 0.002, faces.astype(np.int32), np.ones(len(vertices)), seen))
            out.mark(FRAME + 1, "one_view")
            out.mark(FRAME + 2, "invalid_body")

    written(made, part, fill)
    with texture(made) as artifact:
        sequence = LightSequence(artifact)
        assert [sequence.source(n) for n in (FRAME, FRAME + 2)] == ["fusion", "surface"]
    made.path(part).unlink()


def test_without_colours_and_without_simplification(made):
    path = made.session.path
    text = path.read_text()
    path.write_text(text + "export: {texture: false}\n")
    graph = Graph(configure_again(path))
    with texture(graph) as artifact:
        assert LightSequence(artifact).colours(FRAME) is None and len(artifact["colours"]) == 0
    path.write_text(text + "export: {simplify_mm: 0}\n")
    with texture(Graph(configure_again(path))) as artifact:
        sequence = LightSequence(artifact)
        assert len(sequence.mesh(FRAME).faces) == artifact["triangles"][0] and len(sequence.colours(FRAME)) > 0
    path.write_text(text)


def test_a_texture_image_a_frame(made):
    path = made.session.path
    text = path.read_text()
    path.write_text(text + "export: {frame_texture: 128}\n")
    graph = Graph(configure_again(path))
    path.write_text(text)
    with texture(graph) as artifact:
        sequence = LightSequence(artifact)
        mesh, skin = sequence.mesh(FRAME), sequence.skin(FRAME)
        np.testing.assert_array_equal(skin.vertices[skin.faces], mesh.faces)
        assert skin.uv.min() >= 0 and skin.uv.max() <= 1 and skin.image[:2] == b"\xff\xd8"
        last = sequence.skin(int(FRAMES[2]))
        np.testing.assert_array_equal(last.vertices[last.faces], sequence.mesh(int(FRAMES[2])).faces)


def configure_again(path):
    from pipeline.config import load_session

    return load_session(path)


def test_nobody_saw_the_person(made, tmp_path):
    """Not one view: grey, or what the registered body looks like."""
    masks = made.path(Part("segmentation", chunk=CHUNK))
    aside = masks.rename(masks.with_suffix(".aside"))
    try:
        with texture(made) as artifact:
            sequence = LightSequence(artifact)
            assert (sequence.colours(FRAME) == 128).all() and (artifact["covered"][[0, 2]] == 0).all()
        _, faces = posed(made.session, 0, FRAME)
        count = int(faces.max()) + 1

        def dress(writer):
            writer.put("offsets", np.zeros(count, np.float32))
            writer.put("vertex_colours", np.full((count, 3), (10, 200, 30), np.uint8))
            writer.put("seen", np.ones(count, bool))
            writer.put("texture", np.zeros(0, np.uint8))
            writer.put("gains", np.ones((CAMERAS, 3)))
            writer.attribute("cameras", list(rig().names))
            writer.attribute("valid", True)

        written(made, Part("registration", person=0), dress)
        with texture(made) as artifact:
            assert (np.abs(LightSequence(artifact).colours(FRAME) - np.array([10, 200, 30])) <= 1).all()
        made.path(Part("registration", person=0)).unlink()
    finally:
        aside.rename(masks)


def test_the_session_with_nothing_to_do_has_no_such_stage(made):
    from tasks.graph import Graph as Real

    path = made.session.path
    text = path.read_text()
    assert "texture" in {s.name for s in Real(made.session).stages()}
    path.write_text(text + "export: {texture: false, simplify_mm: 0}\n")
    assert "texture" not in {s.name for s in Real(configure_again(path)).stages()}
    path.write_text(text)


def test_faces_are_blurred_where_the_head_is_and_only_there(made):
    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel
    from pipeline.quality.faces import face_vertices
    from tasks.faces import blur_of
    from tasks.people import seen_of_frame

    def looks(text):
        path = made.session.path
        before = path.read_text()
        path.write_text(before + text)
        graph = Graph(configure_again(path))
        path.write_text(before)
        with ExitStack() as stack:
            context = Context(graph.session, Part("texture", person=0, chunk=CHUNK), graph, None, print, stack)
            return seen_of_frame(context, FRAME, 0, rig().cameras, blur_of(context))

    shown, hidden = looks(""), looks("export: {blur_faces: true}\n")
    head = posed(made.session, 0, FRAME)[0][face_vertices(BodyModel(load_body_arrays(open_body_model())))]
    for camera in rig().cameras:
        changed = (shown[camera.name].image != hidden[camera.name].image).any(-1)
        row, column = np.nonzero(changed)
        pixels = camera.project(head)
        away = np.linalg.norm(np.column_stack([column, row])[:, None] - pixels, axis=-1).min(1)
        assert changed.sum() > 50 and away.max() < 12
        at = np.rint(pixels).astype(int)
        assert changed[at[:, 1], at[:, 0]].mean() > 0.9


def test_blurred_faces_are_in_no_texture_and_no_colour(made):
    """Neither of the surface nor of the registered body; the rest keeps its colours."""
    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel
    from pipeline.quality.faces import face_vertices
    from pipeline.texture.atlas import decoded, looked_up

    path = made.session.path
    text = path.read_text()
    head = posed(made.session, 0, FRAME)[0][face_vertices(BodyModel(load_body_arrays(open_body_model())))]
    found = []
    for said in ("false", "true"):
        path.write_text(text + f"export: {{frame_texture: 128, blur_faces: {said}}}\n")
        with texture(Graph(configure_again(path))) as artifact:
            sequence = LightSequence(artifact)
            mesh, skin = sequence.mesh(FRAME), sequence.skin(FRAME)
            found.append((sequence.colours(FRAME).astype(int), looked_up(decoded(skin.image), skin.uv)))
    path.write_text(text)
    away = np.linalg.norm(mesh.vertices - head.mean(0), axis=1)
    for shown, hidden, where in zip(*found, (away, away[skin.vertices]), strict=True):
        change = np.abs(shown - hidden).max(1)
        # JPEG changes a texture here and there.
        assert np.median(change[where < 0.1]) > 15 and np.median(change[where > 0.4]) < 5


def test_the_registered_body_has_no_face_either(made):
    path = made.session.path
    text = path.read_text()
    found = []
    for said in ("false", "true"):
        path.write_text(text + f"export: {{texture_size: 128, blur_faces: {said}}}\n")
        graph, part = Graph(configure_again(path)), Part("registration", person=0)
        with ExitStack() as stack:
            writer = ArtifactWriter(graph.path(part), stage="registration", schema="registered", key="cd" * 32)
            stack.enter_context(writer)
            STAGES["registration"].module.compute(Context(graph.session, part, graph, writer, lambda f: None, stack))
        with Artifact(graph.path(part), "registered") as artifact:
            found.append(artifact["vertex_colours"].astype(int))
        graph.path(part).unlink()
    path.write_text(text)
    from data.body_models import load_body_arrays, open_body_model
    from nets.body import BodyModel
    from pipeline.quality.faces import face_vertices

    model = BodyModel(load_body_arrays(open_body_model()))
    template, face = model.template.numpy(), face_vertices(model)
    away = np.linalg.norm(template - template[face].mean(0), axis=1)
    change = np.abs(found[0] - found[1]).max(1)
    # Normals painted on people are no exposures: their balance changes a little with the face, and all colours do.
    assert np.median(change[away < 0.1]) > max(15, 2 * np.median(change[away > 0.4]))
