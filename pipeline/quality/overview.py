"""A session at a glance: the figures at the top of the report, and which frames to look at first."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.quality.figures import Residuals, coverage_mean, worst_frames, worst_view
from pipeline.quality.summary import Summary


@dataclass(frozen=True)
class Look:
    """A frame that deserves a look, in the camera that shows why."""

    frame: int
    camera: str
    person: int
    title: str
    caption: str
    stage: str

    def command(self, configuration: str) -> str:
        """The command line that makes it anew: the person's body, or the camera's keypoints around the frame."""
        selection = (
            ["--person", str(self.person)]
            if self.stage == "bodies"
            else ["--frames", f"{self.frame}:{self.frame + 1}", "--camera", self.camera]
        )
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
            title = f"Person {track.person}, frame {frame}, {camera}"
            found.append((value / track.limit, Look(frame, camera, track.person, title, caption, stage)))
    chosen: list[Look] = []
    for _, look in sorted(found, key=lambda item: -item[0]):
        if len(chosen) < count and all((look.frame, look.person) != (c.frame, c.person) for c in chosen):
            chosen.append(look)
    return chosen
