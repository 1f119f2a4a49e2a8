"""Mesh files a person and frame, read back with trimesh."""

import numpy as np
import pytest
import torch
import trimesh

from nets.body import BodyModel
from pipeline.export.bodies import posed_vertices
from pipeline.export.meshes import PosedBodies, write_body_meshes, write_frame_meshes
from pipeline.meshes.colours import person_colour
from tests.pipeline.small_body import moving_body, small_body_arrays

UP = np.array([0, 0, 1.0])


@pytest.fixture(scope="module")
def session():
    model = BodyModel(small_body_arrays(), dtype=torch.float64)
    return model, {0: moving_body(np.arange(98, 102)), 3: moving_body(np.arange(100, 104), 1, absent=(103,))}


def test_each_person_and_the_scene_land_where_the_contract_says(session, tmp_path):
    model, bodies = session
    done = []
    count = write_body_meshes(tmp_path, model, bodies, np.arange(98, 105), ("ply",), UP, progress=done.append)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")}
    frames = {0: range(98, 102), 3: range(100, 103), "scene": range(98, 103)}
    names = {0: "person_0", 3: "person_3", "scene": "scene"}
    assert files == {f"{names[k]}/frame_{n:06d}.ply" for k, numbers in frames.items() for n in numbers}
    assert count == len(files) and done[-1] == 1


def test_vertices_are_the_posed_body_in_world_metres(session, tmp_path):
    model, bodies = session
    write_body_meshes(tmp_path, model, bodies, np.array([101]), ("ply", "obj", "glb"), UP)
    truth = {0: posed_vertices(model, bodies[0], [3])[0], 3: posed_vertices(model, bodies[3], [1])[0]}
    for person, vertices in truth.items():
        for kind in ("ply", "obj"):
            path = tmp_path / f"person_{person}" / f"frame_000101.{kind}"
            mesh = trimesh.load(path, process=False, maintain_order=True)
            np.testing.assert_allclose(mesh.vertices, vertices, atol=2e-6)
            np.testing.assert_array_equal(mesh.faces, model.faces.numpy())
    both = np.concatenate([truth[0], truth[3]])
    scene = trimesh.load(tmp_path / "scene" / "frame_000101.ply", process=False)
    np.testing.assert_allclose(scene.vertices, both, atol=2e-6)
    np.testing.assert_array_equal(scene.visual.vertex_colors[[0, -1], :3], [person_colour(0), person_colour(3)])
    assert scene.body_count == 2 * 55
    turned = trimesh.load(tmp_path / "scene" / "frame_000101.glb", process=False)
    np.testing.assert_allclose(turned.geometry["person_3"].vertices, truth[3][:, [0, 2, 1]] * (1, 1, -1), atol=2e-6)


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"\['fbx'\], known are ply, obj, glb"):
        write_frame_meshes(tmp_path, 0, {}, ("ply", "fbx"), UP)
    assert not list(tmp_path.iterdir())


def test_bodies_on_demand_are_the_same_in_any_order(session):
    model, bodies = session
    posed = PosedBodies(model, bodies, batch=2)
    for frame, people in ((98, [0]), (101, [0, 3]), (100, [0, 3]), (103, []), (7, []), (500, [])):
        meshes = posed(frame)
        assert list(meshes) == people
        for person, (vertices, _) in meshes.items():
            row = frame - bodies[person].frames[0]
            np.testing.assert_allclose(vertices, posed_vertices(model, bodies[person], [row])[0], atol=1e-6)
