"""BlazePose for several people: the open default detector.

MediaPipe's own graph follows one person. Here its two networks are run directly (``person_tracking``), and what they
say of left and right is made consistent over each track (``sides``).

Keypoint scores are visibility times presence: that the joint is inside the square and not hidden. A joint guessed
behind somebody who was painted over gets less than 0.3. Instance scores are those of ``person_score``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pipeline.keypoints.crops import agreed, crops_around
from pipeline.keypoints.detections import Detections
from pipeline.keypoints.detector import Instance, InstanceList, without_flashes
from pipeline.keypoints.likeness import joint_confidence, similarity
from pipeline.keypoints.masks import Cover, mask_in_box
from pipeline.keypoints.parting import unknown_people
from pipeline.keypoints.person_tracking import BlazePoseOptions, PersonTracker, Track, person_score
from pipeline.keypoints.pose_detection import PoseDetection
from pipeline.keypoints.pose_landmarks import BODY, SIZE, Pose, PoseLandmarks
from pipeline.keypoints.regions import MARGIN, Region
from pipeline.keypoints.sides import settle_sides
from pipeline.skeletons import BLAZEPOSE33

_HIPS = [BLAZEPOSE33.index("left_hip"), BLAZEPOSE33.index("right_hip")]
_SHOULDERS = [BLAZEPOSE33.index("left_shoulder"), BLAZEPOSE33.index("right_shoulder")]


class BlazePose:
    """Several people a frame with 33 landmarks and a mask each.

    Args:
        detector_model, landmark_model: the .tflite files.
        options: thresholds.
    """

    joint_set = BLAZEPOSE33.name

    def __init__(self, detector_model: Path, landmark_model: Path, options: BlazePoseOptions | None = None) -> None:
        self._detect = PoseDetection(detector_model)
        self._landmarks = PoseLandmarks(landmark_model)
        self._options = options or BlazePoseOptions()

    def run(self, frames: Iterable[tuple[int, np.ndarray]], first_kept: int) -> Detections:
        """See ``Detector.run``."""
        out = InstanceList(self.joint_set, BODY)
        for number, _, people in self.steps(frames):
            out.start_frame(number)
            for person in people:
                out.add(*person)
        return settle_sides(without_flashes(out.finish())).since(first_kept)

    def steps(self, frames: Iterable[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray, list[Instance]]]:
        """(frame number, image, people) one after another; left and right are as the network says in each frame."""
        tracker = PersonTracker(self._detect, self._landmarks, self._options)
        for number, image in frames:
            yield number, image, [_instance(t, (image.shape[1], image.shape[0])) for t in tracker.step(number, image)]

    def in_crops(self, image: np.ndarray, boxes: np.ndarray, keypoints: np.ndarray | None = None) -> Detections:
        """See ``Detector.in_crops``: who is in front is painted over before the next is looked for."""
        size = (image.shape[1], image.shape[0])
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        tracker = PersonTracker(self._detect, self._landmarks, self._options)
        expected: list[Pose | None] = []
        for row, box in enumerate(boxes):
            points = None if keypoints is None else np.asarray(keypoints[row], np.float64)
            region = None if points is None else region_of(points)
            expected.append(tracker.expect(image, row, box, region, points))
        found = {t.number: t for t in tracker.look_again(image)}
        out = InstanceList(self.joint_set, BODY)
        out.start_frame(0)
        for row, pose in enumerate(expected):
            out.add(*(_instance(found[row], size, pose) if row in found else _nobody(boxes[row], row)))
        return out.finish()

    def beside(self, image: np.ndarray, keypoints: np.ndarray) -> Detections:
        """See ``Detector.beside``."""
        size = (image.shape[1], image.shape[0])
        regions = {row: region_of(np.asarray(points, np.float64)) for row, points in enumerate(keypoints)}
        regions = {row: region for row, region in regions.items() if region is not None and region.is_usable}
        known = [self._landmarks.run(image, region) for region in regions.values()]
        rows = list(regions)
        out = InstanceList(self.joint_set, BODY)
        out.start_frame(0)
        for pose, was in unknown_people(self._landmarks, image, known):
            out.add(*_instance(Track(rows[was], pose, 1.0), size))
        return out.finish()

    def alone(self, image: np.ndarray, hidden: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See ``Detector.alone``."""
        region = region_of(np.asarray(keypoints, np.float64))
        if region is None or not region.is_usable:
            return np.full((BODY, 2), np.nan), np.zeros(BODY)
        points, scores = [], []
        for near in crops_around(region):
            pose = self._landmarks.run(image, near, [Cover.of_pixels(hidden, near, SIZE)])
            points.append(pose.points)
            scores.append(joint_confidence(pose) * pose.score)
        return agreed(np.array(points), np.array(scores), region.side, keypoints, BLAZEPOSE33)


def region_of(points: np.ndarray) -> Region | None:
    """The square for a person whose joints (33, 2) are expected there; None without hips and shoulders."""
    hips, shoulders = points[_HIPS].mean(0), points[_SHOULDERS].mean(0)
    if not np.isfinite([hips, shoulders]).all():
        return None
    reach = np.nanmax(np.hypot(*(points - hips).T))
    turn = shoulders - hips
    return Region(hips, 2.0 * MARGIN * float(reach), float(np.arctan2(turn[0], -turn[1])))


def _instance(track: Track, size: tuple[int, int], expected: Pose | None = None) -> Instance:
    """What is handed out of a track's pose in an image of ``size``; sides are those of ``expected`` if it is given."""
    pose = track.sharp
    points, scores = pose.points, joint_confidence(pose)
    if expected is not None and similarity(expected, pose, mirrored=True) > similarity(expected, pose) + 0.1:
        points, scores = points[BLAZEPOSE33.mirror], scores[BLAZEPOSE33.mirror]
    mask, mask_box = mask_in_box(pose.mask, pose.region, size)
    box = np.concatenate([np.clip(points.min(0), 0, size), np.clip(points.max(0), 0, size)])
    return Instance(points, scores, box, person_score(track), track.number, mask, mask_box)


def _nobody(box: np.ndarray, row: int) -> Instance:
    mask, mask_box = mask_in_box(np.zeros((1, 1), np.float32), Region(np.zeros(2), 1.0), (1, 1))
    return Instance(np.full((BODY, 2), np.nan), np.zeros(BODY), box, 0.0, row, mask, mask_box)
