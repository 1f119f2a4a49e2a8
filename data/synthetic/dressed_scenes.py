"""Dressed people standing and walking in a room, in the paper's five categories: scenes with known surfaces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from data.surface_scenes import NOTHING, SceneBody, ScenePerson, SurfaceScene
from data.synthetic.bodies import dress, sample_person
from data.synthetic.cameras import Exposure, ring
from data.synthetic.disturbances import body_vertices
from data.synthetic.drawing import Cast, Painter
from data.synthetic.light import Light
from data.synthetic.motion import Gait, walk
from data.synthetic.motion import Path as Way
from data.synthetic.scene import Room

COUNTS = {"single": 30, "occluded": 0, "two_natural": 46, "two_close": 30, "three": 26}
PEOPLE = {"single": 1, "two_natural": 2, "two_close": 2, "three": 3}
APART = {"single": 0.0, "two_natural": 0.45, "two_close": 0.28, "three": 0.5}
"""Metres of people from the middle."""


def open_dressed(root: Path | None) -> DressedScenes:
    return DressedScenes()


class DressedScenes:
    """``data.surface_scenes.SceneSource`` of made-up people. A scene's name says how it is made."""

    def names(self, category: str) -> Sequence[str]:
        return [f"{category}_{k:02d}" for k in range(COUNTS[category])]

    def digest(self, name: str) -> str:
        return hashlib.sha256(f"dressed 1 {name}".encode()).hexdigest()

    @cached_property
    def _arrays(self):
        from data.body_models import load_body_arrays, open_body_model

        return load_body_arrays(open_body_model())

    @cached_property
    def _model(self):
        import torch

        from nets.body import BodyModel

        return BodyModel(self._arrays, torch.float32)

    def load(self, name: str, views: int) -> SurfaceScene:
        category = name.rsplit("_", 1)[0]
        g = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()[:8]))
        people = [sample_person(g) for _ in range(PEOPLE[category])]
        dressed = [dress(p, self._arrays, 512) for p in people]
        parameters = [self._pose(p, d, k, category, g) for k, (p, d) in enumerate(zip(people, dressed, strict=True))]
        posed = [d.posed(*self._body(one)) for d, one in zip(dressed, parameters, strict=True)]
        rig = ring(views, g, size=(768, 768), distorted=False)
        painter = Painter(rig, [Exposure.sample(g) for _ in rig.cameras], Light.sample(g), Cast.of(dressed), g)
        with ThreadPoolExecutor(1) as pool:
            painter.enter(Room.sample(g), pool)
        moment = painter.moment(posed)
        pictures = [painter.picture(c, moment, 0) for c in range(views)]
        out = []
        for d, layers, one in zip(dressed, posed, parameters, strict=True):
            starts = np.cumsum([0, *(len(v) for v in layers[:-1])])
            faces = np.concatenate([x.faces + s for x, s in zip(d.layers, starts, strict=True)])
            body = SceneBody((body_vertices(self._model, one), self._model.faces.numpy()), one)
            rest = body_vertices(self._model, {"betas": one["betas"]})
            out.append(ScenePerson((np.concatenate(layers), faces), body, float(np.ptp(rest[:, 1]))))
        labels = tuple(np.asarray(p[1], np.uint8) for p in pictures)
        return SurfaceScene(name, category, rig, tuple(p[0] for p in pictures), labels, tuple(out), NOTHING)

    def _pose(self, person, dressed, number: int, category: str, g: np.random.Generator) -> dict[str, np.ndarray]:
        angle = 2 * np.pi * number / PEOPLE[category] + g.uniform(0, 0.5)
        start = APART[category] * np.array([np.cos(angle), np.sin(angle)])
        way = Way(start, angle + np.pi + g.uniform(-0.6, 0.6), g.uniform(0.2, 1.3))
        moved = walk(dressed.rest_joints, dressed.soles, way, np.array([0.0, 0.02]), Gait.sample(g), g.uniform())
        hands = self._model.relaxed_hands.numpy()
        still = {"left_hand_pose": hands[None, :45], "right_hand_pose": hands[None, 45:]}
        return {k: np.asarray(v[:1], np.float32) for k, v in moved.items()} | still | {"betas": person.betas[None]}

    def _body(self, parameters) -> tuple[np.ndarray, np.ndarray]:
        import torch

        one = {k: torch.as_tensor(v) for k, v in parameters.items()}
        with torch.no_grad():
            rotations = self._model.pose(**one).rotations[0].numpy().astype(np.float64)
        return body_vertices(self._model, parameters), rotations
