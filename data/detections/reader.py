"""2D people detected elsewhere, read as if the project had detected them.

Files give pixels of a camera's own images, lens distortion included; everything that leaves here is undistorted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.detections.association4d_text import frames_in_header, open_association4d_text
from data.detections.coco import open_coco
from data.detections.openpose import OpenPoseFolder
from data.detections.people import Person, Source
from pipeline.cameras import Camera
from pipeline.errors import InputError
from pipeline.keypoints.detections import Candidates, Detections
from pipeline.keypoints.detector import InstanceList
from pipeline.skeletons import BODY25, SETS, body_set

KINDS = ("openpose_json", "coco_json", "association4d_text")

OUTSIDE_MARGIN = 0.1
"""By this share of its width and height a joint may lie outside the image: detectors guess hidden ones."""

MOST_OUTSIDE = 0.5
"""A larger share of joints outside the image, and the detections are of another camera's images."""

SAMPLE = 5
"""Frames that a quick look takes at the beginning, in the middle and at the end."""

MIDDLE_OFF = 0.1
"""Median distance of the middle of the hips from mid_hip, as a share of a person's extent, that BODY_25 stays below."""


def count_frames(kind: str, path: Path) -> int:
    """One past the last frame that a camera's detections cover.

    Raises:
        InputError: naming the file that is missing or cannot be read.
    """
    _check_path(kind, path)
    if kind == "association4d_text":
        return frames_in_header(path)
    return _open(kind, path, (1, 1)).count


def read_detections(kind: str, path: Path, camera: Camera, frames: Sequence[int]) -> Detections:
    """A camera's detections in the frames asked for.

    Args:
        kind: one of ``KINDS``.
        path: the camera's file or folder.
        camera: with its lens distortion: its images are what the detections were made on.
        frames: numbers of the source's frames, ascending; -1 for no frame at this time, which has nobody.

    Returns:
        Detections with an entry for each of ``frames``, numbered as given; undistorted pixels.

    Raises:
        InputError: naming the file and what is wrong with it.
    """
    frames = [int(f) for f in frames]
    source = _open(kind, path, camera.size)
    people = [source.people(f) if f >= 0 else [] for f in frames]
    _check_usable(source, people)
    rows = InstanceList(source.joint_set, len(SETS[source.joint_set]))
    flat = iter(_undistorted(camera, [p for found in people for p in found]))
    for frame, found in zip(frames, people, strict=True):
        rows.start_frame(frame)
        for p in itertools.islice(flat, len(found)):
            if p.is_there:
                rows.add(p.keypoints, p.scores, p.box, p.box_score, p.track)
    return replace(rows.finish(), candidates=_undistorted_candidates(camera, source.candidates(frames)))


def check_detections_source(kind: str, path: Path, camera: Camera) -> None:
    """A quick look at a camera's first, middle and last frames, before the long work.

    Raises:
        InputError: files missing, unreadable or of another joint set, or detections that are not this camera's.
    """
    source = _open(kind, path, camera.size)
    people = {f: source.people(f) for f in _sample(source.numbers)}
    _check_usable(source, list(people.values()))
    found = [p for frame in people.values() for p in frame if p.is_there]
    if not found:
        return
    where = source.where(next(f for f, ps in people.items() if any(p.is_there for p in ps)))
    points = np.concatenate([p.keypoints[p.scores > 0] for p in found])
    _check_pixels(where, points, camera)
    if body_set(source.joint_set) == BODY25.name:
        _check_body25(where, np.stack([p.keypoints[: len(BODY25)] for p in found]))


def _open(kind: str, path: Path, size: tuple[int, int]) -> Source:
    _check_path(kind, path)
    if kind == "openpose_json":
        return OpenPoseFolder(path)
    if kind == "coco_json":
        return open_coco(path)
    return open_association4d_text(path, size)


def _check_path(kind: str, path: Path) -> None:
    if kind not in KINDS:
        raise InputError("keypoints.detector", f"{kind!r} reads no files", f"Use one of {', '.join(KINDS)}")
    if not path.exists():
        raise InputError(path, "no such file or folder", "Check keypoints.detections and the names of the cameras")
    if kind == "openpose_json" and not path.is_dir():
        raise InputError(path, "is a file, not a folder with a file a frame", "Give the folder that OpenPose wrote")
    if kind == "association4d_text" and path.is_dir():
        raise InputError(path, "is a folder, not a camera's text file", "Point keypoints.detections at the file")


def _sample(numbers: np.ndarray) -> list[int]:
    middle = max(0, (len(numbers) - SAMPLE) // 2)
    rows = {*range(SAMPLE), *range(middle, middle + SAMPLE), *range(len(numbers) - SAMPLE, len(numbers))}
    return [int(numbers[r]) for r in sorted(rows) if 0 <= r < len(numbers)]


def _check_usable(source: Source, people: Sequence[Sequence[Person]]) -> None:
    """Spoilt joints are left out; detections of nothing else are worth telling."""
    found = [p for frame in people for p in frame]
    if any(p.spoilt for p in found) and not any(p.is_there for p in found):
        raise InputError(
            source.path,
            "every joint looked at has a position or score that is negative or no number",
            "Detect again, and look at the numbers in the file",
        )


def _check_pixels(where: str, points: np.ndarray, camera: Camera) -> None:
    """Points (N, 2) of the distorted image against its size."""
    if len(points) > 2 and np.abs(points).max() <= 1.5:
        raise InputError(where, "coordinates are fractions of the image, not pixels", "Export pixels of the full image")
    size = np.asarray(camera.size, np.float64)
    margin = OUTSIDE_MARGIN * size
    outside = np.mean(np.any((points < -margin) | (points > size - 1 + margin), axis=-1))
    if outside > MOST_OUTSIDE:
        low, high = np.percentile(points, [5, 95], axis=0).round().astype(int)
        raise InputError(
            where,
            f"{outside:.0%} of the joints lie outside the {camera.size[0]} x {camera.size[1]} image of camera "
            f"{camera.name} (x {low[0]} to {high[0]}, y {low[1]} to {high[1]})",
            "These are detections of another camera or another image size: check keypoints.detections",
        )


def _check_body25(where: str, keypoints: np.ndarray) -> None:
    """(N, 25, 2): BODY_25B has as many joints in another order, and only geometry tells."""
    extent = np.nanmax(keypoints, axis=1) - np.nanmin(keypoints, axis=1)
    hips = keypoints[:, [BODY25.index("right_hip"), BODY25.index("left_hip")]].mean(axis=1)
    off = np.linalg.norm(keypoints[:, BODY25.index("mid_hip")] - hips, axis=-1) / np.maximum(extent.max(-1), 1e-9)
    off = off[np.isfinite(off)]
    if len(off) >= SAMPLE and np.median(off) > MIDDLE_OFF:
        raise InputError(
            where,
            f"joint 8 lies {np.median(off):.0%} of a body's extent from the middle of joints 9 and 12, which are the "
            "hips in BODY_25",
            "Detect with BODY_25; 25 joints in another order (BODY_25B) are not read",
        )


def _undistorted(camera: Camera, people: Sequence[Person]) -> Iterator[Person]:
    """People one after another in undistorted pixels, with a box and a score each who has any joint."""
    if not people:
        return
    keypoints = np.stack([p.keypoints for p in people])
    boxes = np.stack([p.box for p in people])
    if not camera.is_pinhole:
        keypoints = camera.undistort_points(keypoints)
        boxes = _undistorted_boxes(camera, boxes)
    for p, points, box in zip(people, keypoints, boxes, strict=True):
        here = np.isfinite(points).all(-1)
        scores = np.where(here, p.scores, 0.0)
        score = p.box_score
        if here.any():  # if not, there were none, or all lie where no ray of this lens goes
            if not np.isfinite(box).all():
                box = np.concatenate([points[here].min(0), points[here].max(0)])
            if not np.isfinite(score):
                score = float(scores[here].mean())
        yield Person(points, scores, box, score, p.track, p.spoilt)


def _undistorted_boxes(camera: Camera, boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) around where corners and middles of the edges go; NaN if one of them has no ray."""
    across, down = np.array([0, 0.5, 1, 1, 1, 0.5, 0, 0]), np.array([0, 0, 0, 0.5, 1, 1, 1, 0.5])
    x = boxes[:, :1] + across * (boxes[:, 2:3] - boxes[:, :1])
    y = boxes[:, 1:2] + down * (boxes[:, 3:] - boxes[:, 1:2])
    border = camera.undistort_points(np.stack([x, y], -1))
    return np.concatenate([border.min(axis=1), border.max(axis=1)], -1)


def _undistorted_candidates(camera: Camera, candidates: Candidates | None) -> Candidates | None:
    if candidates is None or camera.is_pinhole:
        return candidates
    points = candidates.points.copy()
    points[:, :2] = camera.undistort_points(points[:, :2])
    points[:, 2] = np.where(np.isfinite(points[:, :2]).all(-1), points[:, 2], 0.0)
    return replace(candidates, points=points)
