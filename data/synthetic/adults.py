"""Figures of a chosen gender and age in the shape space of the open body model.

The shape space is made of random adults whose gender and age are known (``data.open_body.phenotypes``). What gender and
age tell of their betas, by least squares, stands with what they leave open in ``adults.json``;
``python -m data.synthetic.adults`` works it out anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

GENDERS = ("female", "male")
YOUNGEST, OLDEST = 25.0, 70.0
"""Years. MakeHuman's figures change from 25 to 90; the model is made of people up to about 65."""
_TABLE = Path(__file__).with_name("adults.json")
_OLD = 90.0


@dataclass(frozen=True)
class Adults:
    """Who is wanted: ``genders`` to draw from, ``ages`` the youngest and oldest, years."""

    genders: tuple[str, ...] = GENDERS
    ages: tuple[float, float] = (YOUNGEST, OLDEST)

    def __post_init__(self) -> None:
        low, high = self.ages
        if not self.genders or not set(self.genders) <= set(GENDERS) or not YOUNGEST <= low <= high <= OLDEST:
            raise ValueError(f"{self}: genders are {GENDERS}, ages between {YOUNGEST:g} and {OLDEST:g} years")

    def draw(self, generator: np.random.Generator) -> tuple[str, float, np.ndarray]:
        """Gender, age in years and betas (10,) float32 of somebody."""
        gender = str(self.genders[generator.integers(len(self.genders))])
        age = float(generator.uniform(*self.ages))
        return gender, age, betas(gender, age, generator)


def betas(gender: str, age: float, generator: np.random.Generator | None = None) -> np.ndarray:
    """(10,) float32 betas of the neutral model: somebody of that gender and age (years), the average one if no
    ``generator`` is given."""
    table = _table()
    out = _known(np.array(gender == "male", np.float64), np.array((age - YOUNGEST) / (_OLD - YOUNGEST))) @ table["mean"]
    if generator is not None:
        out = out + table["spread"] @ np.clip(generator.normal(0, 0.9, len(out)), -2, 2)
    return out.astype(np.float32)


def _known(male: np.ndarray, old: np.ndarray) -> np.ndarray:
    """(..., 4) what betas are linear in."""
    return np.stack([np.ones_like(male), male, old, male * old], -1)


@cache
def _table() -> Mapping[str, np.ndarray]:
    values = json.loads(_TABLE.read_text())
    return {name: np.array(values[name]) for name in ("mean", "spread")}


def main() -> None:
    """Work out the table from the figures that the neutral model is made of."""
    from data.body_models import load_body_arrays, open_body_model
    from data.open_body import build, makehuman, phenotypes

    arrays = load_body_arrays(open_body_model())
    folder = makehuman.data_folder()
    mesh = makehuman.read_base_mesh(folder)
    rig = makehuman.read_rig(folder, mesh)
    skin = build.sample(folder, mesh, rig, arrays["troupe_base_vertices"], "neutral").skin
    drawn = phenotypes.draw_adults(build.SAMPLES, "neutral", np.random.default_rng(build.SEED))
    directions = arrays["shapedirs"][:, :, :10].reshape(-1, 10)
    away = (skin - arrays["v_template"]).reshape(len(skin), -1)
    found = np.linalg.lstsq(directions, away.T, rcond=None)[0].T
    known = _known(drawn.male, drawn.old)
    mean = np.linalg.lstsq(known, found, rcond=None)[0]
    spread = np.linalg.cholesky(np.cov((found - known @ mean).T))
    rows = {"model": str(arrays["troupe_recipe"]), "mean": mean.round(4).tolist(), "spread": spread.round(4).tolist()}
    _TABLE.write_text(json.dumps(rows).replace("], [", "],\n  [") + "\n")


if __name__ == "__main__":
    main()
