"""Pictures of dressed people in a room, as cameras with real lenses and sensors take them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from scipy import sparse

from data.synthetic.acts import Thing
from data.synthetic.bodies import Dressed
from data.synthetic.cameras import Exposure
from data.synthetic.light import LINEAR, Light, encode
from data.synthetic.props import thing_mesh, thing_texture, thing_uv
from data.synthetic.scene import FloorLight, Room, View
from pipeline.cameras import Camera, Rig
from pipeline.raster import RayScene, blend, raster_here

SHARPNESS = 2  # rays a pixel and axis
_TILE = 8  # pixels; and of every few vertices one is projected to find the tiles that show somebody
_EVERY = 2


@dataclass(frozen=True)
class Cast:
    """Everybody as one mesh whose vertices move and whose faces do not.

    Attributes:
        faces: (T, 3).
        uv: (V, 2).
        weld: (V,) vertices with the same number are one point.
        face_person: (T,) which person, from 0; -1 for things.
        face_texture: (T,) which of ``textures``.
        textures: (L, S, S, 3) uint8 sRGB.
    """

    faces: np.ndarray
    uv: np.ndarray
    weld: np.ndarray
    face_person: np.ndarray
    face_texture: np.ndarray
    textures: np.ndarray

    @classmethod
    def of(cls, people: Sequence[Dressed], things: Sequence[Thing] = ()) -> Cast:
        """``things`` follow the people: so must their vertices in ``Painter.moment``."""
        layers = [layer for person in people for layer in person.layers]
        pictures = [t for person in people for t in person.textures]
        owner = np.repeat(np.r_[np.arange(len(people)), -1], [*(len(p.layers) for p in people), len(things)])
        meshes = [(layer.uv, layer.faces, layer.weld) for layer in layers]
        for k, thing in enumerate(things):
            uv = thing_uv()
            meshes.append((uv, thing_mesh(thing)[1], np.arange(len(uv))))
            pictures.append(thing_texture(thing, len(pictures[0]), np.random.default_rng(k)))
        counts = [len(faces) for _, faces, _ in meshes]
        starts = np.cumsum([0, *(len(uv) for uv, _, _ in meshes[:-1])])
        welds = np.cumsum([0, *(int(weld.max()) + 1 for *_, weld in meshes[:-1])])
        return cls(
            np.concatenate([m[1] + s for m, s in zip(meshes, starts, strict=True)]),
            np.concatenate([m[0] for m in meshes]).astype(np.float32),
            np.concatenate([m[2] + s for m, s in zip(meshes, welds, strict=True)]),
            np.repeat(owner, counts),
            np.repeat(np.arange(len(meshes)), counts),
            np.stack(pictures),
        )

    @cached_property
    def things(self) -> list[np.ndarray]:
        """Which vertices belong to each of the things."""
        of_things = self.face_person < 0
        numbers = np.unique(self.face_texture[of_things])
        return [np.unique(self.faces[of_things & (self.face_texture == k)]) for k in numbers]

    @property
    def people(self) -> int:
        return int(self.face_person.max()) + 1

    def albedo(self, triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(N, 3) float32 linear reflectance at places on triangles (N,) with corner weights (N, 3)."""
        uv = blend(weights, self.faces[triangle], self.uv)
        size = self.textures.shape[1]
        column = np.clip((uv[:, 0] * size).astype(np.int32), 0, size - 1)
        row = np.clip(((1 - uv[:, 1]) * size).astype(np.int32), 0, size - 1)
        return LINEAR[self.textures[self.face_texture[triangle], row, column]]


@dataclass(frozen=True)
class Moment:
    """The people at one time, lit: ``vertices`` (V, 3), ``light`` (V, 3) that arrives at them."""

    vertices: np.ndarray
    light: np.ndarray
    scene: RayScene
    floor: FloorLight


class Painter:
    """Takes pictures of a cast in a room with the cameras of a rig."""

    def __init__(
        self,
        rig: Rig,
        exposures: Sequence[Exposure],
        light: Light,
        cast: Cast,
        generator: np.random.Generator,
        threads: int = 1,
    ) -> None:
        """``threads``: of each ray cast. Pictures may be taken from several threads at once."""
        self.rig, self.exposures, self.light, self.cast = rig, exposures, light, cast
        self._raster = raster_here(threads, remember=len(rig))
        self._points = np.unique(cast.weld, return_index=True)[1]
        self._spread = _point_faces(cast)
        self.views: list[View] = []
        shape = tuple(np.max([c.size for c in rig.cameras], axis=0)[::-1] + 64)
        self._grain = generator.standard_normal((*shape, 3)).astype(np.float32)
        self._shifts = generator.integers(0, 64, (1021, 2))
        self._vignettes = [_vignette(c.size, e.vignette) for c, e in zip(rig.cameras, exposures, strict=True)]

    def enter(self, room: Room, pool: Executor) -> None:
        """Move into a room."""
        self.views = list(pool.map(lambda c: room.seen_by(c, self.light, self._raster, SHARPNESS), self.rig.cameras))

    def moment(self, posed: Sequence[Sequence[np.ndarray]], things: Sequence[np.ndarray] = ()) -> Moment:
        """The people with the vertices (V, 3) of each layer of each person, and of each of the cast's things."""
        vertices = np.concatenate([*(layer for person in posed for layer in person), *things])
        scene = self._raster.scene(vertices, self.cast.faces)
        a, b, c = (vertices[self.cast.faces[:, k]] for k in range(3))
        normals = self._spread @ np.cross(b - a, c - a)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
        light = self.light.at(scene, vertices[self._points], normals)[self.cast.weld]
        return Moment(vertices, light, scene, FloorLight.under(scene, vertices, self.light))

    def picture(self, camera: int, moment: Moment, number: int) -> tuple[np.ndarray, np.ndarray]:
        """RGB (H, W, 3) uint8 and labels (H, W) uint8 (0 nobody, else person + 1) of frame ``number``."""
        view = self.views[camera]
        linear = view.pixels * moment.floor.on(view)
        labels = np.zeros(linear.shape[:2], np.uint8)
        self._add_people(camera, moment, linear, labels)
        return self._expose(camera, linear, number), labels

    def empty_picture(self, camera: int, number: int) -> np.ndarray:
        """RGB (H, W, 3) uint8 of the room without anybody."""
        return self._expose(camera, self.views[camera].pixels, number)

    def _add_people(self, camera: int, moment: Moment, linear: np.ndarray, labels: np.ndarray) -> None:
        lens = self.rig.cameras[camera]
        things = [moment.vertices[corners] for corners in self.cast.things]
        pixels = _near(lens, moment.vertices[::_EVERY], things)
        seen = self._raster.view(moment.scene, lens, tuple(SHARPNESS * s for s in lens.size), pixels=pixels)
        hit = seen.hit
        triangle, weights = seen.triangle[hit], seen.barycentric[hit]
        arriving = blend(weights, self.cast.faces[triangle], moment.light)
        colour = self.cast.albedo(triangle, weights) * arriving
        width, height = lens.size
        pixel = (pixels[0][hit] // SHARPNESS) * width + pixels[1][hit] // SHARPNESS

        def share(values: np.ndarray | None) -> np.ndarray:
            return np.bincount(pixel, values, width * height).reshape(height, width) / SHARPNESS**2

        linear *= (1 - share(None))[..., None]
        linear += np.stack([share(colour[:, k]) for k in range(3)], -1)
        person = self.cast.face_person[triangle]
        shares = [share(person == k) for k in range(self.cast.people)]
        labels[:] = np.argmax([1 - sum(shares), *shares], axis=0)  # nobody wins ties

    def _expose(self, camera: int, linear: np.ndarray, number: int) -> np.ndarray:
        exposure = self.exposures[camera]
        seen = encode(linear * (exposure.gain * exposure.white).astype(np.float32) * self._vignettes[camera])
        seen = cv2.GaussianBlur(seen, (0, 0), exposure.blur)
        dy, dx = self._shifts[(number * len(self.rig) + camera) % len(self._shifts)]
        height, width = seen.shape[:2]
        seen += exposure.noise * self._grain[dy : dy + height, dx : dx + width]
        return np.clip(seen + 0.5, 0, 255).astype(np.uint8)


def _point_faces(cast: Cast) -> sparse.csr_matrix:
    """(W, T) 1 where a welded point is a corner of a face."""
    corners = cast.weld[cast.faces].ravel()
    at = (corners, np.repeat(np.arange(len(cast.faces)), 3))
    return sparse.csr_matrix((np.ones(len(corners)), at), (int(cast.weld.max()) + 1, len(cast.faces)))


def _near(camera: Camera, points: np.ndarray, things: Sequence[np.ndarray] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, in the sharper image, of the tiles that points (N, 3) of a mesh project to and next to, and of
    those that ``things``, convex with far fewer points each, cover."""
    width, height = (-(-s // _TILE) for s in camera.size)
    tile = camera.project(points) / _TILE
    tile = tile[(np.isfinite(tile) & (tile >= -1) & (tile <= [width, height])).all(1)].astype(int)
    mask = np.zeros((height, width), np.uint8)
    mask[tuple(np.clip(tile, 0, (width - 1, height - 1)).T[::-1])] = 1
    for corners in things:
        outline = camera.project(corners) / _TILE
        if np.isfinite(outline).all():
            cv2.fillConvexPoly(mask, cv2.convexHull(outline.astype(np.int32)), 1)
    mask = cv2.dilate(mask, np.ones((3, 3), np.uint8)).repeat(_TILE * SHARPNESS, 0).repeat(_TILE * SHARPNESS, 1)
    return np.nonzero(mask[: camera.size[1] * SHARPNESS, : camera.size[0] * SHARPNESS])


def _vignette(size: tuple[int, int], loss: float) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    return (1 - loss * (x * x + y * y) / 2)[..., None].astype(np.float32)
