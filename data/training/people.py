"""One training person: dressed, posed, photographed all round, with the true surface and a body as a fit finds it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from data.synthetic.drawing import Cast
from data.synthetic.people import HAND_POSES, People
from data.training.errors import perturbed
from data.training.views import sample_cameras, take_pictures
from nets.deepmulticap.inputs import canonical_frame, heading
from nets.deepmulticap.sampling import on_surface, seen_in_depth
from nets.meshes import vertex_normals
from pipeline.raster import raster_here, scene_here
from pipeline.skeletons import SMPLX55

UP = np.array([0, 0, 1.0])

NEAR, SHARE = (0.006, 0.015, 0.035, 0.08), (0.24, 0.36, 0.28, 0.12)
"""Deviations in metres of points about the surface, and how often each is drawn where a view sees it; where none does
the smallest is not used (section 5 of the paper)."""


@dataclass(frozen=True)
class PersonOptions:
    """How training people are made.

    Attributes:
        poses: of each person, who is dressed once.
        views: cameras round each person. size: side of their crops, pixels.
        points: about the surface, with signed distances. on_surface: on it, with normals.
        step: metres, of the grid on which the true surface is made.
        texture: pixels, side of the textures. fineness: of the cloth, 1 or 2.
        volume: voxels along the body's cube, for networks that read one.
        error: range of the size of the body's error; 1 is usual.
    """

    poses: int = 3
    views: int = 8
    size: int = 256
    points: int = 40000
    on_surface: int = 8000
    step: float = 0.006
    texture: int = 512
    fineness: int = 2
    volume: int = 128
    error: tuple[float, ...] = (0.1, 1.5)


DEFAULT = PersonOptions()


@dataclass(frozen=True)
class PersonSample:
    """Arrays of one person; V views of S pixels, P points about the surface and Q on it. Metres, world z up.

    Attributes:
        rgb: (V, S, S, 3) uint8. mask: (V, S, S) uint8, 255 on the person.
        normals: (V, S, S, 3) int8, 127 times the true surface's normals along the camera's axes.
        global_normals: (V, S, S, 3) int8, 127 times those of the fitted body in its frame.
        body_depth: (V, S, S) float16, of the fitted body from its frame's centre, canonical units; NaN off it.
        relief: (V, S, S) float16 metres from the fitted body's surface to the true one along the camera's axis,
            positive where the true one is behind; NaN where either is missing.
        projection: (V, 3, 4). rotation (3, 3), centre (3,), scale (): the fitted body's frame.
        points (P, 3), distance (P,), body (P, 7): signed distance to the true surface, features of the fitted body.
        surface (Q, 3), surface_normals (Q, 3), surface_body (Q, 7), surface_seen (Q, V).
        body_vertices (B, 3), true_body (B, 3), vertices (N, 3), faces (T, 3): fitted and true body, true surface.
    """

    rgb: np.ndarray
    mask: np.ndarray
    normals: np.ndarray
    global_normals: np.ndarray
    body_depth: np.ndarray
    relief: np.ndarray
    projection: np.ndarray
    rotation: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    points: np.ndarray
    distance: np.ndarray
    body: np.ndarray
    surface: np.ndarray
    surface_normals: np.ndarray
    surface_body: np.ndarray
    surface_seen: np.ndarray
    body_vertices: np.ndarray
    true_body: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def body_error(self) -> float:
        """Mean distance in metres from the fitted body's vertices to where they should be."""
        away = self.body_vertices.astype(np.float64) - self.true_body
        return float(np.linalg.norm(away, axis=-1).mean())


class Studio:
    """Makes training people: in a split, sample n is person n // poses in a pose of its own."""

    def __init__(self, options: PersonOptions = DEFAULT) -> None:
        self.options = options
        self.people = People(texture_size=options.texture, fineness=options.fineness, remember=1)
        self.faces = self.people.model.faces.numpy()

    def sample(self, split: str, number: int) -> PersonSample:
        """Sample ``number`` of a split of ``data.synthetic.wardrobe``; the same is always the same."""
        o, g = self.options, np.random.default_rng([zlib.crc32(f"training/{split}".encode()), number])
        wearer = self.people.person(split, number // o.poses)
        parameters = dict(self.people.pose(wearer, g))
        relaxed = np.split(self.people.model.relaxed_hands.numpy(), 2)
        curled = {k: (h * g.uniform(0.3, 1.5))[None] for k, h in zip(HAND_POSES, relaxed, strict=True)}
        posed = self.people.posed(wearer, curled | parameters)
        solid = posed.surface(o.step)
        coloured = np.concatenate(posed.layers)
        as_fitted = {k: v[0] for k, v in posed.parameters.items()} | dict(zip(HAND_POSES, relaxed, strict=True))
        fitted, joints = self._body(perturbed(as_fitted, g, g.uniform(*o.error)))
        frame = canonical_frame(fitted, _facing(joints), UP)
        everywhere = np.concatenate([solid.vertices[::7], coloured[::7]])
        cameras = sample_cameras(g, everywhere, fitted[::7], o.views, o.size)
        seen = take_pictures(Cast.of([wearer.dressed]), coloured, solid.vertices, solid.faces, cameras, g)
        projection = np.stack([c.P for c in cameras])
        return PersonSample(
            rgb=seen.rgb,
            mask=np.rint(seen.mask * 255).astype(np.uint8),
            normals=np.rint(seen.normals * 127).astype(np.int8),
            projection=projection,
            rotation=frame.rotation,
            centre=frame.centre,
            scale=np.array(frame.scale),
            body_vertices=fitted.astype(np.float32),
            true_body=posed.vertices.astype(np.float32),
            vertices=solid.vertices.astype(np.float32),
            faces=solid.faces.astype(np.int32),
            **self._body_maps(fitted, frame, cameras, seen.depth),
            **self._points(solid, fitted, frame, projection, seen.depth, g),
        )

    def _body(self, parameters: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (B, 3) and joints (55, 3)."""
        import torch

        one = {k: torch.as_tensor(np.asarray(v, np.float32))[None] for k, v in parameters.items()}
        with torch.no_grad():
            out = self.people.model(**one)
        return out.vertices[0].numpy().astype(np.float64), out.joints[0].numpy().astype(np.float64)

    def _body_maps(self, fitted, frame, cameras, true_depth) -> dict[str, np.ndarray]:
        normals = frame.directions(vertex_normals(fitted, self.faces))
        raster = raster_here(threads=1, remember=1)
        scene = raster.scene(fitted, self.faces)
        maps, depths, reliefs = [], [], []
        for camera, true in zip(cameras, true_depth, strict=True):
            seen = raster.view(scene, camera)
            shown = seen.interpolate(self.faces, normals, missing=0.0)
            shown /= np.maximum(np.linalg.norm(shown, axis=-1, keepdims=True), 1e-6)
            maps.append(np.rint(shown * 127).astype(np.int8))
            hit = np.isfinite(seen.depth)
            centre_depth = camera.R[2] @ frame.centre + camera.t[2]
            depths.append(np.where(hit, (seen.depth - centre_depth) * frame.scale, np.nan).astype(np.float16))
            with np.errstate(invalid="ignore"):
                relief = true - seen.depth
            reliefs.append(np.where(np.isfinite(relief), relief, np.nan).astype(np.float16))
        return {"global_normals": np.stack(maps), "body_depth": np.stack(depths), "relief": np.stack(reliefs)}

    # --- points ---

    def _points(self, solid, fitted, frame, projection, depth, g) -> dict[str, np.ndarray]:
        o = self.options
        found = on_surface(solid.vertices, solid.faces, o.points + o.on_surface, g)
        seen = seen_in_depth(found.points, projection, depth, tolerance=0.01)
        points = np.concatenate([found.points[o.on_surface :], np.zeros((0, 3))])
        spread = np.where(
            seen[o.on_surface :].any(1), g.choice(NEAR, o.points, p=SHARE), g.choice(NEAR[1:], o.points)
        )
        points += g.normal(0, 1, points.shape) * spread[:, None]
        around, even = o.points // 10, o.points * 7 // 100
        low, high = (x for x in (frame.centre - 0.5 / frame.scale, frame.centre + 0.5 / frame.scale))
        points[:around] = fitted[g.integers(0, len(fitted), around)] + g.normal(0, 0.02, (around, 3))
        points[around : around + even] = g.uniform(low, high, (even, 3))
        points = points[np.lexsort(np.floor(points / 0.05).T)]  # neighbours in space are looked up faster
        distance = solid.signed_distance(points)
        order = g.permutation(o.points)
        points, distance = points[order], distance[order]
        on = slice(None, o.on_surface)
        features = self._features(np.concatenate([points, found.points[on]]), fitted, frame)
        return {
            "points": points.astype(np.float32),
            "distance": distance.astype(np.float32),
            "body": features[: o.points],
            "surface": found.points[on].astype(np.float32),
            "surface_normals": found.normals[on].astype(np.float32),
            "surface_body": features[o.points :],
            "surface_seen": seen[on],
        }

    def _features(self, points: np.ndarray, fitted: np.ndarray, frame) -> np.ndarray:
        """(N, 7) as ``nets.deepmulticap.body_features`` gives them."""
        import torch

        from nets.deepmulticap.body_features import angle_weighted_normals, of_nearest

        found = scene_here(fitted, self.faces).nearest(points)
        second = found["uv"]
        weights = np.concatenate([1 - second.sum(-1, keepdims=True), second], -1)
        normals = angle_weighted_normals(torch.from_numpy(fitted), torch.from_numpy(self.faces)).numpy()
        there = (weights[..., None] * normals[self.faces[found["triangle"]]]).sum(1)
        tensors = (torch.from_numpy(np.asarray(x, np.float64)) for x in (points, found["point"], there, frame.rotation))
        return of_nearest(*tensors).numpy().astype(np.float32)


def _facing(joints: np.ndarray) -> np.ndarray:
    left, right = ([SMPLX55.index(f"{s}_{j}") for j in ("shoulder", "hip")] for s in ("left", "right"))
    return heading(joints[left], joints[right], UP)
