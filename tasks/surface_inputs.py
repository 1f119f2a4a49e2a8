"""Stage: one person in a chunk as the surface network reads it: crops, masks, body maps and volume, normals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from pipeline.artifacts import ArtifactWriter
from pipeline.config import Session
from pipeline.segmentation.masks import Masks
from tasks.bodies import load_model
from tasks.execution import Context
from tasks.frames import read_image
from tasks.leases import leased_device
from tasks.partial import Partial
from tasks.parts import Part
from tasks.people import bodies_of
from tasks.surfaces import Bodies, network_files, span_parameters, wanted_frames
from tasks.surfaces import wants as wants

NO_BODY = "no_body"
FEWEST_VIEWS = 2
"""One view alone shows a front: such a frame is marked, and the body stands in."""


def input_files(session: Session, part: Part) -> dict[str, Path]:
    return network_files(session)


def parameters(session: Session, part: Part) -> dict:
    return dict(span_parameters(session, part))


def compute(context: Context) -> None:
    from pipeline.surface.stored import InputsWriter, StoredInputs

    with leased_device(context.session.config.surface.device) as device:
        maker = _Maker(context, device)
        partial = Partial(context)
        frames = wanted_frames(context.session, context.part.chunk, context.input("timeline")["frames"])
        reasons: Counter[str] = Counter()
        with InputsWriter(context.writer, maker.cameras, maker.size) as merged:
            for done, frame in enumerate(frames, 1):
                with partial.frame(frame, lambda writer, n=frame: maker.write(writer, n)) as artifact:
                    stored = StoredInputs(artifact)
                    merged.copy(stored, frame)
                    reasons[stored.reasons[0]] += 1
                context.progress(done / len(frames))
    told = "".join(f", {n} {why}" for why, n in reasons.items() if why)
    print(f"{reasons['']} of {len(frames)} frames{told}")


class _Maker:
    """Makes single frames; opens and loads what all of them need."""

    def __init__(self, context: Context, device: str) -> None:
        from pipeline.raster_open3d import Open3DRaster
        from pipeline.surface.networks import load_networks

        self._context, self._rig, self._device = context, context.rig(), device
        self._masks = Masks(context.input("segmentation"))
        self._timeline = context.input("timeline")["frames"]
        (track,) = bodies_of(context).values()
        self._bodies = Bodies(load_model(context.session), track, self._rig.up)
        self._networks = load_networks(network_files(context.session)["surface network"]).to(device)
        self._raster = Open3DRaster(threads=1)
        self.cameras, self.size = self._rig.names, self._networks.preset.image_size

    def write(self, writer: ArtifactWriter, frame: int) -> None:
        """One frame as an artifact of its own."""
        from pipeline.surface.stored import InputsWriter

        with InputsWriter(writer, self.cameras, self.size) as out:
            prepared = self._prepared(frame)
            out.mark(frame, prepared) if isinstance(prepared, str) else out.add(frame, prepared)

    def _prepared(self, frame: int):
        from pipeline.surface.prepare import prepare, with_normals

        body = self._bodies.body(frame)
        if body is None:
            return NO_BODY
        views = [v for camera in self._rig.cameras if (v := self._view(camera, frame)) is not None]
        of, normals = self._networks.preset, self._networks.normals
        prepared = prepare(views, body, of, self._raster, fewest_views=FEWEST_VIEWS)
        if isinstance(prepared, str) or normals is None:
            return prepared
        return with_normals(prepared, normals, self._device)

    def _view(self, camera, frame: int):
        """None where there is no image, or no mask of the person."""
        from pipeline.surface.prepare import View

        person, masks = self._context.part.person, self._masks
        try:
            mask = masks.mask(camera.name, frame, person)
        except KeyError:
            return None
        artifact = self._context.open(Part("frames", camera=camera.name))
        image = None if mask is None else read_image(artifact, int(np.searchsorted(self._timeline, frame)))
        if image is None:
            return None
        # Where somebody else is seen, this person may stand behind.
        others = (masks.labels(camera.name, frame) > 0) & ~mask
        return View(camera, image, mask, masks.hidden(camera.name, frame, person) | others)
