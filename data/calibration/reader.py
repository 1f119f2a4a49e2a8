"""Reading a calibration of any kind: which kind it is, its units, its up direction."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.calibration.association4d import read_association4d
from data.calibration.colmap import model_folder, read_colmap
from data.calibration.easymocap import read_easymocap
from data.calibration.fields import CalibrationWarning, Place, RawCamera, Reading, names_once, read_text
from data.calibration.opencv_yaml import SUFFIXES, read_opencv
from data.calibration.panoptic import read_panoptic
from data.calibration.pose2sim import read_pose2sim
from data.calibration.qualisys import read_qualisys
from pipeline.cameras import Camera, Rig
from pipeline.errors import InputError

READERS: dict[str, Callable[[Path], Reading]] = {
    "opencv": read_opencv,
    "easymocap": read_easymocap,
    "panoptic": read_panoptic,
    "qualisys": read_qualisys,
    "pose2sim": read_pose2sim,
    "association4d": read_association4d,
    "colmap": read_colmap,
}

_FOLDERS = ("opencv", "easymocap", "colmap")
_METRES = {
    "m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "cm": 1e-2, "centimetres": 1e-2,
    "centimeters": 1e-2, "mm": 1e-3, "millimetres": 1e-3, "millimeters": 1e-3, "in": 0.0254, "inches": 0.0254,
    "ft": 0.3048, "feet": 0.3048,
}  # fmt: skip
_FORMATS = ", ".join(READERS)


def read_calibration(
    path: Path,
    format: str | None = None,
    *,
    units: str | float | None = None,
    up: str | None = None,
    size_of: Callable[[str], tuple[int, int]] | None = None,
    apply_viewrotation: bool = False,
) -> Rig:
    """The cameras of a capture.

    Args:
        path: a file, or a folder where the format has several files.
        format: one of ``READERS``; recognised by content when None.
        units: of lengths in the file when they are not the format's own: m, cm, mm, in, ft, or metres per unit as a
            number. A COLMAP world has none of its own.
        up: x, y, z, -x, -y, -z when it is not the format's own, or "cameras" for the mean of the images' own up.
        size_of: gives (width, height) of a camera's images, asked where the file does not hold it (EasyMocap and
            OpenCV files may not).
        apply_viewrotation: for Qualisys, that the images were turned upright as the program shows them; by default
            they are as the sensor gives them.

    Returns:
        Metres, world frame as calibrated, ``up`` as the format, the file or the caller says.

    Raises:
        InputError: naming file, camera and field.

    Warns:
        CalibrationWarning: where unit or up direction had to be assumed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(path, "does not exist", "Check the path of the calibration")
    kind = recognise(path) if format is None else format
    if kind not in READERS:
        raise InputError("calibration_format", f"{kind!r} is not a format", f"Use one of {_FORMATS}")
    file = _only_file(path) if path.is_dir() and kind not in _FOLDERS else path
    reading = _read(kind, file, asked=format is not None)
    names_once(Place(file), [c.name for c in reading.cameras])
    scale = _scale(file, reading, units)
    direction = _up(file, reading, up)
    cameras = [_camera(file, c, scale, size_of) for c in reading.cameras]
    if apply_viewrotation:
        turns = (c.quarter_turns for c in reading.cameras)
        cameras = [_upright(camera, n, direction) for camera, n in zip(cameras, turns, strict=True)]
    return Rig(tuple(cameras), direction)


def _read(kind: str, path: Path, asked: bool) -> Reading:
    try:
        return READERS[kind](path)
    except InputError as error:
        if not asked:
            raise
        try:
            other = recognise(path)
        except InputError:
            raise error from None
        if other == kind:
            raise
        remedy = f"The content looks like {other}: set calibration_format to that"
        raise InputError(error.where, f"cannot be read as {kind}: {error.problem}", remedy) from error


def recognise(path: Path) -> str:
    """The format of a file or folder by what is in it; an error lists what was found where it is not clear."""
    path = Path(path)
    kinds = sorted(_kinds_of_folder(path) if path.is_dir() else _kinds_of_file(path))
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        problem = f"may be any of {', '.join(kinds)}"
        raise InputError(path, problem, "Name the file itself, or say which with calibration_format")
    raise InputError(path, "is not a calibration of a known kind", f"Known kinds are {_FORMATS}; see the README")


def _kinds_of_folder(path: Path) -> set[str]:
    if not any(path.iterdir()):
        raise InputError(path, "is an empty folder", "Check the path of the calibration")
    files = [p for p in sorted(path.iterdir()) if p.is_file()]
    kinds: set[str] = set()
    if model_folder(path) is not None:
        kinds.add("colmap")
    pair = [p for p in files if p.stem in ("intri", "extri") and p.suffix.lower() in SUFFIXES]
    if len(pair) == 2:
        kinds.add("easymocap")
    for file in files:
        if file in pair or file.stem in ("cameras", "images", "points3D", "rigs", "frames"):
            continue
        kinds |= _kinds_of_file(file, quiet=True)
    return kinds


def _kinds_of_file(path: Path, quiet: bool = False) -> set[str]:
    if path.stem in ("cameras", "images") and path.suffix in (".txt", ".bin") and model_folder(path) is not None:
        return {"colmap"}
    try:
        text = read_text(path)
    except InputError:
        if quiet:  # another file of the folder, such as a picture
            return set()
        raise
    head = text.lstrip()[:4096]
    if head.startswith("<"):
        return _kinds_of_xml(text)
    if head.startswith(("{", "[")):
        found = _kinds_of_json(text)
        if found is not None:
            return found
    if path.suffix.lower() in SUFFIXES or head.startswith(("%YAML", "---")):
        if path.stem in ("intri", "extri") and re.search(r"^names\s*:", text, re.MULTILINE):
            return {"easymocap"}
        return {"opencv"} if ":" in text else set()
    if re.search(r"^\s*matrix\s*=", text, re.MULTILINE) and re.search(r"^\s*rotation\s*=", text, re.MULTILINE):
        return {"pose2sim"}
    return set()


def _kinds_of_xml(text: str) -> set[str]:
    kinds = set()
    if re.search(r"<calibration[\s>]", text) and re.search(r"<transform[\s>]", text):
        kinds.add("qualisys")
    if "<opencv_storage" in text[:4096]:
        kinds.add("opencv")
    return kinds


def _kinds_of_json(text: str) -> set[str] | None:
    """None: not JSON (a TOML table begins like a JSON list)."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        # Damaged JSON is still recognised, so that its reader can say what is wrong with it.
        if not text.lstrip().startswith("{"):
            return None
        return {"panoptic"} if '"cameras"' in text else {"association4d"} if '"K"' in text else set()
    if not isinstance(content, dict):
        return set()
    if isinstance(content.get("cameras"), list):
        return {"panoptic"}
    if content and all(isinstance(c, dict) and "K" in c for c in content.values()):
        return {"association4d"}
    return {"association4d"} if '"K"' in text else set()


def _only_file(folder: Path) -> Path:
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and _kinds_of_file(p, quiet=True)]
    if len(files) != 1:
        names = ", ".join(p.name for p in files[:6]) or "none"
        raise InputError(folder, f"holds {len(files)} calibration files ({names})", "Name the file itself")
    return files[0]


def _scale(path: Path, reading: Reading, units: str | float | None) -> float:
    if units is not None:
        scale = _METRES.get(str(units).strip().lower())
        if scale is None:
            try:
                scale = float(units)
            except ValueError:
                scale = float("nan")
        if not 0 < scale < float("inf"):
            raise InputError("calibration units", f"{units!r} is no unit", "Use m, cm, mm, in, ft or metres per unit")
        return scale
    if reading.metres_per_unit is None:
        message = f"{path}: the scale of this world is arbitrary; taken as metres. Set capture.units to metres per unit"
        warnings.warn(message, CalibrationWarning, stacklevel=3)
        return 1.0
    return reading.metres_per_unit


def _up(path: Path, reading: Reading, up: str | None) -> np.ndarray:
    if up is not None and up != "cameras":
        return axis(up)
    if up is None and reading.up is not None:
        if not np.linalg.norm(reading.up) > 0:
            raise InputError(f"{path}, metadata.up", "has no length", "Give an axis, such as [0, 0, 1]")
        return reading.up
    mean = np.mean([-c.R[1] for c in reading.cameras], axis=0)  # image up in the world
    if np.linalg.norm(mean) < 0.3:
        raise InputError(
            "capture.up",
            f"{path} does not say which way is up, and its cameras do not agree on it",
            "Set it to x, y, z, -x, -y or -z",
        )
    mean /= np.linalg.norm(mean)
    nearest = np.zeros(3)
    nearest[np.abs(mean).argmax()] = np.sign(mean[np.abs(mean).argmax()])
    # A world that was set up level has its axis there; a COLMAP world lies anyhow.
    levelled = reading.metres_per_unit is not None and nearest @ mean > np.cos(np.radians(40))
    direction = nearest if levelled else mean
    if up is None:
        told = ", ".join(f"{x:.3g}" for x in direction)
        message = f"{path} does not say which way is up; ({told}) taken from the cameras. Set capture.up to be sure"
        warnings.warn(message, CalibrationWarning, stacklevel=3)
    return direction


def axis(up: str) -> np.ndarray:
    """A signed axis, such as z or -y, as a unit vector (3,)."""
    match = re.fullmatch(r"([+-]?)([xyz])", up.strip().lower())
    if match is None:
        raise InputError("calibration up", f"{up!r} is not an axis", "Use x, y, z, -x, -y, -z or cameras")
    vector = np.zeros(3)
    vector["xyz".index(match[2])] = -1.0 if match[1] == "-" else 1.0
    return vector


def _camera(path: Path, raw: RawCamera, scale: float, size_of: Callable[[str], tuple[int, int]] | None) -> Camera:
    size = raw.size
    if size is None:
        if size_of is None:
            remedy = (
                "Add its width and height to the file (EasyMocap: W_name, H_name; OpenCV: image_width, image_height)"
            )
            raise Place(path, raw.name).error("image size", "is not in the file", remedy)
        size = size_of(raw.name)
    return Camera(raw.name, size, raw.K, raw.R, raw.t * scale, raw.distortion, raw.model)


def _upright(camera: Camera, quarter_turns: int, up: np.ndarray) -> Camera:
    # Programs differ in the sense of the turn; a picture is turned to stand upright.
    turned = [camera.turned(quarter_turns), camera.turned(-quarter_turns)]
    return max(turned, key=lambda c: float(-c.R[1] @ up))
