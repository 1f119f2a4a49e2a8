"""Masks against what they should show: the projected body, and the projected surface where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import cv2
import numpy as np

from pipeline.cameras import Rig
from pipeline.quality.summary import Flag, QualityTrack
from pipeline.raster import Raster
from pipeline.segmentation.masks import SEEN, Masks

LEAST_IOU = 0.55
"""Loose clothes make a mask larger than the body; below this something is wrong."""
DROP = 0.25
"""Or below what is usual for the person in the camera by so much."""
SURFACE_IOU = 0.85
SAMPLED = 8
"""Frames of a person in which surfaces are rendered for the report."""
_SMALL = 480  # pixels: longer side of the views in which surfaces are compared

Mesh = tuple[np.ndarray, np.ndarray]
SurfaceAgreement = Mapping[str, tuple[float, Sequence[tuple[int, int, float]]]]
"""By camera: median intersection over union, and (frame, person, value) of those that are low."""


class MaskAgreement:
    """Intersection over union of masks and projected bodies over a session.

    Attributes:
        cameras: names. people: ids.
        iou: (C, F, P) float32 over the session's frames; NaN where there is no mask or no body.
    """

    def __init__(self, chunks: Iterable[Masks], frames: np.ndarray) -> None:
        chunks = list(chunks)
        self.frames = frames
        self.cameras = chunks[0].cameras if chunks else ()
        self.people = tuple(sorted({p for m in chunks for p in m.people}))
        self.iou = np.full((len(self.cameras), len(frames), len(self.people)), np.nan, np.float32)
        for masks in chunks:
            rows = np.searchsorted(frames, masks.frames)
            columns = [self.people.index(p) for p in masks.people]
            values = np.where(masks.state == SEEN, masks.agreement, np.nan)
            for c, name in enumerate(masks.cameras):
                self.iou[self.cameras.index(name), rows[:, None], columns] = values[c]

    def of_camera(self, camera: str) -> float | None:
        """The median, or None if nothing is known."""
        values = self.iou[self.cameras.index(camera)] if camera in self.cameras else np.zeros(0)
        values = values[np.isfinite(values)]
        return float(np.median(values)) if values.size else None

    def tracks(self) -> tuple[QualityTrack, ...]:
        """Disagreement a camera and frame, in per cent: the worst of the people in it."""
        out = []
        for c, name in enumerate(self.cameras):
            known = np.isfinite(self.iou[c]).any(-1)
            worst = np.where(known, np.nan_to_num(self.iou[c], nan=2.0).min(-1, initial=2.0), np.nan)
            out.append(QualityTrack("mask off the body", "%", 100 * (1 - worst), camera=name,
                                    limit=100 * (1 - LEAST_IOU)))
        return tuple(out)

    def flags(self) -> tuple[Flag, ...]:
        """A flag a camera and person whose mask and body disagree in more than one frame in twenty."""
        out = []
        for c, name in enumerate(self.cameras):
            for p, person in enumerate(self.people):
                values = self.iou[c, :, p]
                known = np.isfinite(values)
                if not known.any():
                    continue
                usual = float(np.median(values[known]))
                with np.errstate(invalid="ignore"):
                    bad = np.flatnonzero(values < max(LEAST_IOU, usual - DROP) if usual > LEAST_IOU + DROP / 2
                                         else values < LEAST_IOU)
                if len(bad) > 0.05 * known.sum():
                    first, last = (int(self.frames[k]) for k in (bad[0], bad[-1]))
                    worst = int(self.frames[bad[np.argmin(values[bad])]])
                    out.append(_flag(name, person, len(bad), int(known.sum()), values[bad].min(), usual, worst,
                                     first, last))
        return tuple(out)


def _flag(camera, person, count, of, lowest, usual, worst, first, last) -> Flag:
    return Flag(
        "warning", f"camera {camera}",
        f"Person {person}'s mask in camera {camera} disagrees with their body in {count} of {of} frames: they overlap "
        f"by {lowest:.0%} at worst (frame {worst}), {usual:.0%} is usual.",
        f"Look at it: inspect CONFIG segmentation --camera {camera} --frame {worst} --image OUT.png. It is a wrong "
        "body, loose clothes, or pixels of somebody else.",
        first, last,
    )  # fmt: skip


def surface_agreement(
    rig: Rig,
    masks: Callable[[int], Masks | None],
    surfaces: Mapping[int, tuple[np.ndarray, Callable[[int], Mesh]]],
    raster: Raster,
) -> SurfaceAgreement:
    """Masks against projected surfaces in some frames of every person.

    Args:
        masks: frame number to the masks of its chunk.
        surfaces: by person id, the frames that have a surface and what gives its mesh.

    Returns:
        by camera: median intersection over union, and (frame, person, value) of those below ``SURFACE_IOU``. Cameras
        without any are left out. Where somebody is hidden the surface is not expected.
    """
    values: dict[str, list[tuple[int, int, float]]] = {}
    for person, (frames, mesh) in surfaces.items():
        for frame in _spread(frames):
            found = masks(frame)
            if found is None or person not in found.people:
                continue
            vertices, faces = mesh(frame)
            for camera in rig.cameras:
                mask = found.mask(camera.name, frame, person)
                if mask is None or not mask.any():
                    continue
                size = tuple(max(1, round(s * min(1.0, _SMALL / max(camera.size)))) for s in camera.size)
                seen = raster.render(vertices, faces, camera, size).hit
                hidden = _smaller(found.hidden(camera.name, frame, person), size)
                mine, seen = _smaller(mask, size), seen & ~hidden
                iou = (mine & seen).sum() / max(1, (mine | seen).sum())
                values.setdefault(camera.name, []).append((frame, person, float(iou)))
    return {
        name: (float(np.median([v for _, _, v in rows])), [r for r in rows if r[2] < SURFACE_IOU])
        for name, rows in values.items()
    }


def surface_flags(agreement: SurfaceAgreement) -> tuple[Flag, ...]:
    """A flag a camera with frames in which masks and surfaces disagree."""
    out = []
    for camera, (median, bad) in agreement.items():
        if bad:
            frame, person, value = min(bad, key=lambda row: row[2])
            out.append(Flag(
                "warning", f"camera {camera}",
                f"Masks and surfaces disagree in camera {camera} in {len(bad)} of the frames looked at: person "
                f"{person} overlaps by {value:.0%} in frame {frame}, {median:.0%} is usual.",
                f"Look at both: inspect CONFIG surface --camera {camera} --frame {frame} --image OUT.png, and the same "
                "with segmentation. Where the mask is wrong, so is the surface.", frame, frame,
            ))  # fmt: skip
    return tuple(out)


def _spread(frames: np.ndarray) -> list[int]:
    if not len(frames):
        return []
    return [int(frames[k]) for k in np.unique(np.linspace(0, len(frames) - 1, min(SAMPLED, len(frames))).astype(int))]


def _smaller(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127
