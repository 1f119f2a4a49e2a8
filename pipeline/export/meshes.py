"""A file a person and frame, and one of everybody if asked for: ``meshes/person_<id>/frame_<n>`` and
``meshes/scene/frame_<n>``.

PLY and OBJ are in world metres with the axes of the calibration, GLB in metres with +y up, as that format demands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.export.bodies import posed_vertices
from pipeline.export.people import on_timeline, timeline
from pipeline.files import write_atomic
from pipeline.meshes.colours import person_colour
from pipeline.meshes.geometry import vertex_normals
from pipeline.meshes.glb import Compression, Skin, StillMesh, glb_meshes
from pipeline.meshes.obj import obj_text
from pipeline.meshes.ply import ply_bytes
from pipeline.meshes.thin import Thinned, thinned
from pipeline.registration.outwards import Outwards

if TYPE_CHECKING:
    from nets.body import BodyModel

FORMATS = ("ply", "obj", "glb")
Mesh = tuple[np.ndarray, np.ndarray]
"""vertices (V, 3) world metres and faces (F, 3)."""


def person_mesh(
    person: int,
    vertices: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray | None = None,
    skin: Skin | None = None,
) -> StillMesh:
    """A person's mesh as files hold it: textured, in the colours (V, 3) of the vertices, or in the person's own."""
    normals = vertex_normals(vertices, faces)
    return StillMesh(f"person_{person}", vertices, faces, person_colour(person), normals, colours, skin)


def frame_name(frame: int) -> str:
    """``frame_000123``: the frame number in the source videos, six digits or more."""
    return f"frame_{frame:06d}"


def write_frame_meshes(
    folder: Path,
    frame: int,
    people: Mapping[int, StillMesh],
    formats: Sequence[str],
    up: np.ndarray,
    *,
    scene: bool = True,
    compression: Compression = "none",
) -> list[Path]:
    """Write each person of a frame and the scene of all of them; a frame without anybody writes nothing.

    Args:
        folder: ``export/meshes``.
        frame: number in the source videos.
        people: meshes by person id (``person_mesh``).
        formats: of ``FORMATS``.
        up: (3,) of the rig.
        scene: whether to write the file of everybody. compression: of GLB.

    Returns:
        the files written.

    Raises:
        ValueError: an unknown format, or a mesh that ``check_mesh`` refuses.
        OSError: a full or read-only disk.
    """
    if unknown := set(formats) - set(FORMATS):
        raise ValueError(f"unknown mesh formats {sorted(unknown)}, known are {', '.join(FORMATS)}")
    stills = [mesh for _, mesh in sorted(people.items())]
    written = []
    for name, meshes in [*((s.name, [s]) for s in stills), *([("scene", stills)] if stills and scene else [])]:
        for kind in formats:
            path = folder / name / f"{frame_name(frame)}.{kind}"
            write_atomic(path, encode_meshes(kind, meshes, up, f"axes of the calibration; frame {frame}", compression))
            written.append(path)
    return written


def former_meshes(folder: Path) -> list[Path]:
    """Files in ``export/meshes`` that ``write_frame_meshes`` may have written, now or before; no others."""
    return [
        path
        for name in ("person_*", "scene")
        for path in folder.glob(f"{name}/frame_*.*")
        if path.suffix[1:] in FORMATS and path.stem[6:].isdigit()
    ]


def write_body_meshes(
    folder: Path,
    model: BodyModel,
    bodies: Mapping[int, BodyTrack],
    frames: np.ndarray,
    formats: Sequence[str],
    up: np.ndarray,
    *,
    progress: Callable[[float], None] | None = None,
) -> int:
    """``write_frame_meshes`` of the posed bodies in ``frames``; returns how many files were written."""
    count = 0
    for done, (frame, people) in enumerate(body_meshes(model, bodies, frames), 1):
        meshes = {i: person_mesh(i, *mesh) for i, mesh in people.items()}
        count += len(write_frame_meshes(folder, frame, meshes, formats, up))
        if progress:
            progress(done / len(frames))
    return count


def body_meshes(
    model: BodyModel, bodies: Mapping[int, BodyTrack], frames: np.ndarray, batch: int = 32
) -> Iterator[tuple[int, dict[int, Mesh]]]:
    """Posed bodies by person id for each of ``frames`` (ascending), a batch of frames in memory at a time."""
    faces = model.faces.cpu().numpy()
    for start in range(0, len(frames), batch):
        part = np.asarray(frames[start : start + batch], np.int64)
        people: list[dict[int, Mesh]] = [{} for _ in part]
        for person, body in sorted(bodies.items()):
            places, rows = on_timeline(part, body.frames)
            for place, vertices in zip(places, posed_vertices(model, body, rows), strict=True):
                if np.isfinite(vertices[0, 0]):
                    people[place][person] = (vertices, faces)
        yield from zip(part.tolist(), people, strict=True)


SOURCES = ("fusion", "surface", "registered", "body")
"""Where a person's mesh of a frame comes from, the best first: a fused surface, a surface, the body moved out to the
surfaces and coloured, the body."""


class Surfaces(Protocol):
    """Surfaces of one person over some frames, as they are delivered."""

    frames: np.ndarray
    valid: np.ndarray

    def mesh(self, frame: int): ...

    def colours(self, frame: int) -> np.ndarray | None: ...

    def skin(self, frame: int) -> Skin | None: ...

    def source(self, frame: int) -> str: ...


class BestMeshes:
    """Of every person and frame the best mesh that there is, and which that is.

    Attributes:
        used: person -> source (of ``SOURCES``) -> frames, of the meshes that were given out.
    """

    def __init__(self, surfaces: Mapping[int, Sequence[Surfaces]], bodies: Mapping[int, Stand]) -> None:
        """``surfaces``: person id -> sequences, the better first; ``bodies``: person id -> what stands in for them."""
        self._at: dict[tuple[int, int], Surfaces] = {}
        for person, sequences in surfaces.items():
            for sequence in sequences:
                for frame in sequence.frames[sequence.valid].tolist():
                    self._at.setdefault((person, frame), sequence)
        self._people, self._bodies = sorted({*surfaces, *bodies}), bodies
        self.used: dict[int, dict[str, list[int]]] = {}

    def __call__(self, frame: int, posed: Mapping[int, Mesh]) -> dict[int, StillMesh]:
        """Meshes by person id in a frame, given the posed bodies of the people in it."""
        found = {}
        for person in self._people:
            sequence = self._at.get((person, frame))
            if sequence is not None:
                mesh, source = sequence.mesh(frame), sequence.source(frame)
                looks = sequence.colours(frame), sequence.skin(frame)
                found[person] = person_mesh(person, mesh.vertices, mesh.faces, *looks)
            elif person in posed and person in self._bodies:
                stand = self._bodies[person]
                source, found[person] = stand.source, stand.mesh(posed[person][0])
            else:
                continue
            self.used.setdefault(person, {}).setdefault(source, []).append(frame)
        return found

    def told(self, step: int = 1) -> dict[str, dict[str, list[list[int]]]]:
        """``used`` as JSON has it: person_<id> -> source -> first and last frame of each stretch of frames that follow
        each other, ``step`` apart."""

        def stretches(frames: list[int]) -> list[list[int]]:
            parts = np.split(np.array(frames), np.flatnonzero(np.diff(frames) != step) + 1)
            return [[int(part[0]), int(part[-1])] for part in parts]

        return {f"person_{i}": {s: stretches(f) for s, f in of.items()} for i, of in sorted(self.used.items())}


@dataclass(frozen=True)
class Stand:
    """What stands in for a person in frames without a surface: their body, dressed and light as far as that is known.

    Attributes:
        person: id. outwards: the body's faces, and where its skin goes.
        offsets: (V,) metres by which its skin is moved out, or None. colours: (V, 3) uint8 of it, or None.
        light: some of its vertices, joined by fewer triangles, or None for all.
    """

    person: int
    outwards: Outwards
    offsets: np.ndarray | None = None
    colours: np.ndarray | None = None
    light: Thinned | None = None

    @property
    def source(self) -> str:
        return "body" if self.offsets is None else "registered"

    def dressed(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) the posed body with its skin moved out."""
        return vertices if self.offsets is None else self.outwards.moved(vertices, self.offsets)

    def mesh(self, vertices: np.ndarray) -> StillMesh:
        """Of posed vertices (V, 3)."""
        dressed, light, colours = self.dressed(vertices), self.light, self.colours
        if light is None:
            return person_mesh(self.person, dressed, self.outwards.faces, colours)
        colours = None if colours is None else colours[light.vertices]
        return person_mesh(self.person, dressed[light.vertices], light.faces, colours)

    def made_light(self, poses: Sequence[np.ndarray], bound_m: float) -> Stand:
        """Itself with fewer triangles, within ``bound_m`` in all the given poses (V, 3); itself if that cannot be."""
        dressed = [self.dressed(p) for p in poses]
        return replace(self, light=thinned(dressed, self.outwards.faces, bound_m)) if dressed else self


class PosedBodies:
    """Posed bodies of any frame, as ``body_meshes`` gives them; a batch of frames is posed at once and remembered.

    Frames are best asked for in ascending order.
    """

    def __init__(self, model: BodyModel, bodies: Mapping[int, BodyTrack], batch: int = 32) -> None:
        self._model, self._bodies, self._batch = model, bodies, batch
        self._frames = timeline([b.frames for b in bodies.values()])
        self._known: dict[int, dict[int, Mesh]] = {}

    def __call__(self, frame: int) -> dict[int, Mesh]:
        """Meshes by person id in ``frame``; empty where nobody has a body."""
        if frame not in self._known:
            start = int(np.searchsorted(self._frames, frame))
            self._known = dict(body_meshes(self._model, self._bodies, self._frames[start : start + self._batch]))
        return self._known.get(frame, {})


def encode_meshes(
    kind: str, meshes: Sequence[StillMesh], up: np.ndarray, comment: str, compression: Compression = "none"
) -> bytes | str:
    """Meshes as one file of ``kind`` (of ``FORMATS``); ``comment`` says of text formats what the axes are."""
    if kind == "glb":
        return glb_meshes(meshes, up, compression)
    counts = [len(m.vertices) for m in meshes]
    vertices, normals = (np.concatenate([getattr(m, k) for m in meshes]) for k in ("vertices", "normals"))
    faces = np.concatenate([m.faces + s for m, s in zip(meshes, np.cumsum([0, *counts[:-1]]), strict=True)])
    comments = (
        f"{comment}, up is {' '.join(f'{x:.4g}' for x in np.asarray(up) + 0.0)}",
        ", ".join(m.name for m in meshes),
    )
    plain = (np.broadcast_to(np.array(m.colour, np.uint8), np.shape(m.vertices)) for m in meshes)
    colours = np.concatenate([p if m.colours is None else m.colours for m, p in zip(meshes, plain, strict=True)])
    if kind == "obj":
        painted = colours if any(m.colours is not None for m in meshes) else None
        return obj_text(vertices, faces, normals=normals, name="scene" if len(meshes) > 1 else meshes[0].name,
                        comments=comments, colours=painted)
    return ply_bytes(vertices, faces, normals=normals, colours=colours, comments=comments)
