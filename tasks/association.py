"""Stage: people over views and time, in 3D, from everybody's 2D detections."""

from __future__ import annotations

import json

from pipeline.association.options import AssociationOptions
from pipeline.association.plain import associate
from tasks.execution import Context
from tasks.people import camera_detections


def options_of(context: Context) -> AssociationOptions:
    config = context.session.config.association
    step = context.session.config.capture.frames.step
    volume = None if config.volume is None else tuple(tuple(corner) for corner in config.volume)
    return AssociationOptions(
        fps=context.input("timeline").attribute("fps") / step,
        max_people=config.max_people,
        volume=volume,
        min_track_frames=config.min_track_frames,
        epipolar_m=config.max_ray_distance_m,
    )


def compute(context: Context) -> None:
    rig = context.rig()
    detections = [camera_detections(context, name) for name in rig.names]
    tracks = associate(rig, detections, options_of(context), context.progress)
    context.writer.put_all(tracks.to_arrays())
    people = [int(p) for p in tracks.person_ids]
    context.writer.note = {"people": people}
    print(json.dumps({"people": people, "frames_present": tracks.present.sum(0).tolist()}))
