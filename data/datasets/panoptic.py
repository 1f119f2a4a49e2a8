"""CMU Panoptic Studio: groups in a dome of cameras, 19 joints a person in 3D.

    ROOT/<sequence>/calibration_<sequence>.json
    ROOT/<sequence>/hdPose3d_stage1_coco19/body3DScene_<8 digits>.json    (or hdPose3d_stage1_coco19/hd/...)
    ROOT/<sequence>/hdImgs/<camera>/<camera>_<8 digits>.jpg               or hdVideos/hd_<camera>.mp4

Joints are centimetres in the world of the calibration, each with a confidence; below 0.1 it is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.calibration.reader import read_calibration
from data.datasets.files import entry, folder, read_json, table
from data.datasets.stills import Still, StillPerson, person
from pipeline.cameras import Camera
from pipeline.errors import InputError
from pipeline.skeletons import PANOPTIC19

SEQUENCES = ("160422_haggling1", "160422_mafia2", "160422_ultimatum1", "160906_pizza1")
CAMERAS = ("00_16", "00_30")
"""What the papers on several people in one picture test on."""
LEAST_CONFIDENCE = 0.1


class Panoptic:
    """``data.datasets.stills.StillsDataset``.

    Args:
        sequences, cameras: names.
        step: every how manieth frame that has joints.
    """

    joint_set = PANOPTIC19

    def __init__(
        self, root: Path, sequences: Sequence[str] = SEQUENCES, cameras: Sequence[str] = CAMERAS, step: int = 1
    ) -> None:
        self.root, self.step = root, step
        self._cameras: dict[str, list[Camera]] = {}
        self._poses: dict[str, Path] = {}
        for name in sequences:
            base = folder(root / name, f"the sequence {name}")
            rig = read_calibration(base / f"calibration_{name}.json", "panoptic")
            if missing := [c for c in cameras if c not in rig.names]:
                raise InputError(base / f"calibration_{name}.json", f"has no camera {missing[0]}", "Choose others")
            self._cameras[name] = [rig[c] for c in cameras]
            poses = base / "hdPose3d_stage1_coco19"
            self._poses[name] = poses / "hd" if (poses / "hd").is_dir() else folder(poses, "body3DScene_*.json")

    def stills(self) -> Iterator[Still]:
        for sequence, cameras in self._cameras.items():
            files = sorted(self._poses[sequence].glob("body3DScene_*.json"))
            if not files:
                raise InputError(self._poses[sequence], "holds no body3DScene_*.json", "Unpack the poses")
            for path in files[:: self.step]:
                everybody = self._people(path)
                number = int(path.stem.rsplit("_", 1)[1])
                for camera in cameras:
                    people = tuple(q for q in (_in(camera, joints) for joints in everybody) if q is not None)
                    image, frame = self._picture(sequence, camera.name, number)
                    yield Still(f"{sequence}_{camera.name}_{number:08d}", sequence, image, frame, camera.K, people,
                                camera.distortion)  # fmt: skip

    def _people(self, path: Path) -> list[np.ndarray]:
        """(19, 3) metres in the world, NaN where not known."""
        out = []
        for body in entry(path, read_json(path), "bodies"):
            values = table(path, entry(path, body, "joints19"), (76,), "joints19").reshape(19, 4)
            out.append(np.where(values[:, 3:] > LEAST_CONFIDENCE, values[:, :3] / 100, np.nan))
        return out

    def _picture(self, sequence: str, camera: str, number: int) -> tuple[Path, int | None]:
        base = self.root / sequence
        image = base / "hdImgs" / camera / f"{camera}_{number:08d}.jpg"
        return (image, None) if image.parent.is_dir() else (base / "hdVideos" / f"hd_{camera}.mp4", number)


def _in(camera: Camera, joints: np.ndarray) -> StillPerson | None:
    """A person as a camera has them; None for one who is not in the picture."""
    points, pixels = camera.to_camera(joints), camera.project(joints)
    with np.errstate(invalid="ignore"):
        framed = ((pixels >= 0) & (pixels <= np.array(camera.size) - 1)).all(-1)
    if not framed.any():
        return None
    return person(PANOPTIC19, keypoints=pixels, visible=framed, joints=points)
