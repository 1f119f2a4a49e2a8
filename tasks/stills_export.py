"""Stage: what was found in stills as files: pictures, meshes, parameters, in OUTPUT/export/stills/<image>/."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.stills import BadImage, read_still
from pipeline.artifacts import Artifact
from pipeline.export.people import npz_bytes
from pipeline.files import write_atomic
from pipeline.stills.people import StillPeople
from tasks import bodies
from tasks.execution import Context
from tasks.manifests import put_manifest
from tasks.stills import GROUP, batches, files_of

__all__ = ["batches", "compute"]  # its parts are those of the stage before

UP = np.array([0.0, -1.0, 0.0])
"""Of a camera held level."""


def people_of(found: Artifact, row: int) -> StillPeople | None:
    """Who was found in an image of a batch; None for an image that could not be used."""
    if found["reason"][row] != found.attribute("words").index(""):
        return None
    return StillPeople.from_arrays(found.arrays(GROUP.format(row)))


def compute(context: Context) -> None:
    found = context.input("stills")
    model = bodies.load_model(context.session)
    start, stop = context.part.chunk
    sources = files_of(context.session)[start:stop]
    names = [n.decode() for n in found["names"]]
    files: list[Path] = []
    for row, (name, source) in enumerate(zip(names, sources, strict=True)):
        people = people_of(found, row)
        if people is not None:
            files += _write(context, name, source, people, model)
        context.progress((row + 1) / len(names))
    put_manifest(context, files)


HEAD_SHARE = 0.16
"""Half of a head's height over a person's, with room."""


def _without_faces(image: np.ndarray, people: StillPeople, model, meshes: list[np.ndarray]) -> np.ndarray:
    """Faces are looked for at the heads of the bodies, and at the upper end of each box, whatever its body says."""
    from pipeline.quality.faces import Circle, blurred, circles, face_vertices
    from pipeline.stills.pictures import camera_of

    head = face_vertices(model)
    found = circles(camera_of(people), [vertices[head].mean(0) for vertices in meshes])
    for x0, y0, x1, y1 in people.boxes.astype(np.float64).tolist():
        radius = HEAD_SHARE * (y1 - y0)
        found.append(Circle((x0 + x1) / 2, y0 + 0.8 * radius, radius))
    return blurred(image, found)


def _write(context: Context, name: str, source: Path, people: StillPeople, model) -> list[Path]:
    from pipeline.images import encode
    from pipeline.stills.bodies import mesh_files, vertices_of
    from pipeline.stills.pictures import from_above, overlay

    folder = context.session.output / "export" / "stills" / name
    faces = model.faces.numpy()
    meshes = vertices_of(model, people)
    files = {folder / "people.npz": npz_bytes(people.to_arrays())}
    try:
        image = read_still(source)
        if context.session.config.export.blur_faces:
            image = _without_faces(image, people, model, meshes)
        files[folder / "overlay.jpg"] = encode(overlay(image, people, meshes, faces), "jpeg")
    except BadImage as error:
        print(f"warning: {source.name} {error}: no overlay")
    files[folder / "above.png"] = encode(from_above(people, meshes), "png")
    for kind, data in mesh_files(meshes, faces, context.session.config.stills.formats, UP).items():
        files[folder / f"people.{kind}"] = data
    for path, data in files.items():
        write_atomic(path, data)
    return list(files)
