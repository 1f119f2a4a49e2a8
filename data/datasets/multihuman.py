"""MultiHuman: scans of one to three people, the test set of the DeepMultiCap paper (section 6.1).

A folder a category, named after it (``single``, ``single_occluded``, ``two_natural_inter`` ...: the words ``occluded``,
``natural``, ``clos``, ``three`` and ``single`` tell them apart). In it, as the data set's page describes it:

    obj_all/<scene>/*.obj       the whole scene, objects too
    obj/<scene>_<k>/*.obj       each person alone (or obj/<scene>/*.obj where there is one)
    smplx/<scene>_<k>/*.obj     the fitted SMPL-X bodies

y is up; a scene is brought to people 180 cm tall, as the paper does, by the people's extent along y. Views are rendered
by a ring of cameras: the data set has none of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.surface_scenes import CATEGORIES, NOTHING, SceneBody, ScenePerson, SurfaceScene
from pipeline.cameras import Camera, Rig
from pipeline.errors import InputError
from pipeline.quality.metrics_surface import MEAN_HEIGHT_M
from pipeline.raster import raster_here

_WORDS = {"occluded": "occluded", "natural": "two_natural", "clos": "two_close", "three": "three", "single": "single"}
"""What is in a folder's name, looked for in this order, and its category."""
_SUBJECT = re.compile(r"(?P<scene>.+?)(_(?P<person>\d))?")
SIZE, DISTANCE_M, VIEW_M = 1024, 4.0, 2.4


def open_multihuman(root: Path) -> MultiHuman:
    """Raises InputError for a folder without any category of scenes."""
    return MultiHuman(root)


class MultiHuman:
    """``data.surface_scenes.SceneSource`` over the data set's folder. Scenes are called ``<category>_<scene>``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, Path] = {}
        for folder in sorted(p for p in root.iterdir() if p.is_dir()):
            category = next((c for word, c in _WORDS.items() if word in folder.name.lower()), None)
            if category is not None and (folder / "obj").is_dir():
                self._folders.setdefault(category, folder)
        if not self._folders:
            raise InputError(
                root, "holds no category of MultiHuman (a folder like single/obj)", "Give the data set's own folder"
            )
        self._subjects = {c: _subjects(folder / "obj") for c, folder in self._folders.items()}

    def names(self, category: str) -> Sequence[str]:
        return [f"{category}_{scene}" for scene in sorted(self._subjects.get(category, {}), key=_natural)]

    def digest(self, name: str) -> str:
        """Of names and sizes of the scene's files: hundreds of megabytes are not read for it."""
        category, scene = self._split(name)
        found = hashlib.sha256()
        for subject in self._subjects[category][scene]:
            for part in ("obj", "smplx"):
                for path in sorted((self._folders[category] / part / subject).glob("*")):
                    found.update(f"{part}/{subject}/{path.name} {path.stat().st_size}\n".encode())
        return found.hexdigest()

    def load(self, name: str, views: int) -> SurfaceScene:
        category, scene = self._split(name)
        folder, subjects = self._folders[category], self._subjects[category][scene]
        scans = [_Scan.read(_only_obj(folder / "obj" / s)) for s in subjects]
        whole = folder / "obj_all" / scene
        others = _others(_Scan.read(_only_obj(whole)), scans) if whole.is_dir() else None
        height = float(np.mean([np.ptp(s.vertices[:, 1]) for s in scans]))
        ground = min(s.vertices[:, 1].min() for s in scans)
        middle = np.mean([s.vertices[:, [0, 2]].mean(0) for s in scans], 0)

        def placed(vertices: np.ndarray) -> np.ndarray:
            """Metres, the floor at z = 0, z up, people about the origin."""
            moved = (vertices - [middle[0], ground, middle[1]]) * (MEAN_HEIGHT_M / height)
            return np.column_stack([moved[:, 0], -moved[:, 2], moved[:, 1]])

        scans = [s.at(placed(s.vertices)) for s in scans]
        if others is not None:
            others = others.at(placed(others.vertices))
        people = tuple(
            ScenePerson((s.vertices, s.faces), _body(folder / "smplx" / subject, placed), MEAN_HEIGHT_M)
            for s, subject in zip(scans, subjects, strict=True)
        )
        rig = _ring(views, np.concatenate([s.vertices for s in scans]))
        pictures = [_picture(camera, scans, others) for camera in rig.cameras]
        return SurfaceScene(
            name, category, rig, tuple(p[0] for p in pictures), tuple(p[1] for p in pictures), people,
            NOTHING if others is None else (others.vertices, others.faces),
        )  # fmt: skip

    def _split(self, name: str) -> tuple[str, str]:
        category = next(c for c in CATEGORIES if name.startswith(f"{c}_") and name[len(c) + 1 :] in self._subjects[c])
        return category, name[len(category) + 1 :]


def _subjects(folder: Path) -> dict[str, list[str]]:
    """Scene -> folders of its people, in order. ``20_0`` and ``20_1`` are people of scene ``20``."""
    found: dict[str, list[str]] = {}
    for path in sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: _natural(p.name)):
        found.setdefault(_SUBJECT.fullmatch(path.name)["scene"], []).append(path.name)
    return found


def _natural(name: str) -> tuple:
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)


def _only_obj(folder: Path) -> Path:
    found = sorted(folder.glob("*.obj")) if folder.is_dir() else []
    if len(found) != 1:
        raise InputError(folder, f"holds {len(found)} OBJ files instead of one", "Unpack the data set again")
    return found[0]


def _body(folder: Path, placed) -> SceneBody | None:
    if not folder.is_dir():
        return None
    scan = _Scan.read(_only_obj(folder))
    return SceneBody((placed(scan.vertices), scan.faces))


class _Scan:
    """A mesh with the colours of its vertices or of its texture."""

    def __init__(self, vertices, faces, colours=None, uv=None, texture=None) -> None:
        self.vertices, self.faces, self.colours, self.uv, self.texture = vertices, faces, colours, uv, texture

    @classmethod
    def read(cls, path: Path) -> _Scan:
        import trimesh

        try:
            mesh = trimesh.load_mesh(path, process=False, maintain_order=True)
            vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
        except (OSError, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
            raise InputError(path, f"is no mesh ({error})", "Unpack the data set again") from None
        if not len(faces) or not np.isfinite(vertices).all():
            raise InputError(path, "is an empty mesh or not finite", "Unpack the data set again")
        uv, image = getattr(mesh.visual, "uv", None), getattr(getattr(mesh.visual, "material", None), "image", None)
        if uv is not None and image is not None and len(uv) == len(vertices):
            return cls(vertices, faces, uv=np.asarray(uv, np.float64), texture=np.asarray(image.convert("RGB")))
        colours = getattr(mesh.visual, "vertex_colors", None)
        same = colours is not None and len(colours) == len(vertices)
        return cls(vertices, faces, colours=np.asarray(colours)[:, :3] if same else None)

    def at(self, vertices: np.ndarray) -> _Scan:
        return _Scan(vertices, self.faces, self.colours, self.uv, self.texture)

    def paint(self, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(N, 3) RGB 0..255 at points of triangles with vertices (N, 3) and barycentrics (N, 3)."""
        if self.texture is not None:
            at = np.einsum("nk,nkd->nd", weights, self.uv[corners])
            height, width = self.texture.shape[:2]
            column, row = (at[:, 0] % 1) * width, (1 - at[:, 1] % 1) * height
            return self.texture[np.minimum(row.astype(int), height - 1), np.minimum(column.astype(int), width - 1)]
        if self.colours is not None:
            return np.einsum("nk,nkd->nd", weights, self.colours[corners].astype(float))
        return np.full((len(corners), 3), 170.0)


def _others(whole: _Scan, people: Sequence[_Scan]) -> _Scan | None:
    """What of a whole scene is nobody: triangles that lie off every person (by 2 % of the scene's height)."""
    from pipeline.quality.metrics_surface import NearestSurface

    centres = whole.vertices[whole.faces].mean(1)
    away = np.min([NearestSurface(p.vertices, p.faces)(centres)[0] for p in people], 0)
    faces = whole.faces[away > 0.02 * np.ptp(whole.vertices[:, 1])]
    if not len(faces):
        return None
    used, numbers = np.unique(faces, return_inverse=True)
    pick = [None if a is None else a[used] for a in (whole.colours, whole.uv)]
    return _Scan(whole.vertices[used], numbers.reshape(-1, 3), *pick, whole.texture)


def _ring(views: int, points: np.ndarray) -> Rig:
    """Cameras on a circle round everybody, at breast height, everybody in view."""
    from data.synthetic.cameras import look_at

    centre = 0.5 * (points.min(0) + points.max(0))
    extent = max(VIEW_M, 1.15 * float(np.ptp(points, axis=0).max()))
    away = DISTANCE_M * extent / VIEW_M
    focal = SIZE * (away - 0.5 * extent) / extent
    K = np.array([[focal, 0, (SIZE - 1) / 2], [0, focal, (SIZE - 1) / 2], [0, 0, 1]])
    cameras = []
    for k in range(views):
        angle = 2 * np.pi * k / views - np.pi / 2
        eye = centre + away * np.array([np.cos(angle), np.sin(angle), 0.12])
        cameras.append(Camera(f"view{k}", (SIZE, SIZE), K, *look_at(eye, centre)))
    return Rig(tuple(cameras))


def _picture(camera: Camera, people: Sequence[_Scan], others: _Scan | None) -> tuple[np.ndarray, np.ndarray]:
    """RGB picture and label image of scans, lit evenly with a little shading."""
    scans = [*people, *([] if others is None else [others])]
    starts = np.cumsum([0, *(len(s.vertices) for s in scans)])
    firsts = np.cumsum([0, *(len(s.faces) for s in scans)])
    vertices = np.concatenate([s.vertices for s in scans])
    faces = np.concatenate([s.faces + a for s, a in zip(scans, starts, strict=False)])
    result = raster_here(threads=1).render(vertices, faces, camera)
    picture = np.full((*result.triangle.shape, 3), 128, np.uint8)
    labels = np.zeros(result.triangle.shape, np.uint8)
    for k, scan in enumerate(scans):
        own = (result.triangle >= firsts[k]) & (result.triangle < firsts[k + 1])
        corners = scan.faces[result.triangle[own] - firsts[k]]
        shade = 0.65 + 0.35 * np.abs(result.normal[own] @ camera.R[2])
        picture[own] = (scan.paint(corners, result.barycentric[own]) * shade[:, None]).clip(0, 255)
        if k < len(people):
            labels[own] = k + 1
    return picture, labels
