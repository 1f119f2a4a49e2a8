"""Inputs that are wrong by a known amount: bodies, masks and cameras, to see how much a reconstruction minds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.cameras import Rig

if TYPE_CHECKING:
    from nets.body import BodyModel

_TURN = {"global_orient": 0.4, "body_pose": 1.0}
"""Relative size of errors of rotation, axis-angle; a whole body turns less than a limb."""
_MOVE, _SHAPE = 0.15, 2.0
"""Metres and betas for a radian of error in the limbs."""


def disturbed_body(
    model: BodyModel, parameters: Mapping[str, np.ndarray], error_m: float, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Parameters (leading axis 1) of a body whose vertices are off by ``error_m`` in the mean.

    Pose, orientation, place and shape are wrong together, in proportions as a fit errs.
    """
    noise = {name: size * generator.normal(size=np.shape(parameters[name])) for name, size in _TURN.items()}
    noise["transl"] = _MOVE * generator.normal(size=np.shape(parameters["transl"]))
    noise["betas"] = _SHAPE * generator.normal(size=np.shape(parameters["betas"]))
    true = body_vertices(model, parameters)

    def with_share(share: float) -> dict[str, np.ndarray]:
        return {k: np.asarray(v) + share * noise.get(k, 0.0) for k, v in parameters.items()}

    if error_m == 0:
        return with_share(0.0)
    low, high = 0.0, 0.05
    while _distance(body_vertices(model, with_share(high)), true) < error_m:
        low, high = high, 2 * high
    for _ in range(20):
        middle = 0.5 * (low + high)
        far = _distance(body_vertices(model, with_share(middle)), true) > error_m
        low, high = (low, middle) if far else (middle, high)
    return with_share(0.5 * (low + high))


def body_vertices(model: BodyModel, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """(V, 3) float64 posed vertices of one body (leading axis 1)."""
    import torch

    with torch.no_grad():
        given = {k: torch.as_tensor(np.asarray(v)).to(model.template) for k, v in parameters.items()}
        return model(**given).vertices[0].numpy().astype(np.float64)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=1).mean())


def grown_labels(labels: np.ndarray, pixels: float) -> np.ndarray:
    """A label image (H, W) whose people are larger by ``pixels`` all round, into the background only; smaller for a
    negative number, each on its own."""
    import cv2

    if pixels == 0:
        return labels
    if pixels < 0:
        out = np.zeros_like(labels)
        for label in np.unique(labels[labels > 0]):
            inside = cv2.distanceTransform((labels == label).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            out[inside > -pixels] = label
        return out
    nobody = (labels == 0).astype(np.uint8)
    if nobody.all():
        return labels
    away, nearest = cv2.distanceTransformWithLabels(nobody, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    # Every pixel of somebody has a number of its own there; whose it is, is read back from the labels.
    owner = np.zeros(int(nearest.max()) + 1, labels.dtype)
    taken = labels > 0
    owner[nearest[taken]] = labels[taken]
    return np.where(~taken & (away <= pixels), owner[nearest], labels)


def shifted_cameras(rig: Rig, error_m: float, generator: np.random.Generator) -> Rig:
    """The rig with every camera's centre moved by ``error_m`` in a direction of its own."""
    out = []
    for camera in rig.cameras:
        way = generator.normal(size=3)
        centre = camera.centre + error_m * way / np.linalg.norm(way)
        out.append(replace(camera, t=-camera.R @ centre))
    return replace(rig, cameras=tuple(out))
