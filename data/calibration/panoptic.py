"""CMU Panoptic Studio calibrations (JSON): centimetres, the world's y axis points down.

``cameras`` is a list; each has name, type (vga, hd, kinect-color), resolution, K, distCoef [k1 k2 p1 p2 k3], R and t
(world to camera).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from data.calibration.association4d import no_repeated_keys
from data.calibration.fields import (
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


def read_panoptic(path: Path) -> Reading:
    content = parsed(path, "JSON", lambda text: json.loads(text, object_pairs_hook=no_repeated_keys))
    cameras = content.get("cameras") if isinstance(content, dict) else None
    if not isinstance(cameras, list) or not cameras:
        raise InputError(path, 'has no list "cameras"', "Give the calibration file of a Panoptic Studio sequence")
    raw = [_camera(path, index, entry) for index, entry in enumerate(cameras)]
    return Reading(raw, metres_per_unit=1e-2, up=np.array([0.0, -1.0, 0.0]))


def _camera(path: Path, index: int, entry: Any) -> RawCamera:
    if not isinstance(entry, dict):
        raise Place(path).error(f"cameras[{index}]", "is not an object", "Give each camera as an object")
    name = str(Place(path, f"number {index}").get(entry, "name"))
    place = Place(path, name)
    return RawCamera(
        name,
        image_size(place, "resolution", entry["resolution"]) if "resolution" in entry else None,
        intrinsics(place, "K", place.get(entry, "K")),
        rotation(place, "R", place.get(entry, "R")),
        numbers(place, "t", place.get(entry, "t"), [(3,)]),
        distortion(place, "distCoef", entry.get("distCoef", []), (4, 5, 8)),
    )
