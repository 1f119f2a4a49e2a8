"""Stage: people over views and time, in 3D, from everybody's 2D detections."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.association.graph import associate
from pipeline.association.options import AssociationOptions
from pipeline.association.tracks import Tracks
from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.keypoints.detections import Detections
from pipeline.keypoints.timing import on_session_clock
from pipeline.skeletons import body_set
from tasks.execution import Context
from tasks.graph import people_note
from tasks.people import camera_detections, detections_stage


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


def inputs(session: Session) -> tuple[str, ...]:
    """Where a detector can look again, its second look counts."""
    return ("calibration", "refinement", "timeline", detections_stage(session))


def put_tracks(context: Context, tracks: Tracks, detections: Sequence[Detections]) -> None:
    context.writer.put_all(tracks.to_arrays())
    sets = {body_set(d.joint_set) for d in detections}
    context.writer.attribute("joint_set", sets.pop() if len(sets) == 1 else "")
    people = [int(p) for p in tracks.person_ids]
    context.writer.note = people_note(people)
    print(json.dumps({"people": people, "frames_present": tracks.present.sum(0).tolist()}))


def everybodys_detections(context: Context, stage: str) -> list[Detections]:
    """One a camera, in the rig's order, brought to the session's clock. Cameras that could not be looked at are blind.

    Raises:
        InputError: fewer than two cameras could be looked at.
    """
    timeline = context.input("timeline")
    every = {name: camera_detections(context, name, stage, masks=False) for name in context.rig().names}
    known = [d for d in every.values() if d is not None]
    if len(known) < min(2, len(every)):
        raise InputError(f"stage {stage}", "was made for fewer than two cameras", "See the errors of its parts")
    blind = [name for name, d in every.items() if d is None]
    if blind:
        print(f"warning: nothing is known of {', '.join(blind)}: stage {stage} failed there")
    found = [known[0].of_nobody(timeline["frames"]) if d is None else d for d in every.values()]
    return [on_session_clock(d, timeline.attribute("fps")) for d in found]


def compute(context: Context) -> None:
    rig = context.rig()
    detections = everybodys_detections(context, detections_stage(context.session))
    put_tracks(context, associate(rig, detections, options_of(context), context.progress), detections)
