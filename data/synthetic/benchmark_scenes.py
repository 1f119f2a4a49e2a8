"""The 150 scenes of our benchmark, in the categories and numbers of MultiHuman: drawn once, then frozen.

``configs/benchmarks/scenes.json`` lists each scene's name, category, seed and people (numbers of the test split), and
what was measured of it when it was drawn: how much of the people others hide, and the Chamfer distance of
the true body without clothes, centimetres at 180 cm.
``python -m data.synthetic.benchmark_scenes [PROCESSES]`` draws it anew.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from data.synthetic.acts import CATEGORIES
from data.synthetic.cameras import ring
from data.synthetic.drape import HangingCut
from data.synthetic.people import People, Posed, Wearer
from data.synthetic.scenes import Scene, occlusion, stage

LIST = Path(__file__).parents[2] / "configs" / "benchmarks" / "scenes.json"
COUNTS = {"single": 30, "occluded": 18, "two_natural": 46, "two_close": 30, "three": 26}
SMALL = ("single_00", "occluded_00", "two_natural_02", "two_close_01", "three_00")
"""Names of the scenes that tests use."""
_OCCLUDED = (0.10, 0.55)
"""Share hidden that a scene of the category "occluded" must have."""


@dataclass(frozen=True)
class Listed:
    """One scene of the list."""

    name: str
    category: str
    seed: int
    people: tuple[int, ...]
    act: str
    occlusion: float
    body_chamfer_cm: float


@cache
def listed() -> dict[str, Listed]:
    """All scenes of the list by name."""
    rows = json.loads(LIST.read_text())["scenes"]
    return {row["name"]: Listed(**row | {"people": tuple(row["people"])}) for row in rows}


def build(maker: People, scene: Listed, times: np.ndarray | None = None) -> Scene:
    """Make a listed scene; over ``times`` (F,) seconds what its seed draws for them, which begins as another moment."""
    return stage(maker, scene.category, scene.seed, [_as_listed(maker, k) for k in scene.people], times)


def _as_listed(maker: People, number: int) -> Wearer:
    """Somebody of the test split, in cloth that hangs as it did when the list was drawn: figures stay comparable."""
    who = maker.who("test", number)
    worn = tuple(
        replace(w, cut=replace(w.cut, lies=False)) if isinstance(w.cut, HangingCut) else w for w in who.outfit.worn
    )
    if worn == who.outfit.worn:
        return maker.person("test", number)
    return maker.dressed(replace(who, outfit=replace(who.outfit, worn=worn)))


def height(maker: People, posed: Posed) -> float:
    """Metres that a person stands tall."""
    shaped = maker.arrays["v_template"] + maker.arrays["shapedirs"][:, :, :10] @ posed.parameters["betas"][0]
    return float(np.ptp(shaped[:, 1]))


def body_chamfer_cm(maker: People, people: Sequence[Posed], step: float = 0.008, samples: int = 8000) -> float:
    """Chamfer distance between true surfaces and bodies without clothes, as ``pipeline.quality.metrics`` has it."""
    scale = 1.8 / np.mean([height(maker, p) for p in people])
    found = []
    for k, person in enumerate(people):
        g, solid = np.random.default_rng(k), person.surface(step)
        true = _points(solid.vertices, solid.faces, samples, g)
        bare = _points(person.vertices, person.body_faces, samples, g)
        found.append((cKDTree(bare).query(true)[0].mean() + cKDTree(true).query(bare)[0].mean()) / 2)
    return float(100 * scale * np.mean(found))


def _points(vertices: np.ndarray, faces: np.ndarray, count: int, g: np.random.Generator) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    face = g.choice(len(faces), count, p=area / area.sum())
    u, v = np.sqrt(g.random(count))[:, None], g.random(count)[:, None]
    return (1 - u) * a[face] + u * (1 - v) * b[face] + u * v * c[face]


def draw(row: tuple[str, int, int, int]) -> Listed:
    """Draw a scene: its category, number in it, number in the list and first person. Each person is in one scene only;
    a scene that is not hidden as its category says is drawn again."""
    category, number, place, person = row
    maker = _maker()
    numbers = tuple(range(person, person + CATEGORIES[category][0]))
    wearers = [_as_listed(maker, k) for k in numbers]
    rig = ring(6, np.random.default_rng(0), size=(640, 640), distorted=False)
    for seed in range(1000 * place, 1000 * place + 20):
        scene = stage(maker, category, seed, wearers)
        posed = scene.posed(maker)
        hidden = occlusion(rig, posed, scene.things(), 96)
        if category != "occluded" or _OCCLUDED[0] <= hidden <= _OCCLUDED[1]:
            break
    chamfer = body_chamfer_cm(maker, posed)
    return Listed(
        f"{category}_{number:02d}", category, seed, numbers, scene.act.name, round(hidden, 3), round(chamfer, 2)
    )


@cache
def _maker() -> People:
    return People(texture_size=8, fineness=1)


def rows() -> list[tuple[str, int, int, int]]:
    """What ``draw`` takes, for the whole list."""
    out, person = [], 0
    for category, count in COUNTS.items():
        for number in range(count):
            out.append((category, number, len(out), person))
            person += CATEGORIES[category][0]
    return out


def main() -> None:
    from tqdm import tqdm

    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        scenes = list(tqdm(pool.map(draw, rows()), total=len(rows()), unit="scene"))
    lines = ",\n".join("  " + json.dumps(asdict(s)) for s in scenes)
    LIST.write_text('{"small": ' + json.dumps(SMALL) + ',\n "scenes": [\n' + lines + "\n]}\n")
    for category in COUNTS:
        mine = [s for s in scenes if s.category == category]
        chamfer, hidden = (np.mean([getattr(s, k) for s in mine]) for k in ("body_chamfer_cm", "occlusion"))
        print(f"{category}: body {chamfer:.2f} cm, hidden {hidden:.0%}", file=sys.stderr)


if __name__ == "__main__":
    main()
