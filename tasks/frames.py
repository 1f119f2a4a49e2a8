"""Stage: one camera's images, extracted on the session's clock, freed of lens distortion once, and stored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.cameras import Rig
from pipeline.config import Session
from pipeline.frames import store_frames
from pipeline.images import decode
from tasks.execution import Context
from tasks.media import media_path, source_of
from tasks.parts import Part


def input_files(session: Session, part: Part) -> dict[str, Path]:
    return {"media": media_path(session, part.camera)}


def compute(context: Context) -> None:
    session, name = context.session, context.part.camera
    timeline = context.input("timeline")
    row = timeline.attribute("cameras").index(name)
    plan = timeline["plan"][row]
    stream = context.writer.stream("images")
    valid = np.zeros(len(plan), bool)
    reasons: Counter[str] = Counter()
    camera = Rig.from_arrays(context.input("calibration").arrays())[name]
    storage = session.config.capture.storage
    for frame in store_frames(camera, source_of(session, name), plan, storage=storage, progress=context.progress):
        stream.append(frame.data)
        valid[frame.position] = frame.valid
        if not frame.valid:
            reasons[frame.reason] += 1
    for reason, count in reasons.items():
        print(f"warning: {count} of {len(plan)} frames: {reason}")
    context.writer.put("frames", timeline["frames"])
    context.writer.put("valid", valid)
    context.writer.put("time_error_s", timeline["time_error_s"][row])
    context.writer.attribute("storage", storage)
    context.writer.attribute("missing", dict(reasons))


def read_image(frames: Artifact, row: int) -> np.ndarray | None:
    """The image in a row of an artifact of this stage, RGB (H, W, 3), or None if there is none."""
    data = frames.encoded("images", row)
    return decode(data) if data else None
