"""Whether a rig makes sense by itself and against its images: what `check` says before a long run.

A wrong convention in a calibration gives numbers that look fine one by one. Together they tell: the cameras of a
capture look at one place, a few metres away, and most of them stand upright.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pipeline.cameras import FISHEYE, Camera, Rig

Size = tuple[int, int]

PLAUSIBLE_M = (0.5, 50.0)
"""Between the two cameras farthest apart, metres: outside is a warning."""
POSSIBLE_M = (0.05, 200.0)
"""Outside is an error: no capture of people is like that, wrong units are."""
_ON_THEIR_SIDE = (
    "If cameras are mounted on their side this is right, and people are looked for in their images turned upright."
)
_MISALIGNED = np.cos(np.radians(60.0))


@dataclass(frozen=True)
class Finding:
    """Something inconsistent. ``camera`` is None where it concerns the rig as a whole."""

    severity: Literal["error", "warning"]
    camera: str | None
    message: str
    remedy: str


def check_rig(rig: Rig) -> list[Finding]:
    """What is inconsistent within the calibration itself, errors first."""
    findings = [f for camera in rig.cameras for f in _check_camera(camera)]
    if any(f.severity == "error" for f in findings):
        return findings  # the checks below need sound cameras
    if len(rig) < 2:
        return [*findings, Finding("error", None, f"the rig has {len(rig)} camera", "Triangulation needs two or more")]
    findings += _check_distances(rig)
    volume = _check_common_volume(rig)
    findings += volume
    if not any(f.severity == "error" for f in volume):  # a wrong rotation would make up look wrong as well
        findings += _check_up(rig)
    return sorted(findings, key=lambda f: f.severity)


def check_images(rig: Rig, sizes: Mapping[str, Size | None], counts: Mapping[str, int]) -> list[Finding]:
    """The rig against its images.

    Args:
        sizes: (width, height) of the images by camera; None, or no entry, where there are none.
        counts: number of frames by camera, where known.
    """
    findings = []
    present = {name for name, size in sizes.items() if size is not None}
    spare = sorted(present - set(rig.names))
    for camera in rig.cameras:
        if camera.name not in present:
            near = difflib.get_close_matches(camera.name, spare, 1, 0.5)
            hint = f"; there is {near[0]!r}, which has no camera" if near else ""
            remedy = "Add its video, name both alike, or take the camera out of the calibration"
            findings.append(Finding("error", camera.name, f"has no video or images{hint}", remedy))
        else:
            findings += _check_size(camera, sizes[camera.name])
    for name in spare:
        near = difflib.get_close_matches(name, rig.names, 1, 0.5)
        remedy = (
            f"Name it as in the calibration ({near[0] if near else ', '.join(rig.names[:6])}), or move it elsewhere"
        )
        findings.append(Finding("error", name, "has a video or images but is not in the calibration", remedy))
    findings += _check_counts({n: counts[n] for n in rig.names if n in counts and n in present})
    return sorted(findings, key=lambda f: f.severity)


def fit_to_images(rig: Rig, sizes: Mapping[str, Size | None]) -> tuple[Rig, list[Finding]]:
    """The rig for images that were scaled or turned upright after the calibration, with what was done as warnings.

    Sizes of the calibrated aspect ratio scale the camera; width and height swapped turn it by the quarter turn that
    puts the rig's up direction at the top of the image. Others are left for ``check_images`` to refuse.
    """
    cameras, findings = [], []
    for camera in rig.cameras:
        size = sizes.get(camera.name)
        was = f"{camera.size[0]} x {camera.size[1]}"
        if size is None or size == camera.size:
            cameras.append(camera)
            continue
        if _same_shape(camera.size, size[::-1]) and not _same_shape(camera.size, size):
            camera = max((camera.turned(n) for n in (1, 3)), key=lambda c: float(-c.R[1] @ rig.up))
            message = f"calibrated for {was}, images are {size[0]} x {size[1]}: the camera was turned upright"
            findings.append(Finding("warning", camera.name, message, "Check the overlay of this camera"))
        if size != camera.size and _same_shape(camera.size, size):
            message = f"calibrated for {was}, images are {size[0]} x {size[1]}: the camera was scaled"
            findings.append(Finding("warning", camera.name, message, "Check that the images were not cropped"))
            camera = camera.scaled(size)
        cameras.append(camera)
    return replace(rig, cameras=tuple(cameras)), findings


def upright_turns(rig: Rig) -> dict[str, int]:
    """By how many clockwise quarter turns each camera's images stand most upright (0 for cameras that look straight
    up or down): detectors of people need them so. Use with ``Camera.turned`` and ``np.rot90(image, -turns)``.
    """
    out = {}
    for camera in rig.cameras:
        right, down = camera.R[0] @ rig.up, -camera.R[1] @ rig.up
        # Up in the image, as (right, up); one clockwise turn takes left to the top.
        scores = [down, -right, -down, right]
        level = np.hypot(right, down) < 0.3 or scores[0] > np.hypot(right, down) * 0.6
        out[camera.name] = 0 if level else int(np.argmax(scores))
    return out


def _check_camera(camera: Camera) -> list[Finding]:
    def finding(severity: Literal["error", "warning"], message: str, remedy: str) -> Finding:
        return Finding(severity, camera.name, message, remedy)

    values = np.concatenate([camera.K.ravel(), camera.R.ravel(), camera.t, camera.distortion])
    if not np.isfinite(values).all():
        return [finding("error", "holds values that are not finite", "Calibrate this camera again")]
    if np.abs(camera.R @ camera.R.T - np.eye(3)).max() > 1e-3:
        return [finding("error", "its rotation is not orthonormal", "Export the calibration again")]
    if np.linalg.det(camera.R) < 0:
        remedy = "One axis has the wrong sign: camera axes are x right, y down, z forward in a right-handed world"
        return [finding("error", "its rotation is mirrored (determinant -1)", remedy)]
    out = []
    width, height = camera.size
    focal, centre = np.diag(camera.K)[:2], camera.K[:2, 2]
    if focal.min() < 0.15 * max(camera.size) or focal.max() > 30 * max(camera.size):
        message = f"focal length {focal[0]:.0f} x {focal[1]:.0f} px for images of {width} x {height}"
        out.append(finding("warning", message, "Check that the camera matrix is for this image size, in pixels"))
    if focal.max() > 1.2 * focal.min():
        message = f"focal lengths differ, {focal[0]:.0f} and {focal[1]:.0f} px"
        out.append(finding("warning", message, "Check that pixels are square and the matrix is for these images"))
    if np.any(np.abs(centre / camera.size - 0.5) > 0.2):
        message = f"principal point ({centre[0]:.0f}, {centre[1]:.0f}) far from the middle of {width} x {height}"
        remedy = "Check that the camera matrix is for this image size, and that width and height are not swapped"
        out.append(finding("warning", message, remedy))
    if camera.model != FISHEYE and _folds(camera):
        message = "its distortion folds over within the image: two rays meet in one pixel"
        out.append(finding("warning", message, "Check the coefficients and their order (k1 k2 p1 p2 k3)"))
    return out


def _folds(camera: Camera) -> bool:
    """Whether some pixel of the border is reached by no ray."""
    width, height = camera.size
    border = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float64)
    return not np.isfinite(camera.undistort_points(border)).all()


def _check_distances(rig: Rig) -> list[Finding]:
    centres = rig.centres
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    span = float(apart.max())
    findings = []
    if not PLAUSIBLE_M[0] <= span <= PLAUSIBLE_M[1]:
        severity = "warning" if POSSIBLE_M[0] <= span <= POSSIBLE_M[1] else "error"
        units = _guess_units(span)
        remedy = f"Set the calibration's units{f' to {units}' if units else ', or metres per unit'}"
        findings.append(Finding(severity, None, f"the cameras are up to {span:.3g} m apart", remedy))
    near = np.argwhere(np.triu(apart < 1e-4 * max(span, 1e-12), 1))
    for i, j in near[:5]:
        message = f"stands in the same place as {rig.names[i]}"
        remedy = "One pose may have been copied: calibrate this camera again or take it out"
        findings.append(Finding("warning", rig.names[j], message, remedy))
    return findings


def _guess_units(span: float) -> str | None:
    """The unit that a span of ``span`` "metres" really was in, if one makes it some metres."""
    for unit, scale in (("mm", 1e-3), ("cm", 1e-2)):
        if 1.5 <= span * scale <= 30:
            return unit
    return None


def _check_common_volume(rig: Rig) -> list[Finding]:
    """Cameras that do not see the place the others look at; a convention that would explain it is named."""
    sees, _ = _view_of_focus(rig)
    if sees.all():
        return []
    advice = _better_convention(rig)
    blind = [n for n, s in zip(rig.names, sees, strict=True) if not s]
    if advice is not None or sees.sum() < 2:
        message = f"the cameras do not look at a common place (elsewhere look {', '.join(blind)})"
        general = "Check the poses: they are world to camera, with axes x right, y down, z forward"
        return [Finding("error", None, message, advice or general)]
    remedy = "Check its pose, or take it out of the calibration"
    return [Finding("warning", n, "does not see the place the other cameras look at", remedy) for n in blind]


def _better_convention(rig: Rig) -> str | None:
    """Advice for the convention under which every camera sees one place and stands upright; the sharpest if several.

    One bad pose is not cured by another convention for all cameras.
    """
    found = []
    for convention, advice in _CONVENTIONS:
        other = replace(rig, cameras=tuple(map(convention, rig.cameras)))
        sees, spread = _view_of_focus(other)
        upright = _uprightness(other)
        if sees.all() and upright.min() > 0.5 and upright.mean() > 0.7:
            found.append((spread, advice))
    return min(found)[1] if found else None


def _transposed(camera: Camera) -> Camera:
    return replace(camera, R=camera.R.T)


def _inverted(camera: Camera) -> Camera:
    return replace(camera, R=camera.R.T, t=-camera.R.T @ camera.t)


def _turned_with_centre(camera: Camera) -> Camera:
    """As if t were the camera's position."""
    return replace(camera, t=-camera.R @ camera.t)


def _from_graphics_axes(camera: Camera) -> Camera:
    flip = np.diag([1.0, -1.0, -1.0])
    return replace(camera, R=flip @ camera.R, t=flip @ camera.t)


_CONVENTIONS: tuple[tuple[Callable[[Camera], Camera], str], ...] = (
    (_inverted, "The poses are camera to world: invert them (R transposed, t = -R^T t)"),
    (_transposed, "The rotations are transposed: write R world to camera, row by row"),
    (_turned_with_centre, "The translations are camera positions: write t = -R position"),
    (_from_graphics_axes, "Camera axes are those of OpenGL (y up, z backwards): flip the last two rows of R and t"),
)


def _focus(rig: Rig) -> np.ndarray:
    """(3,) the point nearest to all optical axes in front of their cameras, robustly."""
    directions = np.stack([c.R[2] for c in rig.cameras])
    weights = np.ones(len(rig))
    span = np.linalg.norm(rig.centres - rig.centres.mean(0), axis=1).max()
    middle = (rig.centres + 1.5 * span * directions).mean(0)
    point = middle
    for _ in range(10):
        across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
        # The slight pull to what lies in front decides where parallel or opposed axes leave the depth open.
        A = np.einsum("c,cij->ij", weights, across) + 1e-3 * weights.sum() * np.eye(3)
        b = np.einsum("c,cij,cj->i", weights, across, rig.centres) + 1e-3 * weights.sum() * middle
        point = np.linalg.solve(A, b)
        distance = np.linalg.norm(np.einsum("cij,cj->ci", across, point - rig.centres), axis=1)
        weights = 1.0 / (distance + 0.05 * np.median(distance) + 1e-9)
        weights /= weights.max()
    return point


def _view_of_focus(rig: Rig) -> tuple[np.ndarray, float]:
    """Who sees the focus, (C,) bool: it is in front and within an image a half wider on each side.

    And how sharp it is: the median angle between optical axis and focus, radians.
    """
    point = _focus(rig)
    sees, angles = [], []
    for camera in rig.cameras:
        x_cam = camera.to_camera(point)
        angles.append(np.arctan2(np.linalg.norm(x_cam[:2]), x_cam[2]))
        if x_cam[2] < 1e-3 * np.linalg.norm(camera.centre - rig.centres.mean(0)) + 1e-9:
            sees.append(False)
            continue
        pixel = camera.undistorted().project(point)
        off = np.abs(pixel - (np.array(camera.size) - 1) / 2) / camera.size
        sees.append(bool(np.all(off < 1.0)) or camera.model == FISHEYE)
    return np.array(sees), float(np.median(angles))


def _uprightness(rig: Rig) -> np.ndarray:
    """(C,) cosine of the angle between the top of the image and up."""
    return np.stack([-c.R[1] for c in rig.cameras]) @ rig.up


def _check_up(rig: Rig) -> list[Finding]:
    """Up by the images (most cameras stand upright) against the rig's own."""
    # With transposed rotations every camera still looks at the origin of the world, from a wrong side and tilted.
    upright = _uprightness(rig)
    if len(rig) > 2 and upright.min() < 0.5:
        advice = _better_convention(rig)
        if advice is not None:
            return [Finding("error", None, "cameras are tilted at odds with each other", advice)]
    image_up = np.stack([-c.R[1] for c in rig.cameras])
    forward = np.stack([c.R[2] for c in rig.cameras])
    mean = image_up.mean(0)
    length = float(np.linalg.norm(mean))
    if length > 0.3 and mean @ rig.up / length >= _MISALIGNED:
        return []
    if length <= 0.3:
        if np.all(np.abs(forward @ rig.up) > 0.8):
            return []  # all look straight up or down: their images have no up
        remedy = f"{_ON_THEIR_SIDE} Else check the rotations"
        return [Finding("warning", None, "the images of the cameras do not agree on which way is up", remedy)]
    nearest = np.abs(mean).argmax()
    name = f"{'-' if mean[nearest] < 0 else ''}{'xyz'[nearest]}"
    remedy = f"{_ON_THEIR_SIDE} Else set capture.up to {name}"
    angle = np.degrees(np.arccos(np.clip(mean @ rig.up / length, -1, 1)))
    message = f"up is {angle:.0f} degrees from the top of the images"
    # Cameras on their side around a scene disagree among themselves; if they agree while looking in different
    # directions, it is up that is wrong.
    agree = bool(np.all(image_up @ mean / length > np.cos(np.radians(50))))
    spread = float((forward @ forward.T).min())
    return [Finding("error" if agree and spread < 0.5 else "warning", None, message, remedy)]


def _check_size(camera: Camera, size: Size) -> list[Finding]:
    if tuple(size) == camera.size:
        return []
    message = f"images are {size[0]} x {size[1]}, calibrated for {camera.size[0]} x {camera.size[1]}"
    if tuple(size) == camera.size[::-1]:
        remedy = (
            "Width and height are swapped: the video was turned (portrait); turn it back or the calibration with it"
        )
    elif _same_shape(camera.size, size):
        remedy = "Use the videos at the size they were calibrated at, or scale the camera matrix with them"
    else:
        remedy = "Use the videos this calibration was made for, uncropped"
    return [Finding("error", camera.name, message, remedy)]


def _same_shape(a: Size, b: Size) -> bool:
    """Equal aspect ratio, to the rounding of the smaller one to whole pixels (and even numbers)."""
    scale = np.array(b) / np.array(a)
    return bool(abs(scale[0] - scale[1]) * min(max(a), max(b)) <= 2.0 * max(1.0, scale.max()))


def _check_counts(counts: Mapping[str, int]) -> list[Finding]:
    findings = [
        Finding("error", name, "has no frames", "Check its video or image folder")
        for name, n in counts.items()
        if n < 1
    ]
    lengths = {n for n in counts.values() if n > 0}
    if len(lengths) > 1:
        shortest, longest = min(lengths), max(lengths)
        short = [name for name, n in counts.items() if n == shortest]
        message = f"lengths differ: {shortest} frames ({', '.join(short[:4])}) to {longest}"
        remedy = "Frames that a camera lacks are left out for it; set frames.stop or check the synchronisation"
        findings.append(Finding("warning", None, message, remedy))
    return findings
