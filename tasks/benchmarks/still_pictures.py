"""Pictures that the stills benchmark is run on, whatever they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from data.datasets.stills import Still, StillPerson, person
from pipeline.config import Number, Section
from pipeline.errors import InputError
from pipeline.skeletons import SKEL19, JointSet

NAMES = ("synthetic", "panoptic", "mupots", "h36m", "mpi_inf_3dhp", "coco", "mpii", "panda", "labelled")


class StillsDatasetConfig(Section):
    """Where pictures come from."""

    name: str = Field("synthetic", description=f"One of {', '.join(NAMES)}.")
    root: str | None = Field(None, description="Folder of the data set; null for synthetic.")
    split: str | None = Field(None, description="Of coco (val2017), panda (train), mpi_inf_3dhp (test); null: that.")
    scale: Number = Field(1.0, gt=0, le=1, description="Pictures are shrunk to so much of their size first.")
    step: int | None = Field(None, ge=1, description="Every how manieth picture; null: as the data set is tested on.")

    @model_validator(mode="after")
    def _known(self) -> StillsDatasetConfig:
        if self.name not in NAMES:
            raise ValueError(f"name {self.name!r} is not one of {', '.join(NAMES)}")
        if (self.name == "synthetic") != (self.root is None):
            raise ValueError(f"{self.name} {'has no' if self.name == 'synthetic' else 'needs a'} root")
        if self.split is not None and self.name not in ("coco", "panda", "mpi_inf_3dhp"):
            raise ValueError(f"{self.name} has no splits")
        return self


@dataclass(frozen=True)
class TestPicture:
    """One picture with its answer.

    Attributes:
        read: makes the RGB image (H, W, 3) uint8.
        K: intrinsics or None.
        seen: (T,) share of each person that is visible, NaN where not known.
    """

    name: str
    sequence: str
    read: Callable[[], np.ndarray]
    K: np.ndarray | None
    people: tuple[StillPerson, ...]
    seen: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """A data set: its joint set (None: boxes alone) and its pictures."""

    joint_set: JointSet | None
    each: Callable[[], Iterator[TestPicture]]


def open_pictures(config: StillsDatasetConfig, root: Path | None, made: Path, count: int | None, tell) -> Pictures:
    """Open a data set before any work.

    Args:
        made: where synthetic pictures are kept.
        count: most pictures.

    Raises:
        InputError: it is not where the user says.
    """
    if config.name == "synthetic":
        pictures = (shrunk(p, config.scale) for p in _synthetic(made, count or 200, tell))
        return Pictures(SKEL19, lambda: pictures)
    if not root.is_dir():
        raise InputError("dataset.root", f"{root} is no folder", f"Give the folder of {config.name}")
    dataset = _reader(config, root)

    def each() -> Iterator[TestPicture]:
        for number, still in enumerate(_stepped(dataset.stills(), config)):
            if count is not None and number >= count:
                return
            yield shrunk(_picture(still), config.scale)

    return Pictures(dataset.joint_set, each)


def _reader(config: StillsDatasetConfig, root: Path):
    step = {} if config.step is None else {"step": config.step}
    if config.name == "panoptic":
        from data.datasets.panoptic import Panoptic

        return Panoptic(root, **step)
    if config.name == "mupots":
        from data.datasets.mupots import Mupots

        return Mupots(root)
    if config.name == "h36m":
        from data.datasets.h36m import Human36m

        return Human36m(root, **step)
    if config.name == "mpi_inf_3dhp":
        from data.datasets.mpi_inf_3dhp import MpiInf3dhp

        return MpiInf3dhp(root, config.split or "test", **step)
    if config.name == "coco":
        from data.datasets.coco import Coco

        return Coco(root, config.split or "val2017")
    if config.name == "mpii":
        from data.datasets.mpii import Mpii

        return Mpii(root)
    if config.name == "labelled":
        from data.datasets.labelled import Labelled

        return Labelled(root)
    from data.datasets.panda import Panda

    return Panda(root, config.split or "train")


def _stepped(stills: Iterator[Still], config: StillsDatasetConfig) -> Iterator[Still]:
    own = config.name in ("panoptic", "h36m", "mpi_inf_3dhp")  # these pass over pictures before they read them
    for number, still in enumerate(stills):
        if own or config.step is None or number % config.step == 0:
            yield still


def shrunk(picture: TestPicture, scale: float) -> TestPicture:
    """The picture with so much of its size, and its answer."""
    if scale == 1:
        return picture

    def read() -> np.ndarray:
        import cv2

        image = picture.read()
        size = tuple(max(1, round(scale * side)) for side in image.shape[1::-1])
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    def moved(points: np.ndarray) -> np.ndarray:
        return (points + 0.5) * scale - 0.5

    people = tuple(
        replace(p, box=moved(p.box), keypoints=moved(p.keypoints), head_px=scale * p.head_px,
                outlines=tuple(moved(o) for o in p.outlines))
        for p in picture.people
    )  # fmt: skip
    K = picture.K
    if K is not None:
        K = K * [[scale], [scale], [1.0]]
        K[:2, 2] += (scale - 1) / 2
    return replace(picture, read=read, K=K, people=people)


def _picture(still: Still) -> TestPicture:
    return TestPicture(still.name, still.sequence, still.read, still.K, still.people,
                       np.full(len(still.people), np.nan))  # fmt: skip


SYNTHETIC_PEOPLE, SYNTHETIC_POSES, SYNTHETIC_SEED = 30, 5, 77


def _synthetic(folder: Path, count: int, tell) -> Iterator[TestPicture]:
    """Pictures of people of the split that nobody trains on."""
    from data.still_samples import StillData, StillFiles, left_out, make_data
    from data.synthetic.still_scenes import StillOptions

    data = StillData("test", SYNTHETIC_PEOPLE, SYNTHETIC_POSES, count, SYNTHETIC_SEED)
    files = StillFiles(make_data(folder, data, StillOptions(size=(832, 512)), tell))
    for number in range(min(count, len(files))):
        still = files[number]
        K = np.array([[still.focal, 0, still.principal[0]], [0, still.focal, still.principal[1]], [0, 0, 1]])
        people = [
            person(SKEL19, box=still.boxes[m], keypoints=still.keypoints[m], joints=still.joints[m])
            for m in range(len(still.boxes))
        ]
        # Those who are there but hardly seen are no false people when found.
        people += [person(SKEL19, box=box, ignored=True) for box in left_out(still)]
        seen = np.concatenate([still.seen, np.full(len(people) - len(still.boxes), np.nan)])
        yield TestPicture(f"synthetic_{number:05d}", "", lambda image=still.image: np.ascontiguousarray(image), K,
                          tuple(people), seen)  # fmt: skip
