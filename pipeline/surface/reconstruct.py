"""One person's surface in one frame: from what was prepared to a mesh that knows who sees it, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nets.deepmulticap.body_features import POINT_CHANNELS, BodySurface, of_nearest
from nets.deepmulticap.inputs import point_visibility
from pipeline.errors import InputError
from pipeline.meshes.geometry import vertex_normals
from pipeline.meshes.sequence import Mesh
from pipeline.raster_open3d import RayScene
from pipeline.surface.band import Band, lattice_around
from pipeline.surface.extract import Surface, extract_surface
from pipeline.surface.level import LevelFunction, closed_by_body
from pipeline.surface.network_level import encode, network_level, sixteen_bits, sixteen_bits_pay
from pipeline.surface.networks import Networks
from pipeline.surface.options import SurfaceOptions
from pipeline.surface.prepare import Body, Prepared
from pipeline.surface.refine import refined

NAN = "nan"
BODY_WIDTH = 0.006  # metres over which the body's own occupancy changes, where it closes what nobody sees
BODY_SHRINK = 1.0  # in logits: the body counts from 6 mm inside it


@dataclass(frozen=True)
class Outcome:
    """A mesh, or why there is none.

    Attributes:
        mesh: None where ``reason`` is not empty; ``seen`` has a column a view.
        reason: "nan", "empty", "fills_box" or "touches_box"; "" for a mesh.
        seconds: of encoding, query, grid, mesh, visibility and refining.
        points: how many the network was asked for.
    """

    mesh: Mesh | None
    reason: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    points: int = 0


def reconstruct(
    networks: Networks, prepared: Prepared, body: Body, resolution: int, options: SurfaceOptions | None = None
) -> Outcome:
    """The surface of one person.

    Args:
        networks: on the device that ``options`` name.
        prepared: with predicted normals, if the network reads them.
        resolution: voxels along the box; multiples of 8.

    Raises:
        InputError: the inputs are not this network's.
    """
    options = options or SurfaceOptions()
    clock = _Clock()
    lattice = lattice_around(body.vertices, resolution)
    silhouettes = prepared.silhouettes(margin=8.0 * prepared.size / 512)
    band = Band(lattice, body.vertices, body.faces, silhouettes=silhouettes)
    try:
        level = level_of(networks, prepared, body, options.device)
        clock.stamp("encode")
        surface = extract_surface(level, band, options)
    except InputError as error:
        if "NaN" in error.problem:
            print(f"warning: {error}")
            return Outcome(None, NAN)
        raise
    clock.stamp("extract")
    if surface.flags:
        return Outcome(None, surface.flags[0], surface.seconds, surface.points_evaluated)
    mesh = with_visibility(surface, prepared)
    clock.stamp("visibility")
    if networks.refiner is not None:
        mesh = refined(mesh, prepared, networks.refiner, options.device)
    clock.stamp("refine")
    seconds = {**surface.seconds, **{k: clock.seconds[k] for k in ("encode", "visibility", "refine")}}
    return Outcome(mesh, "", seconds, surface.points_evaluated)


def level_of(networks: Networks, prepared: Prepared, body: Body, device: torch.device | str) -> LevelFunction:
    """The level function of a prepared person. Where no view sees, networks that do not build on the body are closed by
    it."""
    of = networks.preset
    features = encode(networks.surface, prepared.to_inputs(of).to(device), sixteen_bits(device))
    blocked = prepared.blocked_pixels().to(device)
    projection = features.inputs.projection

    def seen(points: Tensor) -> Tensor:
        return point_visibility(projection, points[None], prepared.size, blocked)[0]

    nearest = body_query(body, prepared.frame.rotation, device)
    extra = nearest if of.point_channels == POINT_CHANNELS else None
    # A released coarse head costs what the whole fine level does.
    coarse_head = networks.coarse_head and not networks.released
    half = sixteen_bits_pay(device, of)
    level = network_level(networks.surface, features, seen, extra, coarse_head=coarse_head, half=half)
    if of.residual is not None:
        return level
    return closed_by_body(
        level, lambda p: -nearest(p)[:, 0] / BODY_WIDTH, lambda p: seen(p).any(0), shrink=BODY_SHRINK
    )


def body_query(body: Body, rotation: np.ndarray, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """Points (N, 3) to their (N, 7) body features: by Open3D on a CPU, in torch on a GPU."""
    vertices = torch.as_tensor(body.vertices, dtype=torch.float32)
    faces = torch.as_tensor(np.asarray(body.faces), dtype=torch.int64)
    turn = torch.as_tensor(rotation, dtype=torch.float32)
    surface = BodySurface(vertices.to(device), faces.to(device), turn.to(device))
    if torch.device(device).type != "cpu":
        return surface.features
    scene = RayScene(body.vertices, body.faces, threads=torch.get_num_threads())
    normals = surface.normals

    def features(points: Tensor) -> Tensor:
        found = scene.nearest(points.numpy())
        corners = faces[torch.from_numpy(found["triangle"]).long()]
        u, v = torch.from_numpy(found["uv"]).unbind(-1)
        of_corners = normals[corners]
        mixed = (1 - u - v)[:, None] * of_corners[:, 0] + u[:, None] * of_corners[:, 1] + v[:, None] * of_corners[:, 2]
        return of_nearest(points, torch.from_numpy(found["point"]), mixed, turn)

    return features


def with_visibility(surface: Surface, prepared: Prepared) -> Mesh:
    """The surface as a mesh that knows which views see which vertices: in the crop, nobody in front, nor itself."""
    vertices = surface.vertices.astype(np.float64)
    points = torch.from_numpy(surface.vertices)[None]
    projection = torch.from_numpy(prepared.projection).float()[None]
    free = point_visibility(projection, points, prepared.size, prepared.blocked_pixels())[0].numpy()
    normals = vertex_normals(surface.vertices, surface.faces).astype(np.float64)
    scene = RayScene(surface.vertices, surface.faces, threads=torch.get_num_threads())
    seen = np.zeros((len(vertices), len(prepared.cameras)), bool)
    for v, P in enumerate(prepared.projection):
        centre = -np.linalg.solve(P[:, :3], P[:, 3])
        away = centre - vertices
        some = np.flatnonzero(free[v] & ((away * normals).sum(-1) > 0))
        start = (vertices[some] + 1e-3 * normals[some]).astype(np.float32)  # off the surface that it lies on
        seen[some, v] = ~scene.blocked(start, (centre - start).astype(np.float32))
    return Mesh(vertices, surface.faces, surface.confidence, seen)


class _Clock:
    def __init__(self) -> None:
        import time

        self._now, self.seconds = time.perf_counter, {}
        self._last = self._now()

    def stamp(self, name: str) -> None:
        now = self._now()
        self.seconds[name], self._last = now - self._last, now
