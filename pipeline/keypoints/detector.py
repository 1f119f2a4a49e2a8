"""What a 2D detector is to the rest of the project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from pipeline.keypoints.detections import Detections


class Detector(Protocol):
    """Finds people and their joints in the images of one camera.

    ``joint_set`` names a set in ``pipeline.skeletons.SETS``.
    """

    joint_set: str

    def run(self, frames: Iterable[tuple[int, np.ndarray]], first_kept: int) -> Detections:
        """People in undistorted RGB images (H, W, 3) uint8, given in order as (frame number, image).

        Frames before ``first_kept`` only warm up the tracking and are left out of the result.
        """
        ...

    def in_crops(self, image: np.ndarray, boxes: np.ndarray, keypoints: np.ndarray | None = None) -> Detections:
        """Look again where people should be.

        Give everybody expected in the view, those found before too, the nearest to the camera first if that is known:
        who stands in front can then be told from who stands behind.

        Args:
            image: (H, W, 3) uint8 RGB, undistorted.
            boxes: (N, 4) x0 y0 x1 y1 pixels around the people expected.
            keypoints: (N, 33, 2) pixels where their joints (BlazePose's set) are expected, NaN where unknown. With both
                hips and shoulders known they also tell turn and scale, and which side is left.

        Returns:
            Detections of one frame (number 0) with one instance a box, in the order of the boxes; ``tracks`` holds the
            row of the box. A box with nobody in it gives an instance with ``box_scores`` 0 and NaN keypoints.
        """
        ...

    def beside(self, image: np.ndarray, keypoints: np.ndarray) -> Detections:
        """People who hug so closely that two were taken for one.

        Args:
            image: (H, W, 3) uint8 RGB, undistorted.
            keypoints: (N, 33, 2) pixels of everybody who is known (BlazePose's set), NaN where unknown; nobody is
                looked for beside those whose hips or shoulders are not.

        Returns:
            Detections of one frame (number 0), both of each two; ``tracks`` holds the row of the known person who was
            one of them, seen less well, or a mixture.
        """
        ...

    def alone(self, image: np.ndarray, hidden: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joints of one person with everybody else painted over, from several crops; what those disagree on counts for
        less.

        Args:
            image: (H, W, 3) uint8 RGB, undistorted.
            hidden: (H, W) bool, the others' pixels.
            keypoints: (33, 2) pixels where the person's joints (BlazePose's set) are expected; hips and shoulders must
                be known. They also tell which side is left.

        Returns:
            (J, 2) pixels and (J,) scores 0..1 in ``joint_set``; scores of 0 where nothing is known.
        """
        ...


class Instance(NamedTuple):
    """One person in one image; the fields are as in a row of ``Detections``."""

    keypoints: np.ndarray
    scores: np.ndarray
    box: np.ndarray
    score: float
    track: int = -1
    mask: bytes | None = None
    mask_box: np.ndarray | None = None


class InstanceList:
    """Collects instances frame by frame and makes them one ``Detections``."""

    def __init__(self, joint_set: str, joints: int) -> None:
        self._joint_set, self._joints = joint_set, joints
        self._frames: list[int] = []
        self._counts: list[int] = []
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, float, int, bytes | None, np.ndarray]] = []

    def start_frame(self, number: int) -> None:
        self._frames.append(number)
        self._counts.append(0)

    def add(
        self,
        keypoints: np.ndarray,
        scores: np.ndarray,
        box: np.ndarray,
        box_score: float,
        track: int = -1,
        mask: bytes | None = None,
        mask_box: np.ndarray | None = None,
    ) -> None:
        """One person of the frame started last; arrays as in a row of ``Detections``."""
        box_of_mask = np.zeros(4, np.int32) if mask_box is None else mask_box
        self._rows.append((keypoints, scores, box, box_score, track, mask, box_of_mask))
        self._counts[-1] += 1

    def finish(self) -> Detections:
        n = len(self._rows)
        columns = list(zip(*self._rows, strict=True)) if n else [()] * 7
        masks = tuple(m for m in columns[5] if m is not None)
        return Detections(
            self._joint_set,
            np.array(self._frames, np.int64),
            np.concatenate([[0], np.cumsum(self._counts)]).astype(np.int64),
            np.array(columns[0], np.float32).reshape(n, self._joints, 2),
            np.array(columns[1], np.float32).reshape(n, self._joints),
            np.array(columns[2], np.float32).reshape(n, 4),
            np.array(columns[3], np.float32),
            np.array(columns[4], np.int32),
            masks=masks if len(masks) == n else (),
            mask_boxes=np.array(columns[6], np.int32).reshape(n, 4) if len(masks) == n else np.zeros((0, 4), np.int32),
        )


def without_flashes(detections: Detections, least: int = 5) -> Detections:
    """Without tracks that were seen in fewer than ``least`` frames and were gone before the last one.

    People stay; what a network takes for one in a few frames does not. For detectors that give no candidates.
    """
    count = len(detections.frames)
    frame = np.repeat(np.arange(count), np.diff(detections.offsets))
    keep = np.ones(len(frame), bool)
    for track in np.unique(detections.tracks[detections.tracks >= 0]):
        rows = detections.tracks == track
        if rows.sum() < least and frame[rows].max() < count - 1:
            keep[rows] = False
    fields = {f: getattr(detections, f)[keep] for f in ("keypoints", "scores", "boxes", "box_scores", "tracks")}
    if detections.masks:
        masks = tuple(m for m, k in zip(detections.masks, keep, strict=True) if k)
        fields |= {"masks": masks, "mask_boxes": detections.mask_boxes[keep]}
    counts = np.bincount(frame[keep], minlength=count)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return replace(detections, offsets=offsets, **fields)
