"""The floor that people stand on: given, or found from feet that rest on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.kinematics import Kinematics, State
from pipeline.body.observations import Observations
from pipeline.body.terms import Floor, Skin
from pipeline.skeletons import SKEL19, SMPLX55

if TYPE_CHECKING:
    from nets.body import BodyModel

RESTING_M_S = 0.25
"""A foot whose ankle and toe are slower than this carries weight or hangs still."""
PLANTED_M_S = 0.35
PLANTED_M = 0.03
"""A point of the sole slower than that and this near the floor stays where it is."""
SOLE_M = 0.012
LEAST_RESTING = 5
"""Resting feet (times frames) that a floor is found from."""
AGREEMENT_M = 0.03
"""Heights of resting feet that differ more (median absolute deviation) are no floor."""
LOWER_M = 0.10
"""Feet that rest so far below what would be the floor stand on another one."""


def sole_vertices(model: BodyModel) -> np.ndarray:
    """(8,) vertices under the feet: toe, heel, inner and outer ball of the left foot, then of the right."""
    template, weights = model.template.cpu().numpy(), model.weights.cpu().numpy()
    found = []
    for side in ("left", "right"):
        carried = weights[:, [SMPLX55.index(f"{side}_ankle"), SMPLX55.index(f"{side}_foot")]].sum(1) > 0.7
        foot = np.flatnonzero(carried)
        sole = foot[template[foot, 1] < template[foot, 1].min() + SOLE_M]
        x, z = template[sole, 0], template[sole, 2]
        found += [sole[z.argmax()], sole[z.argmin()], sole[x.argmax()], sole[x.argmin()]]
    return np.array(found)


def resting_feet(obs: Observations) -> np.ndarray:
    """(F, 2) bool: left and right feet located and at rest, from the triangulated ankles and toes."""
    rest = np.zeros((len(obs.times), 2), bool)
    for side, name in enumerate(("left", "right")):
        joints = [SKEL19.index(f"{name}_{j}") for j in ("ankle", "big_toe")]
        located = (obs.joint_weights[:, joints] > 0).any(1)
        places = np.where((obs.joint_weights[:, joints] > 0)[..., None], obs.joints[:, joints], np.nan)
        with np.errstate(invalid="ignore"):
            for f in np.flatnonzero(located):
                near = np.flatnonzero(np.abs(obs.times - obs.times[f]) <= 0.12)
                if len(near) < 3:
                    continue
                # Over a few frames, so that the noise of single ones does not count as motion.
                t = obs.times[near] - obs.times[near].mean()
                speeds = [_slope(t, places[near, k]) for k in range(2)]
                known = [s for s in speeds if np.isfinite(s)]
                rest[f, side] = bool(known) and max(known) < RESTING_M_S
    return rest


def _slope(t: np.ndarray, places: np.ndarray) -> float:
    """Speed of the straight line through places (N, 3), NaN where fewer than three are known."""
    known = np.isfinite(places[:, 0])
    if known.sum() < 3:
        return np.nan
    t = t[known] - t[known].mean()
    return float(np.linalg.norm((t[:, None] * places[known]).sum(0) / (t * t).sum()))


def find_floor(heights: np.ndarray, resting: np.ndarray) -> float | None:
    """Height of the floor from the heights (F, 2) of the soles and which feet rest (F, 2); None if there is none.

    People also rest a foot on a step: the lowest level that many feet agree on counts. Where some feet rest well below
    it, as of people who come down from a stage, the room has no one floor.
    """
    values = heights[resting & np.isfinite(heights)]
    if len(values) < LEAST_RESTING:
        return None
    low = np.percentile(values, 15)
    near = values[np.abs(values - low) < 2 * AGREEMENT_M]
    middle = float(np.median(near))
    agree = np.median(np.abs(near - middle)) < AGREEMENT_M and len(near) >= LEAST_RESTING
    lower = (values < middle - LOWER_M).sum()
    return middle if agree and lower < max(LEAST_RESTING, 0.03 * len(values)) else None


def sole_heights(skin: Skin, state: State, up: np.ndarray, lowest: bool = True) -> np.ndarray:
    """(F, 2) height of the lowest point of each foot's sole, or of the highest."""
    heights = (skin.points(state) @ up).reshape(len(state.transl), 2, 4)
    return heights.min(-1) if lowest else heights.max(-1)


def floor_term(skin: Skin, state: State, obs: Observations, height: float) -> Floor:
    """The term for a floor at ``height``, with the points planted that rest on it in ``state``."""
    points = skin.points(state)
    rise = skin.rest[:, 1] - np.repeat(skin.rest[:, 1].reshape(2, 4).min(1), 4)
    planted = np.abs(points @ obs.up - height - rise) < PLANTED_M
    if len(points) > 1:
        speed = np.linalg.norm(np.gradient(points, obs.times, axis=0), axis=-1)
        planted &= speed < PLANTED_M_S
    return Floor(skin, obs.up, height, planted, rise, obs.times)


def soles(model: BodyModel, like: Kinematics) -> Skin:
    return Skin(model, sole_vertices(model), like)
