"""Stage: the cameras bundle-adjusted from the people in front of them, where that helps.

The result is a rig of its own in the same world frame; the user's calibration file is never touched.
"""

from __future__ import annotations

import numpy as np

from pipeline.association.evidence import leave_one_out
from pipeline.association.refine import Refinement, refine_rig
from pipeline.association.tracks import Tracks
from pipeline.cameras import Rig
from tasks.execution import Context

DISAGREE = 0.005
"""Share of the image's longer side that the median camera's view lies from where the others put the people, from which
a calibration is in doubt. Detectors alone scatter by half of that."""

CLEARLY_BETTER = 0.75
"""Refined cameras are used if, over frames that took no part, they lie this much closer."""


def compute(context: Context) -> None:
    given = Rig.from_arrays(context.input("calibration").arrays())
    tracks = Tracks.from_arrays(context.input("draft").arrays())
    mode = context.session.config.calibration.refine
    result, told = _refined(given, tracks, mode)
    context.writer.put_all((given if result is None else result.rig).to_arrays())
    context.writer.attribute("refined", result is not None)
    context.writer.attribute("told", told)
    turned = np.zeros(len(given)) if result is None else result.turned_deg
    moved = np.zeros(len(given)) if result is None else result.moved_m
    context.writer.put("turned_deg", np.asarray(turned, np.float64))
    context.writer.put("moved_m", np.asarray(moved, np.float64))
    print(told)


def _refined(given: Rig, tracks: Tracks, mode: bool | str) -> tuple[Refinement | None, str]:
    """The refinement to use, or None, and the sentence that says why."""
    if len(given) < 3 or not tracks.present.any():
        return None, "fewer than three cameras saw somebody: nothing to refine from"
    even, odd = _every_other(tracks, 0), _every_other(tracks, 1)
    side = max(max(c.size) for c in given.cameras)
    before = _disagreement(given, odd)
    if mode == "auto" and not before > DISAGREE * side:
        return None, f"the cameras agree: {before:.1f} px from where the others put the people"
    after = _disagreement(refine_rig(given, even).rig, odd)
    figures = f"{before:.1f} px before and {after:.1f} px after refinement, over frames that took no part"
    if mode == "auto" and not after < CLEARLY_BETTER * before:
        return None, f"the cameras disagree and refining them does not help: {figures}"
    return refine_rig(given, tracks), f"the cameras were refined from the people: {figures}"


def _every_other(tracks: Tracks, first: int) -> Tracks:
    rows = slice(first, None, 2)
    arrays = {f: getattr(tracks, f)[rows] for f in Tracks.FIELDS if f != "person_ids"}
    return Tracks(person_ids=tracks.person_ids, **arrays)


def _disagreement(rig: Rig, tracks: Tracks) -> float:
    """Median over cameras of the median distance from where the other cameras put the joints, pixels."""
    gaps = leave_one_out(rig.undistorted(), tracks)
    each = [np.nanmedian(gaps[:, :, c]) for c in range(len(rig)) if np.isfinite(gaps[:, :, c]).any()]
    return float(np.median(each)) if each else float("nan")
