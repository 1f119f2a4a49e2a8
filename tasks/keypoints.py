"""Stage: 2D people in one camera, a chunk of frames at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.detections.reader import read_detections
from data.model_files import blazepose_files
from pipeline.cameras import Rig
from pipeline.config import Session
from pipeline.keypoints.detections import Detections
from pipeline.keypoints.detector import Detector
from pipeline.keypoints.guided import look_beside
from pipeline.keypoints.upright import Upright
from pipeline.rig_checks import upright_turns
from tasks.execution import Context
from tasks.frames import read_image
from tasks.media import detections_path, source_of
from tasks.parts import Part

WARM_UP_FRAMES = 20
"""Frames before a chunk that only settle the tracking, so that results hardly depend on where chunks begin."""
_RUN_SHARE = 0.9  # of the work, before people beside others are looked for


def inputs(session: Session) -> tuple[str, ...]:
    """Detections made elsewhere need no images."""
    first = ("calibration", "timeline")
    return first if session.config.keypoints.reads_files else (*first, "frames")


def input_files(session: Session, part: Part) -> dict[str, Path]:
    keypoints = session.config.keypoints
    if keypoints.reads_files:
        return {"detections": detections_path(session, part.camera)}
    files = dict(zip(("detector", "landmarks"), blazepose_files(), strict=True))
    if keypoints.detector == "onnx":
        files["model"] = session.resolve(keypoints.model)
    return files


def compute(context: Context) -> None:
    timeline = context.input("timeline")
    frames = timeline["frames"]
    start, stop = context.part.chunk
    rows = np.flatnonzero((frames >= start) & (frames < stop))
    row = timeline.attribute("cameras").index(context.part.camera)
    if context.session.config.keypoints.reads_files:
        found = _read(context, frames[rows], timeline["plan"][row][rows])
    else:
        found = _detect(context, frames, rows)
    found = replace(found, time_error_s=timeline["time_error_s"][row][rows])
    if not context.session.config.keypoints.masks:
        found = replace(found, masks=(), mask_boxes=found.mask_boxes[:0])
    put_detections(context, found)
    counts = np.diff(found.offsets)
    print(f"{counts.mean() if len(counts) else 0:.2f} people a frame, {np.sum(counts == 0)} frames without anybody")


def put_detections(context: Context, found: Detections) -> None:
    context.writer.put_all(found.to_arrays())
    context.writer.attribute("joint_set", found.joint_set)


def _read(context: Context, frames: np.ndarray, plan: np.ndarray) -> Detections:
    """Given detections are numbered like the source's frames: by position in a video, by file number in a folder."""
    session, camera = context.session, context.part.camera
    if session.config.capture.images is not None:
        plan = np.where(plan >= 0, np.asarray(source_of(session, camera).numbers)[plan], -1)
    rig = Rig.from_arrays(context.input("calibration").arrays())
    found = read_detections(session.config.keypoints.detector, detections_path(session, camera), rig[camera], plan)
    return replace(found, frames=frames)


def _detect(context: Context, frames: np.ndarray, rows: np.ndarray) -> Detections:
    images = context.input("frames")
    detector = camera_detector(context)
    first = max(rows[0] - WARM_UP_FRAMES, 0)
    wanted = np.arange(first, rows[-1] + 1)
    size = context.rig()[context.part.camera].size

    def supply() -> Iterator[tuple[int, np.ndarray]]:
        for n, row in enumerate(wanted):
            image = read_image(images, row)
            yield int(frames[row]), np.zeros((size[1], size[0], 3), np.uint8) if image is None else image
            context.progress(_RUN_SHARE * (n + 1) / len(wanted))

    found = detector.run(supply(), int(frames[rows[0]]))
    every, added = look_beside(
        detector, lambda row: read_image(images, int(rows[row])), found,
        lambda share: context.progress(_RUN_SHARE + (1 - _RUN_SHARE) * share),
    )  # fmt: skip
    print(f"{added} people found beside others")
    return every


def camera_detector(context: Context) -> Detector:
    """The configured detector for the part's camera, which may be mounted on its side."""
    rig, name = context.rig(), context.part.camera
    return upright(detector_of(context.session), rig, name)


def upright(detector: Detector, rig: Rig, camera: str) -> Detector:
    """The detector for one camera, in images turned upright if it needs that."""
    turns = upright_turns(rig)[camera]
    return Upright(detector, turns, rig[camera].size) if turns else detector


def detector_of(session: Session) -> Detector:
    """The configured detector, loaded, for images in which people stand upright."""
    config = session.config.keypoints
    from pipeline.keypoints.blazepose import BlazePose, BlazePoseOptions

    blazepose = BlazePose(*blazepose_files(), BlazePoseOptions(max_people=config.max_people))
    if config.detector == "mediapipe":
        return blazepose
    from pipeline.keypoints.onnx_pose import OnnxPose

    return OnnxPose(session.resolve(config.model), blazepose)
