"""Looking into single results: a picture of one frame of any stage, and the tree of an artifact as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.association.identities import select
from pipeline.association.tracks import Tracks
from pipeline.cameras import Camera
from pipeline.keypoints.detections import Detections
from pipeline.quality.drawing import Mesh
from pipeline.quality.markup import printable
from pipeline.quality.overlay import Overlay
from pipeline.segmentation.masks import Masks

if TYPE_CHECKING:
    import h5py

LAYERS: Mapping[str, tuple[str, ...]] = {
    "frames": (),
    "keypoints": ("detections",),
    "association": ("detections", "tracks"),
    "identities": ("detections", "tracks"),
    "untangling": ("detections", "tracks"),
    "bodies": ("tracks", "bodies"),
    "contact": ("tracks", "bodies"),
    "segmentation": ("masks",),
    "overlays": ("detections", "tracks", "bodies"),
}
"""What a stage's picture shows beside the image."""

ATTRIBUTE_CHARACTERS = 160


def stage_picture(
    stage: str,
    frame: int,
    camera: Camera,
    image: np.ndarray | None,
    *,
    detections: Detections | None = None,
    tracks: Tracks | None = None,
    camera_index: int = 0,
    bodies: Callable[[int], Mapping[int, Mesh]] | None = None,
    masks: Masks | None = None,
    person: int | None = None,
    fps: float | None = None,
    scale: float = 1.0,
    compare: bool = False,
) -> np.ndarray:
    """One frame of one camera as a stage left it, RGB.

    Args:
        stage: of ``LAYERS``.
        camera, image: undistorted; without an image the ground is dark.
        detections, tracks, camera_index, bodies, masks, fps, scale: as ``Overlay`` takes them; what the stage does not
            show is ignored, so all may be given.
        person: show this person alone.
        compare: the plain image to the left of the picture.

    Raises:
        ValueError: a stage that has no picture, or a person who is not in the session.
    """
    if stage not in LAYERS:
        raise ValueError(f"stage {stage} has no picture; these have: {', '.join(LAYERS)}")
    if person is not None and tracks is not None and person not in tracks.person_ids:
        known = ", ".join(map(str, tracks.person_ids.tolist())) or "nobody"
        raise ValueError(f"there is no person {person}; there are {known}")
    if person is not None:
        tracks = None if tracks is None else select(tracks, [person])
        everybody = bodies
        bodies = None if everybody is None else lambda n: {i: m for i, m in everybody(n).items() if i == person}
        masks = None if masks is None else masks.of([person])
    shown = LAYERS[stage]
    overlay = Overlay(
        camera,
        detections=detections if "detections" in shown else None,
        tracks=tracks if "tracks" in shown else None,
        camera_index=camera_index,
        bodies=bodies if "bodies" in shown else None,
        masks=masks if "masks" in shown else None,
        fps=fps,
        scale=scale,
    )
    picture = overlay.draw(image, frame)
    return np.hstack([overlay.view.resized(image), picture]) if compare else picture


def encoded_picture(picture: np.ndarray, kind: str = "png", quality: int = 82) -> bytes:
    """A picture (H, W, 3) RGB as a PNG or JPEG file.

    Raises:
        ValueError: another kind.
    """
    if kind not in ("png", "jpeg"):
        raise ValueError(f"pictures are png or jpeg, not {kind}")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpeg" else []
    done, data = cv2.imencode(f".{kind}", np.ascontiguousarray(picture[..., ::-1]), options)
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} cannot be encoded")
    return data.tobytes()


def artifact_tree(file: h5py.File) -> str:
    """Groups and datasets of an open artifact with shapes, types, sizes and attributes, as text for a terminal.

    Links out of the file are named and not followed; names and values cannot steer the terminal.
    """
    lines = [f"{_plain(k)} = {_value(v)}" for k, v in sorted(file.attrs.items())]
    rows = list(_rows(file, ""))
    widths = [max((len(r[k]) for r in rows), default=0) for k in range(3)]
    lines += ["", *("  ".join([*(r[k].ljust(widths[k]) for k in range(3)), r[3]]).rstrip() for r in rows)]
    return "\n".join(lines).strip("\n") + "\n"


def _rows(group: h5py.Group, indent: str, above: tuple[int, ...] = ()) -> Iterator[tuple[str, str, str, str]]:
    """Name, shape, type, and size with attributes, of everything below a group."""
    import h5py

    above = (*above, h5py.h5o.get_info(group.id).addr)
    names = sorted(group)
    for place, name in enumerate(names, 1):
        branch, below = ("└─ ", "   ") if place == len(names) else ("├─ ", "│  ")
        label = f"{indent}{branch}{_plain(name)}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield f"{label} (link to elsewhere, not followed)", "", "", ""
            continue
        item = group[name]
        attributes = "  ".join(f"{_plain(k)}={_value(v)}" for k, v in sorted(item.attrs.items()))
        if isinstance(item, h5py.Group) and h5py.h5o.get_info(item.id).addr in above:
            yield f"{label}/ (a group above, not followed)", "", "", ""
        elif isinstance(item, h5py.Group):
            yield f"{label}/", "", "", attributes
            yield from _rows(item, indent + below, above)
        else:
            shape = " × ".join(map(str, item.shape)) or "one value"
            yield label, shape, str(item.dtype), f"{_size(item)}  {attributes}"


def _size(item: h5py.Dataset) -> str:
    stored, whole = item.id.get_storage_size(), item.size * item.dtype.itemsize
    packed = f", stored as {_bytes(stored)} ({item.compression})" if item.compression else ""
    return _bytes(whole) + packed


def _bytes(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count} B"
        count /= 1000
    return f"{count:.3g} GB"


def _value(value: object) -> str:
    shown = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    shown = _plain(shown)
    return shown if len(shown) <= ATTRIBUTE_CHARACTERS else shown[: ATTRIBUTE_CHARACTERS - 1] + "…"


def _plain(value: object) -> str:
    return " ".join(printable(value).split())
