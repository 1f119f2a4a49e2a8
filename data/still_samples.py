"""Pictures to train and test the stills network on: made once from synthetic people, read back as batches of pairs.

A folder holds ``cutouts/`` (people) and ``scenes_.../`` (pictures with their truth, a hundred a file); what is there is
not made again.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from data.synthetic.cutouts import Cutout, make_cutouts, read_cutouts, write_cutouts
from data.synthetic.still_scenes import Still, StillOptions, degraded, sample_still
from nets.mili.learning import Pairs, People
from pipeline.files import write_atomic
from pipeline.skeletons import SKEL19, SMPLX55

A_FILE = 100
_PEOPLE_A_FILE = 10
MASK_SHARE = 2
"""Pixels of the canvas per pixel of a mask, along an axis."""


@dataclass(frozen=True)
class StillData:
    """Which pictures. ``people`` with ``poses`` each, in ``scenes`` pictures; the same seed gives the same pictures."""

    split: str
    people: int
    poses: int
    scenes: int
    seed: int = 0


def make_data(
    folder: Path, data: StillData, options: StillOptions, told: Callable[[str], None] | None = None
) -> list[Path]:
    """Make what is missing; the files of pictures."""
    kind = f"scenes_{options.size[0]}x{options.size[1]}_of_{data.people}x{data.poses}_seed_{data.seed}"
    runs = [range(k, min(k + A_FILE, data.scenes)) for k in range(0, data.scenes, A_FILE)]
    files = [folder / kind / f"{data.split}_{run.start:05d}_{run.stop:05d}.npz" for run in runs]
    cutouts: list[Cutout] = []
    for run, path in zip(runs, files, strict=True):
        if path.exists():
            continue
        cutouts = cutouts or cutouts_of(folder, data, told)
        stills = [
            sample_still(cutouts, np.random.default_rng([data.seed, *data.split.encode(), n]), options) for n in run
        ]
        write_stills(path, stills)
        if told:
            told(f"{data.split}: {run.stop} of {data.scenes} pictures")
    return files


def cutouts_of(folder: Path, data: StillData, told: Callable[[str], None] | None = None) -> list[Cutout]:
    """The people of the data, made where they are missing."""
    out: list[Cutout] = []
    people = None
    for first in range(0, data.people, _PEOPLE_A_FILE):
        path = folder / "cutouts" / f"{data.split}_x{data.poses}_{first:04d}.npz"
        if not path.exists():
            from data.synthetic.people import People as Wearers

            people = people or Wearers(texture_size=192, fineness=1)
            numbers = range(first, min(first + _PEOPLE_A_FILE, data.people))
            write_cutouts(path, make_cutouts(people, data.split, numbers, data.poses))
            if told:
                told(f"{data.split}: {numbers.stop} of {data.people} people")
        out += read_cutouts(path)
    return out


def write_stills(path: Path, stills: Sequence[Still]) -> None:
    """One file of many pictures; whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    for name in ("boxes", "seen", "rotations", "betas", "joints", "keypoints"):
        arrays[name] = np.concatenate([getattr(s, name) for s in stills]).astype(np.float32)
    arrays["people"] = np.cumsum([0, *(len(s.boxes) for s in stills)])
    arrays["camera"] = np.array([[s.focal, *s.principal] for s in stills], np.float32)
    for name, image in (("images", lambda s: s.image[..., ::-1]), ("labels", lambda s: s.labels)):
        encoded = [cv2.imencode(".png", image(s))[1].tobytes() for s in stills]
        arrays[name] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays[f"{name}_ends"] = np.cumsum([0, *map(len, encoded)])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


class StillFiles:
    """Pictures of several files by number, held as encoded bytes."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [dict(np.load(path, allow_pickle=False)) for path in files]
        self._starts = np.cumsum([0, *(len(f["camera"]) for f in self._files)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, number: int) -> Still:
        which = int(np.searchsorted(self._starts, number, "right")) - 1
        file, row = self._files[which], number - int(self._starts[which])
        a, b = file["people"][row : row + 2]
        parts = {name: file[name][a:b] for name in ("boxes", "seen", "rotations", "betas", "joints", "keypoints")}
        focal, *principal = file["camera"][row].tolist()
        return Still(
            image=_decoded(file, "images", row, cv2.IMREAD_COLOR)[..., ::-1],
            labels=_decoded(file, "labels", row, cv2.IMREAD_GRAYSCALE),
            focal=focal,
            principal=np.array(principal),
            **parts,
        )

    def corpus(self) -> tuple[np.ndarray, np.ndarray]:
        """All rotations (P, 22, 3, 3) and betas (P, 10)."""
        return tuple(np.concatenate([f[name] for f in self._files]) for name in ("rotations", "betas"))


def _decoded(file, name: str, row: int, flag: int) -> np.ndarray:
    a, b = file[f"{name}_ends"][row : row + 2]
    return cv2.imdecode(file[name][a:b], flag)


def left_out(still: Still) -> np.ndarray:
    """(L, 4) boxes of what is seen of people whom the truth leaves out: who finds them has found nobody false."""
    _, _, pieces, _ = cv2.connectedComponentsWithStats((still.labels == 255).astype(np.uint8))
    x, y, w, h = pieces[1:, :4].T.astype(np.float32)
    return np.stack([x, y, x + w, y + h], -1) - 0.5


def flipped(still: Still) -> Still:
    """The picture in a mirror: left and right change places, in the truth too."""
    width = still.image.shape[1]
    mirror = SMPLX55.mirror[: still.rotations.shape[1]]
    turn = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)
    side = np.array([-1, 1, 1], np.float32)
    boxes = still.boxes.copy()
    boxes[:, [0, 2]] = width - 1 - still.boxes[:, [2, 0]]
    keypoints = still.keypoints[:, SKEL19.mirror].copy()
    keypoints[..., 0] = width - 1 - keypoints[..., 0]
    return replace(
        still,
        image=still.image[:, ::-1],
        labels=still.labels[:, ::-1],
        boxes=boxes,
        rotations=turn @ still.rotations[:, mirror] @ turn,
        joints=still.joints[:, SKEL19.mirror] * side,
        keypoints=keypoints,
        principal=np.array([width - 1 - still.principal[0], still.principal[1]]),
    )


def pair(
    still: Still, low: tuple[int, int], generator: np.random.Generator, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """High- and low-resolution image, both of the picture's size, float32 RGB 0..255; colour ``noise`` a channel, and
    as much in contrast, saturation and brightness."""
    g, size = generator, still.image.shape[1::-1]
    poor = cv2.resize(degraded(still.image, low, g), size, interpolation=cv2.INTER_CUBIC)
    gain, contrast = g.uniform(1 - noise, 1 + noise, 3), g.uniform(1 - noise, 1 + noise)
    saturation, brightness = g.uniform(1 - 2 * noise, 1 + noise), 80 * g.uniform(-noise, noise)

    def varied(image: np.ndarray) -> np.ndarray:
        grey = image.astype(np.float32).mean(-1, keepdims=True)
        image = 128 + contrast * (grey + saturation * (image - grey) - 128) + brightness
        return np.clip(image * gain, 0, 255).astype(np.float32)

    return varied(still.image), varied(poor)


def as_pairs(
    stills: Sequence[Still], low: tuple[int, int], generator: np.random.Generator, scenes: Sequence[int],
    noise: float = 0.0,
) -> Pairs:  # fmt: skip
    """A batch for ``nets.mili.learning``."""
    import torch

    from nets.mili.network import normalise

    images = [pair(s, low, generator, noise) for s in stills]
    high, poor = (
        normalise(torch.from_numpy(np.stack([i[k] for i in images]).transpose(0, 3, 1, 2).copy())) for k in (0, 1)
    )
    return Pairs(
        high=high,
        low=poor,
        people=[_people(s) for s in stills],
        scenes=torch.as_tensor(list(scenes)),
        focal=torch.tensor([s.focal for s in stills], dtype=torch.float32),
        principal=torch.as_tensor(np.stack([s.principal for s in stills]), dtype=torch.float32),
    )


def _people(still: Still) -> People:
    import torch

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    count = len(still.boxes)
    sure = np.ones((*still.keypoints.shape[:2], 1), np.float32)
    small = still.labels[::MASK_SHARE, ::MASK_SHARE]
    masks = small[None] == np.arange(1, count + 1)[:, None, None]
    return People(
        boxes=tensor(still.boxes),
        keypoints=tensor(np.concatenate([still.keypoints, sure], -1)),
        joints=tensor(np.concatenate([still.joints - still.joints[:, :1], sure], -1)),
        rotations=tensor(still.rotations),
        betas=tensor(still.betas),
        has_body=torch.ones(count, dtype=torch.bool),
        masks=torch.from_numpy(masks),
    )


def batches(
    files: StillFiles, size: int, low: tuple[int, int], seed: int, noise: float
) -> Callable[[int], Iterator[Pairs]]:
    """Endless random batches by step, mirrored half of the time."""

    def of(step: int) -> Iterator[Pairs]:
        while True:
            g = np.random.default_rng([seed, step])
            numbers = g.choice(len(files), size, replace=False)
            stills = [flipped(files[n]) if g.random() < 0.5 else files[n] for n in numbers]
            yield as_pairs(stills, low, g, numbers.tolist(), noise)
            step += 1

    return of
