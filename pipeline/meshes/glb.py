"""glTF 2.0 binary files: still meshes, meshes that change from frame to frame, and people as skinned ones that move.

All are in metres with +y up, as the format demands; ``asset.extras.y_up_from_world`` (row-major) is the rotation from
the world of the calibration. The container is written here directly, so that other libraries stay independent readers.

A moving person is a tree: node ``person_0`` (never moved), below it the joints, and beside it the skinned mesh
``person_0_body``, whose own transform the format ignores. Where a person is absent, ``person_0`` is scaled to zero by a
stepped channel: the way to hide a mesh that the specification names (glTF 2.0, 3.5.3), since a skin vanishes when all
its joints have no size. Files hold four influences a vertex, the most that every viewer reads (``cut_weights``), and no
pose-dependent shapes: with joints swinging by up to 40 degrees, a vertex of the open body is 0.1 mm off on average, one
in a hundred more than 3 mm, none 20 mm.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from pipeline.meshes.colours import linear
from pipeline.meshes.draco import packed
from pipeline.meshes.geometry import check_mesh, vertex_normals, y_up_from_world

INFLUENCES = 4
Compression = Literal["none", "quantised", "draco"]
"""Of still meshes. none: 32-bit floats. quantised: smaller vertices (KHR_mesh_quantization), positions in 65536 steps
along the longest side, of which the node's scale and translation make metres, normals in 8 bits. draco:
``pipeline.meshes.draco`` (KHR_draco_mesh_compression)."""
_COMPONENTS = {"i1": 5120, "u1": 5121, "u2": 5123, "u4": 5125, "f4": 5126}
_LEVELS = 65535  # of quantised positions along the longest side of a mesh
_SHAPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_VERTICES, _INDICES = 34962, 34963  # what a buffer view is for
_SMOOTH = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}  # trilinear, clamped


@dataclass(frozen=True)
class StillMesh:
    """A named mesh: vertices (V, 3) world metres, faces (F, 3), sRGB colour, normals (V, 3) or None for smooth ones,
    colours (V, 3) uint8 sRGB of the vertices or None, and a texture, which goes before them, or None."""

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    colour: tuple[int, int, int]
    normals: np.ndarray | None = None
    colours: np.ndarray | None = None
    skin: Skin | None = None


@dataclass(frozen=True)
class Skin:
    """What a mesh looks like: a texture.

    Attributes:
        vertices: (W,) which vertex of the mesh each of the file's is; seams double some.
        uv: (W, 2) texture coordinates 0..1, v upwards. faces: (F, 3) of the W.
        image: the texture, a JPEG file's bytes.
    """

    vertices: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    image: bytes


@dataclass(frozen=True)
class SkinnedPerson:
    """A person of fixed topology over time.

    Attributes:
        name: of the node, for example person_0.
        vertices: (V, 3) metres in the rest pose.
        faces: (F, 3).
        weights: (V, J) skinning weights, rows sum to 1.
        joints: (J, 3) metres in the rest pose; joint 0 is the root.
        parents: (J,) int, -1 for the root; a parent comes before its children.
        joint_names: J names.
        frames: (N,) int ascending: the frames in which the person is present.
        rotations: (N, J, 3) axis-angle to the parent, radians; of the root to the world.
        root_positions: (N, 3) where the root joint is in the world, metres.
        colour: sRGB 0-255.
        skin: its texture, or None for the plain colour.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    joints: np.ndarray
    parents: np.ndarray
    joint_names: Sequence[str]
    frames: np.ndarray
    rotations: np.ndarray
    root_positions: np.ndarray
    colour: tuple[int, int, int]
    skin: Skin | None = None


def glb_meshes(meshes: Sequence[StillMesh], up: np.ndarray, compression: Compression = "none") -> bytes:
    """A GLB of still meshes, one node each.

    Args:
        meshes: in world metres.
        up: (3,) of the rig; the meshes are turned so that it becomes +y.

    Raises:
        ValueError: see ``check_mesh``.
    """
    turn = y_up_from_world(up)
    glb = _Glb({"y_up_from_world": turn.ravel().tolist()})
    for mesh in meshes:
        glb.roots.append(glb.add("nodes", {"name": mesh.name} | glb.still(mesh, turn, compression)))
    return glb.to_bytes()


def glb_skinned(people: Sequence[SkinnedPerson], up: np.ndarray, fps: float, span: tuple[int, int]) -> bytes:
    """One animated GLB of a session, named ``session``; second 0 is the first frame.

    Before the animation plays, a person stands as in their first frame. Pose-dependent shape changes and facial
    expressions are not part of the file.

    Args:
        people: who is in it; those without a frame are left out.
        up: (3,) of the rig.
        fps: frame numbers a second.
        span: first and last frame number of the session.

    Raises:
        ValueError: see ``check_mesh``; values that are not finite; frames outside the span or not ascending.
    """
    turn = y_up_from_world(up)
    extras = {"y_up_from_world": turn.ravel().tolist(), "fps": float(fps), "first_frame": int(span[0])}
    glb = _Glb(extras)
    animation = _Animation(glb, float(fps), span)
    for person in people:
        if len(person.frames):
            _add_person(glb, animation, person, turn)
    if animation.channels:
        glb.add("animations", {"name": "session", "channels": animation.channels, "samplers": animation.samplers})
    return glb.to_bytes()


def glb_changing(
    people: Mapping[str, Sequence[tuple[int, StillMesh]]],
    up: np.ndarray,
    fps: float,
    span: tuple[int, int],
    step: int,
    compression: Compression = "quantised",
) -> bytes:
    """One animated GLB of meshes whose topology changes: every mesh a node, shown by a stepped scale for its time.

    A person is a node, for example person_0, that is never moved; below it stands a node a mesh, person_0_frame_12,
    whose scale is 0 before and after. Second 0 is the first frame.

    Args:
        people: name -> frames, ascending, with their meshes.
        up: (3,) of the rig. fps: frame numbers a second. span: first and last frame number of the session.
        step: for how many frame numbers a mesh is shown, or until the next one comes.

    Raises:
        ValueError: see ``check_mesh``; frames outside the span or not ascending.
    """
    turn = y_up_from_world(up)
    extras = {"y_up_from_world": turn.ravel().tolist(), "fps": float(fps), "first_frame": int(span[0])}
    glb = _Glb(extras)
    animation = _Animation(glb, float(fps), span)
    for name, meshes in people.items():
        frames = [frame for frame, _ in meshes]
        animation.check(np.array(frames, np.int64))
        children = []
        for place, (frame, mesh) in enumerate(meshes):
            mesh = replace(mesh, name=f"{name}_frame_{frame}")
            children.append(glb.add("nodes", {"name": mesh.name} | glb.still(mesh, turn, compression)))
            until = min([frame + step, *frames[place + 1 : place + 2]])
            animation.shown(children[-1], frame, until)
        if children:
            glb.roots.append(glb.add("nodes", {"name": name, "children": children}))
    if animation.channels:
        glb.add("animations", {"name": "session", "channels": animation.channels, "samplers": animation.samplers})
    return glb.to_bytes()


def cut_weights(weights: np.ndarray, influences: int = INFLUENCES) -> tuple[np.ndarray, np.ndarray]:
    """The strongest influences of each vertex, renormalised.

    Args:
        weights: (V, J), rows sum to 1.
        influences: how many to keep.

    Returns:
        joint numbers (V, influences) uint8 or uint16, 0 where the weight is 0; weights (V, influences) float32.
    """
    weights = np.asarray(weights, np.float64)
    if weights.shape[1] < influences:
        weights = np.pad(weights, ((0, 0), (0, influences - weights.shape[1])))
    index = np.argsort(-weights, axis=1, kind="stable")[:, :influences]
    kept = np.take_along_axis(weights, index, 1)
    kept = (kept / kept.sum(1, keepdims=True)).astype(np.float32)
    return np.where(kept > 0, index, 0).astype(np.uint8 if weights.shape[1] <= 256 else np.uint16), kept


def quaternions(axis_angle: np.ndarray) -> np.ndarray:
    """Axis-angle (..., 3) radians to unit quaternions (..., 4) x, y, z, w, float64."""
    axis_angle = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    return np.concatenate([axis_angle * 0.5 * np.sinc(angle / (2 * np.pi)), np.cos(angle / 2)], -1)


def quaternion_of_matrix(matrix: np.ndarray) -> np.ndarray:
    """A rotation matrix (3, 3) to a unit quaternion (4,) x, y, z, w."""
    m = np.asarray(matrix, np.float64)
    # The largest of the four is found first; the others follow from it without cancellation (Shepperd 1978).
    squares = np.array([*(1 + 2 * np.diag(m) - np.trace(m)), 1 + np.trace(m)])
    i = int(squares.argmax())
    if i == 3:
        q = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]])
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.zeros(4)
        q[[i, j, k, 3]] = squares[i], m[j, i] + m[i, j], m[k, i] + m[i, k], m[k, j] - m[j, k]
    return q / np.linalg.norm(q)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Quaternion product (..., 4): first ``b``, then ``a``."""
    av, aw, bv, bw = a[..., :3], a[..., 3:], b[..., :3], b[..., 3:]
    return np.concatenate([aw * bv + bw * av + np.cross(av, bv), aw * bw - (av * bv).sum(-1, keepdims=True)], -1)


def _add_person(glb: _Glb, animation: _Animation, person: SkinnedPerson, turn: np.ndarray) -> None:
    vertices, faces = check_mesh(person.vertices, person.faces)
    joints = np.asarray(person.joints, np.float64)
    turns = quaternions(person.rotations)
    turns[:, 0] = multiply(quaternion_of_matrix(turn), turns[:, 0])
    # q and -q are the same rotation, but a viewer that blends them naively turns the long way round.
    flips = np.sign((turns[1:] * turns[:-1]).sum(-1, keepdims=True))
    turns[1:] *= np.cumprod(np.where(flips == 0, 1, flips), axis=0)
    positions = np.asarray(person.root_positions, np.float64) @ turn.T
    if not (np.isfinite(turns).all() and np.isfinite(positions).all() and np.isfinite(joints).all()):
        raise ValueError(f"{person.name} has poses or joints that are not finite")

    nodes = [
        glb.add("nodes", {"name": f"{person.name}_{name}", "rotation": turns[0, j].tolist()})
        for j, name in enumerate(person.joint_names)
    ]
    for j, parent in enumerate(person.parents):
        offset = positions[0] if parent < 0 else joints[j] - joints[parent]
        glb.json["nodes"][nodes[j]]["translation"] = offset.tolist()
        if parent >= 0:
            glb.json["nodes"][nodes[parent]].setdefault("children", []).append(nodes[j])

    index, weights = cut_weights(person.weights)
    normals, skin = vertex_normals(vertices, faces), person.skin
    every = np.arange(len(vertices)) if skin is None else skin.vertices
    attributes = {
        "POSITION": glb.vertices(vertices[every]),
        "NORMAL": glb.vertices(normals[every]),
        "JOINTS_0": glb.accessor(index[every], _VERTICES),
        "WEIGHTS_0": glb.vertices(weights[every]),
    }
    texture = None
    if skin is not None:
        attributes["TEXCOORD_0"] = glb.vertices(_downwards(skin.uv))
        texture, faces = glb.texture(f"{person.name}_skin", skin.image), np.asarray(skin.faces, np.int32)
    inverse_binds = np.tile(np.eye(4), (len(joints), 1, 1))
    inverse_binds[:, 3, :3] = -joints  # matrices are stored column by column
    if not len(faces):
        raise ValueError(f"{person.name} has no faces")
    primitive = {"attributes": attributes, "indices": glb.indices(faces)}
    mesh = glb.mesh(f"{person.name}_body", primitive, None if skin is not None else person.colour, texture)
    skin = glb.add(
        "skins",
        {"name": person.name, "joints": nodes, "inverseBindMatrices": glb.accessor(inverse_binds.astype(np.float32))},
    )
    root = glb.add("nodes", {"name": person.name, "children": [nodes[0]]})
    glb.roots += [root, glb.add("nodes", {"name": f"{person.name}_body", "mesh": mesh, "skin": skin})]
    animation.add(root, nodes, person.frames, turns, positions)


@dataclass
class _Animation:
    """Channels and samplers of the one animation of a file."""

    glb: _Glb
    fps: float
    span: tuple[int, int]
    channels: list[dict] = field(default_factory=list)
    samplers: list[dict] = field(default_factory=list)

    def add(
        self, root: int, nodes: list[int], frames: np.ndarray, turns: np.ndarray, positions: np.ndarray
    ) -> None:
        frames = np.asarray(frames, np.int64)
        self.check(frames)
        keys = self._keys(frames)
        self._channel(nodes[0], "translation", keys, positions)
        for j, node in enumerate(nodes):
            self._channel(node, "rotation", keys, turns[:, j])
        changes, visible = _visibility(frames, self.span)
        if not visible.all():
            self._channel(root, "scale", self._keys(changes), np.repeat(visible[:, None], 3, 1), "STEP")

    def check(self, frames: np.ndarray) -> None:
        """Raises ValueError for frames that are not ascending within the session."""
        if len(frames) and ((np.diff(frames) <= 0).any() or frames[0] < self.span[0] or frames[-1] > self.span[1]):
            raise ValueError(f"frames {frames[0]} to {frames[-1]} are not ascending within {self.span}")

    def shown(self, node: int, first: int, until: int) -> None:
        """A node is there from frame ``first`` to before ``until``, at the scale that it has; else it has no size."""
        size = np.array(self.glb.json["nodes"][node].get("scale", [1.0, 1.0, 1.0]))
        states = {self.span[0]: 0.0} | ({until: 0.0} if until <= self.span[1] else {}) | {first: 1.0}
        states.setdefault(self.span[1], states[max(states)])  # so that the animation is as long as the session
        changes = np.array(sorted(states))
        values = np.array([states[f] for f in changes.tolist()])[:, None] * size
        if not all(states.values()):
            self._channel(node, "scale", self._keys(changes), values, "STEP")
        if first > self.span[0]:  # before the animation plays, the first frame alone is seen
            self.glb.json["nodes"][node]["scale"] = [0.0, 0.0, 0.0]

    def _keys(self, frames: np.ndarray) -> int:
        return self.glb.accessor(((frames - self.span[0]) / self.fps).astype(np.float32), bounds=True)

    def _channel(self, node: int, path: str, keys: int, values: np.ndarray, between: str = "LINEAR") -> None:
        output = self.glb.accessor(np.asarray(values, np.float32))
        self.channels.append({"sampler": len(self.samplers), "target": {"node": node, "path": path}})
        self.samplers.append({"input": keys, "output": output, "interpolation": between})


def _visibility(frames: np.ndarray, span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Frames (K,) at which a person appears, goes, or the session begins, and 1 or 0 (K,) from there on.

    A gap in the middle of a session that takes every n-th frame is n frames, so gaps are those longer than the
    commonest distance.
    """
    step = int(np.bincount(np.diff(frames)).argmax()) if len(frames) > 1 else 1
    begins = np.concatenate([frames[:1], frames[1:][np.diff(frames) > step]])
    ends = np.concatenate([frames[:-1][np.diff(frames) > step], frames[-1:]]) + step
    states = {span[0]: 0.0} | {int(f): 0.0 for f in ends if f <= span[1]} | {int(f): 1.0 for f in begins}
    changes = np.array(sorted(states))
    return changes, np.array([states[f] for f in changes.tolist()])


def _downwards(uv: np.ndarray) -> np.ndarray:
    """Texture coordinates (W, 2) with v upwards as the format counts it, downwards."""
    return np.column_stack([uv[:, 0], 1 - uv[:, 1]])


def _linear_colours(colours: np.ndarray) -> np.ndarray:
    """(V, 4) uint16 of sRGB colours (V, 3) uint8, which the format wants linear; 16 bits keep the dark ones apart."""
    values = np.rint(linear(np.asarray(colours)) * 65535).astype(np.uint16)
    return np.concatenate([values, np.full((len(values), 1), 65535, np.uint16)], 1)  # four, so that rows are aligned


def _described(array: np.ndarray, bounds: bool = False) -> dict[str, Any]:
    """What an accessor says of its values."""
    out = {"componentType": _COMPONENTS[array.dtype.str[1:]], "count": len(array), "type": _SHAPES[array.shape[1:]]}
    if bounds:
        out |= {"min": np.atleast_1d(array.min(0)).tolist(), "max": np.atleast_1d(array.max(0)).tolist()}
    return out


def _padded(array: np.ndarray, stride: int) -> bytes:
    rows = np.zeros((len(array), stride), np.uint8)
    own = array.view(np.uint8).reshape(len(array), -1)
    rows[:, : own.shape[1]] = own
    return rows.tobytes()


class _Glb:
    """A file in the making: its JSON, its buffer, and accessors that are shared where their content is equal."""

    def __init__(self, extras: dict[str, Any]) -> None:
        asset = {"version": "2.0", "generator": "Troupe", "extras": {"unit": "metre", "up": "+y"} | extras}
        self.json: dict[str, Any] = {"asset": asset}
        self.roots: list[int] = []
        self._parts: list[bytes] = []
        self._length = 0
        self._known: dict[bytes, int] = {}

    def add(self, kind: str, item: dict) -> int:
        items = self.json.setdefault(kind, [])
        items.append(item)
        return len(items) - 1

    def vertices(self, values: np.ndarray) -> int:
        """An accessor of float vertex attributes."""
        return self.accessor(np.asarray(values, np.float32), _VERTICES, bounds=True)

    def accessor(
        self, array: np.ndarray, target: int | None = None, *, bounds: bool = False, stride: int | None = None
    ) -> int:
        """``stride``: bytes from one row to the next, where rows have to be padded."""
        array = np.ascontiguousarray(array)
        data = array.tobytes() if stride is None else _padded(array, stride)
        digest = hashlib.sha256(repr((array.shape, array.dtype.str, target, bounds, stride)).encode() + data).digest()
        if digest in self._known:
            return self._known[digest]
        about = ({} if stride is None else {"byteStride": stride}) | ({} if target is None else {"target": target})
        view = self._view(data, **about)
        self._known[digest] = self.add("accessors", {"bufferView": view} | _described(array, bounds))
        return self._known[digest]

    def still(self, mesh: StillMesh, turn: np.ndarray, compression: Compression) -> dict[str, Any]:
        """A still mesh, turned; what a node that shows it holds."""
        vertices, faces = check_mesh(mesh.vertices, mesh.faces)
        normals = (vertex_normals(vertices, faces) if mesh.normals is None else mesh.normals) @ turn.T
        values, node, texture = {"POSITION": vertices.astype(np.float64) @ turn.T, "NORMAL": normals}, {}, None
        if mesh.skin is not None:  # seams double vertices
            values, faces = {k: v[mesh.skin.vertices] for k, v in values.items()}, np.asarray(mesh.skin.faces, np.int32)
            values["TEXCOORD_0"] = _downwards(mesh.skin.uv)
            texture = self.texture(f"{mesh.name}_skin", mesh.skin.image)
        elif mesh.colours is not None:
            values["COLOR_0"] = _linear_colours(mesh.colours)
        colour = mesh.colour if mesh.skin is None and mesh.colours is None else None
        if not len(faces):
            raise ValueError(f"{mesh.name} has no faces")
        if compression == "draco":
            primitive = self._draco(values, faces)
        else:
            attributes, node = self._quantised(values) if compression == "quantised" else (self._floats(values), {})
            primitive = {"attributes": attributes, "indices": self.indices(faces)}
        return {"mesh": self.mesh(mesh.name, primitive, colour, texture)} | node

    def _floats(self, values: dict[str, np.ndarray]) -> dict[str, int]:
        return {k: self._colours(v) if k == "COLOR_0" else self.vertices(v) for k, v in values.items()}

    def _quantised(self, values: dict[str, np.ndarray]) -> tuple[dict[str, int], dict[str, Any]]:
        """Attributes, and what the node holds for them."""
        low = values["POSITION"].min(0)
        size = max(float((values["POSITION"] - low).max()), 1e-6)
        steps = np.rint((values["POSITION"] - low) * (_LEVELS / size)).astype(np.uint16)
        eighths = np.rint(values["NORMAL"] * 127).astype(np.int8)
        attributes = {
            "POSITION": self.accessor(steps, _VERTICES, bounds=True, stride=8),
            "NORMAL": self._normalised(self.accessor(eighths, _VERTICES, stride=4)),
        }
        if "TEXCOORD_0" in values:
            # As floats: trimesh takes integers for coordinates of thousands of images.
            attributes["TEXCOORD_0"] = self.vertices(values["TEXCOORD_0"])
        if "COLOR_0" in values:
            attributes["COLOR_0"] = self._colours(values["COLOR_0"])
        self._needs("KHR_mesh_quantization")
        return attributes, {"translation": low.tolist(), "scale": [size / _LEVELS] * 3}

    def _draco(self, values: dict[str, np.ndarray], faces: np.ndarray) -> dict[str, Any]:
        """A primitive whose accessors have no data of their own."""
        found, extension = packed(faces, values), "KHR_draco_mesh_compression"
        attributes = {k: self.add("accessors", _described(v, bounds=k == "POSITION")) for k, v in found.values.items()}
        if "COLOR_0" in attributes:
            self._normalised(attributes["COLOR_0"])
        kind = np.uint16 if len(found.values["POSITION"]) <= 0xFFFF else np.uint32
        indices = self.add("accessors", _described(np.zeros(3 * found.triangles, kind)))
        self._needs(extension)
        held = {"bufferView": self._view(found.data), "attributes": found.ids}
        return {"attributes": attributes, "indices": indices, "extensions": {extension: held}}

    def _needs(self, extension: str) -> None:
        self.json["extensionsUsed"] = self.json["extensionsRequired"] = [extension]

    def _normalised(self, accessor: int) -> int:
        self.json["accessors"][accessor]["normalized"] = True
        return accessor

    def _colours(self, values: np.ndarray) -> int:
        return self._normalised(self.accessor(values, _VERTICES))

    def _view(self, data: bytes, **about: int) -> int:
        """A buffer view of its own."""
        view = {"buffer": 0, "byteOffset": self._length, "byteLength": len(data)} | about
        self._parts.append(data + b"\0" * (-len(data) % 4))
        self._length += len(self._parts[-1])
        return self.add("bufferViews", view)

    def texture(self, name: str, jpeg: bytes) -> int:
        image = self.add("images", {"name": name, "mimeType": "image/jpeg", "bufferView": self._view(jpeg)})
        sampler = self.json["samplers"].index(_SMOOTH) if _SMOOTH in self.json.get("samplers", []) else None
        sampler = self.add("samplers", _SMOOTH) if sampler is None else sampler
        return self.add("textures", {"source": image, "sampler": sampler})

    def indices(self, faces: np.ndarray) -> int:
        kind = np.uint16 if faces.max() < 0xFFFF else np.uint32  # 65535 itself is reserved
        return self.accessor(faces.astype(kind).ravel(), _INDICES)

    def mesh(
        self, name: str, primitive: dict[str, Any], colour: tuple[int, int, int] | None, texture: int | None = None
    ) -> int:
        """A mesh of one primitive, given without a material. ``colour`` None: white, for what vertices or a texture
        say."""
        base = [1.0, 1.0, 1.0] if colour is None else linear(colour).tolist()
        surface: dict[str, Any] = {"baseColorFactor": [*base, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.75}
        if texture is not None:
            surface["baseColorTexture"] = {"index": texture}
        known = name if colour is not None or texture is not None else "colours"
        primitive = primitive | {"material": self._material(known, surface)}
        return self.add("meshes", {"name": name, "primitives": [primitive]})

    def _material(self, name: str, surface: dict[str, Any]) -> int:
        material = {"name": name, "pbrMetallicRoughness": surface}
        known = self.json.get("materials", [])
        return known.index(material) if material in known else self.add("materials", material)

    def to_bytes(self) -> bytes:
        content = self.json | {"scene": 0, "scenes": [{"nodes": self.roots} if self.roots else {}]}
        if self._length:
            content["buffers"] = [{"byteLength": self._length}]
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = [struct.pack("<I4s", len(text), b"JSON"), text]
        if self._length:
            chunks += [struct.pack("<I4s", self._length, b"BIN\0"), *self._parts]
        return struct.pack("<4sII", b"glTF", 2, 12 + sum(map(len, chunks))) + b"".join(chunks)
