"""Stage: one person's body model, moved out to the reconstructed surfaces and textured from all views."""

from __future__ import annotations

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.config import Session
from pipeline.meshes.sequence import MeshSequence
from tasks.bodies import load_model, model_path
from tasks.execution import Context
from tasks.faces import blur_of
from tasks.people import bodies_of, seen_of_frame

FRAMES = 12
"""Instants that are looked at, spread over the track: more sharpen nothing."""
STILL = ("eye", "jaw", "index", "middle", "pinky", "ring", "thumb")
"""Parts of names of joints whose skin keeps the body's own place: a surface network melts fingers."""


def inputs(session: Session) -> tuple[str, ...]:
    names = ("calibration", "refinement", "timeline", "frames", "segmentation", "bodies")
    return (*names, "surface", "fusion") if session.has_surfaces else names


def compute(context: Context) -> None:
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.registration.dressed import register
    from pipeline.registration.outwards import Outwards
    from pipeline.texture.atlas import Atlas, encoded

    model = load_model(context.session)
    (body,) = bodies_of(context).values()
    faces = model.faces.numpy()
    source = _Source(context, model, body)
    instants = [i for i in map(source.instant, source.frames()) if i.views]
    found = texture_coordinates(context.session)
    atlas = None if found is None else Atlas(faces, *found[1], context.session.config.export.texture_size)
    writer = context.writer
    if not instants:
        print("no frame in which the person has a body and is seen")
        _write_nothing(writer, model, len(source.cameras))
        return
    context.progress(0.3)
    outwards = Outwards(model.template.numpy(), faces)
    found = register(instants, outwards, still_vertices(model), source.cameras, Open3DRaster(threads=1), atlas)
    writer.put("offsets", found.offsets)
    writer.put("vertex_colours", found.vertex_colours)
    writer.put("seen", found.seen)
    writer.put("gains", found.gains)
    jpeg = b"" if found.texture is None else encoded(found.texture)
    writer.put("texture", np.frombuffer(jpeg, np.uint8))
    writer.attribute("cameras", list(source.cameras))
    writer.attribute("valid", True)
    moved = float(np.abs(found.offsets).mean() * 1000)
    print(f"{len(instants)} frames, {found.surfaces} with surfaces; skin moved by {moved:.1f} mm in the mean, "
          f"{found.seen.mean():.0%} of it seen")


FACE_M = (0.07, 0.11)
"""Distances from the middle of eyes and nose within which the skin stays, and beyond which it moves."""


def still_vertices(model) -> np.ndarray:
    """(V,) 0..1, how much of a vertex hangs on joints whose skin stays (``STILL``), or is of the face: both are finer
    than a surface network sees them."""
    from pipeline.skeletons import SMPLX55

    fixed = [any(part in name for part in STILL) for name in SMPLX55.joints]
    still = np.clip(2 * model.weights.numpy()[:, np.array(fixed)].sum(1), 0, 1)
    points = [model.keypoint_vertices[n] for n in ("nose", "left_eye", "right_eye") if n in model.keypoint_vertices]
    if points:
        template = model.template.numpy()
        away = np.linalg.norm(template - template[points].mean(0), axis=1)
        still = np.maximum(still, np.clip((FACE_M[1] - away) / (FACE_M[1] - FACE_M[0]), 0, 1))
    return still


class _Source:
    """Frames of one person with all that is there of them."""

    def __init__(self, context: Context, model, body: BodyTrack) -> None:
        self._context, self._model, self._body = context, model, body
        self._rig, self._blur = context.rig(), blur_of(context)
        self.cameras = list(self._rig.names)
        sequences = {s: [MeshSequence(context.open(p)) for p in context.parts(s)] for s in ("fusion", "surface")}
        self._surfaces = [*sequences["fusion"], *sequences["surface"]]

    def frames(self) -> list[int]:
        """Up to ``FRAMES``: those with surfaces, evenly spread, and others where they are few."""
        valid = self._body.frames[np.asarray(self._body.valid, bool)].tolist()
        with_surface = _spread([n for n in valid if self._surface(n, peek=True)], FRAMES)
        others = [n for n in valid if n not in with_surface]
        return sorted([*with_surface, *_spread(others, FRAMES - len(with_surface))])

    def instant(self, frame: int):
        from pipeline.export.bodies import posed_vertices
        from pipeline.registration.dressed import Instant

        row = int(np.searchsorted(self._body.frames, frame))
        vertices = posed_vertices(self._model, self._body, np.array([row]))[0].astype(np.float64)
        views = seen_of_frame(self._context, frame, self._context.part.person, self._rig.cameras, self._blur)
        return Instant(vertices, self._surface(frame), views)

    def _surface(self, frame: int, peek: bool = False):
        for sequence in self._surfaces:
            if sequence.has(frame):
                if peek:
                    return True
                mesh = sequence.mesh(frame)
                return mesh.vertices, mesh.faces
        return None


def _spread(frames: list[int], most: int) -> list[int]:
    if not frames or most < 1:
        return []
    return [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, most).round().astype(int))]


def texture_coordinates(session: Session):
    """Faces (T, 3) of the session's body model, and its uv (U, 2) with their faces (T, 3); None if it has no uv."""
    from data.body_models import load_body_arrays

    arrays = load_body_arrays(model_path(session))
    if "vt" not in arrays or "ft" not in arrays:
        return None
    uv = np.asarray(arrays["vt"], np.float64), np.asarray(arrays["ft"], np.int64)
    return np.asarray(arrays["f"], np.int64), uv


def _write_nothing(writer, model, cameras: int) -> None:
    count = model.vertex_count
    writer.put("offsets", np.zeros(count, np.float32))
    writer.put("vertex_colours", np.full((count, 3), 128, np.uint8))
    writer.put("seen", np.zeros(count, bool))
    writer.put("gains", np.ones((cameras, 3), np.float32))
    writer.put("texture", np.zeros(0, np.uint8))
    writer.attribute("cameras", [])
    writer.attribute("valid", False)
