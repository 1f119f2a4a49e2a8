"""Overlays: what is drawn must lie where the camera sees it."""

import av
import numpy as np
import pytest
import trimesh

from pipeline.association.tracks import Tracks
from pipeline.cameras import Camera
from pipeline.keypoints.detections import Detections
from pipeline.meshes.colours import person_colour
from pipeline.quality.drawing import NOBODY, RESIDUAL, ascii_of
from pipeline.quality.overlay import Overlay, write_overlay_video
from pipeline.skeletons import SKEL19

SIZE = (641, 480)
CAMERA = Camera("cam é", SIZE, [[500, 0, 320], [0, 500, 240], [0, 0, 1]], np.eye(3), [0, 0, 4])
GREY = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)


def figure(offset=(0, 0, 0)):
    rng = np.random.default_rng(1)
    return (rng.uniform(-0.8, 0.8, (19, 3)) + offset).astype(np.float32)


def tracks_of(joints, frames=(7,), shift=(0.0, 0.0)):
    """One person at ``joints``, detected at their projections moved by ``shift`` pixels."""
    n = len(frames)
    points = CAMERA.project(joints) + shift
    return Tracks(
        np.array(frames), np.array([2], np.int32), np.tile(joints, (n, 1, 1, 1)), np.ones((n, 1, 19), np.float32),
        np.tile(points, (n, 1, 1, 1, 1)).astype(np.float32), np.ones((n, 1, 1, 19), np.float32),
        np.full((n, 1, 1, 19), np.hypot(*shift), np.float32), np.zeros((n, 1, 1), np.int32),
    )  # fmt: skip


def detections_of(points, frame=7):
    n = len(points)
    return Detections(
        "skel19", np.array([frame]), np.array([0, n]), np.asarray(points, np.float32), np.ones((n, 19), np.float32),
        np.zeros((n, 4), np.float32), np.ones(n, np.float32), np.full(n, -1, np.int32),
    )  # fmt: skip


def at(picture, points):
    x, y = np.round(points).astype(int).T
    return picture[y, x].astype(int)


def mostly(found, colour):
    """Nearly all are this colour; lines of others may cross a few."""
    return (np.abs(found - colour).max(-1) < 30).mean() > 0.85


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_joints_are_drawn_where_they_project(scale):
    joints = figure()
    picture = Overlay(CAMERA, tracks=tracks_of(joints), scale=scale).draw(GREY, 7)
    assert picture.shape == (round(480 * scale), round(641 * scale), 3) and (GREY == 90).all()
    middle = [SKEL19.index(j) for j in ("nose", "neck", "mid_hip")]  # neither side: the plain colour
    found = at(picture, (CAMERA.project(joints[middle]) + 0.5) * scale - 0.5)
    assert np.abs(found - person_colour(2)).max() < 40
    assert (picture == Overlay(CAMERA, scale=scale).draw(GREY, 7)).all(-1).mean() > 0.7


def test_left_is_lighter_than_right():
    joints = figure()
    picture = Overlay(CAMERA, tracks=tracks_of(joints), scale=1).draw(GREY, 7)
    left, right = (at(picture, CAMERA.project(joints[[SKEL19.index(f"{s}_wrist")]]))[0] for s in ("left", "right"))
    assert left.sum() > sum(person_colour(2)) > right.sum()


def test_detections_show_whose_they_are():
    joints = figure()
    points = CAMERA.project(joints)
    overlay = Overlay(CAMERA, detections_of([points, points + 40]), scale=1)
    alone = overlay.draw(GREY, 7)
    assert mostly(at(alone, points), NOBODY) and mostly(at(alone, points + 40), NOBODY)
    overlay.tracks = tracks_of(np.full((19, 3), np.nan, np.float32))  # given to person 2, who has no joints
    owned = overlay.draw(GREY, 7)
    assert mostly(at(owned, points), person_colour(2)) and mostly(at(owned, points + 40), NOBODY)


def test_large_residuals_are_red_lines_and_small_ones_are_not():
    joints = figure()
    for shift, expected in (((60.0, 0.0), True), ((6.0, 0.0), False)):
        picture = Overlay(CAMERA, tracks=tracks_of(joints, shift=shift), scale=1).draw(GREY, 7)
        middle = at(picture, CAMERA.project(joints) + 0.7 * np.array(shift))
        assert (np.abs(middle - RESIDUAL).max(-1) < 60).any() == expected


def test_other_frames_and_people_out_of_view_leave_no_trace():
    plain = Overlay(CAMERA).draw(GREY, 8)
    busy = Overlay(CAMERA, detections_of([np.zeros((19, 2))]), tracks_of(figure())).draw(GREY, 8)
    np.testing.assert_array_equal(busy, plain)
    for away in ((0, 0, -9), (500, 0, 0), (1e9, 0, 0)):
        picture = Overlay(CAMERA, tracks=tracks_of(figure(away))).draw(GREY, 7)
        np.testing.assert_array_equal(picture, Overlay(CAMERA).draw(GREY, 7))


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_bodies_cover_their_silhouette_and_hide_one_another(scale):
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    vertices, faces = np.asarray(ball.vertices, np.float32), np.asarray(ball.faces)
    # person 1 stands behind
    people = {0: (np.add(vertices, (0.3, 0, 0)), faces), 1: (np.add(vertices, (-0.2, 0, 2)), faces)}
    picture = Overlay(CAMERA, bodies={7: people}.get, scale=scale, opacity=0.8).draw(GREY, 7)
    plain = Overlay(CAMERA, scale=scale).draw(GREY, 7)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in plain.shape[1::-1])), -1)
    rays = CAMERA.rays((grid + 0.5) / scale - 0.5)

    def miss(centre, radius):  # distance from a ball along each ray
        towards = np.asarray(centre) - CAMERA.centre
        return np.linalg.norm(np.cross(rays, towards), axis=-1) - radius

    front, back = miss((0.3, 0, 0), 0.5), miss((-0.2, 0, 2), 0.5)
    margin = 3 * 6 / 500 / scale  # three pixels at the distance of the farther ball, in metres
    outside = (front > margin) & (back > margin)
    np.testing.assert_array_equal(picture[outside], plain[outside])
    tint = np.argmin([np.abs(picture.astype(int) - person_colour(i)).sum(-1) for i in (0, 1)], axis=0)
    assert (tint[front < -margin] == 0).mean() > 0.98
    only_back = (back < -margin) & (front > margin)
    assert only_back.sum() > 500 * scale**2 and (tint[only_back] == 1).mean() > 0.98


def test_without_an_image_there_is_a_dark_ground():
    assert Overlay(CAMERA, tracks=tracks_of(figure())).draw(None, 7).shape == (240, 320, 3)


def test_labels_are_in_letters_that_can_be_drawn():
    assert ascii_of("caméra Nº1 ß\n") == "camera No1 ??"


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        return stream, frames


def test_video_of_an_odd_size_plays_and_keeps_its_colours(tmp_path):
    colours = [(200, 60, 40), (40, 160, 60), (60, 80, 220)]
    pictures = [np.tile(np.array(c, np.uint8), (97, 131, 1)) for c in colours for _ in range(4)]
    assert write_overlay_video(tmp_path / "overlays" / "cam 1.mp4", iter(pictures), 59.94) == 12
    stream, frames = decoded(tmp_path / "overlays" / "cam 1.mp4")
    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert (stream.width, stream.height, len(frames)) == (132, 98, 12)
    assert float(stream.average_rate) == pytest.approx(59.94, abs=0.01)
    for picture, frame in zip(pictures, frames, strict=True):
        assert np.abs(frame[:97, :131].astype(int) - picture).mean() < 4
    data = (tmp_path / "overlays" / "cam 1.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is loaded
    assert [p.name for p in (tmp_path / "overlays").iterdir()] == ["cam 1.mp4"]


@pytest.mark.parametrize("pictures", [[], [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)]])
def test_nothing_or_mixed_sizes_leave_no_file(tmp_path, pictures):
    with pytest.raises(ValueError, match=r"no pictures|picture 1 is"):
        write_overlay_video(tmp_path / "x.mp4", pictures, 30)
    assert not list(tmp_path.iterdir())
