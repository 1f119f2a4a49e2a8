"""Keypoint vertices on the skin, found by geometry and by which bone carries them."""

from __future__ import annotations

import numpy as np

from data.open_body.makehuman import BaseMesh, Rig


def keypoint_vertices(mesh: BaseMesh, rig: Rig, positions: np.ndarray) -> dict[str, int]:
    """Base-mesh vertex of each keypoint for a T-pose figure (N, 3), y up, facing +z, left at +x."""
    body = mesh.groups["body"]

    def carried(bone: str, least: float = 0.5) -> np.ndarray:
        return body[rig.weights[body, rig.bones.index(bone)] > least]

    def furthest(candidates: np.ndarray, direction: np.ndarray) -> int:
        return int(candidates[(positions[candidates] @ direction).argmax()])

    y, z = np.eye(3)[1:]
    found = {"left_eye": furthest(mesh.groups["helper-l-eye"], z)}
    middle = body[np.abs(positions[body, 0]) < 1e-4]
    found["nose"] = furthest(middle[positions[middle, 1] > positions[found["left_eye"], 1] - 0.08], z)
    found["left_ear"] = _ear(mesh, rig, positions)
    found["left_heel"] = furthest(carried("foot.L"), -z - 0.5 * y)
    found["left_big_toe"] = furthest(carried("toe1-2.L"), z)
    found["left_small_toe"] = furthest(carried("toe5-3.L"), z)
    for number, finger in enumerate(("thumb", "index", "middle", "ring", "pinky"), 1):
        last = f"finger{number}-3.L"
        found[f"left_{finger}"] = furthest(carried(last), rig.tail(last, positions) - rig.head(last, positions))
    for name in [n for n in found if n.startswith("left_")]:
        found[name.replace("left_", "right_")] = int(mesh.mirror[found[name]])
    return found


def _ear(mesh: BaseMesh, rig: Rig, positions: np.ndarray) -> int:
    """The middle of the outer ear: of what stands out sideways from the head, the vertex nearest the centre."""
    body = mesh.groups["body"]
    eye = positions[mesh.groups["helper-l-eye"]].mean(0)
    head = body[rig.weights[body, rig.bones.index("head")] > 0.5]
    near = head[np.abs(positions[head, 1] - eye[1]) < 0.05]
    outer = near[positions[near, 0] > 0.93 * positions[near, 0].max()]
    return int(outer[np.linalg.norm(positions[outer] - positions[outer].mean(0), axis=1).argmin()])
