"""People of one view together: on one floor where feet are seen, and nobody inside anybody.

A single view leaves each body's distance as unsure as its stature. People who stand on one floor settle it for one
another: the floor is the plane on which they all stand with statures nearest to an adult's, and who is taller or
shorter than that stands nearer or farther than the mean adult would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.floor import PLANTED_M, soles
from pipeline.body.kinematics import Kinematics, State
from pipeline.body.overlap import Touches, Watch, overlaps
from pipeline.body.silhouette import state_vertices
from pipeline.body.single_view import LEAST_PIXEL, PIXEL_SHARE, UP, SingleView, View
from pipeline.body.terms import Contact, Floor, Skin, Term
from pipeline.skeletons import SKEL19

if TYPE_CHECKING:
    from nets.body import BodyModel

STATURE = 0.08
"""Deviation of the logarithm of statures, as far as one view tells them: adults vary by 0.055."""
TILT = np.deg2rad([12.0, 4.0])
"""Deviations of how far a camera is pitched and rolled."""
KERNEL = 3.0
LEAST_FEET = 3
AGREE = 2.0
"""Feet are on the floor if the stature that it asks for is within so many deviations."""
LEAST_SHARE = 0.6
"""Of the people whose feet are seen, who have to agree on the floor."""
FOOT_WEIGHT = 0.4
"""Weight of a foot's joints from which it counts as seen."""
CONTACT_M = 0.02
"""Deviation of the floor under a foot, beside what pixels leave open."""
ROUNDS, ITERATIONS = 3, 8
BAD_M = 0.02
"""Bodies deeper in one another than this are parted."""
APART_M = 0.30
"""Pelvises of people one before the other are at least so far apart."""


@dataclass
class Body:
    """One person while people are settled together.

    Attributes:
        view: what was seen. state: one frame, camera axes. terms: of the fit to the view.
        rank: among people who overlap in the image, 0 is in front.
    """

    view: View
    state: State
    terms: Sequence[Term]
    rank: int = 0


@dataclass(frozen=True)
class Ground:
    """A plane in camera axes: ``up @ x = height``. ``height`` is negative: the camera is above it."""

    up: np.ndarray
    height: float


class Together:
    """Settles people whom ``single`` fitted."""

    def __init__(self, model: BodyModel, single: SingleView) -> None:
        self._model, self._single = model, single
        self._soles = soles(model, single.kinematics)
        self._watch = Watch(model)

    def settle(self, people: list[Body], focal: float, principal: np.ndarray) -> Ground | None:
        """Put everybody on one floor, if there is one, and part those who are inside one another; in place."""
        ground = self._floor(people, focal, principal)
        self._part(people, focal, principal)
        return ground

    def _floor(self, people: list[Body], focal: float, principal: np.ndarray) -> Ground | None:
        standing = [p for p in people if _feet_seen(p.view)]
        if len(standing) < LEAST_FEET:
            return None
        feet = np.array([self._lowest(p.state) for p in standing])
        ground = find_ground(feet)
        if ground is None:
            return None
        for person, scale in zip(standing, stature_scales(ground, feet), strict=True):
            if abs(np.log(scale)) < AGREE * STATURE:
                self._stand(person, scale, ground, focal, principal)
        return ground

    def _lowest(self, state: State) -> np.ndarray:
        points = self._soles.points(state)[0]
        return points[(points @ UP).argmin()]

    def _stand(self, person: Body, scale: float, ground: Ground, focal: float, principal: np.ndarray) -> None:
        """On the floor, as tall as that asks for; as far as the pixels of the feet can tell."""
        start = self._single.scaled(person.state, scale)
        pixel = max(PIXEL_SHARE * person.view.height, LEAST_PIXEL)
        # The height of a foot that is seen a pixel too low, and what that does to the distance.
        slack = float(np.hypot(CONTACT_M, pixel * start.transl[0, 2] / focal))
        points = self._soles.points(start)
        heights = points @ ground.up - ground.height
        rise = self._soles.rest[:, 1] - np.repeat(self._soles.rest[:, 1].reshape(2, 4).min(1), 4)
        planted = np.abs(heights - rise) < PLANTED_M + slack
        floor = Floor(self._soles, ground.up, ground.height, planted, rise, np.zeros(1), slack, slack)
        terms = [*person.terms, floor]
        person.state = self._single.solve(start, person.view, focal, principal, terms, ITERATIONS)
        person.terms = terms

    def _part(self, people: list[Body], focal: float, principal: np.ndarray) -> None:
        """Bodies that are inside one another, pushed out; who stands in front stays there."""
        self._order(people)
        for _ in range(ROUNDS):
            meshes = {i: state_vertices(self._model, p.state)[0] for i, p in enumerate(people)}
            touching = {i: t for i, t in overlaps(self._watch, meshes).items() if t.depths.max(initial=0.0) > BAD_M}
            for i, touches in touching.items():
                person = people[i]
                terms = [*person.terms, self._contact(person.state, touches)]
                person.state = self._single.solve(person.state, person.view, focal, principal, terms, ITERATIONS)
            if not touching:
                return

    def _order(self, people: list[Body]) -> None:
        """People one before the other whose trunks are in the same place are moved apart along their lines of sight."""
        pelvises = np.array([_pelvis(self._single.kinematics, p.state) for p in people]).reshape(-1, 3)
        for a, b in combinations(range(len(people)), 2):
            if np.linalg.norm(pelvises[a] - pelvises[b]) > APART_M:
                continue
            front, back = sorted((a, b), key=lambda k: (people[k].rank, pelvises[k, 2]))
            middle = (pelvises[a, 2] + pelvises[b, 2]) / 2
            for k, sign in ((front, -0.5), (back, 0.5)):
                scale = float((middle + sign * APART_M) / pelvises[k, 2])
                people[k].state = self._single.scaled(people[k].state, scale)
                pelvises[k] *= scale

    def _contact(self, state: State, touches: Touches) -> Contact:
        skin = Skin(self._model, self._watch.vertices[touches.points], self._single.kinematics)
        share = np.where(touches.own, 1.0, 0.5)  # of two people each gives way by half
        levels = (touches.normals * skin.points(state)[0]).sum(1) + share * touches.depths
        count = len(touches.points)
        return Contact(skin, np.zeros(count, int), np.arange(count), touches.normals, levels)


def find_ground(feet: np.ndarray) -> Ground | None:
    """The floor under feet (N, 3) of people of adult stature, camera axes, whose distance is as unsure as that; None
    if they do not agree on one, or it is not below the camera."""
    from scipy.optimize import least_squares

    def plane(x: np.ndarray) -> Ground:
        up = np.array([x[1], -1.0, x[0]])
        return Ground(up / np.linalg.norm(up), -float(np.exp(x[2])))

    def residuals(x: np.ndarray) -> np.ndarray:
        scales = stature_scales(plane(x), feet)
        return np.concatenate([np.log(scales) / STATURE, x[:2] / TILT])

    below = feet[:, 1]
    if (below > 0.1).sum() < LEAST_FEET:
        return None
    start = np.array([0.0, 0.0, np.log(np.median(below[below > 0.1]))])
    found = least_squares(residuals, start, loss="cauchy", f_scale=1.0, method="trf")
    ground = plane(found.x)
    agree = np.abs(np.log(stature_scales(ground, feet))) < AGREE * STATURE
    if agree.sum() < max(LEAST_FEET, LEAST_SHARE * len(feet)):
        return None
    return ground


def stature_scales(ground: Ground, feet: np.ndarray) -> np.ndarray:
    """(N,) by how much people at feet (N, 3) have to grow, and go away, to stand on the ground."""
    return np.clip(ground.height / np.minimum(feet @ ground.up, -1e-3), 0.2, 5.0)


def _feet_seen(view: View) -> bool:
    """Is a foot seen: its ankle and its toes?"""
    return any(
        min(view.weights[SKEL19.index(f"{side}_{joint}")] for joint in ("ankle", "big_toe")) > FOOT_WEIGHT
        for side in ("left", "right")
    )


def _pelvis(kinematics: Kinematics, state: State) -> np.ndarray:
    return kinematics.joints(state)[1][0, 0]
