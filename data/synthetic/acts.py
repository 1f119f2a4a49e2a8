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
