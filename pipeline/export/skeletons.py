"""``skeletons.npz``: the joints of everybody, world metres.

| array | shape | what |
|---|---|---|
| frames | (F,) int64 | frame numbers, ascending |
| time_s | (F,) float64 | seconds on the session's clock: frame / fps |
| fps | float64 | |
| person_ids | (P,) int32 | |
| joints | (F, P, 19, 3) float32 | metres, world of the calibration; an absent person is NaN |
| confidence | (F, P, 19) float32 | 0 to 1 as observed; 0 where a joint was filled in or its person is absent |
| joint_names | (19,) str | |
| joint_set | str | SKEL-19 |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.association.skeleton import fill_joints
from pipeline.association.tracks import Tracks
from pipeline.export.people import merged_tracks, on_timeline, timeline
from pipeline.skeletons import SKEL19

JOINT_SET = "SKEL-19"
Fitted = tuple[np.ndarray, np.ndarray]
"""frames (N,) and SKEL-19 joints (N, 19, 3) of a fitted body, metres; NaN where the fit is not valid."""


def skeleton_arrays(
    tracks: Sequence[Tracks],
    fps: float,
    *,
    frames: np.ndarray | None = None,
    fitted: Mapping[int, Fitted] | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of ``skeletons.npz``.

    A joint that was triangulated is exported as it is. What a present person lacks comes from the fitted body, or else
    from association's own filling (over time, then by the shape of a body), so that a present person's joints are all
    finite. A person also counts as present where only the body was fitted, across a gap in the observations, or over
    the whole session where bodies are given and nobody is tracked.

    Args:
        tracks: one or more people each.
        fps: frame numbers a second.
        frames: the session's frames; the union of the tracks' if None.
        fitted: bodies by person id; those of people without a track come with it too.
    """
    fitted = fitted or {}
    frames = timeline([t.frames for t in tracks] + [np.asarray(f) for f, _ in fitted.values()], frames)
    ids = np.array(sorted({int(i) for t in tracks for i in t.person_ids} | set(fitted)), np.int32)
    joints = np.full((len(frames), len(ids), len(SKEL19), 3), np.nan)
    confidence = np.zeros(joints.shape[:3])
    if tracks:
        merged = merged_tracks(tracks, frames)
        tracked = np.searchsorted(ids, merged.person_ids)
        joints[:, tracked] = merged.joints
        observed = np.isfinite(merged.joints).all(-1)
        confidence[:, tracked] = np.where(observed, np.nan_to_num(merged.confidence), 0)
    for column, person in enumerate(ids.tolist()):
        if person in fitted:
            rows, part_rows = on_timeline(frames, np.asarray(fitted[person][0]))
            known = joints[rows, column]
            joints[rows, column] = np.where(np.isfinite(known), known, np.asarray(fitted[person][1])[part_rows])
        present = np.isfinite(joints[:, column]).all(-1).any(-1)
        if present.any():
            joints[present, column] = fill_joints(joints[present, column])
    return {
        "frames": frames,
        "time_s": frames / float(fps),
        "fps": np.float64(fps),
        "person_ids": ids,
        "joints": joints.astype(np.float32),
        "confidence": confidence.astype(np.float32),
        "joint_names": np.array(SKEL19.joints),
        "joint_set": np.array(JOINT_SET),
    }

