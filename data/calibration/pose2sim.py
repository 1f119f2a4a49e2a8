"""Pose2Sim calibrations (TOML), read and written.

A table a camera: name, size [width, height], matrix (3 x 3), distortions, rotation (vector, world to camera),
translation (metres), fisheye. A ``[metadata]`` table goes with them; ``up`` in it is an addition of this project,
which other programs ignore.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from data.calibration.fields import (
    LENGTHS,
    Place,
    RawCamera,
    Reading,
    distortion,
    image_size,
    intrinsics,
    numbers,
    parsed,
    rotation,
    rotation_vector,
)
from pipeline.cameras import FISHEYE, RADIAL_TANGENTIAL, Rig
from pipeline.errors import InputError


def read_pose2sim(path: Path) -> Reading:
    content = parsed(path, "TOML", tomllib.loads)
    metadata = content.pop("metadata", {})
    cameras = {key: table for key, table in content.items() if isinstance(table, dict)}
    if not cameras:
        raise InputError(path, "has no table of a camera", "Give a calibration written by Pose2Sim")
    up = np.array([0.0, 0.0, 1.0])
    if isinstance(metadata, dict) and "up" in metadata:
        up = numbers(Place(path), "metadata.up", metadata["up"], [(3,)])
    return Reading([_camera(path, key, table) for key, table in cameras.items()], up=up)


def _camera(path: Path, key: str, table: dict[str, Any]) -> RawCamera:
    place = Place(path, str(table.get("name", key)))
    fisheye = table.get("fisheye", False)
    if not isinstance(fisheye, bool):
        raise place.error("fisheye", f"is {fisheye!r}", "Write true or false")
    allowed = (4,) if fisheye else LENGTHS
    return RawCamera(
        place.camera or "",
        image_size(place, "size", table["size"]) if "size" in table else None,
        intrinsics(place, "matrix", place.get(table, "matrix")),
        rotation(place, "rotation", place.get(table, "rotation")),
        numbers(place, "translation", place.get(table, "translation"), [(3,)]),
        distortion(place, "distortions", table.get("distortions", []), allowed),
        FISHEYE if fisheye else RADIAL_TANGENTIAL,
    )


def write_pose2sim(rig: Rig, path: Path) -> None:
    """Write ``rig`` so that ``read_pose2sim`` gives it back to the last digit of its numbers."""
    lines: list[str] = []
    for camera in rig.cameras:
        # Others' readers expect four coefficients at least.
        coefficients = np.zeros(max(4, len(camera.distortion)))
        coefficients[: len(camera.distortion)] = camera.distortion
        lines += [
            f"[{_text(camera.name)}]",
            f"name = {_text(camera.name)}",
            f"size = {_list(camera.size)}",
            f"matrix = [{', '.join(_list(row) for row in camera.K)}]",
            f"distortions = {_list(coefficients)}",
            f"rotation = {_list(rotation_vector(camera.R))}",
            f"translation = {_list(camera.t)}",
            f"fisheye = {'true' if camera.model == FISHEYE else 'false'}",
            "",
        ]
    lines += ["[metadata]", "adjusted = false", "error = 0.0", f"up = {_list(rig.up)}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _list(values: Any) -> str:
    return "[" + ", ".join(repr(float(v)) for v in values) + "]"


def _text(name: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, but for DEL, which JSON leaves as it is."""
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
