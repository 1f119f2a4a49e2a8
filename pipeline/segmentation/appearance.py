"""Whose colours a pixel has: histograms of everybody and of the scene, learned from the pixels that bodies make sure.

Where people overlap, neither the detector nor bodies of a few centimetres' error tell whose cloth a pixel shows; its
colour does, as far as they are dressed differently. Colours are learned over all views of a frame, so that who is
hidden in one is known from the others, and fade over the frames before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from pipeline.segmentation.evidence import Crop, Evidence
from pipeline.skeletons import SMPLX55

BINS = 16
"""A channel."""
FADE = 0.8
"""Weight of what was learned before, a frame."""
INSIDE_M, APART_M, BEHIND_M = 0.015, 0.04, 0.15
"""A pixel is surely a person's so far inside their body, if the others' bodies are so far beside or behind it."""
ELSEWHERE_M = 0.12
"""Beyond all bodies by this, and scored low, a pixel is the scene's."""
SURE, FEWEST = 0.8, 200
"""Score from which pixels are learned from; so many of them make a histogram that counts."""
ELSE, ELSE_FEW = 0.9, 0.5
"""Share of the other views in what is known of a person's colours; where few of them see the same side."""
UNKNOWN, FLOOR = 0.2, 1e-6
"""Share of the scene that was not seen beside people and may have any colour; least chance of a colour on a person."""
STRENGTH, SCENE_STRENGTH, MOST = 1.2, 0.8, 4.0
"""How far colours are believed against other people and against the scene: pixels are not independent; the largest log
odds that one gives."""
THING_M, THING_FROM, THING_STRENGTH = 0.07, 0.8, 6.0
"""Width from which a patch is a thing, whatever the detector says; log odds of its colours; log odds that it gets."""
NOT_DETECTED, NOT_DETECTED_ODDS, NEARBY_M = 0.2, 2.0, 0.25
"""Where the detector has found the person and is surer than this that they are not, and nobody else is so near: log
odds for the scene. With them masks of people behind things are better than the detector's own."""
MATCHED, BESIDE = -1.5, 2
"""Log odds that a tenth of a person's sure pixels are below, where cameras see the same colours; so many of which must
see the same side of the person."""
SMOOTH_M, SCENE_SMOOTH_M, GUIDE = 0.015, 0.04, 25.0
"""Neighbourhoods that colours are told apart by; squared grey levels that are an edge in them."""
DOUBT = 0.04
"""How sure any score is taken to be at most."""
SOMEBODY = 2.5
"""Log odds against the scene where another person was surely seen: what is not theirs there is rather a third's, whose
arm lies round them, than nobody's."""


PARTS = ("head", "torso", "upper arms", "lower arms", "upper legs", "lower legs", "feet")
_PART_OF_JOINT = {
    "head": 0, "neck": 0, "jaw": 0, "eye": 0, "spine": 1, "pelvis": 1, "collar": 1, "shoulder": 2, "elbow": 3,
    "wrist": 3, "hip": 4, "knee": 5, "ankle": 6, "foot": 6,
}  # fmt: skip
SKIN, HANDS_M = (PARTS.index("head"), PARTS.index("lower arms")), 0.1
"""Parts whose colours a hand may have; so near a body's lower arm there may be one, before whatever part."""
OF_PART = 0.7
"""Share of a part's own colours in what is known of it; the rest is the whole person's."""


def body_parts(weights: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(T,) uint8: which of ``PARTS`` each triangle of a body belongs to, from skinning weights (V, 55)."""
    names = [name.split("_")[-1].rstrip("0123456789") for name in SMPLX55.joints]
    joints = np.array([_PART_OF_JOINT.get(name, 3) for name in names], np.uint8)  # the others are fingers
    return joints[weights[faces[:, 0]].argmax(1)]


@dataclass
class Judged:
    """One person in one view.

    Attributes:
        evidence: (h, w) on the crop.
        score: (h, w) how sure each pixel is theirs.
        part: (h, w) uint8, what part of their body is there or nearest.
        beside: how many other views see the same side of the person.
    """

    evidence: Evidence
    score: np.ndarray
    part: np.ndarray
    beside: int = 0


@dataclass
class Appearance:
    """Histograms of colours: (parts, BINS³) of ``people`` by index over all views and ``here`` by view and index,
    (BINS³,) of the ``scene`` by view."""

    people: dict[int, np.ndarray] = field(default_factory=dict)
    here: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    scene: dict[int, np.ndarray] = field(default_factory=dict)

    def learn(self, views: Sequence[Sequence[Judged | None] | None]) -> None:
        """Take in a frame: for each view, everybody's judgement, None for those who are not in view."""
        for counts in (self.people, self.here, self.scene):
            for key in counts:
                counts[key] = counts[key] * FADE
        for c, view in enumerate(views):
            for k, judged in enumerate(view or ()):
                if judged is None:
                    continue
                own, scene = _counts(judged)
                self.people[k] = self.people.get(k, 0.0) + own
                self.here[c, k] = self.here.get((c, k), 0.0) + own
                self.scene[c] = self.scene.get(c, 0.0) + scene

    def of_person(self, view: int, person: int, elsewhere: float) -> np.ndarray | None:
        """(parts, BINS³) chance of each colour, the other views with the weight ``elsewhere`` (0..1): what one view
        alone takes for the person may be a thing in front of them. None if too little is known."""
        everywhere = self.people.get(person)
        if everywhere is None or everywhere.sum() < FEWEST:
            return None
        here = self.here.get((view, person), np.zeros_like(everywhere))
        others = np.maximum(everywhere - here, 0.0)
        known = [(c, w) for c, w in ((others, elsewhere), (here, 1 - elsewhere)) if w > 0 and c.sum() >= FEWEST]
        known = known or [(everywhere, 1.0)]
        return sum(w * _of_parts(c) for c, w in known) / sum(w for _, w in known)

    def of_scene(self, view: int) -> np.ndarray | None:
        """(BINS³,) chance of each colour of what is nobody: half from this view; some of it may have any colour."""
        return chances_of_scene(self.scene.get(view, 0.0), sum(self.scene.values()))


def _of_parts(counts: np.ndarray) -> np.ndarray:
    """(parts, BINS³) chances from counts (parts, BINS³), those of parts that were hardly seen the whole person's."""
    whole = chances_of(counts.sum(0))
    enough = counts.sum(1) >= FEWEST
    out = np.repeat(whole[None], len(counts), 0)
    for part in np.flatnonzero(enough):
        out[part] = OF_PART * chances_of(counts[part]) + (1 - OF_PART) * whole
    return out


def bins_of(image: np.ndarray) -> np.ndarray:
    """(h, w) int32 bin of each pixel of (h, w, 3) uint8."""
    bins = (image // (256 // BINS)).astype(np.int32)
    return (bins[..., 0] * BINS + bins[..., 1]) * BINS + bins[..., 2]


def chances_of(counts: np.ndarray) -> np.ndarray:
    """(BINS³,) chance of each colour from counts, smoothed over neighbouring colours; none is 0."""
    smooth = gaussian_filter(counts.reshape(BINS, BINS, BINS), 0.7, mode="nearest").ravel()
    return (smooth + FLOOR * smooth.sum()) / (smooth.sum() * (1 + FLOOR * BINS**3))


def chances_of_scene(here: np.ndarray | float, everywhere: np.ndarray | float) -> np.ndarray | None:
    """(BINS³,) chance of each colour of what is nobody, from counts in a view and in all; None if too few are known."""
    known = [chances_of(counts) for counts in (here, everywhere) if np.sum(counts) >= FEWEST]
    return (1 - UNKNOWN) * sum(known) / len(known) + UNKNOWN / BINS**3 if known else None


def _counts(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Colours that surely are the person's (parts, BINS³), and the scene's (BINS³,)."""
    e, score = judged.evidence, judged.score
    with np.errstate(invalid="ignore"):
        alone = (e.others_reach < -APART_M) | (e.others_depth - e.depth > BEHIND_M)
    own = (score > SURE) & (e.reach > INSIDE_M) & alone
    scene = (score < 1 - SURE) & (e.reach < -ELSEWHERE_M) & (e.others_reach < -ELSEWHERE_M)
    if e.others is not None:
        scene &= e.others < 0.3
    codes = bins_of(e.image)
    of_parts = np.bincount(judged.part[own] * np.int64(BINS**3) + codes[own], minlength=len(PARTS) * BINS**3)
    of_scene = np.bincount(codes[scene], minlength=BINS**3)
    return of_parts.reshape(len(PARTS), -1).astype(np.float64), of_scene.astype(np.float64)


def shared_out(view: int, judged: Sequence[Judged | None], appearance: Appearance) -> list[np.ndarray | None]:
    """Everybody's scores (h, w) of a view on their own crops, with what colours say and rivals claim taken in."""
    colours = [
        None if j is None else appearance.of_person(view, k, ELSE if j.beside >= BESIDE else ELSE_FEW)
        for k, j in enumerate(judged)
    ]
    out: list[np.ndarray | None] = []
    for k, own in enumerate(judged):
        if own is None or colours[k] is None:
            out.append(None if own is None else own.score)
        else:
            of_others = appearance.of_person(view, k, 1.0) if own.beside >= BESIDE else colours[k]
            out.append(_posterior(k, judged, colours, of_others, appearance.of_scene(view)))
    return out


def _posterior(k: int, judged, colours, of_others: np.ndarray, scene: np.ndarray | None) -> np.ndarray:
    """One person's score against everybody's whose crop meets theirs, and against the scene.

    Args:
        colours: of everybody. of_others: the person's as the other views alone have them, if those are enough.
    """
    own = judged[k]
    crop, codes = own.evidence.crop, bins_of(own.evidence.image)
    logs = np.log(colours[k])[own.part, codes]
    mine, nobody, claims = _log(own.score), 1 - own.score, []
    somebody = np.zeros_like(own.score)
    for j, other in enumerate(judged):
        if j == k or other is None or not _meet(crop, other.evidence.crop):
            continue
        score = np.clip(crop.moved(other.score, other.evidence.crop, cv2.INTER_LINEAR, 0.0), 0, 1)
        nobody, claim = nobody * (1 - score), _log(score)
        somebody = np.maximum(somebody, score)
        if colours[j] is not None:
            part = crop.moved(other.part, other.evidence.crop, cv2.INTER_NEAREST, 0)
            claim += STRENGTH * _odds(own, np.log(colours[j])[part, codes] - logs, SMOOTH_M)
        claims.append(claim)
    none = _log(nobody) - SOMEBODY * somebody
    if scene is not None:
        odds = _odds(own, np.log(scene)[codes] - np.log(_chances_here(own, of_others, codes)), SCENE_SMOOTH_M)
        none += _for_scene(own, odds, bool(claims))
    claims = [mine, *claims, none]
    top = np.maximum.reduce(claims)
    shares = [np.exp(c - top) for c in claims]
    return (shares[0] / sum(shares)).astype(np.float32)


def _chances_here(own: Judged, of_parts: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(h, w) chance of each pixel's colour on the part of the body that is there; near hands, which fits follow least,
    on a hand too, or it would be taken for a thing in front of legs or chest."""
    here = of_parts[own.part, codes]
    arm = (own.part == PARTS.index("lower arms")) & np.isfinite(own.evidence.depth)
    if not arm.any():
        return here
    away = cv2.distanceTransform((~arm).astype(np.uint8), cv2.DIST_L2, 5)
    skin = of_parts[list(SKIN)].max(0)[codes]
    return np.where(away < HANDS_M * own.evidence.pixels_per_metre, np.maximum(here, skin), here)


def _log(chances: np.ndarray) -> np.ndarray:
    return np.log(np.clip(chances, DOUBT, 1 - DOUBT))


def _meet(a: Crop, b: Crop) -> bool:
    """Whether the windows of two crops of an image overlap."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a.window, b.window
    return ax0 < bx1 and bx0 < ax1 and ay0 < by1 and by0 < ay1


def _for_scene(own: Judged, odds: np.ndarray, contested: bool) -> np.ndarray:
    """What colours that are more likely the scene's by ``odds`` say for it: where people overlap all of them, and
    against a detector that is sure only those that no other view shows on that part of the person, a thing in front.
    Where nobody else is near, a detector that sees nothing of a person says it too.

    Nothing where the empty scene itself is known. A camera that sees the person in other colours than the others do
    tells no things, nor does one that sees a side of them that hardly another sees.
    """
    evidence, out = own.evidence, np.zeros_like(odds)
    sure = (own.score > SURE) & (evidence.reach > INSIDE_M)
    if own.beside >= BESIDE and sure.sum() >= FEWEST and np.quantile(odds[sure], 0.1) < MATCHED:
        radius = max(1, round(THING_M / 2 * evidence.pixels_per_metre))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        foreign = (odds > THING_FROM) & (own.score > 1 - SURE)
        wide = cv2.morphologyEx(foreign.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
        out = np.where(wide, THING_STRENGTH, out)
    if contested:
        detected = evidence.detector is not None and evidence.detector > 0.5
        out = out + SCENE_STRENGTH * np.where(detected, np.minimum(odds, 0), odds)
    if evidence.detector is not None:
        missed = (evidence.detector < NOT_DETECTED) & (evidence.others_reach < -NEARBY_M)
        out = out + NOT_DETECTED_ODDS * missed
    return np.where(evidence.known, 0, out)


def _odds(own: Judged, odds: np.ndarray, reach_m: float) -> np.ndarray:
    """(h, w) log odds of single pixels as those of their neighbourhood, which ends at the edges of the image."""
    radius = max(2, round(reach_m * own.evidence.pixels_per_metre))
    clipped = np.clip(odds, -MOST, MOST).astype(np.float32)
    return cv2.ximgproc.guidedFilter(own.evidence.image, clipped, radius, GUIDE, scale=0.5)
