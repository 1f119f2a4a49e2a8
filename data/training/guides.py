"""What guides a guided normal network in training: normals of the fitted body, or of a surface made of the person.

A surface is what the network that ships makes of flawed masks and cameras, so that its errors are those that a guide
has when it counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import h5py
import numpy as np
import torch

from data.training import shards
from data.training.augment import Flaws, edge_error, shaken
from data.training.batches import NormalBatch, People, normal_batch, seeded_draws
from nets.deepmulticap.inputs import CanonicalFrame
from pipeline.cameras import Camera
from pipeline.files import atomic_path
from pipeline.meshes.sequence import Mesh
from pipeline.surface.prepare import Body, Prepared, depth_to_steps, to_bytes
from pipeline.surface.refine import guide_maps

GUIDE, USED = "guide", "used"
VIEWS = (3, 4, 5, 6, 6, 6, 8)
"""Of how many views a surface is made, drawn from these."""
BLUR = 3.0
"""Pixels by which some guides are blurred at most, so that a network learns to look at the picture."""


class Guide(Protocol):
    def views(self, k: int) -> np.ndarray:
        """The views of person ``k`` that have a guide."""
        ...

    def map(self, k: int, view: int) -> np.ndarray:
        """(3, S, S) float32 normals along the camera's axes, 0 where there are none."""
        ...


class BodyGuide:
    """The fitted body as it is."""

    def __init__(self, people: People) -> None:
        self._people = people

    def views(self, k: int) -> np.ndarray:
        return np.arange(len(self._people.arrays(k, "projection")["projection"]))

    def map(self, k: int, view: int) -> np.ndarray:
        a = self._people.arrays(k, "global_normals", "projection", "rotation")
        size = a["global_normals"].shape[1]
        turn = Camera.of_projection(a["projection"][view], (size, size)).R @ a["rotation"].T
        return (a["global_normals"][view].astype(np.float32) / 127 @ turn.T.astype(np.float32)).transpose(2, 0, 1)


class SurfaceGuide:
    """Surfaces that ``make_guides`` has made: a file a person, in the order of the people."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)

    def __len__(self) -> int:
        return len(self._files)

    def views(self, k: int) -> np.ndarray:
        return np.flatnonzero(shards.read(self._files[k], USED)[USED])

    def map(self, k: int, view: int) -> np.ndarray:
        return shards.read(self._files[k], GUIDE)[GUIDE][view].transpose(2, 0, 1).astype(np.float32) / 127


def guided_batches(
    people: People, guide: Guide, images: int, flaws: Flaws, seed: int, start: int = 0, window: int | None = None
) -> Iterator[NormalBatch]:
    """Batches from step ``start`` on, without end; ``images`` of as many people, whole or ``window`` pixels of them."""
    for rng, which in seeded_draws(people, images, (seed,), start, (1,)):
        batch = guided_batch(people, guide, [int(k) for k in which], flaws, rng)
        yield batch if window is None else windows_of(batch, window, rng)


def windows_of(batch: NormalBatch, size: int, rng: np.random.Generator) -> NormalBatch:
    """Of each image a square of ``size`` pixels about some place on the person: most of a crop is background."""
    parts = []
    for rgb, normals, mask in zip(batch.rgb, batch.normals, batch.mask, strict=True):
        known = np.argwhere(mask.numpy())
        middle = known[rng.integers(len(known))] if len(known) else np.array(mask.shape) // 2
        top, left = np.clip(middle - size // 2, 0, np.array(mask.shape) - size)
        cut = (..., slice(int(top), int(top) + size), slice(int(left), int(left) + size))
        parts.append((rgb[cut], normals[cut], mask[cut]))
    return NormalBatch(*(torch.stack(x) for x in zip(*parts, strict=True)))


def taking_turns(batches: Sequence[Callable[[int], Iterator[NormalBatch]]], start: int) -> Iterator[NormalBatch]:
    """One source after the other, step by step. ``batches``: a source's step to its batches from there on."""
    count = len(batches)
    sources = [make((start + count - 1 - k) // count) for k, make in enumerate(batches)]
    for step in itertools.count(start):
        yield next(sources[step % count])


def guided_batch(
    people: People, guide: Guide, which: Sequence[int], flaws: Flaws | None, rng: np.random.Generator
) -> NormalBatch:
    """One view of each of these people; ``rgb`` (N, 6, S, S) has the guide's normals after the colours."""
    views = [int(rng.choice(guide.views(k))) for k in which]
    batch = normal_batch(people, which, flaws, rng, views)
    maps = np.stack([guide.map(k, v) for k, v in zip(which, views, strict=True)])
    if flaws is not None:
        maps = np.stack([_blurred(m, rng.uniform(0.5, BLUR)) if rng.random() < 0.3 else m for m in maps])
    return NormalBatch(torch.cat([batch.rgb, torch.from_numpy(maps)], 1), batch.normals, batch.mask)


def _blurred(normals: np.ndarray, spread: float) -> np.ndarray:
    soft = np.stack([cv2.GaussianBlur(channel, (0, 0), spread) for channel in normals])
    length = np.linalg.norm(soft, axis=0)
    there = np.linalg.norm(normals, axis=0) > 0.5
    return np.where(there, soft / np.maximum(length, 1e-3), 0).astype(np.float32)


def make_guides(
    people: People, folder: Path, faces: np.ndarray, flaws: Flaws, surface: Callable[[Prepared, Body], Mesh | None]
) -> SurfaceGuide:
    """Guides of people who have none yet in ``folder``; those without a surface are given their body.

    Args:
        faces: (F, 3) of the body. surface: makes the surface of somebody prepared.
    """
    out = []
    for k, file in enumerate(people.files):
        path = folder / file.name
        out.append(path)
        if path.exists():
            continue
        person, rng = shards.read(file), np.random.default_rng([55, k])
        total, size = len(person["rgb"]), person["rgb"].shape[1]
        views = np.sort(rng.permutation(total)[: min(int(rng.choice(VIEWS)), total)])
        masks = person["mask"].copy()
        for v in views:
            soft = edge_error(masks[v].astype(np.float32) / 255, rng, flaws.mask_edge * rng.uniform())
            masks[v] = np.rint(255 * soft).astype(np.uint8)
        projection = shaken(person["projection"].astype(np.float64), person["centre"], rng, flaws)
        body = Body(person["body_vertices"].astype(np.float64), faces, np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
        mesh = surface(prepared_of(person, views, masks, projection), body)
        shown = (body.vertices, faces) if mesh is None else (mesh.vertices, mesh.faces)
        maps = guide_maps(*shown, [Camera.of_projection(P, (size, size)) for P in projection])
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as written:
            written[GUIDE] = np.rint(maps.transpose(0, 2, 3, 1) * 127).astype(np.int8)
            written[USED] = np.isin(np.arange(total), views)
    return SurfaceGuide(out)


def prepared_of(
    person: dict[str, np.ndarray], views: np.ndarray, masks: np.ndarray, projection: np.ndarray
) -> Prepared:
    """A training person as the pipeline prepares one, without predicted normals or a body volume."""
    frame = CanonicalFrame(person["rotation"], person["centre"], float(person["scale"]))
    depth = person["body_depth"][views].astype(np.float32)
    depth = np.where(np.isfinite(depth), depth / frame.scale, np.inf)
    return Prepared(
        cameras=tuple(f"view{v}" for v in views),
        projection=projection[views],
        frame=frame,
        rgb=person["rgb"][views],
        mask=masks[views],
        blocked=np.zeros(masks[views].shape, bool),
        volume=np.zeros((0, 0, 0, 0), np.uint8),
        global_normals=to_bytes(person["global_normals"][views].astype(np.float32) / 127),
        depth=np.stack([depth_to_steps(one, 0.0, frame.scale) for one in depth]),
    )
