"""Stage: a first association, which tells every camera whom it missed."""

from __future__ import annotations

from pipeline.association.graph import associate
from tasks.association import everybodys_detections, options_of, put_tracks
from tasks.execution import Context


def compute(context: Context) -> None:
    rig = context.rig()
    detections = everybodys_detections(context, "keypoints")
    put_tracks(context, associate(rig, detections, options_of(context), context.progress), detections)
