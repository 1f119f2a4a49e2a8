"""What outlines of a person say about the body's shape, which skeletons hardly show: girth.

Sampled frames and views each have a person mask as a signed distance in pixels. Points of the skin on the body's own
outline in a view are pulled to the edge of the mask. They speak of the shape alone: the poses are held where the fit
has put them, and so a mask that is off cannot bend anybody. Clothes lie outside the skin, so a body that stands out of
its mask is pulled more strongly than one that is thinner.

Measured with six cameras: with exact masks of unclothed bodies vertices came from 6.9, 9.2, 6.8 and 8.2 to 5.6, 8.8,
5.5 and 7.5 mm; with a detector's masks of six rendered people in clothes they stayed (17.8, 12.0, 14.8, 15.5, 20.4,
46.3 to 17.8, 12.4, 14.9, 15.0, 20.6, 45.6 mm). So sessions leave it out unless they ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.body.kinematics import State
from pipeline.body.terms import Skin, robust
from pipeline.cameras import project
from pipeline.keypoints.detections import Detections

if TYPE_CHECKING:
    from nets.body import BodyModel
    from pipeline.body.problem import NormalEquations

TALL = 240
"""Masks and outlines are compared at the size at which a person is so many pixels tall."""
SPACING_M = 0.05
SPREAD_VIEW = 2.0
"""An outline counts as so many independent points: its errors lie beside one another."""
DEVIATION, KERNEL = 0.012, 3.0
"""Of an edge from its body, as a share of the person's height in the image, and where it is somebody else's edge."""
INSIDE_WEIGHT = 0.25
"""Of points that are inside the mask."""


@dataclass(frozen=True)
class Outline:
    """A person's mask in one view of one frame.

    Attributes:
        row: of the track; camera: of the rig.
        distance: (h, w) float32 to the edge, in pixels of the image, positive outside.
        origin: (2,) pixel of its first entry; step: pixels of the image an entry.
    """

    row: int
    camera: int
    distance: np.ndarray
    origin: np.ndarray
    step: float

    @classmethod
    def of(cls, row: int, camera: int, values: np.ndarray, box: np.ndarray) -> Outline | None:
        """From a mask (h, w) uint8 of probability that covers ``box`` (x0 y0 x1 y1); None if nobody is in it."""
        x0, y0, x1, y1 = (float(v) for v in box)
        step = max(1.0, (y1 - y0) / TALL)
        size = max(2, round((x1 - x0) / step)), max(2, round((y1 - y0) / step))
        inside = cv2.resize(values, size, interpolation=cv2.INTER_AREA) > 127
        if inside.sum() < 50:
            return None
        margin = 30
        inside = np.pad(inside, margin).astype(np.uint8)
        out = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5) - cv2.distanceTransform(inside, cv2.DIST_L2, 5)
        out += np.where(inside > 0, 0.5, -0.5)
        scale = np.array([(x1 - x0) / size[0], (y1 - y0) / size[1]])
        origin = np.array([x0, y0]) - margin * scale + 0.5 * scale - 0.5
        return cls(row, camera, (out * step).astype(np.float32), origin, step)

    def at(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signed distance (N,) at pixels (N, 2) and its slope (N, 2); NaN outside the field."""
        place = (pixels - self.origin) / self.step
        corner = np.floor(place).astype(int)
        h, w = self.distance.shape
        good = ((corner >= 0) & (corner < [w - 1, h - 1])).all(1)
        x, y = np.where(good[:, None], corner, 0).T
        u, v = (place - corner).T
        a, b, c, d = (self.distance[y + j, x + i] for j in (0, 1) for i in (0, 1))
        value = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)
        slope = np.stack([(1 - v) * (b - a) + v * (d - c), (1 - u) * (c - a) + u * (d - b)], 1) / self.step
        return np.where(good, value, np.nan), slope


def spread_rows(track: Tracks, count: int) -> np.ndarray:
    """Rows of the track for outlines: from each of ``count`` stretches of it the one that most views have."""
    views = (track.instances[:, 0] >= 0).sum(1)
    edges = np.linspace(0, len(views), min(count, len(views)) + 1).astype(int)
    return np.array([a + views[a:b].argmax() for a, b in pairwise(edges)])


def outlines_of(
    detections: Detections, first: int, instances: np.ndarray, rows: np.ndarray, camera: int
) -> list[Outline]:
    """Outlines of one person from one camera's masks, without views in which another box meets theirs.

    Args:
        detections: a part of the camera's, whose first instance is number ``first`` of them all.
        instances: (F,) the person's instance in each frame of their track, -1 for none.
        rows: of the track.
    """
    found = []
    for row in rows if detections.masks else ():
        own = int(instances[row]) - first
        if not 0 <= own < len(detections.masks):
            continue
        frame = int(np.searchsorted(detections.offsets, own, side="right")) - 1
        others = np.setdiff1d(np.arange(*detections.offsets[frame : frame + 2]), own)
        boxes, mine = detections.boxes[others], detections.boxes[own]
        if ((boxes[:, :2] < mine[2:]) & (mine[:2] < boxes[:, 2:])).all(1).any():
            continue
        values = cv2.imdecode(np.frombuffer(detections.masks[own], np.uint8), cv2.IMREAD_GRAYSCALE)
        outline = None if values is None else Outline.of(int(row), camera, values, detections.mask_boxes[own])
        found += [] if outline is None else [outline]
    return found


@dataclass(frozen=True)
class Girth:
    """The term: N points of the skin in a view each, where the state that it was made at puts them.

    Attributes:
        betas: (10,) of that state; places: (N, 3) there; moves: (N, 3, 10) by the betas.
        outlines, of: the masks and which each point belongs to (N,).
        projections: (N, 3, 4).
        weights: (N,) how many independent observations each point stands for.
        heights: (N,) of the person in that image, pixels.
    """

    betas: np.ndarray
    places: np.ndarray
    moves: np.ndarray
    outlines: Sequence[Outline]
    of: np.ndarray
    projections: np.ndarray
    weights: np.ndarray
    heights: np.ndarray

    def _residuals(self, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) in deviations, and their slopes by the betas (N, 10)."""
        points = self.places + self.moves @ (betas - self.betas)
        homogeneous = np.einsum("nij,nj->ni", self.projections[:, :, :3], points) + self.projections[:, :, 3]
        pixels = homogeneous[:, :2] / homogeneous[:, 2:]
        by_point = self.projections[:, :2, :3] - pixels[..., None] * self.projections[:, 2:, :3]
        by_point /= homogeneous[:, 2:, None]
        distance, slope = np.zeros(len(points)), np.zeros((len(points), 2))
        for k, outline in enumerate(self.outlines):
            own = self.of == k
            distance[own], slope[own] = outline.at(pixels[own])
        known = np.isfinite(distance)
        share = np.where(distance > 0, 1.0, np.sqrt(INSIDE_WEIGHT)) / (DEVIATION * self.heights)
        slope = np.where(known[:, None], slope * share[:, None], 0.0)
        return np.where(known, distance * share, 0.0), np.einsum("ni,nij,njb->nb", slope, by_point, self.moves)

    def cost(self, state: State) -> float:
        residual, _ = self._residuals(state.betas)
        return float((self.weights * robust(residual, kernel=KERNEL)[0]).sum())

    def add(self, state: State, equations: NormalEquations) -> None:
        residual, slope = self._residuals(state.betas)
        weight = self.weights * robust(residual, kernel=KERNEL)[1]
        equations.shared[:10, :10] += slope.T @ (slope * weight[:, None])
        equations.shared_gradient[:10] += slope.T @ (weight * residual)


def girth_term(
    model: BodyModel, skin: Skin, state: State, outlines: Sequence[Outline], rows: np.ndarray,
    projections: np.ndarray, beta: float,
) -> Girth | None:
    """The term at a state; None where no outline can be used.

    Args:
        skin: of ``outline_skin``.
        outlines: of frames in ``rows``, the rows of the track that the state's frames are.
        beta: deviation of the betas in the problem (``fit._beta_deviation``): what is not a landmark is not subject to
            their bias, so its weight is raised as the prior's is.
    """
    frame_of = {int(r): f for f, r in enumerate(rows)}
    usable = [o for o in outlines if o.row in frame_of]
    if not usable:
        return None
    frames = np.array(sorted({frame_of[o.row] for o in usable}))
    posed = state_vertices(model, state.part(frames))
    places, _, moves = skin.rows(state.part(frames))
    parts = []
    for k, outline in enumerate(usable):
        f = int(np.searchsorted(frames, frame_of[outline.row]))
        P = projections[outline.camera]
        on, height = _on_outline(project(P, posed[f]), project(P, places[f]))
        if len(on) >= 20:
            weight = np.full(len(on), SPREAD_VIEW / len(on) / beta**2)
            parts.append((places[f, on], moves[f, on, :, :10], np.full(len(on), k), weight, np.full(len(on), height)))
    if not parts:
        return None
    places, moves, of, weights, heights = (np.concatenate(p) for p in zip(*parts, strict=True))
    P = projections[[usable[k].camera for k in of]]
    return Girth(state.betas, places, moves, usable, of, P, weights, heights)


def outline_skin(model: BodyModel, like) -> Skin:
    """Points all over the skin, but not on hands, feet and head, whose outlines are hair, shoes and fingers."""
    from pipeline.skeletons import SMPLX55

    names = [n for n in SMPLX55.joints[:22] if not any(k in n for k in ("wrist", "ankle", "foot", "head"))]
    template = model.template.cpu().numpy()
    share = model.weights.cpu().numpy()[:, [SMPLX55.index(n) for n in names]].sum(1)
    rows = np.flatnonzero(share > 0.9)
    cubes = np.floor(template[rows] / SPACING_M).astype(int)
    return Skin(model, rows[np.unique(cubes, axis=0, return_index=True)[1]], like)


def state_vertices(model: BodyModel, state: State) -> np.ndarray:
    """(F, V, 3) metres: the skin of a state; hands as they were modelled."""
    import torch

    with torch.no_grad():
        to = model.template
        posed = model.pose_turned(torch.as_tensor(state.rotations).to(to), torch.as_tensor(state.betas).to(to)[None])
        every = torch.arange(model.vertex_count)
        return model.skin_landmarks(posed, every).cpu().numpy().astype(np.float64) + state.transl[:, None]


def _on_outline(vertices: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, float]:
    """Which points (K, 2) lie on the outline of the projected vertices (V, 2), and its height, pixels."""
    low, high = vertices.min(0), vertices.max(0)
    step = max((high[1] - low[1]) / TALL, 1e-6)
    place = ((vertices - low) / step + 4).round().astype(int)
    picture = np.zeros(place.max(0)[::-1] + 5, np.uint8)
    picture[place[:, 1], place[:, 0]] = 1
    picture = cv2.morphologyEx(picture, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    depth = cv2.distanceTransform(picture, cv2.DIST_L2, 5)
    at = ((points - low) / step + 4).round().astype(int).clip(0, np.array(picture.shape[::-1]) - 1)
    return np.flatnonzero(depth[at[:, 1], at[:, 0]] <= 2.0), float(high[1] - low[1])
