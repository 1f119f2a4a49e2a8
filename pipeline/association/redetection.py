"""People missing in a view, looked for again where the other views say they are.

Association drafts; where a person should be in a picture but was hardly seen, a crop is asked of the detector; what it
finds joins the detections, and association runs again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.cameras import Rig, project
from pipeline.keypoints.detections import Detections


@dataclass(frozen=True)
class Crops:
    """Where to look again: K crops.

    Attributes:
        frame: (K,) int64 index of the frame (not its number).
        camera: (K,) int64 index of the camera in the rig.
        person: (K,) int32 id.
        boxes: (K, 4) float32 x0 y0 x1 y1 pixels of the undistorted image; may reach beyond its border.
    """

    frame: np.ndarray
    camera: np.ndarray
    person: np.ndarray
    boxes: np.ndarray

    def of_camera(self, camera: int, first: int = 0, end: int | None = None) -> Crops:
        """Those of one camera and of the frame indices first to end (exclusive)."""
        keep = (self.camera == camera) & (self.frame >= first)
        if end is not None:
            keep &= self.frame < end
        return Crops(self.frame[keep], self.camera[keep], self.person[keep], self.boxes[keep])


def wanted_crops(
    rig: Rig,
    tracks: Tracks,
    min_joints: int = 8,
    margin: float = 0.2,
    least_inside: float = 0.6,
    least_px: float = 32.0,
) -> Crops:
    """Crops around people whom a camera saw with fewer than ``min_joints`` joints though they are in its picture.

    Args:
        margin: added on every side, as a share of the box's larger side.
        least_inside: share of a person's joints that must project into the picture.
        least_px: people smaller than this in a picture are not looked for.
    """
    pixels = project(rig.projections[:, None], np.asarray(tracks.joints, np.float64)[:, :, None])  # (F, P, C, 19, 2)
    sizes = np.array([c.size for c in rig.cameras], np.float64)[:, None]
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels < sizes)).all(-1)
    seen = (tracks.scores > 0).sum(-1)
    in_front = np.isfinite(pixels).all((-1, -2))
    low, high = pixels.min(-2), pixels.max(-2)
    side = (high - low).max(-1)
    with np.errstate(invalid="ignore"):
        wanted = in_front & (inside.mean(-1) >= least_inside) & (seen < min_joints) & (side >= least_px)
    f, p, c = np.nonzero(wanted)
    grow = margin * side[f, p, c, None]
    boxes = np.concatenate([low[f, p, c] - grow, high[f, p, c] + grow], -1).reshape(-1, 4)
    return Crops(
        f.astype(np.int64), c.astype(np.int64), tracks.person_ids[p].astype(np.int32), boxes.astype(np.float32)
    )


def with_found(detections: Detections, found: Sequence[tuple[int, Detections]]) -> Detections:
    """Detections of one camera with what looking again gave, each frame's new instances behind its old ones.

    Args:
        found: (index of the frame, what ``Detector.in_crops`` gave for it); crops with nobody in them (box score 0)
            are left out. Where some instances have masks and others none, those get empty bytes.
    """
    frame, parts = [], []
    for index, part in found:
        keep = np.flatnonzero((part.box_scores > 0) & (np.nan_to_num(part.scores) > 0).any(1))
        frame += [index] * len(keep)
        parts.append((part, keep))
    if not frame:
        return detections
    old = np.repeat(np.arange(len(detections.frames)), np.diff(detections.offsets))
    frames = np.concatenate([old, np.array(frame, old.dtype)])
    order = np.argsort(frames, kind="stable")

    def joined(field: str) -> np.ndarray:
        before = getattr(detections, field)
        return np.concatenate([before, *(getattr(p, field)[k].astype(before.dtype) for p, k in parts)])[order]

    counts = np.bincount(frames, minlength=len(detections.frames))
    changed = replace(
        detections,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        **{f: joined(f) for f in ("keypoints", "scores", "boxes", "box_scores")},
        tracks=np.concatenate([detections.tracks, np.full(len(frame), -1, detections.tracks.dtype)])[order],
    )
    if not detections.masks and not any(p.masks for p, _ in parts):
        return changed
    masks = list(detections.masks) or [b""] * len(old)
    boxes = [detections.mask_boxes if detections.masks else np.zeros((len(old), 4), np.int32)]
    for part, keep in parts:
        masks += [part.masks[k] for k in keep] if part.masks else [b""] * len(keep)
        boxes.append(part.mask_boxes[keep] if part.masks else np.zeros((len(keep), 4), np.int32))
    return replace(changed, masks=tuple(masks[k] for k in order), mask_boxes=np.concatenate(boxes)[order])
