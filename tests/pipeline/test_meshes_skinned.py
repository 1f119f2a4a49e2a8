"""session.glb: what a viewer shows must be the bodies that were fitted. Played from the file by ``GltfPlayer``."""

import numpy as np
import pygltflib
import pytest
import torch

from nets.body import BodyModel
from pipeline.export.bodies import posed_vertices, session_glb
from pipeline.meshes.geometry import y_up_from_world
from pipeline.meshes.glb import cut_weights, glb_skinned, quaternion_of_matrix
from pipeline.skeletons import SMPLX55
from tests.pipeline.gltf_player import GltfPlayer, _matrix
from tests.pipeline.small_body import moving_body, small_body_arrays

UP, FPS, FRAMES = np.array([0.1, -0.2, 0.95]), 60.0, np.arange(100, 124)


def session(influences=4, absent=((), (105, 106, 107, 123)), frames=FRAMES):
    model = BodyModel(small_body_arrays(influences), dtype=torch.float64)
    bodies = {i: moving_body(frames, seed=i, absent=gone) for i, gone in enumerate(absent)}
    data = session_glb(model, bodies, UP, FPS, (int(frames[0]), int(frames[-1])))
    return model, bodies, GltfPlayer(data)


def in_world(points):
    return points @ y_up_from_world(UP)  # rows: the inverse rotation


def largest_error(model, bodies, player, offset=0.0):
    worst = 0.0
    for person, body in bodies.items():
        truth = posed_vertices(model, body, np.arange(len(body.frames)))
        for row in np.flatnonzero(body.valid):
            played = player.skinned(f"person_{person}_body", (body.frames[row] - FRAMES[0]) / FPS + offset)
            worst = max(worst, np.abs(in_world(played) - truth[row]).max())
    return worst


def test_every_frame_of_every_person_is_the_posed_body():
    assert largest_error(*session()) < 2e-5  # float32 poses over several metres


def test_influences_past_the_fourth_cost_what_they_weigh():
    """A vertex moves by less than the weight dropped times the distance between what its joints would do with it."""
    arrays = small_body_arrays(influences=6)
    model, bodies, player = session(influences=6)
    _, kept = cut_weights(arrays["weights"])
    strongest = -np.sort(-arrays["weights"], axis=1)
    dropped = strongest[:, 4:].sum(1).max()
    error = largest_error(model, bodies, player)
    assert 0.001 < error < dropped * 2.0  # the figure is about two metres across
    np.testing.assert_allclose(kept.sum(1), 1, atol=1e-6)


def test_an_absent_person_has_no_size_and_comes_back_where_they_are():
    _, _, player = session()
    for frame in (105, 106, 107, 123):
        for later in (0.0, 0.4):  # also between frames
            played = player.skinned("person_1_body", (frame - FRAMES[0] + later) / FPS)
            assert np.ptp(played, axis=0).max() == 0
    assert np.ptp(player.skinned("person_1_body", 8 / FPS), axis=0).max() > 0.5
    assert np.ptp(player.skinned("person_0_body", 5 / FPS), axis=0).max() > 0.5


def test_between_frames_the_motion_is_between():
    """Rotations that jump from q to -q would turn a limb the long way round half-way between two frames."""
    model, bodies, player = session(absent=((),))
    body = bodies[0]
    truth = posed_vertices(model, body, np.arange(len(body.frames)))
    for row in range(len(FRAMES) - 1):
        played = in_world(player.skinned("person_0_body", (row + 0.5) / FPS))
        assert np.abs(played - 0.5 * (truth[row] + truth[row + 1])).max() < 0.25  # arcs against chords


def test_before_the_animation_a_person_stands_as_in_their_first_frame():
    model, bodies, player = session(absent=((), (100, 101)))
    truth = posed_vertices(model, bodies[1], np.array([2]))[0]
    np.testing.assert_allclose(in_world(player.skinned("person_1_body", None)), truth, atol=2e-5)


def test_a_session_of_every_fifth_frame_has_no_gaps():
    frames = np.arange(100, 220, 5)
    _, _, player = session(absent=((), (110,)), frames=frames)
    scales = [c for c in player.json["animations"][0]["channels"] if c["target"]["path"] == "scale"]
    assert [player.nodes[c["target"]["node"]]["name"] for c in scales] == ["person_1"]
    assert np.ptp(player.skinned("person_1_body", 10 / FPS), axis=0).max() == 0
    assert np.ptp(player.skinned("person_1_body", 15 / FPS), axis=0).max() > 0.5


def test_structure_as_an_independent_reader_sees_it(tmp_path):
    model, bodies, _ = session()
    data = session_glb(model, bodies, UP, FPS, (100, 123))
    (tmp_path / "session.glb").write_bytes(data)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "session.glb"))
    roots = [gltf.nodes[i] for i in gltf.scenes[gltf.scene].nodes]
    assert [n.name for n in roots] == ["person_0", "person_0_body", "person_1", "person_1_body"]
    assert [len(s.joints) for s in gltf.skins] == [55, 55]
    assert gltf.nodes[gltf.skins[1].joints[15]].name == f"person_1_{SMPLX55.joints[15]}"
    assert len(gltf.animations) == 1 and gltf.asset.extras["unit"] == "metre"
    # what two people share (faces, weights) is in the file once
    attributes = [m.primitives[0].attributes for m in gltf.meshes]
    assert attributes[0].JOINTS_0 == attributes[1].JOINTS_0 and attributes[0].POSITION != attributes[1].POSITION
    assert gltf.meshes[0].primitives[0].indices == gltf.meshes[1].primitives[0].indices
    assert all(view.byteOffset % 4 == 0 for view in gltf.bufferViews)


def test_nobody_makes_an_empty_scene():
    gltf = pygltflib.GLTF2().load_from_bytes(glb_skinned([], UP, FPS, (0, 9)))
    assert not gltf.scenes[gltf.scene].nodes and not gltf.animations


def test_frames_outside_the_session_are_refused():
    model = BodyModel(small_body_arrays())
    with pytest.raises(ValueError, match="not ascending within"):
        session_glb(model, {0: moving_body(FRAMES)}, UP, FPS, (100, 110))


def test_quaternion_of_any_rotation():
    rng = np.random.default_rng(3)
    turns = [np.diag(d) for d in ([1.0, 1, 1], [1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])]
    turns += [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(20)]
    for turn in turns:
        turn = turn * np.linalg.det(turn)
        back = _matrix((0, 0, 0), quaternion_of_matrix(turn), (1, 1, 1))[:3, :3]
        np.testing.assert_allclose(back, turn, atol=1e-12)
