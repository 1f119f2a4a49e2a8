"""Bodies from one view: a detector's keypoints, with its own guess of the pose in 3D as a soft prior.

One image says nothing of size apart from distance: bodies take the mean adult's stature, softly, and stand where that
makes them as large as they are seen. How far each joint is bent towards the camera comes from the detector's guess, the
pose prior and the ranges of the joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.initial import initial_state
from pipeline.body.kinematics import Kinematics, State
from pipeline.body.landmarks import landmark_offsets
from pipeline.body.observations import Observations
from pipeline.body.problem import Problem, Weights
from pipeline.body.regressor import regressor_for
from pipeline.body.rotations import swing
from pipeline.body.solver import solve
from pipeline.body.terms import Term, add_scalar_residuals, robust
from pipeline.skeletons import SKEL19

if TYPE_CHECKING:
    from nets.body import BodyModel
    from pipeline.body.problem import NormalEquations

PIXEL_SHARE = 0.02
"""Deviation of keypoints, of the person's height in the image, ..."""
LEAST_PIXEL = 0.4
"""... and at least so many pixels."""
GUESS_M = (0.06, 0.06, 0.08)
"""Deviation of the detector's 3D joints across (x, y) and along the line of sight, metres."""
BETA = 0.6
"""Deviation of the betas: proportions that one view seems to show are mostly its pose."""
POSE = 0.7
"""Factor on the deviations of the pose prior."""
KERNEL = 4.0
FIRST_WIDER = 3.0
"""Keypoints are trusted so much less in the first stage."""
UP = np.array([0.0, -1.0, 0.0])
"""Of a camera held level."""


@dataclass(frozen=True)
class View:
    """One person as seen in one image, in SKEL-19.

    Attributes:
        pixels: (19, 2), NaN where missing. weights: (19,) 0..1.
        guess: (19, 3) metres about the middle of the hips, NaN where missing, in axes of a camera that looks straight
            at the person.
        height: of the person, pixels.
    """

    pixels: np.ndarray
    weights: np.ndarray
    guess: np.ndarray
    height: float


@dataclass(frozen=True)
class Guess:
    """Term: joints stand to one another as a guess has them, wherever and however large that is.

    The scale is the one that suits the joints best; derivatives take it as given.

    Attributes:
        kinematics: of the joints. joints: (19, 3) metres, NaN where missing, camera axes.
        weights: (19,). axes: (3, 3) rows are directions; deviations: (3,) metres along them.
    """

    kinematics: Kinematics
    joints: np.ndarray
    weights: np.ndarray
    axes: np.ndarray
    deviations: np.ndarray

    def _rows(self, values: np.ndarray) -> np.ndarray:
        """Values (1, 19, 3, ...) about their weighted mean, along the axes, in deviations, by the root of weights."""
        w = self.weights / self.weights.sum()
        centred = values - np.einsum("k,fk...->f...", w, values)[:, None]
        turned = np.einsum("ac,fkc...->fka...", self.axes, centred)
        shape = (1, len(w), 3) + (1,) * (values.ndim - 3)
        return turned * (np.sqrt(self.weights)[:, None] / self.deviations).reshape(shape)

    def _residuals(self, points: np.ndarray) -> np.ndarray:
        here, there = self._rows(points), self._rows(np.nan_to_num(self.joints)[None])
        return here - there * ((here * there).sum() / max((there**2).sum(), 1e-9))

    def cost(self, state: State) -> float:
        return float(robust(self._residuals(self.kinematics.points(state)), axis=-1, kernel=KERNEL)[0].sum())

    def add(self, state: State, equations: NormalEquations) -> None:
        points, by_frame, by_track = self.kinematics.linearised(state)
        residual = self._residuals(points)
        root = np.sqrt(robust(residual, axis=-1, kernel=KERNEL)[1])[..., None]
        frame, track = (self._rows(d) * root[..., None] for d in (by_frame, by_track))
        flat = [v.reshape(1, -1, v.shape[-1]) for v in (frame, track)]
        add_scalar_residuals(equations, (root * residual).reshape(1, -1), *flat)


class SingleView:
    """Fits bodies of one model to views of one camera.

    Args:
        landmarks: joint set of the detector (``pipeline.body.landmarks``).
    """

    def __init__(self, model: BodyModel, landmarks: str = "") -> None:
        self.kinematics = Kinematics(model, regressor_for(model).with_offsets(landmark_offsets(landmarks)))
        rest = State(np.zeros((1, 3)), np.broadcast_to(np.eye(3), (1, 22, 3, 3)).copy(), np.zeros(10), np.zeros(0))
        self._rest = self.kinematics.points(rest)[0]
        template, shapes = (v.cpu().numpy().astype(np.float64) for v in (model.template, model.shapedirs))
        top, bottom = template[:, 1].argmax(), template[:, 1].argmin()
        self._stature = float(template[top, 1] - template[bottom, 1])
        self._by_betas = shapes[top, 1, :10] - shapes[bottom, 1, :10]

    def fit(
        self, view: View, focal: float, principal: np.ndarray, iterations: int = 25
    ) -> tuple[State, tuple[Term, ...]]:
        """One body, a state of one frame in camera axes, and the terms beyond keypoints and priors that held it.

        Args:
            focal, principal: of the camera, pixels.
        """
        guess = self._scaled(self._turned(view, focal, principal))
        known = np.isfinite(guess).all(-1)
        place = _place(guess, view, focal, principal)
        joints = np.where(known[:, None], guess + place, np.nan)[None]
        state = initial_state(self.kinematics, joints, known[None].astype(float), UP)
        state = State(state.transl, state.rotations, np.zeros(10), state.offsets)
        state = self._placed(state, view, focal, principal)
        term = self.guess_term(view, guess, place)
        for wider in (FIRST_WIDER, 1.0):
            state = self.solve(state, view, focal, principal, [term], iterations, wider)
        return state, (term,)

    def solve(
        self, state: State, view: View, focal: float, principal: np.ndarray, terms: Sequence[Term], iterations: int,
        wider: float = 1.0,
    ) -> State:
        """The state of least cost near ``state``."""
        obs = observations(view, projection_of(focal, principal))
        pixel = np.full(19, wider * max(PIXEL_SHARE * view.height, LEAST_PIXEL))
        weights = Weights(np.full(19, np.inf), pixel, KERNEL, np.inf, np.inf, 1.0, beta=BETA, pose=POSE)
        return solve(Problem(self.kinematics, obs, weights, terms), state, iterations).state

    def scaled(self, state: State, scale: float) -> State:
        """The body as much taller as it is farther away, so that it looks the same; betas stay within three
        deviations."""
        change = (scale - 1) * (self._stature + self._by_betas @ state.betas)
        betas = np.clip(state.betas + self._by_betas * (change / (self._by_betas**2).sum()), -3, 3)
        pelvis = scale * (state.transl + self.kinematics.rest(state.betas)[0])
        return State(pelvis - self.kinematics.rest(betas)[0], state.rotations, betas, state.offsets)

    def guess_term(self, view: View, guess: np.ndarray, place: np.ndarray) -> Guess:
        known = np.isfinite(guess).all(-1)
        axes = swing(np.array([0.0, 0.0, 1.0]), place).T
        # A joint that is hidden is guessed worse; where nothing else is known, still better than not at all.
        return Guess(self.kinematics, guess, np.where(known, np.maximum(view.weights, 0.1), 0.0), axes,
                     np.array(GUESS_M))  # fmt: skip

    def _turned(self, view: View, focal: float, principal: np.ndarray) -> np.ndarray:
        """The guess as the camera sees it that does not look straight at the person."""
        seen = view.weights > 0
        middle = np.average(view.pixels[seen], axis=0, weights=view.weights[seen])
        ray = np.append((middle - principal) / focal, 1.0)
        return view.guess @ swing(np.array([0.0, 0.0, 1.0]), ray).T

    def _scaled(self, guess: np.ndarray) -> np.ndarray:
        """The guess as large as the model's mean body, by the lengths of its limbs."""
        a, b = SKEL19.limb_indices.T
        own = np.linalg.norm(guess[a] - guess[b], axis=1)
        mean = np.linalg.norm(self._rest[a] - self._rest[b], axis=1)
        known = np.isfinite(own)
        return guess * (float(np.median(mean[known] / np.maximum(own[known], 1e-3))) if known.any() else 1.0)

    def _placed(self, state: State, view: View, focal: float, principal: np.ndarray) -> State:
        """The state moved to where its joints are seen."""
        points = self.kinematics.points(state)[0]
        moved = _place(points - points.mean(0), view, focal, principal) - points.mean(0)
        return State(state.transl + moved, state.rotations, state.betas, state.offsets)


def projection_of(focal: float, principal: np.ndarray) -> np.ndarray:
    """(3, 4)."""
    K = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1.0]])
    return np.column_stack([K, np.zeros(3)])


def observations(view: View, projection: np.ndarray) -> Observations:
    """One frame seen by one camera, nothing known in 3D."""
    return Observations(
        np.zeros(1, np.int64), np.zeros(1), np.full((1, 19, 3), np.nan), np.zeros((1, 19)),
        view.pixels[None, None], view.weights[None, None], projection[None], UP,
    )  # fmt: skip


def _place(points: np.ndarray, view: View, focal: float, principal: np.ndarray) -> np.ndarray:
    """(3,) where points (19, 3) have to be moved to be seen at the view's pixels (linear least squares)."""
    known = np.isfinite(points).all(-1) & (view.weights > 0) & np.isfinite(view.pixels).all(-1)
    p, uv, w = points[known], (view.pixels[known] - principal) / focal, np.sqrt(view.weights[known])
    rows, right = [], []
    for axis in (0, 1):
        row = np.zeros((len(p), 3))
        row[:, axis], row[:, 2] = 1.0, -uv[:, axis]
        rows.append(row * w[:, None])
        right.append((uv[:, axis] * p[:, 2] - p[:, axis]) * w)
    found, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)
    # Noise must not put anybody behind the camera or inside it: as far as the seen size says.
    spread = np.ptp(p[:, :2], axis=0).max() / max(np.ptp(uv, axis=0).max(), 1e-6) if len(p) else 1.0
    if not 0.5 * spread < found[2] < 2.0 * spread:
        found = np.append(((uv * spread - p[:, :2]) * w[:, None] ** 2).sum(0) / (w**2).sum(), spread)
    return found
