"""Marks on images for people who look for mistakes: detections, skeletons, bodies, labels. Images are RGB uint8."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.cameras import Camera
from pipeline.meshes.colours import person_colour
from pipeline.raster import Raster, projected_window
from pipeline.skeletons import SKEL19, JointSet

_SHIFT = 4  # OpenCV draws at sixteenths of a pixel
_FAR = 20000  # pixels; its fixed-point coordinates overflow further out
NOBODY = (205, 205, 205)
RESIDUAL = (255, 40, 40)
Mesh = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class View:
    """A picture as drawn: ``camera`` for the image as captured, undistorted, and for the size it is drawn at."""

    captured: Camera
    drawn: Camera

    @classmethod
    def at_scale(cls, camera: Camera, scale: float) -> View:
        """``camera``'s image, ``scale`` times as large."""
        width, height = camera.size
        return cls(camera, camera.scaled((max(1, round(width * scale)), max(1, round(height * scale)))))

    @property
    def unit(self) -> float:
        """Thickness of a thin line in pixels, by the size of the picture."""
        return max(self.drawn.size) / 960

    def resized(self, image: np.ndarray | None) -> np.ndarray:
        """A copy of the image at the drawn size; a dark one if there is none."""
        width, height = self.drawn.size
        if image is None:
            return np.full((height, width, 3), 40, np.uint8)
        if image.shape[:2] == (height, width):
            return np.ascontiguousarray(image).copy()
        smaller = image.shape[1] > width
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)

    def points(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of the captured image to those of the drawn one."""
        scale = np.array(self.drawn.size) / np.array(self.captured.size)
        return (np.asarray(pixels, np.float64) + 0.5) * scale - 0.5


def draw_limbs(
    picture: np.ndarray,
    points: np.ndarray,
    joints: JointSet,
    colour: tuple[int, int, int],
    *,
    thickness: float = 1.0,
    radius: float = 2.0,
    hollow: np.ndarray | None = None,
    sides: bool = False,
) -> None:
    """Draw a skeleton onto ``picture``.

    Args:
        points: (J, 2) pixels of the picture; NaN is left out.
        joints: which joints these are.
        colour: RGB.
        thickness: of limbs, pixels.
        radius: of joints, pixels.
        hollow: (J,) bool, joints drawn as rings, because they were not observed.
        sides: draw the left side lighter and the right side darker, so that a swap is seen.
    """
    usable = np.isfinite(points).all(-1) & (np.abs(np.nan_to_num(points)) < _FAR).all(-1)
    fixed = np.round(np.where(usable[:, None], points, 0) * (1 << _SHIFT)).astype(int)
    tones = [_tone(colour, name) if sides else colour for name in joints.joints]
    width = max(1, round(thickness))
    for a, b in joints.limb_indices.tolist():
        if usable[a] and usable[b]:
            tone = tones[b] if tones[b] != colour else tones[a]
            cv2.line(picture, fixed[a].tolist(), fixed[b].tolist(), tone, width, cv2.LINE_AA, _SHIFT)
    size = max(1, round(radius * (1 << _SHIFT)))
    for j in np.flatnonzero(usable).tolist():
        fill = width if hollow is not None and hollow[j] else cv2.FILLED
        cv2.circle(picture, fixed[j].tolist(), size, tones[j], fill, cv2.LINE_AA, _SHIFT)


def draw_residuals(picture: np.ndarray, detected: np.ndarray, projected: np.ndarray, unit: float) -> None:
    """Red lines from detected to projected joints (N, 2), pixels of the picture."""
    good = (np.abs(np.nan_to_num(np.concatenate([detected, projected], -1), nan=_FAR)) < _FAR).all(-1)
    lines = np.round(np.stack([detected[good], projected[good]], 1) * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(picture, list(lines), False, RESIDUAL, max(1, round(1.5 * unit)), cv2.LINE_AA, _SHIFT)


def draw_bodies(picture: np.ndarray, view: View, people: Mapping[int, Mesh], raster: Raster, opacity: float) -> None:
    """Blend shaded bodies, each in its person's colour and with an outline, onto ``picture``.

    Bodies hide one another as they do in the scene. Meshes are taken to be closed: only the side that faces the camera
    is rendered, at half the picture's size, which nobody sees at this opacity.
    """
    if not people:
        return
    camera = _half(view.drawn)
    vertices, faces, owner = _facing(people, camera)
    window = projected_window(camera, vertices) if len(faces) else None
    if window is None:
        return
    seen = raster.render(vertices, faces, camera, window=window)
    person = np.where(seen.hit, owner[seen.triangle], 0).astype(np.uint8)
    light = 0.45 + 0.65 * np.abs(seen.normal @ camera.R[2].astype(np.float32))  # lit from where the camera looks
    palette = np.array([(0, 0, 0), *map(person_colour, people)], np.float32)
    x0, y0, x1, y1 = window
    target = picture[2 * y0 : 2 * y1, 2 * x0 : 2 * x1]
    height, width = target.shape[:2]
    # Colours are weighted by cover before they are enlarged, so that no background seeps in at the rim.
    shaded = _doubled(np.minimum(palette[person] * light[..., None], 255).astype(np.uint8), width, height)
    cover = _doubled(255 * seen.hit.astype(np.uint8), width, height)
    ground = cv2.multiply(target, cv2.merge([cv2.subtract(255, cv2.multiply(cover, opacity))] * 3), scale=1 / 255)
    blended = cv2.addWeighted(shaded, opacity, ground, 1.0, 0)
    outline, number = _outline(person, width, height)
    blended[outline] = palette[number[outline]].astype(np.uint8)
    target[:] = blended


def draw_masks(
    picture: np.ndarray, labels: np.ndarray, hidden: Mapping[int, np.ndarray], people: Sequence[int], opacity: float
) -> None:
    """Tint each person's pixels in their colour, outline them, and hatch where they are hidden.

    Args:
        labels: (H, W) uint8 of the captured image, k + 1 for ``people[k]``.
        hidden: (H, W) bool by person id.
    """
    height, width = picture.shape[:2]
    labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    palette = np.array([(0, 0, 0), *map(person_colour, people)], np.float32)
    inside = labels > 0
    picture[inside] = ((1 - opacity) * picture[inside] + opacity * palette[labels[inside]]).astype(np.uint8)
    row, column = np.mgrid[:height, :width]
    period = max(4, round(max(width, height) / 160))
    stripes = (row + column) % (2 * period) < max(1, period // 3)
    for person, behind in hidden.items():
        small = cv2.resize(behind.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        picture[small & stripes] = person_colour(person)
    rim = labels != cv2.erode(labels, np.ones((3, 3), np.uint8))
    rim |= labels != cv2.dilate(labels, np.ones((3, 3), np.uint8))
    picture[rim & inside] = palette[labels[rim & inside]].astype(np.uint8)


def draw_tag(
    picture: np.ndarray, text: str, at: tuple[float, float], unit: float, colour: tuple[int, int, int] = (30, 30, 30)
) -> None:
    """Write ``text`` on a plate of ``colour`` whose lower left corner is ``at``, kept inside the picture."""
    text = ascii_of(text)
    scale, line, pad = 0.5 * unit, max(1, round(1.1 * unit)), round(5 * unit)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
    x = int(np.clip(at[0], 0, max(0, picture.shape[1] - width - 2 * pad)))
    y = int(np.clip(at[1], height + below + pad, picture.shape[0] - 1))
    cv2.rectangle(picture, (x, y - height - below - pad), (x + width + 2 * pad, y), colour, cv2.FILLED)
    ink = (255, 255, 255) if np.dot(colour, (0.3, 0.59, 0.11)) < 150 else (0, 0, 0)
    origin = (x + pad, y - below // 2 - pad)
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, line, cv2.LINE_AA)


def tag_place(points: np.ndarray, picture: np.ndarray, unit: float) -> tuple[float, float] | None:
    """Where to write a person's number: over the highest of points (J, 2) in the picture; None if none is in it."""
    with np.errstate(invalid="ignore"):
        points = points[((points >= 0) & (points < picture.shape[1::-1])).all(-1)]
    if not len(points):
        return None
    return float(points[:, 0].mean() - 8 * unit), float(points[:, 1].min() - 14 * unit)


def draw_person(
    picture: np.ndarray, view: View, person_id: int, joints: np.ndarray, confidence: np.ndarray
) -> None:
    """Project a person's SKEL-19 joints (19, 3) onto ``picture``, with the number; unobserved joints are rings."""
    points = view.drawn.project(joints)
    colour, unit = person_colour(person_id), view.unit
    draw_limbs(picture, points, SKEL19, (20, 20, 20), thickness=4.5 * unit, radius=0.5)
    draw_limbs(
        picture, points, SKEL19, colour,
        thickness=2.5 * unit, radius=3.2 * unit, hollow=~(np.asarray(confidence) > 0), sides=True,
    )  # fmt: skip
    if (place := tag_place(points, picture, unit)) is not None:
        draw_tag(picture, str(person_id), place, unit, colour)


def ascii_of(text: str) -> str:
    """``text`` in the letters that OpenCV can draw: accents are dropped, anything else becomes a question mark."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in plain if not unicodedata.combining(c))


def _tone(colour: tuple[int, int, int], joint: str) -> tuple[int, int, int]:
    towards, share = {"left": (255, 0.4), "right": (0, 0.35)}.get(joint.split("_")[0], (0, 0.0))
    return tuple(round(c + share * (towards - c)) for c in colour)


def _half(camera: Camera) -> Camera:
    """The camera whose every pixel covers exactly two by two pixels of ``camera``."""
    K = camera.K.copy()
    K[:2] *= 0.5
    K[:2, 2] -= 0.25
    width, height = camera.size
    return replace(camera, size=((width + 1) // 2, (height + 1) // 2), K=K)


def _facing(people: Mapping[int, Mesh], camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All vertices, the triangles whose outside ``camera`` sees, and whose they are (1 for the first of ``people``)."""
    parts, owners, start = [], [], 0
    for number, (vertices, faces) in enumerate(people.values(), 1):
        a, b, c = camera.project(vertices).astype(np.float32)[faces].swapaxes(0, 1)
        turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        parts.append(faces[turn < 0] + start)  # counter-clockwise, seen in an image whose y points down
        owners.append(np.full(len(parts[-1]), number, np.uint8))
        start += len(vertices)
    return np.concatenate([v for v, _ in people.values()]), np.concatenate(parts), np.concatenate(owners)


def _outline(person: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the person changes from one pixel to the next, on either side, and whose outline it is."""
    large = cv2.resize(person, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    number = cv2.dilate(large, np.ones((2, 2), np.uint8))
    return (number != cv2.erode(large, np.ones((2, 2), np.uint8)))[:height, :width], number[:height, :width]


def _doubled(values: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(values, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)[:height, :width]
