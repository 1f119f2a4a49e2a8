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
ELSE = 0.9
"""Share of the other views in what is known of a person's colours."""
UNKNOWN, FLOOR = 0.2, 1e-6
"""Share of the scene that was not seen beside people and may have any colour; least chance of a colour on a person."""
STRENGTH, SCENE_STRENGTH, MOST = 1.2, 0.8, 4.0
"""How far colours are believed against other people and against the scene: pixels are not independent; the largest log
odds that one gives."""
SMOOTH_M, SCENE_SMOOTH_M, GUIDE = 0.015, 0.04, 25.0
"""Neighbourhoods that colours are told apart by; squared grey levels that are an edge in them."""
DOUBT = 0.04
"""How sure any score is taken to be at most."""


@dataclass
class Judged:
    """One person in one view: the evidence, and how sure each pixel of the crop is theirs (h, w)."""

    evidence: Evidence
    score: np.ndarray


@dataclass
class Appearance:
    """Histograms (BINS, BINS, BINS) of colours: ``people`` by index over all views, ``here`` by view and index, and
    ``scene`` by view."""

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

    def of_person(self, view: int, person: int) -> np.ndarray | None:
        """(BINS³,) chance of each colour, mostly from the other views: what one view alone takes for the person may be
        a thing in front of them. None if too little is known."""
        everywhere = self.people.get(person)
        if everywhere is None or everywhere.sum() < FEWEST:
            return None
        here = self.here.get((view, person), 0.0)
        others = np.maximum(everywhere - here, 0.0)
        known = [(_chances(c), w) for c, w in ((others, ELSE), (here, 1 - ELSE)) if np.sum(c) >= FEWEST]
        if not known:
            return _chances(everywhere)
        return sum(c * w for c, w in known) / sum(w for _, w in known)

    def of_scene(self, view: int) -> np.ndarray | None:
        """(BINS³,) chance of each colour of what is nobody: half from this view; some of it may have any colour."""
        known = [_chances(c) for c in (self.scene.get(view, 0.0), sum(self.scene.values())) if np.sum(c) >= FEWEST]
        return (1 - UNKNOWN) * sum(known) / len(known) + UNKNOWN / BINS**3 if known else None


def _codes(image: np.ndarray) -> np.ndarray:
    """(h, w) int32 bin of each pixel of (h, w, 3) uint8."""
    bins = (image // (256 // BINS)).astype(np.int32)
    return (bins[..., 0] * BINS + bins[..., 1]) * BINS + bins[..., 2]


def _chances(counts: np.ndarray) -> np.ndarray:
    smooth = gaussian_filter(counts.reshape(BINS, BINS, BINS), 0.7, mode="nearest").ravel()
    return (smooth + FLOOR * smooth.sum()) / (smooth.sum() * (1 + FLOOR * BINS**3))


def _counts(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Colours that surely are the person's, and the scene's."""
    e, score = judged.evidence, judged.score
    with np.errstate(invalid="ignore"):
        alone = (e.others_reach < -APART_M) | (e.others_depth - e.depth > BEHIND_M)
    own = (score > SURE) & (e.reach > INSIDE_M) & alone
    scene = (score < 1 - SURE) & (e.reach < -ELSEWHERE_M) & (e.others_reach < -ELSEWHERE_M)
    if e.others is not None:
        scene &= e.others < 0.3
    codes = _codes(e.image)
    return tuple(np.bincount(codes[m], minlength=BINS**3).astype(np.float64) for m in (own, scene))


def shared_out(view: int, judged: Sequence[Judged | None], appearance: Appearance) -> list[np.ndarray | None]:
    """Everybody's scores (h, w) of a view on their own crops, with what colours say and rivals claim taken in."""
    colours = [None if j is None else appearance.of_person(view, k) for k, j in enumerate(judged)]
    scene = appearance.of_scene(view)
    return [None if j is None else _posterior(k, judged, colours, scene) for k, j in enumerate(judged)]


def _posterior(k: int, judged: Sequence[Judged | None], colours, scene: np.ndarray | None) -> np.ndarray:
    """One person's score against everybody's whose crop meets theirs. Who is alone keeps their own."""
    own = judged[k]
    crop = own.evidence.crop
    rivals = [(j, _on(crop, other)) for j, other in enumerate(judged) if j != k and other is not None]
    rivals = [(j, s) for j, s in rivals if s is not None]
    if not rivals:
        return own.score
    nobody = 1 - own.score
    for _, score in rivals:
        nobody = nobody * (1 - score)
    mine, *others, none = (
        np.log(np.clip(s, DOUBT, 1 - DOUBT)) for s in (own.score, *(s for _, s in rivals), nobody)
    )
    if colours[k] is not None:
        codes = _codes(own.evidence.image)
        logs = np.log(colours[k])
        others = [
            claim if colours[j] is None else claim + STRENGTH * _odds(own, np.log(colours[j]) - logs, codes, SMOOTH_M)
            for claim, (j, _) in zip(others, rivals, strict=True)
        ]
        if scene is not None:
            of_scene = SCENE_STRENGTH * _odds(own, np.log(scene) - logs, codes, SCENE_SMOOTH_M)
            none = none + _where_doubtful(own.evidence, of_scene)
    claims = [mine, *others, none]
    top = np.maximum.reduce(claims)
    shares = [np.exp(c - top) for c in claims]
    return (shares[0] / sum(shares)).astype(np.float32)


def _where_doubtful(evidence: Evidence, of_scene: np.ndarray) -> np.ndarray:
    """What colours say for the scene, where nothing else tells more: the empty scene itself, or the detector."""
    if evidence.detector is not None:
        of_scene = np.where(evidence.detector > 0.5, np.minimum(of_scene, 0), of_scene)
    return np.where(evidence.known, 0, of_scene)


def _odds(own: Judged, of_colours: np.ndarray, codes: np.ndarray, reach_m: float) -> np.ndarray:
    """(h, w) log odds of single pixels as those of their neighbourhood, which ends at the edges of the image."""
    odds = np.clip(of_colours, -MOST, MOST).astype(np.float32)[codes]
    radius = max(2, round(reach_m * own.evidence.pixels_per_metre))
    return cv2.ximgproc.guidedFilter(own.evidence.image, odds, radius, GUIDE, scale=0.5)


def _on(crop: Crop, other: Judged) -> np.ndarray | None:
    """Another's score on a crop's grid; None if their windows are apart."""
    a, b = crop.window, other.evidence.crop.window
    if a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]:
        return None
    return np.clip(crop.moved(other.score, other.evidence.crop, cv2.INTER_LINEAR, 0.0), 0, 1)
