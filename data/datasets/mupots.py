"""MuPoTS-3D: real scenes with up to three people, markerless ground truth.

    ROOT/TS<1..20>/annot.mat        annotations: cell, frames x people, of structs annot2 (2, 17) pixels, annot3 and
                                    univ_annot3 (3, 17) millimetres in the camera, isValidFrame
    ROOT/TS<1..20>/occlusion.mat    occlusion_labels: cell, frames x people, (1, 17), 1: hidden
    ROOT/TS<1..20>/img_<6 digits>.jpg, from 0

ROOT is the folder MultiPersonTestSet. The intrinsics follow from annot2 and annot3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.datasets.files import read_mat
from data.datasets.stills import Still, StillPerson, intrinsics_from_pairs, person
from pipeline.errors import InputError
from pipeline.skeletons import MPI17


class Mupots:
    """``data.datasets.stills.StillsDataset``; sequences are TS1 ... TS20."""

    joint_set = MPI17

    def __init__(self, root: Path) -> None:
        inside = root / "MultiPersonTestSet"
        self.root = inside if inside.is_dir() else root
        self._sequences = sorted(
            (p for p in self.root.glob("TS*") if p.name[2:].isdigit() and p.is_dir()), key=lambda p: int(p.name[2:])
        )
        if not self._sequences:
            raise InputError(root, "holds no sequence of MuPoTS-3D (TS1 ...)", "Give the folder MultiPersonTestSet")

    def stills(self) -> Iterator[Still]:
        for folder in self._sequences:
            annotations = _cell(folder / "annot.mat", "annotations")
            hidden = folder / "occlusion.mat"
            labels = _cell(hidden, "occlusion_labels") if hidden.is_file() else None
            frames = [[_person(folder, annotations[f, p], None if labels is None else labels[f, p])
                       for p in range(annotations.shape[1])] for f in range(len(annotations))]  # fmt: skip
            everybody = [q for frame in frames for q in frame if q is not None]
            K = None
            if everybody:
                K = intrinsics_from_pairs(
                    np.concatenate([q.joints for q in everybody]), np.concatenate([q.keypoints for q in everybody])
                )
            for f, frame in enumerate(frames):
                people = tuple(q for q in frame if q is not None)
                yield Still(f"{folder.name}_{f:06d}", folder.name, folder / f"img_{f:06d}.jpg", None, K, people)


def _cell(path: Path, name: str) -> np.ndarray:
    content = read_mat(path)
    value = content.get(name)
    if not isinstance(value, np.ndarray) or value.dtype != object or value.ndim != 2:
        raise InputError(path, f"holds no cell {name} of frames by people", "Unpack the data set again")
    return value


def _person(folder: Path, struct: Any, hidden: Any) -> StillPerson | None:
    """None for a person who is not valid in this frame."""
    path = folder / "annot.mat"
    try:
        record = np.ravel(struct)[0]
        if not bool(np.ravel(record["isValidFrame"])[0]):
            return None
        pixels, joints, universal = (np.asarray(record[k], np.float64) for k in ("annot2", "annot3", "univ_annot3"))
        shapes = [pixels.shape, joints.shape, universal.shape]
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise InputError(path, f"lacks annot2, annot3 or univ_annot3 ({error})", "Unpack it again") from None
    if shapes != [(2, 17), (3, 17), (3, 17)]:
        raise InputError(path, f"has joints of the shapes {shapes}", "Unpack the data set again")
    visible = np.ones(17, bool) if hidden is None else np.asarray(hidden).ravel()[:17] == 0
    return person(MPI17, keypoints=pixels.T, visible=visible, joints=joints.T / 1000, universal=universal.T / 1000)
