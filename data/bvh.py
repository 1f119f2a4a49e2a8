"""Motion files in Biovision's BVH format: a tree of joints and their places in every frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.errors import InputError

MAX_BYTES = 256 << 20
_REMEDY = "Give a BVH motion file"


@dataclass(frozen=True)
class Motion:
    """A recorded motion.

    Attributes:
        names: of J joints, parents before children; the ends of chains are called ``<joint>.end``.
        parents: (J,) int, -1 for the root.
        offsets: (J, 3) from the parent at rest, in the file's units and axes.
        positions: (F, J, 3) in the file's units and axes.
        frame_s: seconds from frame to frame.
    """

    names: tuple[str, ...]
    parents: np.ndarray
    offsets: np.ndarray
    positions: np.ndarray
    frame_s: float


def read_bvh(path: Path) -> Motion:
    """Read a motion.

    Raises:
        InputError: not a BVH file, cut off, or with values that are no numbers.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(path, f"is larger than {MAX_BYTES >> 20} MiB", "Cut the motion into parts")
        words = path.read_text(errors="replace").split()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", _REMEDY) from None
    try:
        return _parsed(path, words)
    except (IndexError, ValueError, KeyError) as error:
        raise InputError(path, f"is damaged or no BVH file ({error})", _REMEDY) from None


def _parsed(path: Path, words: list[str]) -> Motion:
    if not words or words[0].upper() != "HIERARCHY":
        raise InputError(path, "does not begin with HIERARCHY", _REMEDY)
    names, parents, offsets, channels, at = [], [], [], [], 1
    open_joints: list[int] = []
    while words[at].upper() != "MOTION":
        word = words[at].upper()
        if word in ("ROOT", "JOINT", "END"):
            parent = open_joints[-1] if open_joints else -1
            names.append(f"{names[parent]}.end" if word == "END" else words[at + 1])
            parents.append(parent)
            offsets.append((0.0, 0.0, 0.0))
            channels.append([])
            at += 2
        elif word == "{":
            open_joints.append(len(names) - 1)
            at += 1
        elif word == "}":
            open_joints.pop()
            at += 1
        elif word == "OFFSET":
            offsets[open_joints[-1]] = tuple(float(x) for x in words[at + 1 : at + 4])
            at += 4
        elif word == "CHANNELS":
            count = int(words[at + 1])
            channels[open_joints[-1]] = [c.lower() for c in words[at + 2 : at + 2 + count]]
            at += 2 + count
        else:
            raise ValueError(f"{words[at]!r} in the hierarchy")
    if words[at + 1].lower() != "frames:" or words[at + 3].lower() != "frame" or words[at + 4].lower() != "time:":
        raise ValueError("no number of frames or frame time")
    frames, frame_s, width = int(words[at + 2]), float(words[at + 5]), sum(map(len, channels))
    values = np.array(words[at + 6 : at + 6 + frames * width], np.float64)
    if len(values) != frames * width or not np.isfinite(values).all() or not frames or frame_s <= 0:
        raise ValueError(f"{frames} frames of {width} values are promised, {len(values)} are there")
    places = _placed(np.array(parents), np.array(offsets), channels, values.reshape(frames, width))
    return Motion(tuple(names), np.array(parents), np.array(offsets), places, frame_s)


def _placed(parents: np.ndarray, offsets: np.ndarray, channels: list[list[str]], values: np.ndarray) -> np.ndarray:
    """(F, J, 3) by forward kinematics: channels apply in the order in which they stand."""
    positions = np.zeros((len(values), len(parents), 3))
    rotations: list[Rotation] = []
    column = 0
    for joint, parent in enumerate(parents):
        shift = np.tile(offsets[joint], (len(values), 1))
        moved = False
        turn = Rotation.identity(len(values))
        for channel in channels[joint]:
            axis = "xyz".index(channel[0])
            if channel.endswith("position"):
                if not moved:
                    shift, moved = np.zeros_like(shift), True
                shift[:, axis] = values[:, column]
            elif channel.endswith("rotation"):
                turn = turn * Rotation.from_euler("xyz"[axis], values[:, column : column + 1], degrees=True)
            else:
                raise ValueError(f"channel {channel!r}")
            column += 1
        if parent < 0:
            positions[:, joint], whole = shift, turn
        else:
            positions[:, joint] = positions[:, parent] + rotations[parent].apply(shift)
            whole = rotations[parent] * turn
        rotations.append(whole)
    return positions
