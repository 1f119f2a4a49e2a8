"""The query engine: the surface of a level function, without ever asking a dense grid."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.surface.band import Band, Lattice
from pipeline.surface.blocks import Blocks
from pipeline.surface.components import compact, kept_faces
from pipeline.surface.level import Evaluator, LevelFunction
from pipeline.surface.octree import first_cells, refine, survey, track
from pipeline.surface.options import SurfaceOptions
from pipeline.surface.triangles import CORNERS, triangulate

EMPTY, FILLS_BOX, TOUCHES_BOX = "empty", "fills_box", "touches_box"
_CENTIMETRE = 0.01


@dataclass(frozen=True)
class Surface:
    """A triangle mesh and how it was come by.

    Attributes:
        vertices: (V, 3) float32 metres, world. faces: (F, 3) int32, counter-clockwise seen from outside.
        confidence: (V,) float32 in 0..1, by how much occupancy changes over a centimetre across the surface, if the
            level function returns logits.
        points_evaluated: how many points the level function was asked for.
        flags: what is wrong with it: "empty" (nothing is inside), "fills_box" (all that was looked at is inside),
            "touches_box" (the surface is cut open by the box). Such a frame is marked, it is no error.
        grown: cells of the first grid by which the band had to grow.
        grid_bytes: held by the sparse grid at the end.
        seconds: asking the level function ("query"), everything else before the mesh ("grid"), and "mesh".
    """

    vertices: np.ndarray
    faces: np.ndarray
    confidence: np.ndarray
    points_evaluated: int
    flags: tuple[str, ...] = ()
    grown: int = 0
    grid_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def extract_surface(level_fn: LevelFunction, band: Band, options: SurfaceOptions | None = None) -> Surface:
    """The surface where ``level_fn`` is zero, found from ``band``.

    Args:
        level_fn: takes float32 tensors (N, 3) on ``options.device``; see ``pipeline.surface.level``.

    Raises:
        InputError: values are NaN, or cross zero in more places than any person's surface does.
    """
    options = options or SurfaceOptions()
    begin = time.perf_counter()
    query = _Timed(level_fn)
    evaluator = Evaluator(query, options.batch, options.device)
    blocks = Blocks(band.lattice, options.device, options.most_blocks)
    step = band.lattice.step(options.first_cell)
    coarse, grown = survey(evaluator, band, step, blocks)
    flags = _flags(coarse)
    blocks.know(coarse, step)
    body = torch.as_tensor(band.body_cells(step), device=blocks.device)
    cells = refine(blocks, evaluator, first_cells(coarse, body, options.reach), step, options)
    nodes, slots, values = track(blocks, evaluator, cells, options.batch)
    found = time.perf_counter()
    vertices, faces, slope = triangulate(nodes, slots, values)
    if not len(faces) and not flags:
        flags = (EMPTY,)
    cut_open = _cut_open(nodes, values, band.lattice.cells)
    surface = Surface(
        vertices=band.lattice.points(vertices.cpu().numpy()).astype(np.float32),
        faces=faces.cpu().numpy().astype(np.int32),
        confidence=torch.tanh(slope / band.lattice.voxel * _CENTIMETRE / 4).float().cpu().numpy(),
        points_evaluated=evaluator.points,
        flags=flags,
        grown=grown,
        grid_bytes=blocks.bytes,
    )
    surface = _with_largest(surface, options)
    if cut_open and _near_side(surface.vertices, band.lattice):  # not if only a speck that is gone touched it
        surface = replace(surface, flags=(*surface.flags, TOUCHES_BOX))
    end = time.perf_counter()
    seconds = {"query": query.seconds, "grid": found - begin - query.seconds, "mesh": end - found}
    return replace(surface, seconds=seconds)


class _Timed:
    """A level function that knows how long it took."""

    def __init__(self, function: LevelFunction) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, points: Tensor) -> Tensor | np.ndarray:
        begin = time.perf_counter()
        try:
            return self.function(points)
        finally:
            if points.is_cuda:
                torch.cuda.synchronize(points.device)
            self.seconds += time.perf_counter() - begin


def _flags(coarse: Tensor) -> tuple[str, ...]:
    known = coarse[~torch.isnan(coarse)]
    return (FILLS_BOX,) if bool((known >= 0).all()) else ()


def _cut_open(nodes: Tensor, values: Tensor, cells: int) -> bool:
    """Whether the surface runs through a side of the box."""
    corners = torch.as_tensor(CORNERS, device=nodes.device)
    at = nodes[:, None] + corners
    return bool(((values >= 0) & ((at == 0) | (at == cells)).any(-1)).any())


def _near_side(vertices: np.ndarray, lattice: Lattice) -> bool:
    """Whether any of the vertices (V, 3) is within a voxel of a side of the box."""
    at = (vertices - np.asarray(lattice.origin)) / lattice.voxel
    return bool(((at <= 1) | (at >= lattice.cells - 1)).any())


def _with_largest(surface: Surface, options: SurfaceOptions) -> Surface:
    if not options.smallest_component or not len(surface.faces):
        return surface
    keep = kept_faces(surface.vertices, surface.faces, options.smallest_component, options.cavities)
    used, faces = compact(len(surface.vertices), surface.faces[keep])
    return replace(
        surface,
        vertices=surface.vertices[used],
        faces=faces.astype(np.int32),
        confidence=surface.confidence[used],
        flags=surface.flags if len(faces) else (*surface.flags, EMPTY),
    )
