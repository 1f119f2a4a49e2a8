"""Where detectors' landmarks lie on a body: not in its joint centres.

Offsets are from the body's SKEL-19 joints, metres, in the frame of the joint that ``regressor.OFFSET_BONES`` names (x
to the body's left, y up, z forward in the T-pose). They are measured with ``measure_offsets``.

Those of BlazePose come from rendered people of the open body model whose joints are known: four people in two synthetic
captures. On a third, joint errors fell from 27 and 23 to 21 and 16 mm, vertex errors from 25 and 23 to 22 and 17 mm.

Those of BODY_25 come from real detections, on the four people of the Shelf sequence, against the open bodies fitted to
them (twice: fitted, measured, fitted with what was found). The four agree within 5 mm in most landmarks. With the
offsets of the three others, medians between body and triangulated joints fell from 12.1, 12.9, 19.5 and 15.1 to 8.3,
9.4, 14.3 and 12.0 mm. The true joints of these people are unknown: what all landmarks share, a fit takes for the body.

OpenPose was trained on COCO's annotations, so COCO-17 has the same offsets where it has the same joints; nobody has
measured them. Its neck and mid-hip are means of shoulders and hips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.body.regressor import Regressor, regress
from pipeline.skeletons import SKEL19

if TYPE_CHECKING:
    from nets.body import BodyModel

_BLAZEPOSE = {  # left side and midline, metres
    "mid_hip": (0.0, -0.005, 0.034),
    "neck": (0.0, 0.013, -0.001),
    "nose": (0.0, 0.002, -0.026),
    "left_hip": (-0.009, -0.005, 0.033),
    "left_shoulder": (-0.006, 0.013, 0.002),
    "left_knee": (-0.008, -0.004, -0.014),
    "left_ear": (-0.031, 0.0, 0.034),
    "left_elbow": (0.002, -0.003, 0.002),
    "left_ankle": (0.005, 0.012, 0.006),
    "left_wrist": (0.010, -0.005, -0.002),
    "left_big_toe": (0.021, -0.002, -0.010),
}
_COCO = {
    "nose": (0.0, 0.010, 0.006),
    "left_hip": (0.006, -0.016, 0.009),
    "left_shoulder": (-0.016, 0.010, -0.013),
    "left_knee": (-0.007, -0.021, -0.002),
    "left_ear": (0.003, 0.003, 0.007),
    "left_elbow": (0.009, 0.0, -0.012),
    "left_ankle": (-0.003, 0.014, 0.010),
    "left_wrist": (0.004, -0.003, 0.0),
}
_COCO17 = _COCO | {"mid_hip": (0.0, -0.016, 0.009), "neck": (0.0, 0.010, -0.013)}
_BODY25 = _COCO | {
    "mid_hip": (0.0, -0.018, 0.010),
    "neck": (0.0, 0.012, -0.005),
    "left_big_toe": (0.010, 0.020, -0.013),
}
_TABLES: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "blazepose33": _BLAZEPOSE,
    "body25": _BODY25,
    "coco17": _COCO17,
}
_FLIP = np.array([-1.0, 1.0, 1.0])


def landmark_offsets(joint_set: str) -> np.ndarray:
    """(19, 3) metres for detections made in ``joint_set`` and mapped to SKEL-19; zero for sets not measured."""
    offsets = np.zeros((len(SKEL19), 3))
    for joint, offset in _TABLES.get(joint_set, {}).items():
        k = SKEL19.index(joint)
        offsets[k] = offset
        if SKEL19.mirror[k] != k:
            offsets[SKEL19.mirror[k]] = _FLIP * offset
    return offsets


def measure_offsets(model: BodyModel, regressor: Regressor, body: BodyTrack, seen: np.ndarray) -> np.ndarray:
    """(19, 3) median offsets of triangulated landmarks ``seen`` (F, 19, 3) from a known body, the same on both sides.

    NaN for landmarks that were never seen.
    """
    import torch

    fields = ("global_orient", "body_pose", "transl")
    parameters = {name: np.asarray(getattr(body, name)) for name in fields} | {"betas": body.betas}
    apart = seen - regress(model, regressor, parameters)
    with torch.no_grad():
        posed = model.pose(**{k: torch.as_tensor(np.atleast_2d(v)).to(model.template) for k, v in parameters.items()})
    bones = posed.rotations.cpu().numpy()[:, regressor.offset_bones]
    local = np.einsum("fkji,fkj->fki", bones, apart)
    both = np.concatenate([local, local[:, SKEL19.mirror] * _FLIP])
    found = np.isfinite(both).all(-1)
    return np.stack(
        [np.median(both[found[:, k], k], 0) if found[:, k].any() else np.full(3, np.nan) for k in range(19)]
    )
