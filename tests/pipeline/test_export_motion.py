"""Exchange formats of motion, read back by independent readers or by the rules of the format."""

import io
import re
import zipfile

import c3d
import numpy as np
import pytest
import torch
from pxr import Usd, UsdGeom, UsdShade, UsdSkel, UsdValidation
from scipy.spatial.transform import Rotation

from nets.body import BodyModel
from pipeline.export.bodies import posed_vertices, skinned_person
from pipeline.export.bvh import bvh_text
from pipeline.export.markers import c3d_bytes, trc_text
from pipeline.export.moving import motion_of
from pipeline.export.parameters import smplx_arrays
from pipeline.export.people import npz_bytes
from pipeline.export.usd import usd_bytes
from pipeline.meshes.colours import linear
from pipeline.meshes.geometry import y_up_from_world
from pipeline.meshes.glb import Skin
from pipeline.texture.atlas import decoded, encoded
from tests.pipeline.small_body import moving_body, small_body_arrays

UP, FPS, FRAMES, ABSENT = np.array([0.1, -0.2, 0.95]), 50.0, np.arange(100, 112, 2), (104,)


@pytest.fixture(scope="module")
def model():
    return BodyModel(small_body_arrays(), dtype=torch.float64)


@pytest.fixture(scope="module")
def body():
    return moving_body(FRAMES, seed=3, absent=ABSENT)


@pytest.fixture(scope="module")
def motion(model, body):
    return motion_of(skinned_person(model, 0, body), UP, FPS, step=2)


def true_joints(model, body, row):
    """(55, 3) +y up, by the body model."""
    names = "global_orient body_pose left_hand_pose right_hand_pose jaw_pose expression transl".split()
    parameters = {n: torch.as_tensor(getattr(body, n)[row : row + 1]).double() for n in names}
    joints = model.joints_only(betas=torch.as_tensor(body.betas)[None].double(), **parameters)[0].numpy()
    # Expressions are zero in the track; the rest of the body moves as its joints do.
    return joints @ y_up_from_world(UP).T


def bvh_joints(text):
    """Positions (F, 55, 3) of the named joints by the rules of the format."""
    hierarchy, moving = text.split("MOTION\n")
    names, parents, offsets, stack = [], [], [], []
    end = False
    for line in map(str.strip, hierarchy.splitlines()):
        if line.startswith(("ROOT", "JOINT")):
            parents.append(stack[-1] if stack else -1)
            names.append(line.split()[1])
        elif line.startswith("End"):
            end = True
        elif line == "{":
            stack.append(len(names) - 1 if not end else -1)
        elif line == "}":
            stack.pop()
            end = False
        elif line.startswith("OFFSET") and not end:
            offsets.append([float(v) for v in line.split()[1:]])
    rows = np.array([[float(v) for v in r.split()] for r in moving.splitlines()[2:]])
    out = np.zeros((len(rows), len(names), 3))
    for f, row in enumerate(rows):
        world = []
        for j, parent in enumerate(parents):
            local = Rotation.from_euler("ZXY", row[3 + 3 * j : 6 + 3 * j], degrees=True).as_matrix()
            if parent < 0:
                world.append(local)
                out[f, j] = row[:3] + offsets[j]
            else:
                world.append(world[parent] @ local)
                out[f, j] = out[f, parent] + world[parent] @ offsets[j]
    return names, out, float(re.search(r"Frame Time: (\S+)", moving)[1])


def test_bvh_moves_as_the_body_does(model, body, motion):
    names, joints, frame_time = bvh_joints(bvh_text(motion))
    assert frame_time == pytest.approx(2 / FPS) and len(joints) == len(FRAMES)
    order = [motion.person.joint_names.index(n) for n in names]
    for row in np.flatnonzero(body.valid):
        assert np.abs(joints[row] - true_joints(model, body, row)[order]).max() < 1e-4
    held = int(np.flatnonzero(ABSENT[0] == FRAMES)[0])
    assert np.allclose(joints[held], joints[held - 1])


def test_usd_shows_the_skinned_body_and_hides_the_absent(model, body, motion, tmp_path):
    path = tmp_path / "s.usdc"
    path.write_bytes(usd_bytes("usdc", [motion], (100, 110), FPS))
    stage = Usd.Stage.Open(str(path))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetTimeCodesPerSecond() == FPS and stage.GetEndTimeCode() == 110
    cache = UsdSkel.Cache()
    root = UsdSkel.Root.Get(stage, "/session/person_0")
    cache.Populate(root, Usd.PrimDefaultPredicate)
    skinning = cache.GetSkinningQuery(stage.GetPrimAtPath("/session/person_0/body"))
    skeleton = cache.GetSkelQuery(UsdSkel.Skeleton.Get(stage, "/session/person_0/skeleton"))
    truth = posed_vertices(model, body, np.arange(len(FRAMES))) @ y_up_from_world(UP).T
    rest = UsdGeom.Mesh.Get(stage, "/session/person_0/body").GetPointsAttr().Get()
    for row in np.flatnonzero(body.valid):
        points = type(rest)(rest)
        transforms = skeleton.ComputeSkinningTransforms(Usd.TimeCode(float(FRAMES[row])))
        assert skinning.ComputeSkinnedPoints(transforms, points, Usd.TimeCode(float(FRAMES[row])))
        assert np.abs(np.array(points) - truth[row]).max() < 1e-4
    visible = UsdGeom.Imageable(root).GetVisibilityAttr()
    shown = [visible.Get(Usd.TimeCode(float(f))) == "inherited" for f in FRAMES]
    assert shown == body.valid.tolist()
    assert visible.Get(Usd.TimeCode(200.0)) == "invisible"


def test_usdz_is_a_package_that_opens(motion, tmp_path):
    path = tmp_path / "s.usdz"
    path.write_bytes(usd_bytes("usdz", [motion], (100, 110), FPS))
    assert Usd.Stage.Open(str(path)).GetPrimAtPath("/session/person_0/body").IsValid()


@pytest.fixture(scope="module")
def dressed(model, body):
    """Left half of the texture red, right half blue; the first half of the vertices lies in the left."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16], image[:, 16:] = (200, 0, 0), (0, 0, 200)
    count, faces = model.vertex_count, model.faces.cpu().numpy()
    uv = np.column_stack([np.where(np.arange(count) < count // 2, 0.2, 0.8), np.linspace(0.1, 0.9, count)])
    skin = Skin(np.arange(count), uv, faces, encoded(image))
    return motion_of(skinned_person(model, 0, body, skin=skin), UP, FPS, step=2)


def test_usdz_holds_the_texture_where_the_mesh_has_it(dressed, tmp_path):
    path = tmp_path / "s.usdz"
    path.write_bytes(usd_bytes("usdz", [dressed], (100, 110), FPS))
    stage = Usd.Stage.Open(str(path))
    mesh = stage.GetPrimAtPath("/session/person_0/body")
    material = UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()[0]
    shader = material.ComputeSurfaceSource()[0]
    texture = UsdShade.Shader(shader.GetInput("diffuseColor").GetConnectedSource()[0])
    asset = texture.GetInput("file").Get()
    with zipfile.ZipFile(path) as package:
        image = decoded(package.read(re.search(r"\[(.+)\]", asset.resolvedPath)[1]))
    primvar = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st")
    assert primvar.GetInterpolation() == "faceVarying"
    uv = np.array(primvar.Get())
    corners = np.array(UsdGeom.Mesh(mesh).GetFaceVertexIndicesAttr().Get())
    texel = image[(32 * (1 - uv[:, 1])).astype(int), (32 * uv[:, 0]).astype(int)].astype(int)
    red = corners < len(dressed.person.vertices) // 2
    assert (texel[red][:, 0] > 150).all() and (texel[~red][:, 2] > 150).all()


@pytest.mark.parametrize("kind", ["usdc", "usdz"])
def test_the_validators_of_usd_find_nothing_wrong(dressed, tmp_path, kind):
    path = tmp_path / f"s.{kind}"
    path.write_bytes(usd_bytes(kind, [dressed], (100, 110), FPS))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(Usd.Stage.Open(str(path)))
    assert len(validators) > 10 and [(e.GetName(), e.GetMessage()) for e in errors] == []


def test_usdc_has_the_textures_colours_at_the_vertices(dressed, motion, tmp_path):
    def shown(people, name):
        (tmp_path / name).write_bytes(usd_bytes("usdc", people, (100, 110), FPS))
        stage = Usd.Stage.Open(str(tmp_path / name))
        primvar = UsdGeom.Mesh.Get(stage, "/session/person_0/body").GetDisplayColorPrimvar()
        return primvar.GetInterpolation(), np.array(primvar.Get())

    where, colours = shown([dressed], "s.usdc")
    half = len(dressed.person.vertices) // 2
    assert where == "vertex" and len(colours) == len(dressed.person.vertices)
    for some, colour in ((colours[:half], (200, 0, 0)), (colours[half:], (0, 0, 200))):
        np.testing.assert_allclose(some - linear(np.array(colour)), 0, atol=0.03)
    assert shown([motion], "plain.usdc")[0] == "constant"


def joints_with_gaps():
    joints = np.random.default_rng(0).uniform(-2, 2, (6, 3, 3))
    joints[2] = np.nan
    joints[4, 1] = np.nan
    return joints


def test_trc_rows_are_the_joints_in_metres_y_up():
    joints = joints_with_gaps()
    lines = trc_text(joints, ("neck", "nose", "left_hip"), FRAMES, FPS / 2, UP, "a.trc").splitlines()
    assert lines[2].split("\t")[:5] == ["25", "25", "6", "3", "m"]
    assert [n for n in lines[3].split("\t") if n] == ["Frame#", "Time", "neck", "nose", "left_hip"]
    expected = joints @ y_up_from_world(UP).T
    for row, line in enumerate(lines[6:]):
        fields = line.split("\t")
        assert int(fields[0]) == FRAMES[row] and float(fields[1]) == pytest.approx(row / 25)
        values = np.array([float(v) if v else np.nan for v in fields[2:]]).reshape(3, 3)
        np.testing.assert_allclose(values, expected[row], atol=1e-5)


def test_c3d_is_read_by_another_library():
    joints = joints_with_gaps()
    data = c3d_bytes({"person_0": joints, "person_3": joints + 1}, ("neck", "nose", "left_hip"), 100, FPS / 2, UP)
    reader = c3d.Reader(io.BytesIO(data))
    labels = [label.strip() for label in reader.point_labels]
    assert labels[:2] == ["person_0:neck", "person_0:nose"] and labels[-1] == "person_3:left_hip"
    assert reader.point_rate == 25 and reader.get("POINT:UNITS").string_value.strip() == "mm"
    turn = y_up_from_world(UP)
    frames = list(reader.read_frames())
    assert len(frames) == 6
    for row, (_, points, _) in enumerate(frames):
        missing = np.isnan(joints[row]).any(-1)
        assert ((points[:3, 3] < 0) == missing).all()
        np.testing.assert_allclose(points[:3, :3][~missing], 1000 * (joints[row] @ turn.T)[~missing], atol=0.01)


def test_smplx_parameters_are_in_the_order_of_poses(body):
    with np.load(io.BytesIO(npz_bytes(smplx_arrays(body, "neutral", 25.0))), allow_pickle=False) as file:
        assert str(file["surface_model_type"]) == "smplx" and file["poses"].shape == (5, 165)
        assert ABSENT[0] not in file["frames"]
        rows = np.flatnonzero(body.valid)
        np.testing.assert_array_equal(file["poses"][:, :3], body.global_orient[rows])
        np.testing.assert_array_equal(file["poses"][:, 3:66], body.body_pose[rows])
        np.testing.assert_array_equal(file["poses"][:, 66:69], body.jaw_pose[rows])
        np.testing.assert_array_equal(file["poses"][:, 75:120], body.left_hand_pose[rows])
        np.testing.assert_array_equal(file["trans"], body.transl[rows])
