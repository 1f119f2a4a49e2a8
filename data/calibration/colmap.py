"""COLMAP sparse models, text or binary: cameras and images (others of its files are not read).

Poses are world to camera with OpenCV axes (quaternion w x y z, then translation). Pixel centres are at halves, so
half a pixel is taken off the principal point. Unit and up direction of a COLMAP world are arbitrary.

Images are named for the camera (cam01.jpg) or stand in its folder (cam01/000123.jpg); of several images in one folder
all must have one pose, since the cameras of a session stand still.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from data.calibration.fields import Place, RawCamera, Reading, image_size, numbers, read_bytes, read_text
from pipeline.cameras import FISHEYE, RADIAL_TANGENTIAL
from pipeline.errors import InputError


@dataclass(frozen=True)
class LensModel:
    """A COLMAP camera model: its parameters in order; ``f`` stands for both focal lengths."""

    name: str
    parameters: str
    model: str = RADIAL_TANGENTIAL


MODELS = {
    0: LensModel("SIMPLE_PINHOLE", "f cx cy"),
    1: LensModel("PINHOLE", "fx fy cx cy"),
    2: LensModel("SIMPLE_RADIAL", "f cx cy k1"),
    3: LensModel("RADIAL", "f cx cy k1 k2"),
    4: LensModel("OPENCV", "fx fy cx cy k1 k2 p1 p2"),
    5: LensModel("OPENCV_FISHEYE", "fx fy cx cy k1 k2 k3 k4", FISHEYE),
    6: LensModel("FULL_OPENCV", "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
    8: LensModel("SIMPLE_RADIAL_FISHEYE", "f cx cy k1", FISHEYE),
    9: LensModel("RADIAL_FISHEYE", "f cx cy k1 k2", FISHEYE),
    14: LensModel("SIMPLE_FISHEYE", "f cx cy", FISHEYE),
    15: LensModel("FISHEYE", "fx fy cx cy", FISHEYE),
}
"""Those that OpenCV's two lens models hold exactly, by COLMAP's numbers."""

UNREPRESENTABLE = {
    7: "FOV", 10: "THIN_PRISM_FISHEYE", 11: "RAD_TAN_THIN_PRISM_FISHEYE", 12: "SIMPLE_DIVISION", 13: "DIVISION",
    16: "EUCM", 17: "EQUIRECTANGULAR",
}  # fmt: skip

_REMEDY = "Give a sparse model of COLMAP, as text or binary"
_LENS_REMEDY = "Undistort the images in COLMAP (its model is PINHOLE then), or calibrate with OPENCV"


@dataclass(frozen=True)
class Lens:
    size: tuple[int, int]
    K: np.ndarray
    distortion: np.ndarray
    model: str


@dataclass(frozen=True)
class Pose:
    image: str
    lens: int
    R: np.ndarray
    t: np.ndarray


def model_folder(path: Path) -> Path | None:
    """The folder that holds cameras and images: ``path``, the folder it is in, or the sparse model below it."""
    folder = path if path.is_dir() else path.parent
    candidates = [folder] if path.is_file() else [folder, folder / "sparse", folder / "sparse" / "0", folder / "0"]
    for candidate in candidates:
        pairs = [(candidate / f"cameras{s}", candidate / f"images{s}") for s in (".bin", ".txt")]
        if any(cameras.is_file() and images.is_file() for cameras, images in pairs):
            return candidate
    return None


def read_colmap(path: Path) -> Reading:
    folder = model_folder(path)
    if folder is None:
        raise InputError(path, "has no cameras and images files of one kind (.txt or .bin)", _REMEDY)
    # COLMAP itself prefers the binary files; a text file that is named is meant.
    text = path.suffix == ".txt" or not ((folder / "cameras.bin").is_file() and (folder / "images.bin").is_file())
    suffix = ".txt" if text else ".bin"
    cameras_path, images_path = folder / f"cameras{suffix}", folder / f"images{suffix}"
    lenses = (_lenses_of_text if text else _lenses_of_binary)(cameras_path)
    poses = (_poses_of_text if text else _poses_of_binary)(images_path)
    if not poses:
        raise InputError(images_path, "holds no image with a pose", _REMEDY)
    return Reading(_cameras(images_path, lenses, poses), metres_per_unit=None, up=None)


def _cameras(images_path: Path, lenses: dict[int, Lens], poses: Sequence[Pose]) -> list[RawCamera]:
    in_folders = _one_folder_a_camera([p.image for p in poses])
    groups: dict[str, list[Pose]] = {}
    for pose in sorted(poses, key=lambda p: p.image):
        image = PurePosixPath(pose.image)
        groups.setdefault(image.parent.name if in_folders else image.stem, []).append(pose)
    cameras = []
    for name, group in groups.items():
        place = Place(images_path, name)
        first = group[0]
        if first.lens not in lenses:
            raise place.error("CAMERA_ID", f"{first.lens} is not among the cameras", _REMEDY)
        centres = np.stack([-p.R.T @ p.t for p in group])
        # In a world without unit, "the same place" is measured against the distance from its origin.
        apart = np.linalg.norm(centres - centres[0], axis=1).max() / max(np.linalg.norm(first.t), 1e-9)
        turned = max(np.arccos(np.clip((np.trace(p.R @ first.R.T) - 1) / 2, -1, 1)) for p in group)
        if apart > 0.02 or turned > 0.02 or any(p.lens != first.lens for p in group):
            problem = f"has {len(group)} images of different poses or lenses ({group[0].image}, {group[-1].image}, ...)"
            remedy = "Cameras must stand still: keep one image a camera, named for it or in its folder"
            raise place.error(None, problem, remedy)
        lens = lenses[first.lens]
        cameras.append(RawCamera(name, lens.size, lens.K, first.R, first.t, lens.distortion, lens.model))
    return cameras


def _one_folder_a_camera(images: Sequence[str]) -> bool:
    """Whether cameras are told apart by folder: every image stands in one, and more than one is used."""
    parents = {PurePosixPath(i).parent.name for i in images}
    return "" not in parents and len(parents) > 1


def _lens(place: Place, model: LensModel, size: Any, values: Any) -> Lens:
    names = model.parameters.split()
    numbers(place, "PARAMS", values, [(len(names),)])
    p = dict(zip(names, map(float, values), strict=True))
    fx, fy = p.get("fx", p.get("f", 0.0)), p.get("fy", p.get("f", 0.0))
    if min(fx, fy) <= 0:
        raise place.error("PARAMS", f"has focal lengths {fx:g} and {fy:g}", "Both must be positive")
    K = np.array([[fx, 0.0, p["cx"] - 0.5], [0.0, fy, p["cy"] - 0.5], [0.0, 0.0, 1.0]])
    order = "k1 k2 k3 k4" if model.model == FISHEYE else "k1 k2 p1 p2 k3 k4 k5 k6"
    d = np.array([p.get(key, 0.0) for key in order.split()])
    return Lens(image_size(place, "WIDTH, HEIGHT", size), K, d, model.model)


def _pose(place: Place, image: str, lens: int, values: Any) -> Pose:
    q, t = np.split(numbers(place, "QW..TZ", values, [(7,)]), [4])
    if not 0.9 < np.linalg.norm(q) < 1.1:
        problem = f"is not of unit length ({np.linalg.norm(q):.3g})"
        raise place.error("QW QX QY QZ", problem, "A rotation is a unit quaternion, w first")
    w, x, y, z = q / np.linalg.norm(q)
    R = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return Pose(image, lens, R, t)


def _lines(path: Path) -> list[str]:
    """Lines without comments. Empty lines stay: in images.txt they are an image's empty list of points."""
    return [line.strip() for line in read_text(path).splitlines() if not line.lstrip().startswith("#")]


def _lenses_of_text(path: Path) -> dict[int, Lens]:
    by_name = {m.name: m for m in MODELS.values()}
    lenses: dict[int, Lens] = {}
    for line in filter(None, _lines(path)):
        words = line.split()
        place = Place(path, words[0])
        if len(words) < 5 or not words[0].isdecimal():
            raise InputError(path, f"has the line {line[:60]!r}", "A line is CAMERA_ID MODEL WIDTH HEIGHT PARAMS")
        if words[1] not in by_name:
            raise place.error("MODEL", f"{words[1]} cannot be held exactly", _LENS_REMEDY)
        lenses[int(words[0])] = _lens(place, by_name[words[1]], words[2:4], words[4:])
    return lenses


def _poses_of_text(path: Path) -> list[Pose]:
    poses: list[Pose] = []
    may_be_points = False
    for line in _lines(path):
        # An image has two lines: its pose, and its points, which may be empty (some programs leave it out).
        if not line or (may_be_points and _is_points(line)):
            may_be_points = False
            continue
        words = line.split(maxsplit=9)
        if len(words) < 10 or not words[8].isdecimal():
            problem, remedy = f"has the line {line[:60]!r}", "An image is two lines: ID QW..TZ CAMERA_ID NAME; points"
            raise InputError(path, problem, remedy)
        poses.append(_pose(Place(path, words[9]), words[9], int(words[8]), words[1:8]))
        may_be_points = True
    return poses


def _is_points(line: str) -> bool:
    words = line.split()
    try:
        float(words[-1])
    except ValueError:
        return False
    return len(words) % 3 == 0


class _Bytes:
    """Little-endian values one after another, with an error where the file ends early."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, read_bytes(path), 0

    def take(self, layout: str) -> tuple[Any, ...]:
        end = self.at + struct.calcsize("<" + layout)
        if end > len(self.data):
            raise InputError(self.path, f"ends early (at byte {len(self.data)} of at least {end})", _REMEDY)
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at = end
        return values

    def name(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise InputError(self.path, "ends early (within the name of an image)", _REMEDY)
        raw, self.at = self.data[self.at : end], end + 1
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise InputError(self.path, "holds an image name that is not text", _REMEDY) from error

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise InputError(self.path, f"ends early (at byte {len(self.data)} of at least {self.at})", _REMEDY)

    def records(self, read: Callable[[], Any]) -> list[Any]:
        """As many as the count before them says, up to the last byte."""
        (count,) = self.take("Q")
        out = [read() for _ in range(count)]
        if self.at != len(self.data):
            raise InputError(self.path, f"goes on for {len(self.data) - self.at} bytes after its records", _REMEDY)
        return out


def _lenses_of_binary(path: Path) -> dict[int, Lens]:
    data = _Bytes(path)

    def record() -> tuple[int, Lens]:
        number, model, width, height = data.take("IiQQ")
        place = Place(path, str(number))
        if model not in MODELS:
            name = UNREPRESENTABLE.get(model, f"number {model}")
            raise place.error("MODEL", f"{name} cannot be held exactly", _LENS_REMEDY)
        values = data.take(f"{len(MODELS[model].parameters.split())}d")
        return number, _lens(place, MODELS[model], (width, height), values)

    return dict(data.records(record))


def _poses_of_binary(path: Path) -> list[Pose]:
    data = _Bytes(path)

    def record() -> Pose:
        _, *values, lens = data.take("I7dI")
        image = data.name()
        (points,) = data.take("Q")
        data.skip(24 * points)  # x, y as doubles and the number of the 3D point
        return _pose(Place(path, image), image, lens, values)

    return data.records(record)
