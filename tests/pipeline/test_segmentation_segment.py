"""Whose a pixel is, told from bodies of balls that four cameras see: in front and behind, hidden, and nobody's."""

import cv2
import numpy as np
import pytest

from data.synthetic.cameras import ring
from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.cameras import Rig
from pipeline.raster_open3d import Open3DRaster
from pipeline.segmentation.background import empty_scene
from pipeline.segmentation.consistency import Silhouette, supported, without_flashes
from pipeline.segmentation.contest import owners, tidied
from pipeline.segmentation.evidence import Crop, PersonMask, gather, see_body
from pipeline.segmentation.masks import ABSENT, NO_IMAGE, SEEN, Masks, MaskWriter
from pipeline.segmentation.owners import owners_of
from pipeline.segmentation.segment import PersonInput, ViewInput, moved_vertices, segment_chunk
from pipeline.skeletons import SKEL19

SIZE = (120, 96)
COLOURS = ((220, 60, 60), (60, 60, 220))
FRAMES = np.array([10, 11, 12])


def figure(centre):
    """A body of two balls: vertices (V, 3) and faces."""
    import open3d as o3d

    ball = o3d.geometry.TriangleMesh.create_sphere(1.0, 12)
    v, f = np.asarray(ball.vertices), np.asarray(ball.triangles)
    parts = [v * [0.22, 0.22, 0.55] + [0, 0, 0.6], v * 0.16 + [0, 0, 1.3]]
    vertices = np.concatenate(parts) + np.array([*centre, 0])
    return vertices.astype(np.float32), np.concatenate([f, f + len(v)])


@pytest.fixture(scope="module")
def rig():
    return ring(4, np.random.default_rng(0), size=SIZE, half_height=1.0, distorted=False)


def picture(rig, camera, bodies, faces):
    """What a camera sees, and who is where."""
    raster = Open3DRaster(1)
    image, labels = np.full((*SIZE[::-1], 3), 120, np.uint8), np.zeros(SIZE[::-1], np.uint8)
    depth = np.full(labels.shape, np.inf)
    for k, body in enumerate(bodies):
        seen = raster.render(body, faces, rig.cameras[camera]).depth
        nearer = seen < depth
        image[nearer], labels[nearer] = COLOURS[k], k + 1
        depth = np.minimum(depth, seen)
    return image, labels


@pytest.fixture(scope="module")
def scene(rig):
    """Two people on one line with the first camera; bodies as fitted are a little off; the second is away at last."""
    way = -rig.cameras[0].centre[:2] / np.linalg.norm(rig.cameras[0].centre[:2])
    true = [figure(-0.4 * way), figure(0.4 * way + 0.12 * np.array([-way[1], way[0]]))]
    faces = true[0][1]
    bodies = [t[0] for t in true]
    joints = [np.linspace(b.min(0), b.max(0), 19).astype(np.float32) for b in bodies]
    pictures = [picture(rig, c, bodies, faces) for c in range(len(rig))]
    fitted = [b + np.float32([0.01, -0.01, 0.0]) for b in bodies]
    nothing = np.full((len(FRAMES), len(rig), 19, 2), np.nan, np.float32)
    people = []
    for k, body in enumerate(fitted):
        present = np.array([True, True, k == 0])
        vertices = np.where(present[:, None, None], body, np.nan).astype(np.float32)
        people.append(PersonInput(k, present, vertices, np.repeat(joints[k][None], len(FRAMES), 0), nothing))
    return people, pictures, faces


@pytest.fixture(scope="module")
def segmented(rig, scene, tmp_path_factory):
    people, pictures, faces = scene
    path = tmp_path_factory.mktemp("segmented") / "m.h5"
    views = [
        ViewInput(c, lambda row, k=k: None if (k, row) == (2, 1) else pictures[k][0], None, np.zeros(len(FRAMES)))
        for k, c in enumerate(rig.cameras)
    ]
    with ArtifactWriter(path, stage="segmentation", schema="masks", key="ab" * 32) as writer:
        segment_chunk(people, views, faces, FRAMES, Open3DRaster(1), MaskWriter(writer, rig, [0, 1], FRAMES))
    with Artifact(path, "masks") as artifact:
        yield Masks(artifact)


def test_everybody_gets_their_own_pixels(segmented, scene, rig):
    _, pictures, _ = scene
    overlap = []
    for c, name in enumerate(rig.names):
        found, true = segmented.labels(name, 10), pictures[c][1]
        for label in (1, 2):
            both, either = ((found == label) & (true == label)).sum(), ((found == label) | (true == label)).sum()
            overlap.append(both / either)
    assert min(overlap) > 0.6 and np.mean(overlap) > 0.85  # a pixel of the rim is a tenth of such small people


def test_who_stands_behind_is_hidden_where_the_other_is_and_nobody_shares_a_pixel(segmented, rig):
    front, back = (segmented.mask("cam1", 10, p) for p in (0, 1))
    assert not (front & back).any()
    hidden = segmented.hidden("cam1", 10, 1)
    assert hidden.sum() > 0.3 * front.sum()  # the second stands nearly behind the first
    assert not (hidden & back).any() and (hidden & front).sum() > 0.9 * hidden.sum()
    assert segmented.hidden("cam1", 10, 0).sum() < 0.02 * front.sum()


def test_absence_and_missing_images_are_recorded(segmented):
    assert segmented.mask("cam1", 12, 1) is None and segmented.state[0, 2, 1] == ABSENT
    assert segmented.mask("cam3", 11, 0) is None and segmented.state[2, 1, 0] == NO_IMAGE
    assert segmented.state[0, 0].tolist() == [SEEN, SEEN]
    assert np.isnan(segmented.agreement[2, 1]).all() and segmented.agreement[0, 0].min() > 0.75


def test_a_chunk_is_worked_off_frame_by_frame(rig, scene):
    """However long a chunk is: a frame is written as soon as the next one has been looked at."""
    people, pictures, faces = scene
    told = []

    class Writer:
        def put(self, camera, frame, *_, **__):
            told.append(("written", frame - FRAMES[0]))

        note = put

        def close(self):
            told.append(("closed", len(FRAMES)))

    def look(row):
        told.append(("read", row))
        return pictures[0][0]

    views = [ViewInput(rig.cameras[0], look, None, np.zeros(len(FRAMES)))]
    segment_chunk(people, views, faces, FRAMES, Open3DRaster(1), Writer())
    order = list(dict.fromkeys(told))
    wanted = [("read", 0), ("read", 1), ("written", 0), ("read", 2), ("written", 1), ("written", 2), ("closed", 3)]
    assert order == wanted


def test_a_network_judges_in_place_of_the_plain_rule(rig, scene, tmp_path):
    people, pictures, faces = scene
    asked = []

    def nobody(evidence):
        asked.append(evidence)
        return np.zeros(evidence.depth.shape, np.float32)

    views = [ViewInput(rig.cameras[0], lambda row: pictures[0][0], None, np.zeros(len(FRAMES)))]
    one = Rig(rig.cameras[:1])
    with ArtifactWriter(tmp_path / "m.h5", stage="segmentation", schema="masks", key="ab" * 32) as writer:
        segment_chunk(people, views, faces, FRAMES, Open3DRaster(1), MaskWriter(writer, one, [0, 1], FRAMES), nobody)
    assert len(asked) == 5  # five person-frames are there
    behind = asked[1]
    assert (behind.others_depth < behind.depth)[np.isfinite(behind.depth)].mean() > 0.3


def test_frames_are_finished_one_after_another(rig, scene, tmp_path):
    """Only a frame and its neighbours are held: a chunk may be long."""
    people, pictures, faces = scene
    read, told = [], []
    views = [ViewInput(rig.cameras[0], lambda row: read.append(row) or pictures[0][0], None, np.zeros(len(FRAMES)))]
    one = Rig(rig.cameras[:1])
    with ArtifactWriter(tmp_path / "m.h5", stage="segmentation", schema="masks", key="ab" * 32) as writer:
        segment_chunk(people, views, faces, FRAMES, Open3DRaster(1), MaskWriter(writer, one, [0, 1], FRAMES),
                      progress=lambda done: told.append((done, len(read))))  # fmt: skip
    assert told == [(1 / 3, 2), (2 / 3, 3), (1.0, 3)]


def test_a_pixel_that_the_other_views_rule_out_is_not_the_persons(rig):
    body, faces = figure((0.1, 0.0))
    raster, views, true = Open3DRaster(1), [], []
    for camera in rig.cameras:
        true.append(raster.render(body, faces, camera).hit)
        views.append(Silhouette(camera, (0, 0), true[-1].copy(), np.zeros_like(true[-1]), true[-1]))
    column = np.flatnonzero(true[0].any(0))[-1]
    views[0].mask[40:46, column + 10 : column + 14] = True  # a patch beside the person, as a poster would give
    kept = supported(views, body)
    extra = views[0].mask & ~true[0]
    assert extra.sum() >= 20 and not kept[0][extra].any()
    assert all(k[t].all() for k, t in zip(kept, true, strict=True))
    few = supported(views[:2], body)
    assert few[0][extra].all()  # seen from the side, such a place may be the person's


def test_a_piece_that_flashes_up_is_dropped_and_one_that_stays_is_kept():
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:30] = True
    flash = mask.copy()
    flash[20:23, 50:53] = True
    nowhere = np.zeros_like(mask)
    assert np.array_equal(without_flashes(flash, [mask, mask], nowhere), mask)
    assert np.array_equal(without_flashes(flash, [flash, mask], nowhere), flash)


def test_the_surest_owns_a_pixel():
    crop = Crop((2, 1, 6, 4), (4, 3))
    labels = owners((8, 5), [(crop, np.full((3, 4), 0.6)), None, (crop, np.array([[0.9, 0.5, 0.2, 0.7]] * 3))])
    assert labels[1:4, 2:6].tolist() == [[3, 1, 1, 3]] * 3
    assert labels.sum() == 3 * (3 + 1 + 1 + 3)


def test_islands_off_the_body_go_and_pinholes_close():
    mask = np.zeros((80, 80), bool)
    mask[10:70, 20:60] = True
    body = mask.copy()
    dirty = mask.copy()
    dirty[30, 30] = False
    dirty[5, 75] = True
    dirty[40:50, 40:50] = False  # too large for a pinhole: the crook of an arm
    clean = tidied(dirty, body)
    assert clean[30, 30] and not clean[5, 75] and not clean[45, 45]


def test_a_crop_and_its_camera_agree(rig):
    camera, (body, faces) = rig.cameras[1], figure((0.1, 0.2))
    crop = Crop((10, 5, 110, 90), (50, 43))
    whole = Open3DRaster(1).render(body, faces, camera).hit
    small = Open3DRaster(1).render(body, faces, crop.camera(camera)).hit
    there = cv2.resize(small.astype(np.uint8), (100, 85), interpolation=cv2.INTER_NEAREST) > 0
    assert (there != whole[5:90, 10:110]).mean() < 0.02
    seen = see_body(camera, body, faces, Open3DRaster(1))
    assert np.isfinite(seen.depth).sum() == pytest.approx(whole.sum(), rel=0.02)


def test_a_detectors_mask_lands_where_its_box_is(rig):
    camera, (body, faces) = rig.cameras[0], figure((0.0, 0.0))
    truth = Open3DRaster(1).render(body, faces, camera).hit
    rows, columns = np.nonzero(truth)
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    half = cv2.resize(truth[y0:y1, x0:x1].astype(np.uint8) * 255, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    mask = PersonMask(half, np.array([x0, y0, x1, y1]))
    seen = see_body(camera, body, faces, Open3DRaster(1), mask)
    evidence = gather(0, [seen], [mask], [], np.zeros((*SIZE[::-1], 3), np.uint8), None)
    wx0, wy0, wx1, wy1 = seen.crop.window
    assert ((evidence.detector > 0.5) != truth[wy0:wy1, wx0:wx1]).sum() < 0.15 * truth.sum()
    assert not evidence.known.any() and evidence.others is None


def test_detections_go_to_whom_they_fit():
    from pipeline.keypoints.detections import Detections

    joints = np.random.default_rng(0).uniform(0, 50, (3, 19, 2)) + np.array([[[20, 0]], [[80, 0]], [[300, 0]]])
    found = Detections(
        SKEL19.name, np.array([7]), np.array([0, 3]), joints[[1, 2, 0]].astype(np.float32),
        np.ones((3, 19), np.float32), np.zeros((3, 4), np.float32), np.ones(3, np.float32), np.full(3, -1),
    )  # fmt: skip
    rows, others = owners_of(found, 0, joints[:2] + 2.0, np.full((2, 19, 2), np.nan))
    assert rows.tolist() == [2, 0] and others.tolist() == [1]


def test_the_empty_scene_is_what_most_pictures_show_without_people():
    generator = np.random.default_rng(0)
    scene = generator.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    pictures = []
    for k in range(8):
        people = np.zeros((20, 30), bool)
        people[:, 3 * k : 3 * k + 3] = True
        people[5, 5] = True
        pictures.append((np.where(people[..., None], 255, scene).astype(np.uint8), people))
    found, known = empty_scene(pictures)
    assert not known[5, 5] and known.sum() == 599
    assert np.array_equal(found[known], scene[known])
    assert empty_scene([]) is None


def test_a_late_image_shows_the_body_where_it_has_moved_to():
    vertices = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 2, 3), np.float32)
    assert moved_vertices(vertices, 1, 0.5)[0, 0] == pytest.approx(1.5)
    assert moved_vertices(vertices, 1, -0.25)[0, 0] == pytest.approx(0.75)
    vertices[2] = np.nan
    assert moved_vertices(vertices, 1, 0.5)[0, 0] == 1
