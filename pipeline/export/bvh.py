"""BVH: a skeleton and its motion as text. Metres, +y up; the file itself cannot say so.

Rotations are Euler angles in degrees applied in the order of their channels, Z X Y. The rest pose is the body model's
T-pose. Where a person is absent the pose before is held.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline.export.moving import Motion

_TIP_M = 0.05
"""Length of the last bones, which the format wants and the body model does not have."""


def bvh_text(motion: Motion) -> str:
    """The file of one person."""
    person = motion.person
    children: dict[int, list[int]] = {}
    for joint, parent in enumerate(np.asarray(person.parents).tolist()):
        children.setdefault(parent, []).append(joint)
    order: list[int] = []
    lines = ["HIERARCHY"]
    _joint(lines, order, person, children, 0, 0)
    lines += ["MOTION", f"Frames: {len(person.frames)}", f"Frame Time: {1 / motion.rate:.8f}"]
    count, joints = person.rotations.shape[:2]
    euler = Rotation.from_rotvec(person.rotations.reshape(-1, 3)).as_euler("ZXY", degrees=True)
    euler = euler.reshape(count, joints, 3)[:, order]
    rows = np.concatenate([person.root_positions, euler.reshape(count, -1)], 1)
    lines += [" ".join(f"{v:.5f}" for v in row) for row in rows]
    return "\n".join(lines) + "\n"


def _joint(lines: list[str], order: list[int], person, children: dict[int, list[int]], joint: int, depth: int) -> None:
    pad = "  " * depth
    parent = int(person.parents[joint])
    offset = person.joints[joint] - (person.joints[parent] if parent >= 0 else person.joints[joint])
    order.append(joint)
    lines += [f"{pad}{'ROOT' if parent < 0 else 'JOINT'} {person.joint_names[joint]}", f"{pad}{{"]
    lines.append(f"{pad}  OFFSET {_numbers(offset)}")
    place = "Xposition Yposition Zposition " if parent < 0 else ""
    lines.append(f"{pad}  CHANNELS {6 if parent < 0 else 3} {place}Zrotation Xrotation Yrotation")
    for child in children.get(joint, ()):
        _joint(lines, order, person, children, child, depth + 1)
    if joint not in children:
        size = np.linalg.norm(offset)
        tip = offset / size * _TIP_M if size > 0 else np.array([0, _TIP_M, 0])
        lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET {_numbers(tip)}", f"{pad}  }}"]
    lines.append(f"{pad}}}")


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{v:.6f}" for v in values)
