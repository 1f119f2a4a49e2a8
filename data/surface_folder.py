"""People to be reconstructed by themselves: images, masks, cameras and body meshes in a folder.

Two layouts are read.

The published DeepMultiCap demo's, as it is: ``img/<subject>/<view>.jpg``, ``mask/<subject>/<view>.*``,
``parameter/<subject>/<view>_extrinsic.npy`` and ``_intrinsic.npy``, ``smplx/<subject>/smplx.obj``. Its cameras count
image rows upwards from the bottom, its world's up is +y; where cameras are OpenCV's is told by where the body falls.

Ours: one calibration file ``calibration.*`` of any format that sessions read, ``images/<camera>/<frame>.*``,
``masks/<camera>/<frame>.png`` (0 nobody, k + 1 for person k), ``bodies/person_<k>/<frame>.obj`` or ``.ply``.

Body meshes are in metres, in the world of the cameras, counter-clockwise seen from outside.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.stills import SUFFIXES, BadImage, read_still
from pipeline.cameras import Camera, Rig
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.surface.prepare import Body, View

MESH_SUFFIXES = (".obj", ".ply")
MOST_MESH_BYTES = 1 << 28
Y_UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Subject:
    """One person in one frame: ``name`` is a relative path for the result; ``load`` reads views and body."""

    name: str
    load: Callable[[], tuple[list[View], Body]]


def read_surface_folder(folder: Path) -> list[Subject]:
    """Everybody in a folder, in order of names; nothing is read yet but names and cameras.

    Raises:
        InputError: neither layout, or nobody in it.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "Give a folder of images, masks, cameras and bodies")
    if (folder / "parameter").is_dir():
        found = list(_published(folder))
    elif (folder / "bodies").is_dir():
        found = list(_ours(folder))
    else:
        raise InputError(
            folder, "has neither parameter/ (the published demo's layout) nor bodies/", "See data/surface_folder.py"
        )
    if not found:
        raise InputError(folder, "holds nobody: no body mesh is where one should be", "See data/surface_folder.py")
    return found


# --- the published demo's layout ------------------------------------------------------------------------------------


def _published(folder: Path) -> Iterator[Subject]:
    for parameters in sorted(p for p in (folder / "parameter").iterdir() if p.is_dir()):
        name = parameters.name
        yield Subject(name, lambda name=name: _published_subject(folder, name))


def _published_subject(folder: Path, subject: str) -> tuple[list[View], Body]:
    from pipeline.surface.prepare import View

    body = read_body(folder / "smplx" / subject / "smplx.obj", Y_UP)
    views = []
    for extrinsic in sorted((folder / "parameter" / subject).glob("*_extrinsic.npy"), key=_by_number):
        view = extrinsic.name.removesuffix("_extrinsic.npy")
        image = _image(folder / "img" / subject, view)
        mask = _image(folder / "mask" / subject, view).astype(np.int64).sum(-1) > 127
        camera = _published_camera(extrinsic, view, image.shape[1::-1])
        views.append(View(camera, image, mask))
    if not views:
        raise InputError(folder / "parameter" / subject, "holds no <view>_extrinsic.npy", "Give the cameras")
    upright = [replace(v, camera=_rows_downwards(v.camera)) for v in views]
    # Told by where the body falls: the layout is also used with OpenCV's cameras.
    return max((upright, views), key=lambda some: _agreement(some, body)), body


def _by_number(path: Path) -> tuple[int, str]:
    number = path.name.split("_")[0]
    return (int(number) if number.isdigit() else -1, path.name)


def _published_camera(extrinsic: Path, view: str, size: tuple[int, int]) -> Camera:
    E = _array(extrinsic, (3, 4))
    K = _array(extrinsic.with_name(f"{view}_intrinsic.npy"), (3, 3))
    return Camera(view, size, K, E[:, :3], E[:, 3])


def _array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        value = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read as an array ({error})", "Give the demo's files") from None
    if value.shape != shape or not np.issubdtype(value.dtype, np.number) or not np.isfinite(value).all():
        raise InputError(path, f"holds {value.dtype} {value.shape}, not finite numbers {shape}", "Give a camera")
    return value.astype(np.float64)


def _rows_downwards(camera: Camera) -> Camera:
    """OpenCV's matrix of a stored camera whose rows count upwards."""
    K = camera.K.copy()
    K[1] *= -1
    K[1, 2] += camera.size[1]
    return replace(camera, K=K)


def _agreement(views: Sequence[View], body: Body) -> float:
    """Share of the body's vertices that fall on the masks."""
    shares = []
    for view in views:
        H, W = view.mask.shape
        pixels = np.nan_to_num(view.camera.project(body.vertices), nan=-1).round().astype(np.int64)
        inside = ((pixels >= 0) & (pixels < (W, H))).all(-1)
        x, y = pixels[inside].T
        shares.append(view.mask[y, x].sum() / len(pixels))
    return float(np.mean(shares))


# --- our layout -----------------------------------------------------------------------------------------------------


def _ours(folder: Path) -> Iterator[Subject]:
    rig = _rig(folder)
    for person in sorted((folder / "bodies").glob("person_*")):
        number = person.name.removeprefix("person_")
        if not number.isdigit():
            raise InputError(person, "is not named person_<number>", "Name it as the masks number people")
        for mesh in sorted(p for p in person.iterdir() if p.suffix.lower() in MESH_SUFFIXES):
            yield Subject(
                f"{person.name}/{mesh.stem}",
                lambda mesh=mesh, number=int(number): (
                    _our_views(folder, rig, mesh.stem, number),
                    read_body(mesh, rig.up),
                ),
            )


def _rig(folder: Path) -> Rig:
    from data.calibration.reader import read_calibration

    files = sorted(folder.glob("calibration.*"))
    if len(files) != 1:
        raise InputError(folder, f"holds {len(files)} files calibration.*", "Give one")
    return read_calibration(files[0])


def _our_views(folder: Path, rig: Rig, frame: str, person: int) -> list[View]:
    from pipeline.surface.prepare import View

    views = []
    for camera in rig.cameras:
        if not any((folder / "images" / camera.name / f"{frame}{s}").is_file() for s in SUFFIXES):
            continue
        image = _image(folder / "images" / camera.name, frame)
        labels = _labels(folder / "masks" / camera.name / f"{frame}.png", image.shape[:2])
        if camera.size != image.shape[1::-1]:
            raise InputError(
                folder / "images" / camera.name / frame, f"is {image.shape[1::-1]}, its camera {camera.size}",
                "Give images as calibrated",
            )  # fmt: skip
        own = camera.undistort_image((labels == person + 1).astype(np.uint8)) > 0
        others = camera.undistort_image(((labels > 0) & (labels != person + 1)).astype(np.uint8)) > 0
        views.append(View(camera.undistorted(), camera.undistort_image(image), own, others & ~own))
    if not views:
        raise InputError(folder / "images", f"there is no image of frame {frame}", "Name images as the body meshes")
    return views


# --- files ----------------------------------------------------------------------------------------------------------


def _image(folder: Path, name: str) -> np.ndarray:
    path = next((p for s in SUFFIXES if (p := folder / f"{name}{s}").is_file()), None)
    if path is None:
        raise InputError(folder / name, "there is no such image", f"Give {', '.join(SUFFIXES)}")
    try:
        return read_still(path)
    except BadImage as error:
        raise InputError(path, str(error), "Give it again") from None


def _labels(path: Path, shape: tuple[int, int]) -> np.ndarray:
    import cv2

    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if labels is None or labels.ndim != 2:
        raise InputError(path, "is no grey label image", "Give a PNG: 0 nobody, k + 1 for person k")
    if labels.shape != shape:
        raise InputError(path, f"is {labels.shape[::-1]}, its image {shape[::-1]}", "Give masks of the image's size")
    return labels


def read_body(path: Path, up: np.ndarray) -> Body:
    """A body mesh from an OBJ or PLY file, in a world with ``up``.

    Raises:
        InputError: the file is missing, too large, or no triangle mesh with finite vertices.
    """
    import trimesh

    from pipeline.surface.prepare import Body

    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MOST_MESH_BYTES else b""
        mesh = trimesh.load_mesh(
            io.BytesIO(data), file_type=path.suffix[1:].lower(), process=False, maintain_order=True, skip_materials=True
        )
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    except FileNotFoundError:
        raise InputError(path, "no such file", "Give the fitted body's mesh") from None
    except Exception as error:  # whatever a damaged file makes the parser say
        raise InputError(path, f"cannot be read as a mesh ({error})", "Give an OBJ or PLY file") from None
    if not len(faces) or not np.isfinite(vertices).all():
        raise InputError(path, "holds no triangles, or vertices that are not finite", "Give a body mesh in metres")
    return Body(vertices, faces, mesh_heading(vertices, up), np.asarray(up, np.float64))


def mesh_heading(vertices: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(3,) horizontal direction that a body mesh (V, 3) faces.

    Of an SMPL-X mesh it is told by named vertices (toes before heels, the nose before the ears); of any other by its
    feet, which reach further forward from the ankles than back.
    """
    from nets.body import LICENSED_KEYPOINTS

    up = np.asarray(up, np.float64) / np.linalg.norm(up)

    def level(v: np.ndarray) -> np.ndarray:
        return v - up * (v @ up)

    if len(vertices) == 10475:
        at = {name: vertices[index] for name, index in LICENSED_KEYPOINTS.items()}
        ways = [at[f"{s}_big_toe"] - at[f"{s}_heel"] for s in ("left", "right")]
        ways.append(2 * (at["nose"] - (at["left_ear"] + at["right_ear"]) / 2))
        forward = sum(level(way) for way in ways)
    else:
        height = vertices @ up
        share = (height - height.min()) / max(np.ptp(height), 1e-9)
        feet, ankles = vertices[share < 0.04], vertices[(share > 0.05) & (share < 0.10)]
        forward = level((feet.mean(0) if len(feet) else 0) - (ankles.mean(0) if len(ankles) else 0))
    if np.linalg.norm(forward) < 1e-6:
        forward = level(np.eye(3)[np.abs(up).argmin()])
    return forward / np.linalg.norm(forward)
