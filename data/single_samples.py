"""Single people to pretrain the stills network on: drawings made once, put into ever new pictures batch by batch.

A folder ``singles_.../`` beside the people holds the drawings, five hundred a file; what is there is not made again.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.still_samples import StillData, cutouts_of
from data.synthetic.single_stills import SIZE, Single, draw_single
from data.synthetic.still_scenes import background
from pipeline.files import write_atomic
from pipeline.skeletons import SKEL19, SMPLX55

if TYPE_CHECKING:
    import torch

    from nets.mili.pretraining import Singles

A_FILE = 500
SHOWN = (56, 80)
"""Width and height of a picture of a batch."""
_BACKGROUNDS = 96
_SHARES = (0.5, 1.0, 1.0, 1.0)
"""A batch is split in so many parts, each seen by a poorer camera: shares of the pixels along an axis."""


def make_singles(
    folder: Path, data: StillData, count: int, told: Callable[[str], None] | None = None
) -> list[Path]:
    """Make what is missing of ``count`` drawings of the people of ``data``; the files."""
    runs = [range(k, min(k + A_FILE, count)) for k in range(0, count, A_FILE)]
    kind = f"singles_of_{data.people}x{data.poses}_seed_{data.seed}"
    files = [folder / kind / f"{data.split}_{run.start:05d}_{run.stop:05d}.npz" for run in runs]
    cutouts, template = [], None
    for run, path in zip(runs, files, strict=True):
        if path.exists():
            continue
        cutouts = cutouts or cutouts_of(folder, data, told)
        template = _template() if template is None else template
        singles = []
        for n in run:
            g = np.random.default_rng([data.seed, *data.split.encode(), 1, n])
            singles.append(draw_single(cutouts[int(g.integers(len(cutouts)))], template, g))
        write_singles(path, singles)
        if told:
            told(f"{data.split}: {run.stop} of {count} single people")
    return files


def write_singles(path: Path, singles: Sequence[Single]) -> None:
    """One file of many; whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{f.name: np.stack([getattr(s, f.name) for s in singles]) for f in fields(Single)})
    write_atomic(path, buffer.getvalue())


def _template() -> np.ndarray:
    from data.body_models import load_body_arrays, open_body_model

    return np.asarray(load_body_arrays(open_body_model())["v_template"])


@dataclass(frozen=True)
class Varied:
    """How much single people are varied. ``heights``: pixels; ``roll``: degrees; ``noise``: of colour channels."""

    heights: tuple[float, float] = (40.0, 76.0)
    roll: float = 8.0
    noise: float = 0.3


class SinglePeople:
    """All drawings of some files, held uncompressed (86 kB each)."""

    def __init__(self, files: Sequence[Path], varied: Varied = Varied()) -> None:
        import torch

        parts = [dict(np.load(path, allow_pickle=False)) for path in files]
        self._of = {name: torch.from_numpy(np.concatenate([p[name] for p in parts])) for name in parts[0]}
        self._of["picture"] = self._of["picture"].permute(0, 3, 1, 2)
        self._varied = varied
        g = np.random.default_rng(0)
        pictures = [background(g, (416, 256), g.uniform(20, 150)) for _ in range(_BACKGROUNDS)]
        self._backgrounds = torch.from_numpy(np.clip(np.stack(pictures), 0, 255).astype(np.uint8)).permute(0, 3, 1, 2)

    def __len__(self) -> int:
        return len(self._of["focal"])

    def batches(self, size: int, seed: int) -> Callable[[int], Iterator[Singles]]:
        """Endless random batches by step."""

        def of(step: int) -> Iterator[Singles]:
            while True:
                g = np.random.default_rng([seed, 1, step])
                yield self.batch(g.integers(len(self), size=size), g)
                step += 1

        return of

    def batch(self, numbers: np.ndarray, g: np.random.Generator) -> Singles:
        """Pictures of drawings ``numbers``, each before something, beside others or behind something."""
        import torch

        from nets.mili.network import normalise
        from nets.mili.pretraining import Singles

        rows = torch.from_numpy(np.asarray(numbers))
        one = {name: value[rows] for name, value in self._of.items()}
        placed = _Placing(one, g, self._varied)
        drawn = placed.drawn()
        shown, cover = self._composed(drawn, g)
        images = _seen_poorly(shown, g, self._varied.noise)
        places = cover[:, None] * drawn[:, 3:]
        return Singles(normalise(images), placed.people(g), places, placed.focal, placed.principal)

    def _composed(self, drawn: torch.Tensor, g: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (B, 3, h, w) in 0..255, and which share of what was drawn is still seen (B, h, w)."""
        import torch

        count, (w, h) = len(drawn), SHOWN
        shown = torch.empty(count, 3, h, w)
        for k in range(count):
            x, y = g.integers(416 - w), g.integers(256 - h)
            shown[k] = self._backgrounds[g.integers(_BACKGROUNDS), :, y : y + h, x : x + w]
        visible = torch.ones(count, h, w)
        behind, before = (np.flatnonzero(g.random(count) < share) for share in (0.5, 0.25))
        shown[behind] = _over(shown[behind], _moved(drawn[behind - 1], g))
        shown = _over(shown, drawn)
        others = _moved(drawn[before - 2], g)
        shown[before] = _over(shown[before], others)
        visible[before] *= 1 - others[:, 3]
        for k in np.flatnonzero(g.random(count) < 0.2):
            # Something stands before them: furniture from below, a post.
            x, y, width = g.integers(-20, w), g.integers(h // 2, h), g.integers(10, w)
            low, high = max(x, 0), min(x + width, w)
            if g.random() < 0.3:
                y, high = 0, min(low + 10, w)
            shown[k, :, y:, low:high] = torch.from_numpy(g.uniform(10, 240, (3, 1, 1))).float()
            visible[k, y:, low:high] = 0
        return shown, visible


class _Placing:
    """Where drawings go in their pictures: mirrored, turned, shrunk and shifted; the truth goes with them."""

    def __init__(self, one: dict[str, torch.Tensor], g: np.random.Generator, varied: Varied) -> None:
        import torch

        self._one, count = one, len(one["focal"])
        self._mirrored = torch.from_numpy(g.random(count) < 0.5)
        box = one["box"]
        tall = torch.from_numpy(np.exp(g.uniform(*np.log(varied.heights), count))).float()
        extent = box[:, 2:] - box[:, :2]
        self._scale = torch.minimum(tall / extent[:, 1], 0.94 * SHOWN[0] / extent[:, 0])
        self._angle = torch.from_numpy(np.deg2rad(g.normal(0, varied.roll, count))).float()
        self._middle = (box[:, :2] + box[:, 2:]) / 2
        self._middle[:, 0] = torch.where(self._mirrored, SIZE[0] - 1 - self._middle[:, 0], self._middle[:, 0])
        spot = (np.array(SHOWN) - 1) / 2 + g.uniform(-3, 3, (count, 2))
        self._spot = torch.from_numpy(spot).float()
        self.focal = one["focal"].float() * self._scale
        self.principal = self._moved(one["principal"].float()[:, None])[:, 0]

    def _turn(self) -> torch.Tensor:
        """(B, 2, 2) in the picture's plane."""
        import torch

        c, s = self._angle.cos(), self._angle.sin()
        return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)

    def _moved(self, points: torch.Tensor) -> torch.Tensor:
        """Points (B, K, 2) of a drawing in its picture."""
        x = points.clone()
        x[..., 0] = x[..., 0].where(~self._mirrored[:, None], SIZE[0] - 1 - x[..., 0])
        turned = (x - self._middle[:, None]) @ self._turn().transpose(-1, -2)
        return self._scale[:, None, None] * turned + self._spot[:, None]

    def drawn(self) -> torch.Tensor:
        """(B, 7, h, w): colours in 0..255, coverage and places in 0..1, both times the coverage."""
        import torch
        from torch.nn import functional as nn_functional

        w, h = SHOWN
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        at = torch.stack([xs, ys], -1).reshape(1, -1, 2) - self._spot[:, None]
        at = (at / self._scale[:, None, None]) @ self._turn() + self._middle[:, None]
        at[..., 0] = at[..., 0].where(~self._mirrored[:, None], SIZE[0] - 1 - at[..., 0])
        grid = 2 * (at + 0.5) / torch.tensor(SIZE) - 1
        picture = self._one["picture"].float()
        out = nn_functional.grid_sample(picture, grid.reshape(-1, h, w, 2), align_corners=False)
        out[:, 3:] /= 255
        out[:, 4] = out[:, 4].where(~self._mirrored[:, None, None], out[:, 3] - out[:, 4])
        return out

    def people(self, g: np.random.Generator):
        """The truth; boxes a little wrong, as found ones are."""
        import torch

        from nets.mili.learning import People

        one, mirrored = self._one, self._mirrored
        side = torch.tensor([-1.0, 1.0, 1.0])
        turn3 = torch.eye(3).repeat(len(self._scale), 1, 1)
        turn3[:, :2, :2] = self._turn()
        rotations = one["rotations"]
        swapped = side[:, None] * rotations[:, SMPLX55.mirror[: rotations.shape[1]]] * side
        rotations = rotations.where(~mirrored[:, None, None, None], swapped)
        rotations = torch.cat([turn3[:, None] @ rotations[:, :1], rotations[:, 1:]], 1)
        joints, pixels = one["joints"], self._moved(one["keypoints"])
        joints = joints.where(~mirrored[:, None, None], joints[:, SKEL19.mirror] * side) @ turn3.transpose(-1, -2)
        pixels = pixels.where(~mirrored[:, None, None], pixels[:, SKEL19.mirror])
        corners = one["box"][:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        corners = self._moved(corners)
        # Of a turned box the corners stick out; halfway to the upright one's size is about what a person takes.
        low, high = corners.amin(1), corners.amax(1)
        half = self._scale[:, None] * (one["box"][:, 2:] - one["box"][:, :2]) / 2
        half = ((high - low) / 2 + half) / 2
        middle = (low + high) / 2
        boxes = torch.cat([middle - half, middle + half], 1)
        wrong = torch.from_numpy(g.uniform(-0.07, 0.07, (len(boxes), 4))).float()
        boxes = boxes + wrong * (2 * half).repeat(1, 2)
        sure = torch.ones(*pixels.shape[:2], 1)
        return People(
            boxes=boxes,
            keypoints=torch.cat([pixels, sure], -1),
            joints=torch.cat([joints - joints[:, :1], sure], -1),
            rotations=rotations,
            betas=one["betas"],
            has_body=torch.ones(len(boxes), dtype=torch.bool),
        )


def _over(below: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    return below * (1 - drawn[:, 3:4]) + drawn[:, :3]


def _moved(drawn: torch.Tensor, g: np.random.Generator) -> torch.Tensor:
    """Other people, most of them to the side, so that most of the person in the middle is seen."""
    import torch

    out = torch.zeros_like(drawn)
    w, h = SHOWN
    for k in range(len(drawn)):
        x, y = int(g.choice([-1, 1]) * g.integers(w // 4, w * 3 // 4)), int(g.integers(-h // 4, h // 4))
        to = (slice(max(y, 0), h + min(y, 0)), slice(max(x, 0), w + min(x, 0)))
        of = (slice(max(-y, 0), h + min(-y, 0)), slice(max(-x, 0), w + min(-x, 0)))
        out[(k, slice(None), *to)] = drawn[(k, slice(None), *of)]
    return out


def _seen_poorly(shown: torch.Tensor, g: np.random.Generator, noise: float) -> torch.Tensor:
    """As cameras of different quality give the pictures (B, 3, h, w): resolution, noise, colours, contrast."""
    import torch
    from torch.nn import functional as nn_functional

    out = []
    for part, share in zip(shown.chunk(len(_SHARES)), _SHARES, strict=False):
        if share < 1:
            share = share * g.uniform(0.85, 1.3)
            poor = nn_functional.interpolate(part, scale_factor=share, mode="bilinear", antialias=True)
            poor = poor + torch.from_numpy(g.normal(0, g.uniform(0, 4), poor.shape)).float()
            part = nn_functional.interpolate(poor, size=part.shape[-2:], mode="bicubic", align_corners=False)
        out.append(part)
    images, count = torch.cat(out), len(shown)

    def drawn(low: float, high: float, *size: int) -> torch.Tensor:
        return torch.from_numpy(g.uniform(low, high, (count, *size, 1, 1))).float()

    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * drawn(0.3, 1.3, 1)
    middle = images.mean((2, 3), keepdim=True)
    images = (middle + (images - middle) * drawn(0.6, 1.3, 1)) * drawn(1 - noise, 1 + noise, 3) + drawn(-25, 25, 1)
    return images.clamp(0, 255)
