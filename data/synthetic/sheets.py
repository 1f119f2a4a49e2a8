"""Contact sheets of synthetic people and scenes, to look at, and how many of them a detector finds.

python -m data.synthetic.sheets people OUT.jpg [COUNT] [SPLIT]      people alone
python -m data.synthetic.sheets scenes OUT.jpg [COUNT]              scenes of the benchmark, COUNT a category
python -m data.synthetic.sheets found OUT.jpg [COUNT]               tells how many people of such scenes MediaPipe finds
                                                                    where nothing hides them; OUT shows who is missed
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from data.synthetic.benchmark_scenes import COUNTS, build, listed
from data.synthetic.cameras import Exposure, LabCameras, look_at
from data.synthetic.drawing import Cast, Painter
from data.synthetic.light import Light
from data.synthetic.people import People, Posed
from data.synthetic.props import thing_mesh
from data.synthetic.scene import Room
from data.synthetic.scenes import drawn_mesh
from nets.metrics_boxes import box_ious
from pipeline.cameras import Camera, Rig
from pipeline.raster import raster_here

_TILE = (240, 320)
_WIDTH = 1200  # pixels, of a sheet
_VIEWS = 4


class Studio:
    """A room with cameras, in which people are photographed one moment after the other."""

    def __init__(self, rig: Rig, generator: np.random.Generator) -> None:
        self.rig, self._generator = rig, generator
        self._light, self._room = Light.sample(generator), Room.sample(generator)
        self._exposures = [Exposure.sample(generator) for _ in rig.cameras]
        self._views = None

    def pictures(self, people: Sequence[Posed], things: Sequence = ()) -> list[tuple[np.ndarray, np.ndarray]]:
        """(H, W, 3) RGB and (H, W) labels in each camera."""
        cast = Cast.of([p.wearer.dressed for p in people], things)
        painter = Painter(self.rig, self._exposures, self._light, cast, self._generator)
        if self._views is None:
            with ThreadPoolExecutor(1) as pool:
                painter.enter(self._room, pool)
            self._views = painter.views
        painter.views = self._views
        moment = painter.moment([p.layers for p in people], [thing_mesh(t)[0] for t in things])
        return [painter.picture(c, moment, 0) for c in range(len(self.rig))]


def unhidden(camera: Camera, people: Sequence[Posed], labels: np.ndarray) -> list[int]:
    """Which people are wholly in a picture with labels (H, W), at most a tenth of them hidden."""
    out, raster = [], raster_here(1)
    for k, person in enumerate(people):
        mesh = drawn_mesh(person)
        pixels = camera.project(mesh[0])
        if not ((pixels >= 0) & (pixels <= np.array(camera.size) - 1)).all():
            continue
        alone = raster.render(*mesh, camera).hit
        if (alone & (labels == k + 1)).sum() >= 0.9 * alone.sum():
            out.append(k)
    return out


class Finder:
    """Our detector (MediaPipe's networks), on single pictures."""

    def __init__(self) -> None:
        from data.model_files import blazepose_files
        from pipeline.keypoints.blazepose import BlazePose

        self._detector = BlazePose(*blazepose_files())

    def found(self, image: np.ndarray, true: np.ndarray) -> set[int]:
        """Which of people, whose joints lie in boxes (P, 4), are found: by one of their own whose joints' box overlaps
        theirs by half (IoU)."""
        boxes = [p.box for p in next(iter(self._detector.steps([(0, image)])))[2]]
        overlap = box_ious(true, np.array(boxes, np.float64).reshape(-1, 4))
        pairs = zip(*linear_sum_assignment(-overlap), strict=True)
        return {i for i, j in pairs if overlap[i, j] >= 0.5}


def found_sheet(each: int) -> np.ndarray:
    """Tell how many are found in each category, those who stand clear of others and those before others; tiles of who
    is not found, framed."""
    maker, finder, tiles, whole = People(texture_size=256, fineness=1), Finder(), [], np.zeros((2, 2), int)
    for category in COUNTS:
        g, counts = np.random.default_rng(len(category)), np.zeros((2, 2), int)
        studio = Studio(LabCameras(size=(640, 480)).ring(_VIEWS, g), g)
        for number in range(each):
            scene = build(maker, listed()[f"{category}_{number:02d}"])
            people = scene.posed(maker)
            pictures = studio.pictures(people, scene.act.things)
            for camera, (image, labels) in zip(studio.rig.cameras, pictures, strict=True):
                joints = np.stack([camera.project(p.joints) for p in people])
                boxes = np.concatenate([joints.min(1), joints.max(1)], 1)
                found, overlap = finder.found(image, boxes), box_ious(boxes, boxes) - np.eye(len(people))
                clear = unhidden(camera, people, labels)
                for k in clear:
                    counts[int(overlap[k].max() > 1e-6)] += k in found, 1
                for k in set(clear) - found:
                    corners = boxes[k].astype(int)
                    framed = cv2.rectangle(image.copy(), corners[:2].tolist(), corners[2:].tolist(), (255, 0, 0), 1)
                    tiles.append(cv2.resize(framed, (320, 240), interpolation=cv2.INTER_AREA))
        whole += counts
        print(f"{category}: {_told(counts)}", flush=True)
    print(f"all: {_told(whole)}")
    return _grid(tiles or [np.zeros((240, 320, 3), np.uint8)], 6)


def _told(counts: np.ndarray) -> str:
    shares = [f"{found} of {there} ({found / max(there, 1):.0%})" for found, there in (*counts, counts.sum(0))]
    return "found {} who stand clear, {} before others, {} in all".format(*shares)


def people_sheet(count: int, split: str) -> np.ndarray:
    """Tiles of people alone, eight a row."""
    maker, tiles = People(texture_size=384), []
    for number in range(count):
        g = np.random.default_rng(number)
        who = maker.person(split, number)
        body = maker.posed(who, maker.pose(who, g))
        ahead = np.arctan2(*body.rotations[0][[1, 0], 2])  # where the body looks
        tiles.append(_portrait([body], (), ahead + g.uniform(-1.0, 1.0), _TILE, g))
    return _grid(tiles, 8)


def scenes_sheet(each: int) -> np.ndarray:
    """A row of the benchmark's scenes for each category."""
    maker, tiles = People(texture_size=384), []
    for category in COUNTS:
        for number in range(each):
            entry = listed()[f"{category}_{number:02d}"]
            scene, g = build(maker, entry), np.random.default_rng(entry.seed)
            tiles.append(_portrait(scene.posed(maker), scene.act.things, g.uniform(-np.pi, np.pi), (320, 320), g))
    return _grid(tiles, each)


def _portrait(people: Sequence[Posed], things, angle: float, size: tuple[int, int], g) -> np.ndarray:
    """(H, W, 3) people filling a picture taken from that side, in a room of their own."""
    points = np.concatenate([drawn_mesh(p)[0] for p in people])
    middle = (points.min(0) + points.max(0)) / 2
    centre = np.array([*(middle[:2] + 4.0 * np.array([np.cos(angle), np.sin(angle)])), g.uniform(1.2, 1.9)])
    R, t = look_at(centre, middle)
    seen = (points @ R.T + t)[:, :2] / (points @ R.T + t)[:, 2:]
    focal = 0.44 * (np.array(size) / np.abs(seen).max(0)).min()
    K = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
    return Studio(Rig((Camera("portrait", size, K, R, t),)), g).pictures(people, things)[0][0]


def _grid(tiles: list[np.ndarray], wide: int) -> np.ndarray:
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % wide)
    return np.concatenate([np.concatenate(tiles[k : k + wide], 1) for k in range(0, len(tiles), wide)])


def main(arguments: list[str]) -> None:
    kind, path, *more = arguments
    begin = time.monotonic()
    if kind == "people":
        sheet = people_sheet(int(more[0]) if more else 24, more[1] if len(more) > 1 else "test")
    elif kind == "scenes":
        sheet = scenes_sheet(int(more[0]) if more else 6)
    else:
        sheet = found_sheet(int(more[0]) if more else 8)
    width = min(_WIDTH, sheet.shape[1])
    small = cv2.resize(sheet, (width, sheet.shape[0] * width // sheet.shape[1]), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    print(f"{path}, in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
