"""People: their shapes, colours and clothes, drawn at random from what is plausible, and dressed bodies in motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.synthetic import clothing, textures
from data.synthetic.clothing import Cut, Figure, Garment, HairCut
from data.synthetic.drape import HangingCut
from data.synthetic.makehuman_clothes import Piece, worn_piece
from data.synthetic.solids import Solid, union
from data.synthetic.surfaces import Layer, skin_layer
from data.synthetic.textures import Baked, Complexion, Fabric, Face

SKINS = ((0.93, 0.76, 0.66), (0.87, 0.68, 0.56), (0.78, 0.58, 0.45), (0.62, 0.44, 0.33), (0.44, 0.30, 0.22))
HAIRS = ((0.10, 0.08, 0.07), (0.20, 0.13, 0.09), (0.36, 0.24, 0.14), (0.62, 0.47, 0.28), (0.45, 0.43, 0.42))
IRISES = ((0.30, 0.18, 0.09), (0.35, 0.30, 0.15), (0.32, 0.45, 0.55))
TOPS = (
    (0.72, 0.16, 0.16), (0.16, 0.34, 0.62), (0.90, 0.88, 0.84), (0.20, 0.45, 0.30), (0.86, 0.66, 0.20),
    (0.30, 0.30, 0.33), (0.55, 0.38, 0.60), (0.16, 0.17, 0.22),
)  # fmt: skip
BOTTOMS = ((0.16, 0.19, 0.28), (0.20, 0.20, 0.21), (0.55, 0.48, 0.37), (0.36, 0.40, 0.34))


@dataclass(frozen=True)
class Worn:
    """One piece of clothing. ``kind``: top, trousers, skirt, hood, shoes or piece; ``cut`` a ``Cut`` or, for what hangs
    round both legs, a ``HangingCut``, for a ``piece`` that was made elsewhere the ``makehuman_clothes.Piece``; None for
    shoes."""

    kind: str
    cut: Cut | HangingCut | Piece | None
    fabric: Fabric


@dataclass(frozen=True)
class Outfit:
    """What somebody wears, from the skin outwards, and how the hair is cut; None: none is seen."""

    worn: tuple[Worn, ...]
    hair: HairCut | None

    @property
    def loose(self) -> bool:
        """Whether any of it hangs far off the body: skirts, coats, wide trousers and tops."""
        return any(isinstance(w.cut, HangingCut) or (isinstance(w.cut, Cut) and w.cut.loose) for w in self.worn)


@dataclass(frozen=True)
class Person:
    """Everything that tells one person from another.

    Attributes:
        betas: (10,) of the open body model.
        seed: draws what has no name (folds, noise).
        gender, age: female or male, and years, of people who were asked for by them (``data.synthetic.adults``).
    """

    betas: np.ndarray
    complexion: Complexion
    outfit: Outfit
    seed: int
    gender: str | None = None
    age: float | None = None


@dataclass(frozen=True)
class Dressed:
    """A person ready to be posed and drawn.

    Attributes:
        layers: skin that shows, garments, shoes, hair.
        weights: (V, 55) skinning weights of each layer.
        textures: (S, S, 3) uint8 sRGB of each layer.
        soles: (2,) heights, on the unposed body, of the lowest points of the left and right shoe.
        rest_joints: (55, 3).
        body_faces: (T, 3) of the body beneath.
    """

    layers: list[Layer]
    weights: list[np.ndarray]
    textures: list[np.ndarray]
    soles: np.ndarray
    rest_joints: np.ndarray
    body_faces: np.ndarray

    def posed(self, body: np.ndarray, rotations: np.ndarray) -> list[np.ndarray]:
        """Vertices of each layer for posed body vertices (B, 3) and world rotations of the joints (55, 3, 3)."""
        return [x.posed(body, rotations, w) for x, w in zip(self.layers, self.weights, strict=True)]

    def surface(self, body: np.ndarray, posed: list[np.ndarray], step: float = 0.003) -> Solid:
        """The true surface: one watertight mesh round body (B, 3) and posed layers, details down to ``step`` metres."""
        vertices, faces, weight, start = [body], [self.body_faces], [np.full(len(self.body_faces), 8)], len(body)
        for layer, at in zip(self.layers[1:], posed[1:], strict=True):
            first = np.zeros(int(layer.weld.max()) + 1, np.int64)
            first[layer.weld[::-1]] = np.arange(len(at))[::-1]
            vertices.append(at[first])
            whole = layer.weld[np.concatenate([layer.faces, layer.closing])]
            faces.append(whole + start)
            weight.append(np.ones(len(whole), np.int64))
            start += len(first)
        return union(np.concatenate(vertices), np.concatenate(faces), step, np.concatenate(weight))


def sample_person(generator: np.random.Generator, long_hair: bool | None = None) -> Person:
    """One adult, shape within about two standard deviations."""
    g = generator
    betas = np.clip(g.normal(0, 0.8, 10), -1.8, 1.8).astype(np.float32)
    dark = g.integers(len(SKINS))
    skin = jitter(g, SKINS[dark], 0.02)
    lips = tuple(np.clip(np.array(skin) * [0.92, 0.62, 0.62], 0, 1))
    hair = HAIRS[g.integers(len(HAIRS) if dark < 2 else 2)]  # fair hair goes with fair skin
    iris = IRISES[g.integers(len(IRISES) if dark < 2 else 1)]
    tones = Complexion(skin, tuple(g.uniform(0.85, 1.15) * np.array(hair)), iris, lips)
    long_hair = bool(g.random() < 0.5) if long_hair is None else long_hair
    return Person(betas, tones, _sample_outfit(g, long_hair), int(g.integers(2**31)))


def dress(person: Person, arrays: Mapping[str, np.ndarray], texture_size: int = 1024, fineness: int = 1) -> Dressed:
    """Make a person's layers and textures for a body model's arrays (SMPL-X keys and ``troupe_`` keypoints).

    ``fineness`` 2: cloth of triangles of about 5 mm, fine enough for wrinkles of a centimetre.
    """
    g = np.random.default_rng(person.seed)
    arrays = dict(arrays)
    shaped = np.asarray(arrays["v_template"], np.float64) + arrays["shapedirs"][:, :, :10] @ person.betas
    joints = np.asarray(arrays["J_regressor"]) @ shaped
    figure = Figure.build(skin_layer(arrays), shaped, joints, arrays, fineness)
    outfit, tones = person.outfit, person.complexion
    garments = [_sewn(figure, worn, g, _over(outfit.worn[k:]), arrays) for k, worn in enumerate(outfit.worn)]
    if outfit.hair is not None:
        garments.append(clothing.hair(figure, outfit.hair, g))
    layers = [clothing.uncovered(figure, garments), *(x.layer for x in garments)]
    baked = [Baked.of(layer, figure, texture_size) for layer in layers]
    colours = [textures.skin(baked[0], Face.of(arrays, figure), tones, g)]
    colours += [_coloured(b, figure, worn, g) for b, worn in zip(baked[1:], outfit.worn, strict=False)]
    if outfit.hair is not None:
        colours.append(textures.hair(baked[-1], tones.hair, g))
    return Dressed(
        layers,
        [layer.binding @ figure.weights for layer in layers],
        [b.image(c) for b, c in zip(baked, colours, strict=True)],
        _soles(layers[1:], figure),
        joints,
        np.asarray(arrays["f"]).astype(np.int64),
    )


def _over(worn: tuple[Worn, ...]) -> Cut | None:
    """What is worn over the first piece, if that is a top."""
    tops = [w.cut for w in worn if w.kind == "top"]
    return tops[-1] if worn[0].kind == "top" and len(tops) > 1 else None


def _sewn(figure: Figure, worn: Worn, g: np.random.Generator, over: Cut | None, arrays) -> Garment:
    if isinstance(worn.cut, Piece):
        return worn_piece(figure, worn.cut, arrays)
    if worn.kind == "top":
        return clothing.top(figure, worn.cut, g, over)
    if worn.kind == "shoes":
        return clothing.shoes(figure, g)
    if worn.kind == "hood":
        return clothing.hood(figure, worn.cut.ease, g)
    return {"top": clothing.top, "trousers": clothing.trousers, "skirt": clothing.skirt}[worn.kind](figure, worn.cut, g)


def _coloured(baked: Baked, figure: Figure, worn: Worn, g: np.random.Generator) -> np.ndarray:
    if worn.kind == "shoes":
        return textures.shoe(baked, worn.fabric, g)
    if isinstance(worn.cut, Piece) and worn.cut.kind == "hair":
        return textures.hair(baked, worn.fabric.first, g)
    return textures.cloth(
        baked,
        figure,
        worn.fabric,
        g,
        legs=worn.kind == "trousers" or (isinstance(worn.cut, Piece) and worn.cut.kind == "lower"),
    )


def _soles(layers: list[Layer], figure: Figure) -> np.ndarray:
    """Lowest points on the left and the right, of the shoes or of bare feet."""
    shoes = [layer.rest(figure.vertices) for layer in layers if layer.name == "shoes"]
    rest = np.concatenate([figure.vertices, *shoes])
    return np.array([rest[rest[:, 0] > 0, 1].min(), rest[rest[:, 0] < 0, 1].min()])


def jitter(g: np.random.Generator, colour: tuple[float, float, float], amount: float) -> tuple[float, float, float]:
    """A colour near another."""
    return tuple(float(c) for c in np.clip(np.array(colour) + g.uniform(-amount, amount, 3), 0.02, 0.97))


def _sample_outfit(g: np.random.Generator, long_hair: bool) -> Outfit:
    short_sleeve = g.random() < 0.5
    ease = g.uniform(0.009, 0.016)
    top = Cut(
        sleeve=g.uniform(0.45, 0.7) if short_sleeve else g.uniform(1.88, 1.95),
        hem=g.uniform(0.03, 0.09),
        neckline=g.uniform(0.0, 0.02),
        ease=ease + 0.004,
        flare=g.uniform(0.004, 0.014),
        folds=g.uniform(0.003, 0.005),
    )
    trousers = Cut(leg=g.uniform(1.9, 2.0), ease=ease, flare=g.uniform(0.0, 0.02), folds=g.uniform(0.003, 0.005))
    first, second = (TOPS[k] for k in g.choice(len(TOPS), 2, replace=False))
    pattern = g.choice(["plain", "stripes", "checks", "print"])
    denim = g.random() < 0.5
    bottom = (0.15, 0.20, 0.34) if denim else jitter(g, BOTTOMS[g.integers(len(BOTTOMS))], 0.03)
    worn = (
        Worn(
            "top",
            top,
            Fabric(str(pattern), jitter(g, first, 0.04), jitter(g, second, 0.04), g.uniform(0.02, 0.05)),
        ),
        Worn("trousers", trousers, Fabric("denim" if denim else "plain", bottom, (0.42, 0.50, 0.64))),
        Worn("shoes", None, Fabric("plain", jitter(g, TOPS[g.integers(len(TOPS))], 0.05), (0.9, 0.9, 0.88))),
    )
    length = g.uniform(0.6, 1.0) if long_hair else g.uniform(0.0, 0.15)
    return Outfit(worn, HairCut(length, g.uniform(0.012, 0.022)))
