"""Stage: each person's own pixels in every view, a chunk of all cameras at a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from data.given_masks import check_given_masks, mask_files, read_masks
from data.model_files import open_weights
from pipeline.association.tracks import Tracks
from pipeline.body.parameters import BodyTrack
from pipeline.cameras import Camera, Rig
from pipeline.config import Session
from pipeline.errors import InputError
from pipeline.keypoints.detections import Detections
from pipeline.segmentation.masks import STATES, MaskWriter
from tasks.execution import Context
from tasks.frames import read_image
from tasks.graph import Graph
from tasks.parts import Part
from tasks.people import bodies_of, camera_detections, detections_stage, tracks_of

BACKGROUND_FRAMES = 960
"""Frames round a chunk whose pictures tell what the empty scene looks like; light changes over longer times."""


def inputs(session: Session) -> tuple[str, ...]:
    """Given masks need no detections."""
    first = ("calibration", "refinement", "timeline", "frames", "identities", "bodies")
    given = session.config.segmentation.method == "masks"
    return first if given else (*first, detections_stage(session))


def input_files(session: Session, part: Part) -> dict[str, Path]:
    """Weights of the networks; given masks of the chunk's frames, as far as they are there."""
    config = session.config.segmentation
    if config.method == "masks":
        return {str(f.relative_to(f.parents[1])): f for f in _given_files(session, part)}
    files = {} if config.network == "none" else {"weights": weights_of(session)}
    if config.network not in ("open", "none"):
        files["human parsing"] = checkpoint_of(session)
    return files


def weights_of(session: Session) -> Path:
    """Our small network's weights. Raises InputError if they are not shipped."""
    found = open_weights("parsing")
    if found is None:
        remedy = "Get the clone again, train them (run_pipeline.py train parsing), or set segmentation.network: none"
        raise InputError("data/weights/parsing.safetensors", "there is no such file", remedy)
    return found


def checkpoint_of(session: Session) -> Path:
    return session.resolve(session.config.segmentation.network)


def _given_pattern(session: Session) -> str:
    return str(session.path.parent / session.config.segmentation.masks)


def _given_files(session: Session, part: Part) -> list[Path]:
    """All files that the masks of a chunk are read from."""
    graph = Graph(session)
    cameras, people = graph.cameras() or (), graph.people() or ()
    start, stop = part.chunk
    step = session.config.capture.frames.step
    frames = range(start, stop, step)
    pattern = _given_pattern(session)
    return [f for c in cameras for n in frames for f in mask_files(pattern, c, n, people).values()]


def check(session: Session, rig: Rig) -> None:
    """What can be told before the night: sizes of given masks, that checkpoints fit.

    Raises:
        InputError: a mask of the wrong size, no masks at all, a checkpoint that cannot be used.
    """
    config = session.config.segmentation
    if config.method == "masks":
        check_given_masks(_given_pattern(session), rig.cameras)
    elif config.network not in ("open", "none"):
        # In a process of its own: this one forks later and must not load torch.
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            pool.submit(_check_checkpoint, checkpoint_of(session)).result()


def _check_checkpoint(path: Path) -> None:
    from nets.checkpoints import CheckpointError
    from nets.parsing.ce2p import load_published

    try:
        load_published(path)
    except CheckpointError as error:
        raise InputError(error.where, error.problem, error.remedy) from None


def compute(context: Context) -> None:
    from tasks.bodies import load_model

    rig, model = context.rig(), load_model(context.session)
    all_frames = context.input("timeline")["frames"]
    start, stop = context.part.chunk
    rows = np.flatnonzero((all_frames >= start) & (all_frames < stop))
    tracks, bodies = tracks_of(context), bodies_of(context)
    ids = sorted(tracks)
    people = [_person(i, tracks[i], bodies.get(i), model, all_frames[rows], len(rig)) for i in ids]
    masks = MaskWriter(context.writer, rig, ids, all_frames[rows])
    if context.session.config.segmentation.method == "masks":
        _take_given(context, rig, people, model, all_frames[rows], rows, masks)
    else:
        _segment(context, rig, people, model, all_frames, rows, tracks, bodies, masks)
    counts = {name: int((masks.state == k).sum()) for k, name in enumerate(STATES)}
    known = np.isfinite(masks.agreement)
    agreed = f", {np.median(masks.agreement[known]):.3f} IoU with projected bodies" if known.any() else ""
    print(", ".join(f"{n} {name}" for name, n in counts.items() if n) + agreed)


def _segment(context: Context, rig: Rig, people, model, all_frames, rows, tracks, bodies, masks: MaskWriter) -> None:
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.segmentation.segment import segment_chunk

    backgrounds = _backgrounds(context, rig.cameras, all_frames, rows, tracks, bodies, model)
    views = [view_input(context, c, rows, backgrounds[c.name]) for c in rig.cameras]
    faces = model.faces.cpu().numpy()
    raster = Open3DRaster(threads=1)
    score = scorer(context.session)
    segment_chunk(people, views, faces, all_frames[rows], raster, masks, score, progress=context.progress)


def scorer(session: Session) -> Callable:
    """What judges the evidence, as the session's configuration has it.

    Raises:
        CheckpointError: weights that do not fit.
    """
    from pipeline.segmentation.contest import plain_score
    from pipeline.segmentation.parsing import NetworkScore

    network = session.config.segmentation.network
    if network == "none":
        return plain_score
    if network == "open":
        return NetworkScore(weights_of(session))
    from pipeline.segmentation.human_parsing import HumanParsing

    return NetworkScore(weights_of(session), HumanParsing(checkpoint_of(session)).improved)


def _take_given(context: Context, rig: Rig, people, model, frames, rows, masks: MaskWriter) -> None:
    """Given masks as this stage's artifact."""
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.segmentation.segment import take_labels

    recorded = Rig.from_arrays(context.input("calibration").arrays())
    undistorts = context.session.config.capture.undistort
    pattern, ids = _given_pattern(context.session), [p.person for p in people]

    def labels(camera: Camera, frame: int) -> np.ndarray | None:
        files = mask_files(pattern, camera.name, frame, ids)
        lens = recorded[camera.name] if undistorts else camera
        return read_masks(files, lens, ids) if files else None

    views = [view_input(context, c, rows, None) for c in rig.cameras]
    faces = model.faces.cpu().numpy()
    take_labels(labels, people, views, faces, frames, Open3DRaster(threads=1), masks, context.progress)


def _person(person: int, track: Tracks, body: BodyTrack | None, model, frames: np.ndarray, cameras: int):
    from pipeline.export.people import on_timeline
    from pipeline.segmentation.appearance import body_parts
    from pipeline.segmentation.segment import PersonInput

    joints = np.full((len(frames), 19, 3), np.nan, np.float32)
    assigned = np.full((len(frames), cameras, 19, 2), np.nan, np.float32)
    here, there = on_timeline(frames, track.frames)
    joints[here], assigned[here] = track.joints[there, 0], track.keypoints[there, 0]
    vertices = _vertices(model, body, frames)
    present = np.isfinite(joints[..., 0]).any(-1) | np.isfinite(vertices[:, 0, 0])
    parts = body_parts(model.weights.cpu().numpy(), model.faces.cpu().numpy())
    return PersonInput(person, present, vertices, joints, assigned, parts)


def _vertices(model, body: BodyTrack | None, frames: np.ndarray) -> np.ndarray:
    """(F, V, 3) float32, NaN where the person has no body."""
    from pipeline.export.bodies import posed_vertices
    from pipeline.export.people import on_timeline

    out = np.full((len(frames), model.vertex_count, 3), np.nan, np.float32)
    if body is not None:
        here, there = on_timeline(frames, body.frames)
        out[here] = posed_vertices(model, body, there)
    return out


def view_input(context: Context, camera: Camera, rows: np.ndarray, background=None):
    """``ViewInput`` of a camera in ``rows`` of the session's frames, the part's."""
    from pipeline.segmentation.segment import ViewInput

    images = context.open(Part("frames", camera=camera.name))
    given = context.session.config.segmentation.method == "masks"
    detections = None if given else camera_detections(context, camera.name)
    timeline = context.input("timeline")
    fps, step = timeline.attribute("fps"), context.session.config.capture.frames.step
    row = timeline.attribute("cameras").index(camera.name)
    late = np.nan_to_num(timeline["time_error_s"][row][rows]) * fps / step
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
