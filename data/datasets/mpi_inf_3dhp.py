"""MPI-INF-3DHP: one person, markerless ground truth.

Test set (six sequences):

    ROOT/TS<1..6>/annot_data.mat    HDF5: annot2 (N, 1, 17, 2) pixels, annot3 and univ_annot3 (N, 1, 17, 3) millimetres
                                    in the camera, valid_frame (N, 1)
    ROOT/TS<1..6>/imageSequence/img_<6 digits>.jpg, from 1

Training set:

    ROOT/S<1..8>/Seq<1,2>/annot.mat     annot2, annot3, univ_annot3: cells, one a camera, (N, 56) and (N, 84): 28 joints
    ROOT/S<1..8>/Seq<1,2>/imageSequence/video_<camera>.avi
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.datasets.files import read_mat
from data.datasets.stills import Still, intrinsics_from_pairs, person
from pipeline.errors import InputError
from pipeline.skeletons import MPI17

RELEVANT = np.array([7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6])
"""Of the 28 joints of the training set, those that the test set has, in its order."""
_AGAIN = "Unpack the data set again"


class MpiInf3dhp:
    """``data.datasets.stills.StillsDataset``.

    Args:
        split: test or train.
        cameras: of the training set, None for all 14.
        step: every how manieth frame.
    """

    joint_set = MPI17

    def __init__(self, root: Path, split: str = "test", cameras: Sequence[int] | None = None, step: int = 1) -> None:
        self.split, self._cameras, self._step = split, cameras, step
        pattern, depth = (r"TS\d+", "TS*/annot_data.mat") if split == "test" else (r"S\d+", "S*/Seq*/annot.mat")
        inside = root / "mpi_inf_3dhp_test_set"
        base = inside if split == "test" and inside.is_dir() else root
        self._files = sorted(p for p in base.glob(depth) if re.fullmatch(pattern, p.relative_to(base).parts[0]))
        if not self._files:
            raise InputError(root, f"holds no {split} sequence of MPI-INF-3DHP ({depth})", "Give the data set's folder")

    def stills(self) -> Iterator[Still]:
        for path in self._files:
            yield from self._test(path) if self.split == "test" else self._train(path)

    def _test(self, path: Path) -> Iterator[Still]:
        content = read_mat(path)
        pixels, joints, universal = (_joints(path, content, k, d)
                                     for k, d in (("annot2", 2), ("annot3", 3), ("univ_annot3", 3)))  # fmt: skip
        valid = np.asarray(content.get("valid_frame", np.ones(len(pixels)))).ravel() > 0
        if len(valid) != len(pixels):
            raise InputError(path, f"has {len(valid)} flags valid_frame for {len(pixels)} frames", _AGAIN)
        K, name = intrinsics_from_pairs(joints.reshape(-1, 3), pixels.reshape(-1, 2)), path.parent.name
        for f in range(0, len(pixels), self._step):
            if valid[f]:
                one = person(MPI17, keypoints=pixels[f], joints=joints[f] / 1000, universal=universal[f] / 1000)
                image = path.parent / "imageSequence" / f"img_{f + 1:06d}.jpg"
                yield Still(f"{name}_{f + 1:06d}", name, image, None, K, (one,))

    def _train(self, path: Path) -> Iterator[Still]:
        content = read_mat(path)
        sequence = f"{path.parent.parent.name}_{path.parent.name}"
        cells = [np.asarray(content.get(k, np.zeros(0)), object).ravel() for k in ("annot2", "annot3", "univ_annot3")]
        if not len(cells[0]) or len({len(c) for c in cells}) != 1:
            raise InputError(path, "has no annot2, annot3 and univ_annot3 of every camera", _AGAIN)
        for camera in range(len(cells[0])) if self._cameras is None else self._cameras:
            if camera >= len(cells[0]):
                raise InputError(path, f"has no camera {camera}", f"It has {len(cells[0])}, from 0")
            try:
                pixels, joints, universal = (
                    np.asarray(c[camera], np.float64).reshape(-1, 28, d)[:, RELEVANT]
                    for c, d in zip(cells, (2, 3, 3), strict=True)
                )
            except ValueError as error:
                raise InputError(path, f"camera {camera} has not 28 joints a frame ({error})", _AGAIN) from None
            K = intrinsics_from_pairs(joints.reshape(-1, 3), pixels.reshape(-1, 2))
            video = path.parent / "imageSequence" / f"video_{camera}.avi"
            for f in range(0, len(pixels), self._step):
                one = person(MPI17, keypoints=pixels[f], joints=joints[f] / 1000, universal=universal[f] / 1000)
                yield Still(f"{sequence}_{camera}_{f:06d}", sequence, video, f, K, (one,))


def _joints(path: Path, content: dict, name: str, dimensions: int) -> np.ndarray:
    """(N, 17, D) of an array with any axes of length one."""
    value = np.asarray(content.get(name, np.zeros(0)), np.float64)
    squeezed = value.reshape(value.shape[0], *(s for s in value.shape[1:] if s != 1)) if value.ndim else value
    if squeezed.shape[1:] != (17, dimensions):
        raise InputError(path, f"{name} is of the shape {value.shape} instead of (N, 1, 17, {dimensions})", _AGAIN)
    return squeezed
