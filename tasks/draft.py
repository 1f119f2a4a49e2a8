"""Stage: a first association, which tells every camera whom it missed."""

from __future__ import annotations

from pipeline.association.graph import associate
from tasks.association import options_of, put_tracks
from tasks.execution import Context
from tasks.people import camera_detections


def compute(context: Context) -> None:
    rig = context.rig()
    detections = [camera_detections(context, name, "keypoints") for name in rig.names]
    put_tracks(context, associate(rig, detections, options_of(context), context.progress), detections)
