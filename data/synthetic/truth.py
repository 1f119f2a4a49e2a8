"""What is true of a synthetic capture: the file beside its videos.

``ground_truth.npz`` holds ``frames`` (F,), ``fps``, ``times_s`` (F,), ``person_ids`` (P,), ``joint_set``,
``joint_names`` (J,), ``joints`` (F, P, J, 3) metres in the world of the calibration, the SMPL-X parameters of the
p-th person as ``people/p/<field of BodyTrack>``, the true rig as ``rig/<field>``, and label images (0 nobody, else
person id + 1) as PNG files: that of the f-th frame and c-th camera at ``labels/offsets[f * C + c]`` in
``labels/bytes``.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from pipeline.body.parameters import BodyTrack
from pipeline.cameras import Rig
from pipeline.errors import InputError
from pipeline.files import write_atomic

NAME = "ground_truth.npz"


@dataclass(frozen=True)
class GroundTruth:
    """Joints, bodies, cameras and who is where in each picture.

    Attributes:
        frames: (F,) int64; fps: frames a second.
        person_ids: (P,) int64.
        joint_set: a name in ``pipeline.skeletons.SETS``.
        joints: (F, P, J, 3) float32 metres.
        people: P tracks.
        rig: with lens distortion, as the pictures were taken.
        label_files: F * C PNG files, frame after frame.
    """

    frames: np.ndarray
    fps: float
    person_ids: np.ndarray
    joint_set: str
    joints: np.ndarray
    people: tuple[BodyTrack, ...]
    rig: Rig
    label_files: tuple[bytes, ...]

    def labels(self, frame: int, camera: int) -> np.ndarray:
        """(H, W) uint8 of the distorted picture number ``frame`` of camera number ``camera``: 0 or person id + 1."""
        data = np.frombuffer(self.label_files[frame * len(self.rig) + camera], np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)

    def write(self, folder: Path) -> None:
        """Write ``ground_truth.npz``: it is there whole or not at all."""
        from pipeline.skeletons import SETS

        arrays = {
            "frames": np.asarray(self.frames, np.int64),
            "fps": np.float64(self.fps),
            "times_s": self.frames / self.fps,
            "person_ids": np.asarray(self.person_ids, np.int64),
            "joint_set": np.array(self.joint_set),
            "joint_names": np.array(SETS[self.joint_set].joints),
            "joints": self.joints.astype(np.float32),
            "labels/bytes": np.frombuffer(b"".join(self.label_files), np.uint8),
            "labels/offsets": np.cumsum([0, *map(len, self.label_files)]).astype(np.int64),
        }
        arrays |= {f"people/{k}/{f}": v for k, t in enumerate(self.people) for f, v in t.to_arrays().items()}
        arrays |= {f"rig/{k}": v for k, v in self.rig.to_arrays().items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_atomic(folder / NAME, buffer.getvalue())

    @classmethod
    def read(cls, folder: Path) -> GroundTruth:
        """Read the truth of the capture in ``folder``.

        Raises:
            InputError: there is none.
        """
        path = folder / NAME
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, ValueError) as error:
            raise InputError(path, f"cannot be read ({error})", "Make the capture again") from error
        ends, data = arrays["labels/offsets"], arrays["labels/bytes"].tobytes()

        def under(prefix: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

        ids = arrays["person_ids"]
        return cls(
            arrays["frames"],
            float(arrays["fps"]),
            ids,
            str(arrays["joint_set"]),
            arrays["joints"],
            tuple(BodyTrack.from_arrays(under(f"people/{k}/")) for k in range(len(ids))),
            Rig.from_arrays(under("rig/")),
            tuple(data[a:b] for a, b in pairwise(ends)),
        )
