"""Light coloured meshes of dressed, posed people, made once and put into any number of pictures of small people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from data.synthetic.people import People, Posed
from pipeline.body.regressor import regress, regressor_for
from pipeline.files import write_atomic

BODY_JOINTS = 22
BODY_EVERY = 23
"""A cutout keeps so manieth vertex of its body."""
STEP_M = 0.02
"""Detail of the meshes: less than a pixel for people up to about 90 pixels tall."""


@dataclass(frozen=True)
class Cutout:
    """Somebody posed, feet on the floor z = 0, pelvis over the origin, z up, metres.

    Attributes:
        vertices: (V, 3) float32; faces: (T, 3) int32; colours: (V, 3) uint8 sRGB.
        rotations: (22, 3, 3) float32, of the first joint in the world, of the others in their parents (SMPL-X).
        betas: (10,) float32.
        joints: (19, 3) float32 SKEL-19.
        body: (S, 3) float32 every ``BODY_EVERY``th vertex of the body beneath.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    rotations: np.ndarray
    betas: np.ndarray
    joints: np.ndarray
    body: np.ndarray


def cut_out(people: People, posed: Posed) -> Cutout:
    """A light mesh of somebody posed."""
    from nets.geometry import matrix_from_axis_angle

    import torch  # isort: skip

    solid = posed.surface(STEP_M)
    layers = zip(posed.wearer.dressed.layers, posed.layers, posed.wearer.dressed.textures, strict=True)
    coloured = [(at, _texels(layer.uv, texture)) for layer, at, texture in layers]
    tree = cKDTree(np.concatenate([at for at, _ in coloured]))
    nearest = tree.query(solid.vertices)[1]
    colours = np.concatenate([c for _, c in coloured])[nearest]
    joints = regress(people.model, regressor_for(people.model), posed.parameters)[0]
    middle = np.array([*joints[0, :2], 0.0])
    vectors = np.concatenate([posed.parameters["global_orient"][0], posed.parameters["body_pose"][0]])
    local = matrix_from_axis_angle(torch.as_tensor(vectors, dtype=torch.float64).reshape(BODY_JOINTS, 3)).numpy()
    return Cutout(
        (solid.vertices - middle).astype(np.float32),
        solid.faces.astype(np.int32),
        colours,
        local.astype(np.float32),
        posed.parameters["betas"][0].astype(np.float32),
        (joints - middle).astype(np.float32),
        (posed.vertices[::BODY_EVERY] - middle).astype(np.float32),
    )


def _texels(uv: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """(V, 3) uint8 of a texture (S, S, 3) at coordinates (V, 2), v upwards."""
    size = np.array(texture.shape[1::-1])
    column, row = (np.clip(np.rint(x * s - 0.5), 0, s - 1).astype(int) for x, s in
                   ((uv[:, 0], size[0]), (1 - uv[:, 1], size[1])))  # fmt: skip
    return texture[row, column]


def make_cutouts(people: People, split: str, numbers: Sequence[int], poses: int) -> list[Cutout]:
    """``poses`` cutouts each of the people ``numbers`` of a split, the same whenever asked for."""
    out = []
    for number in numbers:
        wearer = people.person(split, number)
        for k in range(poses):
            pose = people.pose(wearer, np.random.default_rng([number, k]))
            out.append(cut_out(people, people.posed(wearer, pose)))
    return out


def write_cutouts(path: Path, cutouts: Sequence[Cutout]) -> None:
    """One file of many; whole or not at all."""
    import io

    arrays: dict[str, np.ndarray] = {}
    for f in fields(Cutout):
        values = [getattr(c, f.name) for c in cutouts]
        arrays[f.name] = np.concatenate(values) if f.name in _RAGGED else np.stack(values)
        if f.name in _RAGGED:
            arrays[f"{f.name}_offsets"] = np.cumsum([0, *map(len, values)])
    arrays["vertices"] = arrays["vertices"].astype(np.float16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


_RAGGED = ("vertices", "faces", "colours")


def read_cutouts(path: Path) -> list[Cutout]:
    """What ``write_cutouts`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays: Mapping[str, np.ndarray] = dict(file)
    ends = {name: arrays[f"{name}_offsets"] for name in _RAGGED}
    out = []
    for k in range(len(arrays["betas"])):
        parts = {
            f.name: arrays[f.name][ends[f.name][k] : ends[f.name][k + 1]] if f.name in _RAGGED else arrays[f.name][k]
            for f in fields(Cutout)
        }
        out.append(Cutout(**(parts | {"vertices": parts["vertices"].astype(np.float32)})))
    return out
