"""Cloth that hangs round both legs: skirts, and what of dresses and coats is below the waist.

It is not bound to the skin but laid round it anew in every pose: rings along the line from the waist over the middle
between the knees to that between the ankles, each as wide as the convex outline of the legs there, and none much
narrower than the one above, since cloth hangs. Folds grow towards the hem where there is cloth to spare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.ndimage import gaussian_filter1d

from data.synthetic.noise import Noise
from data.synthetic.surfaces import Layer
from pipeline.skeletons import SMPLX55

RINGS, AROUND = 90, 240
_LEGS = ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "spine1")
_DIRECTIONS = 96
_OWN_M = 0.16
"""How much higher or lower on the unposed body than a ring may be what it goes round: a plane through the hips of
somebody who sits cuts the thighs to the knees."""


@dataclass(frozen=True)
class HangingCut:
    """A piece that hangs from the waist.

    Attributes:
        top: metres above the hip joints where it begins.
        hem: 1 at the knees, 2 at the ankles.
        ease: metres between skin and cloth at the hips.
        flare: metres that it gets wider on each side per metre down; negative: it follows the legs.
        folds: how many deep folds there are round it.
        depth: metres, of the folds at the hem.
        slit: metres, how wide it stands open in front at the hem; 0: closed.
        lies: whether it lies on the thighs of those who sit. Else it stands off them like a dome, as it did when the
            benchmark's scenes were listed.
    """

    top: float = 0.10
    hem: float = 1.0
    ease: float = 0.015
    flare: float = 0.15
    folds: int = 9
    depth: float = 0.02
    slit: float = 0.0
    lies: bool = True


@dataclass(frozen=True)
class Hanging(Layer):
    """A ``Layer`` whose vertices are laid out in each pose; binding and offset are empty.

    Attributes:
        cut: what it is like.
        members: (M,) body vertices that it must not cut.
        chain: waist, hips, knees and ankles: body vertices whose means are points of the line that it hangs along.
        heights: (4,) metres on the unposed body, of these points, downwards.
        noise: of its folds.
        phase: of its folds, radians.
        member_heights: (M,) metres, of the members on the unposed body.
    """

    cut: HangingCut = HangingCut()
    members: np.ndarray = None
    chain: tuple = ()
    heights: np.ndarray = None
    noise: Noise = None
    phase: float = 0.0
    member_heights: np.ndarray = None

    def rest(self, body: np.ndarray) -> np.ndarray:
        return self._laid(body, np.eye(3), np.array([0, -1.0, 0]))

    def posed(self, body: np.ndarray, rotations: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return self._laid(body, rotations[0], np.array([0, 0, -1.0]))

    def _laid(self, body: np.ndarray, pelvis: np.ndarray, gravity: np.ndarray) -> np.ndarray:
        line, frames = self._line(body, pelvis)
        points = body[self.members]
        angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
        off = np.abs(self.member_heights - np.linspace(*self._ring_heights, RINGS)[:, None])
        reach = _outlines(points, off < (_OWN_M if self.cut.lies else np.inf), line, frames, angles)
        step = np.linalg.norm(np.diff(line, axis=0), axis=1)
        cut = self.cut
        share = np.linspace(0, 1, RINGS)
        wide = reach + cut.ease * np.minimum(1, 0.3 + share * RINGS / 12)[:, None]
        # Where the line does not go down, as along the thighs of those who sit, cloth falls on to them.
        falls = np.clip(1.3 - frames[:, 2] @ gravity, 0, 1) - 0.3
        for k in range(1, RINGS):
            wide[k] = np.maximum(wide[k], wide[k - 1] + (cut.flare - 1.2 * max(falls[k], 0)) * step[k - 1])
        smooth = gaussian_filter1d(gaussian_filter1d(wide, 2.0, axis=1, mode="wrap"), 2.5, axis=0, mode="nearest")
        wide = np.maximum(smooth, reach + 0.4 * cut.ease)
        return self._vertices(line, frames, angles, wide, reach, share, step)

    def _vertices(self, line, frames, angles, wide, reach, share, step) -> np.ndarray:
        cut = self.cut
        around = 2 * np.pi * np.arange(AROUND + 1) / AROUND
        full = np.concatenate([angles, [2 * np.pi]])

        def spread(values: np.ndarray) -> np.ndarray:
            return np.stack([np.interp(around, full, np.append(v, v[0])) for v in values])

        radius, under = spread(wide), spread(reach)
        along = np.concatenate([[0], np.cumsum(step)])[:, None]
        circle = np.stack([np.cos(around), np.sin(around)], 1)
        where = np.empty((RINGS, AROUND + 1, 3))
        where[..., :2], where[..., 2] = 0.22 * circle, 0.22 * along
        wander = 1.1 * self.noise(where, 0.09)
        # Legs that move pull the folds along.
        middle = reach[RINGS // 2]
        shift = self.phase + 4 * (middle.max() - middle.min())
        deep = np.sin(cut.folds * around + shift + wander)
        deep = 0.8 * deep + 0.35 * np.sin(2 * cut.folds * around + 1.7 * shift - 1.3 * wander)
        grows = np.clip(share * 1.25, 0, 1)[:, None] ** 0.8
        room = np.minimum(cut.depth, np.maximum(radius - under, 0.004))
        radius = radius + grows * np.where(deep > 0, cut.depth, room) * deep
        fine = 1 - 2.2 * np.abs(self.noise(where * [2.2, 2.2, 0.9], 0.05)) + 0.5 * self.noise(where * [3, 3, 1.2], 0.03)
        radius = radius + 0.0035 * np.clip(share * 6, 0, 1)[:, None] * fine
        if cut.slit:
            away = np.abs(np.angle(np.exp(1j * (around - np.pi / 2)))) * radius
            open_ = np.clip(1 - away / (0.006 + 0.5 * cut.slit * share[:, None] ** 1.2), 0, 1)
            radius = radius - np.sqrt(open_) * np.clip(radius - under - 0.002, 0.0, 0.08)
        rings = line[:, None] + radius[..., None] * (circle @ frames[:, :2])
        inner = line[-8] + 0.9 * (rings[-1] - line[-1])
        ends = np.stack([line[0], line[-8]])
        return np.concatenate([rings.reshape(-1, 3), inner, ends])

    def _line(self, body: np.ndarray, pelvis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centres of the rings (R, 3) and their axes (R, 3, 3): body's left, forward, down along the line."""
        marks = np.stack([body[c].mean(0) for c in self.chain])
        heights = self._ring_heights
        fine = np.linspace(heights[0], heights[-1], 4 * RINGS)
        path = np.stack([np.interp(-fine, -self.heights, marks[:, k]) for k in range(3)], 1)
        path = gaussian_filter1d(path, 18.0, axis=0, mode="nearest")
        path[:40] += (marks[0] - path[0]) * np.linspace(1, 0, 40)[:, None] if self.heights[0] == heights[0] else 0
        line = path[np.linspace(0, len(fine) - 1, RINGS).round().astype(int)]
        down = np.gradient(line, axis=0)
        down = gaussian_filter1d(down, 4.0, axis=0, mode="nearest")
        down /= np.linalg.norm(down, axis=1, keepdims=True)
        left = pelvis[:, 0] - (down @ pelvis[:, 0])[:, None] * down
        left /= np.linalg.norm(left, axis=1, keepdims=True)
        return line, np.stack([left, np.cross(down, left), down], 1)

    @property
    def _ring_heights(self) -> np.ndarray:
        hip, knee, ankle = self.heights[1:]
        return np.array([hip + self.cut.top, np.interp(self.cut.hem, [0, 1, 2], [hip, knee, ankle])])


def _outlines(
    points: np.ndarray, own: np.ndarray, line: np.ndarray, frames: np.ndarray, angles: np.ndarray
) -> np.ndarray:
    """(R, D) how far the convex outline of points (M, 3) near each ring's plane reaches at each angle, metres; of the
    points that are a ring's ``own`` (R, M)."""
    normals = np.stack([np.cos(angles), np.sin(angles)])
    support = np.zeros((len(line), len(angles)))
    for k, (centre, frame) in enumerate(zip(line, frames, strict=True)):
        near = (points[own[k]] - centre) @ frame.T
        near = near[(np.abs(near[:, 2]) < 0.025) & (np.abs(near[:, :2]).max(1) < 0.8), :2]
        if len(near):
            support[k] = np.maximum((near @ normals).max(0), 0.02)
    for k in range(1, len(line)):
        if not support[k].any():
            support[k] = 0.9 * support[k - 1]
    # The outline in direction a is where the first of its supporting lines is met.
    cosine = np.cos(angles[:, None] - angles[None])
    with np.errstate(divide="ignore"):
        met = np.where(cosine > 0.15, support[:, None] / np.maximum(cosine, 0.15), np.inf)
    return met.min(2)


def hanging(name: str, vertices: np.ndarray, weights: np.ndarray, joints: dict, cut: HangingCut, generator) -> Hanging:
    """A piece for an unposed body: vertices (B, 3), skinning weights (B, 55), joints by SMPL-X name."""
    legs = weights[:, [SMPLX55.index(j) for j in _LEGS]].sum(1) > 0.6
    hip, knee, ankle = ((joints[f"left_{j}"] + joints[f"right_{j}"])[1] / 2 for j in ("hip", "knee", "ankle"))
    waist = hip + cut.top

    def near(height: float, which: np.ndarray, reach: float = 0.025) -> np.ndarray:
        rows = np.flatnonzero(which & (np.abs(vertices[:, 1] - height) < reach))
        return rows if len(rows) > 8 else near(height, which, 2 * reach)

    trunk = weights[:, [SMPLX55.index(j) for j in ("pelvis", "spine1", "spine2")]].sum(1) > 0.5
    chain = (near(waist, trunk), near(hip, legs), near(knee, legs), near(ankle, legs))
    members = np.flatnonzero(legs | trunk)
    members = members[vertices[members, 1] < waist + 0.06]
    i, j = np.meshgrid(np.arange(RINGS - 1), np.arange(AROUND), indexing="ij")
    a = i * (AROUND + 1) + j
    b, c, d = a + AROUND + 1, a + AROUND + 2, a + 1
    sides = np.concatenate([np.stack([a, d, b], -1).reshape(-1, 3), np.stack([d, c, b], -1).reshape(-1, 3)])
    count, ring = RINGS * (AROUND + 1), np.arange(AROUND)
    last = (RINGS - 1) * (AROUND + 1) + ring
    inner = count + ring
    hem = np.concatenate([np.stack([last, last + 1, inner], 1), np.stack([last + 1, inner + 1, inner], 1)])
    roof, floor = count + AROUND + 1, count + AROUND + 2
    bottom = np.stack([np.full(AROUND, floor), inner, inner + 1], 1)
    upper = np.stack([np.full(AROUND, roof), ring + 1, ring], 1)
    u, v = np.meshgrid(np.linspace(0, 1, AROUND + 1), np.linspace(1, 0, RINGS))
    uv = np.concatenate([np.stack([u, v], -1).reshape(-1, 2), np.column_stack([u[0], 0 * u[0]]), [[0.5, 1], [0.5, 0]]])
    total = count + AROUND + 3
    weld = np.arange(total)
    starts = np.r_[np.arange(RINGS) * (AROUND + 1), count]
    weld[starts + AROUND] = starts
    weld = np.unique(weld, return_inverse=True)[1]
    return Hanging(
        name,
        sparse.csr_matrix((total, len(vertices))),
        np.zeros((total, 3)),
        uv,
        np.concatenate([sides, hem, bottom]),
        weld,
        upper,
        None,
        None,
        cut,
        members,
        chain,
        np.array([waist, hip, knee, ankle]),
        Noise(generator),
        float(generator.uniform(0, 2 * np.pi)),
        vertices[members, 1],
    )
