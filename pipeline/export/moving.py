"""Somebody's motion frame by frame without gaps, +y up: what exchange formats of animation are made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.meshes.geometry import y_up_from_world
from pipeline.meshes.glb import SkinnedPerson


@dataclass(frozen=True)
class Motion:
    """A person from first to last frame, every ``step`` frames of the session.

    Attributes:
        person: whose frames are those, and whose root is in metres, +y up.
        present: (N,) bool; elsewhere the pose before is held.
        rate: frames a second.
    """

    person: SkinnedPerson
    present: np.ndarray
    rate: float

    @property
    def frames(self) -> np.ndarray:
        return self.person.frames


def motion_of(person: SkinnedPerson, up: np.ndarray, fps: float, step: int) -> Motion:
    """Fill the gaps of a person and turn the world so that ``up`` (3,) becomes +y."""
    turn = y_up_from_world(up)
    frames = np.arange(person.frames[0], person.frames[-1] + 1, step)
    rows = np.searchsorted(person.frames, frames, "right") - 1
    present = person.frames[rows] == frames
    rotations = person.rotations[rows].copy()
    rotations[:, 0] = (Rotation.from_matrix(turn) * Rotation.from_rotvec(rotations[:, 0])).as_rotvec()
    turned = replace(person, frames=frames, rotations=rotations, root_positions=person.root_positions[rows] @ turn.T)
    return Motion(turned, present, fps / step)
