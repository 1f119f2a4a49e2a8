"""Colours against cameras that were not asked: people with known surfaces, textured from all views but one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from data.surface_scenes import CATEGORIES, SurfaceScene, Triangles
from pipeline.config import Number, Section
from pipeline.errors import InputError
from tasks.benchmarks.benchmark import Benchmark, Request, Row
from tasks.benchmarks.scene_sources import DatasetConfig, open_source

Method = Literal["ours", "ours_light", "ours_vertices", "unbalanced", "mean"]
Category = Literal["single", "occluded", "two_natural", "two_close", "three"]
MEASURES = {"colour_error": 2, "seen_error": 2, "seen_share": 3, "given_views_error": 2}


class TextureBenchmark(Section):
    """See configs/benchmarks/texture.yaml."""

    dataset: DatasetConfig = Field(DatasetConfig(), description="Where the scenes come from.")
    methods: list[Method] = Field(
        ["ours", "ours_light", "ours_vertices", "unbalanced", "mean"], min_length=1,
        description="How colours are made.",
    )
    categories: list[Category] = Field(list(CATEGORIES), min_length=1, description="Of scenes.")
    scenes: int | None = Field(1, ge=1, description="The first so many of each category; null: all.")
    views: int = Field(7, ge=3, le=24, description="Cameras round the scene, the one left out included.")
    left_out: int = Field(2, ge=1, description="So many cameras are left out, one after another.")
    simplify_mm: Number = Field(5.0, gt=0, description="Of light meshes, as export.simplify_mm.")
    frame_texture: int = Field(256, ge=64, le=4096, description="Of ours_light, as export.frame_texture.")


def run(config: TextureBenchmark, request: Request) -> list[Row]:
    """One row a method and category."""
    if config.left_out > config.views:
        raise InputError("left_out", f"there are {config.views} views", "Leave out fewer")
    source = open_source(config.dataset, request.resolve)
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for category in config.categories:
        for name in source.names(category)[: config.scenes]:
            for method, score in _scores(source.load(name, config.views), config):
                found.setdefault((method, category), []).append(score)
            request.tell(f"texture: {name}")
    rows = []
    for (method, category), scores in found.items():
        means = {m: float(np.nanmean([s[m] for s in scores])) for m in MEASURES} if scores else {}
        rows.append({"method": method, "category": category, "views": config.views - 1, **means})
    return sorted(rows, key=lambda row: config.methods.index(row["method"]))


def _scores(scene: SurfaceScene, config: TextureBenchmark) -> Iterator[tuple[Method, dict[str, float]]]:
    """Of every method and person in every camera that is left out."""
    from pipeline.meshes.simplify import simplified
    from pipeline.raster_open3d import Open3DRaster
    from pipeline.texture.unwrap import unwrapped
    from pipeline.texture.views import Seen, colour_views

    raster = Open3DRaster(threads=1)
    for number, person in enumerate(scene.people, 1):
        if person.surface is None:
            continue
        vertices, faces = person.surface
        seen = {
            c.name: Seen(c, image, labels == number)
            for c, image, labels in zip(scene.rig.cameras, scene.images, scene.labels, strict=True)
            if (labels == number).any()
        }
        everybody = colour_views(vertices, faces, seen, raster)
        cameras = [v.camera for v in everybody.values()]
        fine = dict(zip(everybody, raster.render_views(vertices, faces, cameras), strict=True))
        light = atlas = few = None
        if {"ours_light", "ours_vertices"} & {*config.methods}:
            light = simplified(vertices, faces, config.simplify_mm / 1000)
            atlas = unwrapped(light.vertices, light.faces, config.frame_texture)
            few = dict(zip(everybody, raster.render_views(light.vertices, light.faces, cameras), strict=True))
        for out in [c.name for c in scene.rig.cameras][: config.left_out]:
            given = [n for n in everybody if n != out]
            if out not in everybody or not given:
                continue
            views, painted = [everybody[n] for n in given], {}
            for method in config.methods:
                how = METHODS[method]
                if how not in painted:
                    painted[how] = how(vertices, faces, views)
                covered = float(painted[how][1].mean())
                shown = _shown(method, (vertices, faces), painted[how], light, atlas, views)
                rendered = few if method.startswith("ours_") else fine
                held = _error(everybody[out], rendered[out], shown)
                rest = [_error(everybody[n], rendered[n], shown)["colour_error"] for n in given]
                yield method, held | {"seen_share": covered, "given_views_error": float(np.nanmean(rest))}


@dataclass(frozen=True)
class _Shown:
    """How a mesh is coloured: faces of vertices with colours (V, 3) 0..255, and which (V,) some view saw; with
    coordinates (V, 2), v upwards, an image goes before the colours."""

    faces: np.ndarray
    colours: np.ndarray
    known: np.ndarray
    uv: np.ndarray | None = None
    image: np.ndarray | None = None


def _shown(method: Method, mesh: Triangles, painted: Coloured, light, atlas, views: Sequence) -> _Shown:
    """What a method makes of the colours of a mesh."""
    from pipeline.texture.atlas import decoded, encoded
    from pipeline.texture.colours import carried_over
    from pipeline.texture.unwrap import JPEG_QUALITY, texture_of

    colours, known, gains = painted
    if not method.startswith("ours_"):
        return _Shown(mesh[1], colours, known)
    known = _nearest(known, mesh[0], light.vertices)
    if method == "ours_vertices":
        return _Shown(light.faces, carried_over(light.vertices, light.faces, mesh[0], colours), known)
    jpeg = encoded(texture_of(atlas, light.vertices, mesh, colours, views, gains), JPEG_QUALITY)
    which, uv, faces = atlas.split()
    return _Shown(faces, np.zeros((len(which), 3)), known[which], uv, decoded(jpeg))


def _nearest(values: np.ndarray, places: np.ndarray, points: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    return values[cKDTree(places).query(points)[1]]


Coloured = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Colours (V, 3), which vertices (V,) some view saw, and the cameras' factors (C, 3)."""


def _ours(vertices: np.ndarray, faces: np.ndarray, views: Sequence) -> Coloured:
    from pipeline.meshes.geometry import vertex_normals
    from pipeline.texture.colours import vertex_colours
    from pipeline.texture.exposure import camera_gains

    normals = vertex_normals(vertices, faces).astype(np.float64)
    samples = [v.sample(vertices, normals) for v in views]
    gains = camera_gains(*(np.stack([s[k] for s in samples], 1) for k in (0, 1)))
    return *vertex_colours(vertices, faces, views, gains), gains


def _unbalanced(vertices: np.ndarray, faces: np.ndarray, views: Sequence) -> Coloured:
    from pipeline.texture.colours import vertex_colours

    gains = np.ones((len(views), 3))
    return *vertex_colours(vertices, faces, views, gains), gains


def _mean(vertices: np.ndarray, faces: np.ndarray, views: Sequence) -> Coloured:
    """The plain mean over all views that see a vertex; grey where none does."""
    from pipeline.meshes.geometry import vertex_normals

    normals = vertex_normals(vertices, faces).astype(np.float64)
    samples = [v.sample(vertices, normals) for v in views]
    known = np.stack([w > 0 for _, w in samples], 1)
    total = (np.stack([c for c, _ in samples], 1) * known[..., None]).sum(1)
    seen = known.any(1)
    mean = np.where(seen[:, None], total / np.maximum(known.sum(1), 1)[:, None], 128.0)
    return mean, seen, np.ones((len(views), 3))


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, Sequence], Coloured]] = {
    "ours": _ours, "ours_light": _ours, "ours_vertices": _ours, "unbalanced": _unbalanced, "mean": _mean,
}  # fmt: skip


def _error(view, result, mesh: _Shown) -> dict[str, float]:
    """Mean absolute differences, 0..255, in the view's own exposure: a factor a channel, the median of all pixels."""
    from pipeline.texture.atlas import looked_up

    both = result.hit & view.mask
    if not both.any():
        return {"colour_error": np.nan, "seen_error": np.nan}
    sure = result.interpolate(mesh.faces, 1.0 * mesh.known[:, None], 0.0)[both][:, 0] > 0.5
    if mesh.image is None:
        shown = result.interpolate(mesh.faces, mesh.colours, 0.0)[both]
    else:
        shown = looked_up(mesh.image, result.interpolate(mesh.faces, mesh.uv, 0.0)[both])
    image = view.image[both].astype(np.float64)
    factor = np.median((image + 1) / (shown + 1), axis=0)
    off = np.abs(np.clip(shown * factor, 0, 255) - image).mean(1)
    return {"colour_error": float(off.mean()), "seen_error": float(off[sure].mean()) if sure.any() else np.nan}


BENCHMARK = Benchmark(TextureBenchmark, run, MEASURES)
