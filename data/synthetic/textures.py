"""Colours of skin, hair and cloth: functions of the place on the unposed body, baked into texture images.

Colours are sRGB in 0..1 throughout; light is added elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from data.synthetic.clothing import Figure
from data.synthetic.noise import Noise
from data.synthetic.scanlines import covering
from data.synthetic.surfaces import Layer
from pipeline.skeletons import SMPLX55

Colour = tuple[float, float, float]
FABRICS = (
    "plain", "stripes", "pinstripes", "checks", "denim", "print", "dots", "blocks", "camouflage", "knit"
)  # fmt: skip


@dataclass(frozen=True)
class Fabric:
    """What a garment is made of. ``kind``: one of ``FABRICS``; ``grain``: metres, width of stripes and checks."""

    kind: str
    first: Colour
    second: Colour
    grain: float = 0.03


@dataclass(frozen=True)
class Complexion:
    """Colours of a person's skin, hair, irises and lips."""

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour


@dataclass(frozen=True)
class Face:
    """Lines of the face on the unposed body, metres: ``brows`` two (5, 3), ``lids`` two (6, 3), outlines of the
    ``lips`` two (K, 3); ``eyes`` the centres (2, 3); ``nose`` its tip (3,)."""

    brows: list[np.ndarray]
    lids: list[np.ndarray]
    lips: list[np.ndarray]
    eyes: np.ndarray
    nose: np.ndarray

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], figure: Figure) -> Face:
        """From the model's 51 face landmarks, which follow the numbering of iBUG's 68 from its 18th on."""
        corners = np.asarray(arrays["f"]).astype(np.int64)[arrays["lmk_faces_idx"]]
        marks = np.einsum("nk,nkd->nd", arrays["lmk_bary_coords"], figure.vertices[corners])
        return cls(
            [marks[:5], marks[5:10]],
            [marks[19:25], marks[25:31]],
            [marks[31:43], marks[43:51]],
            np.stack([figure.joints["left_eye"], figure.joints["right_eye"]]),
            marks[13],
        )


@dataclass(frozen=True)
class Baked:
    """Where the texels of a layer's texture lie on the unposed body: ``hit`` (S, S) bool, positions (N, 3) of those
    that are hit, ``head`` (N, 3) how far they belong to the head, the left and the right eye, ``uv`` (N, 2)."""

    hit: np.ndarray
    positions: np.ndarray
    head: np.ndarray
    uv: np.ndarray

    @classmethod
    def of(cls, layer: Layer, figure: Figure, size: int) -> Baked:
        cloth = layer.faces[: layer.sheet]
        texels = np.column_stack([(1 - layer.uv[:, 1]) * size - 0.5, layer.uv[:, 0] * size - 0.5])
        which, row, column, weights, _ = covering(texels[cloth])
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        texel, first = np.unique((row * size + column)[inside], return_index=True)
        hit = np.zeros((size, size), bool)
        hit.flat[texel] = True
        v, u = 1 - (texel // size + 0.5) / size, (texel % size + 0.5) / size
        faces, share = cloth[which[inside][first]], weights[inside][first].T
        eyes = [SMPLX55.index(j) for j in ("left_eye", "right_eye")]
        parts = [figure.weights[:, [SMPLX55.index("head"), SMPLX55.index("jaw"), *eyes]].sum(1)]
        head = layer.binding @ np.stack(parts + [figure.weights[:, e] for e in eyes], 1)

        def at(values: np.ndarray) -> np.ndarray:
            return sum(s[:, None] * values[faces[:, k]] for k, s in enumerate(share))

        return cls(hit, at(layer.rest(figure.vertices)), at(head), np.stack([u, v], 1))

    def image(self, colours: np.ndarray) -> np.ndarray:
        """(S, S, 3) uint8 texture of colours (N, 3); texels outside the layer take their nearest neighbour's."""
        out = np.zeros((*self.hit.shape, 3), np.uint8)
        out[self.hit] = np.clip(colours * 255 + 0.5, 0, 255).astype(np.uint8)
        away = (~self.hit).astype(np.uint8)
        labels = cv2.distanceTransformWithLabels(away, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)[1]
        table = np.zeros((labels.max() + 1, 3), np.uint8)
        table[labels[self.hit]] = out[self.hit]
        return table[labels]


def skin(baked: Baked, face: Face, tones: Complexion, generator: np.random.Generator) -> np.ndarray:
    """(N, 3) colours of skin, face and eyes."""
    p, noise = baked.positions, Noise(generator)
    base = np.array(tones.skin)
    colour = base * (1 + 0.05 * noise.layered(p, 0.02)[:, None] + 0.03 * noise(p, 0.15)[:, None])
    colour = colour * (1 + 0.05 * noise(p, 0.05)[:, None] * [1, -0.5, -0.5])
    cheeks = [e + np.array([0.012 * np.sign(e[0]), -0.040, 0.0]) for e in face.eyes]
    for centre, radius in ((face.nose, 0.014), (cheeks[0], 0.022), (cheeks[1], 0.022)):
        blush = np.exp(-(((p - centre) ** 2).sum(1)) / (2 * radius**2))
        colour = _blend(colour, base * [1.02, 0.80, 0.78], 0.35 * blush)
    head = (baked.head[:, 0] > 0.3) & (p[:, 2] > face.eyes[0, 2] - 0.05)
    q, part = p[head], colour[head]
    lips = np.minimum(*(_polyline_distance(q, np.concatenate([line, line[:1]])) for line in face.lips))
    part = _blend(part, tones.lips, 0.65 * _soft(0.0036, 0.0018, lips))
    for line in face.brows:
        part = _blend(part, np.array(tones.hair) * 0.8, 0.85 * _soft(0.0045, 0.0025, _polyline_distance(q, line)))
    for line in face.lids:
        lid = _polyline_distance(q, np.concatenate([line, line[:1]]))
        part = _blend(part, base * 0.45, 0.75 * _soft(0.0016, 0.0012, lid))
    colour[head] = part
    for k in range(2):
        ball = baked.head[:, 1 + k] > 0.5
        colour[ball] = _eyeball(p[ball] - face.eyes[k], tones.iris)
    return colour


def hair(baked: Baked, colour: Colour, generator: np.random.Generator) -> np.ndarray:
    """(N, 3) colours of hair: strands that run downwards."""
    noise = Noise(generator)
    p = baked.positions * [1, 0.12, 1]
    strands = 0.5 * noise(p, 0.0025) + 0.35 * noise(p, 0.006) + 0.3 * noise(baked.positions, 0.04)
    return np.array(colour) * (1 + 0.45 * strands[:, None]) + 0.03 * np.maximum(strands, 0)[:, None]


def cloth(baked: Baked, figure: Figure, fabric: Fabric, generator: np.random.Generator, legs: bool) -> np.ndarray:
    """(N, 3) colours of a garment, which has ``legs`` or hangs from the trunk."""
    noise = Noise(generator)
    p = baked.positions
    along, around = _limb_coordinates(p, figure, legs)
    first, second = np.array(fabric.first), np.array(fabric.second)
    g = fabric.grain
    if fabric.kind == "stripes":
        colour = _blend(np.tile(first, (len(p), 1)), second, _soft(0.5, 0.04, np.abs((along / g) % 2 - 1)))
    elif fabric.kind == "checks":
        lines = _soft(0.3, 0.04, np.abs((along / g) % 2 - 1)) + _soft(0.3, 0.04, np.abs((around / g) % 2 - 1))
        colour = _blend(np.tile(first, (len(p), 1)), second, 0.5 * lines)
    elif fabric.kind == "pinstripes":
        colour = _blend(np.tile(first, (len(p), 1)), second, 0.7 * _soft(0.16, 0.05, np.abs((around / g) % 2 - 1)))
    elif fabric.kind == "dots":
        rows = np.floor(along / g)
        away = np.hypot((along / g) % 1 - 0.5, (around / g + 0.5 * (rows % 2)) % 1 - 0.5)
        colour = _blend(np.tile(first, (len(p), 1)), second, _soft(0.27, 0.03, away))
    elif fabric.kind == "blocks":
        edge = figure.joints["spine3" if not legs else "left_knee"][1] + (g - 0.03)
        colour = np.where((along > edge)[:, None], first, second)
    elif fabric.kind == "camouflage":
        third = 0.45 * first + 0.2 * second
        colour = _blend(np.tile(first, (len(p), 1)), second, _soft(0.05, 0.03, noise(p, 2.0 * g)))
        colour = _blend(colour, third, _soft(-0.15, 0.03, noise(p + 7.3, 1.5 * g)))
    elif fabric.kind == "knit":
        ribs = 0.5 + 0.5 * np.sin(2 * np.pi * around / 0.008) * np.sin(2 * np.pi * along / 0.006)
        colour = _blend(np.tile(first, (len(p), 1)), 0.7 * first + 0.1 * second, ribs)
    elif fabric.kind == "print":
        chest = figure.joints["spine3"] + [0, 0.02, 0]
        near = (p[:, 2] > figure.joints["spine3"][2]) * _soft(0.085, 0.004, np.linalg.norm((p - chest)[:, :2], axis=1))
        rings = _soft(0.0, 0.3, np.sin(np.linalg.norm((p - chest)[:, :2], axis=1) / g * 3 + 3 * noise(p, 0.04)))
        colour = _blend(np.tile(first, (len(p), 1)), second, near * rings)
    else:
        colour = np.tile(first, (len(p), 1))
    if fabric.kind == "denim":
        twill = noise(np.stack([along + around, around - along, 0 * along], 1), 0.003)
        worn = np.clip(noise(p, 0.16) + 0.25 * (p[:, 2] > figure.joints["left_knee"][2]), 0, 1)
        colour = _blend(colour, second, np.clip(0.25 + 0.25 * twill + 0.5 * worn, 0, 1))
    weave = noise(p, 0.0035)
    folds = 1 - np.abs(noise(p * [0.8, 1.6, 0.8] + 0.02 * noise(p, 0.1)[:, None], 0.05))
    dirt = noise.layered(p, 0.12)
    return colour * (0.97 + 0.05 * weave + 0.06 * (folds - 0.7) + 0.05 * dirt)[:, None]


def shoe(baked: Baked, fabric: Fabric, generator: np.random.Generator) -> np.ndarray:
    """(N, 3) colours of a shoe: upper, a pale sole, laces. ``uv`` runs round the section and along the foot."""
    noise = Noise(generator)
    p, (around, along) = baked.positions, baked.uv.T
    colour = np.tile(np.array(fabric.first), (len(p), 1)) * (1 + 0.06 * noise(p, 0.01)[:, None])
    floor = p[:, 1].min()
    height = p[:, 1] - floor
    laces = (np.abs(around - 0.25) < 0.05) & (along > 0.42) & (along < 0.72)
    colour = _blend(colour, np.array(fabric.second), laces * _soft(0.0, 0.3, np.sin(along * 170)))
    colour = _blend(colour, np.array([0.85, 0.84, 0.8]), _soft(0.026, 0.001, height))
    return _blend(colour, np.array([0.25, 0.24, 0.23]), _soft(0.004, 0.001, height))


def _eyeball(offset: np.ndarray, iris: Colour) -> np.ndarray:
    """(N, 3) colours of an eye that looks along +z, from offsets (N, 3) to its centre."""
    away = np.degrees(np.arccos(np.clip(offset[:, 2] / np.linalg.norm(offset, axis=1), -1, 1)))
    colour = np.tile([0.90, 0.88, 0.86], (len(offset), 1))
    colour = _blend(colour, np.array(iris) * 0.5, _soft(31.0, 2.0, away))
    colour = _blend(colour, np.array(iris), _soft(27.0, 3.0, away))
    return _blend(colour, np.array([0.03, 0.03, 0.03]), _soft(13.0, 2.0, away))


def _limb_coordinates(p: np.ndarray, figure: Figure, legs: bool) -> tuple[np.ndarray, np.ndarray]:
    """Metres along and around the trunk or the limb that points belong to; without ``legs`` a skirt round both."""
    shoulder, hip = figure.joints["left_shoulder"], figure.joints["left_hip"]
    side = np.where(p[:, 0] > 0, 1.0, -1.0)
    arm, leg = np.abs(p[:, 0]) > shoulder[0], legs & (p[:, 1] < hip[1] - 0.08)
    around_arm = 0.06 * np.arctan2(p[:, 1] - shoulder[1], p[:, 2] - shoulder[2])
    around_leg = 0.08 * np.arctan2(p[:, 0] - side * (hip[0] + 0.02), p[:, 2] - hip[2])
    around_trunk = 0.15 * np.arctan2(p[:, 0], p[:, 2])
    along = np.where(arm, shoulder[1] - (np.abs(p[:, 0]) - shoulder[0]), p[:, 1])
    return along, np.where(arm, around_arm, np.where(leg, around_leg, around_trunk))


def _polyline_distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(N,) distances of points (N, 3) to a chain of segments (K, 3)."""
    best = np.full(len(points), np.inf)
    for a, b in pairwise(line):
        d = b - a
        t = np.clip((points - a) @ d / max(d @ d, 1e-12), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - t[:, None] * d, axis=1))
    return best


def _soft(edge: float, width: float, value: np.ndarray) -> np.ndarray:
    """1 below the edge, 0 above, smooth over the width."""
    t = np.clip((edge + width - value) / (2 * width), 0, 1)
    return t * t * (3 - 2 * t)


def _blend(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    return colour + (np.asarray(other) - colour) * share[:, None]
