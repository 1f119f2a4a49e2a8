"""The meshes of a session as they are delivered: light coloured surfaces, plain ones, or bodies that stand in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.body.parameters import BodyTrack
from pipeline.meshes.glb import StillMesh
from pipeline.meshes.sequence import MeshSequence
from tasks.faces import blur_of
from tasks.people import Source, bodies_of, masks_of_frame, posed_bodies, seen_of_frame
from tasks.texture import LightSequence

POSES_CHECKED = 6
"""Of a person's track: in so many of its poses the light body is held to the bound."""


class _Plain(MeshSequence):
    """Surfaces that nobody made light or coloured."""

    def __init__(self, artifact: Artifact, stage: str) -> None:
        super().__init__(artifact)
        self._stage = stage

    def colours(self, frame: int) -> None:
        return None

    def skin(self, frame: int) -> None:
        return None

    def source(self, frame: int) -> str:
        return self._stage


def surfaces(source: Source) -> dict[int, list]:
    """Person id -> what there is of their surfaces, the better first."""
    found: dict[int, list] = {}
    for part in source.parts("texture"):
        found.setdefault(part.person, []).append(LightSequence(source.open(part)))
    for stage in ("fusion", "surface"):
        for part in source.parts(stage):
            found.setdefault(part.person, []).append(_Plain(source.open(part), stage))
    return found


def stands(source: Source, model, bodies: Mapping[int, BodyTrack], bound_m: float) -> dict:
    """Person id -> what stands in for them where there is no surface, within ``bound_m`` (0: as it is)."""
    from pipeline.export.bodies import posable, posed_vertices
    from pipeline.export.meshes import Stand
    from pipeline.registration.outwards import Outwards

    outwards, found = Outwards(model.template.cpu().numpy(), model.faces.cpu().numpy()), {}
    registered = {p.person: source.open(p) for p in source.parts("registration")}
    for person, body in bodies.items():
        stand = Stand(person, outwards)
        dress = registered.get(person)
        if dress is not None and dress.attribute("valid"):
            stand = Stand(person, outwards, dress["offsets"].astype(np.float64), dress["vertex_colours"])
        rows = np.flatnonzero(posable(body))
        if bound_m and len(rows):
            some = rows[np.unique(np.linspace(0, len(rows) - 1, POSES_CHECKED).astype(int))]
            stand = stand.made_light(list(posed_vertices(model, body, some).astype(np.float64)), bound_m)
        found[person] = stand
    return found


class Delivered:
    """What is delivered of each person and frame, beside what was filmed."""

    def __init__(self, source: Source) -> None:
        from pipeline.export.meshes import BestMeshes
        from pipeline.raster_open3d import Open3DRaster
        from tasks.bodies import load_model

        self._source, self._rig, self._raster = source, source.rig(), Open3DRaster(threads=1)
        self._blur = blur_of(source)
        self._bodies, self._surfaces = bodies_of(source), surfaces(source)
        model = load_model(source.session) if self._bodies else None
        self._best = BestMeshes(self._surfaces, stands(source, model, self._bodies, 0) if self._bodies else {})
        self._posed = posed_bodies(source.session, self._bodies)

    def people(self) -> list[int]:
        return sorted({*self._surfaces, *self._bodies})

    def frames(self, person: int) -> np.ndarray:
        """Frames with a surface, ascending; those with a valid body if there is none."""
        having = [s.frames[s.valid] for s in self._surfaces.get(person, ())]
        with_surface = np.unique(np.concatenate(having)) if having else np.zeros(0, int)
        if len(with_surface) or person not in self._bodies:
            return with_surface
        body = self._bodies[person]
        return body.frames[np.asarray(body.valid, bool)]

    def meshes(self, frame: int) -> dict[int, StillMesh]:
        """By person id."""
        return self._best(frame, self._posed(frame) if self._posed else {})

    def gain(self, person: int, camera: str) -> np.ndarray:
        """(3,) by which a camera's colours were multiplied for this person."""
        return self._gains.get((person, camera), np.ones(3))

    @cached_property
    def _gains(self) -> dict[tuple[int, str], np.ndarray]:
        found = {}
        for part in self._source.parts("registration"):
            artifact = self._source.open(part)
            for name, gain in zip(artifact.attribute("cameras"), artifact["gains"], strict=False):
                found[part.person, name] = gain
        return found

    def scores(self, frame: int, person: int, mesh: StillMesh) -> dict:
        """Camera name -> ``ViewScore`` of a person's mesh in a frame."""
        from pipeline.quality.compare import view_score

        masks, out = masks_of_frame(self._source, frame), {}
        for name, seen in seen_of_frame(self._source, frame, person, self._rig.cameras, self._blur).items():
            hidden = masks.hidden(name, frame, person)
            score = view_score(seen, hidden, mesh, self.gain(person, name), self._raster)
            if score is not None:
                out[name] = score
        return out

    def comparison(self, frame: int, cameras, images, person: int | None, beside: bool):
        """A picture of the result in these cameras, and lines that tell the scores; None if nobody is in any."""
        from pipeline.quality.compare import comparison, sheet

        meshes = {i: m for i, m in self.meshes(frame).items() if person in (None, i)}
        scores = {i: self.scores(frame, i, m) for i, m in meshes.items()}
        rows, lines = [], []
        for camera in cameras:
            people = {i: (m, self.gain(i, camera.name)) for i, m in meshes.items()}
            told = [f"{i}: {_told(s[camera.name])}" for i, s in scores.items() if camera.name in s]
            row = comparison(
                camera, images(camera.name), people, self._raster, "  ".join([camera.name, *told]), beside=beside
            )
            if row is not None:
                rows.append(row)
                lines.append(f"{camera.name}: " + ("; ".join(f"person {t}" for t in told) or "no mask to compare with"))
        return (sheet(rows, 1 if len(rows) < 3 else 2), lines) if rows else None


def _told(score) -> str:
    colour = "" if score.colour_error is None else f", colour {score.colour_error:.1f}"
    return f"IoU {score.iou:.2f}{colour}"


SAMPLED = 3
"""Frames of each person that the report looks at."""


def agreement(delivered: Delivered) -> dict[str, tuple[float, float | None]]:
    """Camera name -> medians over people and some frames of silhouette overlap and colour error."""
    found: dict[str, list] = {}
    for person in delivered.people():
        frames = delivered.frames(person)
        picked = np.unique(np.linspace(0, len(frames) - 1, SAMPLED).astype(int)) if len(frames) else ()
        for frame in (int(frames[k]) for k in picked):
            mesh = delivered.meshes(frame).get(person)
            if mesh is not None:
                for name, score in delivered.scores(frame, person, mesh).items():
                    found.setdefault(name, []).append(score)
    out = {}
    for name, scores in found.items():
        colours = [s.colour_error for s in scores if s.colour_error is not None]
        out[name] = float(np.median([s.iou for s in scores])), float(np.median(colours)) if colours else None
    return out
