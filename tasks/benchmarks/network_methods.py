"""Networks among the methods that are compared: ours as shipped, its controls, and others trained by the same recipe.

Each takes the same images, masks, cameras and bodies. The controls take something away from ours: colours
(``ours_grey_images``), all that views say (``no_image_head``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.surface_scenes import NOTHING, SceneBody, Triangles
from pipeline.errors import InputError
from tasks.benchmarks.surface_methods import Given, Method

if TYPE_CHECKING:
    from pipeline.surface.networks import Networks
    from pipeline.surface.prepare import Body, View

COMPARED = Path("runs/train/table1")
"""Where the networks of the comparison are, one folder each, as ``configs/nets/table1/*.yaml`` train them."""

GREY = 128
Change = Callable[[Any], Any]


def ours(config: Any) -> Method:
    """Our shipped weights."""
    return _method(shipped(), config, "ours")


def ours_unrefined(config: Any) -> Method:
    """The same without the last step, in which pictures bend the surface."""
    return _method(shipped(), config, "unrefined", refined=False)


def ours_grey_images(config: Any) -> Method:
    """The same with every pixel of the images the same grey: masks, bodies and cameras are all that is left."""
    return _method(shipped(), config, "grey", images=lambda image: np.full_like(image, GREY))


def no_image_head(config: Any) -> Method:
    """The same where no view may speak of any point: what the network makes of the body alone."""
    return _method(shipped(), config, "no image", blind=True)


def trained(name: str) -> Callable[[Any], Method]:
    """A network of the comparison. Raises InputError if it has not been trained."""

    def make(config: Any) -> Method:
        path = COMPARED / name / "surface.safetensors"
        if not path.is_file():
            raise InputError(
                "methods", f"{name} has no weights at {path}", f"Run train deepmulticap configs/nets/table1/{name}.yaml"
            )
        return _method(path, config, name)

    return make


def weights_of(path: Path) -> Callable[[Any], Method]:
    """Any file of weights. Raises InputError if it is not there."""

    def make(config: Any) -> Method:
        if not path.is_file():
            raise InputError("methods", f"there are no weights at {path}", "Train them, or give another path")
        return _method(path, config, "weights")

    return make


ours_same_budget = trained("ours")


ours_without_attention = trained("ours_without_attention")
ours_without_normal_maps = trained("ours_without_normal_maps")
pifu_mean = trained("pifu_mean")
pifu_attention = trained("pifu_attention")
pifuhd_mean = trained("pifuhd_mean")
pifuhd_attention = trained("pifuhd_attention")
pamir_mean = trained("pamir_mean")
deepvisualhull = trained("deepvisualhull")


def shipped() -> Path:
    from data.model_files import open_weights

    path = open_weights("surface")
    if path is None:
        raise InputError("methods", "our own surface weights are not there", "Get data/weights/surface.safetensors")
    return path


def _method(
    path: Path, config: Any, kind: str, images: Change | None = None, blind: bool = False, refined: bool = True
) -> Method:
    from pipeline.surface.networks import load_networks

    networks = load_networks(path)
    networks = networks if refined and not blind else replace(networks, refiner=None)
    digest = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {kind} {config.resolution} 2"

    def reconstruct(given: Given) -> Sequence[Triangles]:
        shown = given if images is None else replace(given, images=tuple(images(i) for i in given.images))
        return [surface_of(networks, shown, k, config.resolution, blind) for k in range(len(given.bodies))]

    return Method(reconstruct, digest)


def surface_of(networks: Networks, given: Given, person: int, resolution: int, blind: bool = False) -> Triangles:
    """One person's surface as the pipeline makes it; nothing where there is no body, or no mask."""
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.surface.prepare import prepare, with_normals
    from pipeline.surface.reconstruct import reconstruct

    found = given.bodies[person]
    if found is None:
        return NOTHING
    body = body_of(found)
    prepared = prepare(views_of(given, person, body), body, networks.preset, Open3DRaster())
    if isinstance(prepared, str):
        return NOTHING
    if networks.normals is not None:
        prepared = with_normals(prepared, networks.normals)
    if blind:
        prepared = replace(prepared, blocked=np.ones(prepared.mask.shape, bool))
    outcome = reconstruct(networks, prepared, body, resolution)
    return NOTHING if outcome.mesh is None else (outcome.mesh.vertices, outcome.mesh.faces)


def body_of(found: SceneBody) -> Body:
    """Scenes have z up; where a body's parameters are not known, its heading is guessed from its shape."""
    import torch

    from nets.deepmulticap.inputs import heading
    from nets.deepmulticap.volumes import semantic_codes
    from pipeline.skeletons import SMPLX55
    from pipeline.surface.prepare import Body
    from tasks.benchmarks.fitted_bodies import open_model

    up, (vertices, faces) = np.array([0, 0, 1.0]), found.mesh
    if found.parameters is None:
        across = np.linalg.eigh(np.cov(vertices[:, :2].T))[1][:, 1]
        return Body(vertices, faces, np.array([across[1], -across[0], 0.0]), up)
    model = open_model()
    one = {k: torch.as_tensor(np.asarray(v, np.float32)) for k, v in found.parameters.items()}
    joints = model.pose(**one).positions[0].detach().numpy()
    sides = [joints[[SMPLX55.index(f"{s}_{j}") for j in ("shoulder", "hip")]] for s in ("left", "right")]
    codes = semantic_codes(model.template.numpy())
    return Body(vertices, np.asarray(faces), heading(*sides, up), up, codes if len(codes) == len(vertices) else None)


def views_of(given: Given, person: int, body: Body) -> list[View]:
    """What each camera shows of a person, and where it cannot tell: others' pixels, and where a thing is in front."""
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.segmentation.contest import hidden_by_things
    from pipeline.surface.prepare import View

    seen = Open3DRaster().render_views(body.vertices, body.faces, given.rig.cameras)
    views = []
    for camera, image, labels, found in zip(given.rig.cameras, given.images, given.labels, seen, strict=True):
        mine, nobody = labels == person + 1, labels == 0
        distance = max(float(camera.to_camera(body.vertices.mean(0))[2]), 0.1)
        behind = hidden_by_things(found.hit & nobody, camera.K[0, 0] / distance) & nobody
        views.append(View(camera, image, mine, (labels > 0) & ~mine | behind))
    return views
