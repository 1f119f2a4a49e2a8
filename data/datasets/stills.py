"""Pictures of people with known joints or boxes, as the public data sets give them, in one form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.errors import InputError
from pipeline.skeletons import JointSet


@dataclass(frozen=True)
class StillPerson:
    """One person of a picture. What a data set does not tell is NaN, None or empty.

    Attributes:
        box: (4,) x0 y0 x1 y1 pixels.
        keypoints: (J, 2) pixels.
        visible: (J,) bool: labelled as visible, not only guessed.
        joints: (J, 3) metres in the camera's axes.
        universal: (J, 3) metres, the pose on a skeleton of standard size, as MuPoTS-3D and MPI-INF-3DHP score it.
        ignored: counts neither as found nor as missed: crowds, people too small or too hidden to be told.
        head_px: size of the head, which MPII's PCKh counts in.
        outlines: polygons (N, 2) in pixels round the visible person.
    """

    box: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    joints: np.ndarray
    universal: np.ndarray
    ignored: bool = False
    head_px: float = float("nan")
    outlines: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class Still:
    """One picture.

    Attributes:
        name: unique in its data set.
        sequence: what figures are averaged over first; empty where there are none.
        path: an image, or a video.
        frame: number of the picture in a video; None for an image.
        K: (3, 3) intrinsics in pixels, None where not known.
        people: may be empty.
        distortion: of the lens, in OpenCV's order; empty for none. Keypoints are of the picture as it is.
    """

    name: str
    sequence: str
    path: Path
    frame: int | None
    K: np.ndarray | None
    people: tuple[StillPerson, ...]
    distortion: np.ndarray | None = None

    def read(self) -> np.ndarray:
        """The picture as RGB (H, W, 3) uint8. Raises InputError if it is missing or damaged."""
        if self.frame is not None:
            return _from_video(self.path, self.frame)
        from data.stills import BadImage, read_still

        try:
            return read_still(self.path)
        except BadImage as error:
            raise InputError(self.path, str(error), "Unpack the data set again") from None


class StillsDataset(Protocol):
    """A data set of pictures. ``joint_set`` is None where people have boxes alone."""

    joint_set: JointSet | None

    def stills(self) -> Iterator[Still]:
        """Every picture with its people, in a fixed order; annotations are read file by file."""
        ...


def person(
    joint_set: JointSet | None,
    *,
    box: np.ndarray | None = None,
    keypoints: np.ndarray | None = None,
    visible: np.ndarray | None = None,
    joints: np.ndarray | None = None,
    universal: np.ndarray | None = None,
    ignored: bool = False,
    head_px: float = float("nan"),
    outlines: tuple[np.ndarray, ...] = (),
) -> StillPerson:
    """A person with what is known; the box, if not given, is that of the known keypoints."""
    count = 0 if joint_set is None else len(joint_set)
    unknown = np.full((count, 3), np.nan)
    pixels = unknown[:, :2] if keypoints is None else np.asarray(keypoints, np.float64)
    known = np.isfinite(pixels).all(-1)
    if box is None:
        around = [pixels[known].min(0), pixels[known].max(0)] if known.any() else [np.full(4, np.nan)]
        box = np.concatenate(around)
    return StillPerson(
        np.asarray(box, np.float64),
        pixels,
        known if visible is None else np.asarray(visible, bool) & known,
        unknown if joints is None else np.asarray(joints, np.float64),
        unknown if universal is None else np.asarray(universal, np.float64),
        ignored,
        head_px,
        outlines,
    )


def intrinsics_from_pairs(points: np.ndarray, pixels: np.ndarray) -> np.ndarray | None:
    """(3, 3) intrinsics that best project points (N, 3) in camera axes to pixels (N, 2); None from too few."""
    known = np.isfinite(points).all(-1) & np.isfinite(pixels).all(-1)
    if known.sum() < 6:
        return None
    rays = points[known, :2] / points[known, 2:]
    K = np.eye(3)
    for axis in (0, 1):
        design = np.column_stack([rays[:, axis], np.ones(known.sum())])
        (K[axis, axis], K[axis, 2]), *_ = np.linalg.lstsq(design, pixels[known, axis], rcond=None)
    return K


def _from_video(path: Path, frame: int) -> np.ndarray:
    from data.video import open_video

    for _, image in open_video(path).frames([frame]):
        if image is not None:
            return image
    raise InputError(path, f"has no frame {frame}", "Unpack the data set again")
