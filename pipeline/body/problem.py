"""The cost of a body over a track, and its Gauss-Newton normal equations, which are banded in time.

Terms (all divided by their standard deviation, so that the cost is minus the log of a probability):
3D joints and 2D keypoints under a Geman-McClure kernel, joint ranges and a Gaussian of the pose, betas and
landmark offsets near zero, small accelerations of points and joint angles, and whatever ``pipeline.body.terms`` adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.body.anatomy import joint_ranges
from pipeline.body.kinematics import UNKNOWNS, Kinematics, State
from pipeline.body.observations import Observations
from pipeline.body.pixels import geman_mcclure, pixel_information, pixel_residuals
from pipeline.body.prior import PosePrior
from pipeline.body.rotations import logarithm, logarithm_jacobian
from pipeline.body.terms import Term

RANGE_DEVIATION = np.deg2rad(4.0)
"""How softly a joint's range ends, radians."""


@dataclass(frozen=True)
class Weights:
    """What one stage of the fit believes.

    Attributes:
        joint_m: (19,) deviation of 3D joints, metres; inf leaves them out.
        pixel: (19,) deviation of keypoints, pixels; inf leaves them out.
        kernel: where the robust kernel gives up, in deviations; inf for plain least squares.
        acceleration_m_s2, turn_acceleration_rad_s2: as in ``FitOptions``.
        offset_m: deviation of landmark offsets.
        beta: deviation of the betas; 0 holds shape and offsets fixed.
        pose: factor on the deviations of the pose Gaussian.
    """

    joint_m: np.ndarray
    pixel: np.ndarray
    kernel: float
    acceleration_m_s2: float
    turn_acceleration_rad_s2: float
    offset_m: float
    beta: float = 1.0
    pose: float = 1.0


@dataclass
class NormalEquations:
    """Half the second derivative H and half the gradient g of the cost at a state.

    blocks[b] (F - b, 69, 69): H between frames t and t + b, rows t; gradient (F, 69); mixed (F, 69, S) between frames
    and the S unknowns of the track; shared (S, S); shared_gradient (S,).
    """

    blocks: tuple[np.ndarray, np.ndarray, np.ndarray]
    gradient: np.ndarray
    mixed: np.ndarray
    shared: np.ndarray
    shared_gradient: np.ndarray


class Problem:
    """One person's observations, model and weights: ``cost(state)`` and ``normal_equations(state)``."""

    def __init__(
        self, kinematics: Kinematics, obs: Observations, weights: Weights, terms: Sequence[Term] = ()
    ) -> None:
        self.kinematics, self.obs, self.weights, self.terms = kinematics, obs, weights, terms
        self.ranges, self.prior = joint_ranges(), PosePrior.shipped()
        self._whitening = self.prior.whitening()
        self._joints = np.nan_to_num(obs.joints)
        self._pixels = np.nan_to_num(obs.pixels)
        self._difference = second_differences(obs.times)

    @property
    def shape_is_free(self) -> bool:
        return self.weights.beta > 0

    def cost(self, state: State) -> float:
        points = self.kinematics.points(state)
        e3, e2 = self._squared_3d(points), self._squared_2d(points)[0]
        total = (self.obs.joint_weights * self._kernel(e3)[0]).sum()
        total += (self.obs.pixel_weights * self._kernel(e2)[0]).sum()
        pose, excess = self._pose_residuals(logarithm(state.rotations[:, 1:]))
        total += (pose**2).sum() + (excess**2).sum()
        total += (self._accelerations(points) ** 2).sum() + (self._turn_accelerations(state) ** 2).sum()
        if self.shape_is_free:
            total += ((state.betas / self.weights.beta) ** 2).sum()
            total += ((state.offsets / self.weights.offset_m) ** 2).sum()
        return float(total) + sum(term.cost(state) for term in self.terms)

    def normal_equations(self, state: State) -> NormalEquations:
        points, by_frame, by_track = self.kinematics.linearised(state)
        frames, count = points.shape[:2]
        rows, columns = by_frame.reshape(frames, -1, UNKNOWNS), by_track.reshape(frames, 3 * count, -1)

        information, pull = self._data_terms(points)
        weighted = (information @ by_frame).reshape(frames, -1, UNKNOWNS)
        by_frame_t, by_track_t = rows.transpose(0, 2, 1), columns.transpose(0, 2, 1)
        blocks = [by_frame_t @ weighted]
        gradient = (by_frame_t @ pull.reshape(frames, -1, 1))[..., 0]
        weighted_track = (information @ by_track).reshape(columns.shape)
        mixed = by_frame_t @ weighted_track
        shared = (by_track_t @ weighted_track).sum(0)
        shared_gradient = (by_track_t @ pull.reshape(frames, -1, 1)).sum(0)[:, 0]

        blocks += [by_frame_t[:-1] @ rows[1:], by_frame_t[:-2] @ rows[2:]]
        equations = self._add_accelerations(points, rows, columns, blocks)
        gradient += equations[0]
        mixed += equations[1]
        shared += equations[2]
        shared_gradient += equations[3]
        self._add_turn_accelerations(state, blocks, gradient)
        self._add_pose(state, blocks[0], gradient)
        if self.shape_is_free:
            prior = np.full(len(shared), 1 / self.weights.offset_m**2)
            prior[:10] = 1 / self.weights.beta**2
            shared = shared + np.diag(prior)
            shared_gradient = shared_gradient + prior * np.concatenate([state.betas, state.offsets])
        equations = NormalEquations(tuple(blocks), gradient, mixed, shared, shared_gradient)
        for term in self.terms:
            term.add(state, equations)
        return equations

    def information_per_point(self, state: State) -> float:
        """How sharply the observations of the whole track fix a point of the body, were it rigid: mean over points and
        axes of the summed information, 1/m^2."""
        information, _ = self._data_terms(self.kinematics.points(state))
        return float(np.trace(information.sum(0), axis1=-2, axis2=-1).mean() / 3)

    def _kernel(self, squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Geman-McClure value and slope for squared residuals in deviations."""
        return geman_mcclure(squared, self.weights.kernel)

    def _squared_3d(self, points: np.ndarray) -> np.ndarray:
        return ((points - self._joints) ** 2).sum(-1) / self.weights.joint_m**2

    def _squared_2d(self, points: np.ndarray):
        """Squared residuals (F, C, 19) in deviations, residuals (F, C, 19, 2) and 1/depth (F, C, 19)."""
        residual, inverse = pixel_residuals(points, self._pixels, self.obs.projections)
        return (residual**2).sum(-1) / self.weights.pixel**2, residual, inverse

    def _data_terms(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Information (F, 19, 3, 3) and pull (F, 19, 3) that the observations have on each point."""
        w = self.obs.joint_weights * self._kernel(self._squared_3d(points))[1] / self.weights.joint_m**2
        information = w[..., None, None] * np.eye(3)
        pull = w[..., None] * (points - self._joints)
        if len(self.obs.projections):
            squared, residual, inverse = self._squared_2d(points)
            w = self.obs.pixel_weights * self._kernel(squared)[1] / self.weights.pixel**2
            seen = pixel_information(residual, inverse, self._pixels, w, self.obs.projections)
            information, pull = information + seen[0], pull + seen[1]
        return information, pull

    def _pose_residuals(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whitened residuals of the prior (F, 63) and beyond-range residuals (F, 21, 3) of rotation vectors."""
        gaussian = (r.reshape(len(r), 63) - self.prior.mean) @ self._whitening.T
        return gaussian / self.weights.pose, self.ranges.beyond(r) / RANGE_DEVIATION

    def _add_pose(self, state: State, diagonal: np.ndarray, gradient: np.ndarray) -> None:
        r = logarithm(state.rotations[:, 1:])
        gaussian, excess = self._pose_residuals(r)
        slope = logarithm_jacobian(r)
        white = (self._whitening / self.weights.pose).reshape(63, 21, 3)
        rows = np.einsum("njc,fjca->fnja", white, slope).reshape(len(r), 63, 63)
        transposed = rows.transpose(0, 2, 1)
        diagonal[:, 6:, 6:] += transposed @ rows
        gradient[:, 6:] += (transposed @ gaussian[..., None])[..., 0]
        weight = np.where(excess != 0, 1 / RANGE_DEVIATION, 0.0)
        _add_to_joint_blocks(diagonal, slope.swapaxes(-1, -2) @ (slope * (weight**2)[..., None]), first=1)
        pull = (slope.swapaxes(-1, -2) @ (weight * excess)[..., None])[..., 0]
        gradient[:, 6:] += pull.reshape(len(r), -1)

    def _accelerations(self, points: np.ndarray) -> np.ndarray:
        """(F - 2, 19, 3) in deviations."""
        c = self._difference[:, :, None, None] / self.weights.acceleration_m_s2
        return c[:, 0] * points[:-2] + c[:, 1] * points[1:-1] + c[:, 2] * points[2:] if len(points) > 2 else np.zeros(0)

    def _add_accelerations(self, points, rows, columns, blocks):
        """Adds to blocks, whose second and third hold plain products of derivatives; returns the other parts."""
        frames, _, shared = columns.shape
        gradient, mixed = np.zeros((frames, UNKNOWNS)), np.zeros((frames, UNKNOWNS, shared))
        if frames < 3:
            for b in (1, 2):
                blocks[b][:] = 0
            return gradient, mixed, np.zeros((shared, shared)), np.zeros(shared)
        c = self._difference / self.weights.acceleration_m_s2
        residual = self._accelerations(points).reshape(frames - 2, -1)
        track = sum(c[:, i, None, None] * columns[i : frames - 2 + i] for i in range(3))
        own = rows.transpose(0, 2, 1) @ rows
        far = blocks[2]
        near = blocks[1]
        scale0, scale1 = np.zeros(frames), np.zeros(frames - 1)
        for i in range(3):
            part = slice(i, frames - 2 + i)
            scale0[part] += c[:, i] ** 2
            gradient[part] += c[:, i, None] * (rows[part].transpose(0, 2, 1) @ residual[..., None])[..., 0]
            mixed[part] += c[:, i, None, None] * (rows[part].transpose(0, 2, 1) @ track)
            if i < 2:
                scale1[part] += c[:, i] * c[:, i + 1]
        blocks[0] += scale0[:, None, None] * own
        near *= scale1[:, None, None]
        far *= (c[:, 0] * c[:, 2])[:, None, None]
        track, residual = track.reshape(-1, shared), residual.reshape(-1)
        return gradient, mixed, track.T @ track, track.T @ residual

    def _turn_accelerations(self, state: State) -> np.ndarray:
        """(F - 2, 22, 3) in deviations: change of each joint's turn from frame to frame."""
        R = state.rotations
        if len(R) < 3:
            return np.zeros((0, R.shape[1], 3))
        turn = logarithm(R[:-1].swapaxes(-1, -2) @ R[1:])
        c = self._difference[:, :, None, None] / self.weights.turn_acceleration_rad_s2
        return c[:, 2] * turn[1:] - c[:, 0] * turn[:-1]

    def _add_turn_accelerations(self, state: State, blocks, gradient: np.ndarray) -> None:
        residual = self._turn_accelerations(state)
        if not len(residual):
            return
        residual = residual.reshape(len(residual), -1)
        frames = len(gradient)
        c = self._difference / self.weights.turn_acceleration_rad_s2
        diagonal = np.arange(3, UNKNOWNS)
        for i in range(3):
            part = slice(i, frames - 2 + i)
            gradient[part, 3:] += c[:, i, None] * residual
            for j in range(i, 3):
                blocks[j - i][part, diagonal, diagonal] += (c[:, i] * c[:, j])[:, None]


def _add_to_joint_blocks(diagonal: np.ndarray, block: np.ndarray, first: int) -> None:
    """Add (F, n, 3, 3) to the 3x3 diagonal blocks of joints ``first`` on, in (F, 69, 69)."""
    for k in range(block.shape[1]):
        at = slice(3 + 3 * (first + k), 6 + 3 * (first + k))
        diagonal[:, at, at] += block[:, k]


def second_differences(times: np.ndarray, longest_s: float = 1.0) -> np.ndarray:
    """(F - 2, 3) coefficients of the second derivative at the middle of three times (s); zero across long gaps."""
    if len(times) < 3:
        return np.zeros((0, 3))
    a, b = np.diff(times)[:-1], np.diff(times)[1:]
    c = np.stack([2 / (a * (a + b)), -2 / (a * b), 2 / (b * (a + b))], 1)
    return np.where((np.maximum(a, b) > longest_s)[:, None], 0.0, c)
