"""People in contact, refined together: nobody goes through somebody else or through themselves.

The same cost as the fit's, in the frames that need it alone, with one term more: every watching vertex inside another
mesh is held to the plane of the surface that it should not have crossed (a Gauss-Newton step of the interpenetration
terms of Hassan et al. 2019 and Muller et al. 2021, on exact meshes instead of distance fields). Two people who go
through each other each take half. Shapes stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.body.fit import Reopened, blend, reopened
from pipeline.body.kinematics import State
from pipeline.body.options import FitOptions
from pipeline.body.overlap import Touches, Watch, overlaps
from pipeline.body.parameters import BodyTrack
from pipeline.body.rotations import logarithm
from pipeline.body.terms import Contact, Skin
from pipeline.cameras import Rig

if TYPE_CHECKING:
    from nets.body import BodyModel

ROUNDS = 4
ITERATIONS = 6
BAD_M, BAD_OWN_M = 0.01, 0.02
"""Frames in which something is deeper inside somebody else, or inside another limb or the trunk of the same body, than
this are refined. Flesh gives way: arms that hang press into the trunk by more than hands into others, and at 1 cm three
quarters of all frames of a real session would be refined for it."""
LEFT_SHARE = 0.7
"""Runs of which more than this is left (sum over frames of what is deepest) are not refined."""
MARGIN_FRAMES = 6
"""So many frames on either side lead in and out."""
LONGEST_RUN = 120
SCAN_S = 0.1
"""Contact lasts longer than this: the first look at a track takes steps of it."""
NEAR_M = 1.2
"""Pelvises farther apart are not looked at together (arms may be 0.9 m long, and both reach)."""


@dataclass(frozen=True)
class Depths:
    """Deepest contact by person and frame: ``between`` with others, ``within`` with oneself; (F,) metres each."""

    frames: np.ndarray
    between: np.ndarray
    within: np.ndarray


def people_near(bodies: Mapping[int, BodyTrack]) -> list[set[int]]:
    """Groups of people who come within reach of each other in some frame, singles among them."""
    groups = [{i} for i in bodies]
    for a, b in combinations(bodies, 2):
        _, rows, others = np.intersect1d(bodies[a].frames, bodies[b].frames, return_indices=True)
        apart = np.linalg.norm(bodies[a].transl[rows] - bodies[b].transl[others], axis=1)
        if (apart < NEAR_M).any():
            joined = [g for g in groups if a in g or b in g]
            groups = [g for g in groups if g not in joined] + [set().union(*joined)]
    return groups


def refine_contacts(
    model: BodyModel,
    rig: Rig,
    bodies: Mapping[int, BodyTrack],
    tracks: Mapping[int, Tracks],
    options: FitOptions,
    landmarks: Mapping[int, str] | None = None,
    whose: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[int, BodyTrack]:
    """Bodies of people who come near each other, with what goes through anything pushed out.

    Args:
        bodies, tracks: by person id; what the fit was made from.
        options: those of the fit. landmarks: joint set of each person's track, if they differ.
        whose: only this person's body is wanted; contact without them is left as it is.

    Returns:
        All bodies; frames without contact are as they were, to the last bit.
    """
    report = progress or (lambda fraction: None)
    watch = Watch(model)
    sets = landmarks or {}
    opened = {
        i: reopened(model, rig, tracks[i], body, replace(options, landmarks=sets.get(i, options.landmarks)))
        for i, body in bodies.items()
    }
    people = {i: _Person(model, watch, bodies[i], o) for i, o in opened.items() if o is not None}
    frames = np.unique(np.concatenate([np.zeros(0, np.int64), *(p.frames for p in people.values())]))
    wanted = set(people) if whose is None else {whose} & set(people)
    stride = max(1, min(MARGIN_FRAMES, round(SCAN_S * options.fps)))
    scanned = frames[::stride]
    touching = _touching(watch, people, scanned, wanted, lambda f: report(0.4 * f))
    marked = np.isin(frames, [f for per in touching.values() for f in per])
    runs = _runs(marked, MARGIN_FRAMES + stride)
    for number, (start, stop) in enumerate(runs):
        _refine_run(watch, people, frames[start:stop])
        report(0.4 + 0.6 * (number + 1) / len(runs))
    report(1.0)
    return {i: people[i].result() if i in people else body for i, body in bodies.items()}


def contact_depths(model: BodyModel, bodies: Mapping[int, BodyTrack], frames: np.ndarray) -> dict[int, Depths]:
    """How deep bodies are in each other and in themselves, by person id; NaN where a person has no body."""
    from pipeline.export.bodies import posed_vertices

    watch = Watch(model)
    found = {i: Depths(frames, *np.full((2, len(frames)), np.nan)) for i in bodies}
    for k, frame in enumerate(frames):
        here = {i: posed_vertices(model, b, np.flatnonzero(b.frames == frame)) for i, b in bodies.items()}
        here = {i: v[0].astype(np.float64) for i, v in here.items() if len(v) and np.isfinite(v).all()}
        for i, touches in overlaps(watch, here).items():
            found[i].between[k] = touches.depths[~touches.own].max(initial=0.0)
            found[i].within[k] = touches.depths[touches.own].max(initial=0.0)
    return found


class _Person:
    """One body while it is refined. ``frames`` (F,) are those of the reopened state."""

    def __init__(self, model: BodyModel, watch: Watch, body: BodyTrack, opened: Reopened) -> None:
        self.model, self.watch, self.body, self.opened = model, watch, body, opened
        self.frames = np.asarray(body.frames)[opened.obs.rows]
        self.state = opened.state
        self.changed = np.zeros(len(self.frames), bool)

    def rows(self, frames: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isin(self.frames, frames))

    def vertices(self, row: int) -> np.ndarray:
        """(V, 3) of one row of the state."""
        return self.track(np.array([row]))[0]

    def track(self, rows: np.ndarray) -> np.ndarray:
        import torch

        r = logarithm(self.state.rotations[rows])
        hands = self.opened.obs.rows[rows]
        values = {"global_orient": r[:, 0], "body_pose": r[:, 1:].reshape(-1, 63), "transl": self.state.transl[rows]}
        for name in ("left_hand_pose", "right_hand_pose", "jaw_pose", "expression"):
            values[name] = getattr(self.body, name)[hands]
        with torch.no_grad():
            tensors = {k: torch.as_tensor(v).to(self.model.template) for k, v in values.items()}
            betas = torch.as_tensor(self.state.betas).to(self.model.template)[None]
            return self.model(betas=betas, **tensors).vertices.cpu().numpy().astype(np.float64)

    def result(self) -> BodyTrack:
        """The body with the refined frames, the others untouched."""
        rows = np.flatnonzero(self.changed)
        at = self.opened.obs.rows[rows]
        r = logarithm(self.state.rotations[rows])
        new = {"global_orient": r[:, 0], "body_pose": r[:, 1:].reshape(-1, 63), "transl": self.state.transl[rows]}
        arrays = {name: getattr(self.body, name).copy() for name in new}
        for name, values in new.items():
            arrays[name][at] = values
        errors = self.body.fit_error_m.copy()
        errors[at] = self.opened.joint_error(self.state)[rows]
        return replace(self.body, **arrays, fit_error_m=errors)


def _touching(
    watch: Watch, people: Mapping[int, _Person], frames: np.ndarray, whose: Collection[int] | None, report=None
) -> dict[int, dict[int, Touches]]:
    """Person id -> frame -> what they touch, for frames in which one of ``whose`` is too deep in something."""
    found: dict[int, dict[int, Touches]] = {i: {} for i in people}
    for k, frame in enumerate(frames):
        here = {i: p.rows(frame) for i, p in people.items()}
        posed = {i: people[i].vertices(int(rows[0])) for i, rows in here.items() if len(rows)}
        every = overlaps(watch, posed, whose)
        if any(_is_bad(t) for t in every.values()):
            for i, touches in every.items():
                if len(touches.points):
                    found[i][int(frame)] = touches
        if report is not None:
            report((k + 1) / len(frames))
    return found


def _is_bad(touches: Touches) -> bool:
    return bool((touches.depths > np.where(touches.own, BAD_OWN_M, BAD_M)).any())


def _runs(marked: np.ndarray, margin: int) -> list[tuple[int, int]]:
    """Runs of marked frames with their margins, joined where those meet, cut where they are long."""
    wide = np.convolve(marked, np.ones(2 * margin + 1))[margin : margin + len(marked)] > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wide, [False]]).astype(int)))
    runs = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        count = int(np.ceil((stop - start) / LONGEST_RUN))
        cuts = np.linspace(start, stop, count + 1).astype(int)
        runs += [(int(a), int(b)) for a, b in pairwise(cuts)]
    return runs


def _refine_run(watch: Watch, people: Mapping[int, _Person], frames: np.ndarray) -> None:
    """Some rounds of: find what is inside what, and solve everybody with it, each on their own.

    Where that leaves most of it, what was seen says so and not the fit's noise: everybody stays as they were.
    """
    before = {i: p.state for i, p in people.items()}
    depths = []
    for _ in range(ROUNDS):
        touching = _touching(watch, people, frames, None)
        depths.append(sum(t.depths.max(initial=0.0) for of in touching.values() for t in of.values()))
        if depths[-1] == 0:
            break
        for i, person in people.items():
            if touching[i]:
                _solve(watch, person, frames, touching[i])
    if depths[-1] > LEFT_SHARE * depths[0]:
        for i, person in people.items():
            person.state = before[i]
            person.changed[person.rows(frames)] = False
        return
    for i, person in people.items():
        _fade(person, before[i], frames)


def _solve(watch: Watch, person: _Person, frames: np.ndarray, touching: Mapping[int, Touches]) -> None:
    rows = person.rows(frames)
    numbers = np.unique(np.concatenate([t.points for t in touching.values()]))
    skin = Skin(person.model, watch.vertices[numbers], person.opened.kinematics)
    row_of = {int(f): k for k, f in enumerate(person.frames[rows])}
    state = person.state.part(rows)
    places = skin.points(state)
    f, p, n, level = [], [], [], []
    for frame, touches in touching.items():
        k = row_of[frame]
        at = np.searchsorted(numbers, touches.points)
        share = np.where(touches.own, 1.0, 0.5)
        f.append(np.full(len(at), k))
        p.append(at)
        n.append(touches.normals)
        level.append((touches.normals * places[k, at]).sum(1) + share * touches.depths)
    term = Contact(skin, *(np.concatenate(x) for x in (f, p, n, level)))
    solved = person.opened.solve(rows, state, [term], ITERATIONS)
    transl, rotations = person.state.transl.copy(), person.state.rotations.copy()
    transl[rows], rotations[rows] = solved.transl, solved.rotations
    person.state = replace(person.state, transl=transl, rotations=rotations)
    person.changed[rows] = True


def _fade(person: _Person, before: State, frames: np.ndarray) -> None:
    """The ends of a run lead back to what stands beside it."""
    rows = person.rows(frames)
    if not person.changed[rows].any():
        return
    steps = np.arange(1, len(rows) + 1)
    share = np.ones(len(rows))
    if rows[0] > 0:
        share = np.minimum(share, steps / (MARGIN_FRAMES + 1))
    if rows[-1] < len(person.frames) - 1:
        share = np.minimum(share, steps[::-1] / (MARGIN_FRAMES + 1))
    transl, rotations = person.state.transl.copy(), person.state.rotations.copy()
    transl[rows] = before.transl[rows] + share[:, None] * (transl[rows] - before.transl[rows])
    rotations[rows] = blend(before.rotations[rows], rotations[rows], share[:, None])
    person.state = replace(person.state, transl=transl, rotations=rotations)
