"""Clothes to choose from: numbered designs, a split's own, so that no garment is both trained on and tested on.

A design is drawn from its kind and number alone. Of every ten numbers eight are for training, one is for validation
and one for tests.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from data.synthetic.adults import Adults
from data.synthetic.bodies import HAIRS, IRISES, SKINS, Outfit, Person, Worn, jitter
from data.synthetic.clothing import Cut, HairCut
from data.synthetic.drape import HangingCut
from data.synthetic.makehuman_clothes import Piece
from data.synthetic.textures import Complexion, Fabric

SPLITS = {"train": tuple(range(8)), "validation": (8,), "test": (9,)}
DESIGNS = 4000
"""Numbers a kind has; a tenth of them in the smallest splits."""
LOOSE = 0.38
"""Share of people in clothes that hang far off the body, on purpose; some of the others turn out to as well."""

_COLOURS = (
    (0.72, 0.16, 0.16), (0.16, 0.34, 0.62), (0.90, 0.88, 0.84), (0.20, 0.45, 0.30), (0.86, 0.66, 0.20),
    (0.30, 0.30, 0.33), (0.55, 0.38, 0.60), (0.16, 0.17, 0.22), (0.80, 0.45, 0.30), (0.70, 0.76, 0.80),
    (0.45, 0.30, 0.22), (0.85, 0.62, 0.66), (0.36, 0.40, 0.30), (0.10, 0.10, 0.12), (0.60, 0.55, 0.46),
)  # fmt: skip
_DULL = ((0.16, 0.19, 0.28), (0.20, 0.20, 0.21), (0.55, 0.48, 0.37), (0.36, 0.40, 0.34), (0.42, 0.34, 0.28))
_PATTERNS = ("plain", "plain", "stripes", "pinstripes", "checks", "dots", "print", "blocks", "camouflage", "knit")


_GREY = (0.42, 0.75)
"""From the darkest to the lightest grey hair."""
_TURNING_GREY = (38.0, 75.0)
"""Years at which the first and the last are grey."""
_NOT_MENS = ("skirt", "dress")


def person(
    split: str, number: int, kinds: tuple[str, ...] | None = None, adults: Adults | None = None
) -> Person:
    """Person ``number`` (0, 1, ...) of a split: the same whenever asked for, nobody of another split.

    Args:
        split: a key of ``SPLITS``.
        kinds: one of ``outfits()`` to choose the outfit from; all if None.
        adults: of which genders and ages; None: any figure of the neutral model, of no stated gender and age.
    """
    g = np.random.default_rng([zlib.crc32(f"people/{split}".encode()), number])
    if adults is not None:
        return _adult(g, split, number, kinds, adults)
    betas = np.clip(g.normal(0, 0.9, 10), -2.0, 2.0).astype(np.float32)
    tones = _complexion(g)
    return Person(betas, tones, outfit(g, split, kinds), int(g.integers(2**31)))


def _adult(g: np.random.Generator, split: str, number: int, kinds: tuple[str, ...] | None, adults: Adults) -> Person:
    """Of a known gender and age; nobody that ``person`` makes without."""
    gender, age, betas = adults.draw(np.random.default_rng([zlib.crc32(f"adults/{split}".encode()), number]))
    tones = _complexion(g)
    if g.random() < np.interp(age, _TURNING_GREY, (0, 1)):
        tones = replace(tones, hair=jitter(g, (g.uniform(*_GREY),) * 3, 0.015))
    clothes = outfit(g, split, kinds, _NOT_MENS if gender == "male" else ())
    return Person(betas, tones, clothes, int(g.integers(2**31)), gender, age)


def _complexion(g: np.random.Generator) -> Complexion:
    dark = g.integers(len(SKINS))
    skin = jitter(g, SKINS[dark], 0.03)
    lips = tuple(np.clip(np.array(skin) * [0.92, 0.62, 0.62], 0, 1))
    hair = HAIRS[g.integers(len(HAIRS) if dark < 2 else 2)]
    iris = IRISES[g.integers(len(IRISES) if dark < 2 else 1)]
    return Complexion(skin, tuple(g.uniform(0.85, 1.15) * np.array(hair)), iris, lips)


def outfits() -> tuple[str, ...]:
    """Names of the kinds of outfit."""
    return tuple(_LOOSE) + tuple(_CLOSE)


def outfit(
    g: np.random.Generator, split: str, kinds: tuple[str, ...] | None = None, without: Collection[str] = ()
) -> Outfit:
    """Clothes that go together, all of a split's own designs. No ``kinds``: of all but those ``without``."""
    rack = _Rack(g, split)
    if kinds is None:
        kinds = tuple(k for k in (_LOOSE if g.random() < LOOSE else _CLOSE) if k not in without)
    kind = kinds[g.integers(len(kinds))]
    worn = (_LOOSE | _CLOSE)[kind](rack)
    hooded = any(w.kind == "hood" for w in worn)
    hair = None if hooded or g.random() < 0.04 else rack("hair", _hair)
    return Outfit(tuple(worn), hair)


MADE_SHARE = 0.4
"""Of people who wear clothes that were made elsewhere, where there are some."""


def with_made(who: Person, split: str, number: int, clothes: Sequence[Piece]) -> Person:
    """The same person, or in a part of cases the same in clothes that were made elsewhere, of the split's own.

    Of suits, shoes and hair each, the fourth of five is for validation and the fifth for tests, counted in the order
    given; a suit's parts stay together.
    """
    g = np.random.default_rng([zlib.crc32(f"made/{split}".encode()), number])
    if not clothes or g.random() > MADE_SHARE:
        return who
    own = {kind: [p for p in _made_for(split, clothes) if p.kind == kind] for kind in _MADE_KINDS}
    picked = {kind: pieces[g.integers(len(pieces))] for kind, pieces in own.items() if pieces}
    if not {"upper", "lower", "shoes"} <= set(picked):
        return who
    fabrics = {"upper": _fabric(g), "lower": _fabric(g, ("plain", "denim"), _DULL), "shoes": _shoes(g).fabric}
    worn = [Worn("piece", picked[kind], fabric) for kind, fabric in fabrics.items()]
    hair = who.outfit.hair
    if "hair" in picked and g.random() < 0.5:
        worn.append(Worn("piece", picked["hair"], Fabric("plain", who.complexion.hair, who.complexion.hair)))
        hair = None
    return replace(who, outfit=Outfit(tuple(worn), hair))


_MADE_KINDS = ("upper", "lower", "shoes", "hair")


def _made_for(split: str, clothes: Sequence[Piece]) -> list[Piece]:
    digits = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}[split]
    out = []
    for family in (("upper", "lower"), ("shoes",), ("hair",)):
        pieces = [p for p in clothes if p.kind in family]
        garments = list(dict.fromkeys(p.garment for p in pieces))
        out += [p for p in pieces if garments.index(p.garment) % 5 in digits]
    return out


class _Rack:
    """Draws designs of one split."""

    def __init__(self, g: np.random.Generator, split: str) -> None:
        self.g, self._digits = g, SPLITS[split]

    def __call__(self, kind: str, make: Callable[[np.random.Generator], object]):
        number = 10 * int(self.g.integers(DESIGNS // 10)) + int(self.g.choice(self._digits))
        return make(np.random.default_rng([zlib.crc32(kind.encode()), number]))


def _colour(g: np.random.Generator, palette=_COLOURS) -> tuple[float, float, float]:
    return jitter(g, palette[g.integers(len(palette))], 0.06)


def _fabric(g: np.random.Generator, patterns=_PATTERNS, palette=_COLOURS) -> Fabric:
    pattern = str(patterns[g.integers(len(patterns))])
    return Fabric(pattern, _colour(g, palette), _colour(g), float(g.uniform(0.015, 0.06)))


def _hair(g: np.random.Generator) -> HairCut:
    style = g.choice(["short", "short", "middle", "long", "afro", "bun", "ponytail"])
    u = g.uniform
    return {
        "short": lambda: HairCut(u(0.0, 0.15), u(0.008, 0.02)),
        "middle": lambda: HairCut(u(0.3, 0.6), u(0.012, 0.022)),
        "long": lambda: HairCut(u(0.7, 1.15), u(0.012, 0.026)),
        "afro": lambda: HairCut(u(0.1, 0.3), u(0.035, 0.06)),
        "bun": lambda: HairCut(u(0.0, 0.1), u(0.007, 0.012), "bun"),
        "ponytail": lambda: HairCut(u(0.0, 0.1), u(0.007, 0.012), "ponytail"),
    }[str(style)]()


def _shirt(g: np.random.Generator, hem=(0.0, 0.08), ease=(0.009, 0.016)) -> Worn:
    short = g.random() < 0.5
    cut = Cut(
        sleeve=g.uniform(0.25, 0.8) if short else g.uniform(1.8, 1.96),
        hem=g.uniform(*hem),
        neckline=g.uniform(-0.01, 0.03),
        ease=g.uniform(*ease),
        flare=g.uniform(0.002, 0.012),
        folds=g.uniform(0.0025, 0.0055),
        collar=g.uniform(0.0, 0.03) if g.random() < 0.3 else 0.0,
    )
    return Worn("top", cut, _fabric(g))


def _wide_shirt(g: np.random.Generator) -> Worn:
    cut = Cut(
        sleeve=g.uniform(0.6, 1.95),
        hem=g.uniform(0.06, 0.16),
        neckline=g.uniform(-0.01, 0.03),
        ease=g.uniform(0.024, 0.036),
        flare=g.uniform(0.012, 0.03),
        folds=g.uniform(0.005, 0.008),
    )
    return Worn("top", cut, _fabric(g))


def _trousers(g: np.random.Generator) -> Worn:
    denim = g.random() < 0.45
    cut = Cut(
        leg=g.choice([g.uniform(0.55, 1.1), g.uniform(1.5, 1.75), g.uniform(1.9, 2.0), g.uniform(1.9, 2.0)]),
        ease=g.uniform(0.007, 0.013),
        flare=g.uniform(0.0, 0.015),
        folds=g.uniform(0.0025, 0.005),
    )
    colour = (0.15, 0.20, 0.34) if denim else _colour(g, _DULL)
    return Worn("trousers", cut, Fabric("denim" if denim else "plain", colour, (0.42, 0.50, 0.64)))


def _wide_trousers(g: np.random.Generator) -> Worn:
    cut = Cut(leg=g.uniform(1.85, 1.97), ease=g.uniform(0.018, 0.03), flare=g.uniform(0.025, 0.05),
              folds=g.uniform(0.004, 0.008))  # fmt: skip
    return Worn("trousers", cut, _fabric(g, ("plain", "pinstripes", "denim"), _DULL))


def _shoes(g: np.random.Generator) -> Worn:
    return Worn("shoes", None, Fabric("plain", _colour(g), (0.9, 0.9, 0.88)))


def _jacket(g: np.random.Generator) -> Worn:
    cut = Cut(
        sleeve=g.uniform(1.85, 1.97),
        hem=g.uniform(0.0, 0.10),
        neckline=g.uniform(0.0, 0.02),
        ease=g.uniform(0.022, 0.03),
        flare=g.uniform(0.004, 0.012),
        folds=g.uniform(0.004, 0.007),
        opening=g.uniform(0.015, 0.055),
        collar=g.uniform(0.0, 0.02),
    )
    return Worn("top", cut, _fabric(g, ("plain", "checks", "denim", "camouflage", "knit"), _COLOURS + _DULL))


def _coat(g: np.random.Generator) -> list[Worn]:
    fabric = _fabric(g, ("plain", "checks", "knit", "plain"), _DULL + _COLOURS)
    ease = g.uniform(0.026, 0.036)
    upper = Cut(sleeve=g.uniform(1.85, 1.97), hem=-0.06, ease=ease, flare=g.uniform(0.008, 0.016),
                folds=g.uniform(0.005, 0.008), opening=g.uniform(0.004, 0.03),
                collar=g.uniform(0.01, 0.03))  # fmt: skip
    lower = HangingCut(top=0.075, hem=g.uniform(0.55, 1.35), ease=ease + 0.006, flare=g.uniform(0.04, 0.2),
                       folds=int(g.integers(4, 9)), depth=g.uniform(0.008, 0.02),
                       slit=g.uniform(0.06, 0.25))  # fmt: skip
    return [Worn("top", upper, fabric), Worn("skirt", lower, fabric)]


def _skirt(g: np.random.Generator) -> Worn:
    cut = HangingCut(
        top=g.uniform(0.08, 0.12),
        hem=g.choice([g.uniform(0.5, 0.9), g.uniform(0.95, 1.4), g.uniform(1.5, 1.9)]),
        ease=g.uniform(0.008, 0.02),
        flare=g.choice([g.uniform(-0.05, 0.05), g.uniform(0.1, 0.35)]),
        folds=int(g.integers(5, 16)),
        depth=g.uniform(0.004, 0.028),
    )
    return Worn("skirt", cut, _fabric(g))


def _dress(g: np.random.Generator) -> list[Worn]:
    skirt, fabric = _skirt(g), _fabric(g)
    lower = HangingCut(0.10, skirt.cut.hem, skirt.cut.ease + 0.006, skirt.cut.flare, skirt.cut.folds, skirt.cut.depth)
    upper = Cut(sleeve=g.choice([g.uniform(0.05, 0.7), g.uniform(1.5, 1.95)]), hem=-0.085, ease=g.uniform(0.007, 0.014),
                flare=g.uniform(0.0, 0.006), folds=g.uniform(0.003, 0.005), neckline=g.uniform(0.0, 0.05))  # fmt: skip
    return [Worn("top", upper, fabric), Worn("skirt", lower, fabric)]


def _robe(g: np.random.Generator) -> list[Worn]:
    fabric = _fabric(g, ("plain", "pinstripes", "plain", "dots"))
    upper = Cut(sleeve=g.uniform(1.6, 1.95), hem=-0.07, ease=g.uniform(0.026, 0.034), flare=g.uniform(0.02, 0.045),
                folds=g.uniform(0.005, 0.008))  # fmt: skip
    lower = HangingCut(0.085, g.uniform(1.5, 1.95), 0.034, g.uniform(0.05, 0.22), int(g.integers(6, 12)),
                       g.uniform(0.012, 0.03))  # fmt: skip
    return [Worn("top", upper, fabric), Worn("skirt", lower, fabric)]


def _hoodie(g: np.random.Generator) -> list[Worn]:
    fabric = _fabric(g, ("plain", "plain", "blocks", "print", "camouflage"))
    upper = Cut(sleeve=g.uniform(1.85, 1.96), hem=g.uniform(0.02, 0.08), ease=g.uniform(0.02, 0.028),
                flare=g.uniform(0.002, 0.01), folds=g.uniform(0.004, 0.007), collar=0.02)  # fmt: skip
    over = Cut(ease=g.uniform(0.022, 0.034))
    return [Worn("top", upper, fabric), Worn("hood", over, Fabric("plain", fabric.first, fabric.second))]


_CLOSE = {
    "shirt and trousers": lambda rack: [rack("shirt", _shirt), rack("trousers", _trousers), rack("shoes", _shoes)],
    "jacket": lambda rack: [
        rack("shirt", _shirt), rack("trousers", _trousers), rack("jacket", _jacket), rack("shoes", _shoes)
    ],
    "hoodie": lambda rack: [*rack("hoodie", _hoodie), rack("trousers", _trousers), rack("shoes", _shoes)],
}  # fmt: skip
_LOOSE = {
    "skirt": lambda rack: [
        rack("tucked", lambda g: _shirt(g, hem=(-0.06, 0.02))), rack("skirt", _skirt), rack("shoes", _shoes)
    ],
    "dress": lambda rack: [*rack("dress", _dress), rack("shoes", _shoes)],
    "coat": lambda rack: [
        rack("shirt", _shirt), rack("trousers", _trousers), *rack("coat", _coat), rack("shoes", _shoes)
    ],
    "robe": lambda rack: [*rack("robe", _robe), rack("shoes", _shoes)],
    "wide": lambda rack: [
        rack("wide shirt", _wide_shirt), rack("wide trousers", _wide_trousers), rack("shoes", _shoes)
    ],
}  # fmt: skip
