"""Meshes and bodies that are not as they should be: marked and passed through, holes filled or said."""

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.fusion.fuse import REASONS, fuse_window, window_frame
from pipeline.fusion.options import FusionOptions
from pipeline.fusion.surface import prepare
from tests.pipeline.fusion_ball import OPTIONS, RADIUS, at, ball, body, frame_of, moved


def off(fused, frame=1):
    """Metres from the true ball of the frame: the largest."""
    return np.abs(np.linalg.norm(fused.vertices - at(frame)[:, 3], axis=1) - RADIUS).max()


def without_cap(vertices, faces, axis=2):
    """A ball with a hole around a pole."""
    return vertices, faces[vertices[faces].mean(1)[:, axis] < 0.8 * RADIUS]


def test_three_good_frames_share_alike():
    fused = fuse_window([frame_of(k) for k in range(3)], 1, OPTIONS)
    assert fused.valid and not fused.reason and fused.open_edges == 0
    assert off(fused) < 0.002
    np.testing.assert_allclose(fused.contributions, 1 / 3, atol=0.02)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda: window_frame(None, body(0), OPTIONS), "absent"),
        (lambda: window_frame(prepare(np.zeros((0, 3)), np.zeros((0, 3), int)), body(0), OPTIONS), "empty mesh"),
        (lambda: window_frame(prepare(*ball()), None, OPTIONS), "invalid body"),
        (lambda: frame_of(0, ball()[0] + [0.0, 0, 3], ball()[1]), "far from its body"),
        (lambda: frame_of(0, np.full_like(ball()[0], np.nan), ball()[1]), "empty mesh"),
    ],
)
def test_a_frame_without_use_is_left_out_and_said(broken, reason):
    fused = fuse_window([broken(), frame_of(1), frame_of(2)], 1, OPTIONS)
    assert fused.valid and off(fused) < 0.002
    assert [REASONS[r] for r in fused.frame_reasons] == [reason, "", ""]
    assert fused.contributions[0] == 0 and fused.contributions.sum() == pytest.approx(1)


@pytest.mark.parametrize("reason", ["empty mesh", "invalid body", "far from its body"])
def test_a_centre_without_use_is_passed_through_and_said(reason):
    vertices, faces = ball()
    surface = prepare(np.zeros((0, 3)), faces[:0]) if reason == "empty mesh" else prepare(moved(vertices, 1), faces)
    pose = {"invalid body": None, "far from its body": body(80)}.get(reason, body(1))
    fused = fuse_window([frame_of(0), window_frame(surface, pose, OPTIONS), frame_of(2)], 1, OPTIONS)
    assert not fused.valid and fused.reason == reason
    np.testing.assert_array_equal(fused.vertices, surface.vertices)
    np.testing.assert_array_equal(fused.faces, surface.faces)


def test_a_mesh_that_is_inside_out_is_turned():
    vertices, faces = ball()
    frames = [frame_of(0, vertices, faces[:, ::-1]), frame_of(1, vertices, faces[:, ::-1]), frame_of(2)]
    fused = fuse_window(frames, 1, OPTIONS)
    assert fused.valid and off(fused) < 0.002 and "turned inside out" in fused.notes


def test_triangles_that_disagree_and_edges_of_many_triangles():
    vertices, faces = ball()
    mixed = faces.copy()
    mixed[::3] = mixed[::3, ::-1]
    fin = np.vstack([faces, [faces[0, 0], faces[0, 1], len(vertices)]])
    frames = [frame_of(0, vertices, mixed), frame_of(1, np.vstack([vertices, [[0, 0, 0]]]), fin), frame_of(2)]
    assert not frames[0].surface.oriented and "non-manifold" in frames[1].surface.notes
    fused = fuse_window(frames, 1, OPTIONS)
    assert fused.valid and len(fused.faces)
    assert "non-manifold" in fused.notes
    assert np.percentile(np.abs(np.linalg.norm(fused.vertices - at(1)[:, 3], axis=1) - RADIUS), 95) < 0.003


def test_triangles_of_no_area_do_not_open_a_closed_mesh():
    """Stored vertices are rounded: some triangles shrink to lines and points, and the mesh is as closed as it was."""
    vertices, faces = ball()
    vertices[faces[0, 0]] = vertices[faces[0, 1]]  # two corners in one place
    a, b, c = faces[len(faces) // 2]
    vertices[c] = (vertices[a] + vertices[b]) / 2  # three in a row
    twice = np.vstack([faces, [[faces[0, 0], faces[0, 0], faces[0, 1]]]])
    surface = prepare(vertices, twice)
    assert surface.notes == () and not surface.border.any() and len(surface.faces) < len(faces)
    fused = fuse_window([frame_of(k, vertices, twice) for k in range(3)], 1, OPTIONS)
    assert fused.open_edges == 0 and fused.notes == () and off(fused) < 0.02


def test_faces_out_of_range_and_corners_not_finite_are_left_out():
    vertices, faces = ball()
    vertices[7] = np.inf
    faces[0, 0] = 10**9
    surface = prepare(vertices, faces)
    assert {"faces out of range", "vertices not finite", "open"} <= set(surface.notes)
    assert np.isfinite(surface.vertices).all() and surface.faces.max() < len(surface.vertices)


@pytest.mark.parametrize("weighted", [True, False])
def test_a_hole_is_filled_from_frames_that_have_none(weighted):
    options = FusionOptions(voxel_m=0.012, sigma_m=0.02, weighted=weighted)
    holed = frame_of(1, *without_cap(*ball()), options)
    fused = fuse_window([frame_of(0, options=options), holed, frame_of(2, options=options)], 1, options)
    assert fused.open_edges == 0 and off(fused) < 0.004


def test_a_hole_in_every_frame_stays_and_is_said():
    fused = fuse_window([frame_of(k, *without_cap(*ball())) for k in range(3)], 1, OPTIONS)
    assert fused.valid and fused.open_edges > 0 and "holes that no frame fills" in fused.notes
    assert off(fused) < 0.01


def test_what_a_frame_guessed_gives_way_to_what_others_saw():
    vertices, faces = ball()
    unseen = vertices[:, 2] > 0
    dented = vertices * np.where(unseen, 0.9, 1.0)[:, None]
    frames = [frame_of(0), frame_of(1, dented, faces, seen=np.where(unseen, 0.0, 1.0)), frame_of(2)]
    weighted = fuse_window(frames, 1, OPTIONS)
    plain = fuse_window(frames, 1, OPTIONS.as_in_the_paper())
    top = [
        np.linalg.norm(f.vertices - at(1)[:, 3], axis=1)[f.vertices[:, 2] > at(1)[2, 3] + 0.1]
        for f in (weighted, plain)
    ]
    assert np.abs(top[0] - RADIUS).mean() < 0.002 < 0.004 < np.abs(top[1] - RADIUS).mean()


@pytest.mark.parametrize("bad", [{"window": 2}, {"kernel": "box"}, {"sigma_m": 0.0}, {"neighbours": 0}])
def test_options_that_mean_nothing_are_refused(bad):
    with pytest.raises(InputError):
        FusionOptions(**bad)
