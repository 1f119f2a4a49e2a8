"""COCO: people in photographs with boxes, 17 keypoints and outlines.

    ROOT/annotations/person_keypoints_<split>.json
    ROOT/<split>/<12 digits>.jpg                     (or ROOT/images/<split>/...)

splits: val2017, train2017. Keypoints are x, y, v: 0 not labelled, 1 hidden, 2 visible. Crowds (``iscrowd``) are
ignored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.datasets.files import entry, folder, read_json, table
from data.datasets.stills import Still, StillPerson, person
from pipeline.skeletons import COCO17

PERSON = 1


class Coco:
    """``data.datasets.stills.StillsDataset``."""

    joint_set = COCO17

    def __init__(self, root: Path, split: str = "val2017") -> None:
        self.path = root / "annotations" / f"person_keypoints_{split}.json"
        content = read_json(self.path)
        self._images = sorted(entry(self.path, content, "images"), key=lambda i: entry(self.path, i, "id"))
        self._people: dict[int, list] = defaultdict(list)
        for annotation in entry(self.path, content, "annotations"):
            if annotation.get("category_id", PERSON) == PERSON:
                self._people[entry(self.path, annotation, "image_id")].append(annotation)
        beside = root / split
        self._folder = beside if beside.is_dir() else folder(root / "images" / split, f"the images of {split}")

    def stills(self) -> Iterator[Still]:
        for image in self._images:
            name = str(entry(self.path, image, "file_name"))
            people = tuple(self._person(a) for a in self._people[image["id"]])
            yield Still(Path(name).stem, "", self._folder / Path(name).name, None, None, people)

    def _person(self, annotation: dict) -> StillPerson:
        x, y, w, h = table(self.path, entry(self.path, annotation, "bbox"), (4,), "bbox")
        points = table(self.path, annotation.get("keypoints", [0] * 51), (51,), "keypoints").reshape(17, 3)
        keypoints = np.where(points[:, 2:] > 0, points[:, :2], np.nan)
        crowd = bool(annotation.get("iscrowd", 0))
        shape = annotation.get("segmentation", [])
        outlines = tuple(np.asarray(o, np.float64).reshape(-1, 2) for o in shape) if isinstance(shape, list) else ()
        return person(COCO17, box=np.array([x, y, x + w, y + h]), keypoints=keypoints, visible=points[:, 2] == 2,
                      ignored=crowd, outlines=outlines)  # fmt: skip
