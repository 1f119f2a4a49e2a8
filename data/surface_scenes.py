"""Scenes whose clothed surfaces are known: what surface benchmarks are measured on, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pipeline.cameras import Camera, Rig

CATEGORIES = ("single", "occluded", "two_natural", "two_close", "three")
"""The five of the DeepMultiCap paper (section 6.1): one person, one behind objects, two, two close together, three."""

Triangles = tuple[np.ndarray, np.ndarray]
"""Vertices (V, 3) metres in the world and faces (T, 3), counter-clockwise seen from outside."""

NOTHING: Triangles = (np.zeros((0, 3)), np.zeros((0, 3), np.int64))


@dataclass(frozen=True)
class SceneBody:
    """A body without clothes.

    Attributes:
        mesh: posed.
        parameters: as ``nets.body.BodyModel`` takes them, leading axis 1, of the open body model; None where they are
            not known.
    """

    mesh: Triangles
    parameters: Mapping[str, np.ndarray] | None = None


@dataclass(frozen=True)
class ScenePerson:
    """One person of a scene.

    Attributes:
        surface: the true outer surface, clothes and hair included; None where nobody knows it.
        body: the true body, or the one that comes with a data set; None: none.
        height_m: how tall the person stands.
    """

    surface: Triangles | None
    body: SceneBody | None
    height_m: float


@dataclass(frozen=True)
class Witness:
    """A pinhole camera that no method is given, and what it saw: labels (H, W) uint8 as in ``SurfaceScene``."""

    camera: Camera
    labels: np.ndarray


@dataclass(frozen=True)
class SurfaceScene:
    """People at one moment.

    Attributes:
        name: unique in its source; names files.
        category: one of ``CATEGORIES``.
        rig: pinhole cameras: pictures are undistorted.
        images: one a camera, (H, W, 3) uint8 RGB.
        labels: one a camera, (H, W) uint8, 0 nobody, k + 1 the k-th person.
        people: in the order of the labels.
        others: objects that hide people.
        occlusion: share of the people's projected area that others hide, over all cameras; NaN where not measured.
        witnesses: what surfaces are held against where the true ones are not known.
    """

    name: str
    category: str
    rig: Rig
    images: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    people: tuple[ScenePerson, ...]
    others: Triangles = field(default_factory=lambda: NOTHING)
    occlusion: float = float("nan")
    witnesses: tuple[Witness, ...] = ()

    def everything(self) -> Triangles:
        """One mesh of all people and objects whose surfaces are known."""
        parts = [*(p.surface for p in self.people if p.surface is not None), self.others]
        starts = np.cumsum([0, *(len(v) for v, _ in parts[:-1])])
        return (
            np.concatenate([v for v, _ in parts]),
            np.concatenate([np.asarray(f, np.int64) + s for (_, f), s in zip(parts, starts, strict=True)]),
        )


class SceneSource(Protocol):
    """Where scenes come from."""

    def names(self, category: str) -> Sequence[str]:
        """The scenes of a category, in a fixed order."""
        ...

    def digest(self, name: str) -> str:
        """Of everything that a scene is made from."""
        ...

    def load(self, name: str, views: int) -> SurfaceScene:
        """One scene seen by this many cameras. Raises ``InputError`` for files that are missing or damaged."""
        ...
