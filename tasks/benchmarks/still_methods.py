"""Finding people in a picture with a network of the stills branch, at the picture's own or at a low resolution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.skeletons import SMPLX55, JointSet
from pipeline.stills.people import StillPeople

LANDMARKS, LOW = "landmarks", (208, 128)
"""The method that is no network of the branch; what its low pictures fit into."""
LEAST_SCORE = 0.05
"""Average precision needs the unsure ones too."""
_PLACES = {
    "mid_hip": ("left_hip", "right_hip"), "neck": ("left_shoulder", "right_shoulder"),
    "thorax": ("left_shoulder", "right_shoulder"), "spine": ("spine2",),
}  # fmt: skip
"""Joints of the data sets that the body has under other names."""


@dataclass(frozen=True)
class FoundPeople:
    """People found in a picture, in its own pixels.

    Attributes:
        boxes: (P, 4). scores: (P,).
        joints: (P, J, 3) metres in the camera's axes, in the joint set asked for; NaN where the body has none.
        pixels: (P, J, 2).
    """

    boxes: np.ndarray
    scores: np.ndarray
    joints: np.ndarray
    pixels: np.ndarray


Finder = Callable[[np.ndarray, np.ndarray | None, JointSet, bool], FoundPeople]
"""Image (H, W, 3), intrinsics or None, joint set, whether at low resolution."""


def open_finder(name: str, weights: str, resolve: Callable[[str], Path], low: tuple[int, int] | None) -> Finder:
    """A network by the name of its row. Raises InputError for weights that are not there or are no such network."""
    from data.model_files import open_weights
    from nets.checkpoints import CheckpointError
    from nets.mili.weights import load_network

    if weights == LANDMARKS:
        return LandmarksFinder(low or LOW)
    path = open_weights("stills") if weights == "open" else resolve(weights)
    if path is None or not path.is_file():
        raise InputError(f"methods.{name}", f"{weights}: there are no such weights",
                         "Give the path of weights, or train them: run_pipeline.py train mili")  # fmt: skip
    try:
        network = load_network(path)
    except CheckpointError as error:
        raise InputError(f"methods.{name}", str(error), "Give weights of a stills network") from error
    return NetworkFinder(network, low or network.options.low)


class _Finder(ABC):
    """A method of the stills branch on pictures as they are, or made small first."""

    def __init__(self, low: tuple[int, int]) -> None:
        from pipeline.body.regressor import regressor_for
        from tasks.benchmarks.fitted_bodies import open_model

        self._low = low
        self._model = open_model()
        self._regressor = regressor_for(self._model)

    @abstractmethod
    def _find(self, image: np.ndarray, low: bool, focal: float | None) -> StillPeople: ...

    def __call__(self, image: np.ndarray, K: np.ndarray | None, joint_set: JointSet, low: bool) -> FoundPeople:
        shown, scale = lowered(image, self._low) if low else (image, 1.0)
        focal = None if K is None else float(np.sqrt(K[0, 0] * K[1, 1])) * scale
        found = self._find(shown, low, focal)
        joints = body_joints(self._model, found, joint_set)
        pixels = found.camera.project(joints)
        boxes = (found.boxes.astype(np.float64).reshape(-1, 2, 2) + 0.5) / scale - 0.5
        return FoundPeople(boxes.reshape(-1, 4), found.scores.astype(np.float64), joints, (pixels + 0.5) / scale - 0.5)


class NetworkFinder(_Finder):
    """``pipeline.stills.find``."""

    def __init__(self, network, low: tuple[int, int]) -> None:
        super().__init__(low)
        self._network = network

    def _find(self, image: np.ndarray, low: bool, focal: float | None) -> StillPeople:
        from pipeline.stills.find import FindOptions, find_people

        options = FindOptions(threshold=LEAST_SCORE, resolution="low" if low else "high")
        return find_people(image, self._network, self._model, self._regressor, options, focal)


class LandmarksFinder(_Finder):
    """``pipeline.stills.fitted``."""

    def __init__(self, low: tuple[int, int]) -> None:
        from data.model_files import blazepose_files, open_weights
        from nets.mili.weights import load_network
        from pipeline.stills.fitted import BodyFitter
        from pipeline.stills.landmarks import LandmarkFinder

        super().__init__(low)
        path = open_weights("stills")
        network = None if path is None else load_network(path)
        self._fitter = BodyFitter(LandmarkFinder(*blazepose_files()), self._model, self._regressor, network)

    def _find(self, image: np.ndarray, low: bool, focal: float | None) -> StillPeople:
        from pipeline.stills.landmarks import LandmarkOptions

        return self._fitter.find(image, LandmarkOptions(threshold=LEAST_SCORE), focal)


def lowered(image: np.ndarray, low: tuple[int, int]) -> tuple[np.ndarray, float]:
    """The image shrunk to fit ``low`` (width, height), and the scale; larger it never becomes."""
    import cv2

    height, width = image.shape[:2]
    scale = min(low[0] / width, low[1] / height, 1.0)
    if scale == 1.0:
        return image, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def body_joints(model, people: StillPeople, joint_set: JointSet) -> np.ndarray:
    """(P, J, 3) joints of found bodies by name: the body's own joints, points of its surface, its highest point for
    the top of the head."""
    import torch

    out = np.full((len(people), len(joint_set), 3), np.nan)
    if not len(people):
        return out
    names = ("global_orient", "body_pose", "betas", "transl")
    with torch.no_grad():
        posed = model(**{n: torch.as_tensor(np.asarray(getattr(people, n), np.float32)) for n in names})
    vertices, joints = posed.vertices.numpy(), posed.joints.numpy()
    top = int(model.template[:, 1].argmax())
    for k, name in enumerate(joint_set.joints):
        if name == "head_top":
            out[:, k] = vertices[:, top]
        elif name in model.keypoint_vertices:
            out[:, k] = vertices[:, model.keypoint_vertices[name]]
        else:
            parts = _PLACES.get(name, (name,))
            if all(p in SMPLX55.joints for p in parts):
                out[:, k] = joints[:, [SMPLX55.index(p) for p in parts]].mean(1)
    return out


def roots_of(joint_set: JointSet) -> list[int]:
    """The joints whose mean is the origin of a pose: the middle of the hips."""
    names = ("mid_hip",) if "mid_hip" in joint_set.joints else ("left_hip", "right_hip")
    return [joint_set.index(n) for n in names]


