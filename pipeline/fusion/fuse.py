"""Meshes of neighbouring frames, carried to one pose, averaged as signed distances (section 4.3, equation 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from pipeline.fusion.align import Aim, moved, part_moves
from pipeline.fusion.distance import SignedDistance
from pipeline.fusion.options import FusionOptions
from pipeline.fusion.skinning import Carried, PosedBody, bind
from pipeline.fusion.sparse_grid import zero_level_set
from pipeline.fusion.steady import steadying
from pipeline.fusion.surface import Surface, open_edges
from pipeline.surface.components import compact, kept_faces

SPECK = 0.01
REASONS = ("", "absent", "empty mesh", "invalid body", "far from its body")
"""Why a frame took no part."""


@dataclass(frozen=True, eq=False)
class WindowFrame:
    """One frame of a window, ready to be carried anywhere; made once and used in every window it is in.

    Attributes:
        surface: the mesh, None where the person is absent.
        carried: the mesh bound to its body; None where ``reason`` says why not.
        reason: an index into ``REASONS``.
    """

    surface: Surface | None
    carried: Carried | None
    reason: int
    _moves: WeakKeyDictionary = field(default_factory=WeakKeyDictionary, init=False, repr=False)

    @cached_property
    def aim(self) -> Aim:
        """What other frames' meshes are brought onto."""
        return Aim.of(self.surface)

    def at(self, other: WindowFrame) -> np.ndarray:
        """(V, 3) the mesh in the other frame's pose."""
        return self.carried.carry(other.carried.body)

    def onto(self, other: WindowFrame) -> np.ndarray:
        """(22, 3, 4) moves of the parts that bring this mesh, carried to the other frame, onto that frame's own.

        Found once: the same pair is asked for when the other frame is fused and when this one is steadied.
        """
        if other not in self._moves:
            s = self.surface
            self._moves[other] = part_moves(self.at(other), s.faces, self.carried.parts, s.seen, other.aim)
        return self._moves[other]


@dataclass(frozen=True)
class Fused:
    """The mesh of one frame after fusion.

    Attributes:
        vertices: (V, 3) metres; faces: (T, 3).
        contributions: (h,) mean share of each frame of the window in the surface, sums to 1; 0 for frames left out.
        frame_reasons: (h,) indices into ``REASONS``, 0 for frames that took part.
        valid: False: the frame's own mesh was passed through as it was.
        reason: why not, words; "" where valid.
        notes: what else is worth a line in a report: holes that no frame fills, what was mended.
        open_edges: edges of holes in the result.
        nearest: (V,) which vertex of the frame's own mesh, as it was given to ``prepare``, is nearest to each.
        away: (V,) metres from each to the frame's own mesh, before both were steadied.
    """

    vertices: np.ndarray
    faces: np.ndarray
    contributions: np.ndarray
    frame_reasons: np.ndarray
    valid: bool
    reason: str
    notes: tuple[str, ...]
    open_edges: int
    nearest: np.ndarray
    away: np.ndarray


def window_frame(surface: Surface | None, body: PosedBody | None, options: FusionOptions) -> WindowFrame:
    """Bind a frame's mesh to its body, or say why that cannot be."""
    if surface is None:
        return WindowFrame(None, None, REASONS.index("absent"))
    if surface.empty:
        return WindowFrame(surface, None, REASONS.index("empty mesh"))
    if body is None or not (np.isfinite(body.vertices).all() and np.isfinite(body.blended).all()):
        return WindowFrame(surface, None, REASONS.index("invalid body"))
    carried = bind(surface, body, options)
    if carried.distance > options.far_m:
        return WindowFrame(surface, None, REASONS.index("far from its body"))
    return WindowFrame(surface, carried, 0)


def fuse_window(
    frames: Sequence[WindowFrame],
    centre: int,
    options: FusionOptions,
    threads: int = 0,
    around: Mapping[int, WindowFrame] | None = None,
) -> Fused:
    """Fuse the frames of a window into the pose of ``frames[centre]``.

    Frames with a reason are left out and the mean is over the others, as at the ends of a run. A centre with a reason
    has no pose to fuse in: its own mesh comes back, not valid.

    Args:
        frames: the window in order of time; fewer than ``options.window`` at the ends of a run.
        centre: which of them is wanted.
        threads: of the distance queries; 0: as many as there are cores.
        around: the frames that the result is steadied by, by how many frames after the centre each is (``steadying``);
            None: it is not.
    """
    reasons = np.array([f.reason for f in frames], np.int8)
    own = frames[centre].surface
    if reasons[centre]:
        return _passed_through(own, reasons, centre, REASONS[reasons[centre]])
    took_part = np.flatnonzero(reasons == 0)
    target = frames[centre].carried.body
    origin = target.vertices.mean(0)
    by_parts = options.weighted and options.aligned and target.parts is not None
    carried = [_carry(frames[k], frames[centre], abs(k - centre), by_parts, options) for k in took_part]
    box = np.stack([(v.min(0), v.max(0)) for v, _ in carried])
    # Whole voxels, so that single precision below costs nothing and grids of neighbouring frames agree.
    origin = np.round(origin / options.voxel_m) * options.voxel_m
    fields = [
        SignedDistance(v - origin, s.faces, trust, s.border, s.oriented, threads)
        for (v, trust), s in zip(carried, (frames[k].surface for k in took_part), strict=True)
    ]
    nearby = [f for f, k in zip(fields, took_part, strict=True) if abs(k - centre) < 2]
    holes = any(frames[k].surface.border.any() for k in took_part)  # further frames may be all that fills them
    mean = _Mean(fields, fields if holes else nearby, options)
    vertices, faces = zero_level_set(mean, box[:, 0].min(0) - origin, box[:, 1].max(0) - origin, options.voxel_m)
    vertices, faces, gaps = _without_specks(vertices, faces)
    if not len(faces):
        return _passed_through(own, reasons, centre, "no common surface")
    contributions = np.zeros(len(frames))
    contributions[took_part] = mean.shares(vertices)
    notes = [*own.notes, *(["holes that no frame fills"] if gaps else [])]
    nearest, away = fields[took_part.tolist().index(centre)].nearest(vertices)
    if by_parts and options.steadies and around:
        vertices = vertices + steadying(frames[centre], around)[nearest]
    return Fused(
        vertices + origin, faces, contributions, reasons, True, "", tuple(notes), gaps, own.source[nearest], away
    )


def _without_specks(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Without pieces of less than a hundredth of the largest one's area, and without closed pockets inside, which warps
    that overlap leave; and how many edges are open."""
    if not len(faces):
        return vertices, faces, 0
    gaps = open_edges(faces)
    keep = kept_faces(vertices, faces, SPECK, cavities=gaps > 0)
    if keep.all() or not keep.any():
        return vertices, faces, gaps
    used, faces = compact(len(vertices), faces[keep])
    return vertices[used], faces, open_edges(faces) if gaps else 0


def _carry(
    frame: WindowFrame, target: WindowFrame, away: int, by_parts: bool, options: FusionOptions
) -> tuple[np.ndarray, np.ndarray]:
    """A mesh in the pose of a frame so many frames away (V, 3) and how far each vertex is to be trusted (V,)."""
    carried, body = frame.carried, target.carried.body
    vertices = frame.at(target) if away else carried.surface.vertices
    if by_parts and away:
        vertices = moved(vertices, carried.parts, frame.onto(target))
    if not options.weighted:
        return vertices, np.ones(len(vertices))
    trust = np.maximum(carried.seen, 0.02)  # a guess still beats a hole
    if away:
        sure = np.exp(-((carried.spread(body) / options.spread_m) ** 2))
        if away > 1:
            sure *= carried.calm(body) ** (2 * (away - 1))
        trust = trust * np.maximum(sure, 1e-3)
    return vertices, trust


class _Mean:
    """The mean of signed distances, as ``sparse_grid.Field`` wants it; a rough survey is of some of them."""

    def __init__(
        self, fields: Sequence[SignedDistance], rough: Sequence[SignedDistance], options: FusionOptions
    ) -> None:
        self._fields, self._rough, self._options = fields, rough, options

    def survey(self, points: np.ndarray, rough: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        distances, weights = self._weighted(points, self._rough if rough else self._fields)
        return _mean(distances, weights), distances.min(0), distances.max(0)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return _mean(*self._weighted(points, self._fields))

    def shares(self, vertices: np.ndarray) -> np.ndarray:
        """(h,) mean weight of each frame at the fused surface, at a few thousand of its vertices."""
        weights = self._weighted(vertices[:: max(1, len(vertices) // 4000)], self._fields)[1]
        return (weights / np.maximum(weights.sum(0), 1e-12)).mean(1)

    def _weighted(self, points: np.ndarray, fields: Sequence[SignedDistance]) -> tuple[np.ndarray, np.ndarray]:
        """Distances and weights (h, N) at points (N, 3)."""
        distances, trust = (np.stack(x) for x in zip(*(f(points) for f in fields), strict=True))
        if self._options.weighted and len(fields) > 2:
            # Frames that are close together keep at least 0.98 of their weight: not worth the sorting.
            scale = self._options.agreement_m
            apart = np.flatnonzero(np.ptp(distances, 0) > 0.1 * scale)
            away = distances[:, apart] - _median(distances[:, apart], trust[:, apart])
            trust[:, apart] /= (1 + (away / scale) ** 2) ** 2
        return distances, trust


def _mean(distances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,) NaN where all weights are 0."""
    total = weights.sum(0)
    return np.where(total > 0, (weights * distances).sum(0) / np.where(total > 0, total, 1), np.nan)


def _median(distances: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """(N,) median of distances (h, N) weighted by trust."""
    order = np.argsort(distances, 0)
    ordered = np.take_along_axis(distances, order, 0)
    sums = np.cumsum(np.take_along_axis(trust, order, 0), 0)
    middle = (sums >= 0.5 * sums[-1:]).argmax(0)
    return np.take_along_axis(ordered, middle[None], 0)[0]


def _passed_through(own: Surface | None, reasons: np.ndarray, centre: int, reason: str) -> Fused:
    vertices, faces = (np.zeros((0, 3)), np.zeros((0, 3), np.int64)) if own is None else (own.vertices, own.faces)
    contributions = np.zeros(len(reasons))
    contributions[centre] = 1.0 if len(faces) else 0.0
    notes = () if own is None else own.notes
    source = np.zeros(0, np.int64) if own is None else own.source
    away = np.zeros(len(vertices))
    return Fused(vertices, faces, contributions, reasons, False, reason, notes, open_edges(faces), source, away)
