"""The plain association on synthetic walkers with exact answers."""

import numpy as np

from data.synthetic.walkers import Flaws, detect, ring_rig, walk
from pipeline.association.options import AssociationOptions
from pipeline.association.plain import associate


def test_two_walkers_far_apart_are_tracked_exactly():
    t = np.linspace(0, 1, 40)[:, None]
    joints = np.stack([walk([-1.5, -1] + t * [2, 0], 25), walk([1.5, 1] - t * [2, 0], 25, 1.6)], 1)
    rig = ring_rig(5)
    for bottom_up in (False, True):
        flaws = Flaws(noise_px=1.0, missed=0.05)
        detections = detect(rig, joints, np.random.default_rng(3), flaws, bottom_up=bottom_up)
        tracks = associate(rig, detections, AssociationOptions(fps=25))
        assert len(tracks.person_ids) == 2 and tracks.present.all()
        assert np.isfinite(tracks.joints).all()
        error = np.linalg.norm(tracks.joints[:, :, None] - joints[:, None], axis=-1).mean(-1)
        assert (error.argmin(-1) == error[0].argmin(-1)).all()
        assert np.median(error.min(-1)) < 0.02
