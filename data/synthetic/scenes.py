"""Scenes of one to three people in the five categories: who is there, what they do, what stands in the way.

A scene is drawn from a seed; the same seed, people and category give the same scene. World z is up, the floor is 0,
the people stand about the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from data.synthetic.acts import CATEGORIES, Act, Maker, Thing
from data.synthetic.people import People, Posed, Wearer
from data.synthetic.props import thing_mesh
from nets.meshes import vertex_normals
from pipeline.cameras import Rig
from pipeline.raster import raster_here

DEEPEST = {"two_natural": 0.025, "two_close": 0.05, "three": 0.05}
"""Metres that bodies may sink into each other: flesh gives way, ours does not."""
_TRIES = 12


@dataclass(frozen=True)
class Scene:
    """Who does what; ``act`` over ``times`` (F,) seconds."""

    category: str
    people: list[Wearer]
    act: Act
    times: np.ndarray

    def posed(self, maker: People, frame: int = 0) -> list[Posed]:
        """Everybody in a frame."""
        return [maker.posed(w, p, frame) for w, p in zip(self.people, self.act.people, strict=True)]

    def posed_bodies(self, maker: People, frame: int = 0) -> list[np.ndarray]:
        """Vertices (B, 3) of everybody's body without clothes."""
        return [maker.body(w, p, frame) for w, p in zip(self.people, self.act.people, strict=True)]

    def things(self, frame: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (V, 3) and faces (T, 3) of all things in a frame."""
        parts = [thing_mesh(t, frame) for t in self.act.things]
        starts = np.cumsum([0, *(len(v) for v, _ in parts[:-1])])
        if not parts:
            return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
        faces = [f + s for (_, f), s in zip(parts, starts, strict=True)]
        return np.concatenate([v for v, _ in parts]), np.concatenate(faces)


def stage(
    maker: People,
    category: str,
    seed: int,
    people: Sequence[Wearer],
    times: np.ndarray | None = None,
    alone: Sequence[Maker] = (),
) -> Scene:
    """A scene of a category: a key of ``CATEGORIES``, with as many people as it takes.

    ``alone``: more acts for one person, such as recorded motions.
    Of a few tries that in which bodies cut into each other least is taken, or the first where they hardly do.
    """
    times = np.zeros(1) if times is None else times
    builds = [w.build for w in people]
    best, least = None, np.inf
    for attempt in range(_TRIES):
        g = np.random.default_rng([seed, attempt])
        makers = (*CATEGORIES[category][1], *(alone if len(people) == 1 else ()))
        act = _centred(makers[g.integers(len(makers))](times, g, builds))
        scene = Scene(category, list(people), act, times)
        bodies = [scene.posed_bodies(maker, f) for f in _looked_at(len(times))]
        if category == "occluded":
            scene = replace(scene, act=_with_obstacles(act, g, [v for frame in bodies for v in frame]))
        deep = max((_sunk(frame, people[0].dressed.body_faces) for frame in bodies), default=0.0)
        if deep < least:
            best, least = scene, deep
        if deep <= DEEPEST.get(category, np.inf):
            break
    return best


def _looked_at(frames: int) -> list[int]:
    return sorted({0, frames // 2, frames - 1})


def _centred(act: Act) -> Act:
    """The same with the middle of everybody's way over the origin."""
    middle = np.mean([p["transl"][:, :2].mean(0) for p in act.people], 0)
    people = [p | {"transl": p["transl"] - [*middle, 0.0]} for p in act.people]
    return Act(act.name, people, [replace(t, centre=t.centre - [*middle, 0.0]) for t in act.things])


def _sunk(bodies: Sequence[np.ndarray], faces: np.ndarray) -> float:
    """Metres by which bodies (B, 3) are inside each other at most."""
    deepest = 0.0
    for k, body in enumerate(bodies):
        tree, normals = cKDTree(body), vertex_normals(body, faces)
        for other in bodies[k + 1 :]:
            distance, nearest = tree.query(other, distance_upper_bound=0.15)
            near = np.flatnonzero(np.isfinite(distance))
            inside = ((other[near] - body[nearest[near]]) * normals[nearest[near]]).sum(1)
            deepest = max(deepest, float(np.quantile(-inside, 0.995)) if len(near) > 10 else 0.0)
    return deepest


def _with_obstacles(act: Act, g: np.random.Generator, bodies: Sequence[np.ndarray]) -> Act:
    """Boxes, benches, pillars around somebody, near enough to hide part of them and out of their way."""
    things, frames = list(act.things), len(act.people[0]["transl"])
    wanted = int(g.integers(2, 5))
    for _ in range(60):
        kind = g.choice(["box", "crate", "pillar", "bench"])
        size = np.array({
            "box": g.uniform([0.3, 0.3, 0.3], [0.6, 0.6, 0.9]),
            "crate": g.uniform([0.5, 0.4, 0.7], [1.0, 0.6, 1.15]),
            "pillar": g.uniform([0.12, 0.12, 1.4], [0.25, 0.25, 2.0]),
            "bench": g.uniform([0.8, 0.35, 0.4], [1.4, 0.5, 0.7]),
        }[str(kind)])  # fmt: skip
        angle, away = g.uniform(-np.pi, np.pi), g.uniform(0.3, 0.75) + size[1] / 2
        centre = np.array([away * np.cos(angle), away * np.sin(angle), size[2] / 2])
        colour = tuple(g.uniform(0.15, 0.8, 3) * 0.7 + 0.3 * g.uniform(0.2, 0.8))
        thing = Thing(size, np.tile(centre, (frames, 1)), np.full(frames, angle + np.pi / 2), colour)
        if not any(_holds(thing, points) for points in bodies):
            things.append(thing)
            wanted -= 1
        if not wanted:
            break
    return replace(act, things=things)


def _holds(thing: Thing, points: np.ndarray, margin: float = 0.06) -> bool:
    c, s = np.cos(thing.heading[0]), np.sin(thing.heading[0])
    local = (points - thing.centre[0]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return bool((np.abs(local) < thing.size / 2 + margin).all(1).any())


def occlusion(rig: Rig, people: Sequence[Posed], things: tuple[np.ndarray, np.ndarray], width: int = 192) -> float:
    """Share of the people's projected area, over all cameras, that others and things hide."""
    meshes = [drawn_mesh(p) for p in people]
    everything = [*meshes, things] if len(things[0]) else meshes
    starts = np.cumsum([0, *(len(v) for v, _ in everything[:-1])])
    vertices = np.concatenate([v for v, _ in everything])
    faces = np.concatenate([f + s for (_, f), s in zip(everything, starts, strict=True)])
    owner = np.repeat(np.arange(len(everything)), [len(f) for _, f in everything])
    raster = raster_here(1, remember=len(rig))
    together, scenes = raster.scene(vertices, faces), [raster.scene(*mesh) for mesh in meshes]
    whole = seen = 0
    for camera in rig.cameras:
        size = (width, round(width * camera.size[1] / camera.size[0]))
        shown = raster.view(together, camera, size).triangle
        who = np.where(shown >= 0, owner[shown], -1)
        for k, scene in enumerate(scenes):
            alone = raster.view(scene, camera, size).hit
            whole += alone.sum()
            seen += (alone & (who == k)).sum()
    return float(1 - seen / max(whole, 1))


def drawn_mesh(person: Posed) -> tuple[np.ndarray, np.ndarray]:
    """All visible layers of somebody as one mesh."""
    starts = np.cumsum([0, *(len(v) for v in person.layers[:-1])])
    faces = [x.faces + s for x, s in zip(person.wearer.dressed.layers, starts, strict=True)]
    return np.concatenate(person.layers), np.concatenate(faces)
