"""``inspect``: the tree of any artifact, or a picture of a stage, frame, camera and person."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np

from pipeline.artifacts import Artifact, DamagedArtifact
from pipeline.cameras import Camera
from pipeline.config import load_session
from pipeline.errors import InputError
from pipeline.files import write_atomic
from pipeline.quality.inspect import LAYERS, artifact_tree, encoded_picture, stage_picture
from tasks import surface_pictures
from tasks.cached import Cached
from tasks.faces import blur_of
from tasks.frames import read_image
from tasks.parts import Part
from tasks.people import (
    CLOSEUPS,
    bodies_of,
    camera_detections,
    masks_of_frame,
    meshes_by_stage,
    posed_bodies,
    tracks_of,
)
from tasks.stages import stage_named

RESULTS = ("texture", "export")
"""Stages whose picture is what is delivered, as the cameras would see it."""


def command(options: Namespace) -> int:
    """An artifact by path, or parts of a stage, as text; with ``--image`` as a picture."""
    path = Path(options.config)
    if options.stage is None:
        if path.suffix in (".yaml", ".yml"):
            raise InputError(path, "is a configuration, so a stage is needed", "Name one, for example: keypoints")
        print(_tree(path))
        return 0
    session, stage = load_session(path), stage_named(options.stage)
    with Cached(session) as cached:
        if options.image is not None:
            picture = _picture(cached, stage.name, options)
            write_atomic(Path(options.image), encoded_picture(picture))
            print(f"{options.image}: {picture.shape[1]} x {picture.shape[0]} pixels")
            return 0
        parts = [p for p in cached.parts(stage.name) if _selected(p, options)]
        if not parts:
            raise InputError(f"stage {stage.name}", "nothing of it is cached that fits", "See run_pipeline.py status")
        for part in parts:
            print(f"# {cached.graph.path(part)}\n{artifact_tree(cached.open(part).hdf5)}")
    return 0


def _tree(path: Path) -> str:
    try:
        with Artifact(path) as artifact:
            return f"key {artifact.header.key}\ncontent {artifact.header.content}\n{artifact_tree(artifact.hdf5)}"
    except FileNotFoundError:
        raise InputError(path, "no such file", "Give an artifact (.h5) or a configuration and a stage") from None
    except DamagedArtifact as damage:
        raise InputError(path, damage.problem, "Run the session again: it is put aside and made anew") from None


def _selected(part: Part, options: Namespace) -> bool:
    in_chunk = options.frame is None or part.chunk is None or part.chunk[0] <= options.frame < part.chunk[1]
    return (
        in_chunk
        and (options.camera is None or part.camera in (None, options.camera))
        and (options.person is None or part.person in (None, options.person))
    )


def _picture(cached: Cached, stage: str, options: Namespace) -> np.ndarray:
    rig = cached.rig()
    known = (*LAYERS, *CLOSEUPS, surface_pictures.STAGE, *RESULTS)
    if stage not in known or rig is None or not cached.parts("timeline"):
        raise InputError(f"stage {stage}", "has no picture", f"Run the session; pictures: {', '.join(known)}")
    timeline = cached.open(Part("timeline"))
    frames, fps = timeline["frames"], timeline.attribute("fps")
    camera = options.camera or rig.names[0]
    if camera not in rig.names:
        raise InputError("--camera", f"there is no camera {camera!r}", f"Cameras: {', '.join(rig.names)}")
    frame = int(frames[0]) if options.frame is None else options.frame
    if frame not in frames:
        raise InputError("--frame", f"the session has no frame {frame}", f"Frames: {frames[0]} to {frames[-1]}")
    if stage in RESULTS:
        return _result(cached, frame, frames, options)
    image = None
    if Part("frames", camera=camera) in cached.parts("frames"):
        image = read_image(cached.open(Part("frames", camera=camera)), int(np.searchsorted(frames, frame)))
        image = None if image is None else blur_of(cached)(rig[camera], frame, image)
    if stage in CLOSEUPS:
        return _closeup(cached, stage, rig[camera], image, frame, options.person)
    if stage == surface_pictures.STAGE:
        if cached.session.config.export.blur_faces:
            raise InputError(f"stage {stage}", "its picture shows faces", "Set export.blur_faces to false to see it")
        return surface_pictures.inputs_picture(cached, frame, options.person)
    needed = LAYERS[stage]
    try:
        return stage_picture(
            stage,
            frame,
            rig[camera],
            image,
            detections=camera_detections(cached, camera, masks=False),
            tracks=_tracks(cached, frames) if "tracks" in needed else None,
            camera_index=rig.names.index(camera),
            bodies=posed_bodies(cached.session, bodies_of(cached)) if "bodies" in needed else None,
            masks=masks_of_frame(cached, frame) if "masks" in needed else None,
            person=options.person,
            fps=fps,
            compare=options.compare,
        )
    except (ValueError, KeyError) as error:
        raise InputError(f"stage {stage}", str(error.args[0]), "Choose another") from None


def _result(cached: Cached, frame: int, frames: np.ndarray, options: Namespace) -> np.ndarray:
    """What is delivered of a frame in one camera or all; with ``--compare`` beside what they saw."""
    from tasks.delivered import Delivered

    rig, row, blur = cached.rig(), int(np.searchsorted(frames, frame)), blur_of(cached)

    def image(name: str) -> np.ndarray | None:
        part = Part("frames", camera=name)
        found = read_image(cached.open(part), row) if part in cached.parts("frames") else None
        return None if found is None else blur(rig[name], frame, found)

    cameras = rig.cameras if options.camera is None else (rig[options.camera],)
    found = Delivered(cached).comparison(frame, cameras, image, options.person, options.compare)
    if found is None:
        raise InputError(f"frame {frame}", "nobody is in view", "Choose another frame, camera or person")
    picture, lines = found
    print("\n".join(lines))
    return picture


def _closeup(
    cached: Cached, stage: str, camera: Camera, image: np.ndarray | None, frame: int, person: int | None
) -> np.ndarray:
    """The people of a frame as the stages before and including this one have them, beside one another."""
    from pipeline.quality.closeup import closeup

    columns = meshes_by_stage(cached, stage, frame, person)
    if not any(columns.values()):
        raise InputError(f"stage {stage}", f"there is no surface in frame {frame}", "See run_pipeline.py status")
    try:
        return closeup(camera, image, columns)
    except ValueError as error:
        raise InputError("--camera", str(error), "Choose another") from None


def _tracks(cached: Cached, frames: np.ndarray):
    from pipeline.export.people import merged_tracks

    tracks = tracks_of(cached)
    return merged_tracks(list(tracks.values()), frames) if tracks else None

