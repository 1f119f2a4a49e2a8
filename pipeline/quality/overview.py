"""A session at a glance: the figures at the top of the report, and which frames to look at first."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.quality.figures import Residuals, coverage_mean, worst_frames, worst_view
from pipeline.quality.mask_figures import MaskAgreement, SurfaceAgreement
from pipeline.quality.summary import Summary

_SELECTED = {
    "bodies": ("person",),
    "keypoints": ("frames", "camera"),
    "segmentation": ("frames",),
    "surface": ("frames", "person"),
    "fusion": ("frames", "person"),
}
"""What ``rerun`` is given for a frame of a stage: what the stage's parts are told apart by."""


@dataclass(frozen=True)
class Look:
    """A frame that deserves a look, in the camera that shows why, and the stage that made it so."""

    frame: int
    camera: str
    person: int
    title: str
    caption: str
    stage: str

    def command(self, configuration: str) -> str:
        """The command line that makes it anew: the person's body, or what belongs to the frame."""
        values = {"person": f"{self.person}", "frames": f"{self.frame}:{self.frame + 1}", "camera": self.camera}
        selection = (word for name in _SELECTED[self.stage] for word in (f"--{name}", values[name]))
        return shlex.join(["run_pipeline.py", "rerun", configuration, self.stage, *selection])


def headline(
    cameras: int, frames: int, residuals: Residuals | None, bodies: Mapping[int, BodyTrack]
) -> dict[str, float | int | None]:
    """The few figures that stand at the top: ``Summary.counts``."""

    def median(values: np.ndarray) -> float | None:
        values = values[np.isfinite(values)]
        return float(np.median(values)) if values.size else None

    people = 0 if residuals is None else len(residuals.tracks.person_ids)
    counts: dict[str, float | int | None] = {"people": people, "frames": frames, "cameras": cameras}
    if people:
        counts["coverage_share"] = coverage_mean(residuals.tracks)
        counts["reprojection_median_px"] = median(residuals.direct)
        counts["leave_one_out_median_px"] = median(residuals.left_out)
    if bodies:
        error = median(np.concatenate([b.fit_error_m[np.asarray(b.valid, bool)] for b in bodies.values()]))
        counts["fit_error_median_mm"] = None if error is None else 1000 * error
    return counts


def worst_looks(summary: Summary, residuals: Residuals | None, count: int = 6) -> list[Look]:
    """Frames to look at first: where a person's reprojection or body is worst against its limit."""
    if residuals is None:
        return []
    found: list[tuple[float, Look]] = []
    for track in summary.quality:
        if track.person is None or not track.limit:
            continue
        usual = float(np.nanmedian(track.values)) if np.isfinite(track.values).any() else np.nan
        for frame in worst_frames(summary.frames, track, count):
            camera = worst_view(residuals, frame, track.person)
            if camera is None:
                continue
            value = float(track.values[np.searchsorted(summary.frames, frame)])
            caption = f"{track.name} {value:.1f} {track.unit}; {usual:.1f} {track.unit} is usual for this person"
            stage = "bodies" if track.name == "fit error" else "keypoints"
            found.append((value / track.limit, _look(frame, camera, track.person, caption, stage)))
    return _different((look for _, look in sorted(found, key=lambda item: -item[0])), count)


def worst_masks(agreement: MaskAgreement, count: int = 2) -> list[Look]:
    """Frames in which a mask overlaps least with the projected body, by how far below the camera's usual."""
    if not agreement.iou.size:
        return []
    usual = [agreement.of_camera(c) or 0.0 for c in agreement.cameras]
    below = np.array(usual)[:, None, None] - np.nan_to_num(agreement.iou, nan=np.inf)
    found = []
    for c, f, p in zip(*np.unravel_index(np.argsort(-below, axis=None)[: 20 * count], below.shape), strict=True):
        if below[c, f, p] > 0:
            caption = f"mask and body overlap by {agreement.iou[c, f, p]:.0%}; {usual[c]:.0%} is usual in this camera"
            frame = int(agreement.frames[f])
            found.append(_look(frame, agreement.cameras[c], agreement.people[p], caption, "segmentation"))
    return _different(found, count)


def worst_surfaces(agreement: SurfaceAgreement, count: int = 2) -> list[Look]:
    """Frames in which a projected surface overlaps least with its mask, of those that were looked at."""
    rows = sorted((v, camera, f, p, usual) for camera, (usual, bad) in agreement.items() for f, p, v in bad)
    found = (
        _look(f, camera, p, f"surface and mask overlap by {v:.0%}; {usual:.0%} is usual in this camera", "surface")
        for v, camera, f, p, usual in rows
    )
    return _different(found, count)


def most_fused(summary: Summary, residuals: Residuals | None) -> list[Look]:
    """The frame whose surface fusion moved most."""
    tracks = [t for t in summary.quality if t.name == "fusion change" and np.isfinite(t.values).any()]
    if residuals is None or not tracks:
        return []
    track = max(tracks, key=lambda t: np.nanmax(t.values))
    frame = int(summary.frames[np.nanargmax(track.values)])
    camera = worst_view(residuals, frame, track.person)
    if camera is None:
        return []
    caption = f"fusion moved it by {np.nanmax(track.values):.1f} mm; {np.nanmedian(track.values):.1f} mm is usual"
    return [_look(frame, camera, track.person, caption, "fusion")]


def _look(frame: int, camera: str, person: int, caption: str, stage: str) -> Look:
    return Look(frame, camera, person, f"Person {person}, frame {frame}, {camera}", caption, stage)


def _different(looks: Iterable[Look], count: int) -> list[Look]:
    """The first ones that differ in frame or person."""
    chosen: list[Look] = []
    for look in looks:
        if len(chosen) < count and all((look.frame, look.person) != (c.frame, c.person) for c in chosen):
            chosen.append(look)
    return chosen
