"""How far fitted bodies are from known ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.skeletons import SMPLX55

if TYPE_CHECKING:
    from nets.body import BodyModel

BODY_JOINTS = 22
_BATCH = 64
_PAIRS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


@dataclass(frozen=True)
class BodyErrors:
    """Errors of one person over the frames with parameters.

    Attributes:
        joint_mm: mean distance of the pelvis and the 21 joints of ``body_pose``.
        vertex_mm: mean distance of vertices.
        acceleration_m_s2: mean length of the difference between the joints' accelerations.
        swaps: frames and pairs of limb joints where left lies nearer to the true right, and right to the true left.
        stature_mm: of the unposed body, signed.
        valid_share: frames marked valid.
    """

    joint_mm: float
    vertex_mm: float
    acceleration_m_s2: float
    swaps: int
    stature_mm: float
    valid_share: float


def body_errors(model: BodyModel, found: BodyTrack, truth: BodyTrack, fps: float) -> BodyErrors:
    """Compare two tracks of one body model over the same frames.

    Raises:
        ValueError: their frames differ.
    """
    if not np.array_equal(found.frames, truth.frames):
        raise ValueError("the tracks are not of the same frames")
    rows = np.flatnonzero(np.isfinite(found.transl).all(1) & np.isfinite(truth.transl).all(1))
    if not len(rows):
        return BodyErrors(*[float("nan")] * 3, 0, float("nan"), float(np.mean(found.valid)))
    joints, vertex_sum = [], 0.0
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        (a, skin_a), (b, skin_b) = (_posed(model, body, part) for body in (found, truth))
        joints.append(np.stack([a, b]))
        vertex_sum += float((skin_a - skin_b).norm(dim=-1).mean(1).sum())
    a, b = np.concatenate(joints, 1).astype(np.float64)
    return BodyErrors(
        float(1e3 * np.linalg.norm(a - b, axis=-1).mean()),
        1e3 * vertex_sum / len(rows),
        _acceleration_error(a - b, np.asarray(found.frames)[rows] / fps),
        _swaps(a, b),
        1e3 * (_stature(model, found.betas) - _stature(model, truth.betas)),
        float(np.mean(found.valid)),
    )


def _posed(model: BodyModel, body: BodyTrack, rows: np.ndarray):
    """Body joints (N, 22, 3) as numpy and vertices (N, V, 3) as a tensor."""
    import torch

    names = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose", "jaw_pose", "expression", "transl")
    with torch.no_grad():
        values = {n: torch.as_tensor(getattr(body, n)[rows]).to(model.template) for n in names}
        out = model(betas=torch.as_tensor(body.betas).to(model.template)[None], **values)
    return out.joints[:, :BODY_JOINTS].cpu().numpy(), out.vertices


def _acceleration_error(apart: np.ndarray, times: np.ndarray) -> float:
    """Mean over runs of three consecutive frames at even steps."""
    if len(times) < 3:
        return float("nan")
    steps = np.diff(times)
    even = np.isclose(steps[:-1], steps[1:]) & np.isclose(steps[:-1], steps.min())
    second = (apart[2:] - 2 * apart[1:-1] + apart[:-2])[even] / steps.min() ** 2
    return float(np.linalg.norm(second, axis=-1).mean()) if even.any() else float("nan")


def _swaps(found: np.ndarray, truth: np.ndarray) -> int:
    left = np.array([SMPLX55.index(f"left_{n}") for n in _PAIRS])
    right = np.array([SMPLX55.index(f"right_{n}") for n in _PAIRS])

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(found[:, a] - truth[:, b], axis=-1)

    crossed = (distance(left, right) < distance(left, left)) & (distance(right, left) < distance(right, right))
    return int(crossed.sum())


def _stature(model: BodyModel, betas: np.ndarray) -> float:
    from pipeline.body.marking import stature

    return stature(model, np.asarray(betas, np.float64))
