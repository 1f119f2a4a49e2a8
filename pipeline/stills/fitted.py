"""Bodies of the people that the open detector saw in an image.

The detector misses who is smaller than about 24 pixels, but its landmarks do not need the size: a MILI network trained
on low resolutions says where such people may be, and the landmark network whether they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.body.kinematics import State
from pipeline.body.regressor import Regressor, regress
from pipeline.body.rotations import logarithm
from pipeline.body.single_view import SingleView, View
from pipeline.body.together import Body, Together
from pipeline.keypoints.likeness import joint_confidence
from pipeline.keypoints.pose_landmarks import Pose
from pipeline.skeletons import BLAZEPOSE33, SKEL19, map_joints
from pipeline.stills.landmarks import LandmarkFinder, LandmarkOptions, SeenPerson, box_of, mask_of
from pipeline.stills.people import StillCamera, StillPeople
from pipeline.stills.tiles import TileOptions

if TYPE_CHECKING:
    from nets.body import BodyModel
    from nets.mili.network import MiliNetwork

LEAST_SUGGESTED = 0.15
"""Score of a MILI network's box from which it is worth a look."""
SUGGESTED_OF = 300
"""Proposals of a tile that it is asked about."""
ASSUMED_FOCAL = 1000 / 832
"""Focal length of an unknown camera over the image's longer side: a lens of 43 mm on film, as CRMH assumes too."""


class BodyFitter:
    """Everybody in an image as bodies.

    Args:
        regressor: of SKEL-19 on ``model``.
        network: suggests where to look for small people; None: nobody does.
    """

    def __init__(
        self, finder: LandmarkFinder, model: BodyModel, regressor: Regressor, network: MiliNetwork | None = None
    ) -> None:
        self._finder, self._model, self._regressor, self._network = finder, model, regressor, network
        self._single = SingleView(model, BLAZEPOSE33.name)
        self._together = Together(model, self._single)

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
        seen = self._finder.find(image, options, self._suggested(image, options), progress)
        if not seen:
            return StillPeople.nobody(size, camera)
        people = []
        for person in seen:
            view = view_of(person.pose)
            people.append(Body(view, *self._single.fit(view, camera.focal, camera.principal), person.rank))
        self._together.settle(people, camera.focal, camera.principal)
        return self._people(seen, [p.state for p in people], camera, size)

    def _suggested(self, image: np.ndarray, options: LandmarkOptions) -> np.ndarray | None:
        if self._network is None:
            return None
        from pipeline.stills.find import FindOptions, find_boxes

        tiles = TileOptions(smallest_person=options.tiles.smallest_person)
        return find_boxes(image, self._network, FindOptions(LEAST_SUGGESTED, proposals=SUGGESTED_OF, tiles=tiles))

    def _people(
        self, seen: list[SeenPerson], states: list[State], camera: StillCamera, size: tuple[int, int]
    ) -> StillPeople:
        limits = np.array([*size, *size]) - 0.5
        boxes = np.clip([s.box for s in seen], -0.5, limits)
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
