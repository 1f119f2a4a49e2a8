"""Everybody in an image by the open detector of the capture branch: tiles through BlazePose, doubles removed.

BlazePose's detector looks for people who fill much of what it sees, so tiles are small and what they show is enlarged
until people of the least height are tall enough. In each tile people are found, told apart and verified as in the first
frame of a video (``pipeline.keypoints.person_tracking``). Somebody seen in several tiles is kept from the one that
shows the whole person best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import cv2
import numpy as np

from pipeline.keypoints.likeness import joint_confidence, same_person
from pipeline.keypoints.masks import Cover, paint_over
from pipeline.keypoints.person_tracking import BlazePoseOptions, PersonTracker, Track, person_score
from pipeline.keypoints.pose_detection import PoseDetection
from pipeline.keypoints.pose_landmarks import Pose, PoseLandmarks
from pipeline.keypoints.regions import Region
from pipeline.stills.tiles import Tile, TileOptions, tiles

CANVAS = (448, 448)
SEEN_AT = 80.0
"""Pixels of a tile; the height from which people are found."""
OVERLAP = 0.4
SURE = 0.5
"""Score of people who are painted over where smaller ones are looked for."""
MASK = 28
LEAST_MASK = 0.5


@dataclass(frozen=True)
class LandmarkOptions:
    """How people are looked for.

    Attributes:
        threshold: least score of a person.
        tiles: which tiles.
        most_people: in an image.
    """

    threshold: float = 0.5
    tiles: TileOptions = field(default_factory=lambda: TileOptions(seen_at=SEEN_AT, overlap=OVERLAP))
    most_people: int = 500

    @classmethod
    def of(cls, threshold: float, smallest_person: float) -> LandmarkOptions:
        return cls(threshold, TileOptions(smallest_person, SEEN_AT, OVERLAP))


@dataclass(frozen=True)
class SeenPerson:
    """One person in pixels of the image.

    Attributes:
        pose: landmarks, their depths and their places in metres, and the mask, all of the image.
        score: 0..1. rank: among people who overlap, 0 is in front.
        scale: tile pixels per image pixel where the person was seen.
        cut: whether a tile cut the person.
    """

    pose: Pose
    score: float
    rank: int
    scale: float
    cut: bool

    @property
    def cover(self) -> Cover:
        """To be painted over where smaller people are looked for."""
        return Cover.of(self.pose.mask, self.pose.region)

    @property
    def worth(self) -> float:
        return self.score * (0.5 if self.cut else 1.0)


class LandmarkFinder:
    """BlazePose on single images.

    Args:
        detector_model, landmark_model: the .tflite files.
    """

    def __init__(self, detector_model, landmark_model) -> None:
        self._detect, self._landmarks = PoseDetection(detector_model), PoseLandmarks(landmark_model)

    def find(
        self, image: np.ndarray, options: LandmarkOptions, progress: Callable[[float], None] | None = None
    ) -> list[SeenPerson]:
        """Everybody in an RGB image (H, W, 3) uint8, surest first."""
        size = (image.shape[1], image.shape[0])
        planned = list(tiles(size, CANVAS, options.tiles))
        kept: list[SeenPerson] = []
        done = 0
        for _, level in groupby(planned, lambda t: t.scale):
            seen: list[SeenPerson] = []
            for tile in level:
                seen += self._look(tile, image, size, kept)
                done += 1
                if progress is not None:
                    progress(done / len(planned))
            kept = one_each([s for s in seen if s.score >= options.threshold], kept)
        return sorted(kept, key=lambda s: -s.worth)[: options.most_people]

    def _look(
        self, tile: Tile, image: np.ndarray, size: tuple[int, int], known: list[SeenPerson]
    ) -> list[SeenPerson]:
        canvas = tile.cut(image)
        side = tile.canvas[0] / tile.scale
        window = Region(tile.to_image(np.array(tile.canvas) / 2), side)
        covers = [k.cover for k in known if k.score >= SURE and _meet(window, k.pose.region)]
        canvas = paint_over(canvas, window, covers)
        tracker = PersonTracker(self._detect, self._landmarks, BlazePoseOptions(max_people=40))
        return [_in_image(t, tile, size) for t in tracker.step(0, canvas)]


def _in_image(track: Track, tile: Tile, size: tuple[int, int]) -> SeenPerson:
    pose = track.sharp

    def moved(region: Region) -> Region:
        return Region(tile.to_image(region.centre), region.side / tile.scale, region.angle)

    covers = tuple(Cover(c.values, moved(c.region)) for c in pose.covers)
    cut = bool(tile.cuts(box_of(pose)[None], size)[0])
    moved_pose = replace(
        pose,
        points=tile.to_image(pose.points),
        depth=pose.depth / tile.scale,
        region=moved(pose.region),
        next_region=moved(pose.next_region),
        covers=covers,
    )
    return SeenPerson(moved_pose, person_score(track), track.rank, tile.scale, cut)


def _meet(a: Region, b: Region) -> bool:
    """May two squares, however turned, share something?"""
    return bool((np.abs(a.centre - b.centre) < 0.75 * (a.side + b.side)).all())


def one_each(seen: list[SeenPerson], before: Sequence[SeenPerson] = ()) -> list[SeenPerson]:
    """``before`` and, best first, those who are not somebody better seen once more."""
    kept = list(before)
    for person in sorted(seen, key=lambda s: -s.worth):
        near = [k for k in kept if _near(person.pose, k.pose)]
        if not any(same_person(k.pose, person.pose) or _part_of(person.pose, k.pose) for k in near):
            kept.append(person)
    return kept


def _near(a: Pose, b: Pose) -> bool:
    return bool(np.hypot(*(a.region.centre - b.region.centre)) < 0.5 * (a.region.side + b.region.side))


def _part_of(small: Pose, large: Pose) -> bool:
    """A limb or a head of somebody that was taken for a person."""
    return False


def box_of(pose: Pose) -> np.ndarray:
    """(4,) x0 y0 x1 y1 pixels round the mask and the landmarks that are seen."""
    matrix = pose.region.to_image(pose.mask.shape[0])
    rows, columns = np.nonzero(pose.mask > LEAST_MASK)
    edge = cv2.convexHull(np.column_stack([columns, rows]).astype(np.int32))[:, 0] if len(rows) else np.zeros((0, 2))
    points = [edge @ matrix[:, :2].T + matrix[:, 2], pose.points[joint_confidence(pose) > 0.5]]
    every = np.concatenate(points)
    if not len(every):
        every = pose.points
    return np.concatenate([every.min(0), every.max(0)])


def mask_of(pose: Pose, box: np.ndarray) -> np.ndarray:
    """(28, 28) uint8 person probability in ``box`` of the image."""
    x0, y0, x1, y1 = box
    step = np.array([x1 - x0, y1 - y0]) / MASK
    to_image = np.column_stack([np.diag(step), np.array([x0, y0]) + 0.5 * step - 0.5])
    inverse = cv2.invertAffineTransform(pose.region.to_image(pose.mask.shape[0]))
    matrix = np.column_stack([inverse[:, :2] @ to_image[:, :2], inverse[:, :2] @ to_image[:, 2] + inverse[:, 2]])
    out = cv2.warpAffine(pose.mask, matrix, (MASK, MASK), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.rint(255 * np.clip(out, 0, 1)).astype(np.uint8)
