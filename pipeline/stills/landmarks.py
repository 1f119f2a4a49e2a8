"""Everybody in an image by the open detector of the capture branch: tiles through BlazePose, doubles removed.

BlazePose's detector looks for people who fill much of what it sees, so tiles are small and what they show is enlarged
until people of the least height are tall enough. In each tile people are found, told apart and verified as in the first
frame of a video (``pipeline.keypoints.person_tracking``). Somebody seen in several tiles is kept from the one that
shows the whole person best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby

import cv2
import numpy as np

from nets.metrics_boxes import box_ious
from pipeline.keypoints.likeness import joint_confidence, same_person
from pipeline.keypoints.masks import Cover, paint_over
from pipeline.keypoints.person_tracking import BlazePoseOptions, PersonTracker, Track, person_score
from pipeline.keypoints.pose_detection import PoseDetection
from pipeline.keypoints.pose_landmarks import Pose, PoseLandmarks
from pipeline.keypoints.regions import Region
from pipeline.stills.tiles import Tile, TileOptions, is_plain, tiles

CANVAS = (448, 448)
SEEN_AT = 48.0
"""Pixels of a tile; the height from which people are found."""
OVERLAP = 0.25
"""Whoever is larger is whole in the next coarser level, which shows them half as large."""
TRACKING = BlazePoseOptions(min_detection=0.25, min_close_detection=0.25, max_people=40, sure_peaks=0.42)
SURE = 0.5
"""Score of people who are painted over where smaller ones are looked for."""
LEAST_INSIDE, LEAST_CONFIDENCE = 6, 0.6
"""Landmarks inside the image, and their mean confidence, of somebody who is a person."""
MOST_TURNED, SURE_SUPPORT, SURE_WITHIN = 0.8, 0.6, 0.95
"""Radians from upright; the detector's score of somebody who may be turned further; both networks' of somebody inside
somebody's outline."""
KNOWN_IOU = 0.4
"""A suggested box that overlaps somebody found by more holds nobody new."""
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
        score: 0..1. support: 0..1, what the detector thinks of the person.
        rank: among people who overlap, 0 is in front.
        scale: tile pixels per image pixel where the person was seen.
        cut: whether a tile cut the person.
    """

    pose: Pose
    score: float
    support: float
    rank: int
    scale: float
    cut: bool

    @cached_property
    def cover(self) -> Cover:
        """To be painted over where smaller people are looked for."""
        return Cover.of(self.pose.mask, self.pose.region)

    @cached_property
    def box(self) -> np.ndarray:
        """(4,) x0 y0 x1 y1 pixels."""
        return box_of(self.pose)


class LandmarkFinder:
    """BlazePose on single images.

    Args:
        detector_model, landmark_model: the .tflite files.
    """

    def __init__(self, detector_model, landmark_model) -> None:
        self._detect, self._landmarks = PoseDetection(detector_model), PoseLandmarks(landmark_model)

    def find(
        self,
        image: np.ndarray,
        options: LandmarkOptions,
        suggested: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> list[SeenPerson]:
        """Everybody in an RGB image (H, W, 3) uint8, surest first.

        Args:
            suggested: (N, 4) boxes in which people may be, best first.
        """
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
            seen = [s for s in seen if s.score >= options.threshold and is_believable(s, size, kept)]
            kept = one_each(seen, kept)
        for box in () if suggested is None else suggested:
            person = self._look_in(box, image, size, kept)
            if person is not None and person.score >= options.threshold and is_believable(person, size, kept):
                kept = one_each([person], kept)
        return sorted(kept, key=lambda s: -s.score)[: options.most_people]

    def _look_in(
        self, box: np.ndarray, image: np.ndarray, size: tuple[int, int], known: list[SeenPerson]
    ) -> SeenPerson | None:
        """Who is in a box, if nobody is known to be."""
        region = Region.around(box)
        if not region.is_usable or box_ious(np.array([k.box for k in known]).reshape(-1, 4), box[None]).max(
            initial=0.0
        ) > KNOWN_IOU:
            return None
        scale = CANVAS[0] / (2.0 * region.side)
        corner = np.round(region.centre - region.side)
        tile = Tile(float(corner[0]), float(corner[1]), scale, CANVAS)
        canvas = self._without(tile, image, known)
        tracker = PersonTracker(self._detect, self._landmarks, TRACKING)
        found = tracker.suggest(canvas, [Region(tile.to_canvas(region.centre), scale * region.side)])
        return _in_image(found[0], tile, size) if found else None

    @staticmethod
    def _without(tile: Tile, image: np.ndarray, known: list[SeenPerson]) -> np.ndarray:
        """What a tile shows, with the people known for sure painted over."""
        window = Region(tile.to_image(np.array(tile.canvas) / 2), tile.canvas[0] / tile.scale)
        covers = [k.cover for k in known if k.score >= SURE and _meet(window, k.pose.region)]
        return paint_over(tile.cut(image), window, covers)

    def _look(
        self, tile: Tile, image: np.ndarray, size: tuple[int, int], known: list[SeenPerson]
    ) -> list[SeenPerson]:
        shown = self._without(tile, image, known)
        if is_plain(shown):
            return []
        tracker = PersonTracker(self._detect, self._landmarks, TRACKING)
        return [_in_image(t, tile, size) for t in tracker.step(0, shown)]


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
    return SeenPerson(moved_pose, person_score(track), track.support, track.rank, tile.scale, cut)


def _meet(a: Region, b: Region) -> bool:
    """May two squares, however turned, share something?"""
    return bool((np.abs(a.centre - b.centre) < 0.75 * (a.side + b.side)).all())


def one_each(seen: list[SeenPerson], before: Sequence[SeenPerson] = ()) -> list[SeenPerson]:
    """``before`` and, best first, those who are not somebody better seen once more."""
    kept = list(before)
    for person in sorted(seen, key=lambda s: -s.score):
        near = [k for k in kept if _near(person.pose, k.pose)]
        if not any(same_person(k.pose, person.pose) for k in near):
            kept.append(person)
    return kept


def is_believable(person: SeenPerson, size: tuple[int, int], known: Sequence[SeenPerson]) -> bool:
    """Not a person that the networks made of something else, in an image of ``size`` (width, height).

    Whoever a tile cuts is whole in a neighbour, or in a coarser one.
    Joints inside the image are seen clearly, on average. Who lies or stands on his head is believed if the detector is
    sure. In the outline of somebody larger, whom smaller tiles show painted over, are the remains of him and what he
    holds: who is found there is believed if he is whole and sure.
    """
    if person.cut:
        return False
    pose = person.pose
    inside = ((pose.points >= 0) & (pose.points < size)).all(1)
    if inside.sum() < LEAST_INSIDE or joint_confidence(pose)[inside].mean() < LEAST_CONFIDENCE:
        return False
    if abs(pose.region.angle) > MOST_TURNED and person.support < SURE_SUPPORT:
        return False
    within = any(_is_within(person.box, k.box) for k in known if k.score >= SURE)
    return not within or (person.score >= SURE_WITHIN and person.support >= SURE_WITHIN)


def _is_within(small: np.ndarray, large: np.ndarray) -> bool:
    low, high = np.maximum(small[:2], large[:2]), np.minimum(small[2:], large[2:])
    area = (small[2:] - small[:2]).prod()
    return bool(np.clip(high - low, 0, None).prod() > 0.7 * area and area < 0.3 * (large[2:] - large[:2]).prod())


def _near(a: Pose, b: Pose) -> bool:
    return bool(np.hypot(*(a.region.centre - b.region.centre)) < 0.5 * (a.region.side + b.region.side))


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
