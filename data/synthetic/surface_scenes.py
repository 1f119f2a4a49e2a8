"""The frozen list of test scenes (``benchmark_scenes``) as scenes with known surfaces: pictures, labels, true surfaces.

People and outfits are of the split that nobody trains on. Before the list has been drawn, scenes are as its drawing
would try them first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from data.surface_scenes import SceneBody, ScenePerson, SurfaceScene
from data.synthetic.acts import CATEGORIES
from data.synthetic.benchmark_scenes import LIST, Listed, build, height, listed, rows
from data.synthetic.people import Posed
from data.synthetic.scenes import Scene
from pipeline.cameras import Rig

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
    def maker(self):
        from data.synthetic.people import People

        return People()

    def load(self, name: str, views: int) -> SurfaceScene:
        """The same people, act, room and light for any number of views."""
        entry = entries()[name]
        scene = build(self.maker, entry)
        return self.moment(entry, scene, _Studio(scene, views, entry), 0)

    def motion(self, name: str, views: int, frames: int, fps: float) -> SceneMotion:
        """The people of a listed scene in motion, in its room and light: they do what its seed draws for so long."""
        entry = entries()[name]
        scene = build(self.maker, entry, np.arange(frames) / fps)
        return SceneMotion(self, entry, scene, _Studio(scene, views, entry))

    def moment(self, entry: Listed, scene: Scene, studio: _Studio, frame: int) -> SurfaceScene:
        posed = scene.posed(self.maker, frame)
        images, labels = studio.photographed(posed, frame)
        people = []
        for one in posed:
            solid = one.surface(DETAIL_M)
            body = SceneBody((one.vertices, np.asarray(one.body_faces)), one.parameters)
            people.append(ScenePerson((solid.vertices, solid.faces), body, height(self.maker, one)))
        return SurfaceScene(
            entry.name, entry.category, studio.rig, images, labels, tuple(people), scene.things(frame), entry.occlusion
        )


@dataclass(frozen=True)
class SceneMotion:
    """People of a scene over time; a moment costs as much as a scene, parameters nothing."""

    source: SyntheticScenes
    entry: Listed
    scene: Scene
    studio: _Studio

    @property
    def rig(self) -> Rig:
        return self.studio.rig

    def parameters(self) -> list[dict[str, np.ndarray]]:
        """Everybody's body parameters as ``nets.body.BodyModel`` takes them, over all frames."""
        out, maker = [], self.source.maker
        for wearer, told in zip(self.scene.people, self.scene.act.people, strict=True):
            each = [maker.complete(wearer, told, k) for k in range(len(self.scene.times))]
            out.append({n: each[0][n] if n == "betas" else np.concatenate([e[n] for e in each]) for n in each[0]})
        return out

    def moment(self, frame: int) -> SurfaceScene:
        """Everything of one frame; its occlusion is not measured."""
        taken = self.source.moment(self.entry, self.scene, self.studio, frame)
        return replace(taken, name=f"{self.entry.name}_{frame:03d}", occlusion=float("nan"))


class _Studio:
    """A room with light and cameras without lens distortion, the same for all moments of a scene."""

    def __init__(self, scene: Scene, views: int, entry: Listed) -> None:
        from data.synthetic.cameras import Exposure, ring
        from data.synthetic.drawing import Cast, Painter
        from data.synthetic.light import Light
        from data.synthetic.scene import Room

        g = np.random.default_rng([entry.seed, 1])
        light, room = Light.sample(g), Room.sample(g)
        self.rig = ring(views, g, size=SIZE, distorted=False)
        cast = Cast.of([w.dressed for w in scene.people], scene.act.things)
        self._things = scene.act.things
        self._painter = Painter(self.rig, [Exposure.sample(g) for _ in self.rig.cameras], light, cast, g)
        with ThreadPoolExecutor(1) as pool:
            self._painter.enter(room, pool)

    def photographed(self, posed: Sequence[Posed], frame: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Pictures and label images of a moment."""
        from data.synthetic.props import thing_mesh

        moment = self._painter.moment([p.layers for p in posed], [thing_mesh(t, frame)[0] for t in self._things])
        pictures = [self._painter.picture(c, moment, frame) for c in range(len(self.rig.cameras))]
        return tuple(p[0] for p in pictures), tuple(np.asarray(p[1], np.uint8) for p in pictures)
