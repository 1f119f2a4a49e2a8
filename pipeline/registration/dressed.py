"""A registered, textured body of one person: what is gathered over frames, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.meshes.geometry import vertex_normals
from pipeline.raster import Raster
from pipeline.registration.offsets import RegistrationOptions, distances_to, offsets_of
from pipeline.registration.outwards import Outwards
from pipeline.texture.atlas import Atlas
from pipeline.texture.colours import GREY, believed, blended, trusted
from pipeline.texture.exposure import camera_gains
from pipeline.texture.views import Seen, colour_views

_MOST_FOR_GAINS = 60_000
"""Points a camera pair is compared by; more tell nothing new."""
LITTLE = 0.02
"""Of the median weight of what is seen: places with so little are believed by half."""


@dataclass(frozen=True)
class Instant:
    """One frame: the posed body (V, 3), its surface (vertices, faces) or None, and by camera name what was seen."""

    body: np.ndarray
    surface: tuple[np.ndarray, np.ndarray] | None
    views: Mapping[str, Seen]


@dataclass(frozen=True)
class Registered:
    """What is kept of it.

    Attributes:
        offsets: (V,) float32 metres along the directions of ``Outwards``.
        gains: (C, 3) float32 factors of the cameras' colours.
        vertex_colours: (V, 3) uint8. seen: (V,) bool, some view saw the vertex.
        texture: (S, S, 3) uint8, or None without texture coordinates.
        surfaces: frames whose surface took part.
    """

    offsets: np.ndarray
    gains: np.ndarray
    vertex_colours: np.ndarray
    seen: np.ndarray
    texture: np.ndarray | None
    surfaces: int


@dataclass
class _Gathered:
    colours: np.ndarray
    weight: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.weight = np.zeros(len(self.colours))

    def add(self, samples: Sequence[tuple[np.ndarray, np.ndarray]], gains: np.ndarray) -> None:
        colours, weight = blended(samples, gains)
        self.colours += colours * weight[:, None]
        self.weight += weight

    def mean(self) -> np.ndarray:
        return self.colours / np.maximum(self.weight, 1e-12)[:, None]


def register(
    instants: Sequence[Instant],
    outwards: Outwards,
    still: np.ndarray,
    cameras: Sequence[str],
    raster: Raster,
    atlas: Atlas | None,
    options: RegistrationOptions | None = None,
) -> Registered:
    """Move the body's skin out to the surfaces, balance the cameras, and colour it from all frames and views.

    Args:
        instants: frames, some of them with surfaces. outwards: the body's faces, and where its skin goes.
        still: (V,) 1 for vertices that keep the body's place.
        cameras: all names, in the order of the gains.
    """
    options, faces = options or RegistrationOptions(), outwards.faces
    distances = [distances_to(i.body, outwards, *i.surface, options) for i in instants if i.surface is not None]
    count = len(instants[0].body)
    offsets = offsets_of(np.stack(distances), outwards, still, options) if distances else np.zeros(count)
    looks = [_looks(i, offsets, outwards, raster) for i in instants]
    gains = _gains(looks, cameras)
    at_vertices, at_texels = _Gathered(np.zeros((count, 3))), None
    if atlas is not None:
        at_texels = _Gathered(np.zeros((atlas.count, 3)))
    for vertices, normals, views in looks:
        names = [n for n in cameras if n in views]
        if not names:
            continue
        own = gains[[cameras.index(n) for n in names]]
        at_vertices.add([views[n].sample(vertices, normals) for n in names], own)
        if at_texels is not None:
            points, directions = atlas.points(vertices), atlas.points(normals)
            directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
            at_texels.add([views[n].sample(points, directions) for n in names], own)
    colours = believed(at_vertices.mean(), at_vertices.weight, faces, LITTLE)
    texture = None
    if atlas is not None:
        # Where no texel was seen, the vertices' colours spread; they meet without a step where little was seen.
        sure = trusted(at_texels.weight, LITTLE)
        texture = atlas.image(sure[:, None] * at_texels.mean() + (1 - sure[:, None]) * atlas.points(colours))
    return Registered(
        offsets.astype(np.float32),
        gains.astype(np.float32),
        np.clip(np.rint(colours), 0, 255).astype(np.uint8),
        at_vertices.weight > 0,
        texture,
        len(distances),
    )


def _looks(instant: Instant, offsets: np.ndarray, outwards: Outwards, raster: Raster):
    """Vertices and normals of the dressed body in one frame, and by name what the cameras say of it."""
    vertices = outwards.moved(instant.body, offsets)
    views = colour_views(vertices, outwards.faces, instant.views, raster)
    return vertices, vertex_normals(vertices, outwards.faces).astype(np.float64), views


def _gains(looks, cameras: Sequence[str]) -> np.ndarray:
    """From the vertices of all frames."""
    colours, weights = [], []
    for vertices, normals, views in looks:
        c = np.full((len(vertices), len(cameras), 3), GREY, np.float32)
        w = np.zeros((len(vertices), len(cameras)))
        for name, view in views.items():
            c[:, cameras.index(name)], w[:, cameras.index(name)] = view.sample(vertices, normals)
        shared = (w > 0).sum(1) > 1
        colours.append(c[shared])
        weights.append(w[shared])
    colours, weights = np.concatenate(colours), np.concatenate(weights)
    if not len(colours):
        return np.ones((len(cameras), 3))
    some = slice(None, None, max(1, len(colours) // _MOST_FOR_GAINS))
    return camera_gains(colours[some], weights[some])
