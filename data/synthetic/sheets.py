"""Contact sheets of synthetic people and scenes, to look at, and how many of them a detector finds.

python -m data.synthetic.sheets people OUT.jpg [COUNT] [SPLIT]      people alone; prints MediaPipe's share found
python -m data.synthetic.sheets scenes OUT.jpg [COUNT]              scenes of the benchmark, COUNT a category
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from data.synthetic.benchmark_scenes import COUNTS, build, listed
from data.synthetic.cameras import Exposure, ring
from data.synthetic.drawing import Cast, Painter
from data.synthetic.light import Light
from data.synthetic.people import People, Posed
from data.synthetic.props import thing_mesh
from data.synthetic.scene import Room
from pipeline.cameras import Rig

_TILE = (240, 320)
_VIEWS = 4


def pictures(
    people: Sequence[Posed], things: Sequence, rig: Rig, generator: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(H, W, 3) RGB and (H, W) labels in each camera of people at one moment, in a room of their own."""
    light, room = Light.sample(generator), Room.sample(generator)
    exposures = [Exposure.sample(generator) for _ in rig.cameras]
    painter = Painter(rig, exposures, light, Cast.of([p.wearer.dressed for p in people], things), generator)
    with ThreadPoolExecutor(1) as pool:
        painter.enter(room, pool)
    moment = painter.moment([p.layers for p in people], [thing_mesh(t)[0] for t in things])
    return [painter.picture(c, moment, 0) for c in range(len(rig))]


def found_share(views: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of views in which our detector finds the one person: a box that overlaps the true one by half."""
    from data.model_files import blazepose_files
    from pipeline.keypoints.blazepose import BlazePose

    detector, found = BlazePose(*blazepose_files()), 0
    for image, labels in views:
        rows, columns = np.nonzero(labels)
        true = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        people = next(iter(detector.steps([(0, image)])))[2]
        found += any(_overlap(p.box, true) > 0.5 for p in people)
    return found / len(views)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.maximum(high - low, 0).prod()
    return float(both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both))


def people_sheet(count: int, split: str) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Tiles of people alone, eight a row, and all their views."""
    maker, tiles, views = People(texture_size=384), [], []
    for number in range(count):
        g = np.random.default_rng(number)
        who = maker.person(split, number)
        parameters = maker.pose(who, g)
        parameters["transl"] = parameters["transl"] - [*parameters["transl"][0, :2], 0]
        body = maker.posed(who, parameters)
        rig = ring(_VIEWS, g, size=_TILE, distorted=False, radius=4.0, half_height=1.12)
        mine = pictures([body], (), rig, g)
        views += mine
        tiles.append(mine[number % _VIEWS][0])
        print(f"person {number}", file=sys.stderr, flush=True)
    return _grid(tiles, 8), views


def scenes_sheet(each: int) -> np.ndarray:
    """A row of the benchmark's scenes for each category."""
    maker, rows = People(texture_size=384), []
    for category in COUNTS:
        row = []
        for number in range(each):
            entry = listed()[f"{category}_{number:02d}"]
            scene = build(maker, entry)
            g = np.random.default_rng(entry.seed)
            rig = ring(1, g, size=_TILE, distorted=False)
            row.append(pictures(scene.posed(maker), scene.act.things, rig, g)[0][0])
            print(entry.name, file=sys.stderr, flush=True)
        rows.append(np.concatenate(row, 1))
    return np.concatenate(rows)


def _grid(tiles: list[np.ndarray], wide: int) -> np.ndarray:
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % wide)
    return np.concatenate([np.concatenate(tiles[k : k + wide], 1) for k in range(0, len(tiles), wide)])


def main(arguments: list[str]) -> None:
    kind, path = arguments[0], Path(arguments[1])
    begin = time.monotonic()
    if kind == "people":
        count = int(arguments[2]) if len(arguments) > 2 else 24
        sheet, views = people_sheet(count, arguments[3] if len(arguments) > 3 else "test")
        print(f"{len(views)} views of {count} people made in {time.monotonic() - begin:.0f} s; "
              f"found by the detector: {found_share(views):.1%}")  # fmt: skip
    else:
        sheet = scenes_sheet(int(arguments[2]) if len(arguments) > 2 else 6)
    cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main(sys.argv[1:])
