"""The benchmark's scenes of dressed people as ``data.surface_scenes`` wants them: pictures, labels, true surfaces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np

from data.surface_scenes import SceneBody, ScenePerson, SurfaceScene
from data.synthetic.benchmark_scenes import COUNTS, Listed, build, height, listed
from data.synthetic.cameras import Exposure, ring
from data.synthetic.drawing import Cast, Painter
from data.synthetic.light import Light
from data.synthetic.people import People, Posed
from data.synthetic.props import thing_mesh
from data.synthetic.scene import Room
from pipeline.errors import InputError

SIZE = (768, 768)
DETAIL_M = 0.003
"""Of the true surfaces."""


def open_dressed(root: Path | None) -> DressedScenes:
    return DressedScenes()


class DressedScenes:
    """``data.surface_scenes.SceneSource`` of the frozen list."""

    def names(self, category: str) -> Sequence[str]:
        return [f"{category}_{k:02d}" for k in range(COUNTS[category])]

    def digest(self, name: str) -> str:
        return hashlib.sha256(f"dressed 2 {json.dumps(asdict(self._listed(name)))}".encode()).hexdigest()

    def _listed(self, name: str) -> Listed:
        if name not in listed():
            raise InputError(name, "is no scene of configs/benchmarks/scenes.json", "Choose one of its names")
        return listed()[name]

    @cached_property
    def _maker(self) -> People:
        return People(texture_size=512)

    def load(self, name: str, views: int) -> SurfaceScene:
        """One scene seen by a ring of cameras; the same people, act, room and light for any number of views."""
        entry = self._listed(name)
        scene = build(self._maker, entry)
        posed = scene.posed(self._maker)
        g = np.random.default_rng([entry.seed, 1])
        light, room = Light.sample(g), Room.sample(g)
        rig = ring(views, g, size=SIZE, distorted=False)
        cast = Cast.of([w.dressed for w in scene.people], scene.act.things)
        painter = Painter(rig, [Exposure.sample(g) for _ in rig.cameras], light, cast, g)
        with ThreadPoolExecutor(1) as pool:
            painter.enter(room, pool)
        moment = painter.moment([p.layers for p in posed], [thing_mesh(t)[0] for t in scene.act.things])
        pictures = [painter.picture(c, moment, 0) for c in range(views)]
        return SurfaceScene(
            name,
            entry.category,
            rig,
            tuple(picture for picture, _ in pictures),
            tuple(label for _, label in pictures),
            tuple(self._person(p) for p in posed),
            scene.things(),
            entry.occlusion,
        )

    def _person(self, posed: Posed) -> ScenePerson:
        solid = posed.surface(DETAIL_M)
        body = SceneBody((posed.vertices, posed.body_faces), posed.parameters)
        return ScenePerson((solid.vertices, solid.faces), body, height(self._maker, posed))
