"""2D detections of one camera over frames: what every detector and every reader delivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from pipeline.skeletons import SETS, JointSet


@dataclass(frozen=True)
class Detections:
    """People found in one camera (top-down: keypoints already grouped into instances).

    Ragged over frames: instances of ``frames[i]`` are rows ``offsets[i]:offsets[i + 1]``.

    Attributes:
        joint_set: a name in ``pipeline.skeletons.SETS``.
        frames: (F,) int64 absolute frame numbers, ascending.
        offsets: (F + 1,) int64.
        keypoints: (N, J, 2) float32 pixels of the undistorted image; NaN where missing.
        scores: (N, J) float32, 0 where missing.
        boxes: (N, 4) float32 x0 y0 x1 y1 pixels.
        box_scores: (N,) float32 how sure the detector is that this is a person.
        tracks: (N,) int32 number that a detector keeps for an instance from frame to frame, -1 if it keeps none.
            A hint only: association decides.
        masks: N PNG files (bytes) of uint8 person probability inside ``mask_boxes``; empty tuple if there are none.
        mask_boxes: (N, 4) int32 x0 y0 x1 y1 pixels, end exclusive; a mask is resized to its box when read.
        time_error_s: (F,) float32, how much later than the session's clock the image was taken, seconds.
        candidates: part candidates with affinities of a bottom-up detector, else None.
    """

    joint_set: str
    frames: np.ndarray
    offsets: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    box_scores: np.ndarray
    tracks: np.ndarray
    masks: tuple[bytes, ...] = ()
    mask_boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.int32))
    time_error_s: np.ndarray | None = None
    candidates: Candidates | None = None

    @property
    def joints(self) -> JointSet:
        return SETS[self.joint_set]

    def instances(self, frame_index: int) -> slice:
        """Rows of the instances in ``frames[frame_index]``."""
        return slice(int(self.offsets[frame_index]), int(self.offsets[frame_index + 1]))

    def of_nobody(self, frames: np.ndarray) -> Detections:
        """The same kind of detections for other frames, in which nobody was found."""
        count, like = len(frames), self.candidates
        candidates = like and Candidates(
            like.points[:0],
            np.zeros(count * len(self.joints) + 1, np.int64),
            like.affinities[:0],
            np.zeros(count * len(self.joints.limbs) + 1, np.int64),
        )
        nothing = {f: getattr(self, f)[:0] for f in ("keypoints", "scores", "boxes", "box_scores", "tracks")}
        return Detections(
            self.joint_set,
            np.asarray(frames, np.int64),
            np.zeros(count + 1, np.int64),
            **nothing,
            mask_boxes=self.mask_boxes[:0],
            time_error_s=None if self.time_error_s is None else np.zeros(count, np.float32),
            candidates=candidates,
        )

    def since(self, first: int) -> Detections:
        """Without the frames numbered below ``first``; for detectors that give no candidates."""
        if self.candidates is not None:
            raise ValueError("frames of bottom-up detections are not taken apart")
        skip = int(np.searchsorted(self.frames, first))
        row = int(self.offsets[skip])
        rows = {f: getattr(self, f)[row:] for f in ("keypoints", "scores", "boxes", "box_scores", "tracks")}
        if self.masks:
            rows |= {"masks": self.masks[row:], "mask_boxes": self.mask_boxes[row:]}
        times = None if self.time_error_s is None else self.time_error_s[skip:]
        return replace(self, frames=self.frames[skip:], offsets=self.offsets[skip:] - row, time_error_s=times, **rows)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for an artifact; the joint set travels as an attribute."""
        arrays = {
            "frames": np.asarray(self.frames, np.int64),
            "offsets": np.asarray(self.offsets, np.int64),
            "keypoints": np.asarray(self.keypoints, np.float32),
            "scores": np.asarray(self.scores, np.float32),
            "boxes": np.asarray(self.boxes, np.float32),
            "box_scores": np.asarray(self.box_scores, np.float32),
            "tracks": np.asarray(self.tracks, np.int32),
        }
        if self.masks:
            arrays["masks/bytes"] = np.frombuffer(b"".join(self.masks), np.uint8)
            arrays["masks/offsets"] = np.cumsum([0, *map(len, self.masks)]).astype(np.int64)
            arrays["masks/boxes"] = np.asarray(self.mask_boxes, np.int32)
        if self.time_error_s is not None:
            arrays["time_error_s"] = np.asarray(self.time_error_s, np.float32)
        if self.candidates is not None:
            arrays |= {f"candidates/{k}": v for k, v in self.candidates.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], joint_set: str) -> Detections:
        fields = "frames offsets keypoints scores boxes box_scores tracks".split()
        masks, mask_boxes = (), np.zeros((0, 4), np.int32)
        if "masks/bytes" in arrays:
            data, ends = arrays["masks/bytes"][...].tobytes(), arrays["masks/offsets"]
            masks = tuple(data[a:b] for a, b in pairwise(ends))
            mask_boxes = arrays["masks/boxes"]
        candidates = None
        if "candidates/offsets" in arrays:
            candidates = Candidates(*(arrays[f"candidates/{k}"] for k in Candidates.FIELDS))
        return cls(
            joint_set,
            *(arrays[f] for f in fields),
            masks=masks,
            mask_boxes=mask_boxes,
            time_error_s=arrays.get("time_error_s"),
            candidates=candidates,
        )


@dataclass(frozen=True)
class Candidates:
    """Bottom-up output of one camera: joint candidates that belong to nobody yet, and affinities between them.

    Candidates are sorted by frame, then joint: those of frame i, joint j are rows
    ``offsets[i * J + j] : offsets[i * J + j + 1]``. Affinities of frame i along limb l (``joint_set.limbs[l]``, joints
    a and b) are the (n_a, n_b) matrix, row-major, at ``affinity_offsets[i * L + l]``.

    Attributes:
        points: (N, 3) float32 x, y in pixels of the undistorted image, and score.
        offsets: (F * J + 1,) int64.
        affinities: (M,) float32, as the detector gives them.
        affinity_offsets: (F * L + 1,) int64.
    """

    FIELDS = ("points", "offsets", "affinities", "affinity_offsets")

    points: np.ndarray
    offsets: np.ndarray
    affinities: np.ndarray
    affinity_offsets: np.ndarray

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {
            "points": np.asarray(self.points, np.float32),
            "offsets": np.asarray(self.offsets, np.int64),
            "affinities": np.asarray(self.affinities, np.float32),
            "affinity_offsets": np.asarray(self.affinity_offsets, np.int64),
        }


def concatenate(parts: list[Detections]) -> Detections:
    """Chunks of one camera, in order of time, as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if len({p.joint_set for p in parts}) > 1:
        raise ValueError("chunks of one camera come from different joint sets")
    starts = np.cumsum([0] + [p.offsets[-1] for p in parts])
    candidates = None
    if first.candidates is not None:
        cs = [p.candidates for p in parts]
        candidates = Candidates(
            np.concatenate([c.points for c in cs]),
            _chain_offsets([c.offsets for c in cs]),
            np.concatenate([c.affinities for c in cs]),
            _chain_offsets([c.affinity_offsets for c in cs]),
        )
    times = [p.time_error_s for p in parts]
    return Detections(
        first.joint_set,
        np.concatenate([p.frames for p in parts]),
        np.concatenate([[0]] + [p.offsets[1:] + s for p, s in zip(parts, starts, strict=False)]).astype(np.int64),
        *(np.concatenate([getattr(p, f) for p in parts]) for f in ("keypoints", "scores", "boxes", "box_scores")),
        np.concatenate([p.tracks for p in parts]),
        masks=tuple(m for p in parts for m in p.masks),
        mask_boxes=np.concatenate([p.mask_boxes for p in parts]),
        time_error_s=None if times[0] is None else np.concatenate(times),
        candidates=candidates,
    )


def _chain_offsets(offsets: list[np.ndarray]) -> np.ndarray:
    starts = np.cumsum([0] + [o[-1] for o in offsets])
    return np.concatenate([[0]] + [o[1:] + s for o, s in zip(offsets, starts, strict=False)]).astype(np.int64)
