"""Stage: skeletons, bodies, meshes and the animated scene as files in OUTPUT/export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.association.export_text import association_text
from pipeline.association.identities import describe
from pipeline.export.meshes import former_meshes
from pipeline.export.people import merged_tracks, no_tracks, npz_bytes
from pipeline.export.skeletons import skeleton_arrays
from pipeline.files import write_atomic
from tasks.bodies import load_model
from tasks.execution import Context
from tasks.manifests import put_manifest
from tasks.people import bodies_of, names_of, tracks_of


def compute(context: Context) -> None:
    folder = context.session.output / "export"
    timeline = context.input("timeline")
    frames, fps = timeline["frames"], timeline.attribute("fps")
    tracks, bodies = tracks_of(context), bodies_of(context)
    files = _write_bodies(context, folder, bodies, frames, fps) if bodies else []
    fitted = _fitted_joints(context, bodies) if bodies else {}
    skeletons = skeleton_arrays(list(tracks.values()), fps, frames=frames, fitted=fitted)
    files += [_write(folder / "skeletons.npz", npz_bytes(skeletons))]
    rig = context.rig()
    merged = merged_tracks(list(tracks.values()), frames) if tracks else no_tracks(frames, len(rig))
    told = describe(merged, names_of(context))
    files += [_write(folder / "identities.json", json.dumps(told, indent=2) + "\n")]
    files += [_write(folder / "association.txt", association_text(merged))]
    _remove_former(folder, set(files), rig.names)
    put_manifest(context, files)


def _write(path: Path, data: bytes | str) -> Path:
    write_atomic(path, data)
    return path


def _remove_former(folder: Path, files: set[Path], cameras: Sequence[str]) -> None:
    """Of earlier exports what this one does not write: nobody shall take a dropped person's meshes for results."""
    overlays = [p for p in (folder / "overlays").glob("*.mp4") if p.stem not in cameras]
    for path in {folder / "bodies.npz", folder / "session.glb", *former_meshes(folder / "meshes"), *overlays} - files:
        path.unlink(missing_ok=True)
    for empty in (p for p in (folder / "meshes").glob("*") if p.is_dir() and not any(p.iterdir())):
        empty.rmdir()


def _write_bodies(context: Context, folder: Path, bodies: dict, frames: np.ndarray, fps: float) -> list[Path]:
    from pipeline.export.bodies import body_arrays, session_glb
    from pipeline.export.meshes import body_meshes, write_frame_meshes

    config, up = context.session.config.export, context.rig().up
    model = load_model(context.session)
    name = context.session.config.body.model
    label = f"open {context.session.config.body.gender}" if name == "open" else Path(name).stem
    files = [_write(folder / "bodies.npz", npz_bytes(body_arrays(bodies, fps, label, frames=frames)))]
    span = (int(frames[0]), int(frames[-1]))
    files.append(_write(folder / "session.glb", session_glb(model, bodies, up, fps, span)))
    for done, (frame, people) in enumerate(body_meshes(model, bodies, frames), 1):
        files += write_frame_meshes(folder / "meshes", frame, people, config.formats, up)
        context.progress(done / len(frames))
    return files


def _fitted_joints(context: Context, bodies: dict) -> dict:
    """Frames and SKEL-19 joints of the fitted bodies, for joints that no camera saw."""
    from pipeline.body.regressor import skel19_joints

    model = load_model(context.session)
    return {i: (body.frames, skel19_joints(model, body)) for i, body in bodies.items()}
