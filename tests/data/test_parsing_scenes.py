"""Bodies that the small parsing network learns from: off as fitted ones are."""

import numpy as np
import torch

from data.body_models import load_body_arrays, open_body_model
from data.parsing_scenes import BodyError
from nets.body import BodyModel
from pipeline.skeletons import SMPLX55

EXACT = {"place_m": 0.0, "turn_rad": 0.0, "joint_rad": 0.0, "shape_kept": 1.0, "shape": 0.0}


def moved(error, among, seed):
    """(55,) metres that each joint of a body goes from where it truly is."""
    model = BodyModel(load_body_arrays(open_body_model()))
    g = np.random.default_rng(100)
    true = {"betas": g.normal(size=(1, 10)), "global_orient": g.normal(size=(1, 3)), "transl": g.normal(size=(1, 3)),
            "body_pose": 0.2 * g.normal(size=(1, 63))}  # fmt: skip
    given = [{k: torch.as_tensor(v, dtype=torch.float32) for k, v in p.items()} for p in
             (true, error.applied(true, np.random.default_rng(seed), among))]  # fmt: skip
    before, after = (model.joints_only(**p)[0].numpy() for p in given)
    return np.linalg.norm(after - before, axis=1)


def test_an_arm_of_somebody_among_others_may_be_anywhere_and_nothing_else_is():
    lost = BodyError(**EXACT, lost_arms=1.0)
    far = np.mean([moved(lost, True, seed) for seed in range(5)], 0)
    wrists, rest = [SMPLX55.index(f"{s}_wrist") for s in ("left", "right")], SMPLX55.index("right_shoulder") + 1
    assert far[wrists].min() > 0.15 and far[:rest].max() < 1e-5
    assert moved(lost, False, 0).max() < 1e-5  # nobody is there to be taken for them
    sides = np.array([moved(BodyError(**EXACT, lost_arms=0.5), True, seed)[wrists] > 0.01 for seed in range(20)])
    assert 0.2 < sides.mean() < 0.8 and (sides[:, 0] != sides[:, 1]).any()
