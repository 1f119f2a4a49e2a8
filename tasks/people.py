"""What export, overlays, report and inspection read: detections, tracks and bodies, as far as they are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.cameras import Camera, Rig
from pipeline.config import Session
from pipeline.keypoints.detections import Detections, concatenate
from pipeline.quality.drawing import Mesh
from pipeline.segmentation.masks import Masks
from tasks.graph import Graph
from tasks.parts import Part

if TYPE_CHECKING:
    from pipeline.texture.views import Seen


Blur = Callable[[Camera, int, np.ndarray], np.ndarray]
"""Takes a camera, a frame number and its image (H, W, 3), and gives the image without faces."""


class Source(Protocol):
    """Where artifacts come from: a stage's context, or everything that is cached."""

    session: Session
    graph: Graph

    def rig(self) -> Rig | None:
        """The cameras as the stored images show them."""

    def parts(self, stage: str) -> list[Part]:
        """Parts of a stage whose artifacts may be read."""

    def open(self, part: Part) -> Artifact:
        """One of them, verified."""


def detections_stage(session: Session) -> str:
    """The stage whose detections count: the second look's, where a detector can look again."""
    return "redetection" if session.looks_again else "keypoints"


def camera_detections(
    source: Source, camera: str, stage: str | None = None, masks: bool = True
) -> Detections | None:
    """A camera's detections over the session or the chunk of a part, of ``stage`` or of the last look at the images.

    Nobody is in the frames of chunks that could not be made. None if there is no chunk at all. Without ``masks`` they
    stay in their files: over a long session they take more memory than everything else.
    """
    stage = stage or detections_stage(source.session)
    parts = source.parts(stage)
    own = [p for p in parts if p.camera == camera]
    if not own:
        return None
    found = {p.chunk: _detections(source.open(p), masks) for p in own}
    covered = getattr(getattr(source, "part", None), "chunk", None)
    frames = source.open(Part("timeline"))["frames"]
    some = next(iter(found.values()))
    for chunk in source.graph.chunks() or []:
        if chunk not in found and covered in (None, chunk):
            found[chunk] = some.of_nobody(frames[(frames >= chunk[0]) & (frames < chunk[1])])
    return concatenate([found[chunk] for chunk in sorted(found)])


def _detections(artifact: Artifact, masks: bool) -> Detections:
    arrays = artifact.arrays(without=() if masks else ("masks",))
    return Detections.from_arrays(arrays, artifact.attribute("joint_set"))


def tracks_of(source: Source) -> dict[int, Tracks]:
    """Person id -> their track, as the last look at those who touch left it."""
    return {p.person: track_of(source, p) for p in source.parts("identities")}


def track_of(source: Source, part: Part) -> Tracks:
    """The track of a part of identities, with what looks at people alone (stage untangling) found since."""
    track = Tracks.from_arrays(source.open(part).arrays())
    for chunk in source.parts("untangling"):
        track = track.updated(Tracks.from_arrays(source.open(chunk).arrays(without=("looked",))))
    return track


def entangled_frames(source: Source, track: Tracks) -> np.ndarray:
    """(F,) bool: frames of a person's track in which they were looked at alone, being among others."""
    out = np.zeros(len(track.frames), bool)
    for chunk in source.parts("untangling"):
        artifact = source.open(chunk)
        column = np.flatnonzero(artifact["person_ids"] == track.person_ids[0])
        if len(column):
            looked = artifact["looked"][:, column[0]].any(-1)
            out |= np.isin(track.frames, artifact["frames"][looked])
    return out


def names_of(source: Source) -> dict[int, str]:
    """Person id -> the name that the user gave."""
    names = {p.person: source.open(p).attribute("name") for p in source.parts("identities")}
    return {i: n for i, n in names.items() if n}


def bodies_of(source: Source) -> dict[int, BodyTrack]:
    """Person id -> their body: refined where they touch somebody (stage contact) if that is there, else as fitted."""
    best = {p.person: p for stage in ("bodies", "contact") for p in source.parts(stage)}
    return {person: BodyTrack.from_arrays(source.open(part).arrays()) for person, part in best.items()}


def posed_bodies(session: Session, bodies: Mapping[int, BodyTrack]) -> Callable[[int], Mapping[int, Mesh]] | None:
    """Frame number -> meshes by person id, posed when asked for; None if nobody has a body."""
    if not bodies:
        return None
    from pipeline.export.meshes import PosedBodies
    from tasks.bodies import load_model

    return PosedBodies(load_model(session), bodies)


def masks_of_frame(source: Source, frame: int) -> Masks | None:
    """Everybody's masks of the chunk that holds a frame; None if they are not there."""
    for part in source.parts("segmentation"):
        if part.chunk[0] <= frame < part.chunk[1]:
            return Masks(source.open(part))
    return None


def seen_of_frame(
    source: Source, frame: int, person: int, cameras: Sequence[Camera], blur: Blur
) -> dict[str, Seen]:
    """Camera name -> what it saw of a person in a frame, as it may be shown (``tasks.faces``); cameras without an image
    or a mask of them are left out."""
    from pipeline.texture.views import Seen
    from tasks.frames import read_image

    masks = masks_of_frame(source, frame)
    frames = source.open(Part("timeline"))["frames"]
    row = int(np.searchsorted(frames, frame))
    views = {}
    for camera in cameras if masks is not None and person in masks.people else ():
        mask = masks.mask(camera.name, frame, person)
        if mask is None or not mask.any():
            continue
        image = read_image(source.open(Part("frames", camera=camera.name)), row)
        if image is not None:
            views[camera.name] = Seen(camera, blur(camera, frame, image), mask)
    return views


def surfaces_of(source: Source) -> dict[int, tuple[np.ndarray, Callable[[int], Mesh]]]:
    """Person id -> frames that have a surface, ascending, and what gives (vertices, faces) of one: fused where there
    is that."""
    from pipeline.meshes.sequence import MeshSequence

    found: dict[int, dict[int, MeshSequence]] = {}
    for stage in ("surface", "fusion"):
        for part in source.parts(stage):
            sequence = MeshSequence(source.open(part))
            good = np.asarray(sequence.frames)[np.asarray(sequence.valid, bool)]
            found.setdefault(part.person, {}).update({int(n): sequence for n in good})

    def mesh(of: dict[int, MeshSequence]) -> Callable[[int], Mesh]:
        def at(frame: int) -> Mesh:
            whole = of[frame].mesh(frame)
            return whole.vertices, whole.faces

        return at

    return {person: (np.array(sorted(of)), mesh(of)) for person, of in found.items() if of}


CLOSEUPS = {"surface": ("surface",), "fusion": ("surface", "fusion")}
"""Stages that are shown close up, and whose meshes stand beside one another."""


def meshes_by_stage(source: Source, stage: str, frame: int, person: int | None = None) -> dict[str, dict[int, Mesh]]:
    """The meshes of a frame as the stages before and including this one (of ``CLOSEUPS``) have them, by person id."""
    from pipeline.meshes.sequence import MeshSequence

    columns: dict[str, dict[int, Mesh]] = {}
    for name in CLOSEUPS[stage]:
        sequences = [
            (p.person, MeshSequence(source.open(p)))
            for p in source.parts(name)
            if p.chunk[0] <= frame < p.chunk[1] and person in (None, p.person)
        ]
        meshes = {i: sequence.mesh(frame) for i, sequence in sequences if sequence.has(frame)}
        columns[name] = {i: (mesh.vertices, mesh.faces) for i, mesh in meshes.items()}
    return columns
