"""Calibration of the 4D association program: a JSON object of cameras by name.

Each camera holds K (9 numbers, rows first), RT (12, world to camera, metres) or R (9, or 3 as a rotation vector) and
T (3), imgSize (width, height), and optionally distCoeff. The world's z axis points up.
"""

from __future__ import annotations

import json
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
)
from pipeline.errors import InputError


def no_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For json.loads: a key given twice is an error, where JSON itself would keep the last one silently."""
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"{key!r} is given twice")
        out[key] = value
    return out


def read_association4d(path: Path) -> Reading:
    content = parsed(path, "JSON", lambda text: json.loads(text, object_pairs_hook=no_repeated_keys))
    if not isinstance(content, dict) or not content:
        raise InputError(path, "is not a JSON object of cameras", 'Write {"camera": {"K": ..., "RT": ...}, ...}')
    return Reading([_camera(Place(path, str(name)), c) for name, c in content.items()], up=np.array([0.0, 0.0, 1.0]))


def _camera(place: Place, entry: Any) -> RawCamera:
    if not isinstance(entry, dict):
        raise place.error(None, "is not an object with K and RT", "Give each camera its K, RT and imgSize")
    K = intrinsics(place, "K", place.get(entry, "K"))
    if "RT" in entry:
        RT = numbers(place, "RT", entry["RT"], [(3, 4), (4, 4)])
        R, t = rotation(place, "RT", RT[:3, :3]), RT[:3, 3]
    else:
        R = rotation(place, "R", place.get(entry, "RT", "R"))
        t = numbers(place, "T", place.get(entry, "T", "t"), [(3,)])
    size = image_size(place, "imgSize", entry["imgSize"]) if "imgSize" in entry else None
    d = distortion(place, "distCoeff", entry.get("distCoeff", []), LENGTHS)
    return RawCamera(place.camera or "", size, K, R, t, d)
