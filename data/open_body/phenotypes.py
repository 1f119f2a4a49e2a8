"""Adults drawn at random: MakeHuman's macro parameters, and the shape targets they blend.

A macro target is named after the corners of parameter space where it acts fully (for example
``universal-male-young-maxmuscle-averageweight``); between corners the weights are products of linear hats, as in
MakeHuman. Local targets vary the limbs and girths on top, so that the shape space can tell long shins from long thighs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

GENDERS = ("female", "male")
AGES = ("young", "old")
RACES = ("african", "asian", "caucasian")
MUSCLE = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHT = ("minweight", "averageweight", "maxweight")
HEIGHT = ("minheight", None, "maxheight")
PROPORTIONS = ("uncommonproportions", None, "idealproportions")

LOCAL = (
    ("arms/measure-upperarm-length", 0.15),
    ("arms/measure-lowerarm-length", 0.15),
    ("legs/measure-upperleg-height", 0.12),
    ("legs/measure-lowerleg-height", 0.15),
    ("torso/measure-napetowaist-dist", 0.25),
    ("torso/measure-shoulder-dist", 0.25),
    ("torso/measure-waist-circ", 0.25),
    ("torso/measure-hips-circ", 0.25),
    ("neck/measure-neck-height", 0.25),
)
"""Local target pairs (``-decr``, ``-incr``) and the standard deviation of their parameter, whose range is −1 to 1:
about 1 cm for each limb, shoulder half-width and neck, 1.5 cm for the torso, as among adults of one height."""

_HEIGHT_PARAMETER = ((-0.37, 0.0, 0.72), (0.0, 0.5, 1.0))
"""Metres above the mean of the gender (1.73 m, 1.59 m) against MakeHuman's height parameter, as measured."""


@dataclass(frozen=True)
class Adults:
    """N adults. ``male``, ``old``, ``muscle``, ``weight``, ``height``, ``proportions``: (N,) in 0..1;
    ``races`` (N, 3) summing to one; ``local`` (N, len(LOCAL)) in −1..1."""

    male: np.ndarray
    old: np.ndarray
    muscle: np.ndarray
    weight: np.ndarray
    height: np.ndarray
    proportions: np.ndarray
    races: np.ndarray
    local: np.ndarray


def draw_adults(count: int, gender: str, rng: np.random.Generator) -> Adults:
    """Adults of 25 to about 70 years; neutral mixes both genders half and half."""

    def bell(mean: float | np.ndarray, deviation: float) -> np.ndarray:
        return np.clip(mean + deviation * rng.standard_normal(count), 0.0, 1.0)

    sex = {"female": np.zeros(count), "male": np.ones(count), "neutral": np.arange(count) % 2}[gender]
    return Adults(
        male=np.abs(sex - np.abs(0.12 * rng.standard_normal(count)).clip(0, 0.4)),
        old=0.6 * rng.random(count) ** 1.5,
        muscle=rng.random(count),
        weight=rng.random(count),
        height=np.interp(0.066 * rng.standard_normal(count) + 0.025, *_HEIGHT_PARAMETER),
        proportions=bell(0.55, 0.17),
        races=rng.dirichlet(np.ones(3), count),
        local=np.clip(rng.standard_normal((count, len(LOCAL))) * [s for _, s in LOCAL], -1.0, 1.0),
    )


def _hats(values: np.ndarray, labels: tuple) -> dict:
    """Weights of evenly spaced anchors for values in 0..1; the anchors named None have no target."""
    position = values * (len(labels) - 1)
    return {label: np.clip(1.0 - np.abs(position - k), 0.0, None) for k, label in enumerate(labels) if label}


def blend(adults: Adults) -> dict[str, np.ndarray]:
    """Target name → (N,) weight, for every target that an adult can use."""
    gender = _hats(adults.male, GENDERS)
    age = _hats(adults.old, AGES)
    muscle, weight = _hats(adults.muscle, MUSCLE), _hats(adults.weight, WEIGHT)
    height, proportions = _hats(adults.height, HEIGHT), _hats(adults.proportions, PROPORTIONS)
    weights: dict[str, np.ndarray] = {}
    for (g, wg), (a, wa) in product(gender.items(), age.items()):
        for race, share in zip(RACES, adults.races.T, strict=True):
            weights[f"macrodetails/{race}-{g}-{a}"] = wg * wa * share
        for (m, wm), (w, ww) in product(muscle.items(), weight.items()):
            body = wg * wa * wm * ww
            weights[f"macrodetails/universal-{g}-{a}-{m}-{w}"] = body
            for h, wh in height.items():
                weights[f"macrodetails/height/{g}-{a}-{m}-{w}-{h}"] = body * wh
            for p, wp in proportions.items():
                weights[f"macrodetails/proportions/{g}-{a}-{m}-{w}-{p}"] = body * wp
    for (name, _), value in zip(LOCAL, adults.local.T, strict=True):
        weights[f"{name}-incr"] = np.clip(value, 0.0, None)
        weights[f"{name}-decr"] = np.clip(-value, 0.0, None)
    return weights
