"""Stage: one person's surfaces as they are delivered: light, within a stated distance, and coloured from the views.

Beside the meshes (``MeshSequence``) an artifact holds ``colours`` (V, 3) uint8 of all vertices, none without
``export.texture``; with ``export.frame_texture`` ``images`` (JPEG, one a frame) and ``uv`` (texture coordinates: which
vertex each is of, values in 16 bits, triangles); and a frame ``source`` (which stage the surface is of, a row of the
attribute ``sources``), ``triangles`` it had before, ``error_m`` and ``farthest_m`` (``pipeline.meshes.simplify``) and
the share of it that a camera ``covered``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.config import Session
from pipeline.meshes.glb import Skin
from pipeline.meshes.sequence import Mesh, MeshSequence, MeshWriter
from tasks.bodies import load_model
from tasks.execution import Context
from tasks.faces import blur_of
from tasks.people import bodies_of, seen_of_frame
from tasks.surfaces import wants as wants

if TYPE_CHECKING:
    from pipeline.texture.atlas import Atlas

SOURCES = ("fusion", "surface")
"""The better first."""
HAND = ("wrist", "index", "middle", "pinky", "ring", "thumb")
"""Parts of names of joints that move a hand."""


def inputs(session: Session) -> tuple[str, ...]:
    surfaces = ("calibration", "refinement", "timeline", "surface", "fusion")
    coloured = ("frames", "bodies", "segmentation", "registration")
    return (*surfaces, *coloured) if session.config.export.texture else surfaces


def compute(context: Context) -> None:
    source, painter = _Surfaces(context), None
    if context.session.config.export.texture:
        painter = _Painter(context)
    bound_m, guess, writer = context.session.config.export.simplify_mm / 1000, None, context.writer
    colours = writer.rows("colours", np.uint8, (3,))
    size = context.session.config.export.frame_texture
    skins = _SkinWriter(writer) if size and painter is not None else None
    rows = []
    with MeshWriter(writer, source.cameras) as out:
        for done, frame in enumerate(source.frames, 1):
            which = source.which(frame)
            if which is None:
                out.mark(frame, source.reason(frame))
                if skins is not None:
                    skins.add(b"", None)
                rows.append((0, 0, np.nan, np.nan, 0.0))
                continue
            mesh = source.mesh(frame, which)
            made = light(mesh, bound_m, guess)
            guess = len(made.mesh.faces)
            covered = 0.0
            if painter is not None:
                painted, covered = painter(frame, mesh, made)
                colours.append(painted)
            if skins is not None:
                skins.add(*painter.texture(made, size))
            out.add(frame, made.mesh)
            rows.append((which, len(mesh.faces), made.error_m, made.farthest_m, covered))
            context.progress(done / len(source.frames))
    if skins is not None:
        skins.finish()
    table = np.array(rows, np.float64).reshape(-1, 5)
    for name, column, kind in zip(FIGURES, table.T, (np.uint8, np.int64, *[np.float32] * 3), strict=True):
        writer.put(name, column.astype(kind))
    writer.attribute("sources", list(SOURCES))
    writer.attribute("coloured", painter is not None)
    _tell(table, len(source.frames))


FIGURES = ("source", "triangles", "error_m", "farthest_m", "covered")


def _tell(table: np.ndarray, frames: int) -> None:
    good = np.isfinite(table[:, 2])
    if good.any():
        print(f"{good.sum()} of {frames} frames; within {1000 * table[good, 2].max():.1f} mm of what they were, "
              f"{1000 * table[good, 3].max():.1f} mm at the farthest; {table[good, 4].mean():.0%} seen by a camera")
    else:
        print(f"none of {frames} frames has a surface")


@dataclass(frozen=True)
class Light:
    """A mesh made light, and how far it is from what it was (``Simplified``)."""

    mesh: Mesh
    error_m: float
    farthest_m: float


def light(mesh: Mesh, bound_m: float, guess: int | None = None) -> Light:
    """A mesh within ``bound_m`` (0: as it is); confidence and cameras are those of the nearest vertices."""
    from scipy.spatial import cKDTree

    from pipeline.meshes.simplify import simplified

    if not bound_m:
        return Light(mesh, 0.0, 0.0)
    few = simplified(mesh.vertices, mesh.faces, bound_m, guess)
    near = cKDTree(mesh.vertices).query(few.vertices)[1]
    return Light(Mesh(few.vertices, few.faces, mesh.confidence[near], mesh.seen[near]), few.error_m, few.farthest_m)


class _SkinWriter:
    """Texture images and their coordinates, a frame after the other."""

    def __init__(self, writer: ArtifactWriter) -> None:
        self._writer, self._images = writer, writer.stream("images")
        self._which, self._values = writer.rows("uv/which", np.int32), writer.rows("uv/values", np.uint16, (2,))
        self._faces, self._offsets = writer.rows("uv/faces", np.int32, (3,)), [0]

    def add(self, jpeg: bytes, atlas: Atlas | None) -> None:
        self._images.append(jpeg)
        count = 0
        if atlas is not None:
            which, uv, faces = atlas.split()
            count = len(which)
            self._which.append(which.astype(np.int32))
            self._values.append(np.rint(np.clip(uv, 0, 1) * 65535).astype(np.uint16))
            self._faces.append(faces.astype(np.int32))
        self._offsets.append(self._offsets[-1] + count)

    def finish(self) -> None:
        self._writer.put("uv/offsets", np.array(self._offsets, np.int64))


class LightSequence(MeshSequence):
    """What an artifact of this stage holds: a ``MeshSequence`` with ``colours``."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact)
        self._coloured, self._textured = artifact.attribute("coloured"), "uv/offsets" in artifact
        self._offsets = artifact["vertices/offsets"]
        self._sources = [artifact.attribute("sources")[k] for k in artifact["source"]]

    def colours(self, frame: int) -> np.ndarray | None:
        """(V, 3) uint8 of ``mesh(frame)``, None without ``export.texture``."""
        row = self.row(frame)
        return self._artifact.read("colours", slice(*self._offsets[row : row + 2])) if self._coloured else None

    def skin(self, frame: int) -> Skin | None:
        """The texture of ``mesh(frame)``, None without ``export.frame_texture``."""
        if not self._textured:
            return None
        row, artifact = self.row(frame), self._artifact
        some = slice(*artifact["uv/offsets"][row : row + 2])
        faces = artifact.read("uv/faces", slice(*artifact["faces/offsets"][row : row + 2]))
        uv = artifact.read("uv/values", some) / 65535
        return Skin(artifact.read("uv/which", some), uv, faces, artifact.encoded("images", row))

    def source(self, frame: int) -> str:
        """The stage whose surface it is, of ``SOURCES``."""
        return self._sources[self.row(frame)]


class _Surfaces:
    """The surfaces of a person and chunk, the best of every frame."""

    def __init__(self, context: Context) -> None:
        self._of = {s: MeshSequence(context.open(p)) for s in SOURCES for p in context.parts(s)}
        self.cameras = next((s.cameras for s in self._of.values()), context.rig().names)
        self.frames = sorted({int(n) for s in self._of.values() for n in s.frames})

    def which(self, frame: int) -> int | None:
        return next((k for k, s in enumerate(SOURCES) if s in self._of and self._of[s].has(frame)), None)

    def reason(self, frame: int) -> str:
        return next(s.reason(frame) for name in reversed(SOURCES) if (s := self._of.get(name)) and frame in s.frames)

    def mesh(self, frame: int, which: int) -> Mesh:
        return self._of[SOURCES[which]].mesh(frame)


class _Painter:
    """Colours of a person's surfaces: what the cameras show, and what the registered body looks like elsewhere."""

    def __init__(self, context: Context) -> None:
        from pipeline.raster_open3d import Open3DRaster
        from pipeline.registration.outwards import Outwards

        self._context, self._cameras = context, context.rig().cameras
        self._raster, self._blur = Open3DRaster(threads=1), blur_of(context)
        self._track = next(iter(bodies_of(context).values()), None)
        self._registered, self._model = None, None
        gains: dict[str, np.ndarray] = {}
        for part in context.parts("registration"):
            artifact = context.open(part)
            if artifact.attribute("valid") and self._track is not None:
                self._registered, self._model = artifact, load_model(context.session)
                self._outwards = Outwards(self._model.template.numpy(), self._model.faces.numpy())
                self._hands = hands_of(self._model)
                gains = dict(zip(artifact.attribute("cameras"), artifact["gains"], strict=True))
        self._gains = {c.name: np.asarray(gains.get(c.name, np.ones(3)), np.float64) for c in self._cameras}

    def __call__(self, frame: int, mesh: Mesh, made: Light) -> tuple[np.ndarray, float]:
        """Colours (K, 3) of the light mesh, and the share of the whole one that some camera saw."""
        from pipeline.texture.colours import carried_over, vertex_colours
        from pipeline.texture.views import colour_views

        seen = seen_of_frame(self._context, frame, self._context.part.person, self._cameras, self._blur)
        body = self._body(frame)
        hands = None if body is None else (body[self._hands[0]], self._hands[1])
        views = colour_views(mesh.vertices, mesh.faces, seen, self._raster, hands)
        gains = np.array([self._gains[name] for name in views]).reshape(-1, 3)
        usual = None if body is None else self._usual(body, mesh.vertices)
        colours, covered = vertex_colours(mesh.vertices, mesh.faces, list(views.values()), gains, usual)
        self._painted = (mesh.vertices, mesh.faces), colours, list(views.values()), gains
        if made.mesh is not mesh:
            colours = carried_over(made.mesh.vertices, made.mesh.faces, mesh.vertices, colours)
        return colours, float(covered.mean())

    def texture(self, made: Light, size: int) -> tuple[bytes, Atlas]:
        """A texture, as JPEG, of the mesh that was painted last, and where on the mesh it lies."""
        from pipeline.texture.atlas import encoded
        from pipeline.texture.unwrap import JPEG_QUALITY, texture_of, unwrapped

        atlas = unwrapped(made.mesh.vertices, made.mesh.faces, size)
        return encoded(texture_of(atlas, made.mesh.vertices, *self._painted), JPEG_QUALITY), atlas

    def _body(self, frame: int) -> np.ndarray | None:
        """(V, 3) the posed body, if there is one and the person is registered."""
        from pipeline.export.bodies import posed_vertices

        if self._registered is None:
            return None
        row = int(np.searchsorted(self._track.frames, frame))
        if row == len(self._track.frames) or self._track.frames[row] != frame:
            return None
        (body,) = posed_vertices(self._model, self._track, np.array([row]))
        return body.astype(np.float64) if np.isfinite(body).all() else None

    def _usual(self, body: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """Colours (N, 3) of the registered body at vertices (N, 3)."""
        from pipeline.texture.colours import nearby

        dressed = self._outwards.moved(body, self._registered["offsets"])
        return nearby(vertices, dressed, self._registered["vertex_colours"])


def hands_of(model) -> tuple[np.ndarray, np.ndarray]:
    """Which vertices (H,) of a body model are its hands, and their faces (T, 3) of the H."""
    from pipeline.skeletons import SMPLX55
    from pipeline.surface.components import compact

    joints = [any(part in name for part in HAND) for name in SMPLX55.joints]
    own = model.weights.cpu().numpy()[:, np.array(joints)].sum(1) > 0.5
    faces = model.faces.cpu().numpy()
    return compact(len(own), faces[own[faces].all(1)])
