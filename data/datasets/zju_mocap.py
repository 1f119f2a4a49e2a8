"""ZJU-MoCap: one moving person in a ring of cameras, with masks and SMPL vertices; no true surface.

    ROOT/CoreView_<n>/intri.yml, extri.yml     cameras, EasyMocap's way (or annots.json, see below)
    ROOT/CoreView_<n>/<camera>/<6 digits>.jpg  (or images/<camera>/...)
    ROOT/CoreView_<n>/mask/<camera>/<6 digits>.png  (or mask_cihp/...)
    ROOT/CoreView_<n>/new_vertices/<frame>.npy      (6890, 3) metres; or vertices/

The release that Neural Body uses keeps its cameras in annots.npy, a Python pickle, which is never loaded: write them
once as annots.json, a mapping of "cams" to K, D, R, T (millimetres) lists in the order of the camera folders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from data.datasets.files import entry, folder, pickled, read_json, read_npy, table
from data.surface_scenes import SceneBody, ScenePerson, SurfaceScene, Witness
from pipeline.cameras import Camera, Rig
from pipeline.errors import InputError
from pipeline.images import decode

CONVERT = (
    "If you trust it, write annots.json beside it once: python -c \"import json,numpy as n; "
    "c=n.load('annots.npy',allow_pickle=True).item()['cams']; "
    "json.dump({'cams':{k:n.asarray(v).tolist() for k,v in c.items()}},open('annots.json','w'))\""
)
_MASKS = ("mask_cihp", "mask")
_VERTICES = ("new_vertices", "vertices")


def open_zju_mocap(root: Path) -> ZjuMocap:
    return ZjuMocap(root)


class ZjuMocap:
    """``data.surface_scenes.SceneSource``: single people, a scene every ``step`` frames.

    There is no true surface: what a method makes from some cameras is held against the masks of the others.
    """

    def __init__(self, root: Path, step: int = 30) -> None:
        self.root, self.step = root, step
        self._sequences = sorted(p for p in root.glob("CoreView_*") if p.is_dir())
        if not self._sequences:
            raise InputError(root, "holds no sequence of ZJU-MoCap (CoreView_...)", "Give the data set's own folder")
        self._rigs: dict[str, tuple[Rig, list[Path]]] = {}

    def names(self, category: str) -> Sequence[str]:
        if category != "single":
            return []
        out = []
        for sequence in self._sequences:
            images = _images(_cameras(sequence)[0])
            out += [f"{sequence.name}_{k:06d}" for k in range(0, len(images), self.step)]
        return out

    def digest(self, name: str) -> str:
        sequence, frame = self._split(name)
        found = hashlib.sha256()
        for camera in _cameras(sequence):
            path = _images(camera)[frame]
            found.update(f"{camera.name}/{path.name} {path.stat().st_size}\n".encode())
        return found.hexdigest()

    def load(self, name: str, views: int) -> SurfaceScene:
        sequence, frame = self._split(name)
        rig, folders = self._rig(sequence)
        if views >= len(rig):
            raise InputError(sequence, f"has {len(rig)} cameras", "Give fewer views: the others are what is checked")
        given = np.linspace(0, len(rig), views, endpoint=False).astype(int).tolist()
        pictures = [self._picture(rig.cameras[k], folders[k], sequence, frame) for k in range(len(rig))]
        cameras = [c.undistorted() for c in rig.cameras]
        vertices = _vertices(sequence, _images(folders[0])[frame], frame)
        person = ScenePerson(None, SceneBody((vertices, np.zeros((0, 3), np.int64))), float(np.ptp(vertices[:, 2])))
        others = [k for k in range(len(rig)) if k not in given]
        return SurfaceScene(
            name, "single", Rig(tuple(cameras[k] for k in given)), tuple(pictures[k][0] for k in given),
            tuple(pictures[k][1] for k in given), (person,),
            witnesses=tuple(Witness(cameras[k], pictures[k][1]) for k in others),
        )  # fmt: skip

    def _split(self, name: str) -> tuple[Path, int]:
        sequence, frame = name.rsplit("_", 1)
        return self.root / sequence, int(frame)

    def _rig(self, sequence: Path) -> tuple[Rig, list[Path]]:
        if sequence.name not in self._rigs:
            folders = _cameras(sequence)
            size = _picture_size(_images(folders[0])[0])
            self._rigs[sequence.name] = _read_rig(sequence, [f.name for f in folders], size), folders
        return self._rigs[sequence.name]

    def _picture(self, camera: Camera, images: Path, sequence: Path, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """RGB and labels (0, 1), without lens distortion."""
        path = _images(images)[frame]
        base = next((sequence / m for m in _MASKS if (sequence / m / images.name).is_dir()), None)
        if base is None:
            raise InputError(sequence, "holds no mask or mask_cihp of every camera", "Unpack the masks")
        mask_path = base / images.name / path.with_suffix(".png").name
        mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise InputError(mask_path, "is missing or no picture", "Unpack the masks")
        try:
            image = decode(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(path, f"is no picture ({error})", "Unpack the data set again") from None
        if mask.shape != image.shape[:2]:
            raise InputError(mask_path, f"is {mask.shape[::-1]} px, its picture {image.shape[1::-1]}", "Unpack both")
        K, D = camera.K, camera.distortion
        labels = cv2.undistort((mask > 0).astype(np.uint8), K, D)
        return cv2.undistort(image, K, D), labels


def _cameras(sequence: Path) -> list[Path]:
    base = sequence / "images" if (sequence / "images").is_dir() else sequence
    found = sorted((p for p in base.iterdir() if p.is_dir() and p.name.lower().startswith("camera")), key=_number)
    if not found:
        raise InputError(sequence, "holds no folder Camera_B1 ... of pictures", "Unpack the data set again")
    return found


def _number(path: Path) -> int:
    return int("".join(c for c in path.name if c.isdigit()) or 0)


def _images(camera: Path) -> list[Path]:
    found = sorted(camera.glob("*.jpg"))
    if not found:
        raise InputError(camera, "holds no pictures", "Unpack the data set again")
    return found


def _picture_size(path: Path) -> tuple[int, int]:
    from data.image_folder import image_size

    return image_size(path)


def _read_rig(sequence: Path, names: list[str], size: tuple[int, int]) -> Rig:
    if (sequence / "intri.yml").is_file():
        from data.calibration.reader import read_calibration

        rig = read_calibration(sequence, "easymocap", size_of=lambda name: size)
        short = {name: name if name in rig.names else str(_number(Path(name))) for name in names}
        if missing := [n for n in short.values() if n not in rig.names]:
            raise InputError(sequence / "intri.yml", f"has no camera {missing[0]}", "Give the file of these cameras")
        return Rig(tuple(rig[short[n]] for n in names))
    path = sequence / "annots.json"
    if not path.is_file():
        if (sequence / "annots.npy").is_file():
            raise pickled(sequence / "annots.npy", CONVERT)
        raise InputError(sequence, "holds no cameras (intri.yml and extri.yml, or annots.json)", "Unpack it again")
    cams = entry(path, read_json(path), "cams")
    count = len(names)
    K, R = (table(path, entry(path, cams, k), (None, 3, 3), f"cams.{k}") for k in ("K", "R"))
    D, T = (np.asarray(entry(path, cams, k), np.float64).reshape(len(K), -1) for k in ("D", "T"))
    if len(K) < count:
        raise InputError(path, f"has {len(K)} cameras for {count} folders", "Write all of them")
    return Rig(tuple(Camera(n, size, K[i], R[i], T[i] / 1000, D[i][:5]) for i, n in enumerate(names)))


def _vertices(sequence: Path, image: Path, frame: int) -> np.ndarray:
    base = next((sequence / v for v in _VERTICES if (sequence / v).is_dir()), None)
    folder(base or sequence / _VERTICES[0], "the SMPL vertices of every frame")
    path = next((p for p in (base / f"{frame}.npy", base / f"{frame + 1}.npy", base / f"{image.stem}.npy")
                 if p.is_file()), base / f"{frame}.npy")  # fmt: skip
    return table(path, read_npy(path, "Write the vertices as a plain array"), (None, 3), "vertices")
