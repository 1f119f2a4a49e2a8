"""Outlines tell the shape: their slopes, what they gain, and that bad ones do no harm."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from data.synthetic.body_scenes import SETTINGS, body_scene, true_outlines
from pipeline.body.accuracy import body_errors
from pipeline.body.fit import fit_track
from pipeline.body.kinematics import Kinematics, state_of
from pipeline.body.options import FitOptions
from pipeline.body.regressor import regressor_for
from pipeline.body.silhouette import Outline, girth_term, outline_skin, outlines_of, spread_rows
from pipeline.keypoints.detections import Detections
from tests.pipeline.body_tracks import as_track


@pytest.fixture(scope="module")
def scene(model):
    return body_scene(model, "arms_crossed", SETTINGS["six_cameras"], 1, 30)


@pytest.fixture(scope="module")
def outlines(model, scene):
    return true_outlines(model, scene.rig, scene.people[0], frames=2)


def test_distances_are_those_to_the_edge():
    mask = np.zeros((300, 200), np.uint8)
    mask[50:250, 60:140] = 255
    outline = Outline.of(0, 0, mask, np.array([400, 100, 600, 400]))
    at = np.array([[500.0, 250.0], [459.5, 250.0], [450.0, 250.0], [470.0, 250.0], [500.0, 140.0]])
    distance, slope = outline.at(at)
    assert np.allclose(distance, [-40, 0, 9.5, -10.5, 9.5], atol=1.5)
    assert np.allclose(slope[2], [-1, 0], atol=0.05) and np.allclose(slope[4], [0, -1], atol=0.05)
    assert np.isnan(outline.at(np.array([[0.0, 0.0]]))[0]).all()
    assert Outline.of(0, 0, 0 * mask, np.array([0, 0, 200, 300])) is None


def test_slopes_and_costs_belong_together(model, scene, outlines):
    truth = scene.people[0]
    rows = np.arange(30)
    state = state_of(truth, rows)
    skin = outline_skin(model, Kinematics(model, regressor_for(model)))
    term = girth_term(model, skin, state, outlines, rows, scene.rig.projections, beta=0.1)
    residual, slope = term._residuals(state.betas)
    assert np.abs(residual).mean() < 0.35  # the true body's outline is the mask's edge
    step = 1e-4
    for b in range(10):
        moved = [term._residuals(state.betas + s * step * np.eye(10)[b])[0] for s in (1, -1)]
        numeric = (moved[0] - moved[1]) / (2 * step)
        assert np.abs(numeric - slope[:, b]).mean() < 0.05 * np.abs(slope[:, b]).mean() + 1e-6


def at_rest(model, betas):
    """Vertices of a shape in the rest pose, about their middle."""
    vertices = model(betas=torch.as_tensor(betas, dtype=torch.float32)[None]).vertices[0].detach().numpy()
    return vertices - vertices.mean(0)


def test_masks_of_bodies_make_shapes_truer(model, scene, outlines):
    options = FitOptions(fps=scene.fps)
    truth, track = scene.people[0], scene.tracks[0]
    fits = [fit_track(model, scene.rig, track, options, outlines=o) for o in ((), outlines)]
    true = at_rest(model, truth.betas)
    shapes = [np.linalg.norm(at_rest(model, f.betas) - true, axis=1).mean() for f in fits]
    assert shapes[1] < 0.9 * shapes[0]
    without, found = (body_errors(model, f, truth, scene.fps) for f in fits)
    assert found.vertex_mm < without.vertex_mm and found.joint_mm < without.joint_mm + 0.5
    elsewhere = [replace(o, origin=o.origin + 400) for o in outlines]
    lost = body_errors(model, fit_track(model, scene.rig, track, options, outlines=elsewhere), truth, scene.fps)
    assert lost.vertex_mm < without.vertex_mm + 1


def test_outlines_are_the_persons_where_nobody_else_is_near():
    png = cv2.imencode(".png", np.full((40, 20), 255, np.uint8))[1].tobytes()
    apart, near = np.array([[0, 0, 20, 40], [100, 0, 120, 40]]), np.array([[0, 0, 20, 40], [15, 0, 35, 40]])
    boxes = np.concatenate([apart, near]).astype(np.float32)
    detections = Detections(
        "blazepose33", np.arange(2), np.array([0, 2, 4]), np.zeros((4, 33, 2), np.float32),
        np.ones((4, 33), np.float32), boxes, np.ones(4, np.float32), np.full(4, -1, np.int32),
        masks=(png,) * 4, mask_boxes=boxes.astype(np.int32),
    )  # fmt: skip
    track = as_track(np.zeros((4, 19, 3)), np.zeros((4, 1, 19, 2)), np.ones((4, 1, 19)))
    track = replace(track, instances=np.array([[[-1]], [[11]], [[12]], [[-1]]], np.int32))
    rows = spread_rows(track, 2)
    assert rows.tolist() == [1, 2]
    found = outlines_of(detections, 10, track.instances[:, 0, 0], rows, 0)  # of row 2 the boxes meet
    assert [(o.row, o.camera) for o in found] == [(1, 0)]
    assert found[0].at(np.array([[110.0, 20.0]]))[0] == pytest.approx(-10, abs=1)
