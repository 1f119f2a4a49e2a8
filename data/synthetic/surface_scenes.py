"""The project's own test set of clothed people: scenes in the paper's five categories and numbers, unseen in training.

People and outfits are of the split ``test``. A scene follows from its name alone.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from data.surface_scenes import SceneBody, ScenePerson, SurfaceScene

COUNTS = {"single": 30, "occluded": 18, "two_natural": 46, "two_close": 30, "three": 26}
"""Scenes of each category, as MultiHuman has them."""
PEOPLE = {"single": 1, "occluded": 1, "two_natural": 2, "two_close": 2, "three": 3}
REVISION = 1
"""Raised when the scenes change (people, clothes, acts, rendering): scores of old ones are not taken for new ones."""
DETAIL_M = 0.003
SIZE = (1024, 1024)


def open_synthetic(root: Path | None) -> SyntheticScenes:
    return SyntheticScenes()


class SyntheticScenes:
    """``data.surface_scenes.SceneSource``. Scene 7 of single people is called ``single_07``."""

    def names(self, category: str) -> Sequence[str]:
        return [f"{category}_{k:02d}" for k in range(COUNTS[category])]

    def digest(self, name: str) -> str:
        return hashlib.sha256(f"synthetic {REVISION} {name} {SIZE} {DETAIL_M}".encode()).hexdigest()

    @cached_property
    def _maker(self):
        from data.synthetic.people import People

        return People()

    def load(self, name: str, views: int) -> SurfaceScene:
        from data.synthetic.scenes import occlusion, stage

        category, number = name.rsplit("_", 1)
        first = sum(COUNTS[c] * PEOPLE[c] for c in list(COUNTS)[: list(COUNTS).index(category)])
        first += int(number) * PEOPLE[category]
        wearers = [self._maker.person("test", first + k) for k in range(PEOPLE[category])]
        scene = stage(self._maker, category, zlib.crc32(name.encode()), wearers)
        posed, things = scene.posed(self._maker), scene.things()
        people = []
        for one in posed:
            solid = one.surface(DETAIL_M)
            body = SceneBody((one.vertices, np.asarray(one.body_faces)), one.parameters)
            rest = self._rest(one.parameters["betas"])
            people.append(ScenePerson((solid.vertices, solid.faces), body, float(np.ptp(rest[:, 1]))))
        rig, images, labels = _photographed(scene, posed, views, np.random.default_rng(zlib.crc32(name.encode()) + 1))
        hidden = occlusion(rig, posed, things)
        return SurfaceScene(name, category, rig, images, labels, tuple(people), things, hidden)

    def _rest(self, betas: np.ndarray) -> np.ndarray:
        from data.synthetic.disturbances import body_vertices

        return body_vertices(self._maker.model, {"betas": betas})


def _photographed(scene, posed, views: int, g: np.random.Generator):
    """Rig without lens distortion, pictures and label images of one moment."""
    from data.synthetic.cameras import Exposure, ring
    from data.synthetic.drawing import Cast, Painter
    from data.synthetic.light import Light
    from data.synthetic.props import thing_mesh
    from data.synthetic.scene import Room

    rig = ring(views, g, size=SIZE, distorted=False)
    cast = Cast.of([p.wearer.dressed for p in posed], scene.act.things)
    painter = Painter(rig, [Exposure.sample(g) for _ in rig.cameras], Light.sample(g), cast, g)
    with ThreadPoolExecutor(1) as pool:
        painter.enter(Room.sample(g), pool)
    moment = painter.moment([p.layers for p in posed], [thing_mesh(t, 0)[0] for t in scene.act.things])
    pictures = [painter.picture(c, moment, 0) for c in range(views)]
    return rig, tuple(p[0] for p in pictures), tuple(np.asarray(p[1], np.uint8) for p in pictures)
