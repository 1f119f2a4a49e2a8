"""Garments, shoes and hair for a body: cut from its surface along clean lines, lifted off it and smoothed.

Every garment is a scalar field over the unposed body (positive where there is cloth), an ease (how far the cloth
stands off) and a smoothing (how little it follows what is under it). All lines are placed by the body's joints, so
they fit every shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.spatial import ConvexHull, cKDTree

from data.synthetic.drape import HangingCut, hanging
from data.synthetic.noise import Noise
from data.synthetic.surfaces import Folds, Layer, clipped, merged, subdivided
from pipeline.skeletons import SMPLX55


@dataclass(frozen=True)
class Figure:
    """An unposed body to be dressed.

    Attributes:
        skin: its surface.
        vertices: (B, 3) metres, y up, facing +z.
        weights: (B, 55) skinning weights.
        joints: positions (3,) by SMPL-X name.
        points: positions (3,) of keypoint vertices by name (ears, nose ...).
        fineness: how often cloth is divided: edges of about 1 cm (1) or 5 mm (2).
    """

    skin: Layer
    vertices: np.ndarray
    weights: np.ndarray
    joints: dict[str, np.ndarray]
    points: dict[str, np.ndarray]
    fineness: int = 1

    @classmethod
    def build(
        cls, skin: Layer, vertices: np.ndarray, joints: np.ndarray, arrays: dict[str, np.ndarray], fineness: int = 1
    ) -> Figure:
        named = zip(arrays["troupe_keypoint_names"], arrays["troupe_keypoint_vertices"], strict=True)
        return cls(
            skin,
            vertices,
            np.asarray(arrays["weights"], np.float64),
            dict(zip(SMPLX55.joints, joints, strict=True)),
            {str(name): vertices[int(v)] for name, v in named},
            fineness,
        )

    @property
    def surface(self) -> np.ndarray:
        """(V, 3) positions of the skin layer."""
        return self.skin.rest(self.vertices)


@dataclass(frozen=True)
class Cut:
    """Where a garment ends, as shares of the limbs that it covers.

    Attributes:
        sleeve: 0 at the shoulder, 1 at the elbow, 2 at the wrist.
        leg: 0 at the hip, 1 at the knee, 2 at the ankle.
        hem: metres below the hip joints where a top ends.
        waist: metres above the pelvis joint where trousers begin.
        neckline: metres by which the neckline lies lower.
        ease: metres between skin and cloth.
        flare: additional metres at the far end of sleeves and legs.
        folds: metres, height of wrinkles.
        opening: metres from the middle to either edge of what is worn open in front, at the hem; 0: closed.
        collar: metres by which the collar stands up at the neck.
    """

    sleeve: float = 2.0
    leg: float = 2.0
    hem: float = 0.05
    waist: float = 0.07
    neckline: float = 0.0
    ease: float = 0.012
    flare: float = 0.008
    folds: float = 0.004
    opening: float = 0.0
    collar: float = 0.0

    @property
    def loose(self) -> bool:
        """Whether it hangs rather than clings."""
        return self.ease + self.flare > 0.03


@dataclass(frozen=True)
class HairCut:
    """``length`` 0: short, ears free; 1: to the shoulders. ``volume`` metres. ``style``: loose, bun or ponytail."""

    length: float = 0.1
    volume: float = 0.015
    style: str = "loose"


@dataclass(frozen=True)
class Garment:
    """A layer that is worn, and how far inside it each vertex of the skin layer lies: ``covers`` (V,) metres from the
    nearest edge, negative where the skin is bare."""

    layer: Layer
    covers: np.ndarray


def top(figure: Figure, cut: Cut, generator: np.random.Generator, beneath: Cut | None = None) -> Garment:
    """A shirt, jumper or T-shirt, or a jacket; of what is worn ``beneath`` another only what shows is kept."""

    def field(p: np.ndarray) -> np.ndarray:
        return _top_field(figure, cut, p)

    def ease(p: np.ndarray) -> np.ndarray:
        shoulder, end = figure.joints["left_shoulder"][0], _sleeve_end(figure, cut)
        along = np.clip((np.abs(p[:, 0]) - shoulder) / max(end - shoulder, 0.05), 0, 1)
        below = np.clip((figure.joints["spine3"][1] - p[:, 1]) / 0.35, 0, 1)
        wide = along * (1.0 if cut.loose else cut.sleeve < 1.2)
        return cut.ease + cut.flare * np.maximum(wide, below)

    def shown(p: np.ndarray) -> np.ndarray:
        return field(p) if beneath is None else np.minimum(field(p), 0.03 - _top_field(figure, beneath, p))

    rounds = 34 if cut.loose else 14
    worn = _cloth(figure, "top", shown, ease, cut.folds, rounds, generator, relaxed=5 * cut.loose)
    return Garment(worn.layer, field(figure.surface))


def _top_field(figure: Figure, cut: Cut, p: np.ndarray) -> np.ndarray:
    """(N,) how far points (N, 3) are inside the edges of a top."""
    over_hem, before_cuff = p[:, 1] - _hem(figure, cut), _sleeve_end(figure, cut) - np.abs(p[:, 0])
    edges = [over_hem, before_cuff, _collar(figure, cut, p)]
    if cut.opening:
        chest, hem = figure.joints["neck"][1], _hem(figure, cut)
        rises = np.clip((p[:, 1] - hem) / (chest - hem), 0, 1)
        behind = figure.joints["neck"][2] - p[:, 2]
        edges.append(np.maximum(np.abs(p[:, 0]) - cut.opening * (0.6 + 0.9 * rises**2), behind))
    return np.minimum.reduce(edges)


def trousers(figure: Figure, cut: Cut, generator: np.random.Generator) -> Garment:
    """Trousers or shorts."""
    end = _leg_end(figure, cut)
    waist = figure.joints["pelvis"][1] + cut.waist

    def field(p: np.ndarray) -> np.ndarray:
        return np.minimum(waist - p[:, 1], p[:, 1] - end)

    def ease(p: np.ndarray) -> np.ndarray:
        along = np.clip((figure.joints["left_hip"][1] - p[:, 1]) / (figure.joints["left_hip"][1] - end), 0, 1)
        return 0.6 * cut.ease + (0.4 * cut.ease + cut.flare) * along**1.5

    return _cloth(figure, "trousers", field, ease, cut.folds, 22, generator, relaxed=5 * cut.loose)


def skirt(figure: Figure, cut: HangingCut, generator: np.random.Generator) -> Garment:
    """A skirt, or what of a dress or coat is below the waist."""
    layer = hanging("skirt", figure.vertices, figure.weights, figure.joints, cut, generator)
    p = figure.surface
    hip, knee, ankle = (figure.joints[f"left_{j}"][1] for j in ("hip", "knee", "ankle"))
    end = np.interp(cut.hem, [0, 1, 2], [hip, knee, ankle])
    arms = np.abs(p[:, 0]) > figure.joints["left_shoulder"][0] + 0.06
    # Legs may be seen from below, and show where the cloth is wide: only what is deep inside is left out.
    covers = np.minimum(hip + cut.top - p[:, 1], p[:, 1] - end - 0.25) - 0.02
    return Garment(layer, np.where(arms, -1.0, covers))


def hood(figure: Figure, ease: float, generator: np.random.Generator) -> Garment:
    """A hood that is up: over head and neck, the face free."""
    eye = (figure.joints["left_eye"] + figure.joints["right_eye"]) / 2
    neck = figure.joints["neck"]
    crown = figure.vertices[:, 1].max()

    def field(p: np.ndarray) -> np.ndarray:
        middle = eye - np.array([0, 0.015, 0])
        oval = np.hypot(p[:, 0] / 0.072, (p[:, 1] - middle[1]) / 0.115)
        face = np.where(p[:, 2] > eye[2] - 0.075, 0.08 * (oval - 1), 0.05)
        low = p[:, 1] - (neck[1] - 0.015 - 0.35 * (p[:, 2] - neck[2]))
        return np.minimum.reduce([face, low, 0.17 - np.abs(p[:, 0])])

    def lift(p: np.ndarray) -> np.ndarray:
        point = np.clip((p[:, 1] - crown + 0.10) / 0.10, 0, 1) * np.clip((neck[2] + 0.03 - p[:, 2]) / 0.08, 0, 1)
        ears = [
            np.exp(-((p - figure.points[f"{side}_ear"]) ** 2).sum(1) / (2 * 0.035**2)) for side in ("left", "right")
        ]
        return ease + 0.02 * point + 0.012 * sum(ears)

    worn = _cloth(figure, "hood", field, lift, 0.004, 60, generator, cling=0.7)
    return Garment(worn.layer, worn.covers + 0.02)


def hair(figure: Figure, cut: HairCut, generator: np.random.Generator) -> Garment:
    """Hair as one volume over the scalp."""
    length, volume = cut.length, cut.volume
    eye = (figure.joints["left_eye"] + figure.joints["right_eye"]) / 2
    ear = (figure.points["left_ear"] + figure.points["right_ear"]) / 2
    ear[0] = 0
    crown = figure.vertices[:, 1].max()
    back = ear[2] - 0.085
    fringe = np.array([eye[1] + 0.52 * (crown - eye[1]), eye[2] + 0.02])  # y z where hair begins over the forehead
    nape = np.array([ear[1] - 0.055 - 0.10 * length, back])
    slope = (fringe[0] - nape[0]) / (fringe[1] - nape[1])
    wave = Noise(generator)

    def field(p: np.ndarray) -> np.ndarray:
        line = nape[0] + slope * (p[:, 2] - nape[1])
        # Longer hair falls straight down behind the face and over the ears.
        behind = ear[2] + 0.022 * length - p[:, 2]
        fall = np.minimum(p[:, 1] - nape[0], behind)
        above = np.maximum(p[:, 1] - line, fall)
        head = figure.joints["neck"][1] - 0.04 * length
        narrow = 0.16 - np.abs(p[:, 0])
        return np.minimum.reduce([above + 0.004 * wave(p, 0.012), p[:, 1] - head, narrow])

    def ease(p: np.ndarray) -> np.ndarray:
        inward = np.clip(field(p) / 0.05, 0, 1)
        low = np.clip((ear[1] + 0.02 - p[:, 1]) / 0.1, 0, 1)
        strands = wave(p * [1, 0.35, 1], 0.014)
        return 0.004 + volume * np.sqrt(inward) * (1 + 0.8 * length * low) + 0.0035 * strands * inward

    rounds = int(10 + 40 * length)
    worn = _cloth(figure, "hair", field, ease, 0.0, rounds=rounds, generator=generator, cling=0.45 - 0.3 * length)
    layer = worn.layer
    if cut.style != "loose":
        layer = merged([layer, _tied(figure, cut, crown, back)], "hair")
    return Garment(layer, worn.covers + 0.033)  # ears must not show through long hair


def _tied(figure: Figure, cut: HairCut, crown: float, back: float) -> Layer:
    """A knot of hair, or a tail, behind the head."""
    root = np.array([0, crown - 0.075, back - 0.015])
    if cut.style == "bun":
        way = root + np.outer(np.linspace(-0.028, 0.045, 16), [0, 0.35, -1.0])
        radius = 0.036 * np.sqrt(np.clip(1 - np.linspace(-1, 1, 16) ** 2, 0.02, 1))
    else:
        t = np.linspace(0, 1, 26)
        long = 0.10 + 0.25 * max(cut.length, 0.3)
        way = root + np.stack([0 * t, 0.02 * np.sin(2.2 * t) - long * t**1.5, -0.07 * np.sin(2.4 * t)], 1)
        radius = 0.024 * np.sqrt(np.clip(t / 0.15, 0.05, 1)) * np.clip(1.25 - t, 0.12, 1)
    along = np.gradient(way, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.broadcast_to([1.0, 0, 0], way.shape)
    up = np.cross(along, side)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.cos(angle)[:, None, None] * side + np.sin(angle)[:, None, None] * up
    grid = way[:, None] + radius[:, None, None] * ring.swapaxes(0, 1)
    head = figure.weights[:, SMPLX55.index("head")] > 0.9
    return _lofted(figure, grid, -10.0, near=np.flatnonzero(head))


def shoes(figure: Figure, generator: np.random.Generator, sole: float = 0.022) -> Garment:
    """A pair of low shoes lofted round the feet: convex cross sections along the foot over a flat sole.

    The texture runs round the section (u) and along the foot (v): sole at the bottom.
    """
    pair = merged([_shoe(figure, side, sole) for side in ("left", "right")], "shoes")
    return Garment(pair, figure.joints["left_ankle"][1] + 0.015 - figure.surface[:, 1])


def uncovered(figure: Figure, garments: Sequence[Garment], margin: float = 0.045) -> Layer:
    """The skin that is not hidden: what lies further than ``margin`` metres inside a garment is left out."""
    inside = np.max([g.covers for g in garments], axis=0)
    return clipped(figure.skin, margin - inside, figure.surface)[0]


def _cloth(
    figure: Figure,
    name: str,
    field: Callable[[np.ndarray], np.ndarray],
    ease: Callable[[np.ndarray], np.ndarray],
    folds: float,
    rounds: int,
    generator: np.random.Generator,
    cling: float = 0.45,
    relaxed: int = 0,
) -> Garment:
    """Cut, lift off, smooth, close and make ready to wrinkle.

    ``cling``: share of the ease that smoothing leaves at least; ``relaxed``: rounds of smoothing in every pose.
    """
    skin = figure.skin
    surface = figure.surface
    # Cut generously first, so that only what is worn is subdivided and smoothed.
    covers = field(surface)
    part, at = clipped(skin, covers + 0.03, surface)
    for _ in range(figure.fineness if folds else 1):
        part, at = subdivided(part, at)
    part, at = clipped(part, field(at), at)
    normal = part.normals(at)
    stand = ease(at)
    rounds *= 4 ** (figure.fineness - 1) if folds else 1
    target = part.smoothed(at + stand[:, None] * normal, rounds)
    gap = ((target - at) * normal).sum(1)
    target += np.maximum(cling * stand - gap, 0)[:, None] * normal
    target = part.smoothed(target, 3)
    worn = Layer(name, part.binding, target - at, part.uv, part.faces, part.weld)
    if folds:
        worn = replace(worn, folds=_folds(at, target, stand, folds, relaxed * figure.fineness, Noise(generator)))
    return Garment(worn.closed_on(-0.004 * normal), covers)


def _folds(at, target, stand, height, relaxed, noise: Noise) -> Folds:
    """Folds mostly across the limbs, of cloth at (V, 3) ``target`` over skin ``at``; its lining has none."""
    none = np.zeros(len(at))
    bent = at + 0.03 * np.stack([noise(at + k, 0.12) for k in (0.3, 5.1, 9.7)], 1)
    across = np.where(np.abs(at[:, :1]) > 0.2, [[1.6, 0.7, 0.7]], [[0.6, 1.5, 0.6]])
    places = bent * across
    sag = 0.5 * np.maximum(stand - 0.014, 0) if relaxed else none
    return Folds(
        np.concatenate([np.full(len(at), height), none]),
        np.concatenate([places, places]),
        noise,
        np.concatenate([target, at]),
        np.concatenate([sag, none]),
        relaxed,
    )


def _hem(figure: Figure, cut: Cut) -> float:
    return figure.joints["left_hip"][1] - cut.hem


def _sleeve_end(figure: Figure, cut: Cut) -> float:
    chain = [figure.joints[f"left_{j}"][0] for j in ("shoulder", "elbow", "wrist")]
    return float(np.interp(cut.sleeve, [0, 1, 2], chain))


def _leg_end(figure: Figure, cut: Cut) -> float:
    chain = [figure.joints[f"left_{j}"][1] for j in ("hip", "knee", "ankle")]
    return float(np.interp(cut.leg, [0, 1, 2], chain))


def _collar(figure: Figure, cut: Cut, p: np.ndarray) -> np.ndarray:
    """Height of the neckline over points: a plane that is lower in front."""
    neck = figure.joints["neck"]
    lower = np.clip((p[:, 2] - neck[2]) / 0.06, 0, 1) * np.clip(2 - np.abs(p[:, 0]) / 0.06, 0, 1)
    return neck[1] + 0.02 + cut.collar - 0.6 * (p[:, 2] - neck[2]) - cut.neckline * lower - p[:, 1]


def _shoe(figure: Figure, side: str, sole: float, slices: int = 26, around: int = 36) -> Layer:
    rest = figure.vertices
    ankle = figure.joints[f"{side}_ankle"]
    carried = figure.weights[:, [SMPLX55.index(f"{side}_ankle"), SMPLX55.index(f"{side}_foot")]].sum(1) > 0.4
    floor = rest[carried, 1].min()
    foot = rest[carried & (rest[:, 1] < ankle[1] + 0.015)]
    z = np.linspace(foot[:, 2].min() - 0.008, foot[:, 2].max() + 0.010, slices)
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
    rays = np.stack([np.cos(angle), np.sin(angle)], 1)
    sections = []
    for at in z:
        inside = np.clip(at, foot[:, 2].min() + 0.02, foot[:, 2].max() - 0.02)
        near = foot[np.abs(foot[:, 2] - inside) < 0.022][:, :2]
        centre = np.array([(near[:, 0].min() + near[:, 0].max()) / 2, floor + 0.02])
        hull = near[ConvexHull(near).vertices]
        end = min(at - z[0], z[-1] - at)
        taper = np.sqrt(np.clip(1 - (1 - np.clip(end / 0.03, 0, 1)) ** 2, 0, 1))
        reach = _hull_reach(hull - centre, rays) + 0.008
        outline = rays * reach[:, None] * (0.12 + 0.88 * taper)
        outline[:, 1] = np.maximum(outline[:, 1], -0.02 - sole * (0.35 + 0.65 * taper))
        below = rays[:, 1] < -0.5
        outline[below, 1] = -0.02 - sole * (0.35 + 0.65 * taper)
        sections.append(np.column_stack([centre + outline, np.full(around, at)]))
    grid = np.stack(sections)
    for _ in range(2):
        grid[1:-1] = 0.5 * grid[1:-1] + 0.25 * (grid[:-2] + grid[2:])
    return _lofted(figure, grid, floor - sole)


def _hull_reach(hull: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """How far (N,) a convex outline (H, 2) round the origin reaches along rays (N, 2)."""
    nxt = np.roll(hull, -1, 0)
    edge = nxt - hull
    outward = np.stack([edge[:, 1], -edge[:, 0]], 1)
    height = (outward * hull).sum(1)
    facing = rays @ outward.T
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(facing > 1e-9, np.maximum(height, 1e-4) / facing, np.inf)
    return reach.min(1)


def _lofted(figure: Figure, grid: np.ndarray, floor: float, near: np.ndarray | None = None) -> Layer:
    """A closed mesh through sections (S, A, 3), bound to the nearest body vertices (of those numbered ``near``)."""
    slices, around = grid.shape[:2]
    grid = np.concatenate([grid, grid[:, :1]], 1)  # the seam
    grid[..., 1] = np.maximum(grid[..., 1], floor)
    i, j = np.meshgrid(np.arange(slices - 1), np.arange(around), indexing="ij")
    a = i * (around + 1) + j
    b, c, d = a + around + 1, a + around + 2, a + 1
    sides = np.concatenate([np.stack([a, d, b], -1).reshape(-1, 3), np.stack([d, c, b], -1).reshape(-1, 3)])
    points = grid.reshape(-1, 3)
    caps, centres = [], []
    for row, flip in ((0, False), (slices - 1, True)):
        centre = len(points) + len(centres)
        centres.append(grid[row].mean(0))
        ring = row * (around + 1) + np.arange(around)
        fan = np.stack([np.full(around, centre), ring + 1, ring], 1)
        caps.append(fan[:, ::-1] if flip else fan)
    points = np.concatenate([points, centres])
    u, v = np.meshgrid(np.linspace(0, 1, around + 1), np.linspace(0, 1, slices))
    uv = np.concatenate([np.stack([u, v], -1).reshape(-1, 2), [[0.25, 0.0], [0.25, 1.0]]])
    near = np.arange(len(figure.vertices)) if near is None else near
    distance, nearest = cKDTree(figure.vertices[near]).query(points, k=6)
    nearest = near[nearest]
    share = 1 / (distance + 0.004) ** 2
    share /= share.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(points)), 6)
    binding = sparse.csr_matrix((share.ravel(), (rows, nearest.ravel())), (len(points), len(figure.vertices)))
    faces, offset = np.concatenate([sides, *caps]), points - binding @ figure.vertices
    return Layer("shoe", binding, offset, uv, faces, np.arange(len(points))).welded_by(points)
