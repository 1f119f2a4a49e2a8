"""Qualisys Track Manager calibrations (.qca.txt, .xml).

Conventions, as measured on real captures:

* Intrinsics are in 1/64 pixel on the whole sensor, with pixel centres at integers; ``fov_video`` says which part of
  it is stored, its right and bottom inclusive. Distortion coefficients are those of OpenCV for x/z (not scaled by 64).
* Lengths are millimetres. ``transform`` holds the position of the camera, and rows of world-to-camera axes whose x
  points right, y up and z backwards: R = diag(1, -1, -1) r, centre = (x, y, z).
* ``viewrotation`` is how the program turns the picture on screen. The intrinsics and the transform stay those of the
  image as the sensor gives it, which is also how video is stored.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from data.calibration.fields import (
    Place,
    RawCamera,
    Reading,
    intrinsics,
    number,
    numbers,
    parsed,
    rotation,
)
from pipeline.errors import InputError

SUBPIXELS = 64.0
_FROM_QUALISYS_AXES = np.diag([1.0, -1.0, -1.0])


def parse_xml(text: str) -> ET.Element:
    """XML without document type or entities, which is where XML parsers can be attacked."""
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise ValueError("it holds a DOCTYPE or ENTITY declaration, which is refused")
    # The declared encoding no longer applies: the text is decoded already.
    return ET.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))


def read_qualisys(path: Path) -> Reading:
    """Cameras of a Qualisys calibration. Cameras for markers alone and inactive ones are left out."""
    root = parsed(path, "XML", parse_xml)
    calibration = root if root.tag == "calibration" else root.find(".//calibration")
    elements = [] if calibration is None else calibration.findall("cameras/camera")
    if not elements:
        raise InputError(path, "has no <calibration> with <cameras>", "Give a calibration exported from Qualisys QTM")
    calibrated = [e for e in elements if _is_calibrated(e)]
    if not calibrated:
        raise InputError(path, "has no active and calibrated camera", "Calibrate the cameras and export again")
    # A model this reader does not know must not vanish: with no video camera by name, all are taken.
    video = [e for e in calibrated if _films(e)] or calibrated
    return Reading([_camera(path, e) for e in video], metres_per_unit=1e-3, up=np.array([0.0, 0.0, 1.0]))


def _is_calibrated(element: ET.Element) -> bool:
    return element.get("active", "1") != "0" and element.get("calibrated", "true").lower() != "false"


def _films(element: ET.Element) -> bool:
    model = element.get("model", "none").lower()
    return model == "none" or "video" in model or "hybrid" in model


def _camera(path: Path, element: ET.Element) -> RawCamera:
    place = Place(path, element.get("serial", "").strip())
    if not place.camera:
        raise Place(path).error("camera/serial", "is missing", "Every camera needs its serial, which is its name")

    def value(tag: str, key: str, default: float | None = None) -> float:
        child = element.find(tag)
        if child is None or (child.get(key) is None and default is None):
            raise place.error(f"{tag}/{key}", "is missing", "Export the calibration from Qualisys QTM again")
        return number(place, f"{tag}/{key}", child.get(key, default))

    if element.find("fov_video") is not None:
        left, top, right, bottom = (value("fov_video", k) for k in ("left", "top", "right", "bottom"))
    else:
        left, top, right, bottom = (
            value("intrinsic", k) / SUBPIXELS for k in ("sensorMinU", "sensorMinV", "sensorMaxU", "sensorMaxV")
        )
    # Programs that rewrite such files give an exclusive border; image sizes are even, so the parity tells.
    width, height = (round(n) + round(n) % 2 for n in (right - left, bottom - top))
    if width < 2 or height < 2:
        raise place.error("fov_video", f"is empty ({width} x {height})", "Export the calibration again")
    fu, fv, cu, cv, skew = (
        value("intrinsic", key, 0.0 if key == "skew" else None) / SUBPIXELS
        for key in ("focalLengthU", "focalLengthV", "centerPointU", "centerPointV", "skew")
    )
    if fu < 0.1 * max(width, height) or (element.find("fov_video") is None and max(width, height) < 100):
        problem = f"is {fu * SUBPIXELS:g}, which is a focal length in pixels, not in 1/64 pixel"
        remedy = "The file was not written by Qualisys QTM (Theia writes one alike): export the .qca.txt from QTM"
        raise place.error("intrinsic/focalLengthU", problem, remedy)
    K = intrinsics(place, "intrinsic", [[fu, skew, cu - left], [0.0, fv, cv - top], [0.0, 0.0, 1.0]])
    k1, k2, p1, p2, k3 = (
        value("intrinsic", key, 0.0)
        for key in (
            "radialDistortion1", "radialDistortion2", "tangentalDistortion1", "tangentalDistortion2",
            "radialDistortion3",
        )
    )  # fmt: skip
    axes = rotation(place, "transform", [[value("transform", f"r{i}{j}") for j in (1, 2, 3)] for i in (1, 2, 3)])
    centre = numbers(place, "transform", [value("transform", k) for k in "xyz"])
    R = _FROM_QUALISYS_AXES @ axes
    return RawCamera(
        place.camera, (width, height), K, R, -R @ centre, np.array([k1, k2, p1, p2, k3]),
        quarter_turns=_quarter_turns(place, element),
    )  # fmt: skip


def _quarter_turns(place: Place, element: ET.Element) -> int:
    degrees = number(place, "viewrotation", element.get("viewrotation", "0"))
    if degrees % 90 != 0:
        raise place.error("viewrotation", f"is {degrees:g} degrees", "It must be 0, 90, 180 or 270")
    return int(degrees // 90) % 4
