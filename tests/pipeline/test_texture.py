"""Texture against a ball whose colours are known: what views give is what is painted on it."""

import io

import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree

from pipeline.cameras import Camera
from pipeline.meshes.colours import linear
from pipeline.meshes.geometry import vertex_normals
from pipeline.meshes.glb import Skin, StillMesh, glb_meshes
from pipeline.meshes.simplify import simplified
from pipeline.raster_open3d import Open3DRaster
from pipeline.registration.dressed import Instant, Seen, register
from pipeline.registration.offsets import RegistrationOptions, distances_to, offsets_of
from pipeline.registration.outwards import Outwards
from pipeline.texture import unwrap
from pipeline.texture.atlas import Atlas, decoded, encoded, looked_up
from pipeline.texture.colours import believed, carried_over, filled, nearby, vertex_colours
from pipeline.texture.exposure import camera_gains
from pipeline.texture.unwrap import texture_of, unwrapped
from pipeline.texture.views import ColourView, colour_views

RADIUS = 0.3
RASTER = Open3DRaster(threads=1)


def ball(rings=48, radius=RADIUS):
    """Vertices, faces, and texture coordinates whose seam doubles vertices."""
    v, u = np.mgrid[0 : rings + 1, 0 : 2 * rings + 1]
    polar, turn = np.pi * v / rings, np.pi * u / rings
    grid = np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], -1) * radius
    index = np.where(u == 2 * rings, v * 2 * rings, v * 2 * rings + u)
    index = np.where(v == 0, 0, np.where(v == rings, rings * 2 * rings, index))
    vertices = np.zeros(((rings + 1) * 2 * rings, 3))
    vertices[index.ravel()] = grid.reshape(-1, 3)
    at = v * (2 * rings + 1) + u
    quads = np.stack([at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]], -1).reshape(-1, 4)
    uv_faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    faces = index.ravel()[uv_faces]
    real = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    uv = np.stack([u / (2 * rings), 1 - v / rings], -1).reshape(-1, 2)
    used, faces = np.unique(faces[real], return_inverse=True)
    return vertices[used], faces.reshape(-1, 3), uv, uv_faces[real]


def painted(points):
    """The true colour of a place on the ball: smooth, different everywhere."""
    direction = points / np.linalg.norm(points, axis=-1, keepdims=True)
    return 128 + 70 * np.sin(2.5 * direction + np.array([0.3, 1.1, 2.2]))


def ring(count, size=(320, 320)):
    cameras = []
    for k in range(count):
        angle = 2 * np.pi * k / count
        eye = np.array([2 * np.cos(angle), 2 * np.sin(angle), 0.5])
        forward = -eye / np.linalg.norm(eye)
        right = np.cross(forward, [0, 0, 1])
        right /= np.linalg.norm(right)
        R = np.stack([right, np.cross(forward, right), forward])
        K = np.array([[700, 0, 159.5], [0, 700, 159.5], [0, 0, 1.0]])
        cameras.append(Camera(f"c{k}", size, K, R, -R @ eye))
    return cameras


def seen_by(camera, vertices, faces, gain=1.0):
    """The picture of the painted ball, its mask and depth."""
    result = RASTER.render(vertices, faces, camera)
    places = result.interpolate(faces, vertices, 1.0)
    picture = np.where(result.hit[..., None], painted(places) * gain, 20)
    return ColourView(camera, np.clip(np.rint(picture), 0, 255).astype(np.uint8), result.hit, result.depth)


@pytest.fixture(scope="module")
def made():
    vertices, faces, uv, uv_faces = ball()
    return vertices, faces, Atlas(faces, uv, uv_faces, 128)


def test_vertices_take_the_colours_that_are_painted_on_them(made):
    vertices, faces, _ = made
    views = [seen_by(c, vertices, faces) for c in ring(6)]
    colours, seen = vertex_colours(vertices, faces, views, np.ones((6, 3)))
    error = np.abs(colours - painted(vertices))
    assert seen.mean() > 0.8 and error[seen].mean() < 2 and np.quantile(error[seen], 0.99) < 8
    assert error[~seen].mean() < 30  # a plausible guess where nobody saw it


def test_the_back_keeps_no_colour_of_the_front(made):
    """Through a view's eyes the far side is hidden, though its points fall on the person's pixels."""
    vertices, faces, _ = made
    (camera,) = ring(1)
    _, weights = seen_by(camera, vertices, faces).sample(vertices, vertices / RADIUS)
    assert weights[vertices[:, 0] < 0].max() == 0 and (weights[vertices[:, 0] > 0.25] > 0).all()


def test_differing_exposures_are_found_and_taken_back(made):
    vertices, faces, _ = made
    true = np.array([[1.0, 1.1, 0.8], [0.8, 0.9, 1.1], [1.2, 1.0, 1.0], [1.0, 1.0, 1.15]])
    views = [seen_by(c, vertices, faces, gain) for c, gain in zip(ring(4), true, strict=True)]
    samples = [v.sample(vertices, vertices / RADIUS) for v in views]
    gains = camera_gains(*(np.stack([s[k] for s in samples], 1) for k in (0, 1)))
    together = gains * true
    assert np.abs(together / together.mean(0) - 1).max() < 0.02
    colours, seen = vertex_colours(vertices, faces, views, gains)
    shade = (colours[seen] / painted(vertices)[seen]).mean(0)
    assert np.abs(colours[seen] / shade - painted(vertices)[seen]).mean() < 3


def test_a_camera_that_shares_nothing_keeps_its_colours():
    colours = np.full((50, 3, 3), 100.0)
    colours[:, 1] *= 1.3
    weights = np.ones((50, 3))
    weights[:, 2] = 0
    gains = camera_gains(colours, weights)
    assert gains[2] == pytest.approx(1.0) and (gains[0] / gains[1]) == pytest.approx(1.3, rel=1e-3)


def test_what_no_view_sees_looks_as_it_usually_does(made):
    """One camera alone; the usual colours are the true ones, 20 per cent too dark."""
    vertices, faces, _ = made
    (camera,) = ring(1)
    usual = nearby(vertices, vertices[::3], 0.8 * painted(vertices[::3]))
    colours, seen = vertex_colours(vertices, faces, [seen_by(camera, vertices, faces)], np.ones((1, 3)), usual)
    far = vertices[:, 0] < -0.25
    assert not seen[far].any() and np.abs(colours[far] - 0.8 * painted(vertices[far])).mean() < 8
    sure = vertices[:, 0] > 0.2
    assert np.abs(colours[sure] - painted(vertices[sure])).mean() < 4
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    steps = np.abs(np.diff(colours[edges].astype(int), axis=1)[:, 0] - np.diff(painted(vertices)[edges], axis=1)[:, 0])
    assert np.quantile(steps, 0.999) < 12  # no seam: the step of 20 per cent is some 25


def test_what_one_view_alone_sees_is_not_believed(made):
    """Something red before the ball in one of six views, which the surface does not have."""
    vertices, faces, _ = made
    views = [seen_by(c, vertices, faces) for c in ring(6)]
    image = views[0].image.copy()
    image[140:200, 140:180] = (250, 10, 10)
    views[0] = ColourView(views[0].camera, image, views[0].mask, views[0].depth)
    plain, _ = vertex_colours(vertices, faces, views, np.ones((6, 3)))
    robust, _ = vertex_colours(vertices, faces, views, np.ones((6, 3)), painted(vertices) * 0.95)
    covered = np.abs(plain - painted(vertices)).max(-1) > 40
    assert covered.sum() > 30
    error = [np.abs(c - painted(vertices))[covered].mean() for c in (plain, robust)]
    assert error[1] < 0.35 * error[0]


def test_without_any_view_the_usual_colours_remain_and_without_those_grey(made):
    vertices, faces, _ = made
    none = np.ones((0, 3))
    colours, seen = vertex_colours(vertices, faces, [], none, painted(vertices))
    assert not seen.any() and np.abs(colours - painted(vertices)).max() <= 0.5
    assert (vertex_colours(vertices, faces, [], none)[0] == 128).all()


def test_a_light_mesh_shows_the_colours_of_the_one_it_stands_for(made):
    vertices, faces, _ = made
    light = simplified(vertices, faces, 0.004)
    colours = carried_over(light.vertices, light.faces, vertices, painted(vertices))
    error = np.abs(colours - painted(light.vertices))
    assert len(light.faces) < 0.3 * len(faces) and error.mean() < 3


def test_an_arm_does_not_colour_the_chest_behind_it():
    """A small ball before a wall: where the camera's own person hides something, the rim is not believed."""
    near, faces, _, _ = ball(12, 0.1)
    wall = np.array([[-0.5, y, z] for y in (-0.6, 0.6) for z in (-0.6, 0.6)])
    vertices = np.concatenate([near, wall])
    (camera,) = ring(1)
    view = seen_by(camera, vertices, np.concatenate([faces, np.array([[0, 1, 2], [1, 3, 2]]) + len(near)]))
    spots = np.column_stack([np.full(80, -0.5), np.linspace(-0.4, 0.4, 80), np.full(80, -0.125)])  # behind
    _, weights = view.sample(spots, np.tile([1.0, 0, 0], (80, 1)))
    hidden = np.abs(spots[:, 1]) < 0.1
    assert weights[hidden].max() == 0 and weights[np.abs(spots[:, 1]) > 0.25].min() > 0
    rim = (np.abs(spots[:, 1]) > 0.126) & (np.abs(spots[:, 1]) < 0.14)
    assert weights[rim].mean() < 0.6 * weights[np.abs(spots[:, 1]) > 0.25].max()


def test_a_hand_that_the_surface_lacks_does_not_colour_what_is_behind_it(made):
    """A red plate before the ball in all pictures, of which only the body knows; nearer plates are the ball's own."""
    vertices, faces, _ = made
    (camera,) = ring(1)
    hands = np.array([[0.5, y, z] for y in (-0.1, 0.1) for z in (-0.1, 0.1)]), np.array([[0, 1, 2], [1, 3, 2]])
    plate = RASTER.render(*hands, camera).hit
    image = np.where(plate[..., None], (255, 0, 0), seen_by(camera, vertices, faces).image).astype(np.uint8)
    seen = {"c0": Seen(camera, image, RASTER.render(vertices, faces, camera).hit)}

    def colours(hands):
        (view,) = colour_views(vertices, faces, seen, RASTER, hands).values()
        return vertex_colours(vertices, faces, [view], np.ones((1, 3)))

    found, known = colours(hands)
    front, side, height = vertices[:, 0] > 0.2, np.abs(vertices[:, 1]), vertices[:, 2]
    behind, beside = front & (side < 0.05) & (np.abs(height + 0.07) < 0.05), front & (height > 0.1)
    assert behind.sum() > 20 and not known[behind].any() and known[beside].all()
    assert np.abs(found - painted(vertices))[beside].mean() < 8
    assert (colours(None)[0][behind] == (255, 0, 0)).all(-1).all()
    near = (hands[0] - (0.19, 0, 0), hands[1])
    assert colours(near)[1][behind].all()


def test_what_nobody_saw_lies_between_its_neighbours(made):
    vertices, faces, _ = made
    known = np.abs(vertices[:, 2]) > 0.1
    field = vertices[:, 2:3]  # a membrane between two caps
    assert np.abs(filled(np.where(known[:, None], field, 99.0), known, faces) - field).max() < 0.03


def test_what_was_hardly_seen_takes_the_colours_around_it(made):
    vertices, faces, _ = made
    truth, weight = painted(vertices), np.ones(len(vertices))
    rim = np.abs(vertices[:, 2] - 0.1) < 0.02
    wrong = np.where(rim[:, None], (255, 0, 255), truth)
    found = believed(wrong, np.where(rim, 1e-3, weight), faces, 0.02)
    assert rim.sum() > 100 and np.abs(wrong - truth)[rim].mean() > 60
    assert np.abs(found - truth)[rim].mean() < 12 and np.abs(found - truth)[~rim].max() < 5
    assert np.abs(believed(wrong, weight, faces, 0.02) - wrong)[rim].mean() < 5


def test_no_views_and_nothing_known_give_grey(made):
    vertices, faces, _ = made
    colours, seen = vertex_colours(vertices, faces, [], np.ones((0, 3)))
    assert not seen.any() and (colours == 128).all()


def test_the_atlas_shows_the_right_place_of_the_surface(made):
    vertices, faces, atlas = made
    image = atlas.image(painted(atlas.points(vertices)))
    which, uv, split_faces = atlas.split()
    at = np.clip(np.rint(np.column_stack([uv[:, 0], 1 - uv[:, 1]]) * 128 - 0.5), 0, 127).astype(int)
    away = np.abs(image[at[:, 1], at[:, 0]] - painted(vertices[which]))
    assert np.median(away) < 4 and (vertices[which][split_faces] == vertices[faces]).all()


# --- registration ---------------------------------------------------------------------------------------------------


def test_the_skin_moves_out_to_the_surface_and_is_coloured(made):
    vertices, faces, atlas = made
    clothed = vertices * (1 + 0.1 * (vertices[:, 2:] > 0))  # the upper half wears three centimetres
    cameras = ring(5)
    instants = []
    for _ in range(2):
        pictures = {c.name: seen_by(c, clothed, faces) for c in cameras}
        views = {n: Seen(v.camera, v.image, v.mask) for n, v in pictures.items()}
        instants.append(Instant(vertices, (clothed, faces), views))
    outwards, names = Outwards(vertices, faces), [c.name for c in cameras]
    found = register(instants, outwards, np.zeros(len(vertices)), names, RASTER, atlas)
    high, low = vertices[:, 2] > 0.08, vertices[:, 2] < -0.08
    assert np.abs(found.offsets[high] - 0.03).max() < 0.004 and np.abs(found.offsets[low]).max() < 0.004
    assert np.abs(found.vertex_colours[found.seen] - painted(vertices)[found.seen]).mean() < 4
    assert found.texture.shape == (128, 128, 3) and found.surfaces == 2


def test_holes_and_frames_without_a_surface_do_not_move_the_skin_wrongly(made):
    vertices, faces, _ = made
    options = RegistrationOptions()
    holed = faces[vertices[faces].mean(1)[:, 0] < 0.2]
    outwards = Outwards(vertices, faces)
    distances = distances_to(vertices, outwards, vertices * 1.1, holed, options)
    assert np.isnan(distances[vertices[:, 0] > 0.25]).all()
    assert np.nanmax(np.abs(distances - 0.03)) < 0.003
    offsets = offsets_of(distances[None], outwards, np.zeros(len(vertices)), options)
    assert np.abs(offsets - 0.03).max() < 0.004  # the hole takes what is about it


def test_a_far_surface_is_none():
    vertices, faces, _, _ = ball(12)
    outwards = Outwards(vertices, faces)
    assert np.isnan(distances_to(vertices, outwards, vertices * 2, faces, RegistrationOptions())).all()


def test_a_ray_that_went_astray_does_not_tear_the_skin(made):
    vertices, faces, _ = made
    distances = np.full(len(vertices), 0.03)
    distances[np.random.default_rng(0).choice(len(vertices), len(vertices) // 20, replace=False)] = 0.18
    offsets = offsets_of(distances[None], Outwards(vertices, faces), np.zeros(len(vertices)), RegistrationOptions())
    assert np.abs(offsets - 0.03).max() < 0.003


def test_what_stays_stays_and_nothing_seen_moves_nothing(made):
    vertices, faces, _ = made
    outwards, still = Outwards(vertices, faces), (vertices[:, 2] > 0.1).astype(float)
    offsets = offsets_of(np.full((2, len(vertices)), 0.03), outwards, still, RegistrationOptions())
    assert (offsets[still == 1] == 0).all() and np.abs(offsets[vertices[:, 2] < -0.1] - 0.03).max() < 0.003
    nothing = offsets_of(np.full((2, len(vertices)), np.nan), outwards, still, RegistrationOptions())
    assert (nothing == 0).all()


def test_small_parts_go_along_instead_of_bursting(made):
    """A toe on the ball, and a ball inside it that nobody sees: moved out by more than the toe's size."""
    vertices, faces, _ = made
    direction = vertices / RADIUS
    away = np.arccos(np.clip(direction @ [1, 0, 0], -1, 1))
    rest = vertices + direction * (0.02 * np.exp(-((away / 0.06) ** 2)))[:, None]
    both = np.concatenate([rest, 0.5 * vertices])
    outwards = Outwards(both, np.concatenate([faces, faces + len(vertices)]))
    assert outwards.seen[: len(vertices)].all() and not outwards.seen[len(vertices) :].any()
    ways = outwards.directions(both)[: len(vertices)]
    toe = away < 0.1
    assert (ways[toe] @ [1, 0, 0]).min() > 0.97 > 0.93 > (vertex_normals(rest, faces)[toe] @ [1, 0, 0]).min()
    assert ((ways * direction).sum(1)).min() > 0.97
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    np.testing.assert_allclose(outwards.directions(both @ turn.T)[: len(vertices)], ways @ turn.T, atol=1e-6)


# --- in files -------------------------------------------------------------------------------------------------------


def test_vertex_colours_stand_in_the_file_as_the_format_wants_them():
    vertices, faces, _, _ = ball(8)
    colours = np.clip(painted(vertices), 0, 255).astype(np.uint8)
    mesh = StillMesh("ball", vertices, faces, (255, 0, 0), colours=colours)
    gltf = pygltflib.GLTF2.load_from_bytes(glb_meshes([mesh], np.array([0, 1.0, 0])))
    attribute = gltf.accessors[gltf.meshes[0].primitives[0].attributes.COLOR_0]
    view = gltf.bufferViews[attribute.bufferView]
    data = gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    stored = np.frombuffer(data, np.uint16).reshape(-1, 4) / 65535
    assert attribute.normalized and attribute.componentType == 5123 and (stored[:, 3] == 1).all()
    assert np.abs(stored[:, :3] - linear(colours)).max() < 1e-4
    assert gltf.materials[0].pbrMetallicRoughness.baseColorFactor == [1, 1, 1, 1]


def test_a_texture_is_a_jpeg():
    image = Image.open(io.BytesIO(encoded(np.full((16, 16, 3), (200, 30, 30), np.uint8))))
    assert image.format == "JPEG" and np.abs(np.array(image)[8, 8].astype(int) - (200, 30, 30)).max() < 8


def test_a_mesh_without_coordinates_gets_some_and_a_texture_that_shows_what_is_painted(made):
    """Read back with trimesh and looked up at the corners of triangles."""
    fine, faces, _ = made
    views, none = [seen_by(c, fine, faces) for c in ring(6)], np.ones((6, 3))
    light = simplified(fine, faces, 0.004)
    atlas = unwrapped(light.vertices, light.faces, 256)
    colours, seen = vertex_colours(fine, faces, views, none)
    image = texture_of(atlas, light.vertices, (fine, faces), colours, views, none)
    which, uv, uv_faces = atlas.split()
    mesh = StillMesh("é ball", light.vertices, light.faces, (0, 0, 0), skin=Skin(which, uv, uv_faces, encoded(image)))
    data = glb_meshes([mesh], np.array([0, 1.0, 0]), compression="quantised")
    found = trimesh.load(io.BytesIO(data), file_type="glb", process=False).geometry[mesh.name].visual
    shown = np.array(found.material.baseColorTexture.convert("RGB"))
    places = np.asarray(found.uv) * (1, -1) + (0, 1)
    middles = places[uv_faces].mean(1)
    pixels = np.clip((middles * 256).astype(int), 0, 255)
    truth = painted(light.vertices[light.faces].mean(1))
    error = np.abs(shown[pixels[:, 1], pixels[:, 0]] - truth)
    known = seen[cKDTree(fine).query(light.vertices[light.faces].mean(1))[1]]
    assert error[known].mean() < 5
    with pytest.raises(ValueError, match="no texture"):
        unwrapped(fine, faces[:0], 64)


def test_both_sides_of_a_seam_look_alike(made):
    """Stripes as wide as ten texels, looked up on either side of edges that lie on the borders of two charts."""
    fine, faces, _ = made
    light = simplified(fine, faces, 0.004)
    atlas = unwrapped(light.vertices, light.faces, 128)
    size = np.sqrt(4 * np.pi * RADIUS**2 / 128**2)
    striped = 128 + 100 * np.sin(atlas.points(light.vertices) * (2 * np.pi / (10 * size)))
    image = decoded(encoded(atlas.image(striped), 95))
    edges = {}
    for face, corners in zip(atlas.faces.tolist(), atlas.uv_faces.tolist(), strict=True):
        for k in range(3):
            ends = sorted([(face[k], corners[k]), (face[k - 1], corners[k - 1])])
            edges.setdefault((ends[0][0], ends[1][0]), set()).add((ends[0][1], ends[1][1]))
    seams = np.array([list(sides) for sides in edges.values() if len(sides) == 2])
    middles = atlas.uv[seams].mean(2)
    steps = np.abs(np.diff(looked_up(image, middles), axis=1))
    assert len(seams) > 100 and steps.mean() < 14  # 29 where texels beside charts repeat their neighbours


def test_a_mesh_of_ten_pieces_and_one_flat_triangle_has_a_texture(made):
    vertices, faces, _ = made
    light = simplified(vertices, faces, 0.01)
    many = np.concatenate([light.vertices + np.array([k, 0, 0]) for k in range(10)])
    parts = np.concatenate([light.faces + k * len(light.vertices) for k in range(10)] + [[[0, 0, 1]]])
    atlas = unwrapped(many, parts, 256)
    ends = np.where(many[:, :1] < 4.5, 0, 255) * np.ones(3)
    image = texture_of(atlas, many, (many, parts), ends, [], np.ones((0, 3)))
    which, uv, uv_faces = atlas.split()
    assert (which[uv_faces] == parts).all()
    middles = uv[uv_faces[:-1]].mean(1)
    shown = looked_up(image, middles)
    assert np.abs(shown - np.where(many[parts[:-1, 0], :1] < 4.5, 0, 255)).mean() < 3


def test_a_texture_is_looked_up_between_its_texels():
    image = np.zeros((4, 4, 3), np.uint8)
    image[0, 0], image[0, 1] = 100, 200  # the upper left, where v is 1
    at = np.array([[0.125, 0.875], [0.25, 0.875], [0.375, 0.875], [0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(looked_up(image, at)[:, 0], [100, 150, 200, 100, 0])


def test_without_a_view_a_texture_is_what_the_vertices_say(made):
    vertices, faces, _ = made
    atlas = unwrapped(vertices[:], faces, 128)
    blue = np.full((len(vertices), 3), (9, 90, 200))
    image = texture_of(atlas, vertices, (vertices, faces), blue, [], np.ones((0, 3)))
    assert (image == (9, 90, 200)).all()


def asked_of(monkeypatch, tmp_path, program):
    """Coordinates are asked of another program than ours."""
    stand_in = tmp_path / "child.py"
    stand_in.write_text(program)
    monkeypatch.setattr(unwrap.unwrap_child, "__file__", str(stand_in))


def test_a_child_that_hangs_is_ended_and_asked_again(made, monkeypatch, tmp_path):
    light = simplified(made[0], made[1], 0.02)
    usual = unwrapped(light.vertices, light.faces, 64)
    real, mark = unwrap.unwrap_child.__file__, tmp_path / "asked"
    asked_of(
        monkeypatch,
        tmp_path,
        f"""
import pathlib, runpy, time
if not pathlib.Path({str(mark)!r}).exists():
    pathlib.Path({str(mark)!r}).touch()
    time.sleep(600)
runpy.run_path({real!r}, run_name="__main__")
""",
    )
    monkeypatch.setattr(unwrap, "PATIENCE_S", (3.0, 10.0, 300.0))
    again = unwrapped(light.vertices, light.faces, 64)
    assert mark.exists() and (again.uv == usual.uv).all() and (again.uv_faces == usual.uv_faces).all()


def test_coordinates_that_never_come_are_an_error_and_so_is_a_child_that_breaks(made, monkeypatch, tmp_path):
    light = simplified(made[0], made[1], 0.02)
    asked_of(monkeypatch, tmp_path, "import time; time.sleep(600)")
    monkeypatch.setattr(unwrap, "PATIENCE_S", (0.2, 0.3))
    with pytest.raises(unwrap.UnwrapStalled, match="2 tries"):
        unwrapped(light.vertices, light.faces, 64)
    asked_of(monkeypatch, tmp_path, "raise SystemExit('out of paper')")
    monkeypatch.setattr(unwrap, "PATIENCE_S", (300.0,))
    with pytest.raises(RuntimeError, match="out of paper"):
        unwrapped(light.vertices, light.faces, 64)
