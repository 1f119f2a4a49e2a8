"""From a posed body to the joints that skeletons use: SKEL-19 as joints and surface points of an SMPL-X body.

Hips, shoulders, elbows, wrists, knees and ankles are the body's joint centres, neck and mid-hip the means that
``pipeline.skeletons`` uses too; nose, ears and big toes are points of the surface. A detector's landmarks are not
joint centres: ``Regressor.offsets`` holds what it adds, in the frame of the joint that a point hangs on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.errors import InputError
from pipeline.skeletons import SKEL19, SMPLX55, SMPLX55_PARENTS, JointSet

if TYPE_CHECKING:
    from nets.body import BodyModel

BODY_JOINTS = 22
"""The pelvis and the 21 joints of ``body_pose``: the part of the tree that a track moves."""

MEANS = {"mid_hip": ("left_hip", "right_hip"), "neck": ("left_shoulder", "right_shoulder")}

OFFSET_BONES = {"mid_hip": "pelvis", "neck": "spine3", "nose": "head", "left_ear": "head", "right_ear": "head"} | {
    f"{side}_{joint}": f"{side}_{bone}"
    for side in ("left", "right")
    for joint, bone in {
        "hip": "hip",
        "shoulder": "collar",
        "knee": "knee",
        "elbow": "elbow",
        "ankle": "ankle",
        "wrist": "wrist",
        "big_toe": "foot",
        "small_toe": "foot",
        "heel": "ankle",
        "eye": "head",
    }.items()
}
"""In which joint's frame a point's offset is fixed. Hips ride on the pelvis, shoulders on the collar bones."""
OFFSET_BONES |= {"left_hip": "pelvis", "right_hip": "pelvis"}


@dataclass(frozen=True)
class Regressor:
    """K points, each a mixture of points that are rigid in the frames of the 22 body joints.

    Point k of a body whose joint j stands at P_j turned by R_j is
    ``sum_j weights[k, j] (R_j (local[k, j] + local_shape[k, j] @ betas + pose shape) + P_j) + R_b(k) offsets[k]``.

    Attributes:
        joint_set: whose points these are.
        weights: (K, 22), rows sum to 1.
        local: (K, 22, 3) metres, position in the unposed mean body relative to joint j.
        local_shape: (K, 22, 3, 10) metres a beta.
        pose_shape: (K, 3, 189) metres, pose blend shapes of the points under the 21 joints of ``body_pose``.
        offset_bones: (K,) int, b(k).
        offsets: (K, 3) metres.
        vertices: (K,) int vertex of points that lie on the surface, -1 for the others.
        joint_weights: (K, 55) for points that are means of joints; zero rows for points on the surface.
    """

    joint_set: JointSet
    weights: np.ndarray
    local: np.ndarray
    local_shape: np.ndarray
    pose_shape: np.ndarray
    offset_bones: np.ndarray
    offsets: np.ndarray
    vertices: np.ndarray
    joint_weights: np.ndarray

    def with_offsets(self, offsets: np.ndarray) -> Regressor:
        return replace(self, offsets=np.asarray(offsets, np.float64))


def regressor_for(model: BodyModel, joint_set: JointSet = SKEL19) -> Regressor:
    """The points of ``joint_set`` on a body model. Hands and face are taken as rigid with wrists and head."""
    names, keypoints = SMPLX55.joints, model.keypoint_vertices
    count = len(joint_set)
    if not keypoints:
        raise InputError(
            "body.model",
            "the file does not say which vertices are nose, ears and toes",
            "Use the open body model or an SMPL-X file with 10475 vertices",
        )
    joint_weights, vertices = np.zeros((count, len(names))), np.full(count, -1)
    for k, joint in enumerate(joint_set.joints):
        if joint in keypoints:
            vertices[k] = keypoints[joint]
        else:
            parts = MEANS.get(joint, (joint,))
            joint_weights[k, [names.index(p) for p in parts]] = 1.0 / len(parts)
    bones = np.array([names.index(OFFSET_BONES[j]) for j in joint_set.joints])
    return _regressor(model, joint_set, vertices, joint_weights, bones)


def surface_regressor(model: BodyModel, vertices: np.ndarray) -> Regressor:
    """Points that are vertices (N,) of the skin."""
    vertices = np.asarray(vertices, np.int64)
    points = JointSet("skin", tuple(f"vertex{v}" for v in vertices), ())
    none = np.zeros(len(vertices), np.int64)
    return _regressor(model, points, vertices, np.zeros((len(vertices), len(SMPLX55))), none)


def _regressor(
    model: BodyModel, joint_set: JointSet, vertices: np.ndarray, joint_weights: np.ndarray, bones: np.ndarray
) -> Regressor:
    count = len(vertices)
    on_surface = vertices >= 0
    chosen = vertices[on_surface]
    weights = _to_body_joints(joint_weights)
    weights[on_surface] = _to_body_joints(_numpy(model.weights[chosen]))

    template, shapedirs = _numpy(model.template[chosen]), _numpy(model.shapedirs[chosen])[:, :, :10]
    rest, rest_shape = _numpy(model.joint_template)[:BODY_JOINTS], _numpy(model.joint_shapedirs)[:BODY_JOINTS, :, :10]
    local, local_shape = np.zeros((count, BODY_JOINTS, 3)), np.zeros((count, BODY_JOINTS, 3, 10))
    local[on_surface] = template[:, None] - rest
    local_shape[on_surface] = shapedirs[:, None] - rest_shape
    pose_shape = np.zeros((count, 3, 9 * (BODY_JOINTS - 1)))
    if model.has_pose_shapes:
        columns = model.pose_columns.cpu().numpy()
        of_body = columns < pose_shape.shape[2]
        shapes = np.zeros((len(chosen), *pose_shape.shape[1:]))
        shapes[:, :, columns[of_body]] = _numpy(model.posedirs[chosen])[..., of_body]
        pose_shape[on_surface] = shapes
    return Regressor(
        joint_set, weights, local, local_shape, pose_shape, bones, np.zeros((count, 3)), vertices, joint_weights
    )


def regress(model: BodyModel, regressor: Regressor, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """Points (F, K, 3) float32 of bodies with the given parameters (arrays named as in ``BodyModel``; betas (10,)).

    Frames with NaN parameters give NaN points.
    """
    import torch

    def tensor(value: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.atleast_2d(np.asarray(value, np.float32))).to(model.template)

    with torch.no_grad():
        posed = model.pose(**{name: tensor(value) for name, value in parameters.items()})
        points = torch.einsum("kj,fjc->fkc", tensor(regressor.joint_weights), posed.positions)
        surface = torch.as_tensor(np.flatnonzero(regressor.vertices >= 0))
        points[:, surface] = model.skin_landmarks(posed, torch.as_tensor(regressor.vertices)[surface])
        bones = posed.rotations[:, torch.as_tensor(regressor.offset_bones)]
        return (points + (bones @ tensor(regressor.offsets)[..., None]).squeeze(-1)).cpu().numpy()


def skel19_joints(model: BodyModel, body: BodyTrack) -> np.ndarray:
    """(F, 19, 3) float32 SKEL-19 joints of a fitted track; NaN in frames without parameters."""
    names = [name for name in BodyTrack.FIELDS if getattr(body, name).ndim == 2]
    parameters = {name: getattr(body, name) for name in names} | {"betas": body.betas}
    return regress(model, regressor_for(model), parameters)


def _to_body_joints(weights: np.ndarray) -> np.ndarray:
    """(N, 55) weights to (N, 22): fingers count for their wrist, jaw and eyes for the head."""
    owner = np.arange(len(SMPLX55_PARENTS))
    for joint in range(BODY_JOINTS, len(owner)):
        owner[joint] = owner[SMPLX55_PARENTS[joint]]
    merged = np.zeros((len(weights), BODY_JOINTS))
    np.add.at(merged.T, owner, weights.T)
    return merged


def _numpy(tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)
