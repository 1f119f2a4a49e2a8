"""The benchmark of fusion on scenes in motion: what it measures, and names that are wrong."""

import numpy as np
import pytest

from pipeline.errors import InputError
from tasks.benchmarks.benchmark import Request
from tasks.benchmarks.fusion import FusionBenchmark, run
from tasks.benchmarks.fusion_scenes import Moving, figures
from tests.pipeline.fusion_person import walker


def test_noise_counts_as_flicker_and_as_distance():
    person, rng = walker(), np.random.default_rng(0)
    skins = np.stack([b.vertices for b in person.bodies])
    surfaces = [(person.skin(k), person.faces) for k in range(5)]
    noisy = [(person.skin(k, rng.normal(0, 0.004)), person.faces) for k in range(5)]
    moving = Moving(person.bodies, skins, person.bodies[0].faces, surfaces, noisy, 1.0)
    found = figures(moving, {k: surfaces[k] for k in range(1, 4)}, 3000, 0)
    assert found["body_mm"] == 0
    assert found["flicker_before_mm"] > 10 * found["flicker_mm"]
    moved = np.mean([np.linalg.norm(noisy[k][0] - surfaces[k][0], axis=1).mean() for k in range(1, 4)])
    assert found["chamfer_before_cm"] - found["chamfer_cm"] == pytest.approx(100 * moved, rel=0.2)


@pytest.mark.parametrize(
    ("categories", "scenes", "told"),
    [(["single"], ["single_01", "three_00"], "three_00"), (["single", "three"], ["single_01"], "three")],
)
def test_scenes_that_do_not_fit_their_categories_are_named(tmp_path, categories, scenes, told):
    config = FusionBenchmark(categories=categories, scenes=scenes)
    with pytest.raises(InputError, match=told):
        run(config, Request(tmp_path / "fusion.yaml", {}, print))
