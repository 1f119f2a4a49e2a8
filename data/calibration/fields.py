"""What every calibration reader shares: reading text with limits, and checking numbers as they come in.

Errors are InputError and name the file, the camera and the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cameras import RADIAL_TANGENTIAL
from pipeline.errors import InputError

MAX_BYTES = 64 << 20
ROTATION_TOLERANCE = 1e-2
"""Largest entry of R Rᵀ − I that is taken for rounding and repaired; files with three decimals stay below it."""

LENGTHS = (4, 5, 8, 12, 14)
"""Numbers of coefficients that OpenCV writes for a radial-tangential lens."""

_CHECK_FORMAT = "Check that the file is a calibration and that calibration_format names its kind"


class CalibrationWarning(UserWarning):
    """Something in a calibration had to be assumed; the rig is usable if the assumption holds."""


@dataclass
class RawCamera:
    """A camera as a file gives it: already x_cam = R x_world + t with OpenCV axes, lengths in the file's unit.

    ``size`` is None where the format need not hold it.
    """

    name: str
    size: tuple[int, int] | None
    K: np.ndarray
    R: np.ndarray
    t: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    model: str = RADIAL_TANGENTIAL
    quarter_turns: int = 0  # by how many clockwise quarter turns the maker's program shows the images


@dataclass
class Reading:
    """A whole file: its cameras and what the format says of unit and up direction (None: it does not say)."""

    cameras: list[RawCamera]
    metres_per_unit: float | None = 1.0
    up: np.ndarray | None = None


@dataclass(frozen=True)
class Place:
    """Where a value stands, for messages."""

    path: Path
    camera: str | None = None

    def error(self, key: str | None, problem: str, remedy: str) -> InputError:
        where = str(self.path)
        if self.camera is not None:
            where += f", camera {self.camera!r}"
        if key is not None:
            where += f", {key}"
        return InputError(where, problem, remedy)

    def get(self, mapping: Mapping[str, Any], *keys: str) -> Any:
        """The value of the first key that is there."""
        for key in keys:
            if key in mapping:
                return mapping[key]
        known = ", ".join(map(repr, list(mapping)[:12]))
        raise self.error(keys[0], f"is missing (there are {known})", "Add it, or export the calibration again")


def read_bytes(path: Path) -> bytes:
    """The file's bytes, with errors a user understands."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(path, f"is {size >> 20} MB, too large for a calibration", _CHECK_FORMAT)
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check the path and its permissions") from error


def read_text(path: Path) -> str:
    """The file as text (UTF-8, with or without a byte order mark)."""
    data = read_bytes(path)
    if not data.strip():
        raise InputError(path, "is empty", "Export the calibration again")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, f"is not text (byte {error.start} is not UTF-8)", _CHECK_FORMAT) from error
    if "\0" in text:
        raise InputError(path, "is not text (it holds zero bytes)", _CHECK_FORMAT)
    return text


def numbers(place: Place, key: str, value: Any, shapes: Sequence[tuple[int, ...]] = ()) -> np.ndarray:
    """``value`` (nested lists, numbers or numerals) as float64, finite and of one of ``shapes``.

    An array whose number of entries fits a shape is brought to it, rows first; with no shapes it is made flat.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        problem = f"holds something that is not a number or rows of unequal length: {_short(value)}"
        raise place.error(key, problem, "Write plain numbers") from error
    if not np.isfinite(array).all():
        raise place.error(key, "holds a value that is not finite (NaN or infinity)", "Calibrate this camera again")
    if not shapes:
        return array.reshape(-1)
    for shape in shapes:
        if array.size == np.prod(shape):
            return array.reshape(shape)
    wanted = " or ".join("x".join(map(str, s)) for s in shapes)
    raise place.error(key, f"has {array.size} numbers, not {wanted}", "Give a matrix of that size")


def number(place: Place, key: str, value: Any) -> float:
    return float(numbers(place, key, value, [()]))


def image_size(place: Place, key: str, value: Any) -> tuple[int, int]:
    """(width, height): two positive whole numbers (1920.0 will do)."""
    size = numbers(place, key, value, [(2,)])
    if np.any(size < 1) or np.any(size > 65536) or np.any(np.abs(size - np.round(size)) > 1e-6):
        raise place.error(key, f"is {size.tolist()}, not a width and a height in pixels", "Give the size of the images")
    return round(float(size[0])), round(float(size[1]))


def intrinsics(place: Place, key: str, value: Any) -> np.ndarray:
    """A (3, 3) camera matrix in pixels, upper triangular with 1 in the corner."""
    K = numbers(place, key, value, [(3, 3)])
    if abs(K[2, 0]) + abs(K[2, 1]) > 1e-6 and abs(K[0, 2]) + abs(K[1, 2]) < 1e-6:
        raise place.error(key, "is transposed: the principal point stands in the last row", "Transpose the matrix")
    if K[2, 2] == 0 or np.any(np.abs(K[2, :2]) > 1e-6 * abs(K[2, 2])):
        raise place.error(key, f"has the last row {K[2].tolist()}, not 0 0 1", "Give a camera matrix in pixels")
    K = K / K[2, 2]
    if min(K[0, 0], K[1, 1]) <= 1e-6 or abs(np.linalg.det(K)) < 1e-9:
        problem = f"is singular or flips an axis: focal lengths {K[0, 0]:g} and {K[1, 1]:g}"
        raise place.error(key, problem, "Both focal lengths must be positive, in pixels")
    if abs(K[1, 0]) > 1e-6 * K[0, 0]:
        raise place.error(key, f"has {K[1, 0]:g} below the diagonal", "Give an upper triangular camera matrix")
    return K


def rotation(place: Place, key: str, value: Any) -> np.ndarray:
    """A (3, 3) rotation from a matrix or a rotation vector; rounding is repaired, anything worse refused."""
    R = numbers(place, key, value, [(3, 3), (3,)])
    if R.shape == (3,):
        return rotation_from_vector(R)
    off = np.abs(R @ R.T - np.eye(3)).max()
    if off > ROTATION_TOLERANCE:
        problem = f"is not a rotation: R times its transpose differs from the identity by {off:.3g}"
        raise place.error(key, problem, "Give an orthonormal matrix or a rotation vector in radians")
    if np.linalg.det(R) < 0:
        raise place.error(
            key,
            "is mirrored: its determinant is -1",
            "One axis of the world or of the camera has the wrong sign: export with a right-handed world, "
            "camera axes x right, y down, z forward",
        )
    u, _, vt = np.linalg.svd(R)  # the nearest rotation
    return u @ vt


def rotation_from_vector(vector: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) in radians to a matrix (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    half = np.sinc(angle / (2 * np.pi))  # sin(angle/2) / (angle/2), also at zero
    return np.eye(3) + np.sinc(angle / np.pi) * skew + 0.5 * half**2 * skew @ skew


def rotation_vector(R: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) to its vector in radians, of length at most pi; accurate at pi as well.

    Through the unit quaternion of the largest component (Shepperd 1978).
    """
    d = np.array([1 + R[0, 0] - R[1, 1] - R[2, 2], 1 - R[0, 0] + R[1, 1] - R[2, 2],
                  1 - R[0, 0] - R[1, 1] + R[2, 2], 1 + np.trace(R)])  # fmt: skip
    i = int(np.argmax(d))
    a = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    if i == 3:
        q = np.append(a, d[3])
    else:
        q = np.append(R[i] + R[:, i], a[i])
        q[i] = d[i]
    q = q / np.linalg.norm(q)
    if q[3] < 0:
        q = -q
    sine = float(np.linalg.norm(q[:3]))
    if sine < 1e-12:
        return 2 * q[:3]
    return q[:3] * (2 * np.arctan2(sine, q[3]) / sine)


def distortion(place: Place, key: str, value: Any, allowed: Sequence[int]) -> np.ndarray:
    """Distortion coefficients, as many as one of ``allowed``; an empty list is no distortion."""
    coefficients = numbers(place, key, value)
    if len(coefficients) not in (0, *allowed):
        counts = ", ".join(map(str, allowed))
        raise place.error(key, f"has {len(coefficients)} coefficients, not {counts}", "Check the lens model")
    if np.abs(coefficients).max(initial=0) > 1e6:
        raise place.error(key, f"holds {np.abs(coefficients).max():g}", "Coefficients are for x/z, not for pixels")
    if len(coefficients) == 14 and np.any(coefficients[12:]):
        raise place.error(key, "describes a tilted sensor, which is not supported", "Calibrate without the tilt")
    return coefficients


def names_once(place: Place, names: Sequence[str]) -> None:
    """Refuse repeated and empty camera names, and those that would leave their folder as file names."""
    seen: set[str] = set()
    for name in names:
        if not name or name in {".", ".."} or any(c in name for c in "/\\\0\n"):
            raise place.error("name", f"{name!r} cannot be a camera name", "Use a name that can be a file name")
        if name in seen:
            raise place.error("name", f"{name!r} is given twice", "Give every camera its own name")
        seen.add(name)


def parsed(path: Path, kind: str, parse: Callable[[str], Any]) -> Any:
    """``parse`` applied to the file's text; a syntax error names the file and keeps the parser's line number."""
    text = read_text(path)
    try:
        return parse(text)
    except RecursionError as error:
        raise InputError(path, f"is nested too deeply for {kind}", _CHECK_FORMAT) from error
    except Exception as error:  # each parser has its own error classes; all mean the same to the user
        message = " ".join(str(error).split())[:200]
        raise InputError(path, f"is not valid {kind} ({message})", _CHECK_FORMAT) from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
