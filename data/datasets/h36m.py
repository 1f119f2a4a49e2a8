"""Human3.6M as the annotations that are passed round with its pictures have it (3DMPPE's layout):

    ROOT/annotations/Human36M_subject<n>_data.json       images and boxes, COCO's way
    ROOT/annotations/Human36M_subject<n>_camera.json     R, t (millimetres), f, c of every camera
    ROOT/annotations/Human36M_subject<n>_joint_3d.json   action > subaction > frame > 17 joints, millimetres, world
    ROOT/images/<folder>/<file>.jpg

The original's CDF and the npz that others make of it (pickles inside) are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.datasets.files import entry, folder, read_json, table
from data.datasets.stills import Still, person
from pipeline.errors import InputError
from pipeline.skeletons import H36M17

TEST, STEP = (9, 11), 64
"""Subjects and every how manieth frame of the usual test."""


class Human36m:
    """``data.datasets.stills.StillsDataset``. Figures are averaged over actions first.

    Args:
        subjects: numbers.
        step: every how manieth frame.
    """

    joint_set = H36M17

    def __init__(self, root: Path, subjects: Sequence[int] = TEST, step: int = STEP) -> None:
        if not (root / "annotations").is_dir() and (list(root.rglob("*.cdf"))[:1] or list(root.glob("*.npz"))[:1]):
            raise InputError(
                root, "holds CDF or npz files, which are not read", "Give Human36M_subject<n>_*.json below annotations/"
            )
        self._annotations = folder(root / "annotations", "Human36M_subject<n>_data.json")
        self._images, self._subjects, self._step = folder(root / "images", "every image"), tuple(subjects), step
        self._files = {n: [self._annotations / f"Human36M_subject{n}_{kind}.json" for kind in
                           ("data", "camera", "joint_3d")] for n in self._subjects}  # fmt: skip
        for path in (p for paths in self._files.values() for p in paths):
            if not path.is_file():
                raise InputError(path, "no such file", "Give subjects whose annotations are there")

    def stills(self) -> Iterator[Still]:
        for paths in self._files.values():
            data, cameras, joints = (read_json(p) for p in paths)
            boxes = {entry(paths[0], a, "image_id"): entry(paths[0], a, "bbox") for a in data["annotations"]}
            for image in entry(paths[0], data, "images"):
                if image["frame_idx"] % self._step == 0:
                    yield self._still(paths, image, boxes.get(image["id"]), cameras, joints)

    def _still(self, paths: list[Path], image: dict, box, cameras: dict, joints: dict) -> Still:
        camera = entry(paths[1], cameras, str(image["cam_idx"]))
        R, t, f, c = (table(paths[1], entry(paths[1], camera, k), s, k)
                      for k, s in (("R", (3, 3)), ("t", (3,)), ("f", (2,)), ("c", (2,))))  # fmt: skip
        keys = (str(image[k]) for k in ("action_idx", "subaction_idx", "frame_idx"))
        world = table(paths[2], entry(paths[2], joints, *keys), (17, 3), "joints")
        points = (world @ R.T + t) / 1000
        K = np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1]])
        pixels = points[:, :2] / points[:, 2:] * f + c
        corners = None if box is None else np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
        name = str(image["file_name"])
        one = person(H36M17, box=corners, keypoints=pixels, joints=points)
        return Still(Path(name).stem, f"action{image['action_idx']:02d}", self._images / name, None, K, (one,))
