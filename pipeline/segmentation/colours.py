"""Whose colours a pixel has, as far as it can be told before anything has judged it: two inputs of the small network.

Bodies and detector tell of most pixels of a person in some view whose they are. Their colours, gathered over all views
of a moment, tell people who overlap apart and show things in front of them; the network weighs them against everything
else. Pictures to train on go through the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nets.parsing.inputs import CHANNELS, CODE, REACH_M
from pipeline.segmentation.appearance import (
    BINS,
    ELSE,
    ELSEWHERE_M,
    FEWEST,
    INSIDE_M,
    MOST,
    SURE,
    bins_of,
    chances_of,
    chances_of_scene,
)
from pipeline.segmentation.contest import plain

STRANGE = 0.05
"""Share of a person that may have any colour: colours that nobody was seen in tell nothing."""
MOST_SHARE = 0.002
"""Colours beyond this share of a person count alike, in training and in use: a network that was trained without needed
it to leave arms and faces to a person in cloth beside one with bare skin; half of it, and dark trousers went to dark
shorts."""
Moment = Sequence[Mapping[int, np.ndarray]]
"""Of each view of a moment, codes (C, h, w) of everybody in it by index."""


def colour_maps(moment: Moment, most_share: float = MOST_SHARE) -> list[dict[int, np.ndarray]]:
    """Of each view and person (2, h, w) float32 -1..1: log odds of a pixel's colour as the person's against the others'
    in the view, and against the scene's, over ``MOST``; 0 where one of them is not known.

    More than ``most_share`` of a person in one colour is no further reason against others: a hand is not theirs who
    shows most skin.
    """
    colours, own, scenes = [], {}, []
    for c, view in enumerate(moment):
        scene = np.zeros(BINS**3)
        colours.append({k: bins_of(np.moveaxis(codes[:3], 0, -1)) for k, codes in view.items()})
        for k, codes in view.items():
            sure, nobody = surely(codes)
            own[c, k] = np.bincount(colours[c][k][sure], minlength=BINS**3)
            scene += np.bincount(colours[c][k][nobody], minlength=BINS**3)
        scenes.append(scene)
    everywhere = sum(scenes)
    out = []
    for c, view in enumerate(moment):
        logs = {k: _log_chances(c, k, own, ELSE) for k in view}
        logs = {k: None if log is None else np.minimum(log, np.log(most_share)) for k, log in logs.items()}
        scene = chances_of_scene(scenes[c], everywhere)
        scene = None if scene is None else np.log(scene)
        out.append({})
        for k in view:
            rivals = [other for j, other in logs.items() if j != k and other is not None]
            against_others = _log_odds(logs[k], np.maximum.reduce(rivals) if rivals else None)
            # A thing in front is taken for the person in the view that it is in, but not in the others.
            against_scene = _log_odds(_log_chances(c, k, own, 1.0), scene)
            out[c][k] = np.stack([against_others[colours[c][k]], against_scene[colours[c][k]]])
    return out


def surely(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) bool twice from (C, h, w) uint8: pixels that surely are the person's, and surely nobody's."""
    guess = first_guess(codes)
    reach, beside = _metres(codes, "reach"), _metres(codes, "others_reach")
    others = codes[CHANNELS.index("others_detector")]
    alone = codes[CHANNELS.index("order")] >= 254
    free = (others == 128) | (others < 128 - 0.4 * CODE)
    far = (reach < -ELSEWHERE_M) & (beside < -ELSEWHERE_M)
    return (guess > SURE) & (reach > INSIDE_M) & alone, (guess < 1 - SURE) & far & free


def first_guess(codes: np.ndarray) -> np.ndarray:
    """(h, w) float32 0..1: ``contest.plain_score`` of what the network is given, (C, h, w) uint8."""
    detector, others = (_chance(codes[CHANNELS.index(n)]) for n in ("detector", "others_detector"))
    return plain(_metres(codes, "reach"), detector, others, codes[CHANNELS.index("order")] < 128)


def _chance(code: np.ndarray) -> np.ndarray | None:
    """(h, w) float32 0..1 from bytes; None where there was no mask."""
    return (code.astype(np.float32) - 128 + CODE) / (2 * CODE) if (code != 128).any() else None


def _metres(codes: np.ndarray, channel: str) -> np.ndarray:
    return (codes[CHANNELS.index(channel)].astype(np.float32) - 128) * (REACH_M / CODE)


def _log_chances(
    view: int, person: int, own: Mapping[tuple[int, int], np.ndarray], elsewhere: float
) -> np.ndarray | None:
    """(BINS³,) of a person's colours, the other views with the weight ``elsewhere``; None if too little is known."""
    here = own[view, person]
    others = sum(counts for (c, k), counts in own.items() if k == person and c != view)
    known = [(n, w) for n, w in ((others, elsewhere), (here, 1 - elsewhere)) if w > 0 and np.sum(n) >= FEWEST]
    if not known and here.sum() >= FEWEST:
        known = [(here, 1.0)]
    if not known:
        return None
    chances = sum(w * chances_of(n.astype(np.float64)) for n, w in known) / sum(w for _, w in known)
    return np.log((1 - STRANGE) * chances + STRANGE / BINS**3)


def _log_odds(mine: np.ndarray | None, theirs: np.ndarray | None) -> np.ndarray:
    """(BINS³,) float32 -1..1 over ``MOST``; 0 where one of them is not known."""
    if mine is None or theirs is None:
        return np.zeros(BINS**3, np.float32)
    return (np.clip(mine - theirs, -MOST, MOST) / MOST).astype(np.float32)
