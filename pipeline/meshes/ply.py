"""Binary PLY of triangle meshes: metres, axes as given by the caller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.meshes.geometry import check_mesh, vertex_normals


def ply_bytes(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    normals: np.ndarray | None = None,
    colours: np.ndarray | None = None,
    comments: Sequence[str] = (),
) -> bytes:
    """A little-endian binary PLY file.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) counter-clockwise from outside.
        normals: (V, 3) unit vectors; smooth ones are computed if None.
        colours: (V, 3) uint8 RGB, or None.
        comments: lines for the header; characters other than printable ASCII are replaced.

    Raises:
        ValueError: see ``check_mesh``.
    """
    vertices, faces = check_mesh(vertices, faces)
    normals = vertex_normals(vertices, faces) if normals is None else normals
    columns = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("nx", "f4"), ("ny", "f4"), ("nz", "f4")]
    values = [*vertices.T, *np.asarray(normals, np.float32).T]
    if colours is not None:
        columns += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
        values += [*np.asarray(colours, np.uint8).T]
    rows = np.empty(len(vertices), [(name, "<" + kind) for name, kind in columns])
    for (name, _), column in zip(columns, values, strict=True):
        rows[name] = column
    triangles = np.empty(len(faces), [("count", "u1"), ("index", "<i4", 3)])
    triangles["count"], triangles["index"] = 3, faces
    kinds = {"f4": "float", "u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {_plain(line)}" for line in ("Troupe; units are metres", *comments)),
        f"element vertex {len(rows)}",
        *(f"property {kinds[kind]} {name}" for name, kind in columns),
        f"element face {len(triangles)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return "\n".join(header).encode("ascii") + rows.tobytes() + triangles.tobytes()


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)
