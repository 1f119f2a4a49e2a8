"""BlazePose for several people: the open default detector.

MediaPipe's own graph follows one person. Here its two networks are run directly. Every person has a track: the
landmark network looks at the square that the landmarks of the previous frame point at. The detector looks for people
without a track: over the whole image and overlapping squares every few frames, and over one smaller square each frame
in turn. People behind others are found with those already found painted over. Two tracks that end on one person are
told apart by which moved less, and the other looks again with the first painted over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.keypoints.detections import Detections
from pipeline.keypoints.detector import InstanceList
from pipeline.keypoints.likeness import LIMB_JOINTS, joint_confidence, mask_overlap, similarity, unlabelled_similarity
from pipeline.keypoints.masks import Cover, mask_in_box
from pipeline.keypoints.pose_detection import PoseDetection
from pipeline.keypoints.pose_landmarks import BODY, Pose, PoseLandmarks
from pipeline.keypoints.regions import Region
from pipeline.skeletons import BLAZEPOSE33


@dataclass(frozen=True)
class BlazePoseOptions:
    """How hard to look.

    Attributes:
        search_every: the detector looks over the whole image in frames whose number is a multiple of this.
        min_detection: score from which the detector's finds are looked at.
        min_close_detection: the same for the small squares, which see many things as people.
        min_pose: score of the landmark network from which there is a person.
        max_people: tracks at most.
        max_missed: frames after which a track that finds nobody ends.
    """

    search_every: int = 5
    min_detection: float = 0.45
    min_close_detection: float = 0.6
    min_pose: float = 0.5
    max_people: int = 12
    max_missed: int = 10


@dataclass
class _Track:
    number: int
    pose: Pose
    detector_score: float
    missed: int = 0
    age: int = 0
    cover: Cover = field(init=False)

    def __post_init__(self) -> None:
        self.see(self.pose)

    def see(self, pose: Pose) -> None:
        self.pose, self.missed = pose, 0
        self.cover = Cover.of(pose.mask, pose.region)


def search_windows(size: tuple[int, int]) -> tuple[list[Region], list[Region]]:
    """Squares for the detector: (whole image and squares as wide as its short side, smaller squares)."""
    wide = [Region(np.array(size) / 2, max(size))]
    if max(size) > 1.15 * min(size):
        wide += _tiles(size, min(size))
    return wide, _tiles(size, 0.6 * min(size))


def _tiles(size: tuple[int, int], side: float) -> list[Region]:
    """Squares that cover the image and overlap by about half."""
    axes = []
    for length in size:
        count = 1 if length <= side * 1.01 else int(np.ceil((length - side) / (0.5 * side))) + 1
        axes.append(np.linspace(side / 2, length - side / 2, count) if count > 1 else np.array([length / 2]))
    return [Region(np.array([x, y]), side) for y in axes[1] for x in axes[0]]


class BlazePose:
    """Several people a frame with 33 landmarks and a mask each.

    Args:
        detector_model, landmark_model: the .tflite files.
        options: thresholds.
    """

    joint_set = BLAZEPOSE33.name

    def __init__(
        self, detector_model: Path, landmark_model: Path, options: BlazePoseOptions | None = None
    ) -> None:
        self._detect = PoseDetection(detector_model)
        self._landmarks = PoseLandmarks(landmark_model)
        self._options = options or BlazePoseOptions()

    def run(self, frames: Iterable[tuple[int, np.ndarray]], first_kept: int) -> Detections:
        """See ``Detector.run``."""
        out = InstanceList(self.joint_set, BODY)
        tracker = _Tracker(self._detect, self._landmarks, self._options)
        for number, image in frames:
            tracks = tracker.step(number, image)
            if number >= first_kept:
                out.start_frame(number)
                for track in tracks:
                    _add(out, track, (image.shape[1], image.shape[0]))
        return out.finish()


def _add(out: InstanceList, track: _Track, size: tuple[int, int]) -> None:
    pose = track.pose
    scores = joint_confidence(pose)
    mask, mask_box = mask_in_box(pose.mask, pose.region, size)
    low, high = pose.points.min(0), pose.points.max(0)
    box = np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)])
    out.add(pose.points, scores, box, pose.score, track.number, mask, mask_box)


class _Tracker:
    """The people of one camera, from frame to frame."""

    def __init__(self, detect: PoseDetection, landmarks: PoseLandmarks, options: BlazePoseOptions) -> None:
        self._detect, self._landmarks, self._options = detect, landmarks, options
        self._tracks: list[_Track] = []
        self._next_number = 0
        self._windows: tuple[list[Region], list[Region]] | None = None

    def step(self, number: int, image: np.ndarray) -> list[_Track]:
        """Tracks that found their person in this frame."""
        first = self._windows is None
        if first:
            self._windows = search_windows((image.shape[1], image.shape[0]))
        wide, close = self._windows
        self._advance(image)
        options = self._options
        if first or number % options.search_every == 0:
            self._search(image, wide, options.min_detection)
        self._search(image, close if first else [close[number % len(close)]], options.min_close_detection)
        if (first or number % options.search_every == 0) and self._found():
            self._search(image, wide, options.min_detection, hidden=True)
        self._tracks = [t for t in self._tracks if t.missed <= options.max_missed]
        return self._found()

    def _found(self) -> list[_Track]:
        return [t for t in self._tracks if t.missed == 0]

    def _advance(self, image: np.ndarray) -> None:
        """Look for every tracked person where the previous frame points."""
        before = [t.pose for t in self._tracks]
        looks: list[tuple[float, _Track, Pose]] = []
        for track in self._tracks:
            pose = self._landmarks.run(image, track.pose.next_region)
            looks.append((similarity(track.pose, pose) * pose.score, track, pose))
        # Who changed least keeps the person; the others look again with that person painted over.
        looks.sort(key=lambda look: -look[0])
        taken: list[_Track] = []
        for _, track, pose in looks:
            pose = self._settle(image, pose, track.pose.next_region, taken)
            track.age += 1
            if pose is None:
                track.missed += 1
                continue
            track.see(pose)
            taken.append(track)
        del before

    def _settle(self, image: np.ndarray, pose: Pose, region: Region, taken: Sequence[_Track]) -> Pose | None:
        """The pose if it is nobody's who is taken, else that of the person who is left in ``region``, if any."""
        others = [t for t in taken if _same_person(pose, t.pose)]
        if others:
            pose = self._landmarks.run(image, region, [t.cover for t in others])
            if any(_same_person(pose, t.pose) for t in taken):
                return None
        return pose if self._is_person(pose) else None

    def _is_person(self, pose: Pose) -> bool:
        return pose.score >= self._options.min_pose and pose.next_region.is_usable

    def _search(self, image: np.ndarray, windows: Sequence[Region], min_score: float, hidden: bool = False) -> None:
        """Start tracks for people the detector finds; with ``hidden`` those found already are painted over."""
        covers = [t.cover for t in self._found()] if hidden else []
        regions: list[tuple[float, Region]] = []
        for window in windows:
            found = self._detect.run(image, window, min_score, covers)
            regions += [(float(s), found.region(i)) for i, s in enumerate(found.scores)]
        regions = [r for r in regions if r[1].is_usable]
        seen: list[Region] = []
        for score, region in sorted(regions, key=lambda r: -r[0]):
            if any(_same_region(region, r) for r in seen):
                continue
            seen.append(region)
            if not hidden and any(_same_region(region, t.pose.next_region) for t in self._found()):
                continue
            self._start(image, region, score, covers)

    def _start(self, image: np.ndarray, region: Region, score: float, covers: Sequence[Cover]) -> None:
        if len(self._tracks) >= self._options.max_people:
            return
        pose = self._landmarks.run(image, region, covers)
        if self._is_person(pose):
            pose = self._landmarks.run(image, pose.next_region, covers)
        if not self._is_person(pose):
            return
        settled = self._settle(image, pose, pose.region, self._found())
        if settled is None:
            return
        lost = [t for t in self._tracks if t.missed and unlabelled_similarity(t.pose, settled) > 0.2]
        if lost:
            lost[0].see(settled)
            return
        self._tracks.append(_Track(self._next_number, settled, score))
        self._next_number += 1


def _same_person(a: Pose, b: Pose) -> bool:
    return unlabelled_similarity(a, b) > 0.5 or mask_overlap(a, b) > 0.7


def _same_region(a: Region, b: Region) -> bool:
    """Would the landmark network see the same person in both?"""
    near = np.hypot(*(a.centre - b.centre)) < 0.12 * min(a.side, b.side)
    turn = abs((a.angle - b.angle + np.pi) % (2 * np.pi) - np.pi)
    return bool(near and max(a.side, b.side) < 1.5 * min(a.side, b.side) and turn < 0.8)


__all__ = ["LIMB_JOINTS", "BlazePose", "BlazePoseOptions", "search_windows"]
