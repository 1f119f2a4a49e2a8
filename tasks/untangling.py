"""Stage: people who touch looked at again, each alone, a chunk of all cameras at a time; it gives better tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.model_files import blazepose_files
from pipeline.association.tracks import Tracks
from pipeline.association.tracks_from import empty_tracks
from pipeline.config import Session
from tasks.bodies import digests as digests  # the fit's model decides here too
from tasks.bodies import fit_options, load_model
from tasks.bodies import input_files as body_files
from tasks.execution import Context
from tasks.keypoints import detector_of, upright
from tasks.parts import Part
from tasks.segmentation import view_input


def input_files(session: Session, part: Part) -> dict[str, Path]:
    """The detector's networks and the body model."""
    files = dict(zip(("detector", "landmarks"), blazepose_files(), strict=True))
    if session.config.keypoints.detector == "onnx":
        files["model"] = session.resolve(session.config.keypoints.model)
    return files | body_files(session, part)


def compute(context: Context) -> None:
    from pipeline.body.fit import fit_track
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.segmentation.contest import plain_score
    from pipeline.untangling.looks import improved
    from pipeline.untangling.untangle import untangle

    frames = context.input("timeline")["frames"]
    start, stop = context.part.chunk
    rows = np.flatnonzero((frames >= start) & (frames < stop))
    parts = context.parts("identities")
    sets = {p.person: context.open(p).attribute("joint_set") for p in parts}
    whole = {p.person: Tracks.from_arrays(context.open(p).arrays()) for p in parts}
    tracks = {i: t.part(np.flatnonzero(np.isin(t.frames, frames[rows]))) for i, t in whole.items()}
    looked = np.zeros((len(rows), len(tracks), len(context.rig())), bool)
    if len(tracks) > 1:
        rig, model, detector = context.rig(), load_model(context.session), detector_of(context.session)
        options = {i: fit_options(context, joint_set) for i, joint_set in sets.items()}
        looks = untangle(
            model, rig, tracks, [view_input(context, c, rows) for c in rig.cameras],
            [upright(detector, rig, name) for name in rig.names],
            lambda track: fit_track(model, rig, track, options[int(track.person_ids[0])]),
            Open3DRaster(threads=1), plain_score, context.progress,
        )  # fmt: skip
        tracks = {i: improved(t, [looks], rig) for i, t in tracks.items()}
        looked = looks.looked
    ids = sorted(tracks)
    found = Tracks.together([tracks[i] for i in ids]) if ids else empty_tracks(frames[rows], len(context.rig()))
    context.writer.put_all(found.to_arrays())
    context.writer.put("looked", looked)
    print(f"looked at {int(looked.any(2).sum())} people in frames alone, {int(looked.sum())} times, of "
          f"{sum(int(t.present.sum()) for t in tracks.values())}")  # fmt: skip

