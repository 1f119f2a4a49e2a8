"""The frozen list of test scenes (``benchmark_scenes``) as scenes with known surfaces: pictures, labels, true surfaces.

People and outfits are of the split that nobody trains on. Before the list has been drawn, scenes are as its drawing
would try them first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from data.surface_scenes import SceneBody, ScenePerson, SurfaceScene
from data.synthetic.acts import CATEGORIES
from data.synthetic.benchmark_scenes import LIST, Listed, build, height, listed, rows

REVISION = 2
"""Raised when the scenes change (people, clothes, acts, rendering): scores of old ones are not taken for new ones."""
DETAIL_M = 0.003
SIZE = (1024, 1024)


def open_synthetic(root: Path | None) -> SyntheticScenes:
    return SyntheticScenes()


@cache
def entries() -> dict[str, Listed]:
    """All scenes by name."""
    if LIST.is_file():
        return listed()
    nothing, out = float("nan"), {}
    for category, number, place, person in rows():
        people = tuple(range(person, person + CATEGORIES[category][0]))
        name = f"{category}_{number:02d}"
        out[name] = Listed(name, category, 1000 * place, people, "", nothing, nothing)
    return out


class SyntheticScenes:
    """``data.surface_scenes.SceneSource``."""

    def names(self, category: str) -> Sequence[str]:
        return [name for name, entry in entries().items() if entry.category == category]

    def digest(self, name: str) -> str:
        entry = json.dumps(asdict(entries()[name]))
        return hashlib.sha256(f"synthetic {REVISION} {entry} {SIZE} {DETAIL_M}".encode()).hexdigest()

    @cached_property
    def _maker(self):
        from data.synthetic.people import People

        return People()

    def load(self, name: str, views: int) -> SurfaceScene:
        """The same people, act, room and light for any number of views."""
        entry = entries()[name]
        scene = build(self._maker, entry)
        posed = scene.posed(self._maker)
        rig, images, labels = _photographed(scene, posed, views, entry)
        people = []
        for one in posed:
            solid = one.surface(DETAIL_M)
            body = SceneBody((one.vertices, np.asarray(one.body_faces)), one.parameters)
            people.append(ScenePerson((solid.vertices, solid.faces), body, height(self._maker, one)))
        return SurfaceScene(name, entry.category, rig, images, labels, tuple(people), scene.things(), entry.occlusion)


def _photographed(scene, posed, views: int, entry: Listed):
    """Rig without lens distortion, pictures and label images of one moment."""
    from data.synthetic.cameras import Exposure, ring
    from data.synthetic.drawing import Cast, Painter
    from data.synthetic.light import Light
    from data.synthetic.props import thing_mesh
    from data.synthetic.scene import Room

    g = np.random.default_rng([entry.seed, 1])
    light, room = Light.sample(g), Room.sample(g)
    rig = ring(views, g, size=SIZE, distorted=False)
    cast = Cast.of([p.wearer.dressed for p in posed], scene.act.things)
    painter = Painter(rig, [Exposure.sample(g) for _ in rig.cameras], light, cast, g)
    with ThreadPoolExecutor(1) as pool:
        painter.enter(room, pool)
    moment = painter.moment([p.layers for p in posed], [thing_mesh(t, 0)[0] for t in scene.act.things])
    pictures = [painter.picture(c, moment, 0) for c in range(views)]
    return rig, tuple(p[0] for p in pictures), tuple(np.asarray(p[1], np.uint8) for p in pictures)
