"""One skinning layer for every body in SMPL-X format: shape, expression and pose to joints and vertices, in torch.

The arrays are those of an ``SMPLX_*.npz``. The layer gives what the ``smplx`` package gives (to 1e-5 m) with flat
hands and full axis-angle hand poses, and has cheap paths for those who need joints or a few vertices only.
Method: linear blend skinning with blend shapes (Loper et al. 2015, eq. 2-10; Pavlakos et al. 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nets.geometry import matrix_from_axis_angle

JOINTS = 55
PARTS = (
    ("global_orient", 3),
    ("body_pose", 63),
    ("jaw_pose", 3),
    ("leye_pose", 3),
    ("reye_pose", 3),
    ("left_hand_pose", 45),
    ("right_hand_pose", 45),
)
"""Rotation parameters in the order of the 55 joints, and how many numbers each has."""

BETAS, EXPRESSIONS = 10, 10
LICENSED_SHAPES = 300
"""Files with at least 400 shape columns keep the expressions from column 300 on; smaller ones right after the betas."""

LICENSED_KEYPOINTS = {
    "nose": 9120, "right_eye": 9929, "left_eye": 9448, "right_ear": 616, "left_ear": 6, "left_big_toe": 5770,
    "left_small_toe": 5780, "left_heel": 8846, "right_big_toe": 8463, "right_small_toe": 8474, "right_heel": 8635,
    "left_thumb": 5361, "left_index": 4933, "left_middle": 5058, "left_ring": 5169, "left_pinky": 5286,
    "right_thumb": 8079, "right_index": 7669, "right_middle": 7794, "right_ring": 7905, "right_pinky": 8022,
}  # fmt: skip
"""Vertices of the licensed mesh (10,475 of them) that stand for keypoints; the open model carries its own."""


class BodyOutput(NamedTuple):
    """vertices (B, V, 3) and joints (B, 55, 3), metres."""

    vertices: Tensor
    joints: Tensor


class Posed(NamedTuple):
    """A posed joint tree.

    shape (B, 20) betas and expression; feature (B, 486) local rotations less identity;
    rotations (B, 55, 3, 3) world_from_joint; positions (B, 55, 3) metres, translation included; rest (B, 55, 3).
    """

    shape: Tensor
    feature: Tensor
    rotations: Tensor
    positions: Tensor
    rest: Tensor


def shape_columns(columns: int) -> list[int]:
    """Which columns of ``shapedirs`` are the ten betas and the ten expressions."""
    start = LICENSED_SHAPES if columns >= LICENSED_SHAPES + 100 else BETAS
    return [*range(BETAS), *range(start, start + EXPRESSIONS)]


class BodyModel(nn.Module):
    """SMPL-X arrays as a differentiable function of the body's parameters.

    Parameters of every method (keywords, all optional, zero where left out; leading axis B or 1):
        betas (B, 10), global_orient (B, 3), body_pose (B, 63), jaw_pose (B, 3), leye_pose (B, 3), reye_pose (B, 3),
        left_hand_pose (B, 45), right_hand_pose (B, 45), expression (B, 10), transl (B, 3): radians and metres.
        The hands' zero is a flat hand; ``relaxed_hands`` holds the model's mean pose.

    Attributes:
        template (V, 3), shapedirs (V, 3, 20), weights (V, 55), faces (T, 3): as in the file.
        joint_template (55, 3), joint_shapedirs (55, 3, 20): the joint regressor applied to them, so that joints
            follow from the shape without any vertex.
        relaxed_hands: (90,) left then right.
        posedirs (V, 3, P), pose_columns (P,): pose blend shapes that are not zero, and which of the 486 they are; only
            where ``has_pose_shapes``.
        keypoint_vertices: vertex numbers of nose, ears, toes, heels, eyes and finger tips by name; empty for a mesh
            that is neither the licensed one nor says (``troupe_keypoint_names``, ``troupe_keypoint_vertices``).
        face_landmarks: vertices (51, 3) and their shares (51, 3) of the inner points of the 68-point face set; None for
            files without them.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        template = np.asarray(arrays["v_template"], np.float64)
        shapedirs = np.asarray(arrays["shapedirs"])
        shapedirs = np.asarray(shapedirs[:, :, shape_columns(shapedirs.shape[2])], np.float64)
        regressor = np.asarray(arrays["J_regressor"], np.float64)
        parents = np.asarray(arrays["kintree_table"])[0].astype(np.int64).copy()
        parents[0] = -1
        _check_shapes(template, shapedirs, regressor, np.asarray(arrays["weights"]), parents)

        def keep(name: str, value: np.ndarray) -> None:
            self.register_buffer(name, torch.as_tensor(np.ascontiguousarray(value)).to(dtype), persistent=False)

        keep("template", template)
        keep("shapedirs", shapedirs)
        keep("weights", np.asarray(arrays["weights"], np.float64))
        keep("joint_template", regressor @ template)
        keep("joint_shapedirs", np.einsum("jv,vkc->jkc", regressor, shapedirs))
        hands = [np.asarray(arrays.get(k, np.zeros(45)), np.float64) for k in ("hands_meanl", "hands_meanr")]
        keep("relaxed_hands", np.concatenate(hands))
        posedirs = np.asarray(arrays["posedirs"]) if "posedirs" in arrays else np.zeros(1)
        self.has_pose_shapes = bool(np.any(posedirs))
        if self.has_pose_shapes:
            posedirs = posedirs.reshape(template.shape[0], 3, -1)
            columns = np.flatnonzero(posedirs.any((0, 1)))
            keep("posedirs", posedirs[:, :, columns].astype(np.float64))
            self.register_buffer("pose_columns", torch.as_tensor(columns), persistent=False)
        faces = torch.as_tensor(np.asarray(arrays["f"]).astype(np.int64))
        self.register_buffer("faces", faces, persistent=False)
        self.keypoint_vertices = _keypoint_vertices(arrays, len(template))
        self.face_landmarks = None
        if "lmk_faces_idx" in arrays:
            corners = np.asarray(arrays["f"]).astype(np.int64)[np.asarray(arrays["lmk_faces_idx"]).astype(np.int64)]
            self.face_landmarks = corners, np.asarray(arrays["lmk_bary_coords"], np.float64)
        self.parents = tuple(int(p) for p in parents)
        self._levels = _tree_levels(self.parents)

    @property
    def vertex_count(self) -> int:
        return self.template.shape[0]

    def forward(self, **parameters: Tensor | None) -> BodyOutput:
        """All vertices and joints."""
        posed = self.pose(**parameters)
        vertices = self._skin(posed, self.template, self.shapedirs, self._posedirs(), self.weights)
        return BodyOutput(vertices, posed.positions)

    def joints_only(self, **parameters: Tensor | None) -> Tensor:
        """(B, 55, 3) joints without posing a vertex."""
        return self.pose(**parameters).positions

    def landmarks(self, indices: Tensor, weights: Tensor | None = None, **parameters: Tensor | None) -> Tensor:
        """Positions (B, K, 3) of weighted vertex sets: ``indices`` (K,) or (K, N) and ``weights`` (K, N) summing to 1.

        Only the named vertices are posed.
        """
        return self.skin_landmarks(self.pose(**parameters), indices, weights)

    def skin_landmarks(self, posed: Posed, indices: Tensor, weights: Tensor | None = None) -> Tensor:
        """``landmarks`` of a tree that ``pose`` has already posed."""
        flat = indices.reshape(-1)
        posedirs = self.posedirs[flat] if self.has_pose_shapes else None
        points = self._skin(posed, self.template[flat], self.shapedirs[flat], posedirs, self.weights[flat])
        if indices.dim() == 1:
            return points
        points = points.reshape(points.shape[0], *indices.shape, 3)
        return points.mean(2) if weights is None else (points * weights.to(points)[..., None]).sum(2)

    def rest_joints(self, betas: Tensor, expression: Tensor | None = None) -> Tensor:
        """(B, 55, 3) joints of the unposed body of shapes (B, 10)."""
        shape = self._shape({"betas": betas, "expression": expression}, betas.shape[0])
        return self.joint_template + torch.einsum("bc,jkc->bjk", shape, self.joint_shapedirs)

    def pose(self, **parameters: Tensor | None) -> Posed:
        """The joint tree under the parameters, which every other method starts from."""
        unknown = set(parameters) - {name for name, _ in PARTS} - {"betas", "expression", "transl"}
        if unknown:
            raise TypeError(f"unknown body parameters {sorted(unknown)}")
        given = [p for p in parameters.values() if p is not None]
        batch = max((p.shape[0] for p in given), default=1)
        local = matrix_from_axis_angle(self._rotation_vectors(parameters, batch))
        return self._posed(local, self._shape(parameters, batch), parameters.get("transl"))

    def pose_turned(self, rotations: Tensor, betas: Tensor) -> Posed:
        """The joint tree for rotation matrices (B, R, 3, 3) of its first R joints, the rest unturned, betas (B, 10)."""
        eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        local = torch.cat([rotations, eye.expand(len(rotations), JOINTS - rotations.shape[1], 3, 3)], 1)
        return self._posed(local, self._shape({"betas": betas}, len(rotations)), None)

    def _posed(self, local: Tensor, shape: Tensor, transl: Tensor | None) -> Posed:
        rest = self.joint_template + torch.einsum("bc,jkc->bjk", shape, self.joint_shapedirs)
        rotations, positions = self._chain(local, rest)
        if transl is not None:
            positions = positions + transl[:, None]
        eye = torch.eye(3, dtype=local.dtype, device=local.device)
        return Posed(shape, (local[:, 1:] - eye).flatten(1), rotations, positions, rest)

    def _rotation_vectors(self, parameters: Mapping[str, Tensor | None], batch: int) -> Tensor:
        parts = []
        for name, width in PARTS:
            value = parameters.get(name)
            value = self.template.new_zeros(1, width) if value is None else value.reshape(value.shape[0], width)
            parts.append(value.expand(batch, width))
        return torch.cat(parts, 1).reshape(batch, JOINTS, 3)

    def _shape(self, parameters: Mapping[str, Tensor | None], batch: int) -> Tensor:
        parts = []
        for name, width in (("betas", BETAS), ("expression", EXPRESSIONS)):
            value = parameters.get(name)
            parts.append((self.template.new_zeros(1, width) if value is None else value).expand(batch, width))
        return torch.cat(parts, 1)

    def _chain(self, local: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Forward kinematics, one level of the tree at a time (all joints of a depth together)."""
        rotations: list[Tensor] = [local[:, 0]] * JOINTS
        positions: list[Tensor] = [rest[:, 0]] * JOINTS
        for joints, parents in self._levels:
            parent_rotation = torch.stack([rotations[p] for p in parents], 1)
            parent_position = torch.stack([positions[p] for p in parents], 1)
            bones = rest[:, joints] - rest[:, parents]
            level_rotation = parent_rotation @ local[:, joints]
            level_position = parent_position + (parent_rotation @ bones[..., None]).squeeze(-1)
            for i, joint in enumerate(joints):
                rotations[joint], positions[joint] = level_rotation[:, i], level_position[:, i]
        return torch.stack(rotations, 1), torch.stack(positions, 1)

    def _posedirs(self) -> Tensor | None:
        return self.posedirs if self.has_pose_shapes else None

    def _skin(
        self, posed: Posed, template: Tensor, shapedirs: Tensor, posedirs: Tensor | None, weights: Tensor
    ) -> Tensor:
        """Vertices (B, N, 3) of the N rows given."""
        n, columns = template.shape[0], shapedirs.shape[2]
        # One shape for the whole batch is the rule in a track: shape it once.
        one = posed.shape.shape[0] > 1 and not (posed.shape[1:] != posed.shape[:1]).any()
        shape = posed.shape[:1] if one and not posed.shape.requires_grad else posed.shape
        points = template + (shape @ shapedirs.reshape(-1, columns).T).reshape(-1, n, 3)
        if posedirs is not None:
            points = points + (posed.feature[:, self.pose_columns] @ posedirs.reshape(n * 3, -1).T).reshape(-1, n, 3)
        offsets = posed.positions - (posed.rotations @ posed.rest[..., None]).squeeze(-1)
        transforms = torch.cat([posed.rotations, offsets[..., None]], -1).flatten(2)
        blended = (weights @ transforms).reshape(-1, n, 3, 4)
        return (blended[..., :3] * points[..., None, :]).sum(-1) + blended[..., 3]


def _keypoint_vertices(arrays: Mapping[str, np.ndarray], count: int) -> dict[str, int]:
    if "troupe_keypoint_names" in arrays:
        names = [str(n) for n in np.asarray(arrays["troupe_keypoint_names"])]
        return dict(zip(names, np.asarray(arrays["troupe_keypoint_vertices"]).tolist(), strict=True))
    return dict(LICENSED_KEYPOINTS) if count == 10475 else {}


def _tree_levels(parents: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents[1:], 1):
        if not 0 <= parent < joint:
            raise ValueError("kintree_table: a parent must come before its children")
        depth[joint] = depth[parent] + 1
    levels = []
    for d in range(1, max(depth) + 1):
        joints = [j for j in range(len(parents)) if depth[j] == d]
        levels.append((joints, [parents[j] for j in joints]))
    return levels


def _check_shapes(template, shapedirs, regressor, weights, parents) -> None:
    vertices = template.shape[0]
    wanted = {
        "v_template": (template.shape, (vertices, 3)),
        "shapedirs": (shapedirs.shape, (vertices, 3, BETAS + EXPRESSIONS)),
        "J_regressor": (regressor.shape, (JOINTS, vertices)),
        "weights": (weights.shape, (vertices, JOINTS)),
        "kintree_table": (parents.shape, (JOINTS,)),
    }
    for name, (has, needs) in wanted.items():
        if tuple(has) != needs:
            raise ValueError(f"{name} has shape {tuple(has)}, an SMPL-X model needs {needs}")
