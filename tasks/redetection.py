"""Stage: one camera's detections of a chunk, with those added whom the other cameras see and a second look finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.keypoints.detections import Detections
from pipeline.keypoints.guided import expected_people, look_again
from tasks.execution import Context
from tasks.frames import read_image
from tasks.keypoints import camera_detector, put_detections


def compute(context: Context) -> None:
    rig, name = context.rig(), context.part.camera
    artifact = context.input("keypoints")
    found = Detections.from_arrays(artifact.arrays(), artifact.attribute("joint_set"))
    drafted = Tracks.from_arrays(context.input("draft").arrays())
    rows = np.searchsorted(drafted.frames, found.frames)
    expected = expected_people(rig[name], rig.names.index(name), drafted).rows(rows)
    wanted = expected.missing.any(-1)
    added = 0
    if wanted.any():
        images = context.input("frames")
        pictures = (read_image(images, int(row)) if w else None for row, w in zip(rows, wanted, strict=True))
        detector = camera_detector(context)
        every, added = look_again(detector, pictures, found, expected, progress=context.progress)
        found = replace(every, time_error_s=found.time_error_s)
    put_detections(context, found)
    print(f"{added} people found by a second look in {int(expected.missing.sum())} places")
