"""Association: tracks of the pipeline against known joints, on scenes that are hard in one way each."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.config import Section
from tasks.benchmarks.benchmark import Benchmark, Request, Row

Category = Literal["clean", "crossing", "hugging", "noisy", "missing_camera"]


class AssociationBenchmark(Section):
    """See configs/benchmarks/association.yaml."""

    categories: list[Category] = Field(
        ["clean", "crossing", "hugging", "noisy", "missing_camera"], min_length=1, description="Scenes."
    )
    detections: list[Literal["bottom_up", "top_down"]] = Field(
        ["bottom_up", "top_down"], min_length=1, description="bottom_up: joints and limbs of nobody in particular, as "
        "OpenPose finds them; top_down: whole people, as BlazePose does."
    )
    seeds: list[int] = Field([1, 2, 3], min_length=1, description="Each scene is made once a seed; figures are means.")
    frames: int = Field(
        100, ge=40, le=10_000, description="Length of a scene at 25 frames a second; in fewer, people would be running."
    )


def run(config: AssociationBenchmark, request: Request) -> list[Row]:
    """One row a category and kind of detections."""
    from data.synthetic.association_scenes import make_scene
    from pipeline.association.graph import associate
    from pipeline.association.options import AssociationOptions
    from pipeline.association.scoring import score_tracks

    rows = []
    for category in config.categories:
        for kind in config.detections:
            scores = []
            for seed in config.seeds:
                scene = make_scene(category, kind == "bottom_up", seed, config.frames)
                tracks = associate(scene.rig, scene.detections, AssociationOptions(fps=scene.fps))
                scores.append(score_tracks(tracks, scene.joints))
            means = {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}
            rows.append({"method": "pipeline", "category": category, "detections": kind, **means})
            request.tell(f"association: {category}, {kind}")
    return rows


BENCHMARK = Benchmark(
    AssociationBenchmark,
    run,
    {"pcp": 2, "mpjpe_mm": 1, "identity_switches": 2, "coverage": 3, "ghosts": 3},
)
