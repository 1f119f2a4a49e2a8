"""Stage: an SMPL-X body fitted to one person's whole track, or taken from the user's file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from data.body_models import licensed_body_model, load_body_arrays, open_body_model
from data.body_parameters import on_frames, people_in, read_body_parameters
from data.open_body.recipe import recipe
from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.keypoints.detections import Detections
from pipeline.keypoints.timing import on_session_clock
from tasks.execution import Context
from tasks.keys import FileDigests
from tasks.parts import Part
from tasks.people import camera_detections, detections_stage, entangled_frames, track_of

OUTLINE_FRAMES = 12
"""Frames from all over a track whose person masks tell the shape."""
HAND_DETECTORS = ("openpose_json",)
"""Those whose points of hands and face are used (``pipeline.body.extremities.landmark_numbers`` says why not more)."""


def _has_outlines(session: Session) -> bool:
    """Whether the detector's person masks are wanted for the shape."""
    return session.config.body.silhouettes and session.has_images


def model_path(session: Session) -> Path:
    """The body model's file: the open one (built on first use), or the user's."""
    config = session.config.body
    if config.model == "open":
        return open_body_model(config.gender)
    return licensed_body_model(session.resolve(config.model), config.gender)


def inputs(session: Session) -> tuple[str, ...]:
    """Given bodies need no tracks."""
    if session.has_given_bodies:
        return ("calibration", "timeline")
    detections = (detections_stage(session),) if _gives_hands(session) or _has_outlines(session) else ()
    return ("calibration", "refinement", "timeline", "identities", *detections)


def _gives_hands(session: Session) -> bool:
    """Whether the detector may give points of hands or face, and they are wanted."""
    return session.config.body.hands_and_face and session.config.keypoints.detector in HAND_DETECTORS


def input_files(session: Session, part: Part) -> dict[str, Path]:
    config = session.config.body
    files = {}
    if config.model != "open":
        files["body model"] = licensed_body_model(session.resolve(config.model), config.gender)
    if session.has_given_bodies:
        files["body parameters"] = session.resolve(config.parameters)
    return files


def given_people(session: Session) -> tuple[int, ...]:
    """Ids of the people whose bodies are given."""
    return people_in(session.resolve(session.config.body.parameters))


def digests(session: Session, files: FileDigests) -> dict[str, str]:
    """The open model is known by its recipe, without building it."""
    config = session.config.body
    if config.model != "open":
        return {}
    return {"body model": hashlib.sha256(recipe(config.gender).encode()).hexdigest()}


def load_model(session: Session):
    """The session's ``nets.body.BodyModel``."""
    from nets.body import BodyModel

    return BodyModel(load_body_arrays(model_path(session)))


def fit_options(context: Context, landmarks: str = ""):
    """``FitOptions`` of the session, for a track detected in the joint set ``landmarks``."""
    from pipeline.body.options import FitOptions

    config = context.session.config.body
    return FitOptions(
        fps=context.input("timeline").attribute("fps"),
        max_fit_error_m=config.max_residual_m,
        max_gap_s=config.max_gap_s,
        landmarks=landmarks,
        floor=None if config.floor == "none" else config.floor,
    )


def put_body(context: Context, body: BodyTrack) -> None:
    context.writer.put_all(body.to_arrays())
    error = np.nanmedian(body.fit_error_m) if np.isfinite(body.fit_error_m).any() else np.nan
    print(f"{int(body.valid.sum())} of {len(body.frames)} frames valid, median joint distance {1000 * error:.1f} mm")


def _given(context: Context) -> BodyTrack:
    """The part's person over the session's frames; frames that the file does not have are absent."""
    session = context.session
    path = session.resolve(session.config.body.parameters)
    body = read_body_parameters(path, load_body_arrays(model_path(session)))[context.part.person]
    frames = context.input("timeline")["frames"]
    if not np.isin(body.frames, frames).any():
        raise InputError(
            path, f"none of its frames ({body.frames[0]} to {body.frames[-1]}) is in the session's "
            f"({frames[0]} to {frames[-1]})", "Number frames as the recordings are"
        )  # fmt: skip
    return on_frames(body, frames)


def _seen_points(context: Context, tracks: Tracks):
    """``SeenPoints`` of the person's hands and face, camera after camera; None if there are none."""
    from pipeline.body.extremities import gather, landmark_numbers

    if not _gives_hands(context.session):
        return None
    fps = context.input("timeline").attribute("fps")

    def of(camera: str) -> Detections | None:
        found = camera_detections(context, camera, masks=False)
        return on_session_clock(found, fps) if found is not None and landmark_numbers(found.joint_set) else None

    return gather(tracks, (of(camera) for camera in context.rig().names))


def _outlines(context: Context, tracks: Tracks) -> list:
    """``Outline`` of the person in some frames and all views in which nobody else's box meets theirs."""
    from pipeline.body.silhouette import outlines_of, spread_rows

    if not _has_outlines(context.session):
        return []
    rows = spread_rows(tracks, OUTLINE_FRAMES)
    stage, found = detections_stage(context.session), []
    for camera, name in enumerate(context.rig().names):
        first = 0  # row of the camera's detections over the session, which instances are counted in
        for part in sorted((p for p in context.parts(stage) if p.camera == name), key=lambda p: p.chunk):
            artifact = context.open(part)
            detections = Detections.from_arrays(artifact.arrays(), artifact.attribute("joint_set"))
            found += outlines_of(detections, first, tracks.instances[:, 0, camera], rows, camera)
            first += len(detections.keypoints)
    return found


def compute(context: Context) -> None:
    if context.session.has_given_bodies:
        put_body(context, _given(context))
        return
    from pipeline.body.extremities import fit_extremities
    from pipeline.body.fit import fit_track
    from pipeline.body.observations import never_located

    (part,) = context.parts("identities")
    person, tracks = context.open(part), track_of(context, part)
    options = fit_options(context, person.attribute("joint_set"))
    model, rig = load_model(context.session), context.rig()
    outlines = _outlines(context, tracks)
    if _has_outlines(context.session):
        print(f"{len(outlines)} outlines tell the shape")
    entangled = entangled_frames(context, tracks)
    body = fit_track(
        model, rig, tracks, options, lambda fraction: context.progress(0.9 * fraction), outlines, entangled
    )
    if missing := never_located(tracks):
        print(f"never seen by two cameras, so where people hold them at rest: {', '.join(missing)}")
    context.writer.attribute("never_located", missing)
    seen = _seen_points(context, tracks)
    if seen is not None:
        body, counts = fit_extremities(model, rig, body, seen, options)
        context.writer.attribute("seen_frames", counts)
        told = ", ".join(f"{name.replace('_', ' ')} in {count}" for name, count in counts.items())
        print(f"of {len(body.frames)} frames, landmarks show the {told}")
    put_body(context, body)
