"""Clothes, shoes and hair made for the MakeHuman base mesh (``*.mhclo`` with their ``*.obj``), worn by our people.

A garment's vertices are mixtures of three vertices of the base mesh, its helpers included, and an offset that scales
with the figure. So it is fitted to the base mesh first, then carried over to the shaped body by the skin next to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from data.synthetic.clothing import Figure, Garment
from data.synthetic.surfaces import Layer
from nets.meshes import vertex_normals
from pipeline.errors import InputError

MAX_BYTES = 64 << 20
_SCALES = ("x_scale", "y_scale", "z_scale")
_NEIGHBOURS = 24
_COVERED_M = 0.05
"""A file lists what a whole suit hides; of that, each part hides what is this near to it."""


@dataclass(frozen=True)
class Piece:
    """One connected kind of cloth of a garment, fitted to the base mesh.

    Attributes:
        name: of the garment, and which part of it.
        kind: upper, lower, shoes, hair or hat.
        vertices: (V, 3) metres on the base mesh; uv (V, 2); faces (T, 3); weld (V,).
        hides: base-mesh vertices that it covers.
    """

    name: str
    kind: str
    vertices: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    weld: np.ndarray
    hides: np.ndarray

    @property
    def garment(self) -> str:
        """Name of what it is a part of."""
        return self.name.partition("/")[0]

    def __repr__(self) -> str:  # what it is worn as is told by its name
        return f"Piece({self.name!r})"


def read_clothes(folder: Path) -> tuple[Piece, ...]:
    """Everything in a folder and those below it.

    Raises:
        InputError: nothing there, or a file that is damaged or made for another mesh.
    """
    paths = sorted(folder.rglob("*.mhclo")) if folder.is_dir() else []
    if not paths:
        raise InputError(folder, "holds no *.mhclo file", "Give a folder of MakeHuman clothes")
    base = base_mesh()
    return tuple(piece for path in paths for piece in _read(path, base))


@cache
def base_mesh():
    """The MakeHuman base mesh with its helpers (``data.open_body.makehuman.BaseMesh``)."""
    from data.open_body import makehuman

    return makehuman.read_base_mesh(makehuman.data_folder())


def _read(path: Path, base) -> list[Piece]:
    try:
        words, rows, hidden = _parsed(path)
        if words.get("basemesh", "hm08") != "hm08":
            raise InputError(path, f"is made for the mesh {words['basemesh']}", "Give clothes for hm08")
        fitted = _fitted(words, rows, base.vertices)
        corners, uv_corners, uvs = _object(path.parent / Path(words["obj_file"]).name, len(fitted))
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(path, f"is damaged or no clothes file ({error})", "Give MakeHuman clothes") from None
    return _pieces(path, fitted, corners, uv_corners, uvs, hidden, base.vertices)


def _parsed(path: Path) -> tuple[dict[str, str], np.ndarray, np.ndarray]:
    """Words of the head by key, rows (V, 9) three vertices, weights and offsets, and the vertices hidden."""
    words, rows, hidden, part = {}, [], [], "head"
    for line in _text(path).splitlines():
        row = line.split()
        if not row or row[0].startswith("#"):
            continue
        if row[0] in ("verts", "delete_verts"):
            part = row[0]
        elif part == "verts" and row[0].lstrip("-").isdigit():
            if len(row) not in (1, 9):
                raise ValueError(f"{len(row)} values for a vertex")
            first = float(row[0])
            rows.append([first, first, first, 1, 0, 0, 0, 0, 0] if len(row) == 1 else [float(x) for x in row])
        elif part == "delete_verts" and row[0].isdigit():
            hidden += _ranges(row)
        elif part != "delete_verts":  # words may stand between the vertices too
            words[row[0]] = " ".join(row[1:])
    return words, np.array(rows), np.array(hidden, np.int64)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(path, f"is larger than {MAX_BYTES >> 20} MiB", "Give a smaller mesh")
        return path.read_text(errors="replace")
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Put it beside its *.mhclo file") from None


def _ranges(row: list[str]) -> list[int]:
    """Numbers of a line such as ``3 7 - 9 12``."""
    out: list[int] = []
    k = 0
    while k < len(row):
        if k + 2 < len(row) and row[k + 1] == "-":
            out += range(int(row[k]), int(row[k + 2]) + 1)
            k += 3
        else:
            out.append(int(row[k]))
            k += 1
    return out


def _fitted(words: Mapping[str, str], rows: np.ndarray, base: np.ndarray) -> np.ndarray:
    """(V, 3) metres."""
    corners = rows[:, :3].astype(np.int64)
    if len(rows) < 4 or corners.min() < 0 or corners.max() >= len(base) or not np.isfinite(rows).all():
        raise ValueError("vertices that the base mesh lacks")
    scale = np.empty(3)
    for axis, key in enumerate(_SCALES):
        first, second, distance = words[key].split()
        scale[axis] = abs(base[int(first), axis] - base[int(second), axis]) / float(distance)
    return np.einsum("vk,vkd->vd", rows[:, 3:6], base[corners]) + rows[:, 6:] * scale


def _object(path: Path, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles (T, 3) of vertices and of texture coordinates, and those (U, 2)."""
    uvs, corners, uv_corners = [], [], []
    for line in _text(path).splitlines():
        row = line.split()
        if row and row[0] == "vt":
            uvs.append((float(row[1]), float(row[2])))
        elif row and row[0] == "f":
            ends = [c.split("/") for c in row[1:]]
            for k in range(1, len(ends) - 1):
                corners.append([int(ends[j][0]) - 1 for j in (0, k, k + 1)])
                uv_corners.append([int(ends[j][1]) - 1 for j in (0, k, k + 1)])
    corners, uv_corners, uvs = np.array(corners), np.array(uv_corners), np.array(uvs)
    if corners.min() < 0 or corners.max() >= count or uv_corners.max() >= len(uvs):
        raise ValueError(f"{path.name} does not fit")
    return corners, uv_corners, uvs


def _pieces(path: Path, fitted, corners, uv_corners, uvs, hidden, base: np.ndarray) -> list[Piece]:
    """A suit falls into what is worn above and below; other garments stay whole."""
    pairs, faces = np.unique(np.stack([corners.ravel(), uv_corners.ravel()], 1), axis=0, return_inverse=True)
    faces, points = faces.reshape(-1, 3), fitted[pairs[:, 0]]
    ends = np.concatenate([corners[:, :2], corners[:, 1:]]).T
    _, island = connected_components(
        sparse.coo_matrix((np.ones(ends.shape[1]), tuple(ends)), (len(fitted),) * 2), directed=False
    )
    where = str(path.parent).lower() + path.stem.lower()
    kind = next((k for k, word in (("hair", "hair"), ("shoes", "shoe"), ("hat", "fedora"), ("hat", "hat"))
                 if word in where.rsplit("/", 2)[-2] or word in path.stem.lower()), "suit")  # fmt: skip
    if kind == "suit":
        middle = np.array([fitted[island == k, 1].mean() for k in range(island.max() + 1)])
        part = np.where(middle > 0.15, 0, 1)[island][pairs[:, 0]]
        kinds = ("upper", "lower")
    else:
        part, kinds = np.zeros(len(pairs), int), (kind,)
    out = []
    for number, name in enumerate(kinds):
        mine = faces[(part[faces] == number).all(1)]
        if not len(mine):
            continue
        used, renumbered = np.unique(mine, return_inverse=True)
        weld = np.unique(pairs[used, 0], return_inverse=True)[1]
        beneath = hidden[cKDTree(points[used]).query(base[hidden])[0] < _COVERED_M] if len(hidden) else hidden
        out.append(Piece(f"{path.stem}/{name}", name, points[used], uvs[pairs[used, 1]] % 1.0001,
                         renumbered.reshape(-1, 3), weld, beneath))  # fmt: skip
    return out


def worn_piece(figure: Figure, piece: Piece, arrays: Mapping[str, np.ndarray]) -> Garment:
    """A piece on an unposed, shaped body of the open model."""
    base = base_mesh().vertices[arrays["troupe_base_vertices"]]
    body = figure.vertices
    distance, near = cKDTree(base).query(piece.vertices, k=_NEIGHBOURS)
    share = 1 / (distance[:, :8] + 0.004) ** 2
    share /= share.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(near)), 8)
    binding = sparse.csr_matrix((share.ravel(), (rows, near[:, :8].ravel())), (len(near), len(body)))
    turn = _turns(base[near], body[near])
    offset = np.einsum("vij,vj->vi", turn, piece.vertices - binding @ base)
    at = binding @ body + offset
    normals = vertex_normals(body, figure.skin.weld[figure.skin.faces])
    nearest = cKDTree(body).query(at)[1]
    # Cloth that would be under the skin is lifted out of it.
    depth = ((at - body[nearest]) * normals[nearest]).sum(1)
    offset = offset + np.maximum(0.004 - depth, 0)[:, None] * normals[nearest] * (depth > -0.03)[:, None]
    sheet = Layer(piece.kind, binding, offset, piece.uv, piece.faces, piece.weld)
    inner = body[nearest] - 0.004 * normals[nearest] - binding @ body
    covered = np.isin(arrays["troupe_base_vertices"], piece.hides)
    return Garment(sheet.closed_on(inner), np.where(covered, 0.1, -0.1)[figure.skin.weld])


def _turns(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(V, 3, 3) rotations that best take neighbourhoods (V, K, 3) to others (Kabsch 1976)."""
    a, b = before - before.mean(1, keepdims=True), after - after.mean(1, keepdims=True)
    u, _, v = np.linalg.svd(np.einsum("vki,vkj->vij", a, b))
    flip = np.sign(np.linalg.det(u) * np.linalg.det(v))
    u[:, :, 2] *= flip[:, None]
    return np.einsum("vij,vjk->vki", u, v)
