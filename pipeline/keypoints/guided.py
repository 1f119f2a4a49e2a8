"""Looking again for people: where the other cameras say they are, and beside those who may be two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.cameras import Camera
from pipeline.keypoints.detections import Detections
from pipeline.keypoints.detector import Detector, InstanceList
from pipeline.skeletons import BLAZEPOSE33, SETS, SKEL19, map_joints


@dataclass(frozen=True)
class GuidedOptions:
    """When to look again, and what to believe.

    Attributes:
        margin: of a crop around the projected joints, as a share of their extent.
        min_inside: share of the projected joints that must lie in the image.
        min_height_px: people who would be smaller are not looked for.
        max_distance: median distance between found and projected joints, as a share of the person's extent, up to
            which it is that person.
        same_distance: the same between two instances, up to which they are one.
        min_score: joints that score less are not compared.
    """

    margin: float = 0.2
    min_inside: float = 0.7
    min_height_px: float = 48.0
    max_distance: float = 0.08
    same_distance: float = 0.06
    min_score: float = 0.3


OPTIONS = GuidedOptions()
SAMPLED_EVERY = 8
"""Frames of which one is looked at for people beside those who are known; the others are if there is somebody."""


@dataclass(frozen=True)
class Expected:
    """Where one camera should see everybody, over F frames and P people.

    Attributes:
        boxes: (F, P, 4) x0 y0 x1 y1 pixels; NaN for who is not in the image.
        joints: (F, P, 19, 2) pixels, projected.
        depth: (F, P) metres from the camera, mean of the joints.
        missing: (F, P) bool: in the image, but the camera did not show them.
    """

    boxes: np.ndarray
    joints: np.ndarray
    depth: np.ndarray
    missing: np.ndarray

    def rows(self, rows: np.ndarray) -> Expected:
        """The same for some frames."""
        return Expected(self.boxes[rows], self.joints[rows], self.depth[rows], self.missing[rows])


def expected_people(
    camera: Camera, camera_index: int, tracks: Tracks, options: GuidedOptions = OPTIONS
) -> Expected:
    """Where people should be in a camera, and who of them it missed."""
    pixels = camera.project(tracks.joints)
    size = np.array(camera.size)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels <= size - 1)).all(-1).mean(-1)
        low, high = np.nanmin(np.nan_to_num(pixels, nan=np.inf), -2), np.nanmax(np.nan_to_num(pixels, nan=-np.inf), -2)
        pad = options.margin * (high - low).max(-1, keepdims=True)
        boxes = np.concatenate([low - pad, high + pad], -1)
        seen = (inside >= options.min_inside) & ((high - low).max(-1) >= options.min_height_px)
        depth = camera.to_camera(tracks.joints)[..., 2].mean(-1)
    limits = np.concatenate([size, size]) - 1
    boxes = np.where(seen[..., None], np.clip(boxes, 0, limits), np.nan)
    return Expected(boxes, pixels, depth, seen & (tracks.instances[:, :, camera_index] < 0))


def look_again(
    detector: Detector,
    images: Iterable[np.ndarray | None],
    found: Detections,
    expected: Expected,
    options: GuidedOptions = OPTIONS,
    progress: Callable[[float], None] | None = None,
) -> tuple[Detections, int]:
    """Detections with those added that a second look found.

    Args:
        images: one a frame of ``found``, RGB or None; only looked at where somebody is missing.
        found: the first look; its instances stay as they are.
        expected: of those frames, from ``expected_people``.

    Returns:
        all instances, and how many were added. A new instance has to lie where its person is expected and must not be
        one that is there already.
    """
    out = InstanceList(found.joint_set, len(found.joints))
    added = 0
    for f, image in enumerate(images):
        out.start_frame(int(found.frames[f]))
        rows = found.instances(f)
        for i in range(rows.start, rows.stop):
            _copy(out, found, i)
        if image is not None and expected.missing[f].any():
            known = list(found.keypoints[rows])
            for seen, i in _second_look(detector, image, expected, f, options):
                if not _is_known(seen, i, known, options):
                    _copy(out, seen, i, track=-1)
                    known.append(seen.keypoints[i])
                    added += 1
        if progress:
            progress((f + 1) / len(found.frames))
    return out.finish(), added


def look_beside(
    detector: Detector,
    image: Callable[[int], np.ndarray | None],
    found: Detections,
    progress: Callable[[float], None] | None = None,
) -> tuple[Detections, int]:
    """Detections with those added who hug others so closely that they were never seen apart.

    Whoever turns out to be two gives way to both.

    Args:
        image: row of ``found`` -> RGB, or None if there is none.

    Returns:
        all instances, and how many there are more.
    """
    joints, count = SETS[found.joint_set], len(found.frames)
    seen: dict[int, Detections] = {}

    def look(row: int) -> bool:
        rows = found.instances(row)
        if row not in seen and rows.stop > rows.start and (picture := image(row)) is not None:
            points, scores = found.keypoints[rows], found.scores[rows]
            known, _ = map_joints(points, np.where(np.isfinite(points).all(-1), scores, 0), joints, BLAZEPOSE33)
            seen[row] = detector.beside(picture, known)
        return row in seen and len(seen[row].keypoints) > 0

    for first in range(0, count, SAMPLED_EVERY):
        if look(first):
            for row in range(max(0, first - SAMPLED_EVERY + 1), min(first + SAMPLED_EVERY, count)):
                look(row)
        if progress:
            progress(min(1.0, (first + SAMPLED_EVERY) / count))
    out = InstanceList(found.joint_set, len(found.joints))
    added = 0
    for row, number in enumerate(found.frames):
        out.start_frame(int(number))
        rows, new = found.instances(row), seen.get(row)
        parted = set() if new is None else set(new.tracks.tolist())
        for k, i in enumerate(range(rows.start, rows.stop)):
            if k not in parted:
                _copy(out, found, i)
        for i in range(0 if new is None else len(new.keypoints)):
            _copy(out, new, i, track=-1)
        added += 0 if new is None else len(new.keypoints) - len(parted)
    return out.finish(), added


def _second_look(
    detector: Detector, image: np.ndarray, expected: Expected, f: int, options: GuidedOptions
) -> Iterator[tuple[Detections, int]]:
    """Instances found where missing people are expected.

    The detector is told of everybody, nearest first: who stands in front is part of what hides the one behind.
    """
    people = np.flatnonzero(np.isfinite(expected.boxes[f]).all(-1))
    people = people[np.argsort(expected.depth[f, people])]
    joints = expected.joints[f, people]
    known = np.isfinite(joints).all(-1).astype(float)
    points, _ = map_joints(joints, known, SKEL19, BLAZEPOSE33)  # the set that every detector takes its hints in
    seen = detector.in_crops(image, expected.boxes[f, people], points)
    for i in range(len(seen.keypoints)):
        person = people[seen.tracks[i]]
        if expected.missing[f, person] and _is_expected(seen, i, expected.joints[f, person], options):
            yield seen, i


def _copy(out: InstanceList, source: Detections, i: int, track: int | None = None) -> None:
    out.add(
        source.keypoints[i],
        source.scores[i],
        source.boxes[i],
        float(source.box_scores[i]),
        int(source.tracks[i]) if track is None else track,
        source.masks[i] if source.masks else None,
        source.mask_boxes[i] if source.masks else None,
    )


def _is_expected(seen: Detections, i: int, expected: np.ndarray, options: GuidedOptions) -> bool:
    """The instance lies where the person's joints project to."""
    points, scores = map_joints(seen.keypoints[i], seen.scores[i], seen.joints, SKEL19)
    used = (scores >= options.min_score) & np.isfinite(points).all(-1) & np.isfinite(expected).all(-1)
    if seen.box_scores[i] <= 0 or used.sum() < 5:
        return False
    extent = np.nanmax(np.ptp(expected[np.isfinite(expected).all(-1)], axis=0))
    return np.median(np.linalg.norm(points[used] - expected[used], axis=-1)) <= options.max_distance * extent


def _is_known(seen: Detections, i: int, known: list[np.ndarray], options: GuidedOptions) -> bool:
    """The instance is one that was found before."""
    points = seen.keypoints[i]
    extent = np.nanmax(np.nanmax(points, 0) - np.nanmin(points, 0))
    for other in known:
        gap = np.linalg.norm(points - other, axis=-1)
        if np.isfinite(gap).sum() >= 5 and np.nanmedian(gap) <= options.same_distance * extent:
            return True
    return False
