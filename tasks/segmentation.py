"""Stage: each person's own pixels in every view, a chunk of all cameras at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.cameras import Camera
from pipeline.config import Session
from pipeline.keypoints.detections import Detections
from pipeline.segmentation.masks import STATES, MaskWriter
from tasks.execution import Context
from tasks.frames import read_image
from tasks.parts import Part
from tasks.people import bodies_of, camera_detections, detections_stage, tracks_of

BACKGROUND_FRAMES = 960
"""Frames round a chunk whose pictures tell what the empty scene looks like; light changes over longer times."""


def inputs(session: Session) -> tuple[str, ...]:
    return ("calibration", "refinement", "timeline", "frames", detections_stage(session), "identities", "bodies")


def compute(context: Context) -> None:
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.segmentation.segment import segment_chunk
    from tasks.bodies import load_model

    rig, model = context.rig(), load_model(context.session)
    all_frames = context.input("timeline")["frames"]
    start, stop = context.part.chunk
    rows = np.flatnonzero((all_frames >= start) & (all_frames < stop))
    tracks, bodies = tracks_of(context), bodies_of(context)
    ids = sorted(tracks)
    raster = Open3DRaster(threads=1)
    people = [_person(i, tracks[i], bodies.get(i), model, all_frames[rows], len(rig)) for i in ids]
    backgrounds = _backgrounds(context, rig.cameras, all_frames, rows, tracks, bodies, model)
    views = [_view(context, c, rows, backgrounds[c.name]) for c in rig.cameras]
    masks = MaskWriter(context.writer, rig, ids, all_frames[rows])
    faces = model.faces.cpu().numpy()
    segment_chunk(people, views, faces, all_frames[rows], raster, masks, progress=context.progress)
    counts = {name: int((masks.state == k).sum()) for k, name in enumerate(STATES)}
    known = np.isfinite(masks.agreement)
    agreed = f", {np.median(masks.agreement[known]):.3f} IoU with projected bodies" if known.any() else ""
    print(", ".join(f"{n} {name}" for name, n in counts.items() if n) + agreed)


def _person(person: int, track: Tracks, body: BodyTrack | None, model, frames: np.ndarray, cameras: int):
    from pipeline.export.people import on_timeline
    from pipeline.segmentation.segment import PersonInput

    joints = np.full((len(frames), 19, 3), np.nan, np.float32)
    assigned = np.full((len(frames), cameras, 19, 2), np.nan, np.float32)
    here, there = on_timeline(frames, track.frames)
    joints[here], assigned[here] = track.joints[there, 0], track.keypoints[there, 0]
    vertices = _vertices(model, body, frames)
    present = np.isfinite(joints[..., 0]).any(-1) | np.isfinite(vertices[:, 0, 0])
    return PersonInput(person, present, vertices, joints, assigned)


def _vertices(model, body: BodyTrack | None, frames: np.ndarray) -> np.ndarray:
    """(F, V, 3) float32, NaN where the person has no body."""
    from pipeline.export.bodies import posed_vertices
    from pipeline.export.people import on_timeline

    out = np.full((len(frames), model.vertex_count, 3), np.nan, np.float32)
    if body is not None:
        here, there = on_timeline(frames, body.frames)
        out[here] = posed_vertices(model, body, there)
    return out


def _view(context: Context, camera: Camera, rows: np.ndarray, background):
    from pipeline.segmentation.segment import ViewInput

    images = context.open(Part("frames", camera=camera.name))
    detections = camera_detections(context, camera.name)
    timeline = context.input("timeline")
    fps, step = timeline.attribute("fps"), context.session.config.capture.frames.step
    late = np.nan_to_num(images["time_error_s"][rows]) * fps / step
    return ViewInput(camera, lambda row: read_image(images, int(rows[row])), detections, late, background)


def _backgrounds(context, cameras, frames, rows, tracks, bodies, model) -> dict[str, tuple | None]:
    """The empty scene of every camera, told from pictures before, in and after the chunk."""
    from pipeline.segmentation.background import empty_scene, sampled_rows

    first = max(0, (rows[0] + rows[-1] - BACKGROUND_FRAMES) // 2)
    last = min(len(frames), first + BACKGROUND_FRAMES)
    sampled = first + sampled_rows(last - first)
    places = _everybody(frames[sampled], tracks, bodies, model)
    out = {}
    for camera in cameras:
        found = camera_detections(context, camera.name)
        out[camera.name] = empty_scene(_emptied(context, camera, sampled, frames, places, found))
    return out


def _everybody(frames: np.ndarray, tracks, bodies, model) -> list[np.ndarray]:
    """For each frame (N, 3) points of all bodies, and joints of those without."""
    every = [_vertices(model, bodies.get(i), frames)[:, ::16] for i in tracks]
    joints = [_joints(t, frames) for t in tracks.values()]
    out = []
    for f in range(len(frames)):
        points = [a[f] for a in every] + [a[f] for a in joints]
        whole = np.concatenate(points) if points else np.zeros((0, 3))
        out.append(whole[np.isfinite(whole).all(-1)])
    return out


def _joints(track: Tracks, frames: np.ndarray) -> np.ndarray:
    from pipeline.export.people import on_timeline

    out = np.full((len(frames), 19, 3), np.nan)
    here, there = on_timeline(frames, track.frames)
    out[here] = track.joints[there, 0]
    return out


def _emptied(
    context: Context, camera: Camera, sampled, frames, places: Callable | list, found: Detections | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from pipeline.segmentation.background import people_pixels

    images = context.open(Part("frames", camera=camera.name))
    for k, row in enumerate(sampled):
        image = read_image(images, int(row))
        if image is not None:
            yield image, people_pixels(camera, places[k], found, int(frames[row]))
