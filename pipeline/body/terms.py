"""Terms beyond observations: what points of the skin are kept from, and what feet do on a floor.

Each adds its cost and its Gauss-Newton equations to a ``Problem``; residuals are divided by their deviations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.body.kinematics import UNKNOWNS, Kinematics, OffsetBasis, State
from pipeline.body.regressor import surface_regressor

if TYPE_CHECKING:
    from nets.body import BodyModel
    from pipeline.body.problem import NormalEquations


CONTACT_KERNEL = 15.0
"""In deviations: what is 6 cm inside is still pushed with a quarter of its force."""


class Term(Protocol):
    """Part of the cost of a track."""

    def cost(self, state: State) -> float: ...

    def add(self, state: State, equations: NormalEquations) -> None:
        """Add half the second derivative and half the gradient to ``equations``, in place."""


class Skin:
    """Points of the skin with derivatives, beside a track's own kinematics. ``rest`` (N, 3): in the mean body."""

    def __init__(self, model: BodyModel, vertices: np.ndarray, like: Kinematics) -> None:
        """``like`` says which unknowns the track has."""
        basis = OffsetBasis(np.zeros((len(vertices), 3, like.basis.matrix.shape[2])))
        self.kinematics = Kinematics(model, surface_regressor(model, vertices), basis)
        self.rest = model.template[vertices].cpu().numpy().astype(np.float64)

    def points(self, state: State) -> np.ndarray:
        """(F, N, 3) metres."""
        return self.kinematics.points(state)

    def rows(self, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (F, N, 3) and their derivatives by the unknowns of the frame and of the track."""
        return self.kinematics.linearised(state)


def robust(residual: np.ndarray, axis: int | None = None, kernel: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Geman-McClure cost and slope of residuals, or of vectors along ``axis``, in deviations."""
    squared = residual**2 if axis is None else (residual**2).sum(axis)
    share = kernel**2 / (kernel**2 + squared)
    return squared * share, share**2


def add_scalar_residuals(
    equations: NormalEquations, residual: np.ndarray, by_frame: np.ndarray, by_track: np.ndarray
) -> None:
    """Residuals (F, N) that depend on their own frame: derivatives (F, N, 69) and (F, N, S)."""
    transposed = by_frame.transpose(0, 2, 1)
    equations.blocks[0][:] += transposed @ by_frame
    equations.gradient[:] += (transposed @ residual[..., None])[..., 0]
    equations.mixed[:] += transposed @ by_track
    equations.shared[:] += np.tensordot(by_track, by_track, ((0, 1), (0, 1)))
    equations.shared_gradient[:] += np.tensordot(by_track, residual, ((0, 1), (0, 1)))


@dataclass(frozen=True)
class Floor:
    """A plane that feet do not go through, and on which those that carry weight stay where they are.

    Attributes:
        skin: points of the soles.
        up: (3,) unit normal; height: metres along it.
        planted: (F, N) bool, points that carry weight.
        rise: (N,) metres, how high each point is over the sole's lowest when the foot stands flat.
        depth_m, lift_m: deviations of points below the floor, and of planted points above it.
        slide_m_s: deviation of a planted point's speed.
    """

    skin: Skin
    up: np.ndarray
    height: float
    planted: np.ndarray
    rise: np.ndarray
    times: np.ndarray
    depth_m: float = 0.01
    lift_m: float = 0.015
    slide_m_s: float = 0.05

    def cost(self, state: State) -> float:
        points = self.skin.points(state)
        return float(robust(self._vertical(points)[0])[0].sum() + robust(self._slides(points), axis=-1)[0].sum())

    def add(self, state: State, equations: NormalEquations) -> None:
        points, by_frame, by_track = self.skin.rows(state)
        residual, weight = self._vertical(points)
        root = np.sqrt(robust(residual)[1])
        upward = (self.up[:, None] * by_frame).sum(2), (self.up[:, None] * by_track).sum(2)
        add_scalar_residuals(equations, root * residual, *((root * weight)[..., None] * u for u in upward))
        self._add_slides(points, by_frame, by_track, equations)

    def _vertical(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (F, N) and their slopes by height."""
        over = points @ self.up - self.height - np.where(self.planted, self.rise, 0.0)
        weight = np.where(over < 0, 1 / self.depth_m, np.where(self.planted, 1 / self.lift_m, 0.0))
        return over * weight, weight

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(F - 1, N) 1 / (deviation * time step) where a point is planted in both frames."""
        step = np.diff(self.times)
        both = self.planted[:-1] & self.planted[1:] & (step < 0.2)[:, None]
        return np.where(both, 1 / (self.slide_m_s * step[:, None]), 0.0)

    def _slides(self, points: np.ndarray) -> np.ndarray:
        moved = np.diff(points, axis=0)
        along = moved - (moved @ self.up)[..., None] * self.up
        return along * self._pairs()[..., None]

    def _add_slides(self, points, by_frame, by_track, equations: NormalEquations) -> None:
        weight = self._pairs()
        pairs = np.flatnonzero(weight.any(1))
        if not len(pairs):
            return
        flat = np.eye(3) - np.outer(self.up, self.up)
        count = len(pairs)
        slides = self._slides(points)[pairs]
        root = np.sqrt(robust(slides, axis=-1)[1])[..., None]
        w = (weight[pairs][..., None] * root)[..., None]
        now, then = (np.einsum("ij,fnjk->fnik", flat, by_frame[pairs + k]) * w for k in (0, 1))
        track = np.einsum("ij,fnjk->fnik", flat, by_track[pairs + 1] - by_track[pairs]) * w
        residual = (root * slides).reshape(count, -1)
        now, then = now.reshape(count, -1, UNKNOWNS), then.reshape(count, -1, UNKNOWNS)
        track = track.reshape(count, residual.shape[1], -1)
        for rows, sign, part in ((pairs, -1.0, now), (pairs + 1, 1.0, then)):
            transposed = part.transpose(0, 2, 1)
            equations.blocks[0][rows] += transposed @ part
            equations.gradient[rows] += sign * (transposed @ residual[..., None])[..., 0]
            equations.mixed[rows] += sign * (transposed @ track)
        equations.blocks[1][pairs] -= now.transpose(0, 2, 1) @ then
        equations.shared[:] += np.tensordot(track, track, ((0, 1), (0, 1)))
        equations.shared_gradient[:] += np.tensordot(track, residual, ((0, 1), (0, 1)))


@dataclass(frozen=True)
class Contact:
    """Points of the skin that shall not lie behind planes: where bodies go through each other or through themselves.

    N pairs of a frame and a point of ``skin``: ``frames``, ``points`` (N,); planes ``normals`` (N, 3) and ``levels``
    (N,): a point is in front where ``normal @ point >= level``, metres.
    """

    skin: Skin
    frames: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    levels: np.ndarray
    deviation_m: float = 0.004

    def _behind(self, points: np.ndarray) -> np.ndarray:
        """(N,) residuals, at most 0."""
        over = (self.normals * points[self.frames, self.points]).sum(1) - self.levels
        return np.minimum(over, 0.0) / self.deviation_m

    def cost(self, state: State) -> float:
        return float(robust(self._behind(self.skin.points(state)), kernel=CONTACT_KERNEL)[0].sum())

    def add(self, state: State, equations: NormalEquations) -> None:
        points, by_frame, by_track = self.skin.rows(state)
        residual = self._behind(points)
        rows = np.flatnonzero(residual < 0)
        if not len(rows):
            return
        root = np.sqrt(robust(residual[rows], kernel=CONTACT_KERNEL)[1])
        f, p, n = self.frames[rows], self.points[rows], self.normals[rows]
        scale = (root / self.deviation_m)[:, None]
        own = np.einsum("nc,ncu->nu", n, by_frame[f, p]) * scale
        track = np.einsum("nc,ncs->ns", n, by_track[f, p]) * scale
        r = root * residual[rows]
        np.add.at(equations.blocks[0], f, own[:, :, None] * own[:, None, :])
        np.add.at(equations.gradient, f, own * r[:, None])
        np.add.at(equations.mixed, f, own[:, :, None] * track[:, None, :])
        equations.shared[:] += track.T @ track
        equations.shared_gradient[:] += track.T @ r
