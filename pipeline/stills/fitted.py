"""Bodies of the people that the open detector saw in an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.kinematics import State
from pipeline.body.regressor import Regressor, regress
from pipeline.body.rotations import logarithm
from pipeline.body.single_view import SingleView, View
from pipeline.keypoints.likeness import joint_confidence
from pipeline.keypoints.pose_landmarks import Pose
from pipeline.skeletons import BLAZEPOSE33, SKEL19, map_joints
from pipeline.stills.landmarks import LandmarkFinder, LandmarkOptions, SeenPerson, box_of, mask_of
from pipeline.stills.people import StillCamera, StillPeople

if TYPE_CHECKING:
    from nets.body import BodyModel

ASSUMED_FOCAL = 1000 / 832
"""Focal length of an unknown camera over the image's longer side: a lens of 43 mm on film, as CRMH assumes too."""


class BodyFitter:
    """Everybody in an image as bodies.

    Args:
        regressor: of SKEL-19 on ``model``.
    """

    def __init__(self, finder: LandmarkFinder, model: BodyModel, regressor: Regressor) -> None:
        self._finder, self._model, self._regressor = finder, model, regressor
        self._single = SingleView(model, BLAZEPOSE33.name)

    def find(
        self,
        image: np.ndarray,
        options: LandmarkOptions,
        focal: float | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> StillPeople:
        """People in an RGB image (H, W, 3) uint8.

        Args:
            focal: pixels, if the camera is known.
        """
        size = (image.shape[1], image.shape[0])
        camera = StillCamera.of(size, focal, ASSUMED_FOCAL)
        seen = self._finder.find(image, options, progress)
        if not seen:
            return StillPeople.nobody(size, camera)
        states = [self._single.fit(view_of(s.pose), camera.focal, camera.principal) for s in seen]
        return self._people(seen, states, camera, size)

    def _people(
        self, seen: list[SeenPerson], states: list[State], camera: StillCamera, size: tuple[int, int]
    ) -> StillPeople:
        limits = np.array([*size, *size]) - 0.5
        boxes = np.clip([box_of(s.pose) for s in seen], -0.5, limits)
        vectors = np.array([logarithm(s.rotations[0]) for s in states], np.float32)
        parameters = {
            "global_orient": vectors[:, 0],
            "body_pose": vectors[:, 1:].reshape(len(seen), -1),
            "betas": np.array([s.betas for s in states], np.float32),
            "transl": np.array([s.transl[0] for s in states], np.float32),
        }
        joints = regress(self._model, self._regressor, parameters)
        return StillPeople(
            size=size,
            camera=camera,
            boxes=boxes.astype(np.float32),
            scores=np.array([s.score for s in seen], np.float32),
            **parameters,
            joints=joints,
            keypoints=camera.project(joints.astype(np.float64)).astype(np.float32),
            masks=np.array([mask_of(s.pose, b) for s, b in zip(seen, boxes, strict=True)]),
        )


def view_of(pose: Pose) -> View:
    """What the body is fitted to."""
    pixels, weights = map_joints(pose.points, joint_confidence(pose), BLAZEPOSE33, SKEL19)
    guess, _ = map_joints(pose.world, np.ones(len(pose.world)), BLAZEPOSE33, SKEL19)
    box = box_of(pose)
    return View(pixels, weights, guess, float(max(box[3] - box[1], box[2] - box[0])))
