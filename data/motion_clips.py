"""Recorded motion (BVH) as poses of an SMPL-X body.

A clip's skeleton need not be the body's: each body joint takes the world rotation of the clip's joint of the same
name, turned so that the limb below it points where the clip's does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.body.rotations import swing
from pipeline.errors import InputError
from pipeline.skeletons import SMPLX55, SMPLX55_PARENTS

MAX_BYTES = 64 << 20

_MIXED = {
    "pelvis": "Hips", "spine1": "Spine1", "spine2": "Spine2", "spine3": "Spine3", "neck": "Neck", "head": "Head",
    "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder", "shoulder": "Arm",
    "elbow": "ForeArm", "wrist": "Hand",
}  # fmt: skip
_PLAIN = {
    "pelvis": "Hips", "spine1": "lowerback", "spine2": "Chest", "spine3": "Chest2", "neck": "Neck", "head": "Head",
    "hip": "Hip", "knee": "Knee", "ankle": "Ankle", "foot": "Toe", "collar": "Collar", "shoulder": "Shoulder",
    "elbow": "Elbow", "wrist": "Wrist",
}  # fmt: skip
_LIMBS = ("hip", "knee", "ankle", "collar", "shoulder", "elbow")
_BELOW = {"hip": "knee", "knee": "ankle", "ankle": "foot", "collar": "shoulder", "shoulder": "elbow", "elbow": "wrist"}


@dataclass(frozen=True)
class Clip:
    """A BVH file: J joints, parents before children.

    Attributes:
        names, parents: (J,); the root's parent is -1.
        offsets: (J, 3) from the parent, in the file's unit.
        rotations: (F, J, 3, 3) relative to the parent.
        root: (F, 3) positions of the root.
        fps: frames a second.
    """

    names: tuple[str, ...]
    parents: np.ndarray
    offsets: np.ndarray
    rotations: np.ndarray
    root: np.ndarray
    fps: float

    def world_rotations(self) -> np.ndarray:
        """(F, J, 3, 3)."""
        world = self.rotations.copy()
        for j, p in enumerate(self.parents):
            if p >= 0:
                world[:, j] = world[:, p] @ self.rotations[:, j]
        return world


def read_bvh(path: Path) -> Clip:
    """Raises InputError for a file that is not BVH."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(path, "larger than 64 MiB", "Cut the clip")
        words = path.read_text(errors="replace").split()
        return _parse(words)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check the path") from error
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(path, f"is not BVH ({error})", "Give a BVH file") from error


def _parse(words: list[str]) -> Clip:
    names, parents, offsets, channels, open_joints = [], [], [], [], []
    at, end_site = words.index("HIERARCHY") + 1, False
    while words[at] != "MOTION":
        word = words[at]
        if word in ("ROOT", "JOINT"):
            parents.append(open_joints[-1] if open_joints else -1)
            names.append(words[at + 1])
            at += 2
        elif word == "End":
            end_site = True
            at += 2
        elif word == "{":
            open_joints.append(-1 if end_site else len(names) - 1)
            at += 1
        elif word == "}":
            end_site = False
            open_joints.pop()
            at += 1
        elif word == "OFFSET":
            if not end_site:
                offsets.append([float(x) for x in words[at + 1 : at + 4]])
            at += 4
        elif word == "CHANNELS":
            count = int(words[at + 1])
            channels.append(words[at + 2 : at + 2 + count])
            at += 2 + count
        else:
            raise ValueError(f"unexpected {word!r}")
    frames, step = int(words[at + 2]), float(words[at + 5])
    values = np.array(words[at + 6 :], np.float64).reshape(frames, -1)
    rotations, root, column = np.empty((frames, len(names), 3, 3)), np.zeros((frames, 3)), 0
    for j, listed in enumerate(channels):
        own = values[:, column : column + len(listed)]
        column += len(listed)
        turns = [k for k, c in enumerate(listed) if c.endswith("rotation")]
        order = "".join(listed[k][0] for k in turns)
        rotations[:, j] = Rotation.from_euler(order, own[:, turns], degrees=True).as_matrix()
        if j == 0:
            root = own[:, [listed.index(f"{a}position") for a in "XYZ"]]
    return Clip(tuple(names), np.array(parents), np.array(offsets), rotations, root, 1 / step)


def body_poses(clip: Clip, rest: np.ndarray) -> np.ndarray:
    """(F, 22, 3) rotation vectors of the pelvis and the 21 joints of ``body_pose``, in a world in which the clip's
    skeleton rests with y up and facing +z.

    Args:
        rest: (55, 3) joints of the unposed body.

    Raises:
        InputError: the clip's joints have other names, or its skeleton does not rest in a T-pose.
    """
    scheme = _MIXED if "LeftUpLeg" in clip.names else _PLAIN
    index = {n: k for k, n in enumerate(clip.names)}
    place = np.zeros_like(clip.offsets)
    for j, p in enumerate(clip.parents):
        place[j] = clip.offsets[j] + (place[p] if p >= 0 else 0)

    def source(joint: str) -> int:
        side, _, name = joint.rpartition("_")
        wanted = side.capitalize() + scheme[name]
        if wanted not in index:
            raise InputError("motion clip", f"has no joint {wanted}", "Give a clip with the joints of the CMU skeleton")
        return index[wanted]

    left = place[source("left_hip")] - place[source("right_hip")]
    axes = _body_axes(left, place[source("neck")] - place[source("pelvis")])
    world, turned = axes.T @ clip.world_rotations() @ axes, np.empty((len(clip.root), 22, 3, 3))
    for k, joint in enumerate(SMPLX55.joints[:22]):
        side, _, name = joint.rpartition("_")
        R = world[:, source(joint)]
        if name in _LIMBS:
            below = f"{side}_{_BELOW[name]}"
            mine = rest[SMPLX55.index(below)] - rest[k]
            theirs = axes.T @ (place[source(below)] - place[source(joint)])
            if mine @ theirs < -0.2 * np.linalg.norm(mine) * np.linalg.norm(theirs):
                raise InputError(
                    "motion clip", f"{joint} points elsewhere at rest than a standing body's",
                    "Give a clip whose skeleton rests in a T-pose or with hanging arms",
                )  # fmt: skip
            R = R @ swing(mine, theirs)
        turned[:, k] = R
    local = turned.copy()
    for k in range(1, 22):
        local[:, k] = turned[:, SMPLX55_PARENTS[k]].swapaxes(-1, -2) @ turned[:, k]
    return Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 22, 3)


def _body_axes(left: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Columns: the clip's axes nearest to the resting skeleton's left, up and forward."""
    axes = np.zeros((3, 3))
    for column, direction in ((0, left), (1, up)):
        k = np.abs(direction).argmax()
        axes[k, column] = np.sign(direction[k])
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    return axes
