"""Ways to a surface that are compared: each takes what a lab would have and gives one mesh a person.

``METHODS`` names for each the module and function that makes it; a function is called once a benchmark, with the
benchmark's configuration, and loads weights then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.surface_scenes import NOTHING, SceneBody, Triangles
from pipeline.cameras import Rig
from pipeline.errors import InputError


@dataclass(frozen=True)
class Given:
    """What a method sees of a scene.

    Attributes:
        rig: pinhole cameras, perhaps a little off.
        images: one a camera, (H, W, 3) uint8 RGB.
        labels: one a camera, (H, W) uint8, 0 nobody, k + 1 the k-th person.
        bodies: of everybody; None where the pipeline found none.
    """

    rig: Rig
    images: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    bodies: tuple[SceneBody | None, ...]


@dataclass(frozen=True)
class Method:
    """Attributes:
        reconstruct: one mesh a person, in the order of ``Given.bodies``; an empty one where there is none.
        digest: of everything but the inputs that its result depends on (weights, settings).
    """

    reconstruct: Callable[[Given], Sequence[Triangles]]
    digest: str


METHODS: dict[str, str] = {
    "body": "tasks.benchmarks.surface_methods:body",
    "visual_hull": "tasks.benchmarks.surface_methods:hull",
    **{
        name: f"tasks.benchmarks.network_methods:{name}"
        for name in (
            "ours", "ours_unrefined", "ours_grey_images", "no_image_head", "ours_same_budget",
            "ours_without_attention", "ours_without_normal_maps", "pifu_mean", "pifu_attention", "pifuhd_mean",
            "pifuhd_attention", "pamir_mean", "deepvisualhull",
        )
    },
}  # fmt: skip

WEIGHTS = "weights:"
"""Before the path of a file of weights: that network is a method too."""

MARGIN_M = 0.35
"""How far clothes and hair may stand off the body."""


def make(name: str, config: Any) -> Method:
    """Raises InputError for a method that is not known or cannot be had (weights that are missing)."""
    if name.startswith(WEIGHTS):
        from tasks.benchmarks.network_methods import weights_of

        return weights_of(Path(name.removeprefix(WEIGHTS)))(config)
    if name not in METHODS:
        raise InputError("methods", f"{name!r} is not known", f"Choose among {', '.join(METHODS)}, {WEIGHTS}PATH")
    module, function = METHODS[name].split(":")
    return getattr(importlib.import_module(module), function)(config)


def body(config: Any) -> Method:
    """The body alone: what every other method has to beat."""
    return Method(lambda given: [NOTHING if b is None else b.mesh for b in given.bodies], "1")


def hull(config: Any) -> Method:
    """The visual hull; bodies only say where to look."""
    from pipeline.surface.visual_hull import visual_hull

    def reconstruct(given: Given) -> list[Triangles]:
        out = []
        for k, found in enumerate(given.bodies):
            if found is None:
                out.append(NOTHING)
                continue
            vertices = found.mesh[0]
            low, high = vertices.min(0) - MARGIN_M, vertices.max(0) + MARGIN_M
            out.append(visual_hull(given.rig.cameras, given.labels, k + 1, low, high, config.hull_voxel_m))
        return out

    return Method(reconstruct, f"3 {config.hull_voxel_m}")


def external(folder: Path) -> Callable[[str, int], list[Triangles]]:
    """Meshes made elsewhere: ``FOLDER/<scene>/person_<k>.ply`` or ``.obj``, k from 0, metres in the scene's world.

    Takes a scene's name and its number of people; a file that is not there is an empty mesh.
    """

    def read(scene: str, people: int) -> list[Triangles]:
        out = []
        for k in range(people):
            paths = [folder / scene / f"person_{k}{suffix}" for suffix in (".ply", ".obj")]
            path = next((p for p in paths if p.is_file()), None)
            out.append(NOTHING if path is None else read_mesh(path))
        return out

    return read


def read_mesh(path: Path) -> Triangles:
    """A triangle mesh of a PLY or OBJ file, as it stands. Raises InputError for what is none."""
    import trimesh

    try:
        with path.open("rb") as file:
            mesh = trimesh.load_mesh(file, file_type=path.suffix[1:].lower(), process=False, skip_materials=True)
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    except (OSError, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise InputError(path, f"is no mesh ({error})", "Give a PLY or OBJ file of triangles") from None
    if not np.isfinite(vertices).all() or (faces.size and (faces.min() < 0 or faces.max() >= len(vertices))):
        raise InputError(path, "has vertices that are not finite or faces without vertices", "Write the file again")
    return vertices, faces
