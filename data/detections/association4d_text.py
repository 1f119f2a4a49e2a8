"""Joint candidates and part affinities as text, as the 4D association program reads them.

Words apart by white space: the kind of skeleton and the number of frames; then for every frame and each of the 25
joints of BODY_25 a count n, n x, n y and n scores; then for each of its 26 limbs (a, b) an n_a x n_b matrix, rows
first, without a header. x and y are fractions of width - 1 and height - 1. Nobody is grouped into people.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.detections.frame_files import MAX_CAPTURE_BYTES, MAX_FRAME
from data.detections.grouping import group_candidates
from data.detections.people import FARTHEST_PIXEL, Person, person
from pipeline.errors import InputError
from pipeline.keypoints.detections import Candidates
from pipeline.skeletons import BODY25

BODY25_CODE = 4
MOST_CANDIDATES = 1000
"""Of one joint in one frame; OpenPose stops at 127."""

FARTHEST = 2.0
"""Coordinates are fractions of the image; beyond this they are something else."""

_REMEDY = "Check that this is detection text of the 4D association program with BODY_25, whole and of this camera"
_LIMBS = BODY25.limb_indices
_JOINTS = len(BODY25)


def frames_in_header(path: Path) -> int:
    """How many frames the file says it holds."""
    try:
        with path.open("rb") as file:
            return _header(path, file.read(200).split()[:2])
    except OSError as error:
        raise _unreadable(path, error) from error


def open_association4d_text(path: Path, size: tuple[int, int]) -> CandidateText:
    """One camera's file; ``size`` is (width, height) of its images. Raises InputError naming the file."""
    try:
        stat = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _opened(path, size, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=2)
def _opened(path: Path, size: tuple[int, int], stamp: object) -> CandidateText:
    """A long capture is parsed once a process, not once for each of its chunks."""
    return CandidateText(path, size)


class CandidateText:
    """A whole file. ``words`` holds all its numbers, ``_joints`` and ``_limbs`` where each block of a frame stands."""

    joint_set = BODY25.name

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.path = path
        self._scale = np.asarray(size, np.float64) - 1
        self._words = _words(path)
        self.count = _header(path, self._words[:2])
        if len(self._words) < 2 + self.count * _JOINTS:
            raise InputError(path, f"is too short for the {self.count} frames that it says it holds", _REMEDY)
        self.numbers = np.arange(self.count)
        self._walk()
        self._check_scores()

    def where(self, frame: int) -> str:
        return f"{self.path}, frame {frame}"

    def _walk(self) -> None:
        """Find every block: its size is known only after all before it."""
        words, length, at = self._words, len(self._words), 2
        self._counts = np.zeros((self.count, _JOINTS), np.int64)
        self._joints = np.zeros((self.count, _JOINTS), np.int64)
        self._limbs = np.zeros((self.count, len(_LIMBS) + 1), np.int64)
        for frame in range(self.count):
            counts = []
            for joint in range(_JOINTS):
                n = words[at] if at < length else np.nan
                if not (0 <= n <= MOST_CANDIDATES and n == int(n)):
                    ending = "the file ends" if at >= length else f"{n:g} stands where the count of candidates should"
                    raise InputError(self.where(frame), f"joint {BODY25.joints[joint]}: {ending}", _REMEDY)
                counts.append(int(n))
                self._joints[frame, joint] = at + 1
                at += 1 + 3 * int(n)
            self._counts[frame] = counts
            self._limbs[frame, 0] = at
            self._limbs[frame, 1:] = at + np.cumsum([counts[a] * counts[b] for a, b in _LIMBS])
            at = int(self._limbs[frame, -1])
        if at > length:
            raise InputError(self.where(self.count - 1), "the file ends within the frame", _REMEDY)
        if at < length:
            problem = f"{length - at} numbers are left after {self.count} frames of {_JOINTS} joints"
            raise InputError(self.path, problem, _REMEDY)

    def _check_scores(self) -> None:
        """Candidates without usable score count as missing; a file of nothing else is worth telling."""
        if np.any(self._counts) and not any(
            np.any(self._points(f, j)[:, 2] > 0) for f in range(self.count) for j in range(_JOINTS)
        ):
            raise InputError(self.path, "no candidate has a position and a score above zero", _REMEDY)

    def _points(self, frame: int, joint: int) -> np.ndarray:
        """(n, 3) x, y in pixels and score; NaN with score 0 where one of them is no usable number."""
        n, at = self._counts[frame, joint], self._joints[frame, joint]
        found = self._words[at : at + 3 * n].reshape(3, n).T.copy()
        with np.errstate(invalid="ignore"):
            if np.any(np.abs(found[:, :2]) > FARTHEST):
                raise InputError(
                    self.where(frame),
                    f"joint {BODY25.joints[joint]} lies at {found[:, :2].tolist()}, no fractions of the image",
                    _REMEDY,
                )
            found[:, :2] *= self._scale
            sound = np.isfinite(found).all(-1) & (np.abs(found) < FARTHEST_PIXEL).all(-1)
            sound &= found[:, 2] > 0
        found[~sound] = np.nan, np.nan, 0.0
        return found

    def _affinities(self, frame: int) -> list[np.ndarray]:
        at, counts = self._limbs[frame], self._counts[frame]
        return [
            self._words[i:k].reshape(counts[a], counts[b])
            for (a, b), (i, k) in zip(_LIMBS, itertools.pairwise(at), strict=True)
        ]

    def people(self, frame: int) -> list[Person]:
        """Candidates grouped greedily."""
        if not 0 <= frame < self.count:
            return []
        blocks = [self._points(frame, j) for j in range(_JOINTS)]
        present = [points[:, 2] > 0 for points in blocks]
        grouped = group_candidates(self._counts[frame], self._affinities(frame), _LIMBS, present)
        missing = np.zeros(3)
        tables = [np.array([b[k] if k >= 0 else missing for b, k in zip(blocks, row, strict=True)]) for row in grouped]
        return [person(t[:, :2], t[:, 2]) for t in tables]

    def candidates(self, frames: Sequence[int]) -> Candidates:
        """Every candidate of ``frames`` in pixels of the distorted image; affinities as in the file."""
        points, counts, affinities, sizes = [np.zeros((0, 3))], [], [np.zeros(0)], []
        for frame in frames:
            if not 0 <= frame < self.count:
                counts += [0] * _JOINTS
                sizes += [0] * len(_LIMBS)
                continue
            points += [self._points(frame, j) for j in range(_JOINTS)]
            counts += self._counts[frame].tolist()
            ends = self._limbs[frame]
            affinities.append(self._words[ends[0] : ends[-1]])
            sizes += np.diff(ends).tolist()
        return Candidates(
            np.concatenate(points).astype(np.float32),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.nan_to_num(np.concatenate(affinities), nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        )


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(path, f"cannot be read ({error.strerror})", "Check keypoints.detections")


def _words(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CAPTURE_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > MAX_CAPTURE_BYTES:
        raise InputError(path, f"is larger than {MAX_CAPTURE_BYTES >> 20} MB", "Split the capture")
    try:
        return np.array(data.split(), np.float64)
    except ValueError as error:
        raise InputError(path, f"is not text of numbers ({str(error)[:80]})", _REMEDY) from error


def _header(path: Path, words: Sequence) -> int:
    """The number of frames."""
    try:
        kind, frames = (float(w) for w in words)
    except ValueError as error:
        raise InputError(path, "does not begin with kind of skeleton and number of frames", _REMEDY) from error
    if kind != BODY25_CODE:
        raise InputError(
            path,
            f"holds joint set {kind:g}, not BODY_25 (which begins with {BODY25_CODE})",
            "Export detections with BODY_25",
        )
    if not (1 <= frames <= MAX_FRAME and frames == int(frames)):
        raise InputError(path, f"says that it holds {frames:g} frames", _REMEDY)
    return int(frames)
