"""Photographs labelled in COCO's form with keypoints of any names, as CrowdPose and AI Challenger are given:

    ROOT/**/<anything>.json     images, annotations and categories, whose first names the keypoints
    beside each                 its images

Files of other content are passed over. Names of keypoints are those of this project's joints, whatever their case;
``head`` is the top of the head. Keypoints are x, y, v: 0 not labelled, 1 hidden, 2 visible.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.datasets.files import entry, folder, read_json, table
from data.datasets.stills import Still, StillPerson, person
from pipeline.errors import InputError
from pipeline.skeletons import MPI17

_NAMES = {"head": "head_top"}


class Labelled:
    """``data.datasets.stills.StillsDataset``. Joints of the labels that ``joint_set`` has not are left out."""

    joint_set = MPI17

    def __init__(self, root: Path) -> None:
        self._files = []
        for path in sorted(folder(root, "labelled photographs").rglob("*.json")):
            content = read_json(path)
            if isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content):
                self._files.append((path, content))
        if not self._files:
            raise InputError(root, "has no labels in COCO's form", "Give a folder with images and their .json")

    def stills(self) -> Iterator[Still]:
        for path, content in self._files:
            columns = _columns(path, content)
            people: dict[int, list[StillPerson]] = {}
            for annotation in content["annotations"]:
                people.setdefault(entry(path, annotation, "image_id"), []).append(_person(path, annotation, columns))
            for image in sorted(content["images"], key=lambda i: str(entry(path, i, "file_name"))):
                name = Path(str(image["file_name"])).name
                found = tuple(people.get(entry(path, image, "id"), ()))
                yield Still(Path(name).stem, "", path.parent / name, None, None, found)


def _columns(path: Path, content: dict) -> np.ndarray:
    """(K,) number of each labelled keypoint in the joint set, -1 for those that it has not."""
    categories = content["categories"]
    names = entry(path, categories[0], "keypoints") if categories else []
    words = [str(n).lower().replace(" ", "_") for n in names]
    words = [_NAMES.get(w, w) for w in words]
    return np.array([MPI17.joints.index(w) if w in MPI17.joints else -1 for w in words], int)


def _person(path: Path, annotation: dict, columns: np.ndarray) -> StillPerson:
    x, y, w, h = table(path, entry(path, annotation, "bbox"), (4,), "bbox")
    given = table(path, entry(path, annotation, "keypoints"), (3 * len(columns),), "keypoints").reshape(-1, 3)
    points, visible = np.full((len(MPI17), 2), np.nan), np.zeros(len(MPI17), bool)
    used = (columns >= 0) & (given[:, 2] > 0)
    points[columns[used]] = given[used, :2]
    visible[columns[used]] = given[used, 2] == 2
    ignored = bool(annotation.get("iscrowd", 0))
    return person(MPI17, box=np.array([x, y, x + w, y + h]), keypoints=points, visible=visible, ignored=ignored)
