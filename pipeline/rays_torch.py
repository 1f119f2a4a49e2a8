"""Casting rays at a mesh, and looking for its nearest points, in plain torch: for machines without Open3D.

The triangles are sorted along a Morton curve and held in a tree of boxes, four children each, whose levels are plain
arrays. All questions (rays or points) go down it together, a level at a time: a GPU answers millions at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from nets.deepmulticap.body_features import nearest_on_triangles

_CHILDREN = 4
_QUESTIONS = {"cpu": 16_384, "cuda": 524_288}
"""That go down the tree at a time."""
_NEAR = 1e-3
_UPWARDS = np.array([0.2360679, 0.1416407, 0.9613542])  # along which sides are counted; no mesh made by rule lies so
_PAD = 1e-5  # metres, for boxes of flat things


class TorchScene:
    """``pipeline.raster.RayScene`` in plain torch, on any device."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, device: str | torch.device = "cpu") -> None:
        self.vertices, self.faces = np.asarray(vertices, np.float64), np.asarray(faces).astype(np.int64)
        self.device = torch.device(device)
        self._origin = self.vertices.mean(0) if len(self.vertices) else np.zeros(3)
        local = torch.as_tensor(self.vertices - self._origin, dtype=torch.float32, device=self.device)
        self._corners = local[torch.as_tensor(self.faces, device=self.device)]

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> dict[str, np.ndarray]:
        start, way, shape = self._rays(origins, directions)
        best = torch.full((len(start),), torch.inf, device=self.device)
        who = torch.full((len(start),), -1, dtype=torch.int64, device=self.device)
        for rows, question, triangle in self._met(start, way, 0.0, torch.inf):
            distance, _ = _hit(start[rows][question], way[rows][question], self._corners[triangle])
            best[rows], who[rows] = _least(distance, question, triangle, rows.stop - rows.start)
        hit = who >= 0
        uv, normal = (torch.zeros(len(start), k, device=self.device) for k in (2, 3))
        corners = self._corners[who[hit]]
        uv[hit] = _hit(start[hit], way[hit], corners)[1]
        across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal[hit] = across / across.norm(dim=-1, keepdim=True).clamp_min(1e-20)
        found = {"distance": best, "triangle": who.int(), "uv": uv, "normal": normal}
        return {k: v.cpu().numpy().reshape(*shape, *v.shape[1:]) for k, v in found.items()}

    def blocked(self, origins: np.ndarray, directions: np.ndarray, near: float = _NEAR, far: float = np.inf):
        start, way, shape = self._rays(origins, directions)
        out = torch.zeros(len(start), dtype=torch.bool, device=self.device)
        for rows, question, triangle in self._met(start, way, near, far):
            distance, _ = _hit(start[rows][question], way[rows][question], self._corners[triangle])
            found = torch.isfinite(distance) & (distance >= near) & (distance <= far)
            out[rows.start + question[found]] = True
        return out.cpu().numpy().reshape(shape)

    def nearest(self, points: np.ndarray) -> dict[str, np.ndarray]:
        at = self._tensor(points)
        # No nearest point is further than the nearest vertex.
        reach = self._tree_of_vertices.query(np.asarray(points, np.float64))[0]
        reach = torch.as_tensor(reach, dtype=torch.float32, device=self.device) * (1 + 1e-5) + _PAD
        who = torch.full((len(at),), -1, dtype=torch.int64, device=self.device)

        def near(rows: slice, question: Tensor, low: Tensor, high: Tensor) -> Tensor:
            p = at[rows][question]
            away = torch.maximum(low - p, p - high).clamp_min(0)
            return away.square().sum(-1) <= reach[rows][question].square()

        for rows, question, triangle in self._candidates(len(at), near):
            p, corners = at[rows][question], self._corners[triangle]
            away = p - (nearest_on_triangles(p, corners)[..., None] * corners).sum(-2)
            _, who[rows] = _least(away.square().sum(-1), question, triangle, rows.stop - rows.start)
        corners = self._corners[who]
        weights = nearest_on_triangles(at, corners)
        found = (weights[..., None] * corners).sum(-2).cpu().numpy() + self._origin
        return {
            "point": found.astype(np.float32),
            "triangle": who.int().cpu().numpy(),
            "uv": weights[:, 1:].cpu().numpy(),
        }

    def signed_distance(self, points: np.ndarray) -> np.ndarray:
        away = np.linalg.norm(np.asarray(points, np.float64) - self.nearest(points)["point"], axis=-1)
        return np.where(self.inside(points), -away, away).astype(np.float32)

    def inside(self, points: np.ndarray) -> np.ndarray:
        start, way, _ = self._rays(np.asarray(points), np.broadcast_to(_UPWARDS, np.shape(points)))
        winding = torch.zeros(len(start), dtype=torch.int64, device=self.device)
        for rows, question, triangle in self._met(start, way, 0.0, torch.inf):
            # In double precision, so that no ray slips between two triangles or meets both.
            corners, along = self._corners[triangle].double(), way[rows][question].double()
            distance, _ = _hit(start[rows][question].double(), along, corners)
            across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            leaving = torch.where((across * along).sum(-1) > 0, 1, -1)
            crossed = torch.isfinite(distance)
            winding.index_add_(0, rows.start + question[crossed], leaving[crossed])
        return (winding > 0).cpu().numpy()

    # --- the tree ---

    @cached_property
    def _tree_of_vertices(self) -> cKDTree:
        return cKDTree(self.vertices[np.unique(self.faces)])

    @cached_property
    def _order(self) -> Tensor:
        """Triangles along a Morton curve."""
        middle = self._corners.mean(1)
        low, high = middle.amin(0), middle.amax(0)
        cell = ((middle - low) / (high - low).clamp_min(1e-9) * 65535).long()
        code = torch.zeros(len(cell), dtype=torch.int64, device=self.device)
        for bit in range(16):
            for axis in range(3):
                code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
        return code.argsort(stable=True)

    @cached_property
    def _levels(self) -> list[tuple[Tensor, Tensor]]:
        """Lower and upper corners (N, 3) of the boxes, from the single triangles' up to the few at the top. Levels are
        filled up with boxes that nothing is in."""
        corners = self._corners[self._order]
        low, high = corners.amin(1) - _PAD, corners.amax(1) + _PAD
        levels = [(low, high)]
        while len(low) > _CHILDREN:
            missing = -len(low) % _CHILDREN
            low = torch.cat([low, low.new_full((missing, 3), torch.inf)]).view(-1, _CHILDREN, 3).amin(1)
            high = torch.cat([high, high.new_full((missing, 3), -torch.inf)]).view(-1, _CHILDREN, 3).amax(1)
            levels.append((low, high))
        return levels

    def _candidates(
        self, questions: int, wanted: Callable[[slice, Tensor, Tensor, Tensor], Tensor]
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Pairs of question and triangle whose boxes are ``wanted`` all the way down, some rows of questions at a time:
        rows, question (K,) counted from the first of the rows, triangle (K,)."""
        some = _QUESTIONS[self.device.type]
        step = torch.arange(_CHILDREN, device=self.device)
        for first in range(0, questions if len(self.faces) else 0, some):
            rows = slice(first, min(first + some, questions))
            top = len(self._levels[-1][0])
            question = torch.arange(rows.stop - first, device=self.device).repeat_interleave(top)
            node = torch.arange(top, device=self.device).repeat(rows.stop - first)
            for depth in range(len(self._levels) - 1, -1, -1):
                low, high = self._levels[depth]
                keep = wanted(rows, question, low[node], high[node])
                question, node = question[keep], node[keep]
                if depth:
                    node = (node[:, None] * _CHILDREN + step).flatten()
                    question = question.repeat_interleave(_CHILDREN)
                    there = node < len(self._levels[depth - 1][0])
                    question, node = question[there], node[there]
            yield rows, question, self._order[node]

    def _met(self, start: Tensor, way: Tensor, near: float, far: float) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Pairs of ray and triangle whose box the ray passes through."""
        tiny = torch.where(way < 0, -1e-20, 1e-20)
        slope = 1 / torch.where(way.abs() < 1e-20, tiny, way)

        def through(rows: slice, question: Tensor, low: Tensor, high: Tensor) -> Tensor:
            s, k = start[rows][question], slope[rows][question]
            a, b = (low - s) * k, (high - s) * k
            first, last = torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)
            return (last >= first.clamp_min(near)) & (first <= far)

        return self._candidates(len(start), through)

    def _tensor(self, points: np.ndarray) -> Tensor:
        """(N, 3) float32 about the mesh's middle, where float32 is fine."""
        local = np.asarray(points, np.float64).reshape(-1, 3) - self._origin
        return torch.as_tensor(local, dtype=torch.float32, device=self.device)

    def _rays(self, origins: np.ndarray, directions: np.ndarray) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        shape = np.broadcast_shapes(np.shape(origins), np.shape(directions))
        start = self._tensor(np.broadcast_to(origins, shape))
        way = np.array(np.broadcast_to(directions, shape), np.float32).reshape(-1, 3)
        return start, torch.as_tensor(way, device=self.device), shape[:-1]


def _hit(start: Tensor, way: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays (K, 3) meet triangles (K, 3, 3): distance (K,), in lengths of ``way`` (+inf: nowhere), and weights
    (K, 2) of the second and third corner."""
    distance, second, third = meet(corners - start[:, None], way)
    return distance / way.norm(dim=-1), torch.stack([second, third], -1)


def meet(corners: Tensor, rays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays (K, 3) from the origin meet triangles (K, 3, 3): distance in metres (+inf: nowhere), two weights.

    The sides are compared by volumes spanned with the ray (Woop et al. 2013 in spirit), so that of two triangles that
    share an edge at least one is met.
    """
    a, b, c = corners.unbind(1)
    u = (rays * torch.linalg.cross(b, c)).sum(-1)
    v = (rays * torch.linalg.cross(c, a)).sum(-1)
    w = (rays * torch.linalg.cross(a, b)).sum(-1)
    same = ((u >= 0) & (v >= 0) & (w >= 0)) | ((u <= 0) & (v <= 0) & (w <= 0))
    total = u + v + w
    safe = torch.where(total == 0, torch.ones_like(total), total)
    second, third = v / safe, w / safe
    point = a + second[:, None] * (b - a) + third[:, None] * (c - a)
    distance = (point * rays).sum(-1) / rays.norm(dim=-1)
    met = same & (total != 0) & (distance > 0)
    return torch.where(met, distance, torch.inf), second, third


def _least(values: Tensor, question: Tensor, triangle: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(count,) least value (+inf: none) of each question and the first triangle (-1: none) that has it."""
    least = torch.full((count,), torch.inf, dtype=values.dtype, device=values.device)
    least.scatter_reduce_(0, question, values, "amin")
    won = (values == least[question]) & torch.isfinite(values)
    none = torch.iinfo(torch.int64).max
    who = torch.full((count,), none, device=values.device)
    who.scatter_reduce_(0, question[won], triangle[won], "amin")
    return least, torch.where(who == none, -1, who)
