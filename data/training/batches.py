"""Batches for surface and normal networks, from training people on disk: seeded by the step, flawed as stages' inputs.

A batch is a function of the files, the seed and the number of its step alone, so that a training that goes on later
sees what it would have seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from data.training import shards
from data.training.augment import Flaws, edge_error, hide, in_company, recoloured, shaken
from nets.deepmulticap.inputs import CanonicalFrame, SurfaceInputs, mask_map, masked_rgb, point_visibility
from nets.normals import eroded

PREDICTED = "predicted"
AHEAD = 8
"""Steps whose people are foretold."""
FAR = 0.08
"""Metres."""
BLUR, JUMP = 0.02, 0.02
"""Of the side of a crop, the blur that takes detail away; metres, from which a detail is the edge of something else."""
MAPS = ("rgb", "mask", "global_normals", "body_depth", "relief")


@dataclass(frozen=True)
class BatchOptions:
    """What a step sees.

    Attributes:
        people, points: of a batch, and of each of them. far: how many of these are farther than ``FAR`` outside the
            body, where cloth hangs and where others stand. pairs: on the surface, a little before and behind it.
        views: fewest and most cameras a person is seen by.
        apart: metres from the surface to either point of a pair.
    """

    people: int = 2
    points: int = 2000
    far: int = 300
    pairs: int = 500
    views: tuple[int, ...] = (2, 8)
    apart: float = 0.004


@dataclass(frozen=True)
class SurfaceBatch:
    """B people in V views at N points.

    Attributes:
        inputs: what the network reads.
        points (B, N, 3), seen (B, V, N), extra (B, N, 7), distance (B, N): signed, to the true surface, metres.
        pairs: the last 2 x ``pairs`` points are pairs, first those before, then those behind; ``slopes`` (B, pairs) is
            how much the distance grows from one to the other, per metre between them.
        relief: (B, V, S, S) metres from the fitted body's surface to the true one along each camera's axis, NaN where
            unknown or hidden. detail: the same, what is left of it after a blur over ``BLUR`` of the crop.
    """

    inputs: SurfaceInputs
    points: Tensor
    seen: Tensor
    extra: Tensor
    distance: Tensor
    slopes: Tensor
    pairs: int
    relief: Tensor
    detail: Tensor


class People:
    """The people of a split, opened as batches need them.

    Args:
        predicted: folder of the normal maps that a network has predicted for them, under the same names; None where
            there are none yet.
        volume: makes the body volume (C, R/2, R/2, R/2) that a network reads, of body vertices (V, 3) in their
            canonical frame; None for networks that read none.
    """

    def __init__(
        self, files: Sequence[Path], predicted: Path | None = None, volume: Callable[..., Tensor] | None = None
    ) -> None:
        self.files, self.predicted, self.volume = list(files), predicted, volume

    def __len__(self) -> int:
        return len(self.files)

    def arrays(self, k: int, *names: str) -> dict[str, np.ndarray]:
        out = shards.read(self.files[k], *(n for n in names if n != PREDICTED))
        if PREDICTED in names:
            out |= shards.read(self.predicted / self.files[k].name, PREDICTED)
        return out

    def expect(self, numbers: Sequence[int]) -> None:
        """Who will be asked for soon: a hint, for people that are not there yet."""


def surface_batches(
    people: People, options: BatchOptions, flaws: Flaws, seed: int, start: int = 0
) -> Iterator[SurfaceBatch]:
    """Batches from step ``start`` on, without end; with normal maps if ``people`` have predicted ones."""
    for rng, which in seeded_draws(people, options.people, (seed,), start):
        low, high = options.views
        views = int(np.clip(rng.binomial(high - low, 0.45) + low, low, high))
        items = [person_batch(people, int(k), views, options, flaws, rng) for k in which]
        yield join(items)


def seeded_draws(
    people: People, count: int, seed: tuple[int, ...], start: int, more: tuple[int, ...] = ()
) -> Iterator[tuple[np.random.Generator, np.ndarray]]:
    """The random state of each step and who is in its batch (count,); those of the next steps are foretold."""

    def draw(step: int) -> tuple[np.random.Generator, np.ndarray]:
        rng = np.random.default_rng([*seed, step, *more])
        return rng, rng.choice(len(people), count, replace=len(people) < count)

    for step in itertools.count(start):
        rng, which = draw(step)
        people.expect(which)
        for later in range(step + 1, step + 1 + AHEAD):
            people.expect(draw(later)[1])
        yield rng, which


def person_batch(
    people: People,
    k: int,
    views: int | Sequence[int],
    options: BatchOptions,
    flaws: Flaws | None,
    rng: np.random.Generator,
) -> SurfaceBatch:
    """One person in some views; ``flaws`` None for inputs without any."""
    names = MAPS if people.predicted is None else (*MAPS, PREDICTED)
    a = people.arrays(k, *names, "projection", "rotation", "centre", "scale", "points", "distance", "body", "surface",
                      "surface_normals", "surface_body")  # fmt: skip
    total, S = len(a["rgb"]), a["rgb"].shape[1]
    chosen = rng.permutation(total)[:views] if isinstance(views, int) else np.asarray(views)
    masks = a["mask"][chosen].astype(np.float32) / 255
    blocked = np.zeros((len(chosen), S, S), bool)
    projection = a["projection"][chosen]
    if flaws is not None:
        masks, blocked = _flawed_masks(masks, people, k, flaws, rng)
        if rng.random() < flaws.company:
            other = people.arrays(int(rng.integers(len(people))), "surface")["surface"]
            masks, taken = in_company(masks, a["surface"], other, projection, rng)
            blocked |= taken
        projection = shaken(projection, a["centre"], rng, flaws)
    maps = _maps(a, chosen, masks, blocked, flaws, rng)
    if people.volume is not None:
        vertices = people.arrays(k, "body_vertices")["body_vertices"].astype(np.float64)
        frame = CanonicalFrame(a["rotation"], a["centre"], float(a["scale"]))
        maps["volume"] = people.volume(frame.to_canonical(vertices))[None]
    inputs = SurfaceInputs(
        size=S,
        projection=_tensor(projection),
        rotation=_tensor(a["rotation"]),
        centre=_tensor(a["centre"]),
        scale=_tensor(a["scale"]).reshape(1),
        **maps,
    )
    points, extra, distance, slopes, pairs = _points(a, options, rng)
    points, hidden = _tensor(points), torch.from_numpy(blocked)[None]
    seen = point_visibility(inputs.projection, points, S, hidden)
    relief = np.where((masks > 0.5) & ~blocked, a["relief"][chosen].astype(np.float32), np.nan)
    detail = np.stack([detail_of(one) for one in relief])
    rest = (_tensor(x) for x in (extra, distance, slopes))
    return SurfaceBatch(inputs, points, seen, *rest, pairs, _tensor(relief), _tensor(detail))


def detail_of(relief: np.ndarray) -> np.ndarray:
    """What a relief (S, S), metres, NaN where unknown, adds to its blurred self; NaN where it jumps."""
    known = np.isfinite(relief)
    spread = BLUR * relief.shape[0]
    share = cv2.GaussianBlur(known.astype(np.float32), (0, 0), spread)
    smooth = cv2.GaussianBlur(np.where(known, relief, 0).astype(np.float32), (0, 0), spread)
    detail = relief - smooth / np.maximum(share, 1e-3)
    return np.where(known & (np.abs(np.nan_to_num(detail)) < JUMP), detail, np.nan)


def join(items: Sequence[SurfaceBatch]) -> SurfaceBatch:
    """People with the same number of views and points as one batch."""
    first = items[0]
    joined = {
        name: torch.cat([getattr(i.inputs, name) for i in items])
        for name, value in vars(first.inputs).items()
        if isinstance(value, Tensor)
    }
    names = ("points", "seen", "extra", "distance", "slopes", "relief", "detail")
    rest = {n: torch.cat([getattr(i, n) for i in items]) for n in names}
    return SurfaceBatch(replace(first.inputs, **joined), pairs=first.pairs, **rest)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))[None]


def _flawed_masks(
    masks: np.ndarray, people: People, k: int, flaws: Flaws, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Masks (V, S, S) with edge errors, parts of some hidden; and what hides them (V, S, S) bool."""
    out, blocked = masks.copy(), np.zeros(masks.shape, bool)
    others: np.ndarray | None = None
    hidden = rng.random() < flaws.hidden
    often = rng.uniform(0.2, 1.0)
    for v in range(len(masks)):
        if flaws.mask_edge:
            out[v] = edge_error(out[v], rng, flaws.mask_edge * rng.uniform(0, 1))
        if hidden and rng.random() < often:
            if others is None:
                others = people.arrays(int(rng.integers(len(people))), "mask")["mask"].astype(np.float32) / 255
            out[v], blocked[v] = hide(out[v], others, rng)
    return out, blocked


def _maps(
    a: dict[str, np.ndarray], chosen: np.ndarray, masks: np.ndarray, blocked: np.ndarray, flaws: Flaws | None,
    rng: np.random.Generator,
) -> dict[str, Tensor]:  # fmt: skip
    colours = torch.from_numpy(np.ascontiguousarray(a["rgb"][chosen].transpose(0, 3, 1, 2))).float()
    if flaws is not None:
        colours = recoloured(colours, rng, flaws)
    soft = torch.from_numpy(masks)
    hidden = torch.from_numpy(blocked)
    depth = a["body_depth"][chosen].astype(np.float32)
    hit = np.isfinite(depth)
    out = {
        "rgb": masked_rgb(colours, soft[:, None]),
        "mask": torch.stack([mask_map(m, b) for m, b in zip(soft, hidden, strict=True)]),
        "global_normals": _unit(a["global_normals"][chosen]),
        "body_depth": torch.from_numpy(np.stack([np.where(hit, depth, 0), hit], 1).astype(np.float32)),
    }
    if PREDICTED in a:
        out["normals"] = _unit(a[PREDICTED][chosen]) * eroded(soft)[:, None]
    return {name: value[None] for name, value in out.items()}


def _unit(stored: np.ndarray) -> Tensor:
    """(V, S, S, 3) int8 to (V, 3, S, S) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(stored.transpose(0, 3, 1, 2))).float() / 127


def _points(
    a: dict[str, np.ndarray], options: BatchOptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Points about the surface and pairs across it: places, body features, distances; slopes and number of pairs."""
    away = np.flatnonzero(a["body"][:, 0] > FAR)
    far = min(options.far, len(away))
    start = int(rng.integers(0, len(a["points"]) - options.points + 1))  # files hold them in random order
    some = np.r_[start : start + options.points - far, rng.choice(away, far, replace=False)]
    start = int(rng.integers(0, len(a["surface"]) - options.pairs + 1))
    on = slice(start, start + options.pairs)
    way = rng.normal(0, 1, (options.pairs, 3)) + 1.5 * a["surface_normals"][on]
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    slopes = (way * a["surface_normals"][on]).sum(-1)
    step = options.apart * way
    turned = step @ a["rotation"].T
    body = a["surface_body"][on]
    points = [a["points"][some], a["surface"][on] + step, a["surface"][on] - step]
    extra = [a["body"][some], moved(body, turned), moved(body, -turned)]
    distance = [a["distance"][some], options.apart * slopes, -options.apart * slopes]
    return np.concatenate(points), np.concatenate(extra), np.concatenate(distance), slopes, options.pairs


def moved(body: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Body features (N, 7) a small step (N, 3) along canonical axes further, the body taken as flat there."""
    normal = body[:, 1:4]
    rise = (normal * step).sum(-1, keepdims=True)
    return np.concatenate([body[:, :1] + rise, normal, body[:, 4:7] + rise * normal], -1)


# --- normal maps ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NormalBatch:
    """N images: masked ``rgb`` (N, 3, S, S), true ``normals`` (N, 3, S, S), ``mask`` (N, S, S) where they are known."""

    rgb: Tensor
    normals: Tensor
    mask: Tensor


def normal_batches(people: People, images: int, flaws: Flaws, seed: int, start: int = 0) -> Iterator[NormalBatch]:
    """Batches from step ``start`` on, without end; ``images`` of as many people."""
    for rng, which in seeded_draws(people, images, (seed,), start, (1,)):
        yield normal_batch(people, [int(k) for k in which], flaws, rng)


def normal_batch(
    people: People,
    which: Sequence[int],
    flaws: Flaws | None,
    rng: np.random.Generator,
    views: Sequence[int] | None = None,
) -> NormalBatch:
    """One view of each of these people: those of ``views``, or any."""
    parts = []
    for place, k in enumerate(which):
        a = people.arrays(k, "rgb", "mask", "normals")
        v = int(rng.integers(len(a["rgb"]))) if views is None else views[place]
        mask, blocked = a["mask"][v : v + 1].astype(np.float32) / 255, np.zeros((1, *a["mask"].shape[1:]), bool)
        rgb = torch.from_numpy(np.ascontiguousarray(a["rgb"][v : v + 1].transpose(0, 3, 1, 2))).float()
        if flaws is not None:
            mask, blocked = _flawed_masks(mask, people, k, flaws, rng)
            rgb = recoloured(rgb, rng, flaws)
        soft = torch.from_numpy(mask[0])
        known = torch.from_numpy((mask[0] > 0.5) & ~blocked[0] & (a["mask"][v] > 127))
        parts.append((masked_rgb(rgb[0], soft), _unit(a["normals"][v : v + 1])[0], known))
    return NormalBatch(*(torch.stack(x) for x in zip(*parts, strict=True)))
