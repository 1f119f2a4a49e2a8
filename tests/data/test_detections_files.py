"""Detections made elsewhere: every layout, written here with known people, comes back as these people."""

import json

import numpy as np
import pytest

from data.detections.frame_files import frame_number
from data.detections.reader import check_detections_source, count_frames, read_detections
from pipeline.cameras import FISHEYE, Camera
from pipeline.skeletons import BODY25, BODY25_HANDS_FACE, COCO17

SIZE = (1280, 720)
FRAMES = (0, 1, 3, 7)  # with people; 1 has nobody
JOINTS = {"openpose_json": 25, "coco_json": 17, "association4d_text": 25}


def camera_with(distortion=(), model="radial_tangential"):
    K = np.array([[900.0, 0, 640], [0, 910.0, 350], [0, 0, 1]])
    return Camera("cam01", SIZE, K, np.eye(3), np.zeros(3), np.array(distortion, float), model)


PINHOLE = camera_with()
LENS = camera_with([-0.2, 0.05, 0.001, -0.002])


def capture(joints, seed=0):
    """frame -> (P, J, 3) people in pixels, some joints missing; two people, and nobody in frame 1."""
    rng = np.random.default_rng(seed)
    out = {}
    for frame in FRAMES:
        people = np.zeros((0 if frame == 1 else 2, joints, 3))
        people[..., :2] = rng.uniform((300, 200), (900, 500), people[..., :2].shape)
        people[..., 2] = rng.uniform(0.2, 1.0, people.shape[:2])
        if joints == 25:  # what tells BODY_25 from other sets of 25
            people[:, 8, :2] = people[:, [9, 12], :2].mean(1)
        people[:, [3, 11]] = 0
        out[frame] = people.round(3)
    return out


def flat(person):
    return person.ravel().tolist()


def write_files(folder, contents, name="{:012d}.json"):
    folder.mkdir(parents=True)
    for frame, content in contents.items():
        (folder / name.format(frame)).write_text(json.dumps(content))
    return folder


def openpose(path, people, name="cam_{:012d}_keypoints.json"):
    def entry(p):
        return {"person_id": [-1], "pose_keypoints_2d": flat(p), "hand_left_keypoints_2d": []}

    files = {f: {"version": 1.3, "people": [entry(p) for p in ps]} for f, ps in people.items()}
    return write_files(path / "cam", files, name)


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def box_of(person):
    there = person[person[:, 2] > 0, :2]
    return np.concatenate([there.min(0) - 5, there.max(0) + 5])


def result(frame, p):
    box = box_of(p)
    return {"image_id": frame, "category_id": 1, "keypoints": flat(p), "score": 0.7,
            "bbox": [*box[:2], *(box[2:] - box[:2])]}  # fmt: skip


def coco_results(path, people, name=lambda f: f):
    return write_json(path / "cam.json", [result(name(f), p) for f, ps in people.items() for p in ps])


def coco_dataset(path, people):
    """Image ids say nothing here, the names of the images do."""
    images = [{"id": 5000 + 3 * f, "file_name": f"cam/img_{f:06d}.jpg"} for f in people]
    entries = [result(5000 + 3 * f, p) for f, ps in people.items() for p in ps]
    return write_json(path / "cam.json", {"images": images, "annotations": entries})


def mmpose_instance(p):
    there = p[:, 2] > 0
    return {"keypoints": np.where(there[:, None], p[:, :2], 0).tolist(), "keypoint_scores": p[:, 2].tolist(),
            "bbox": [box_of(p).tolist()], "bbox_score": 0.7}  # fmt: skip


def mmpose_video(path, people, first=0):
    frames = [{"frame_id": f + first, "instances": [mmpose_instance(p) for p in ps]} for f, ps in people.items()]
    return write_json(path / "cam.json", {"meta_info": {}, "instance_info": frames} if first else frames)


def coco_folder(path, people, wrap, entry):
    return write_files(path / "cam", {f: wrap([entry(p) for p in ps]) for f, ps in people.items()})


def keypoints_only(shape):
    return lambda p: {"keypoints": p.reshape(shape).tolist()}


COCO_LAYOUTS = {
    "results by number": coco_results,
    "results by name": lambda path, people: coco_results(path, people, "some/folder2/img_{:05d}.jpg".format),
    "a dataset": coco_dataset,
    "mmpose of a video": mmpose_video,
    "mmpose's demo, which counts from 1": lambda path, people: mmpose_video(path, people, first=1),
    "mmpose of a folder": lambda path, people: coco_folder(path, people, list, mmpose_instance),
    "lists of 51": lambda path, people: coco_folder(path, people, list, keypoints_only(51)),
    "people of 17 x 3": lambda path, ps: coco_folder(path, ps, lambda x: {"people": x}, keypoints_only((17, 3))),
    "instances": lambda path, ps: coco_folder(path, ps, lambda x: {"instances": x}, mmpose_instance),
    "annotations": lambda path, ps: coco_folder(path, ps, lambda x: {"annotations": x}, keypoints_only(51)),
}


def assert_people(found, people, camera, wanted):
    """The people of every wanted frame, in order; pixels undistorted."""
    assert found.frames.tolist() == list(wanted)
    assert found.keypoints.dtype == np.float32 and len(found.offsets) == len(wanted) + 1
    for i, frame in enumerate(wanted):
        rows = found.instances(i)
        truth = people.get(frame, np.zeros((0, len(found.joints), 3)))
        there = truth[..., 2] > 0
        pixels = np.where(there[..., None], camera.undistort_points(truth[..., :2]), np.nan)
        np.testing.assert_allclose(found.keypoints[rows], pixels, atol=1e-3)
        np.testing.assert_allclose(found.scores[rows], truth[..., 2], atol=1e-6)
        for box, points in zip(found.boxes[rows], pixels, strict=True):
            assert np.all(box[:2] <= np.nanmin(points, 0) + 1e-3) and np.all(box[2:] >= np.nanmax(points, 0) - 1e-3)


@pytest.mark.parametrize("camera", [PINHOLE, LENS, camera_with([0.02, -0.01, 0, 0], FISHEYE)], ids=str)
@pytest.mark.parametrize("wanted", [(0, 1, 2, 3, 4, 5, 6, 7), (-1, -1, 1, 3, 3, 7, 8, 100), ()], ids=str)
def test_openpose(tmp_path, camera, wanted):
    people = capture(25)
    folder = openpose(tmp_path, people)
    assert count_frames("openpose_json", folder) == 8
    check_detections_source("openpose_json", folder, camera)
    assert_people(read_detections("openpose_json", folder, camera, wanted), people, camera, wanted)


def test_openpose_with_hands_and_face(tmp_path):
    """Points of hands and face follow the body's; who has none there has them missing, not at the origin."""
    people = capture(len(BODY25_HANDS_FACE))
    ends = {"pose_keypoints_2d": 25, "hand_left_keypoints_2d": 46, "hand_right_keypoints_2d": 67,
            "face_keypoints_2d": 137}  # fmt: skip
    for ps in people.values():
        ps[:, 8, :2] = ps[:, [9, 12], :2].mean(1)

    def entry(p):
        return {key: flat(p[a:b]) for (key, b), a in zip(ends.items(), (0, 25, 46, 67), strict=True)}

    files = {f: {"people": [entry(p) for p in ps]} for f, ps in people.items()}
    files[7]["people"][0] |= {"hand_left_keypoints_2d": [], "face_keypoints_2d": None}
    people[7][0, [*range(25, 46), *range(67, 137)]] = 0
    folder = write_files(tmp_path / "cam", files)
    check_detections_source("openpose_json", folder, LENS)
    found = read_detections("openpose_json", folder, LENS, range(8))
    assert found.joint_set == "body25_hands_face"
    assert_people(found, people, LENS, range(8))
    alone = openpose(tmp_path / "body", {f: p[:, :25] for f, p in people.items()})
    body = read_detections("openpose_json", alone, LENS, [0])
    assert body.joint_set == "body25"
    np.testing.assert_allclose(found.keypoints[:2, :25], body.keypoints, atol=1e-3)


@pytest.mark.parametrize("layout", COCO_LAYOUTS)
@pytest.mark.parametrize("camera", [PINHOLE, LENS], ids=["pinhole", "lens"])
def test_coco(tmp_path, layout, camera):
    people = capture(17)
    path = COCO_LAYOUTS[layout](tmp_path, people)
    assert count_frames("coco_json", path) == 8
    check_detections_source("coco_json", path, camera)
    found = read_detections("coco_json", path, camera, range(-1, 9))
    assert found.joint_set == "coco17"
    assert_people(found, people, camera, range(-1, 9))


@pytest.mark.parametrize("layout", ["results by number", "mmpose of a video", "mmpose of a folder"])
def test_boxes_and_scores_of_people_are_kept(tmp_path, layout):
    people = capture(17)
    found = read_detections("coco_json", COCO_LAYOUTS[layout](tmp_path, people), PINHOLE, [3])
    np.testing.assert_allclose(found.boxes, [box_of(p) for p in people[3]], atol=1e-3)
    np.testing.assert_allclose(found.box_scores, 0.7, atol=1e-6)


def test_a_single_results_file_may_lie_in_a_folder(tmp_path):
    people = capture(17)
    (tmp_path / "cam").mkdir()
    coco_results(tmp_path, people).rename(tmp_path / "cam" / "alphapose-results.json")
    assert_people(read_detections("coco_json", tmp_path / "cam", PINHOLE, [0, 3]), people, PINHOLE, [0, 3])


def test_a_results_file_written_anew_is_read_anew(tmp_path):
    first, second = capture(17, 1), capture(17, 2)
    read_detections("coco_json", coco_results(tmp_path, first), PINHOLE, [0])
    assert_people(read_detections("coco_json", coco_results(tmp_path, second), PINHOLE, [0]), second, PINHOLE, [0])


def test_numbers_of_people_are_kept(tmp_path):
    people = capture(25)[0]
    entries = [{"person_id": [4], "pose_keypoints_2d": flat(people[0])}, {"pose_keypoints_2d": flat(people[1])}]
    folder = write_files(tmp_path / "cam", {0: {"people": entries}})
    assert read_detections("openpose_json", folder, PINHOLE, [0]).tracks.tolist() == [4, -1]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("cam01_000000000012_keypoints.json", 12),
        ("000000000012_keypoints.json", 12),
        ("000012.json", 12),
        ("frame12.json", 12),
        ("cam-3.shot 2-0012.json", 12),
        ("take2_12_body25.json", 12),
        ("img_0012_results.json", 12),
        ("12.jpg", 12),
        ("results.json", None),
    ],
)
def test_frame_numbers_in_names(name, number):
    assert frame_number(name) == number


@pytest.mark.parametrize("value", [float("nan"), -0.5, None, float("inf")])
@pytest.mark.parametrize("kind", ["openpose_json", "coco_json"])
def test_a_joint_without_a_usable_score_is_missing(tmp_path, kind, value):
    people = capture(JOINTS[kind])
    table = people[0].tolist()
    table[0][5][2] = value
    key = "pose_keypoints_2d" if kind == "openpose_json" else "keypoints"
    folder = write_files(tmp_path / "cam", {0: {"people": [{key: [v for joint in p for v in joint]} for p in table]}})
    people[0][0, 5] = 0
    check_detections_source(kind, folder, PINHOLE)
    assert_people(read_detections(kind, folder, PINHOLE, [0]), people, PINHOLE, [0])


def test_people_without_any_joint_are_nobody(tmp_path):
    people = capture(25)[0]
    entries = [{}, {"pose_keypoints_2d": []}, {"pose_keypoints_2d": [0] * 75}, {"pose_keypoints_2d": flat(people[0])}]
    folder = write_files(tmp_path / "cam", {0: {"people": entries}})
    assert_people(read_detections("openpose_json", folder, LENS, [0]), {0: people[:1]}, LENS, [0])


def test_a_point_where_no_ray_of_the_lens_goes_is_missing(tmp_path):
    strong = camera_with([-0.4, 0, 0, 0])
    people = capture(25)
    people[0][0, 6, :2] = 3000, 3000
    found = read_detections("openpose_json", openpose(tmp_path, people), strong, [0])
    assert np.isnan(found.keypoints[0, 6]).all() and found.scores[0, 6] == 0 and np.isfinite(found.boxes).all()


# Text of the 4D association program --------------------------------------------------------------------------------


def text_capture(seed=0):
    """Two or no people a frame as candidates in another order for each joint, with one candidate of nobody.

    Returns frame -> (list of (n, 3) x, y as fractions and score a joint, list of affinities a limb, people).
    """
    rng = np.random.default_rng(seed)
    out = []
    for frame in range(5):
        people = capture(25, seed + frame)[0 if frame != 2 else 1]
        blocks, place = [], np.full((len(people), 25), -1)
        for j in range(25):
            rows = [(*(p[j, :2] / (SIZE[0] - 1, SIZE[1] - 1)), p[j, 2], i) for i, p in enumerate(people) if p[j, 2]]
            if j == 4:
                rows.append((0.9, 0.9, 0.3, -1))
            rows = [rows[k] for k in rng.permutation(len(rows))]
            for k, row in enumerate(rows):
                if row[3] >= 0:
                    place[row[3], j] = k
            blocks.append(np.array([r[:3] for r in rows]).reshape(-1, 3))
        limbs = []
        for a, b in BODY25.limb_indices:
            matrix = rng.uniform(0, 0.2, (len(blocks[a]), len(blocks[b])))
            for p in place:
                if p[a] >= 0 and p[b] >= 0:
                    matrix[p[a], p[b]] = rng.uniform(0.5, 1.1)
            limbs.append(matrix)
        out.append((blocks, limbs, people))
    return out


def write_text(path, frames, header=None):
    lines = [header or f"4\t{len(frames)}"]
    for blocks, limbs, _ in frames:
        for block in blocks:
            lines.append(str(len(block)))
            lines += [" ".join(f"{v:.9g}" for v in row) for row in block.T]
        for matrix in limbs:
            lines += [" ".join(f"{v:.9g}" for v in row) for row in matrix]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("camera", [PINHOLE, LENS], ids=["pinhole", "lens"])
@pytest.mark.parametrize("wanted", [(0, 1, 2, 3, 4), (-1, 1, 1, 4, 9), ()], ids=str)
def test_text_keeps_every_candidate_and_affinity(tmp_path, camera, wanted):
    frames = text_capture()
    path = write_text(tmp_path / "0.txt", frames)
    assert count_frames("association4d_text", path) == 5
    check_detections_source("association4d_text", path, camera)
    found = read_detections("association4d_text", path, camera, wanted)
    c = found.candidates
    assert len(c.offsets) == 25 * len(wanted) + 1 and len(c.affinity_offsets) == 26 * len(wanted) + 1
    for i, frame in enumerate(wanted):
        blocks, limbs, _ = frames[frame] if 0 <= frame < 5 else ([np.zeros((0, 3))] * 25, [np.zeros(0)] * 26, None)
        for j, block in enumerate(blocks):
            points = c.points[c.offsets[25 * i + j] : c.offsets[25 * i + j + 1]]
            np.testing.assert_allclose(points[:, :2], camera.undistort_points(block[:, :2] * (1279, 719)), atol=1e-3)
            np.testing.assert_allclose(points[:, 2], block[:, 2], atol=1e-6)
        for k, matrix in enumerate(limbs):
            values = c.affinities[c.affinity_offsets[26 * i + k] : c.affinity_offsets[26 * i + k + 1]]
            np.testing.assert_allclose(values, matrix.ravel(), atol=1e-6)


@pytest.mark.parametrize("camera", [PINHOLE, LENS], ids=["pinhole", "lens"])
def test_text_is_grouped_into_the_people_it_was_made_of(tmp_path, camera):
    """What has no limb to a body joins nobody: a wrist whose elbow is missing, toes whose ankle is."""
    frames = text_capture(seed=5)
    found = read_detections("association4d_text", write_text(tmp_path / "0.txt", frames), camera, range(5))
    assert np.diff(found.offsets).tolist() == [2, 2, 0, 2, 2]
    for i, (_, _, people) in enumerate(frames):
        got = found.keypoints[found.instances(i)]
        truth = np.where(people[..., 2:] > 0, camera.undistort_points(people[..., :2]), np.nan)
        truth[:, [4, 22, 23, 24]] = np.nan
        order = [int(np.nanargmin(np.abs(got[:, 8] - t[8]).sum(-1))) for t in truth]
        assert sorted(order) == list(range(len(truth)))
        np.testing.assert_allclose(got[order], truth, atol=1e-3)


def test_grouping_never_gives_a_person_a_joint_twice():
    from data.detections.grouping import group_candidates

    rng = np.random.default_rng(3)
    for _ in range(20):
        counts = rng.integers(0, 5, 25)
        limbs = [rng.uniform(0, 1, (counts[a], counts[b])) for a, b in BODY25.limb_indices]
        present = [rng.uniform(size=n) > 0.2 for n in counts]
        people = group_candidates(counts, limbs, BODY25.limb_indices, present)
        for j, column in enumerate(people.T):
            used = column[column >= 0]
            assert len(np.unique(used)) == len(used) and present[j][used].all()


def test_candidates_without_usable_score_are_missing_and_keep_their_place(tmp_path):
    frames = text_capture()
    frames[0][0][6][0, 2] = np.nan
    frames[1][0][6][0, 2] = -1
    path = write_text(tmp_path / "0.txt", frames)
    check_detections_source("association4d_text", path, PINHOLE)
    found = read_detections("association4d_text", path, PINHOLE, range(5))
    for frame in (0, 1):
        first = found.candidates.points[found.candidates.offsets[25 * frame + 6]]
        assert np.isnan(first[:2]).all() and first[2] == 0
    assert len(found.candidates.points) == sum(len(b) for blocks, *_ in frames for b in blocks)
    assert np.isfinite(found.keypoints[found.scores > 0]).all()


def test_names_of_joints_are_those_of_the_formats():
    """The layouts above only hold if these orders do (OpenPose's and COCO's documents)."""
    assert [BODY25.joints[i] for i in (0, 1, 4, 8, 11, 19, 24)] == [
        "nose", "neck", "right_wrist", "mid_hip", "right_ankle", "left_big_toe", "right_heel"
    ]  # fmt: skip
    assert [COCO17.joints[i] for i in (0, 1, 5, 10, 16)] == [
        "nose", "left_eye", "left_shoulder", "right_wrist", "right_ankle"
    ]  # fmt: skip
