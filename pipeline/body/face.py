"""The face of an SMPL-X body as a part that cameras see: the 51 inner points of the 68-point face set.

Unknowns of a frame: a turn of the head against the fitted body's (3, rotation vector), a shift of it (3, metres), which
says only that the body's head is not exact, the jaw's turn (3) and ten expressions. The points of the contour are left
out: where they lie depends on the view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.rotations import exponential, logarithm_jacobian, skew
from pipeline.skeletons import SMPLX55

if TYPE_CHECKING:
    from nets.body import BodyModel

TURN, SHIFT, JAW, EXPRESSION = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 19)
NAMES = tuple(f"face_{k}" for k in range(17, 68))
"""In the numbers of the 68- and 70-point sets."""
_DEVIATION = np.concatenate([np.radians([20.0, 20.0, 15.0]), np.full(3, 0.015), np.radians([12.0, 3, 3]), np.ones(10)])
_ACCELERATION = np.concatenate([np.full(3, 60.0), np.full(3, 3.0), np.full(3, 60.0), np.full(10, 200.0)])
_JAW_RANGE = np.radians([[-3.0, -8.0, -5.0], [35.0, 8.0, 5.0]])
MOST_EXPRESSION = 3.0


class Face:
    """Points of a face; ``mean`` ... ``acceleration`` as ``pipeline.body.series.Part`` has them."""

    names = NAMES
    rigid = np.arange(17, 68) < 48
    """Not the lips."""

    def __init__(self, model: BodyModel, betas: np.ndarray, rotations: np.ndarray, positions: np.ndarray) -> None:
        """``rotations`` (F, 3, 3) and ``positions`` (F, 3) of the fitted body's head in the world.

        Raises:
            ValueError: the model's file has no face landmarks.
        """
        if model.face_landmarks is None:
            raise ValueError("the body model has no face landmarks")
        self.rotations, self.positions = rotations, positions
        corners, share = model.face_landmarks
        joints = _numpy(model.joint_template) + _numpy(model.joint_shapedirs)[..., :10] @ betas
        head, jaw = joints[SMPLX55.index("head")], joints[SMPLX55.index("jaw")]
        skin = _numpy(model.template[corners]) + _numpy(model.shapedirs[corners])[..., :10] @ betas
        self._points = np.einsum("kn,knc->kc", share, skin) - head
        self._moves = np.einsum("kn,knce->kce", share, _numpy(model.shapedirs[corners])[..., 10:])  # (51, 3, 10)
        on_jaw = _numpy(model.weights[corners])[..., SMPLX55.index("jaw")]
        self._on_jaw = np.einsum("kn,kn->k", share, on_jaw)[:, None]
        self._jaw = jaw - head
        none = np.full(6, np.inf)
        most = np.full(10, MOST_EXPRESSION)
        self.mean, self.deviation, self.acceleration = np.zeros(19), _DEVIATION, _ACCELERATION
        self.low = np.concatenate([-none, _JAW_RANGE[0], -most])
        self.high = np.concatenate([none, _JAW_RANGE[1], most])

    def turned(self, unknowns: np.ndarray) -> np.ndarray:
        """(F, 3, 3) the head in the world."""
        return self.rotations @ exponential(unknowns[:, TURN])

    def still(self) -> np.ndarray:
        """(51, 3) the face at rest about its head, unturned."""
        return self._points

    def points(self, unknowns: np.ndarray) -> np.ndarray:
        still, moved, _ = self._about_head(unknowns)
        local = (1 - self._on_jaw) * still + self._on_jaw * moved
        return np.einsum("fij,fkj->fki", self.turned(unknowns), local) + self._places(unknowns)

    def _places(self, unknowns: np.ndarray) -> np.ndarray:
        return (self.positions + unknowns[:, SHIFT])[:, None]

    def _about_head(self, unknowns: np.ndarray):
        """Points (F, 51, 3) about the head as if all hung on it, and as if all hung on the jaw; the jaw's turn."""
        still = self._points + np.einsum("kce,fe->fkc", self._moves, unknowns[:, EXPRESSION])
        turn = exponential(unknowns[:, JAW])
        return still, np.einsum("fij,fkj->fki", turn, still - self._jaw) + self._jaw, turn

    def linearised(self, unknowns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        still, moved, jaw = self._about_head(unknowns)
        head, w = self.turned(unknowns), self._on_jaw
        points = np.einsum("fij,fkj->fki", head, (1 - w) * still + w * moved) + self._places(unknowns)
        slope = np.empty((*points.shape, 19))
        turn = head @ np.linalg.inv(logarithm_jacobian(unknowns[:, TURN]))
        slope[..., TURN] = -skew(points - self._places(unknowns)) @ turn[:, None]
        slope[..., SHIFT] = np.eye(3)
        axes = jaw @ np.linalg.inv(logarithm_jacobian(unknowns[:, JAW]))
        slope[..., JAW] = w[..., None] * (head[:, None] @ -skew(moved - self._jaw) @ axes[:, None])
        mixed = (1 - w)[..., None] * np.eye(3) + w[..., None] * jaw[:, None]  # (F, 51, 3, 3)
        slope[..., EXPRESSION] = head[:, None] @ mixed @ self._moves
        return points, slope


def _numpy(tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)
