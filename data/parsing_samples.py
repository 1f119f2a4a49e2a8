"""Examples of ``data.parsing_scenes`` on disk, and the batches that the small network is trained on."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from nets.parsing.inputs import CHANNELS, CODE
from pipeline.files import write_atomic
from pipeline.segmentation.colours import colour_maps
from pipeline.segmentation.parsing import codes_of, with_colours

if TYPE_CHECKING:
    from data.parsing_scenes import SceneMaker, Views

TRUTH = len(CHANNELS)
PLANES = TRUTH + 1  # of ``encoded``, and the truth
FEWEST_PIXELS = 50
VERSION = 5
"""Raised by hand when the same recipe gives other pictures."""
CLUTTER_OFF = 0.4
"""Nearer to others' bodies than this, of ``REACH_M``, nothing is laid: their outlines are not known here."""
SOFT, HAZE = 0.3, 80.0
"""Share of windows that are blurred; grey levels by which all are lighter or darker where ``colour`` is 1."""


class Samples:
    """Crops with their truth, a file a set, read where they are needed.

    ``set_<number>.npy`` holds (17, h, w) bytes a crop, one after another; ``set_<number>.npz`` their offsets and sizes.
    """

    def __init__(self, folder: Path, sets: Sequence[int]) -> None:
        self._data, self._places = [], []
        for k, number in enumerate(sets):
            with np.load(folder / f"set_{number:03d}.npz", allow_pickle=False) as index:
                pairs = zip(index["offsets"].tolist(), index["sizes"].tolist(), strict=True)
                self._places += [(k, offset, *size) for offset, size in pairs]
            self._data.append(np.load(folder / f"set_{number:03d}.npy", mmap_mode="r", allow_pickle=False))
        self.sets = np.array([sets[p[0]] for p in self._places], int)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, k: int) -> np.ndarray:
        """(17, h, w) uint8: 16 channels and the truth."""
        which, offset, h, w = self._places[k]
        return self._data[which][offset : offset + PLANES * h * w].reshape(PLANES, h, w)


def make_samples(
    folder: Path, sets: int, moments: int, cameras: int, seed: int, progress: Callable[[float], None] | None = None
) -> Samples:
    """The samples of a recipe; what ``folder`` holds of it already is not made again.

    Args:
        sets: rooms with a cast of their own. moments: instants in each. cameras: views of each instant.
    """
    recipe = json.dumps({"version": VERSION, "moments": moments, "cameras": cameras, "seed": seed})
    note = folder / "recipe.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not note.exists() or note.read_text() != recipe:
        for old in folder.glob("set_*.np[yz]"):
            old.unlink()
        write_atomic(note, recipe)
    missing = [n for n in range(sets) if not (folder / f"set_{n:03d}.npz").exists()]
    if missing:
        maker = _maker(cameras)
        for done, number in enumerate(missing, 1):
            _write_set(folder, number, maker.scenes(seed * 10_000 + number, moments))
            if progress is not None:
                progress(1 - (len(missing) - done) / sets)
    return Samples(folder, range(sets))


def _maker(cameras: int) -> SceneMaker:
    from data.model_files import blazepose_files
    from data.parsing_scenes import SceneMaker
    from pipeline.keypoints.blazepose import BlazePose, BlazePoseOptions

    return SceneMaker(BlazePose(*blazepose_files(), BlazePoseOptions(max_people=4)), cameras)


def _write_set(folder: Path, number: int, moments: Iterable[Views]) -> None:
    offsets, sizes, flat, at = [], [], [], 0
    for views in moments:
        seen = [{k: e for k, e in view.items() if e.truth.sum() >= FEWEST_PIXELS} for view in views]
        codes = [{k: codes_of(e.evidence) for k, e in view.items()} for view in seen]
        for view, given, colours in zip(seen, codes, colour_maps(codes), strict=True):
            for k, example in view.items():
                planes = np.concatenate([with_colours(given[k], colours[k]), [example.truth.astype(np.uint8)]])
                flat.append(planes.ravel())
                offsets.append(at)
                sizes.append(planes.shape[1:])
                at += planes.size
    for name, write in (
        (f"set_{number:03d}.npy", lambda f: np.save(f, np.concatenate(flat))),
        (f"set_{number:03d}.npz", lambda f: np.savez(f, offsets=np.array(offsets), sizes=np.array(sizes))),
    ):
        buffer = io.BytesIO()
        write(buffer)
        write_atomic(folder / name, buffer.getvalue())


@dataclass(frozen=True)
class Augmentation:
    """How a sample is changed before it is learned from: shares of samples, and ranges.

    Attributes:
        size: side of the window that is cut out, pixels.
        zoom: smallest and largest factor on the size of the crop.
        no_detector, no_scene, no_colours: share that must do without.
        wrong_detector: share whose detector took another for the person.
        colour: standard deviation of gain and tint.
        blur: largest standard deviation of the blur that three windows in ten get, pixels: lenses, motion, compression.
        clutter: share of windows with other things beside people, some of the person's own colours and stuff; the rooms
            that are drawn are tidy, real ones are not.
    """

    size: int = 160
    zoom: tuple[float, ...] = (0.6, 1.5)
    no_detector: float = 0.12
    no_scene: float = 0.15
    no_colours: float = 0.1
    wrong_detector: float = 0.04
    colour: float = 0.12
    blur: float = 0.0
    clutter: float = 0.0


def batches(
    samples: Samples, which: np.ndarray, count: int, augmentation: Augmentation, seed: int
) -> Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """For a step, the batches from it on: (codes (B, 16, s, s) uint8, truth (B, 1, s, s) float32)."""

    def start(step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            g = np.random.default_rng([seed, step])
            drawn = [augmented(samples[k], augmentation, g) for k in g.choice(which, count)]
            yield np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn])
            step += 1

    return start


def augmented(planes: np.ndarray, how: Augmentation, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A window of a sample: codes (16, s, s) uint8 and truth (1, s, s) float32."""
    size = how.size
    zoom = float(np.exp(g.uniform(*np.log(how.zoom))))
    truth, body = planes[TRUTH], planes[9] > 128
    rows, columns = np.nonzero(_rim(truth) if g.random() < 0.6 else (truth > 0) | body)
    centre = np.array(planes.shape[:0:-1]) / 2 if not len(rows) else _at(rows, columns, g)
    flip = -1.0 if g.random() < 0.5 else 1.0
    turn = g.normal(0, 0.06)
    linear = zoom * np.array([[flip * np.cos(turn), -np.sin(turn)], [flip * np.sin(turn), np.cos(turn)]])
    shift = size / 2 + g.uniform(-0.3, 0.3, 2) * size
    matrix = np.column_stack([linear, shift - linear @ centre])

    def warped(values: np.ndarray, beyond) -> np.ndarray:
        return cv2.warpAffine(
            np.ascontiguousarray(values), matrix, (size, size), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT if beyond is not None else cv2.BORDER_REPLICATE, borderValue=beyond or 0,
        )  # fmt: skip

    out = np.stack([warped(p, None) for p in planes[:TRUTH]])
    out[6] = out[6] > 0
    target = warped(truth.astype(np.float32), 0.0)
    if how.clutter > 0 and g.random() < how.clutter:
        _clutter(out, target, g)
    _soften(out, how.blur, g)
    _recolour(out, how.colour, g)
    nothing = np.uint8(128)
    if g.random() < how.wrong_detector:
        out[7], out[8] = out[8].copy(), out[7].copy()
    if g.random() < how.no_detector:
        out[7] = nothing
        if g.random() < 0.7:
            out[8] = nothing
    if g.random() < how.no_scene:
        out[6] = 0
    if g.random() < how.no_colours:
        out[14:] = nothing
    return out, target[None]


def _rim(truth: np.ndarray) -> np.ndarray:
    return cv2.morphologyEx(np.ascontiguousarray(truth), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0


def _at(rows: np.ndarray, columns: np.ndarray, g: np.random.Generator) -> np.ndarray:
    k = g.integers(len(rows))
    return np.array([columns[k], rows[k]], np.float64)


def _clutter(planes: np.ndarray, truth: np.ndarray, g: np.random.Generator) -> None:
    """Pieces of what the window shows elsewhere, people too, laid beside people; planes (16, s, s), truth (s, s).

    Colour channels move with the pixels, but tell less: what stands about is known as the scene's. The detector is not
    led astray.
    """
    height, width = truth.shape
    beside = (signed(planes, 13) < -CLUTTER_OFF) & ((planes[8] == 128) | (signed(planes, 8) < -0.4))
    own = truth > 0.5
    near = np.argwhere(beside & ~own & (cv2.dilate(own.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0))
    shapes = np.zeros((height, width), np.uint8)
    for _ in range(g.integers(3, 20)):
        at = near[g.integers(len(near))][::-1] if len(near) and g.random() < 0.5 else g.integers(0, (width, height))
        if g.random() < 0.3:
            cv2.line(shapes, at.tolist(), g.integers(0, (width, height)).tolist(), 255, int(g.integers(1, 6)))
        else:
            half = np.exp(g.uniform(np.log(2), np.log(30), 2))
            box = cv2.boxPoints((at.tolist(), (2 * half).tolist(), float(g.uniform(0, 180))))
            cv2.fillPoly(shapes, [box.astype(np.int32)], 255)
    alpha = (shapes / np.float32(255)) * (1 - truth) * beside
    shift = g.integers(0, (height, width))
    if len(near) and g.random() < 0.6:  # of the person's own colours and stuff
        people = np.argwhere(own)
        shift = near[g.integers(len(near))] - people[g.integers(len(people))]
    there = np.roll(planes, shift.tolist(), (1, 2)).astype(np.float32)
    there[14:] = 128 + (there[14:] - 128) * g.uniform(0.2, 1.0)
    if g.random() < 0.5:
        there[:3] = np.clip(there[:3] * g.uniform(0.6, 1.4), 0, 255)
    if g.random() < 0.8:  # it stood there before
        there[3:6] = there[:3]
    else:
        there[3:6] = planes[3:6]
    for k in (0, 1, 2, 3, 4, 5, 14, 15):
        planes[k] = planes[k] * (1 - alpha) + there[k] * alpha


def _soften(planes: np.ndarray, most: float, g: np.random.Generator) -> None:
    """Image and scene less sharp than they were drawn, now and then."""
    if most > 0 and g.random() < SOFT:
        sigma = g.uniform(0.3, most)
        for plane in planes[:6]:
            plane[...] = cv2.GaussianBlur(plane, (0, 0), sigma)


def _recolour(planes: np.ndarray, amount: float, g: np.random.Generator) -> None:
    """Light and colours of image and scene, the same for both but for a little; noise on the image alone."""
    gain = np.exp(g.normal(0, amount)) * (1 + g.normal(0, amount / 3, 3)) * np.ones(3)
    haze = g.normal(0, HAZE * amount)
    order = g.permutation(3) if g.random() < 0.3 else np.arange(3)
    apart = 1 + g.normal(0, 0.015, 3)
    image, scene = planes[:3][order].astype(np.float32), planes[3:6][order].astype(np.float32)
    image = image * (gain * apart)[:, None, None] + haze + g.normal(0, g.uniform(0, 3), image.shape)
    planes[:3] = np.clip(image, 0, 255)
    planes[3:6] = np.clip(scene * gain[:, None, None] + haze, 0, 255)


def signed(planes: np.ndarray, channel: int) -> np.ndarray:
    """(h, w) float32 -1..1: one of the channels from 7 on."""
    return (planes[channel].astype(np.float32) - 128) / CODE
