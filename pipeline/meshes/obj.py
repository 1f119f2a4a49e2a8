"""Wavefront OBJ of triangle meshes: metres, axes as given by the caller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.meshes.geometry import check_mesh, vertex_normals


def obj_text(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    normals: np.ndarray | None = None,
    colours: np.ndarray | None = None,
    name: str = "mesh",
    comments: Sequence[str] = (),
) -> str:
    """An OBJ file with normals, positions to a micrometre.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) counter-clockwise from outside, counted from 0 (the file counts from 1).
        normals: (V, 3) unit vectors; smooth ones are computed if None.
        colours: (V, 3) uint8 sRGB, or None: three numbers 0..1 after each position, as most readers know them.
        name: of the object in the file; spaces become underscores, as the format has no quoting.
        comments: lines for the top of the file.

    Raises:
        ValueError: see ``check_mesh``.
    """
    vertices, faces = check_mesh(vertices, faces)
    normals = vertex_normals(vertices, faces) if normals is None else np.asarray(normals, np.float32)
    lines = [" ".join(line.split()) for line in ("Troupe; units are metres", *comments)]
    return "".join(
        [
            *(f"# {line}\n" for line in lines),
            f"o {'_'.join(name.split()) or 'mesh'}\n",
            _rows("v %.6f %.6f %.6f\n", vertices)
            if colours is None
            else _rows("v %.6f %.6f %.6f %.4f %.4f %.4f\n", np.column_stack([vertices, np.asarray(colours) / 255])),
            _rows("vn %.4f %.4f %.4f\n", normals),
            _rows("f %d//%d %d//%d %d//%d\n", np.repeat(faces + 1, 2, axis=1)),
        ]
    )


def _rows(pattern: str, values: np.ndarray) -> str:
    # One formatting of everything is ten times faster than a line at a time.
    return (pattern * len(values)) % tuple(values.ravel().tolist())
