"""What people do: alone, in twos and threes, each drawn at random within what is plausible, still or over time.

An act is a function of the time, a random generator and the bodies (``Build``) of those who take part. It gives a
``Part`` for each, and the things they use. Times run from 0; interactions are engaged in the middle of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from data.synthetic.acting import SIDES, Part, perform
from data.synthetic.motion import Gait, Path, walk
from pipeline.skeletons import SMPLX55


@dataclass(frozen=True)
class Build:
    """A body that acts: unposed joints (55, 3) and the heights (2,) of its soles."""

    rest: np.ndarray
    soles: np.ndarray

    def joint(self, name: str) -> np.ndarray:
        return self.rest[SMPLX55.index(name)]

    def above_floor(self, name: str) -> float:
        """Metres of a joint over the floor when the body stands."""
        return float(self.joint(name)[1] - self.soles.mean())

    @property
    def arm(self) -> float:
        """Metres from shoulder to wrist."""
        chain = [self.joint(f"left_{j}") for j in ("shoulder", "elbow", "wrist")]
        return float(np.linalg.norm(chain[1] - chain[0]) + np.linalg.norm(chain[2] - chain[1]))

    @property
    def leg(self) -> float:
        return self.above_floor("left_hip") - self.above_floor("left_ankle")


@dataclass(frozen=True)
class Thing:
    """A box that is used or stands about: ``size`` (3,) metres; over F frames ``centre`` (F, 3), ``heading`` (F,)."""

    size: np.ndarray
    centre: np.ndarray
    heading: np.ndarray
    colour: tuple[float, float, float] = (0.5, 0.42, 0.33)


@dataclass(frozen=True)
class Act:
    """Parameters of everybody (as ``perform`` gives them) and the things around them."""

    name: str
    people: list[dict[str, np.ndarray]]
    things: list[Thing] = field(default_factory=list)


Maker = Callable[[np.ndarray, np.random.Generator, Sequence[Build]], Act]


def engaged(times: np.ndarray) -> np.ndarray:
    """(F,) 0 at the ends, 1 over the middle two fifths; 1 where there is but one time."""
    if len(times) == 1:
        return np.ones(1)
    t = (times - times[0]) / (times[-1] - times[0])
    up = np.clip(np.minimum(t, 1 - t) / 0.3, 0, 1)
    return up * up * (3 - 2 * up)


def sway(part: Part, times: np.ndarray, g: np.random.Generator, amount: float = 1.0) -> Part:
    """Somebody who stands never stands quite still."""
    phase = g.uniform(0, 2 * np.pi, 6)
    slow = [np.sin(0.9 * times + phase[k]) + 0.5 * np.sin(2.1 * times + 2 * phase[k]) for k in range(6)]
    return replace(
        part,
        ground=part.ground + 0.012 * amount * np.stack(slow[:2], 1),
        spine=part.spine + 0.03 * amount * np.stack(slow[2:5], 1),
        lean=part.lean + 0.012 * amount * np.stack(slow[3:6], 1),
    )


def free_arms(part: Part, times: np.ndarray, g: np.random.Generator, sides=SIDES, lively: float = 1.0) -> Part:
    """Arms that are not used gesture a little, or hang."""
    arms = dict(part.arms)
    for side in sides:
        aside, ahead, bend = (
            g.uniform(0.04, 0.45),
            g.normal(0.1, 0.25),
            g.choice([g.uniform(0.1, 0.4), g.uniform(0.4, 1.9)]),
        )
        speed, phase = g.uniform(1.5, 4, 3), g.uniform(0, 2 * np.pi, 3)
        wave = np.sin(times[:, None] * speed + phase) * lively
        arms[side] = np.array([aside, ahead, bend]) + wave * [0.08, 0.12, 0.2 * (bend > 0.4)]
        arms[side][:, 2] = np.clip(arms[side][:, 2], 0.05, 2.2)
    return replace(part, arms=arms)


def _stand(times, g, at=(0.0, 0.0), heading=None, **where) -> Part:
    heading = g.uniform(-np.pi, np.pi) if heading is None else heading
    where.setdefault("width", g.uniform(0.16, 0.3))
    where.setdefault("stride", g.uniform(-0.15, 0.15))
    part = Part.standing(len(times), np.asarray(at, np.float64), heading, **where)
    shift = g.uniform(-0.3, 0.3) * where["width"] * np.array([-np.sin(heading), np.cos(heading)])
    part = replace(part, ground=part.ground + shift, drop=part.drop + g.uniform(0, 0.02))
    return sway(part, times, g)


def _world(part: Part, offset) -> np.ndarray:
    """(F, 3) of an offset (forward, left, up from the floor) to a body's place."""
    c, s = np.cos(part.heading), np.sin(part.heading)
    offset = np.broadcast_to(offset, (len(c), 3))
    return np.stack(
        [
            part.ground[:, 0] + c * offset[:, 0] - s * offset[:, 1],
            part.ground[:, 1] + s * offset[:, 0] + c * offset[:, 1],
            offset[:, 2],
        ],
        1,
    )


def _acted(name: str, builds: Sequence[Build], parts: Sequence[Part], things: Sequence[Thing] = ()) -> Act:
    return Act(name, [perform(b.rest, b.soles, p) for b, p in zip(builds, parts, strict=True)], list(things))


# --- alone ---------------------------------------------------------------------------------------------------------


def standing(times, g, builds) -> Act:
    """Standing about, gesturing."""
    part = free_arms(_stand(times, g), times, g)
    part = replace(part, spine=part.spine + np.array([0, g.uniform(-0.4, 0.4), g.uniform(-0.1, 0.1)]))
    return _acted("standing", builds, [part])


def walking(times, g, builds) -> Act:
    build = builds[0]
    speed = g.uniform(1.1, 1.45) * build.leg
    heading = g.uniform(-np.pi, np.pi)
    way = Path(-0.5 * speed * times[-1] * np.array([np.cos(heading), np.sin(heading)]), heading, speed)
    return Act("walking", [walk(build.rest, build.soles, way, times, Gait.sample(g), g.uniform())])


def reaching(times, g, builds) -> Act:
    """One or both hands somewhere in reach."""
    build, part = builds[0], _stand(times, g)
    part = free_arms(part, times, g)
    shoulder = build.above_floor("left_shoulder")
    hands = {}
    for side in SIDES if g.random() < 0.6 else SIDES[:1]:
        sign = 1 if side == "left" else -1
        way = np.array([g.uniform(0.15, 1.0), sign * g.uniform(-0.25, 0.9), g.uniform(-0.8, 1.0)])
        way *= g.uniform(0.6, 0.97) * build.arm / np.linalg.norm(way)
        hands[side] = _world(part, way + np.array([0, sign * build.joint("left_shoulder")[0], shoulder - 0.02]))
        hands[side] = hands[side] + 0.04 * np.sin(times[:, None] * g.uniform(1, 3, 3) + g.uniform(0, 6, 3))
    part = replace(part, hands=hands, spine=part.spine + np.array([g.uniform(0, 0.3), g.uniform(-0.5, 0.5), 0]))
    return _acted("reaching", builds, [part])


def squatting(times, g, builds) -> Act:
    build, e = builds[0], engaged(times)
    part = free_arms(_stand(times, g, width=g.uniform(0.3, 0.5), stride=g.uniform(-0.2, 0.2)), times, g)
    deep = g.uniform(0.15, 0.42) * build.leg * e
    part = replace(part, drop=part.drop + deep, spine=part.spine + np.outer(e, [g.uniform(0.2, 0.6), 0, 0]))
    part = replace(part, lean=part.lean + np.outer(deep, [0.9, 0, 0]))
    part = replace(part, arms={s: part.arms[s] + np.outer(e, [0.1, g.uniform(0.3, 1.1), 0.2]) for s in SIDES})
    return _acted("squatting", builds, [part])


def stepping(times, g, builds) -> Act:
    """A lunge, or one foot off the floor: kicks, balance."""
    build, e = builds[0], engaged(times)
    heading = g.uniform(-np.pi, np.pi)
    part = _stand(times, g, heading=heading, width=g.uniform(0.15, 0.3), stride=g.uniform(0.3, 0.75) * build.leg)
    part = free_arms(part, times, g, lively=2)
    if g.random() < 0.5:
        lift, feet, pitch = part.lift.copy(), part.feet.copy(), part.pitch.copy()
        lift[:, 0] = g.uniform(0.15, 0.55) * build.leg * e
        feet[:, 0] += np.outer(e, g.uniform(-0.1, 0.35) * np.array([np.cos(heading), np.sin(heading)]))
        pitch[:, 0] = -g.uniform(0, 0.7) * e
        ground = 0.8 * part.feet[:, 1] + 0.2 * part.ground
        part = replace(part, lift=lift, feet=feet, pitch=pitch, ground=ground)
    part = replace(part, drop=part.drop + g.uniform(0.0, 0.12) * e)
    return _acted("stepping", builds, [part])


def raising(times, g, builds) -> Act:
    """Arms aside and up: waving, stretching, jumping-jack poses."""
    part = _stand(times, g, width=g.uniform(0.15, 0.6))
    e, arms = engaged(times), {}
    for side in SIDES:
        high = g.uniform(0.3, 2.6)
        wave = 0.15 * np.sin(times * g.uniform(2, 7) + g.uniform(0, 6))
        arms[side] = np.stack([high * e + wave, g.uniform(-0.2, 0.4) + 0 * e, g.uniform(0.1, 1.4) + wave], 1)
    return _acted("raising", builds, [replace(part, arms=arms)])


def hands_on(times, g, builds) -> Act:
    """Hands on the hips, folded before the chest, behind the head."""
    build, part = builds[0], _stand(times, g)
    hip, shoulder = build.above_floor("left_hip"), build.above_floor("left_shoulder")
    half = build.joint("left_shoulder")[0]
    where = g.choice(["hips", "folded", "head", "belly"])
    hands, elbows = {}, {}
    for side, sign in (("left", 1), ("right", -1)):
        place = {
            "hips": (0.06, sign * (half + 0.03), hip + 0.10),
            "folded": (0.22 + 0.03 * sign, -sign * 0.06, 0.7 * shoulder + 0.3 * hip + 0.03 * sign),
            "head": (0.02, sign * 0.15, shoulder + 0.18),
            "belly": (0.20, sign * 0.05, 0.35 * shoulder + 0.65 * hip + 0.05),
        }[str(where)]
        hands[side] = _world(part, place)
        elbows[side] = {
            "hips": (sign * 1.0, -0.2, -0.6), "folded": (sign * 0.8, -0.8, -0.1), "head": (sign * 1.0, 0.3, 0.2),
            "belly": (sign * 0.9, -0.6, -0.4),
        }[str(where)]  # fmt: skip
    return _acted(f"hands on {where}", builds, [replace(part, hands=hands, elbows=elbows)])


def sitting(times, g, builds) -> Act:
    """On a box."""
    part, thing = _seated(times, g, builds[0], (0.0, 0.0), g.uniform(-np.pi, np.pi))
    return _acted("sitting", builds, [part], [thing])


def _seated(times, g, build: Build, at, heading: float) -> tuple[Part, Thing]:
    ahead, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    thigh = np.linalg.norm(build.joint("left_knee") - build.joint("left_hip"))
    seat = build.above_floor("left_knee") * g.uniform(0.9, 1.02)
    part = Part.standing(len(times), np.asarray(at, np.float64), heading, width=g.uniform(0.2, 0.4))
    out = g.uniform(0.85, 1.15)
    feet = part.feet + ahead * thigh * out + g.uniform(-0.05, 0.08, (2, 1)) * ahead
    high = seat + build.joint("pelvis")[1] - build.joint("left_hip")[1] + 0.105
    part = replace(
        part,
        feet=feet,
        seat=np.full(len(times), high),
        spine=part.spine + np.array([g.uniform(0.05, 0.45), g.uniform(-0.3, 0.3), 0]),
        lean=part.lean + np.array([g.uniform(-0.25, 0.15), 0, 0]),
    )
    part = replace(part, spine=part.spine + 0.04 * np.sin(times[:, None] * g.uniform(0.5, 2, 3) + g.uniform(0, 6, 3)))
    knee = [_world(part, (thigh * g.uniform(0.6, 0.9), s * 0.13, seat + 0.17)) for s in (1, -1)]
    hands = dict(zip(SIDES, knee, strict=True)) if g.random() < 0.6 else {}
    part = replace(free_arms(part, times, g), hands=hands)
    size = np.array([g.uniform(0.36, 0.45), g.uniform(0.4, 0.55), seat])
    centre = np.append(np.asarray(at) - 0.02 * ahead + 0 * left, seat / 2)
    return part, _still(size, centre, heading, len(times), (0.42, 0.33, 0.25))


def _still(size, centre, heading: float, frames: int, colour) -> Thing:
    return Thing(np.asarray(size), np.tile(centre, (frames, 1)), np.full(frames, heading), tuple(colour))


ALONE: tuple[Maker, ...] = (standing, walking, reaching, squatting, stepping, raising, hands_on, sitting)


def pose(g: np.random.Generator, build: Build) -> dict[str, np.ndarray]:
    """One frame of somebody who does something alone: parameters with F = 1."""
    act = ALONE[g.integers(len(ALONE))]
    times = np.array([0.0]) if act is not walking else np.array([g.uniform(0, 1.1)])
    return act(times, g, [build]).people[0]


# --- in twos -------------------------------------------------------------------------------------------------------


def _facing(times, g, apart: float, angle: float | None = None, **where) -> list[Part]:
    """Two who stand ``apart`` metres from each other, face to face."""
    angle = g.uniform(-np.pi, np.pi) if angle is None else angle
    way = np.array([np.cos(angle), np.sin(angle)])
    parts = []
    for sign in (1, -1):
        heading = angle if sign > 0 else angle + np.pi
        parts.append(_stand(times, g, -sign * apart / 2 * way, heading + g.normal(0, 0.08), **where))
    return parts


def _eyes(part: Part, build: Build) -> np.ndarray:
    return _world(part, (0.08, 0.0, build.above_floor("left_eye")))


def _looking(parts: Sequence[Part], builds: Sequence[Build]) -> list[Part]:
    """Everybody looks at the next one."""
    following = [(k + 1) % len(parts) for k in range(len(parts))]
    return [replace(p, look=_eyes(parts[n], builds[n])) for p, n in zip(parts, following, strict=True)]


def _guided(part: Part, side: str, target: np.ndarray, share: np.ndarray, build: Build, elbow=None) -> Part:
    """The wrist moves from beside the hip to ``target`` (F, 3) with the share (F,) of the way."""
    sign = 1 if side == "left" else -1
    hip = _world(part, (0.12, sign * (build.joint("left_shoulder")[0] + 0.08), build.above_floor("left_hip") + 0.02))
    hands = part.hands | {side: hip + (target - hip) * share[:, None]}
    elbows = part.elbows | ({side: elbow} if elbow is not None else {})
    return replace(part, hands=hands, elbows=elbows)


def talking(times, g, builds) -> Act:
    parts = _looking(_facing(times, g, g.uniform(0.85, 1.4)), builds)
    return _acted("talking", builds, [free_arms(p, times, g) for p in parts])


def passing(times, g, builds) -> Act:
    """Two walk past each other."""
    heading = g.uniform(-np.pi, np.pi)
    middle = times.mean() + (g.uniform(-0.25, 0.25) if len(times) == 1 else 0.0)
    people = []
    for k, build in enumerate(builds):
        angle, speed = heading + np.pi * k, g.uniform(1.15, 1.4) * build.leg
        forward, left = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        way = Path(-speed * middle * forward + g.uniform(0.3, 0.42) * left, angle, speed)
        people.append(walk(build.rest, build.soles, way, times, Gait.sample(g), g.uniform()))
    return Act("passing", people)


def shaking_hands(times, g, builds) -> Act:
    parts, e = _looking(_facing(times, g, g.uniform(0.82, 1.0)), builds), engaged(times)
    height = np.mean([0.62 * b.above_floor("left_elbow") + 0.38 * b.above_floor("left_hip") for b in builds])
    shake = 0.035 * np.sin(2 * np.pi * 1.6 * times) * (e > 0.99)
    middle = (parts[0].ground + parts[1].ground) / 2
    out = []
    for part, build, other in zip(parts, builds, parts[::-1], strict=True):
        way = other.ground - part.ground
        way = way / np.linalg.norm(way, axis=1, keepdims=True)
        side = np.stack([-way[:, 1], way[:, 0]], 1)
        target = np.column_stack([middle - 0.085 * way - 0.02 * side, height + shake])
        out.append(_guided(free_arms(part, times, g, ("left",)), "right", target, e, build))
    return _acted("shaking hands", builds, out)


def high_five(times, g, builds) -> Act:
    parts, e = _looking(_facing(times, g, g.uniform(0.75, 0.95)), builds), engaged(times)
    high = np.mean([b.above_floor("left_eye") for b in builds]) + g.uniform(-0.05, 0.2)
    middle, out = (parts[0].ground + parts[1].ground) / 2, []
    for part, build, other in zip(parts, builds, parts[::-1], strict=True):
        way = (other.ground - part.ground) / np.linalg.norm(other.ground - part.ground, axis=1, keepdims=True)
        side = np.stack([-way[:, 1], way[:, 0]], 1)
        target = np.column_stack([middle - 0.05 * way - 0.16 * side, 0 * e + high - 0.1])
        out.append(_guided(free_arms(part, times, g, ("left",)), "right", target, e, build, (-0.7, -0.6, -0.3)))
    return _acted("high five", builds, out)


def carrying(times, g, builds) -> Act:
    """Two carry a box between them, or one hands it to the other."""
    wide = g.uniform(0.35, 0.75)
    parts, e = _looking(_facing(times, g, wide + g.uniform(0.62, 0.8)), builds), engaged(times)
    height = np.mean([b.above_floor("left_hip") for b in builds]) + g.uniform(0.05, 0.2) + 0.05 * np.sin(1.5 * times)
    size = np.array([wide, g.uniform(0.25, 0.5), g.uniform(0.15, 0.35)])
    middle, out = (parts[0].ground + parts[1].ground) / 2, []
    for part, build, other in zip(parts, builds, parts[::-1], strict=True):
        way = (other.ground - part.ground) / np.linalg.norm(other.ground - part.ground, axis=1, keepdims=True)
        side = np.stack([-way[:, 1], way[:, 0]], 1)
        for name, sign in (("left", 1), ("right", -1)):
            hold = middle - (wide / 2 - 0.07) * way + sign * (size[1] / 2 + 0.025) * side
            target = np.column_stack([hold - 0.10 * way, height - 0.02])
            part = _guided(part, name, target, np.ones_like(e), build)
        out.append(replace(part, spine=part.spine + np.array([0.15, 0, 0])))
    angle = np.arctan2(*(parts[1].ground - parts[0].ground).T[::-1])
    colour = g.uniform(0.3, 0.8, 3) * [1, 0.9, 0.75]
    box = Thing(size, np.column_stack([middle, height]), angle, tuple(colour))
    return _acted("carrying", builds, out, [box])


def sitting_together(times, g, builds) -> Act:
    """Side by side or face to face on boxes."""
    beside = g.random() < 0.6
    angle, apart = g.uniform(-np.pi, np.pi), g.uniform(0.62, 0.85) if beside else g.uniform(1.25, 1.6)
    way = np.array([np.cos(angle), np.sin(angle)])
    parts, things = [], []
    for k, build in enumerate(builds):
        sign = 1 - 2 * k
        heading = angle + np.pi / 2 + g.normal(0, 0.12) if beside else angle + np.pi * (k == 1)
        part, thing = _seated(times, g, build, -sign * apart / 2 * way, heading)
        parts.append(part)
        things.append(thing)
    return _acted("sitting together", builds, _looking(parts, builds), things)


def dancing_apart(times, g, builds) -> Act:
    """Hands held at arm's length, steps from side to side."""
    parts, out = _facing(times, g, g.uniform(0.75, 0.95)), []
    middle = (parts[0].ground + parts[1].ground) / 2
    shift = 0.10 * np.sin(2 * np.pi * 0.55 * times + g.uniform(0, 6))
    turn = 0.3 * np.sin(2 * np.pi * 0.3 * times + g.uniform(0, 6))
    height = np.mean([0.5 * b.above_floor("left_shoulder") + 0.5 * b.above_floor("left_hip") for b in builds])
    for k, (part, build, other) in enumerate(zip(parts, builds, parts[::-1], strict=True)):
        way = (other.ground - part.ground) / np.linalg.norm(other.ground - part.ground, axis=1, keepdims=True)
        side = np.stack([-way[:, 1], way[:, 0]], 1)
        step = (1 - 2 * k) * shift[:, None] * side
        part = _step(part, step, times)
        part = replace(part, spine=part.spine + np.stack([0 * turn, turn * (1 - 2 * k), 0 * turn], 1))
        for name, sign in (("left", 1), ("right", -1)):
            target = np.column_stack(
                [middle - 0.06 * way + sign * 0.26 * side, height + sign * 0.05 * np.sin(3 * times)]
            )
            part = _guided(part, name, target, np.ones(len(times)), build)
        out.append(part)
    return _acted("dancing apart", builds, _looking(out, builds))


def _step(part: Part, shift: np.ndarray, times: np.ndarray) -> Part:
    """The whole body moves by ``shift`` (F, 2), each foot after it in its own half of the beat, off the floor."""
    lift = part.lift.copy()
    beat = 2 * np.pi * 0.55 * times
    for side in (0, 1):
        lift[:, side] += 0.015 * np.clip(np.sin(2 * beat + np.pi * side), 0, 1)
    return replace(part, ground=part.ground + shift, feet=part.feet + 0.85 * shift[:, None], lift=lift)


# --- close -----------------------------------------------------------------------------------------------------------


def hugging(times, g, builds) -> Act:
    """Arms round each other, chests together in the middle of the time."""
    e = engaged(times)
    near = g.uniform(0.29, 0.36) + 0.03 * np.mean([np.abs(b.joint("left_shoulder")[0]) for b in builds])
    parts = _facing(times, g, 0.78, stride=0.12, width=0.2)
    middle, out = (parts[0].ground + parts[1].ground) / 2, []
    offset = g.uniform(0.03, 0.07)
    for part, build, other, theirs in zip(parts, builds, parts[::-1], builds[::-1], strict=True):
        way = (other.ground - part.ground) / np.linalg.norm(other.ground - part.ground, axis=1, keepdims=True)
        side = np.stack([-way[:, 1], way[:, 0]], 1)
        goal = middle - near / 2 * way + offset * side
        shift = (goal - part.ground) * e[:, None]
        part = replace(part, ground=part.ground + shift, feet=part.feet + 0.9 * shift[:, None])
        part = replace(part, lean=part.lean + np.outer(e, [0.05, 0, 0]), spine=part.spine + np.outer(e, [0.06, 0, 0]))
        back = middle + (near / 2 + 0.13) * way - offset * side
        high = theirs.above_floor("left_shoulder")
        over = {"left": high - 0.06, "right": high - 0.26} if g.random() < 0.5 else dict.fromkeys(SIDES, high - 0.22)
        for name, sign in (("left", 1), ("right", -1)):
            target = np.column_stack([back + sign * 0.07 * side, 0 * e + over[name]])
            part = _guided(part, name, target, e, build, (0.9 * sign, -0.3, 0.1))
        out.append(part)
    return _acted("hugging", builds, out)


def waltzing(times, g, builds) -> Act:
    """A ballroom hold that turns slowly."""
    turn = 0.5 * (times - times.mean()) + g.uniform(-np.pi, np.pi)
    apart, out, parts = g.uniform(0.36, 0.44), [], []
    for k in range(2):
        heading = turn + np.pi * k
        way = np.stack([np.cos(heading), np.sin(heading)], 1)
        side = np.stack([-way[:, 1], way[:, 0]], 1)
        ground = -apart / 2 * way + 0.05 * side
        feet = ground[:, None] + np.stack([0.09 * side + 0.05 * way, -0.09 * side - 0.03 * way], 1)
        part = Part.standing(len(times), (0, 0), 0.0)
        part = replace(part, ground=ground, heading=heading, feet=feet, toes=heading[:, None] + [0.1, -0.1])
        parts.append(replace(part, lean=part.lean + np.array([-0.04, 0, 0])))
    high = np.mean([b.above_floor("left_shoulder") for b in builds])
    for k, (part, build, other) in enumerate(zip(parts, builds, builds[::-1], strict=True)):
        way = np.stack([np.cos(part.heading), np.sin(part.heading)], 1)
        side = np.stack([-way[:, 1], way[:, 0]], 1)
        held, free = ("left", "right") if k == 0 else ("right", "left")
        sign = 1 if held == "left" else -1
        joined = np.column_stack(
            [part.ground + (apart / 2) * way + sign * 0.52 * side, np.full(len(times), high + 0.02)]
        )
        joined[:, :2] -= 0.04 * way
        other_at = part.ground + apart * way
        behind = np.column_stack([
            other_at + 0.10 * way - sign * 0.12 * side,
            np.full(len(times), other.above_floor("left_shoulder") - (0.22 if k == 0 else 0.02)),
        ])  # fmt: skip
        one = np.ones(len(times))
        part = _guided(part, held, joined, one, build, (0.2 * sign, -1.0, 0.0))
        out.append(_guided(part, free, behind, one, build, (-0.9 * sign, -0.2, 0.2)))
    return _acted("waltzing", builds, out)


def shoulder_to_shoulder(times, g, builds) -> Act:
    """Side by side, an arm round the other's shoulders."""
    return _row("shoulder to shoulder", times, g, builds)


def _row(name: str, times, g, builds) -> Act:
    """Any number in a row, arms round the neighbours' shoulders or waists."""
    angle = g.uniform(-np.pi, np.pi)
    way, ahead = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    gaps = [builds[k].joint("left_shoulder")[0] + builds[k + 1].joint("left_shoulder")[0] + g.uniform(0.12, 0.18)
            for k in range(len(builds) - 1)]  # fmt: skip
    at = np.concatenate([[0], np.cumsum(gaps)]) - sum(gaps) / 2
    # Seen from behind, the way along the row is to the right of those who look ahead.
    parts = [_stand(times, g, x * way, angle + np.pi / 2 + g.normal(0, 0.06), width=0.18) for x in at]
    one, out = np.ones(len(times)), []
    for k, (part, build) in enumerate(zip(parts, builds, strict=True)):
        part = free_arms(part, times, g, lively=0.5)
        for side, step in (("right", 1), ("left", -1)):
            if not 0 <= k + step < len(parts):
                continue
            other, theirs = parts[k + step], builds[k + step]
            waist = g.random() < 0.35
            height = theirs.above_floor("left_shoulder") + 0.015 if not waist else theirs.above_floor("pelvis") + 0.14
            beyond = (0.10 if not waist else 0.06) * step * way
            target = np.column_stack([other.ground + beyond - (0.10 if not waist else 0.13) * ahead, one * height])
            elbow = (0.5 if side == "left" else -0.5, -0.5, -1.0)
            part = _guided(part, side, target, one, build, elbow)
        out.append(part)
    return _acted(name, builds, out)


def hugging_from_behind(times, g, builds) -> Act:
    """One stands behind the other, arms round the waist or the shoulders."""
    angle, e = g.uniform(-np.pi, np.pi), engaged(times)
    way = np.array([np.cos(angle), np.sin(angle)])
    apart = g.uniform(0.27, 0.33)
    front, back = (_stand(times, g, s * apart / 2 * way, angle, width=0.2, stride=0.05) for s in (1, -1))
    front = free_arms(front, times, g, lively=0.3)
    high = builds[0].above_floor("left_shoulder") - 0.10 if g.random() < 0.5 else builds[0].above_floor("pelvis") + 0.14
    for side, sign in (("left", 1), ("right", -1)):
        target = _world(front, (0.19, -sign * 0.03, high + 0.03 * sign))
        back = _guided(back, side, target, e, builds[1], (0.9 * sign, -0.4, -0.2))
    back = replace(back, spine=back.spine + np.array([0.12, 0, 0]))
    return _acted("hugging from behind", builds, [front, back])


def back_to_back(times, g, builds) -> Act:
    angle = g.uniform(-np.pi, np.pi)
    way = np.array([np.cos(angle), np.sin(angle)])
    apart = g.uniform(0.28, 0.34)
    parts = [_stand(times, g, s * apart / 2 * way, angle + np.pi * (s < 0), width=0.22, stride=0.0) for s in (1, -1)]
    acted = []
    for part, build in zip(parts, builds, strict=True):
        high = 0.7 * build.above_floor("left_shoulder") + 0.3 * build.above_floor("left_hip")
        folded = {s: _world(part, (0.20 + 0.03 * k, -k * 0.06, high)) for s, k in (("left", 1), ("right", -1))}
        arms = {"hands": folded, "elbows": {"left": (0.8, -0.8, -0.1), "right": (-0.8, -0.8, -0.1)}}
        acted.append(replace(part, **arms) if g.random() < 0.6 else free_arms(part, times, g, lively=0.4))
    return _acted("back to back", builds, acted)


def whispering(times, g, builds) -> Act:
    """One leans over to the other's ear, a hand on the shoulder."""
    angle, e = g.uniform(-np.pi, np.pi), engaged(times)
    listener = free_arms(_stand(times, g, (0, 0), angle, width=0.18), times, g, lively=0.4)
    turn = angle + g.uniform(1.1, 1.5)
    at = np.array([np.cos(turn + np.pi), np.sin(turn + np.pi)]) * g.uniform(0.40, 0.46)
    speaker = _stand(times, g, at, turn, width=0.18, stride=0.12)
    speaker = replace(
        speaker, spine=speaker.spine + np.outer(e, [0.25, 0, 0]), lean=speaker.lean + np.outer(e, [0.08, 0, 0])
    )
    shoulder = _world(listener, (0.0, 0.10, builds[0].above_floor("left_shoulder") + 0.03))
    speaker = free_arms(speaker, times, g, lively=0.4)
    speaker = _guided(speaker, "right", shoulder, e, builds[1])
    return _acted("whispering", builds, [listener, replace(speaker, look=_eyes(listener, builds[0]))])


# --- in threes -------------------------------------------------------------------------------------------------------


def circle(times, g, builds) -> Act:
    """Three in a circle, talking, or hand in hand."""
    radius, start, held = g.uniform(0.55, 0.85), g.uniform(-np.pi, np.pi), g.random() < 0.5
    angles = start + 2 * np.pi * np.arange(3) / 3 + g.normal(0, 0.1, 3)
    parts = [_stand(times, g, radius * np.array([np.cos(a), np.sin(a)]), a + np.pi) for a in angles]
    if held:
        bounce = 0.03 * np.sin(2 * np.pi * times)
        for k in range(3):
            n = (k + 1) % 3  # the next one stands to the right
            height = np.mean([builds[j].above_floor("left_hip") for j in (k, n)]) + 0.12 + bounce
            point = np.column_stack([(parts[k].ground + parts[n].ground) / 2, height])
            way = np.column_stack([parts[n].ground - parts[k].ground, 0 * height])
            way /= np.linalg.norm(way, axis=1, keepdims=True)
            one = np.ones(len(times))
            parts[k] = _guided(parts[k], "right", point - 0.07 * way, one, builds[k])
            parts[n] = _guided(parts[n], "left", point + 0.07 * way, one, builds[n])
    else:
        parts = [free_arms(p, times, g) for p in parts]
    return _acted("circle", builds, _looking(parts, builds))


def row_of_three(times, g, builds) -> Act:
    return _row("row of three", times, g, builds)


def pair_and_third(times, g, builds) -> Act:
    """Two who have to do with each other, and a third who stands by or walks past."""
    pair = (TWO_NATURAL + TWO_CLOSE)[g.integers(len(TWO_NATURAL) + len(TWO_CLOSE))]
    act = pair(times, g, builds[:2])
    angle, away = g.uniform(-np.pi, np.pi), g.uniform(0.95, 1.25)
    third = free_arms(_stand(times, g, away * np.array([np.cos(angle), np.sin(angle)]), angle + np.pi), times, g)
    people = [*act.people, perform(builds[2].rest, builds[2].soles, third)]
    return Act(f"{act.name}, and a third", people, act.things)


TWO_NATURAL: tuple[Maker, ...] = (talking, passing, shaking_hands, high_five, carrying, sitting_together, dancing_apart)
TWO_CLOSE: tuple[Maker, ...] = (
    hugging, waltzing, shoulder_to_shoulder, hugging_from_behind, back_to_back, whispering
)  # fmt: skip
THREE: tuple[Maker, ...] = (circle, row_of_three, pair_and_third)
CATEGORIES: dict[str, tuple[int, tuple[Maker, ...]]] = {
    "single": (1, ALONE),
    "occluded": (1, ALONE),
    "two_natural": (2, TWO_NATURAL),
    "two_close": (2, TWO_CLOSE),
    "three": (3, THREE),
}
"""Of each of the paper's five categories (Table 1 of DeepMultiCap): how many people, and what they do."""
