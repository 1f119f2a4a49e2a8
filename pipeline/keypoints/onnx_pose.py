"""A user's ONNX pose network: people from BlazePose, their joints from the network.

What is understood (OpenCV's DNN module runs it, on one thread):

- One input: (1, 3, H, W) float, the crop of one person, RGB, each channel less (123.675, 116.28, 103.53) and over
  (58.395, 57.12, 57.375), as networks trained on ImageNet expect (MMPose's models among them). Batch size may be free.
  If H and W are, 256 x 192 is used.
- Output, one of
  (a) SimCC, as RTMPose: two outputs (1, J, k W) and (1, J, k H), k a whole number: a score for every column and every
      row, in steps of 1 / k pixel of the crop. The output of the columns is told by its length, and where crops are
      square it is the first. A joint scores the lesser of the two maxima.
  (b) heat maps: one output (1, J, h, w) with w <= W. The joint is at the maximum, moved a quarter of a cell towards the
      higher neighbour; the maximum is its score.
- J is 17 (COCO order), 25 (OpenPose BODY_25) or 33 (BlazePose).

Scores are clipped to 0..1. The crop is the person's box, grown to 1.25 times its size and to the network's proportions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.keypoints.blazepose import BlazePose, region_of
from pipeline.keypoints.crops import agreed, crops_around
from pipeline.keypoints.detections import Detections
from pipeline.keypoints.detector import Instance, InstanceList, without_flashes
from pipeline.keypoints.masks import Cover, paint_over
from pipeline.keypoints.onnx_file import input_shapes
from pipeline.keypoints.regions import transform
from pipeline.keypoints.sides import settle_sides
from pipeline.skeletons import BLAZEPOSE33, BODY25, COCO17, SETS

JOINT_SETS = {len(s): s.name for s in (COCO17, BODY25, BLAZEPOSE33)}
DEFAULT_SIZE = (192, 256)  # width, height
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)
_GROWTH = 1.25
_PAINTED = (128, 512)
"""Least and greatest side of a crop in which others are painted over, pixels."""
_REMEDY = "See the contract at the head of pipeline/keypoints/onnx_pose.py"


class OnnxPose:
    """Joints of several people by a user's network; tracks and masks are those of BlazePose.

    Args:
        network: the .onnx file.
        people: finds the people.

    Raises:
        InputError: the file is missing, cannot be run, or gives other outputs than those understood.
    """

    joint_set: str

    def __init__(self, network: Path, people: BlazePose) -> None:
        self._network = PoseNetwork(network)
        self._people = people
        self.joint_set = self._network.joint_set

    def run(self, frames: Iterable[tuple[int, np.ndarray]], first_kept: int) -> Detections:
        """See ``Detector.run``."""
        out = InstanceList(self.joint_set, self._network.joints)
        for number, image, people in self._people.steps(frames):
            out.start_frame(number)
            for person in people:
                out.add(*self._rejoint(image, person))
        return settle_sides(without_flashes(out.finish())).since(first_kept)

    def in_crops(self, image: np.ndarray, boxes: np.ndarray, keypoints: np.ndarray | None = None) -> Detections:
        """See ``Detector.in_crops``."""
        return self._rejointed(image, self._people.in_crops(image, boxes, keypoints))

    def beside(self, image: np.ndarray, keypoints: np.ndarray) -> Detections:
        """See ``Detector.beside``."""
        return self._rejointed(image, self._people.beside(image, keypoints))

    def _rejointed(self, image: np.ndarray, found: Detections) -> Detections:
        points = np.full((len(found.boxes), self._network.joints, 2), np.nan, np.float32)
        scores = np.zeros(points.shape[:2], np.float32)
        for i in np.flatnonzero(found.box_scores > 0):
            points[i], scores[i] = self._network.run(image, found.boxes[i])
        return replace(found, joint_set=self.joint_set, keypoints=points, scores=scores)

    def alone(self, image: np.ndarray, hidden: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See ``Detector.alone``."""
        region = region_of(np.asarray(keypoints, np.float64))
        if region is None or not region.is_usable:
            return np.full((self._network.joints, 2), np.nan), np.zeros(self._network.joints)
        points, scores = [], []
        side = int(np.clip(round(region.side), *_PAINTED))
        for near in crops_around(region):
            painted = paint_over(near.crop(image, side), near, [Cover.of_pixels(hidden, near, side)])
            there = transform(cv2.invertAffineTransform(near.to_image(side)), keypoints)
            box = np.concatenate([np.nanmin(there, 0), np.nanmax(there, 0)])
            found, score = self._network.run(painted, box)
            points.append(transform(near.to_image(side), found))
            scores.append(score)
        joints = SETS[self.joint_set]
        return agreed(np.array(points), np.array(scores), region.side, keypoints, joints)

    def _rejoint(self, image: np.ndarray, person: Instance) -> Instance:
        points, scores = self._network.run(image, person.box)
        return person._replace(keypoints=points, scores=scores)


class PoseNetwork:
    """The network alone: joints in a box of an image."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = _input_size(path)
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
            self._names = self._net.getUnconnectedOutLayersNames()
            outputs = self._forward(np.zeros((self.size[1], self.size[0], 3), np.uint8))
        except cv2.error as error:
            raise InputError(path, f"OpenCV cannot run it ({_first_line(error)})", _REMEDY) from error
        self._is_simcc = len(outputs) == 2
        self.joints = self._check(outputs)
        self.joint_set = JOINT_SETS[self.joints]

    def run(self, image: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joints (J, 2) in pixels and scores (J,) of the person in ``box`` (4,) x0 y0 x1 y1 of the RGB image."""
        to_image = self._crop_matrix(np.asarray(box, np.float64))
        crop = cv2.warpAffine(image, to_image, self.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        outputs = self._forward(crop)
        points, scores = self._from_simcc(outputs) if self._is_simcc else self._from_heatmaps(outputs[0])
        scores = np.clip(np.nan_to_num(scores), 0.0, 1.0)
        points = points @ to_image[:, :2].T + to_image[:, 2]
        return np.where(scores[:, None] > 0, points, np.nan), scores

    def _forward(self, crop: np.ndarray) -> list[np.ndarray]:
        batch = ((crop.astype(np.float32) - _MEAN) / _DEVIATION).transpose(2, 0, 1)[None]
        self._net.setInput(np.ascontiguousarray(batch))
        return list(self._net.forward(self._names))

    def _check(self, outputs: list[np.ndarray]) -> int:
        """The number of joints."""
        shapes = [o.shape for o in outputs]
        width, height = self.size
        if len(outputs) == 2 and all(len(s) == 3 for s in shapes) and shapes[0][1] == shapes[1][1]:
            lengths = sorted((width, height))
            steps = [n / of for n, of in zip(sorted(s[2] for s in shapes), lengths, strict=True)]
            known = steps[0] == steps[1] == int(steps[0]) >= 1
        else:
            known = len(outputs) == 1 and len(shapes[0]) == 4 and shapes[0][3] <= width and shapes[0][2] <= height
        if not known or shapes[0][0] != 1 or shapes[0][1] not in JOINT_SETS:
            raise InputError(self._path, f"outputs of shape {shapes} for a crop of {width} x {height}", _REMEDY)
        return shapes[0][1]

    def _crop_matrix(self, box: np.ndarray) -> np.ndarray:
        """(2, 3) affine matrix from pixels of the crop to pixels of the image."""
        extent = np.maximum(box[2:] - box[:2], 2.0) * _GROWTH
        scale = (extent / self.size).max()
        centre, middle = (box[:2] + box[2:]) / 2, (np.array(self.size) - 1) / 2
        return np.column_stack([np.eye(2) * scale, centre - scale * middle])

    def _from_simcc(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        x, y = (o[0] for o in outputs)
        if x.shape[1] * self.size[1] != y.shape[1] * self.size[0]:
            x, y = y, x
        steps = x.shape[1] / self.size[0]
        return np.stack([x.argmax(1), y.argmax(1)], 1) / steps, np.minimum(x.max(1), y.max(1))

    def _from_heatmaps(self, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, joints, height, width = maps.shape
        flat = maps[0].reshape(joints, -1)
        row, column = np.divmod(flat.argmax(1), width)
        padded = np.pad(maps[0], ((0, 0), (1, 1), (1, 1)), mode="edge")
        j = np.arange(joints)
        right = padded[j, row + 1, column + 2] - padded[j, row + 1, column]
        down = padded[j, row + 2, column + 1] - padded[j, row, column + 1]
        cells = np.stack([column + 0.25 * np.sign(right), row + 0.25 * np.sign(down)], 1)
        return cells * (np.array(self.size) / (width, height)), flat.max(1)


def _input_size(path: Path) -> tuple[int, int]:
    """(width, height) of the network's input."""
    shapes = input_shapes(path)
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (3, None) or shapes[0][0] not in (1, None):
        raise InputError(path, f"inputs of shape {shapes}, wanted is one (1, 3, height, width)", _REMEDY)
    height, width = shapes[0][2:]
    if height is None or width is None:
        return DEFAULT_SIZE
    if not (16 <= height <= 2048 and 16 <= width <= 2048):
        raise InputError(path, f"an input of {width} x {height} pixels", _REMEDY)
    return width, height


def _first_line(error: cv2.error) -> str:
    return " ".join(str(error).split())[:160]
