"""Bundle adjustment from people: a spoilt calibration is mended, a good one left alone."""

from dataclasses import replace

import cv2
import numpy as np

from data.synthetic.association_scenes import CATEGORIES
from data.synthetic.walkers import Flaws, detect, ring_rig
from pipeline.association.evidence import leave_one_out
from pipeline.association.graph import associate
from pipeline.association.options import AssociationOptions
from pipeline.association.refine import refine_rig
from pipeline.cameras import Rig

OPTIONS = AssociationOptions(fps=25)


def test_a_turned_and_moved_camera_is_put_back():
    rig = ring_rig(4)
    truth = CATEGORIES["clean"][0](60)
    detections = detect(rig, truth, np.random.default_rng(0), Flaws(noise_px=1.5, occlusion=False))
    turn, _ = cv2.Rodrigues(np.deg2rad([0.5, 0.9, -0.3]))
    bad = replace(rig.cameras[2], R=turn @ rig.cameras[2].R, t=turn @ rig.cameras[2].t + [0.03, 0, 0.02])
    spoilt = Rig((*rig.cameras[:2], bad, rig.cameras[3]))
    found = refine_rig(spoilt, associate(spoilt, detections, OPTIONS))
    before, after = (np.linalg.norm(r.cameras[2].R - rig.cameras[2].R) for r in (spoilt, found.rig))
    assert after < 0.35 * before
    assert np.median(found.after_px) < 2.5 < found.before_px[2] and found.turned_deg[2] > 0.4
    tracks = associate(found.rig, detections, OPTIONS)
    assert np.nanmedian(leave_one_out(found.rig, tracks, detections)) < 4
    assert spoilt.cameras[2].R is bad.R  # the given rig is as it was


def test_a_good_calibration_hardly_moves():
    rig = ring_rig(5)
    detections = detect(rig, CATEGORIES["clean"][0](60), np.random.default_rng(0), Flaws(noise_px=1.5))
    found = refine_rig(rig, associate(rig, detections, OPTIONS))
    assert found.turned_deg.max() < 0.1 and found.moved_m.max() < 0.01


def test_too_little_to_go_by_changes_nothing():
    rig = ring_rig(3)
    detections = detect(rig, np.full((5, 1, 19, 3), np.nan), np.random.default_rng(0))
    found = refine_rig(rig, associate(rig, detections, OPTIONS))
    assert found.rig is rig and found.observations == 0
