"""Bodies: fits of the pipeline against known bodies in motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.config import Section
from tasks.benchmarks.benchmark import Benchmark, Request, Row

Category = Literal["six_cameras", "four_cameras_gaps"]
Scene = Literal["walking", "crouching", "arms_crossed", "hugging", "half_hidden"]

MEASURES = {"joint_mm": 1, "vertex_mm": 1, "acceleration_mm": 2, "swaps": 1, "stature_mm": 1, "valid_share": 3}


class BodyBenchmark(Section):
    """See configs/benchmarks/body.yaml."""

    categories: list[Category] = Field(
        ["six_cameras", "four_cameras_gaps"], min_length=1, description="How people are seen."
    )
    scenes: list[Scene] = Field(
        ["walking", "crouching", "arms_crossed", "hugging", "half_hidden"], min_length=1, description="What they do."
    )
    seeds: list[int] = Field([1, 2], min_length=1, description="Each scene is made once a seed; figures are means.")
    frames: int = Field(60, ge=20, le=1000, description="Length of a scene, at 30 frames a second.")
    silhouettes: bool = Field(False, description="Also with the shape from exact masks of four frames (fit_masks).")


def run(config: BodyBenchmark, request: Request) -> list[Row]:
    """One row a category and scene, and one over all scenes of a category."""
    from data.synthetic.body_scenes import SETTINGS, body_scene, true_outlines
    from pipeline.body.accuracy import body_errors
    from pipeline.body.fit import fit_track
    from pipeline.body.options import FitOptions
    from tasks.benchmarks.fitted_bodies import open_model

    model, rows = open_model(), []
    methods = ("fit", "fit_masks") if config.silhouettes else ("fit",)
    for method, category in product(methods, config.categories):
        every: list[dict[str, float]] = []
        for name in config.scenes:
            errors = []
            for seed in config.seeds:
                scene = body_scene(model, name, SETTINGS[category], seed, config.frames)
                options = FitOptions(fps=scene.fps, floor=scene.floor)
                for truth, track in zip(scene.people, scene.tracks, strict=True):
                    masks = true_outlines(model, scene.rig, truth) if method == "fit_masks" else ()
                    found = fit_track(model, scene.rig, track, options, outlines=masks)
                    errors.append(_figures(asdict(body_errors(model, found, truth, scene.fps)), scene.fps))
            rows.append({"method": method, "category": category, "scene": name, **_means(errors)})
            every.append(_means(errors))
            request.tell(f"body: {method}, {category}, {name}")
        rows.append({"method": method, "category": category, "scene": "all", **_means(every)})
    return rows


def _figures(errors: dict[str, float], fps: float) -> dict[str, float]:
    """Accelerations in millimetres a frame squared; statures without their sign."""
    acceleration = 1000 * errors.pop("acceleration_m_s2") / fps**2
    return errors | {"acceleration_mm": acceleration, "stature_mm": abs(errors["stature_mm"])}


def _means(errors: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.nanmean([e[key] for e in errors])) for key in MEASURES}


BENCHMARK = Benchmark(BodyBenchmark, run, MEASURES)
