"""Where bodies go through each other or through themselves, measured on their meshes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.skeletons import SMPLX55

if TYPE_CHECKING:
    from nets.body import BodyModel

SAMPLE_M = 0.03
"""One vertex in every cube of this size watches for contact."""
TOUCH_M = 0.004
"""Flesh gives way: shallower than this is touching."""
DEEPEST_M = 0.12
"""What is deeper has gone astray; how deep it is does not say where it came from."""


@dataclass(frozen=True)
class Touches:
    """N watching vertices of one body that are inside something: where they should be pushed.

    Attributes:
        points: (N,) numbers of watching vertices.
        normals: (N, 3) unit directions out.
        depths: (N,) metres along them to the surface.
        own: (N,) bool, inside another part of the same body.
    """

    points: np.ndarray
    normals: np.ndarray
    depths: np.ndarray
    own: np.ndarray

    @classmethod
    def none(cls) -> Touches:
        return cls(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0), np.zeros(0, bool))

    @classmethod
    def joined(cls, parts: list[Touches]) -> Touches:
        """Of a vertex inside several things, the deepest."""
        every = [np.concatenate([getattr(p, f) for p in parts]) for f in ("points", "normals", "depths", "own")]
        order = np.lexsort((-every[2], every[0]))
        first = order[np.unique(every[0][order], return_index=True)[1]]
        return cls(*(values[first] for values in every))


class Watch:
    """Vertices that watch for contact, and the closed parts of a body that they may run into."""

    def __init__(self, model: BodyModel) -> None:
        template = model.template.cpu().numpy().astype(np.float64)
        weights = model.weights.cpu().numpy()
        self.faces = model.faces.cpu().numpy()
        owner = weights.argmax(1)
        self.vertices = _spread(template, _outer_skin(self.faces, len(template)))
        limb = np.array([_LIMB[name] for name in SMPLX55.joints])[owner]
        self._closed = {part: _Closed.of(self.faces, limb == part) for part in range(5)}
        # Near a joint skin folds on itself by nature: of a limb, what lies beyond elbow and knee watches the rest.
        beyond = np.isin(owner, [k for k, n in enumerate(SMPLX55.joints) if _is_beyond(n)])
        of_watch = limb[self.vertices]
        self._watched = {
            part: np.flatnonzero(beyond[self.vertices] & (of_watch != part) & (of_watch > 0)) for part in range(5)
        }

    def between(self, mine: np.ndarray, other: np.ndarray) -> Touches:
        """Of my vertices (V, 3), the watching ones inside the body ``other`` (V, 3)."""
        return _inside(mine[self.vertices], np.arange(len(self.vertices)), other, self.faces, own=False)

    def within(self, body: np.ndarray) -> Touches:
        """Lower arms and legs inside the trunk or other limbs."""
        found = []
        for part, rows in self._watched.items():
            vertices, faces = self._closed[part].mesh(body)
            found.append(_inside(body[self.vertices[rows]], rows, vertices, faces, own=True))
        return Touches.joined(found)


_LIMB = {
    name: (1 if name.startswith("left") else 2) + (2 if any(p in name for p in ("hip", "knee", "ankle", "foot")) else 0)
    if name.startswith(("left", "right")) and not any(p in name for p in ("collar", "eye"))
    else 0
    for name in SMPLX55.joints
}
"""0 trunk and head, 1 left arm, 2 right arm, 3 left leg, 4 right leg."""


def _is_beyond(name: str) -> bool:
    return _LIMB[name] > 0 and not any(p in name for p in ("hip", "shoulder"))


@dataclass(frozen=True)
class _Closed:
    """A part of the mesh with its open rims closed: ``faces`` over all vertices and one more a rim."""

    faces: np.ndarray
    rims: list[np.ndarray]

    @classmethod
    def of(cls, faces: np.ndarray, part: np.ndarray) -> _Closed:
        own = faces[part[faces].all(1)]
        edges = np.concatenate([own[:, [0, 1]], own[:, [1, 2]], own[:, [2, 0]]])
        known = {(int(a), int(b)) for a, b in edges}
        following: dict[int, int] = {b: a for a, b in known if (b, a) not in known}
        rims, caps, centre = [], [], len(part)
        while following:
            start, rim = next(iter(following)), []
            at = start
            while at in following:
                rim.append(at)
                at = following.pop(at)
            caps += [(rim[k], rim[(k + 1) % len(rim)], centre + len(rims)) for k in range(len(rim))]
            rims.append(np.array(rim))
        return cls(np.concatenate([own, np.array(caps, own.dtype).reshape(-1, 3)]), rims)

    def mesh(self, body: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([body, *(body[rim].mean(0)[None] for rim in self.rims)]), self.faces


def _outer_skin(faces: np.ndarray, count: int) -> np.ndarray:
    """(V,) bool: the largest connected piece (not eyeballs and teeth)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    label = connected_components(csr_matrix((np.ones(len(a)), (a, b)), (count, count)), directed=False)[1]
    return label == np.bincount(label).argmax()


def _spread(template: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """One usable vertex a cube of ``SAMPLE_M``."""
    rows = np.flatnonzero(usable)
    cubes = np.floor(template[rows] / SAMPLE_M).astype(int)
    return rows[np.unique(cubes, axis=0, return_index=True)[1]]


def _inside(points: np.ndarray, numbers: np.ndarray, vertices: np.ndarray, faces: np.ndarray, own: bool) -> Touches:
    """Which points (N, 3) are inside a closed mesh by more than ``TOUCH_M``."""
    used = vertices[np.unique(faces)]
    near = np.flatnonzero(((points > used.min(0)) & (points < used.max(0))).all(1))
    if not len(near):
        return Touches.none()
    import open3d

    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(np.float32(vertices), np.uint32(faces))
    query = np.float32(points[near])
    inside = scene.compute_occupancy(query, nsamples=3, nthreads=1).numpy() > 0
    if not inside.any():
        return Touches.none()
    closest = scene.compute_closest_points(query[inside], nthreads=1)["points"].numpy().astype(np.float64)
    out = closest - points[near[inside]]
    depth = np.linalg.norm(out, axis=1)
    good = (depth > TOUCH_M) & (depth < DEEPEST_M)
    normals = out[good] / depth[good, None]
    return Touches(numbers[near[inside]][good], normals, depth[good], np.full(int(good.sum()), own))


def overlaps(
    watch: Watch, bodies: Mapping[int, np.ndarray], whose: Collection[int] | None = None
) -> dict[int, Touches]:
    """Touches of each of several bodies (id -> vertices (V, 3)), or of those in ``whose``, with the others and with
    itself."""
    boxes = {i: (v.min(0), v.max(0)) for i, v in bodies.items()}
    found = {}
    for i, mine in bodies.items():
        if whose is not None and i not in whose:
            continue
        near = [
            j for j in bodies if j != i and (boxes[i][0] < boxes[j][1]).all() and (boxes[j][0] < boxes[i][1]).all()
        ]
        found[i] = Touches.joined([watch.within(mine), *(watch.between(mine, bodies[j]) for j in near)])
    return found
