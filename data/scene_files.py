"""Scenes with known surfaces in files: making one takes minutes, reading one a second."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from data.surface_scenes import SceneBody, ScenePerson, SceneSource, SurfaceScene, Triangles, Witness
from pipeline.cameras import Rig
from pipeline.files import write_atomic

_FORMAT = 1


class StoredScenes:
    """A ``SceneSource`` that keeps the scenes of another in a folder, a file each, by their digests."""

    def __init__(self, source: SceneSource, folder: Path) -> None:
        self._source, self._folder = source, folder

    def names(self, category: str) -> Sequence[str]:
        return self._source.names(category)

    def digest(self, name: str) -> str:
        return self._source.digest(name)

    def load(self, name: str, views: int) -> SurfaceScene:
        path = self._folder / f"{name}_{views}_views_{self.digest(name)[:16]}.npz"
        try:
            return read_scene(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # not there, or damaged
            scene = self._source.load(name, views)
            write_scene(path, scene)
            return scene


def write_scene(path: Path, scene: SurfaceScene) -> None:
    """Vertices are kept to float32, pictures without loss."""
    arrays: dict[str, np.ndarray] = {
        "format": np.array(_FORMAT), "name": np.array(scene.name), "category": np.array(scene.category),
        "occlusion": np.array(scene.occlusion), "people": np.array(len(scene.people)),
        "witnesses": np.array(len(scene.witnesses)),
    }  # fmt: skip
    arrays |= {f"rig/{k}": v for k, v in scene.rig.to_arrays().items()}
    for k, (image, labels) in enumerate(zip(scene.images, scene.labels, strict=True)):
        arrays[f"image/{k}"], arrays[f"labels/{k}"] = _png(image[..., ::-1]), _png(labels)
    arrays |= _mesh("others", scene.others)
    for k, person in enumerate(scene.people):
        arrays[f"person/{k}/height_m"] = np.array(person.height_m)
        arrays |= _mesh(f"person/{k}/surface", person.surface)
        if person.body is not None:
            arrays |= _mesh(f"person/{k}/body", person.body.mesh)
            parameters = person.body.parameters or {}
            arrays |= {f"person/{k}/parameters/{n}": np.asarray(v) for n, v in parameters.items()}
    if scene.witnesses:
        arrays |= {f"witness/{k}": v for k, v in Rig(tuple(w.camera for w in scene.witnesses)).to_arrays().items()}
        arrays |= {f"witnessed/{k}": _png(w.labels) for k, w in enumerate(scene.witnesses)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def read_scene(path: Path) -> SurfaceScene:
    """Raises OSError, ValueError, KeyError or BadZipFile for a file that is not there, damaged or of another format."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if int(arrays["format"]) != _FORMAT:
        raise ValueError("another format")

    def under(prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    def mesh(name: str) -> Triangles | None:
        if f"{name}/vertices" not in arrays:
            return None
        return arrays[f"{name}/vertices"].astype(np.float64), arrays[f"{name}/faces"].astype(np.int64)

    people = []
    for k in range(int(arrays["people"])):
        body = mesh(f"person/{k}/body")
        found = None if body is None else SceneBody(body, under(f"person/{k}/parameters/") or None)
        people.append(ScenePerson(mesh(f"person/{k}/surface"), found, float(arrays[f"person/{k}/height_m"])))
    rig = Rig.from_arrays(under("rig/"))
    count = int(arrays["witnesses"])
    seen = Rig.from_arrays(under("witness/")).cameras if count else ()
    return SurfaceScene(
        str(arrays["name"]), str(arrays["category"]), rig,
        tuple(np.ascontiguousarray(_picture(arrays[f"image/{k}"])[..., ::-1]) for k in range(len(rig))),
        tuple(_picture(arrays[f"labels/{k}"]) for k in range(len(rig))), tuple(people), mesh("others"),
        float(arrays["occlusion"]), tuple(Witness(c, _picture(arrays[f"witnessed/{k}"])) for k, c in enumerate(seen)),
    )  # fmt: skip


def _mesh(name: str, mesh: Triangles | None) -> dict[str, np.ndarray]:
    if mesh is None:
        return {}
    return {f"{name}/vertices": np.asarray(mesh[0], np.float32), f"{name}/faces": np.asarray(mesh[1], np.int32)}


def _png(image: np.ndarray) -> np.ndarray:
    return cv2.imencode(".png", image)[1].ravel()


def _picture(data: np.ndarray) -> np.ndarray:
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("a picture is damaged")
    return image
