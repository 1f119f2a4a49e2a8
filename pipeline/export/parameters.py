"""SMPL-X parameters laid out as collections of motion and the tools around them expect them.

The layout is that of AMASS files for SMPL-X: ``poses`` (N, 165) in the order root, body, jaw, eyes, left hand, right
hand; axis-angle, metres, world of the calibration.
"""

from __future__ import annotations

import numpy as np

from pipeline.body.parameters import BodyTrack


def smplx_arrays(body: BodyTrack, gender: str, rate: float) -> dict[str, np.ndarray]:
    """Arrays of one person's file, only frames with a body; ``frames`` says which of the session they are.

    Args:
        rate: rows a second where no frame is missing.
    """
    rows = np.flatnonzero(np.isfinite(body.transl).all(-1))
    eyes = np.zeros((len(rows), 6), np.float32)
    hands = np.concatenate([body.left_hand_pose, body.right_hand_pose], 1)[rows]
    parts = {
        "root_orient": body.global_orient[rows],
        "pose_body": body.body_pose[rows],
        "pose_jaw": body.jaw_pose[rows],
        "pose_eye": eyes,
        "pose_hand": hands,
    }
    return parts | {
        "poses": np.concatenate(list(parts.values()), 1).astype(np.float32),
        "trans": body.transl[rows],
        "betas": body.betas,
        "expression": body.expression[rows],
        "gender": np.array(gender),
        "surface_model_type": np.array("smplx"),
        "mocap_frame_rate": np.float64(rate),
        "mocap_time_length": np.float64(len(rows) / rate),
        "frames": body.frames[rows],
        "valid": body.valid[rows],
    }
