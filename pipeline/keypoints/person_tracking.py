"""The people in one camera, followed from frame to frame with the two BlazePose networks.

Every person has a track: the landmark network looks at the square that the landmarks of the previous frame point at.
The detector looks for people without a track: over the whole image and overlapping squares every few frames, and over
one smaller square each frame in turn. People behind others are found with those already found painted over.

Where people touch in the image the network makes one person of two. Such a group is read from front to back: each with
those before him painted over, then each again with what is seen of those behind painted over. Of the orders tried the
one counts that best continues the previous frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.keypoints.likeness import (
    LIMB_JOINTS,
    joint_confidence,
    may_hide,
    same_person,
    similarity,
    unlabelled_similarity,
)
from pipeline.keypoints.masks import Cover
from pipeline.keypoints.pose_detection import PoseDetection
from pipeline.keypoints.pose_landmarks import Pose, PoseLandmarks
from pipeline.keypoints.regions import Region

_CLEAR = 1.5  # plausibility a person (of at most 2) from which no other order of people is tried
_MIN_NEW_SUPPORT = 0.25  # detector's score for a new person in a window that he fills
_MIN_SUPPORT = 0.15  # the same, on average, of a track in its first _YOUNG frames
_FULL_SUPPORT = 0.6  # from which the detector's doubts lower no score
_YOUNG = 20
_REFUSED_FOR = 4  # frames for which a place where the detector was wrong is not looked at again
_CLOSER = 0.82  # side of the closer look, of that of the square for tracking
_WIDE_WEIGHT = 0.3  # of the wider look beside the closer one
_MIN_CLOSE_SCORE = 0.3
_NEW = 3  # frames in which a track may turn out to be two people
_SURE_POSE = 0.8  # landmark network's score of both of them then
_UPRIGHT = 1.0  # radians
_MIN_CLEAR_CONFIDENCE = 0.65  # on average, of all joints, of who needs no support by the detector
_MIN_CLEAR_JOINTS = 8  # of 15 limb joints, for a new person beside others
_MIN_CLEAR_JOINTS_ALONE = 4  # who may be cut off by the border of the image


@dataclass(frozen=True)
class BlazePoseOptions:
    """How hard to look.

    Attributes:
        search_every: the detector looks over the whole image in frames whose number is a multiple of this.
        min_detection: score from which the detector's finds are looked at.
        min_close_detection: the same for the small squares, which see many things as people.
        min_pose: score of the landmark network from which there is a person.
        min_steady_pose: the same for a person who is where he was in the previous frame.
        max_people: tracks at most.
        max_missed: frames after which a track that finds nobody ends.
        sure_peaks: mean peak of the heat maps of limb joints from which a person needs no support by the detector, who
            misses small people; above 1: there is none.
    """

    search_every: int = 5
    min_detection: float = 0.45
    min_close_detection: float = 0.6
    min_pose: float = 0.5
    min_steady_pose: float = 0.15
    max_people: int = 12
    max_missed: int = 10
    sure_peaks: float = 2.0


@dataclass
class Track:
    """One person from frame to frame; ``pose`` is what was seen last, ``missed`` frames ago."""

    number: int
    pose: Pose
    support: float  # what the detector has lately thought of it, 0..1
    missed: int = 0
    age: int = 0
    rank: int = 0  # among people who overlap, 0 is in front
    sharp: Pose = field(init=False)  # the pose to hand out: looked at twice
    cover: Cover = field(init=False)

    def __post_init__(self) -> None:
        self.see(self.pose)

    def see(self, pose: Pose) -> None:
        self.pose, self.sharp, self.missed = pose, pose, 0
        self.cover = Cover.of(pose.mask, pose.region)


def person_score(track: Track) -> float:
    """0..1 that the instance is a person: the landmark network's own score, less where the detector disagrees.

    The detector misses people who are half hidden, so it takes away at most half.
    """
    return track.pose.score * (0.5 + 0.5 * min(1.0, track.support / _FULL_SUPPORT))


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


class PersonTracker:
    """The people of one camera, from frame to frame."""

    def __init__(self, detect: PoseDetection, landmarks: PoseLandmarks, options: BlazePoseOptions) -> None:
        self._detect, self._landmarks, self._options = detect, landmarks, options
        self._tracks: list[Track] = []
        self._next_number = 0
        self._windows: tuple[list[Region], list[Region]] | None = None
        self._refused: list[tuple[Region, int]] = []  # what turned out to be nobody, and in which frame
        self._number, self._count = 0, 0  # of this frame, of frames so far

    def step(self, number: int, image: np.ndarray) -> list[Track]:
        """Tracks that found their person in this frame."""
        first = self._windows is None
        if first:
            self._windows = search_windows((image.shape[1], image.shape[0]))
        wide, close = self._windows
        self._number = number
        self._count += 1
        self._refused = [r for r in self._refused if number < r[1] + _REFUSED_FOR]
        self._advance(image)
        options = self._options
        due = first or number % options.search_every == 0
        if due:
            self._search(image, wide, options.min_detection)
        self._search(image, close if first else [close[self._count % len(close)]], options.min_close_detection)
        if due and self._found():
            self._search(image, wide, options.min_detection, hidden=True)
            self._verify(image)
        self._tracks = [t for t in self._tracks if t.missed <= min(options.max_missed, t.age // 2)]
        for track in self._found():
            track.sharp = self._sharpened(image, track.pose)
        return self._found()

    def suggest(self, image: np.ndarray, regions: Sequence[Region]) -> list[Track]:
        """Tracks of people who are in ``regions``, where something else has found them, and had none."""
        before = {t.number for t in self._tracks}
        for region in regions:
            if region.is_usable:
                self._start(image, region, [])
        new = [t for t in self._found() if t.number not in before]
        for track in new:
            track.sharp = self._sharpened(image, track.pose)
        return new

    def expect(
        self, image: np.ndarray, number: int, box: np.ndarray, region: Region | None, points: np.ndarray | None
    ) -> Pose | None:
        """Add a track for a person who should be in ``box`` (4,) x0 y0 x1 y1 of the image.

        Args:
            region: the square to look at, if joints are expected; else the detector's nearest find in the box, or the
                square around it.
            points: (33, 2) where the joints are expected.

        Returns:
            The pose expected, if points are given.
        """
        if region is None:
            region = self._region_in(image, box)
        if not region.is_usable:
            return None
        looked = self._landmarks.run(image, region)
        if points is None:
            if self._is_person(looked):
                looked = self._landmarks.run(image, looked.next_region)
            pose = replace(looked, next_region=looked.region)
        else:
            known = np.isfinite(points).all(1)
            pose = replace(
                looked,
                points=np.where(known[:, None], points, looked.points),
                visibility=known.astype(float),
                presence=np.ones(len(points)),
                mask=np.zeros_like(looked.mask),
                next_region=region,
            )
        self._tracks.append(Track(number, pose, 0.0, rank=number))
        return pose if points is not None else None

    def look_again(self, image: np.ndarray) -> list[Track]:
        """The expected people who are there."""
        self._advance(image)
        found = self._found()
        for track in found:
            front = [t.cover for t in found if t.rank < track.rank and may_hide(track.pose, t.pose)]
            track.support = self._evidence(image, track.pose, front)
            track.sharp = self._sharpened(image, track.pose)
        return found

    def _region_in(self, image: np.ndarray, box: np.ndarray) -> Region:
        around = Region.around(box)
        if not around.is_usable:
            return around
        people = self._detect.run(image, Region(around.centre, 1.3 * around.side), self._options.min_detection)
        regions = [people.region(i) for i in range(len(people))]
        near = [
            r
            for r in regions
            if r.is_usable
            and np.hypot(*(r.centre - around.centre)) < 0.25 * around.side
            and 0.5 < r.side / around.side < 2.0
        ]
        return min(near, key=lambda r: np.hypot(*(r.centre - around.centre)), default=around)

    def _sharpened(self, image: np.ndarray, pose: Pose) -> Pose:
        """The pose with joints from a closer look as well, if that sees the same person.

        Measured on a real capture of four views, the closer look takes 5 to 20 % off the reprojection error and a
        fifth to a quarter off the jitter. Tracking itself keeps the wider square, which loses fewer people.
        """
        near = Region(pose.next_region.centre, _CLOSER * pose.next_region.side, pose.next_region.angle)
        close = self._landmarks.run(image, near, pose.covers)
        if close.score < _MIN_CLOSE_SCORE or similarity(pose, close) < 0.5:
            return pose
        wide_weight = _WIDE_WEIGHT * joint_confidence(pose)[:, None] + 1e-9
        close_weight = joint_confidence(close)[:, None]
        points = (wide_weight * pose.points + close_weight * close.points) / (wide_weight + close_weight)
        return replace(
            pose,
            points=points,
            visibility=np.maximum(pose.visibility, close.visibility),
            presence=np.maximum(pose.presence, close.presence),
        )

    def _found(self) -> list[Track]:
        return [t for t in self._tracks if t.missed == 0]

    def _advance(self, image: np.ndarray) -> None:
        """Look for every tracked person where the previous frame points."""
        plain = {t.number: self._landmarks.run(image, t.pose.next_region) for t in self._tracks}
        for group in _overlapping(self._tracks, plain):
            found = plain if len(group) == 1 else self._sort_out(image, group, plain)
            self._accept(group, found)

    def _sort_out(self, image: np.ndarray, group: Sequence[Track], plain: dict[int, Pose]) -> dict[int, Pose]:
        """Poses of people who overlap, in the order from front to back that explains them best."""
        best, views = list(group), self._in_order(image, group, plain)
        worth = self._plausibility(group, views)
        present = sum(t.missed == 0 for t in group)
        if worth < _CLEAR * present:
            for order in _swaps(group, present):
                others = self._in_order(image, order, plain)
                value = self._plausibility(order, others)
                if value > worth + 0.1:
                    best, views, worth = order, others, value
        for rank, track in enumerate(best):
            track.rank = rank
        return views

    def _in_order(self, image: np.ndarray, order: Sequence[Track], plain: dict[int, Pose]) -> dict[int, Pose]:
        """Poses of people who overlap, the first in front: each with those before him painted over, then each again
        with what is seen of those behind him painted over."""
        poses: dict[int, Pose] = {}
        covers: list[Cover] = []
        for track in order:
            pose = plain[track.number]
            if covers:
                pose = self._landmarks.run(image, track.pose.next_region, covers)
            poses[track.number] = pose
            if self._is_person(pose):
                covers.append(Cover.of(pose.mask, pose.region))
        for i, track in enumerate(order[:-1]):
            front = poses[track.number]
            behind = [poses[t.number] for t in order[i + 1 :] if self._is_person(poses[t.number])]
            if any(may_hide(front, p) for p in behind) and self._is_person(front):
                hide = [Cover.of(p.mask, p.region).without(front.mask, front.region) for p in behind]
                poses[track.number] = self._landmarks.run(image, track.pose.next_region, hide)
        return poses

    def _plausibility(self, order: Sequence[Track], poses: dict[int, Pose]) -> float:
        """How well the people seen continue those of the previous frame, 0..2 each; who is not seen counts nothing."""
        total, taken = 0.0, []
        for track in order:
            pose = poses[track.number]
            if self._continues(track, pose) and not any(same_person(pose, p) for p in taken):
                total += pose.score * (similarity(track.pose, pose) + joint_confidence(pose)[LIMB_JOINTS].mean())
                taken.append(pose)
        return total

    def _continues(self, track: Track, pose: Pose) -> bool:
        """Is this the track's person? One who has not moved is believed with a lower score."""
        if not pose.next_region.is_usable:
            return False
        steady = track.missed == 0 and unlabelled_similarity(track.pose, pose) > 0.5
        return pose.score >= (self._options.min_steady_pose if steady else self._options.min_pose)

    def _accept(self, group: Sequence[Track], poses: dict[int, Pose]) -> None:
        """Give every track its pose; where two have one person, who changed less keeps him."""

        def claim(t: Track) -> float:
            pose = poses[t.number]
            return unlabelled_similarity(t.pose, pose) * pose.score + min(t.age, 20) / 20

        order = sorted(group, key=claim, reverse=True)
        taken: list[Pose] = []
        for track in order:
            pose = poses[track.number]
            track.age += 1
            if not self._continues(track, pose) or any(same_person(pose, other) for other in taken):
                track.missed += 1
                continue
            track.see(pose)
            taken.append(pose)

    def _is_person(self, pose: Pose) -> bool:
        return pose.score >= self._options.min_pose and pose.next_region.is_usable

    def _beside_others(self, image: np.ndarray, pose: Pose) -> tuple[Pose | None, dict[int, Pose]]:
        """The new person, if those who touch him are still there without him, or he without them.

        The network also makes one person of the parts of two; such a one is gone as soon as either is painted over.

        Returns:
            the pose, None if there is no such person; and what is left of tracks that were two people so far.
        """
        others = [t for t in self._found() if may_hide(pose, t.pose)]
        if not others:
            return pose, {}
        alone = self._landmarks.run(image, pose.region, [t.cover for t in others])
        if self._is_person(alone) and not any(same_person(alone, t.pose) for t in others):
            return alone, {}
        if any(same_person(pose, t.pose) for t in others):
            return None, {}
        cover = [Cover.of(pose.mask, pose.region)]
        parted = {}
        for track in others:
            rest = self._landmarks.run(image, track.pose.region, cover)
            if not self._is_person(rest):
                return None, {}
            if unlabelled_similarity(rest, track.pose) < 0.6:
                if not self._was_two(track, pose, rest):
                    return None, {}
                parted[track.number] = rest
        return pose, parted

    def _was_two(self, track: Track, front: Pose, rest: Pose) -> bool:
        """Was a new track's pose made of two people, who are now seen as ``front`` and ``rest``?"""
        sure = min(front.score, rest.score) > _SURE_POSE
        clear = (joint_confidence(rest)[LIMB_JOINTS] > 0.5).sum() >= _MIN_CLEAR_JOINTS
        return track.age < _NEW and sure and bool(clear) and unlabelled_similarity(front, rest) < 0.3

    def _stands_alone(self, pose: Pose, parted: dict[int, Pose], support: float) -> bool:
        """Enough of the person is seen, and it is not a part of somebody who is known.

        Beside others more is asked for, as parts of them make people too, unless the detector is sure.
        """
        clear = (joint_confidence(pose)[LIMB_JOINTS] > 0.5).sum()
        beside = bool(pose.covers) or any(may_hide(pose, t.pose) for t in self._found())
        asked = _MIN_CLEAR_JOINTS if beside and support < _FULL_SUPPORT else _MIN_CLEAR_JOINTS_ALONE
        others = [parted.get(t.number, t.pose) for t in self._found()]
        alike = max((unlabelled_similarity(pose, other) for other in others), default=0.0)
        return clear >= asked and pose.seen > 0.4 and alike < 0.3

    def _search(self, image: np.ndarray, windows: Sequence[Region], min_score: float, hidden: bool = False) -> None:
        """Start tracks for people the detector finds; with ``hidden`` those found already are painted over."""
        covers = [t.cover for t in self._found()] if hidden else []
        regions: list[tuple[float, Region]] = []
        for window in windows:
            found = self._detect.run(image, window, min_score, covers)
            regions += [(float(s), found.region(i)) for i, s in enumerate(found.scores)]
        regions = [r for r in regions if r[1].is_usable]
        seen: list[Region] = []
        for _, region in sorted(regions, key=lambda r: -r[0]):
            if any(_same_region(region, r) for r in seen):
                continue
            seen.append(region)
            if not hidden and any(_same_region(region, t.pose.next_region) for t in self._found()):
                continue
            if any(_same_region(region, r) for r, _ in self._refused):
                continue
            self._start(image, region, covers)

    def _verify(self, image: np.ndarray) -> None:
        """Does the detector, too, see a person where each track has one? New tracks where it does not are ended."""
        found = self._found()
        for track in found:
            front = [t.cover for t in found if t.rank < track.rank and may_hide(track.pose, t.pose)]
            track.support += 0.5 * (self._evidence(image, track.pose, front) - track.support)
        young = {t.number for t in found if t.age < _YOUNG and t.support < _MIN_SUPPORT}
        self._tracks = [t for t in self._tracks if t.number not in young]

    def _evidence(self, image: np.ndarray, pose: Pose, covers: Sequence[Cover]) -> float:
        """The detector's score (0..1) for a person like ``pose`` in a window that he fills."""
        target = pose.next_region
        window = Region(target.centre, target.side * 1.2, target.angle)
        people = self._detect.run(image, window, 0.05, covers)
        near = [float(s) for i, s in enumerate(people.scores) if _same_region(people.region(i), target, 1.7)]
        if self._is_clear(pose):
            near.append(_FULL_SUPPORT)
        return max(near, default=0.0)

    def _is_clear(self, pose: Pose) -> bool:
        """Is this a person by the landmarks alone: an upright one with most joints in view and sharp heat maps?"""
        sharp = float(pose.peaks[LIMB_JOINTS].mean()) >= self._options.sure_peaks
        upright = abs(pose.region.angle) < _UPRIGHT
        return sharp and upright and float(joint_confidence(pose).mean()) >= _MIN_CLEAR_CONFIDENCE

    def _start(self, image: np.ndarray, region: Region, covers: Sequence[Cover]) -> None:
        """A track for the person in ``region``, if there is one who has none."""
        if len(self._tracks) >= self._options.max_people:
            return
        pose, support, parted = self._new_person(image, region, covers)
        if pose is None:
            self._refused.append((region, self._number))
            return
        for track in self._tracks:
            if track.number in parted:
                track.see(parted[track.number])
                track.rank += 1
        lost = [t for t in self._tracks if t.missed and unlabelled_similarity(t.pose, pose) > 0.2]
        if lost:
            lost[0].see(pose)
            return
        self._tracks.append(Track(self._next_number, pose, support))
        self._next_number += 1

    def _new_person(
        self, image: np.ndarray, region: Region, covers: Sequence[Cover]
    ) -> tuple[Pose | None, float, dict[int, Pose]]:
        """Who is in ``region`` if it is a person without a track, what the detector thinks of him, and what is left
        of tracks that held him too."""
        nobody = None, 0.0, {}
        pose = self._landmarks.run(image, region, covers)
        if self._is_person(pose):
            pose = self._landmarks.run(image, pose.next_region, covers)
        if not self._is_person(pose):
            return nobody
        settled, parted = self._beside_others(image, pose)
        if settled is None:
            return nobody
        support = self._evidence(image, settled, covers)
        if support < _MIN_NEW_SUPPORT or not self._stands_alone(settled, parted, support):
            return nobody
        return settled, support, parted


def _overlapping(tracks: Sequence[Track], poses: dict[int, Pose]) -> list[list[Track]]:
    """Groups of tracks whose people may hide each other, each from front to back as far as is known."""
    groups: list[list[Track]] = []
    for track in tracks:
        touching = [g for g in groups if any(may_hide(poses[track.number], poses[t.number]) for t in g)]
        groups = [g for g in groups if g not in touching] + [[track, *(t for g in touching for t in g)]]
    return [sorted(g, key=lambda t: (t.missed > 0, t.rank, t.number)) for g in groups]


def _swaps(order: Sequence[Track], first: int) -> list[list[Track]]:
    """The orders with two neighbours among the ``first`` ones swapped."""
    return [[*order[:i], order[i + 1], order[i], *order[i + 2 :]] for i in range(first - 1)]


def _same_region(a: Region, b: Region, slack: float = 1.0) -> bool:
    """Would the landmark network see the same person in both?"""
    near = np.hypot(*(a.centre - b.centre)) < 0.12 * slack * min(a.side, b.side)
    turn = abs((a.angle - b.angle + np.pi) % (2 * np.pi) - np.pi)
    return bool(near and max(a.side, b.side) < 1.5 * slack * min(a.side, b.side) and turn < 0.8)
