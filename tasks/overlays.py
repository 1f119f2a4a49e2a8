"""Stage: a video a camera, with detections, skeletons and bodies drawn over the images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.config import Session
from pipeline.export.people import merged_tracks
from tasks.execution import Context
from tasks.faces import blur_of
from tasks.frames import read_image
from tasks.manifests import put_manifest
from tasks.people import bodies_of, camera_detections, detections_stage, posed_bodies, tracks_of


def inputs(session: Session) -> tuple[str, ...]:
    return ("calibration", "refinement", "timeline", "frames", detections_stage(session), "identities", "bodies")


def compute(context: Context) -> None:
    from pipeline.quality.overlay import Overlay, write_overlay_video

    rig, name = context.rig(), context.part.camera
    images, timeline = context.input("frames"), context.input("timeline")
    frames, fps = timeline["frames"], timeline.attribute("fps")
    tracks, blur = tracks_of(context), blur_of(context)
    overlay = Overlay(
        rig[name],
        detections=camera_detections(context, name, masks=False),
        tracks=merged_tracks(list(tracks.values()), frames) if tracks else None,
        camera_index=rig.names.index(name),
        bodies=posed_bodies(context.session, bodies_of(context)),
        fps=fps,
        scale=min(1.0, context.session.config.export.overlay_height / rig[name].size[1]),
    )

    def pictures() -> Iterator[np.ndarray]:
        for row, frame in enumerate(frames):
            image = read_image(images, row)
            yield overlay.draw(None if image is None else blur(rig[name], int(frame), image), int(frame))
            context.progress((row + 1) / len(frames))

    path = context.session.output / "export" / "overlays" / f"{name}.mp4"
    write_overlay_video(path, pictures(), fps / context.session.config.capture.frames.step)
    put_manifest(context, [path])
