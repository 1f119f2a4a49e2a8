"""The open body model: what those who pose, fit and render it rely on. Built once a machine; the first test waits."""

from __future__ import annotations

import io
import multiprocessing
import sys
import time
import types
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch

from data import body_models
from data.body_models import load_body_arrays, open_body_model
from pipeline.skeletons import SMPLX55, SMPLX55_PARENTS

MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def path():
    return open_body_model()


@pytest.fixture(scope="module")
def arrays(path):
    return load_body_arrays(path)


@pytest.fixture(scope="module")
def smplx_model(path, arrays):
    import smplx

    body_models.use_keypoints_in_smplx(arrays)
    with redirect_stdout(io.StringIO()):
        return smplx.create(
            str(path), model_type="smplx", use_pca=False, flat_hand_mean=True, num_betas=10, num_expression_coeffs=10
        )


@pytest.fixture(scope="module")
def shapes(arrays):
    """Ten random people: vertices (10, V, 3) and regressed joints (10, 55, 3)."""
    betas = np.random.default_rng(3).standard_normal((10, 10))
    vertices = arrays["v_template"] + np.einsum("nb,vdb->nvd", betas, arrays["shapedirs"][:, :, :10])
    return vertices, np.einsum("jv,nvd->njd", arrays["J_regressor"], vertices)


def posed(model, **rotations):
    """Vertices (V, 3) and joints with joints turned by axis-angle vectors in degrees."""
    body_pose = torch.zeros(1, 21, 3)
    for joint, degrees in rotations.items():
        body_pose[0, SMPLX55.index(joint) - 1] = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    with torch.no_grad():
        output = model(body_pose=body_pose.reshape(1, 63))
    return output.vertices[0].numpy(), output.joints[0].numpy()


def joint(joints, name):
    return joints[..., SMPLX55.index(name), :]


def signed_distance(vertices, triangles, points):
    """Metres to the surface, negative inside."""
    import open3d

    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(np.float32(vertices), np.uint32(triangles))
    return scene.compute_signed_distance(np.float32(points)).numpy()


def test_t_pose_stands_upright_faces_forward_with_its_left_at_positive_x(arrays):
    v, joints = arrays["v_template"], arrays["J_regressor"] @ arrays["v_template"]
    assert np.linalg.norm(joints[0]) < 0.002
    assert 1.6 < np.ptp(v[:, 1]) < 1.8
    for name in ("left_shoulder", "left_elbow", "left_wrist", "left_hip", "left_ankle", "left_eye", "left_index3"):
        assert joint(joints, name)[0] > 0.02
    arm = [joint(joints, f"left_{part}") for part in ("shoulder", "elbow", "wrist", "middle1", "middle3")]
    assert np.ptp([p[1] for p in arm]) < 0.015
    assert np.ptp([p[2] for p in arm]) < 0.015
    assert joint(joints, "left_index1")[2] > joint(joints, "left_pinky1")[2] + 0.03  # palms down, thumbs ahead
    keypoints = body_models.keypoint_vertices(arrays)
    assert v[keypoints["nose"], 2] > joint(joints, "head")[2] + 0.05
    for side in ("left", "right"):
        assert v[keypoints[f"{side}_big_toe"], 2] > v[keypoints[f"{side}_heel"], 2] + 0.18
    assert joint(joints, "head")[1] > joint(joints, "neck")[1] > joint(joints, "spine3")[1] > joint(joints, "pelvis")[1]


def test_joints_are_the_tree_of_smplx(arrays):
    parents = arrays["kintree_table"][0]
    assert (parents[1:] == SMPLX55_PARENTS[1:]).all()
    joints = arrays["J_regressor"] @ arrays["v_template"]
    bones = np.linalg.norm(joints[1:] - joints[SMPLX55_PARENTS[1:]], axis=1)
    assert bones.min() > 0.008
    assert bones.max() < 0.5


def test_everything_is_symmetric(arrays):
    mirror = arrays["troupe_mirror"]
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    np.testing.assert_allclose(arrays["v_template"][mirror] * MIRROR, arrays["v_template"], atol=2e-6)
    shapes = arrays["shapedirs"][:, :, :10]
    np.testing.assert_allclose(shapes[mirror] * MIRROR[:, None], shapes, atol=1e-6)
    np.testing.assert_allclose(arrays["weights"][mirror][:, SMPLX55.mirror], arrays["weights"], atol=2e-6)
    np.testing.assert_allclose(arrays["J_regressor"][SMPLX55.mirror][:, mirror], arrays["J_regressor"], atol=1e-9)


@pytest.mark.parametrize("key", ["weights", "J_regressor"])
def test_weights_are_convex(arrays, key):
    assert arrays[key].min() >= 0
    np.testing.assert_allclose(arrays[key].sum(1), 1.0, atol=1e-9)
    assert (arrays["weights"] > 0).any(0).all()  # every joint moves something


def test_random_people_have_human_sizes(shapes):
    heights = np.ptp(shapes[0][..., 1], axis=1)
    assert heights.min() > 1.35
    assert heights.max() < 2.15
    assert heights.std() > 0.04
    joints = shapes[1]
    thigh = np.linalg.norm(joint(joints, "left_hip") - joint(joints, "left_knee"), axis=1) / heights
    shin = np.linalg.norm(joint(joints, "left_knee") - joint(joints, "left_ankle"), axis=1) / heights
    assert ((thigh > 0.2) & (thigh < 0.28)).all()
    assert ((shin > 0.2) & (shin < 0.3)).all()


def test_first_beta_of_one_deviation_each_has_unit_spread(arrays):
    """Betas are standard deviations: the components shrink, and the largest moves vertices by centimetres."""
    sizes = np.sqrt((arrays["shapedirs"][:, :, :10] ** 2).sum(1).mean(0))
    assert (np.diff(sizes) < 0).all()
    assert 0.02 < sizes[0] < 0.08
    assert sizes[9] > 0.001


def test_joints_lie_inside_the_body_whatever_its_shape(arrays, shapes):
    for vertices, joints in zip(*shapes, strict=True):
        assert signed_distance(vertices, arrays["f"], joints).max() < 0.0


def test_skin_bends_at_its_joints(smplx_model, arrays):
    """Skin above a turned elbow or knee stays where it is, skin below swings with it."""
    for name, turn in (("left_elbow", [0, -60, 0]), ("left_knee", [60, 0, 0])):
        rest, joints = posed(smplx_model)
        bent, _ = posed(smplx_model, **{name: turn})
        moved = np.linalg.norm(bent - rest, axis=1)
        child = {"left_elbow": "left_wrist", "left_knee": "left_ankle"}[name]
        along = joints[SMPLX55.index(child)] - joints[SMPLX55.index(name)]
        side = (rest - joints[SMPLX55.index(name)]) @ along / np.linalg.norm(along)
        limb = arrays["weights"][:, [SMPLX55.index(name), SMPLX55_PARENTS[SMPLX55.index(name)]]].sum(1) > 0.9
        assert moved[limb & (side < -0.12)].max() < 0.01
        assert moved[limb & (side > 0.12)].min() > 0.08


def test_expressions_leave_the_joints_and_the_rest_of_the_body_alone(arrays):
    faces = arrays["shapedirs"][:, :, 10:]
    assert np.abs(np.einsum("jv,vdb->jdb", arrays["J_regressor"], faces)).max() < 3e-4
    head = SMPLX55.index("head")
    still = arrays["weights"][:, [SMPLX55.index("neck"), head, SMPLX55.index("jaw")]].sum(1) == 0
    eyes = arrays["weights"][:, [SMPLX55.index("left_eye"), SMPLX55.index("right_eye")]].sum(1) > 0.5
    assert np.abs(faces[still & ~eyes]).max() == 0
    assert np.linalg.norm(faces, axis=1).max(0).min() > 0.0005
    assert np.linalg.norm(faces, axis=1).max() < 0.04


def test_skin_is_closed(arrays):
    """Triangles point outwards and every edge belongs to two of them: the body and each eyeball enclose a volume."""
    triangles, v = arrays["f"].astype(int), arrays["v_template"]
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()
    corners = v[triangles]
    litres = 1000 * np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert 45 < litres < 80
    assert len(np.unique(triangles)) == len(v)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert (areas > 0).mean() > 0.9999


def test_keypoints_are_where_their_names_say(arrays):
    v, joints = arrays["v_template"], arrays["J_regressor"] @ arrays["v_template"]
    at = {name: v[vertex] for name, vertex in body_models.keypoint_vertices(arrays).items()}
    assert tuple(at) == body_models.KEYPOINT_NAMES
    assert abs(at["nose"][0]) < 1e-4
    assert at["nose"][1] < at["left_eye"][1]
    assert np.linalg.norm(at["left_eye"] - joint(joints, "left_eye")) < 0.02
    assert 0.06 < at["left_ear"][0] < 0.11
    assert abs(at["left_ear"][1] - at["left_eye"][1]) < 0.04
    floor = v[:, 1].min()
    for name in ("left_heel", "left_big_toe", "left_small_toe"):
        assert at[name][1] - floor < 0.035
    assert at["left_big_toe"][0] < at["left_small_toe"][0]
    for finger in ("thumb", "index", "middle", "ring", "pinky"):
        last, before = joint(joints, f"left_{finger}3"), joint(joints, f"left_{finger}2")
        assert 0.012 < np.linalg.norm(at[f"left_{finger}"] - last) < 0.045
        assert (at[f"left_{finger}"] - last) @ (last - before) > 0
    for name in at:
        if name.startswith("left"):
            np.testing.assert_allclose(at[name.replace("left", "right")], at[name] * MIRROR, atol=2e-6)


def test_face_landmarks_lie_on_the_face_in_order(arrays):
    v, triangles = arrays["v_template"], arrays["f"].astype(int)
    bary = arrays["lmk_bary_coords"]
    np.testing.assert_allclose(bary.sum(1), 1, atol=1e-6)
    points = np.einsum("kc,kcd->kd", bary, v[triangles[arrays["lmk_faces_idx"]]])
    brows, nose, eyes, mouth = points[:10], points[10:19], points[19:31], points[31:51]
    assert (np.diff(brows[:, 0]) > 0).all()
    assert (np.diff(nose[:4, 1]) < 0).all()
    assert brows[:, 1].min() > eyes[:, 1].max() > nose[:, 1].max() - 0.005 > nose[4:, 1].max() > mouth[:, 1].max()
    joints = arrays["J_regressor"] @ v
    for six, name in ((eyes[:6], "right_eye"), (eyes[6:], "left_eye")):
        assert np.linalg.norm(six.mean(0)[:2] - joint(joints, name)[:2]) < 0.008
        assert six[0, 0] < six[1:3, 0].min() < six[3, 0]
    pairs = [(0, 9), (1, 8), (2, 7), (3, 6), (4, 5), (14, 18), (19, 28), (22, 25), (31, 37), (33, 35), (43, 47)]
    left, right = points[[b for _, b in pairs]], points[[a for a, _ in pairs]]
    np.testing.assert_allclose(left * MIRROR, right, atol=0.002)
    contour = np.einsum(
        "ykc,ykcd->ykd", arrays["dynamic_lmk_bary_coords"], v[triangles[arrays["dynamic_lmk_faces_idx"]]]
    )
    assert contour.shape == (79, 17, 3)
    assert (np.diff(contour[0, :, 0]) > 0).all()
    assert contour[0, 8, 1] < mouth[:, 1].min() - 0.02


def test_smplx_loads_and_poses_it(smplx_model, arrays):
    rest, joints = posed(smplx_model)
    np.testing.assert_allclose(rest, arrays["v_template"], atol=1e-5)
    bent, moved = posed(smplx_model, left_elbow=[0, -90, 0], right_knee=[90, 0, 0])
    forearm = moved[SMPLX55.index("left_wrist")] - moved[SMPLX55.index("left_elbow")]
    assert forearm[2] > 0.95 * np.linalg.norm(forearm)  # a bent elbow brings the hand forward
    shin = moved[SMPLX55.index("right_ankle")] - moved[SMPLX55.index("right_knee")]
    assert shin[2] < -0.9 * np.linalg.norm(shin)  # a bent knee brings the foot backward
    assert np.isfinite(bent).all()
    names = dict(zip(("nose", "reye", "leye", "rear", "lear"), range(55, 60), strict=True))
    found = body_models.keypoint_vertices(arrays)
    np.testing.assert_allclose(joints[names["nose"]], rest[found["nose"]], atol=1e-6)
    np.testing.assert_allclose(joints[names["lear"]], rest[found["left_ear"]], atol=1e-6)


def test_hanging_arms_keep_their_volume(smplx_model, arrays):
    def litres(v):
        corners = v[arrays["f"].astype(int)]
        return 1000 * np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6

    rest = litres(posed(smplx_model)[0])
    hanging = posed(smplx_model, left_shoulder=[0, 0, -75], right_shoulder=[0, 0, 75])[0]
    squat = posed(
        smplx_model, left_hip=[-100, 0, 10], right_hip=[-100, 0, -10], left_knee=[110, 0, 0], right_knee=[110, 0, 0]
    )[0]
    assert abs(litres(hanging) / rest - 1) < 0.03
    assert abs(litres(squat) / rest - 1) < 0.08


@pytest.mark.parametrize(
    ("name", "turn", "outer"), [("left_elbow", [0, -1, 0], [0, 0, -1]), ("right_knee", [1, 0, 0], [0, 0, 1])]
)
def test_bent_elbows_and_knees_do_not_pinch(smplx_model, arrays, name, turn, outer):
    """The outer side of the bend keeps its distance from the axis, where plain skinning loses half of it."""
    number = SMPLX55.index(name)
    rest, joints = posed(smplx_model)
    share = arrays["weights"][:, number]
    ring = (share > 0.25) & (share < 0.75) & ((rest - joints[number]) @ np.array(outer) > 0.015)
    across = np.array(turn) == 0
    before = np.linalg.norm((rest - joints[number])[ring][:, across], axis=1)
    for degrees, least in ((60, 0.95), (90, 0.95), (120, 0.9), (140, 0.7)):
        bent, moved = posed(smplx_model, **{name: [degrees * t for t in turn]})
        after = np.linalg.norm((bent - moved[number])[ring][:, across], axis=1)
        assert (after / before).min() > least
        assert (after / before).max() < 1.15


def test_correctives_act_on_bending_alone(arrays):
    """Twisting a forearm or swinging a knee sideways changes no shape; nor does any other joint."""
    shapes = arrays["posedirs"].reshape(-1, 3, 54, 3, 3)
    hinges = [SMPLX55.index(j) - 1 for j in ("left_elbow", "right_elbow", "left_knee", "right_knee")]
    assert not np.delete(shapes, hinges, axis=2).any()
    for joint_number, axis in ((hinges[0], 0), (hinges[0], 2), (hinges[2], 1), (hinges[2], 2)):
        turn = np.eye(3)
        a, b = [k for k in range(3) if k != axis]
        turn[[a, b], [a, b]], turn[a, b], turn[b, a] = np.cos(0.7), -np.sin(0.7), np.sin(0.7)
        assert np.abs(np.einsum("vdrc,rc->vd", shapes[:, :, joint_number], turn - np.eye(3))).max() < 1e-5


def test_relaxed_hands_curl_towards_the_palm(smplx_model, arrays):
    left = torch.tensor(arrays["hands_meanl"], dtype=torch.float32)[None]
    right = torch.tensor(arrays["hands_meanr"], dtype=torch.float32)[None]
    flat = posed(smplx_model)[0]
    with torch.no_grad():
        curled = smplx_model(left_hand_pose=left, right_hand_pose=right).vertices[0].numpy()
    found = body_models.keypoint_vertices(arrays)
    for finger in ("index", "middle", "ring", "pinky"):
        assert curled[found[f"left_{finger}"], 1] < flat[found[f"left_{finger}"], 1] - 0.015
    np.testing.assert_allclose(curled[arrays["troupe_mirror"]] * MIRROR, curled, atol=1e-5)
    components = arrays["hands_componentsl"]
    np.testing.assert_allclose(components @ components.T, np.eye(45), atol=1e-6)


def test_texture_coordinates_and_base_vertices_survive(arrays):
    assert arrays["ft"].shape == arrays["f"].shape
    assert arrays["ft"].max() < len(arrays["vt"])
    assert arrays["vt"].min() >= 0
    assert arrays["vt"].max() <= 1
    base = arrays["troupe_base_vertices"]
    assert len(base) == len(arrays["v_template"])
    assert (np.diff(base) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("gender", ["male", "female"])
def test_genders_differ_as_they_should(gender, arrays):
    other = load_body_arrays(open_body_model(gender))
    height, neutral = (np.ptp(a["v_template"][:, 1]) for a in (other, arrays))
    shoulders, neutral_shoulders = (
        np.ptp(
            (a["J_regressor"] @ a["v_template"])[[SMPLX55.index("left_shoulder"), SMPLX55.index("right_shoulder")], 0]
        )
        for a in (other, arrays)
    )
    sign = 1 if gender == "male" else -1
    assert sign * (height - neutral) > 0.03
    assert sign * (shoulders / height - neutral_shoulders / neutral) > 0.001
    assert (other["f"] == arrays["f"]).all()
    assert str(other["troupe_gender"]) == gender


def _slow_stand_in(gender, progress=None):
    time.sleep(0.5)
    return {"v_template": np.zeros(3)}


def test_processes_that_start_together_build_once(tmp_path, monkeypatch, capfd):
    """With a stand-in for the build: two processes, one build, one file, nothing left over."""
    monkeypatch.setenv("TROUPE_CACHE", str(tmp_path))
    module = types.ModuleType("data.open_body.build")
    module.build_arrays = _slow_stand_in
    monkeypatch.setitem(sys.modules, "data.open_body.build", module)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=lambda: queue.put(str(open_body_model()))) for _ in range(2)]
    for process in processes:
        process.start()
    found = {queue.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    assert len(found) == 1
    assert capfd.readouterr().err.count("building the open body model") == 1
    left = sorted(p.name for p in (tmp_path / "open_body").rglob("*") if p.is_file())
    assert left == ["SMPLX_NEUTRAL.npz", "lock"]
