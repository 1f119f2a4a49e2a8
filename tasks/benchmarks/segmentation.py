"""Segmentation: each person's own pixels by the pipeline, with bodies it fits itself, against true label images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from data.scene_files import StoredScenes
from data.surface_scenes import CATEGORIES, SceneSource
from pipeline.config import Section
from pipeline.errors import InputError
from pipeline.quality.metrics import MaskFigures
from pipeline.segmentation.evidence import Evidence
from tasks.benchmarks.benchmark import Benchmark, Request, Row
from tasks.benchmarks.scene_sources import DatasetConfig, open_source

Category = Literal["single", "occluded", "two_natural", "two_close", "three"]
MEASURES = {"iou": 4, "identity_swaps": 0, "boundary_px": 2, "people_missed": 0}


class SegmentationBenchmark(Section):
    """See configs/benchmarks/segmentation.yaml."""

    output: str = Field(description="Folder for scenes.")
    dataset: DatasetConfig = Field(DatasetConfig(), description="Where scenes come from, see DatasetConfig.")
    methods: list[Literal["pipeline", "detector_mask", "network"]] = Field(
        ["pipeline", "detector_mask", "network"], min_length=1, description="What judges a pixel."
    )
    categories: list[Category] = Field(list(CATEGORIES), min_length=1, description="Kinds of scenes.")
    scenes: int | None = Field(None, ge=1, description="Only the first scenes of each category; null: all.")
    views: int = Field(6, ge=2, le=64, description="Cameras round the scene.")


def run(config: SegmentationBenchmark, request: Request) -> list[Row]:
    """One row a method and category."""
    from tasks.benchmarks.fitted_bodies import find, segmented

    output = request.resolve(config.output)
    source: SceneSource = StoredScenes(open_source(config.dataset, request.resolve), output / "scenes")
    scores = {name: _score(name) for name in config.methods}
    rows = []
    for category in config.categories:
        figures = {name: MaskFigures() for name in scores}
        names = list(source.names(category))[: config.scenes]
        missed = 0
        for number, name in enumerate(names):
            scene = source.load(name, config.views)
            found = find(scene)
            missed += len(scene.people) - len(found.partners)
            for method, score in scores.items():
                images = segmented(scene, found, score)
                for mine, true in zip(images, scene.labels, strict=True):
                    figures[method].add(mine, true, range(1, len(scene.people) + 1))
            request.tell(f"segmentation: {category}, scene {number + 1} of {len(names)}")
        for method in scores if names else ():
            rows.append({"method": method, "category": category, "views": config.views, "scenes": len(names),
                         **figures[method].row(), "people_missed": missed})  # fmt: skip
    if not rows:
        raise InputError(f"{request.path}: categories", "there is no scene", "Choose other categories")
    return sorted(rows, key=lambda row: config.methods.index(row["method"]))


def _score(name: str) -> Callable:
    from data.model_files import open_weights
    from tasks.benchmarks.fitted_bodies import configured_score

    if name == "detector_mask":
        return detector_alone
    if name == "network" and open_weights("parsing") is None:
        raise InputError("methods: network", "the parsing network has no weights", "Leave it out, or train them")
    return configured_score(None if name == "pipeline" else _without_masks)


def detector_alone(evidence: Evidence) -> np.ndarray:
    """The detector's mask as it is; nothing where the detector did not find the person."""
    return np.zeros(evidence.depth.shape, np.float32) if evidence.detector is None else evidence.detector


def _without_masks(evidence: Evidence) -> Evidence:
    """What the network knows without the detector's masks."""
    return replace(evidence, detector=None, others=None)


BENCHMARK = Benchmark(SegmentationBenchmark, run, MEASURES)
