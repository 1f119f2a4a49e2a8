"""Bodies as a real fit finds them: off in pose, place and girth, in ways that belong together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.skeletons import SMPLX55

POSE, SHIFT, SHAPE = 0.028, 0.006, 0.3
"""Spread of an error of one: radians a joint, metres, standard deviations of the shape."""

_LOOSE = {"left_wrist": 2.0, "right_wrist": 2.0, "left_foot": 2.0, "right_foot": 2.0, "head": 1.5, "neck": 1.2}
_STIFF = {"spine1": 0.6, "spine2": 0.6, "spine3": 0.6, "left_collar": 0.7, "right_collar": 0.7}


def perturbed(
    parameters: Mapping[str, np.ndarray], generator: np.random.Generator, amount: float
) -> dict[str, np.ndarray]:
    """Body parameters with errors of a fit, ``amount`` times as large as usual.

    Skeletons tell limbs' directions well and little of their twist; girth stays near the mean; hands are relaxed.

    Args:
        parameters: ``betas`` (10,), ``global_orient`` (3,), ``body_pose`` (63,), ``transl`` (3,) and hands (45,) each.
    """
    g, out = generator, {k: np.array(v, np.float64) for k, v in parameters.items()}
    names = SMPLX55.joints[1:22]
    spread = np.array([_LOOSE.get(n, _STIFF.get(n, 1.0)) for n in names])[:, None] * POSE * amount
    pose = out["body_pose"].reshape(21, 3)
    error = Rotation.from_rotvec(g.normal(0, 1, (21, 3)) * spread)
    out["body_pose"] = (Rotation.from_rotvec(pose) * error).as_rotvec().ravel()
    turned = Rotation.from_rotvec(g.normal(0, 0.4 * POSE * amount, 3))
    out["global_orient"] = (turned * Rotation.from_rotvec(out["global_orient"])).as_rotvec()
    out["transl"] = out["transl"] + g.normal(0, SHIFT * amount, 3)
    shrink = np.ones(10)
    shrink[1:] = 1 - g.uniform(0, min(0.9, 0.7 * amount))
    out["betas"] = out["betas"] * shrink + g.normal(0, SHAPE * amount, 10) * np.r_[0.3, np.ones(9)]
    return out
