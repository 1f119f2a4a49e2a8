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
from tasks.delivered import stands, surfaces
from tasks.execution import Context
from tasks.manifests import put_manifest
from tasks.people import Source, bodies_of, names_of, tracks_of

MOTION = ("bvh", "trc", "c3d", "usdc", "usdz", "npz")
"""Suffixes of files in ``export/motion``."""
OWN = ("bodies.npz", "session.glb", "session_surface.glb", "viewer.html")
SOURCES_FILE = "sources.json"
"""Beside the meshes: which frames of whom are fused surfaces, surfaces or bodies."""


def compute(context: Context) -> None:
    folder = context.session.output / "export"
    timeline = context.input("timeline")
    frames, fps = timeline["frames"], timeline.attribute("fps")
    tracks, bodies = tracks_of(context), bodies_of(context)
    files = _write_bodies(context, folder, bodies, frames, fps) if bodies else []
    fitted = _fitted_joints(context, bodies) if bodies else {}
    skeletons = skeleton_arrays(list(tracks.values()), fps, frames=frames, fitted=fitted)
    files += [_write(folder / "skeletons.npz", npz_bytes(skeletons))]
    files += _write_motion(context, folder / "motion", bodies, skeletons)
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
    motion = [p for kind in MOTION for p in (folder / "motion").glob(f"*.{kind}")]
    own = {folder / name for name in (*OWN, f"meshes/{SOURCES_FILE}")}
    for path in {*own, *former_meshes(folder / "meshes"), *overlays, *motion} - files:
        path.unlink(missing_ok=True)
    for empty in (p for p in (folder / "meshes").glob("*") if p.is_dir() and not any(p.iterdir())):
        empty.rmdir()


def _write_bodies(context: Context, folder: Path, bodies: dict, frames: np.ndarray, fps: float) -> list[Path]:
    from pipeline.export.bodies import body_arrays, session_glb

    up = context.rig().up
    model = load_model(context.session)
    name = context.session.config.body.model
    label = f"open {context.session.config.body.gender}" if name == "open" else Path(name).stem
    files = [_write(folder / "bodies.npz", npz_bytes(body_arrays(bodies, fps, label, frames=frames)))]
    span = (int(frames[0]), int(frames[-1]))
    scene = session_glb(model, bodies, up, fps, span, dresses_of(context))
    files.append(_write(folder / "session.glb", scene))
    files.append(_write(folder / "viewer.html", _viewer(context, scene, bodies, frames, fps)))
    return files + _write_meshes(context, folder, model, bodies, frames, fps)


def _write_meshes(context: Context, folder: Path, model, bodies: dict, frames: np.ndarray, fps: float) -> list[Path]:
    """The meshes of every frame, and all of them as one animation."""
    from pipeline.export.changing import ChangingScene
    from pipeline.export.meshes import BestMeshes, body_meshes, write_frame_meshes

    config, up, step = context.session.config.export, context.rig().up, context.session.config.capture.frames.step
    best = BestMeshes(surfaces(context), stands(context, model, bodies, config.simplify_mm / 1000))
    scene = ChangingScene(config.surface_glb_mb * 1e6, fps, step, int(frames[0])) if config.surface_glb_mb else None
    # The viewer reads no Draco: that takes WebAssembly, which its page forbids.
    packing = "none" if config.compression == "none" else "quantised"
    files = []
    for done, (frame, posed) in enumerate(body_meshes(model, bodies, frames), 1):
        people = best(frame, posed)
        files += write_frame_meshes(
            folder / "meshes", frame, people, config.formats, up, scene=config.scene_meshes,
            compression=config.compression,
        )  # fmt: skip
        if scene is not None:
            scene.add(frame, people)
        context.progress(done / len(frames))
    if scene is not None and (data := scene.glb(up, int(frames[-1]), packing)):
        files.append(_write(folder / "session_surface.glb", data))
        print(scene.told(len(data)))
        context.writer.attribute("session_surface", scene.told(len(data)))
    told = json.dumps(best.told(step), indent=1) + "\n"
    files.append(_write(folder / "meshes" / SOURCES_FILE, told))
    context.writer.attribute("mesh_sources", {i: {s: len(f) for s, f in of.items()} for i, of in best.used.items()})
    return files


def _viewer(context: Context, scene: bytes, bodies: dict, frames: np.ndarray, fps: float) -> str:
    from pipeline.export.people import on_timeline
    from pipeline.quality.viewer_page import Viewed, viewer_page

    names, people = names_of(context), []
    for person, body in sorted(bodies.items()):
        error = np.full(len(frames), np.nan)
        rows, own = on_timeline(frames, body.frames)
        error[rows] = body.fit_error_m[own]
        people.append(Viewed(f"person_{person}", names.get(person, f"person {person}"), error))
    step = context.session.config.capture.frames.step
    return viewer_page(context.session.name, scene, context.rig(), people, frames, fps, step)


def dresses_of(source: Source) -> dict:
    """Person id -> offsets and texture of their registered body, for ``session_glb``."""
    from pipeline.meshes.glb import Skin
    from pipeline.texture.atlas import Atlas
    from tasks.registration import texture_coordinates

    found, split = {}, None
    for part in source.parts("registration"):
        artifact = source.open(part)
        if not artifact.attribute("valid"):
            continue
        jpeg, skin = artifact["texture"].tobytes(), None
        if jpeg:
            if split is None:
                faces, uv = texture_coordinates(source.session)
                split = Atlas(faces, *uv, 1).split()
            skin = Skin(*split, jpeg)
        found[part.person] = (artifact["offsets"].astype(np.float64), skin)
    return found


def _write_motion(context: Context, folder: Path, bodies: dict, skeletons: dict[str, np.ndarray]) -> list[Path]:
    """What ``export.motion`` asks for, in files named after person and format."""
    from pipeline.export.markers import c3d_bytes, trc_text
    from pipeline.skeletons import SKEL19

    wanted, up = context.session.config.export.motion, context.rig().up
    frames, fps = skeletons["frames"], float(skeletons["fps"])
    if not len(frames) or not len(skeletons["person_ids"]):
        return []
    rate = fps / max(1, context.session.config.capture.frames.step)
    made: dict[str, bytes | str] = {}
    joints = {f"person_{i}": skeletons["joints"][:, k] for k, i in enumerate(skeletons["person_ids"].tolist())}
    if "trc" in wanted:
        for name, track in joints.items():
            made[f"{name}.trc"] = trc_text(track, SKEL19.joints, frames, rate, up, f"{name}.trc")
    if "c3d" in wanted:
        made["session.c3d"] = c3d_bytes(joints, SKEL19.joints, int(frames[0]), rate, up)
    made |= _body_motion(context, bodies, frames, fps) if bodies else {}
    return [_write(folder / name, data) for name, data in made.items()]


def _body_motion(context: Context, bodies: dict, frames: np.ndarray, fps: float) -> dict[str, bytes | str]:
    from pipeline.export.bodies import skinned_person
    from pipeline.export.bvh import bvh_text
    from pipeline.export.moving import motion_of
    from pipeline.export.parameters import smplx_arrays
    from pipeline.export.usd import usd_bytes

    session, up = context.session, context.rig().up
    wanted, step = session.config.export.motion, session.config.capture.frames.step
    made: dict[str, bytes | str] = {}
    model = load_model(session)
    dresses = dresses_of(context)
    people = {i: skinned_person(model, i, body, *dresses.get(i, ())) for i, body in sorted(bodies.items())}
    motions = {i: motion_of(person, up, fps, step) for i, person in people.items() if len(person.frames)}
    for i, motion in motions.items():
        if "bvh" in wanted:
            made[f"person_{i}.bvh"] = bvh_text(motion)
        if "smplx" in wanted:
            made[f"person_{i}_smplx.npz"] = npz_bytes(smplx_arrays(bodies[i], session.config.body.gender, fps / step))
    for kind in ("usdc", "usdz"):
        if kind in wanted and motions:
            made[f"session.{kind}"] = usd_bytes(kind, list(motions.values()), (int(frames[0]), int(frames[-1])), fps)
    return made


def _fitted_joints(context: Context, bodies: dict) -> dict:
    """Frames and SKEL-19 joints of the fitted bodies, for joints that no camera saw."""
    from pipeline.body.regressor import skel19_joints

    model = load_model(context.session)
    return {i: (body.frames, skel19_joints(model, body)) for i, body in bodies.items()}
