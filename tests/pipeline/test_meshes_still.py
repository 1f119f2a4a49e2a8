"""PLY, OBJ and still GLB files, read back with trimesh."""

import io

import DracoPy
import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from pipeline.export.changing import ChangingScene
from pipeline.meshes.colours import linear
from pipeline.meshes.geometry import check_mesh, vertex_normals, y_up_from_world
from pipeline.meshes.glb import Skin, StillMesh, glb_changing, glb_meshes
from pipeline.meshes.obj import obj_text
from pipeline.meshes.ply import ply_bytes
from tests.pipeline.gltf_player import GltfPlayer


@pytest.fixture(scope="module")
def ball():
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    return np.add(mesh.vertices, (1.0, 2.0, 3.0)), np.asarray(mesh.faces)


def read(data, kind, **options):
    return trimesh.load(io.BytesIO(data), file_type=kind, process=False, **options)


def test_smooth_normals_of_a_ball_point_outwards(ball):
    vertices, faces = ball
    outwards = (vertices - (1, 2, 3)) / 0.5
    assert ((vertex_normals(vertices, faces) * outwards).sum(1) > 0.999).all()


def test_a_vertex_in_no_face_still_gets_a_unit_normal():
    normals = vertex_normals(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5.0]]), np.array([[0, 1, 2]]))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(normals[:3], [[0, 0, 1]] * 3, atol=1e-6)


def test_ply_round_trip(ball):
    vertices, faces = ball
    colours = np.random.default_rng(0).integers(0, 256, (len(vertices), 3), dtype=np.uint8)
    data = ply_bytes(vertices, faces, colours=colours, comments=["up is 0 0 1", "name\nend_header é"])
    mesh = read(data, "ply")
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, faces)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colours)
    np.testing.assert_allclose(mesh.vertex_normals, vertex_normals(vertices, faces), atol=1e-5)
    assert data.count(b"end_header\n") == 1 and b"comment up is 0 0 1\n" in data


def test_obj_round_trip(ball):
    vertices, faces = ball
    text = obj_text(vertices, faces, name="a person", comments=["two\nlines"])
    mesh = read(text.encode(), "obj", maintain_order=True)
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, faces)
    assert "o a_person\n" in text and "# two lines\n" in text


def test_glb_stands_upright_with_a_node_and_a_colour_a_mesh(ball):
    vertices, faces = ball
    meshes = [StillMesh("person_0", vertices, faces, (255, 0, 0)), StillMesh("é", vertices + 1, faces, (0, 0, 255))]
    scene = read(glb_meshes(meshes, np.array([0, 0, 1.0])), "glb")
    assert set(scene.geometry) == {"person_0", "é"}
    first = scene.geometry["person_0"]
    np.testing.assert_allclose(first.vertices, vertices[:, [0, 2, 1]] * (1, 1, -1), atol=1e-6)
    np.testing.assert_array_equal(first.faces, faces)
    np.testing.assert_array_equal(first.visual.material.baseColorFactor[:3], [255, 0, 0])
    assert first.volume > 0  # a mirrored mesh would be inside out


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 1, 0), (0, -1, 0), (0, 0, -1), (1, 0, 0), (0.3, -0.9, 0.2)])
def test_any_up_becomes_plus_y_by_a_proper_rotation(up):
    turn = y_up_from_world(np.array(up, float))
    np.testing.assert_allclose(turn @ (np.array(up) / np.linalg.norm(up)), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


@pytest.mark.parametrize(
    ("vertices", "faces", "problem"),
    [
        (np.zeros((3, 2)), np.zeros((1, 3), int), "shape"),
        (np.zeros((3, 3)), np.zeros((1, 4), int), "shape"),
        (np.full((3, 3), np.nan), np.array([[0, 1, 2]]), "3 of 3 vertices are not finite"),
        (np.zeros((3, 3)), np.array([[0, 1, 3]]), "0 to 3 of a mesh of 3"),
        (np.zeros((3, 3)), np.array([[0, 1, -1]]), "-1 to 1"),
    ],
)
def test_a_broken_mesh_is_refused(vertices, faces, problem):
    with pytest.raises(ValueError, match=problem):
        check_mesh(vertices, faces)


def test_quantised_meshes_are_where_they_were(ball):
    """Read by trimesh, which applies the node's scale as the extension wants it."""
    vertices, faces = ball
    colours = np.random.default_rng(0).integers(0, 256, (len(vertices), 3), dtype=np.uint8)
    meshes = [StillMesh("person_0", vertices, faces, (0, 0, 0), colours=colours)]
    small, large = (glb_meshes(meshes, np.array([0, 0, 1.0]), c) for c in ("quantised", "none"))
    a, b = (read(data, "glb").to_mesh() for data in (small, large))
    assert np.abs(a.vertices - b.vertices).max() < 1e-5  # 1 m in 65536 steps
    np.testing.assert_array_equal(a.faces, b.faces)
    player = GltfPlayer(small)
    attributes = player.json["meshes"][0]["primitives"][0]["attributes"]
    normals = player.array(attributes["NORMAL"]) / 127
    assert np.abs(normals - vertex_normals(vertices, faces)[:, [0, 2, 1]] * (1, 1, -1)).max() < 0.006
    assert player.json["extensionsRequired"] == ["KHR_mesh_quantization"]
    for view in player.json["bufferViews"]:
        assert view.get("byteStride", 4) % 4 == 0 and view["byteOffset"] % 4 == 0
    assert len(small) < 0.8 * len(large)


@pytest.mark.parametrize("compression", ["quantised", "none"])
def test_changing_meshes_are_shown_one_at_a_time_and_none_in_a_gap(ball, compression):
    vertices, faces = ball
    meshes = [(n, StillMesh("x", vertices + n, faces, (9, 9, 9))) for n in (10, 12, 18)]
    other = [(12, StillMesh("y", vertices[:, ::-1] * 2, faces[:, ::-1], (90, 9, 9)))]
    people = {"person_0": meshes, "Zoë Ångström": other}
    player = GltfPlayer(glb_changing(people, np.array([0, 1.0, 0]), 20.0, (8, 20), 2, compression))
    names = ["person_0_frame_10", "person_0_frame_12", "person_0_frame_18", "Zoë Ångström_frame_12"]
    for frame, shown in {8: [], 9: [], 10: [0], 11: [0], 12: [1, 3], 13: [1, 3], 14: [], 17: [], 18: [2], 19: [2],
                         20: []}.items():  # fmt: skip
        sizes = [np.ptp(player.still(name, (frame - 8) / 20), 0).max() for name in names]
        np.testing.assert_allclose(sizes, [(1, 1, 1, 2)[k] if k in shown else 0 for k in range(4)], atol=1e-3)
    near = 1e-5 if compression == "quantised" else 1e-6
    np.testing.assert_allclose(player.still(names[1], 4 / 20), vertices + 12, atol=near)


def test_frames_out_of_order_are_refused(ball):
    meshes = [(n, StillMesh("x", *ball, (9, 9, 9))) for n in (3, 2)]
    with pytest.raises(ValueError, match="not ascending"):
        glb_changing({"person_0": meshes}, np.array([0, 1.0, 0]), 20.0, (0, 5), 1)


def test_obj_with_colours_is_read_with_them(ball):
    vertices, faces = ball
    colours = np.random.default_rng(0).integers(0, 256, (len(vertices), 3), dtype=np.uint8)
    mesh = read(obj_text(vertices, faces, colours=colours).encode(), "obj", maintain_order=True)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colours)


def test_draco_is_a_fraction_and_where_it_was(ball):
    """Unpacked with Google's decoder by the numbers that the file gives, nothing else known."""
    vertices, faces = ball
    colours = np.random.default_rng(0).integers(0, 256, (len(vertices), 3), dtype=np.uint8)
    uv = np.random.default_rng(1).random((len(vertices), 2))
    skin = Skin(np.arange(len(vertices)), uv, faces, b"\xff\xd8jpeg")
    meshes = [StillMesh("Zoë", vertices, faces, (9, 9, 9), colours=colours),
              StillMesh("b", vertices, faces, (9, 9, 9), skin=skin)]  # fmt: skip
    sizes = {c: len(glb_meshes(meshes, np.array([0, 0, 1.0]), c)) for c in ("none", "quantised", "draco")}
    assert sizes["draco"] < 0.65 * sizes["quantised"] < 0.65 * sizes["none"]  # colours and coordinates are noise here
    player = GltfPlayer(glb_meshes(meshes, np.array([0, 0, 1.0]), "draco"))
    assert player.json["extensionsRequired"] == player.json["extensionsUsed"] == ["KHR_draco_mesh_compression"]
    for node, truth in (("Zoë", colours), ("b", uv)):
        (primitive,) = player.json["meshes"][player.nodes[player.node(node)]["mesh"]]["primitives"]
        held = primitive["extensions"]["KHR_draco_mesh_compression"]
        view = player.json["bufferViews"][held["bufferView"]]
        data = player.buffer[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        mesh = DracoPy.decode(data)
        found = {k: mesh.get_attribute_by_unique_id(i)["data"] for k, i in held["attributes"].items()}
        assert set(found) == set(primitive["attributes"])
        for name, values in found.items():
            accessor = player.json["accessors"][primitive["attributes"][name]]
            assert "bufferView" not in accessor and accessor["count"] == len(values)
        assert player.json["accessors"][primitive["indices"]]["count"] == mesh.faces.size
        box = player.json["accessors"][primitive["attributes"]["POSITION"]]
        np.testing.assert_allclose([box["min"], box["max"]], [found["POSITION"].min(0), found["POSITION"].max(0)])
        upright = vertices[:, [0, 2, 1]] * (1, 1, -1)
        away, which = cKDTree(upright).query(found["POSITION"])
        assert away.max() < 1e-4 and len(np.unique(which)) == len(vertices)  # 1 m in 16384 steps
        volume = trimesh.Trimesh(found["POSITION"], mesh.faces, process=False).volume
        assert volume == pytest.approx(trimesh.Trimesh(vertices, faces).volume, rel=1e-3)
        if node == "Zoë":
            np.testing.assert_array_equal(found["COLOR_0"][:, :3], np.rint(linear(truth[which]) * 65535))
            accessor = player.json["accessors"][primitive["attributes"]["COLOR_0"]]
            assert accessor["normalized"] and accessor["componentType"] == 5123  # the only wide ones that are allowed
        else:
            assert np.abs(found["TEXCOORD_0"] - (truth[which] * (1, -1) + (0, 1))).max() < 2**-12
        outwards = (found["POSITION"] - upright.mean(0)) / 0.5
        assert (found["NORMAL"] * outwards).sum(1).min() > 0.995


def test_a_mesh_of_pieces_with_triangles_without_area_goes_through_draco(ball):
    vertices, faces = ball
    many = np.concatenate([vertices + 2 * k for k in range(10)])
    parts = np.concatenate([faces + k * len(vertices) for k in range(10)] + [[[0, 0, 1], [2, 2, 2]]])
    player = GltfPlayer(glb_meshes([StillMesh("x", many, parts, (9, 9, 9))], np.array([0, 1.0, 0]), "draco"))
    held = player.json["meshes"][0]["primitives"][0]["extensions"]["KHR_draco_mesh_compression"]
    view = player.json["bufferViews"][held["bufferView"]]
    mesh = DracoPy.decode(player.buffer[view["byteOffset"] : view["byteOffset"] + view["byteLength"]])
    found = trimesh.Trimesh(mesh.points, mesh.faces)
    assert found.body_count == 10
    assert found.volume == pytest.approx(10 * trimesh.Trimesh(vertices, faces).volume, rel=5e-3)
    with pytest.raises(ValueError, match="no faces"):
        glb_meshes([StillMesh("x", many, parts[:0], (9, 9, 9))], np.array([0, 1.0, 0]), "draco")


def test_a_scene_that_changes_keeps_its_textures_and_its_size(ball):
    """Of 32 textured frames so many as fit, each with its own texture."""
    vertices, faces = ball
    rng = np.random.default_rng(1)
    scene = ChangingScene(130_000, 15.0, 1, 0)
    images = {}
    for n in range(32):
        images[n] = b"\xff\xd8" + rng.bytes(9000)
        skin = Skin(np.arange(len(vertices)), rng.random((len(vertices), 2)), faces, images[n])
        scene.add(n, {0: StillMesh("person_0", vertices + 0.01 * n, faces, (9, 9, 9), skin=skin)})
    data = scene.glb(np.array([0, 1.0, 0]), 31, "quantised")
    assert 65_000 < len(data) <= 130_000 and scene.stride > 1
    player = GltfPlayer(data)
    for place, n in enumerate(range(0, 32, scene.stride)):
        view = player.json["bufferViews"][player.json["images"][place]["bufferView"]]
        assert player.buffer[view["byteOffset"] : view["byteOffset"] + view["byteLength"]] == images[n]
    assert len(player.json["images"]) == len(range(0, 32, scene.stride))
