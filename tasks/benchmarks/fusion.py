"""Temporal fusion against exact answers: a walking skin without noise, with noise, with relief; and reconstructions, of
the walker and of the people of the benchmark's scenes in motion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from data.surface_scenes import CATEGORIES, SceneBody, Triangles
from pipeline.config import Number, Section
from pipeline.errors import InputError
from pipeline.fusion.skinning import PosedBody
from pipeline.quality.metrics import (
    NearestSurface,
    amplitude_ratio,
    flicker_mm,
    offsets_along_normals,
    score_surface,
)
from tasks.benchmarks.benchmark import Benchmark, Request, Row

Category = Literal[
    "clean", "noise", "wrinkles", "reconstructed", "single", "occluded", "two_natural", "two_close", "three"
]

MEASURES = {
    "p95_mm": 2, "error_ratio": 3, "flicker_ratio": 3, "flicker_before_mm": 2, "flicker_mm": 2, "amplitude_ratio": 3,
    "chamfer_before_cm": 3, "chamfer_cm": 3, "body_mm": 1,
}  # fmt: skip


class FusionBenchmark(Section):
    """See configs/benchmarks/fusion.yaml."""

    methods: list[Literal["paper", "weighted"]] = Field(
        ["paper", "weighted"], min_length=1, description="Plain mean, or weights by visibility and agreement."
    )
    categories: list[Category] = Field(
        ["clean", "noise", "wrinkles", "reconstructed"], min_length=1, description="What is wrong with the meshes."
    )
    scenes: list[str] = Field([], description="Names in configs/benchmarks/scenes.json, for the five kinds of scenes.")
    fps: Number = Field(25.0, gt=0, le=120, description="Frames a second of the scenes in motion.")
    around: int = Field(15, ge=0, le=1000, description="Frames before and after, of which only bodies are known.")
    keypoint_noise_px: Number = Field(3.0, ge=0, le=50, description="Of what the scenes' bodies are fitted to.")
    mask_error_px: Number = Field(1.0, ge=0, le=20, description="Standard deviation of the masks' size in the scenes.")
    window: int = Field(5, ge=3, le=9, multiple_of=1, description="Frames fused into one, odd.")
    frames: int = Field(
        7, ge=7, le=200, description="Length of the sequences; frames with all others that they depend on are judged."
    )
    divisions: int = Field(2, ge=0, le=3, description="Each triangle of the body is cut in four so many times.")
    voxel_m: Number = Field(0.003, ge=0.001, le=0.02, description="Grid of the fusion, metres.")
    noise_m: Number = Field(0.005, gt=0, le=0.05, description="Standard deviation of the noise, along normals.")
    noise_length_m: Number = Field(0.03, gt=0, le=1, description="Distance over which it is correlated.")
    wrinkles_m: Number = Field(0.01, gt=0, le=0.05, description="Height of the wrinkles.")
    reconstruction: str = Field(
        "visual_hull", description="What makes the meshes of reconstructed and scenes: a method of table1, six views."
    )
    resolution: int = Field(192, ge=32, le=1024, description="Voxels along a person's box, for the networks.")
    hull_voxel_m: Number = Field(0.01, ge=0.002, le=0.1, description="Grid of the visual hull, metres.")
    points: int = Field(20_000, ge=1000, description="Skin points that errors and flicker are measured at.")
    seed: int = Field(0, ge=0, description="Of noise and points.")

    @model_validator(mode="after")
    def _long_enough(self) -> FusionBenchmark:
        least = 2 * _options(self, "weighted").reach + 3
        if self.frames < least:
            raise ValueError(f"frames {self.frames} are too few for a window of {self.window}: give {least}")
        return self


def _options(config: FusionBenchmark, way: str):
    """``FusionOptions`` of a method."""
    from pipeline.fusion.options import FusionOptions

    return FusionOptions(window=config.window, voxel_m=config.voxel_m, weighted=way == "weighted")


def run(config: FusionBenchmark, request: Request) -> list[Row]:
    """One row a method and category."""
    from data.synthetic.carried_skin import smooth_noise, wrinkles
    from tasks.benchmarks.surface_methods import make

    known = {*CATEGORIES, "reconstructed"}
    method = make(config.reconstruction, config) if known & set(config.categories) else None
    person = _walker(config)
    points = person.sample(config.points, np.random.default_rng(config.seed))
    generator = np.random.default_rng([config.seed, 1])
    rows = []
    for category in (c for c in config.categories if c not in CATEGORIES):
        relief = wrinkles(person.rest, config.wrinkles_m) if category == "wrinkles" else 0.0
        truth = [(person.skin(k, relief), person.faces) for k in range(config.frames)]
        if category == "noise":
            meshes = [
                (person.skin(k, smooth_noise(person.rest, generator, config.noise_m, config.noise_length_m)),
                 person.faces) for k in range(config.frames)
            ]  # fmt: skip
        elif category == "reconstructed":
            meshes = list(_reconstructed(person, truth, method))
        else:
            meshes = truth
        for name in config.methods:
            fused = _fused(person.bodies, meshes, name, config)
            figures = _figures(person, points, truth, meshes, fused, relief, config)
            rows.append({"method": name, "category": category, **figures})
            request.tell(f"fusion: {category}, {name}")
    rows += _rows_of_scenes(method, config, request)
    order = list(config.methods)
    return sorted(rows, key=lambda row: order.index(row["method"]))


def _walker(config: FusionBenchmark):
    """A walking person of the frames to be judged, whose bodies know of those around them."""
    from data.synthetic.carried_skin import FPS, walker
    from tasks.benchmarks.fusion_scenes import calmed

    whole = walker(config.frames + 2 * config.around, config.divisions)
    rows = slice(config.around, config.around + config.frames)
    track = whole.track.part(np.arange(rows.start, rows.stop))
    return replace(whole, bodies=calmed(whole.bodies, FPS)[rows], track=track)


def _rows_of_scenes(method, config: FusionBenchmark, request: Request) -> list[Row]:
    """One row a method and category: means over people, then over scenes."""
    from data.synthetic.surface_scenes import SyntheticScenes
    from tasks.benchmarks.fusion_scenes import Errors, figures, moving_people

    source, rows = SyntheticScenes(), []
    errors = Errors(config.keypoint_noise_px, config.mask_error_px)
    for category, names in _scenes(config, source, request).items():
        found = defaultdict(list)
        for name in names:
            motion = source.motion(name, 6, config.frames + 2 * config.around, config.fps)
            judged = range(config.around, config.around + config.frames)
            generator = np.random.default_rng(config.seed)
            people = list(moving_people(motion, judged, config.fps, method, errors, generator))
            for way in config.methods:
                each = [
                    figures(p, _fused(p.bodies, p.meshes, way, config), config.points, config.seed)
                    for p in people
                ]
                found[way].append(_means(each))
                request.tell(f"fusion: {name}, {way}")
        for way, scores in found.items():
            row = _means(scores)
            ratio = row["flicker_mm"] / row["flicker_before_mm"]
            rows.append({"method": way, "category": category, "scenes": len(scores), "flicker_ratio": ratio, **row})
    return rows


def _scenes(config: FusionBenchmark, source, request: Request) -> dict[str, list[str]]:
    """Names by category. Raises InputError for a name that is in none of the categories, and a category without any."""
    wanted = [c for c in config.categories if c in CATEGORIES]
    known = {c: [n for n in source.names(c) if n in config.scenes] for c in wanted}
    listed = {n for names in known.values() for n in names}
    if unknown := [n for n in config.scenes if n not in listed]:
        raise InputError(f"{request.path}: scenes", f"{unknown[0]} is in none of the categories", "See scenes.json")
    if empty := [c for c, names in known.items() if not names]:
        raise InputError(f"{request.path}: scenes", f"there is none of category {empty[0]}", "Name one of each")
    return known


def _means(figures: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([f[name] for f in figures])) for name in figures[0]}


def _fused(
    bodies: Sequence[PosedBody], meshes: Sequence[Triangles], way: str, config: FusionBenchmark
) -> dict[int, Triangles]:
    """Fused meshes of the frames that nothing is missing around."""
    from pipeline.fusion.fuse import window_frame
    from pipeline.fusion.surface import prepare
    from pipeline.fusion.windows import fuse_sequence

    options = _options(config, way)
    count = len(meshes)
    fused = fuse_sequence(
        np.arange(count), np.ones(count, bool),
        lambda k: window_frame(prepare(*meshes[k]), bodies[k], options), options,
        wanted=range(options.reach, count - options.reach), threads=1,
    )  # fmt: skip
    return {k: (out.vertices, out.faces) for k, out in fused}


def _figures(person, points, truth, meshes, fused, relief, config: FusionBenchmark) -> dict[str, float]:
    """Errors along the true skin's normals before and after, and the fused surface's distance from the truth."""
    judged = sorted(fused)
    before = np.stack([_offsets(person, k, points, meshes[k]) for k in judged])
    after = np.stack([_offsets(person, k, points, fused[k]) for k in judged])
    known = np.isfinite(before) & np.isfinite(after)
    wanted = np.broadcast_to(relief, len(person.rest))[points]
    error = [np.where(known, x - wanted, np.nan) for x in (before, after)]
    rms = [float(np.sqrt(np.nanmean(e**2))) for e in error]
    p95 = np.mean([np.percentile(NearestSurface(*truth[k])(fused[k][0])[0], 95) for k in judged])
    flicker = [flicker_mm(e) for e in error]
    out = {"p95_mm": 1000 * float(p95)}
    if rms[0] > 1e-4:
        out |= {"error_ratio": rms[1] / rms[0]}
    if flicker[0] > 0.1:
        out |= {"flicker_ratio": flicker[1] / flicker[0], "flicker_mm": flicker[1]}
    if np.any(relief):
        out["amplitude_ratio"] = amplitude_ratio(after, wanted)
    if meshes is not truth:
        both = ("chamfer_before_cm", meshes), ("chamfer_cm", fused)
        for name, some in both:
            scores = [score_surface(some[k], truth[k], samples=config.points, seed=k).chamfer_cm for k in judged]
            out[name] = float(np.mean(scores))
    return out


def _offsets(person, frame: int, points: np.ndarray, mesh: Triangles) -> np.ndarray:
    skin = person.skin(frame)
    return offsets_along_normals(skin[points], person.normals(skin)[points], *mesh)


def _reconstructed(person, truth: list[Triangles], method) -> Iterator[Triangles]:
    """Each frame made anew from what six cameras see of it."""
    from data.synthetic.walkers import ring_rig
    from pipeline.raster_open3d import Open3DRaster
    from tasks.benchmarks.surface_methods import Given

    rig = ring_rig(6, radius=3.5, height=1.3, size=(768, 768), focal=900.0)
    raster = Open3DRaster(threads=1)
    for frame, mesh in enumerate(truth):
        views = raster.render_views(*mesh, rig.cameras)
        labels = tuple(v.hit.astype(np.uint8) for v in views)
        images = tuple(_shaded(v, c) for v, c in zip(views, rig.cameras, strict=True))
        body = SceneBody((person.bodies[frame].vertices, person.bodies[frame].faces), person.track.parameters(frame))
        yield method.reconstruct(Given(rig, images, labels, (body,)))[0]


def _shaded(view, camera) -> np.ndarray:
    light = 90 + 140 * np.abs(view.normal @ camera.R[2])
    return np.where(view.hit[..., None], light[..., None], 60).astype(np.uint8).repeat(3, -1)


BENCHMARK = Benchmark(FusionBenchmark, run, MEASURES)

