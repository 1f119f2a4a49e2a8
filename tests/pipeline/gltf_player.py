"""Plays a GLB for tests by the rules of the glTF 2.0 specification alone, from the bytes of the file."""

from __future__ import annotations

import json
import struct

import numpy as np

_KINDS = {5120: np.int8, 5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class GltfPlayer:
    def __init__(self, data: bytes) -> None:
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.json = json.loads(data[20 : 20 + size])
        self.buffer = data[20 + size + 8 :]
        self.nodes = self.json["nodes"]
        self.parents = {c: i for i, n in enumerate(self.nodes) for c in n.get("children", ())}

    def node(self, name: str) -> int:
        (index,) = (i for i, n in enumerate(self.nodes) if n.get("name") == name)
        return index

    def array(self, accessor: int) -> np.ndarray:
        a = self.json["accessors"][accessor]
        view = self.json["bufferViews"][a["bufferView"]]
        width = _WIDTHS[a["type"]]
        kind = np.dtype(_KINDS[a["componentType"]])
        stride = view.get("byteStride", width * kind.itemsize)
        data = np.frombuffer(self.buffer, np.uint8, stride * a["count"], view["byteOffset"]).reshape(-1, stride)
        return np.ascontiguousarray(data[:, : width * kind.itemsize]).view(kind)

    def still(self, name: str, time: float | None) -> np.ndarray:
        """Vertices (V, 3) of the mesh of node ``name``, where it is at ``time``."""
        index = self.node(name)
        (primitive,) = self.json["meshes"][self.nodes[index]["mesh"]]["primitives"]
        points = self.array(primitive["attributes"]["POSITION"]).astype(float)
        matrix = self.pose(time)[index]
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    def pose(self, time: float | None) -> list[np.ndarray]:
        """Global matrices of all nodes at ``time``; None: before the animation."""
        local = [
            {"translation": n.get("translation", (0, 0, 0)), "rotation": n.get("rotation", (0, 0, 0, 1)),
             "scale": n.get("scale", (1, 1, 1))}
            for n in self.nodes
        ]  # fmt: skip
        for animation in self.json.get("animations", ()) if time is not None else ():
            for channel in animation["channels"]:
                value = self._sample(animation["samplers"][channel["sampler"]], time)
                local[channel["target"]["node"]][channel["target"]["path"]] = value
        matrices = [_matrix(**parts) for parts in local]

        def to_world(i: int) -> np.ndarray:
            return to_world(self.parents[i]) @ matrices[i] if i in self.parents else matrices[i]

        return [to_world(i) for i in range(len(matrices))]

    def skinned(self, name: str, time: float | None) -> np.ndarray:
        """Vertices (V, 3) of the skinned mesh of node ``name``."""
        node = self.nodes[self.node(name)]
        skin = self.json["skins"][node["skin"]]
        inverse = self.array(skin["inverseBindMatrices"]).astype(float).reshape(-1, 4, 4).swapaxes(1, 2)
        world = self.pose(time)
        matrices = np.stack([world[j] for j in skin["joints"]]) @ inverse
        (primitive,) = self.json["meshes"][node["mesh"]]["primitives"]
        parts = {k: self.array(v) for k, v in primitive["attributes"].items()}
        points = np.concatenate([parts["POSITION"].astype(float), np.ones((len(parts["POSITION"]), 1))], 1)
        blended = np.einsum("vk,vkab->vab", parts["WEIGHTS_0"].astype(float), matrices[parts["JOINTS_0"]])
        return np.einsum("vab,vb->va", blended, points)[:, :3]

    def _sample(self, sampler: dict, time: float) -> np.ndarray:
        keys, values = self.array(sampler["input"])[:, 0], self.array(sampler["output"]).astype(float)
        assert (np.diff(keys) > 0).all()
        i = int(np.clip(np.searchsorted(keys, time + 1e-6, side="right") - 1, 0, len(keys) - 1))
        if sampler["interpolation"] == "STEP" or i == len(keys) - 1 or time <= keys[i]:
            return values[i]
        s = (time - keys[i]) / (keys[i + 1] - keys[i])
        mixed = (1 - s) * values[i] + s * values[i + 1]
        return mixed / np.linalg.norm(mixed) if values.shape[1] == 4 else mixed


def _matrix(translation, rotation, scale) -> np.ndarray:
    x, y, z, w = rotation
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.array(turn) * np.asarray(scale), translation
    return out
