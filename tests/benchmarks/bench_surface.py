"""The query engine at 512^3 against dense evaluation and against an octree as published, at the same cost per point.

The surface is a synthetic person in loose clothes; its own level function drives all three, and the points each asks
for are counted. What a point costs is measured once, with the network ``ours_small`` and random weights, six views.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.surface.band import Band, Lattice, lattice_around
from pipeline.surface.extract import extract_surface
from tests.pipeline.clothed_person import body, logits

RESOLUTION, VIEWS, SAMPLE = 512, 6, 16384
RELEASED = "the released network and octree took 748 s of queries for 4.26 million points on 2 cores, four views"


def seconds_per_point(sample: int = SAMPLE) -> float:
    """Best of three batches of points through both levels of ``ours_small``, one thread."""
    from nets.deepmulticap.network import build
    from nets.deepmulticap.presets import preset
    from pipeline.surface.network_level import encode, network_level
    from tests.nets.ball_person import extra, random_inputs, random_points

    torch.manual_seed(0)
    network = build(preset("ours_small")).eval()
    inputs = random_inputs(VIEWS, size=network.preset.image_size, resolution=64)
    answer = network_level(network, encode(network, inputs), extra=lambda p: extra(network, p[None])[0], certain=1e9)
    points, times = random_points(sample)[0], []
    for _ in range(3):
        begin = time.perf_counter()
        for some in points.split(8192):
            answer(some)
        times.append(time.perf_counter() - begin)
    return min(times) / sample


def published_points(function: Callable[[Tensor], Tensor], lattice: Lattice, first: int = 64) -> int:
    """Points that an octree as published asks for: every node of a first grid, then every node of each cell whose
    corners differ by 0.01 or more in occupancy, halved until cells are voxels.
    """
    step, asked = lattice.cells // first, 0
    values = torch.full((lattice.cells + 1,) * 3, float("nan"), dtype=torch.float16)
    one = torch.arange(0, first, dtype=torch.int64)
    cells = torch.cartesian_prod(one, one, one) * step
    corners = torch.cartesian_prod(*[torch.arange(2)] * 3)
    while True:
        for part in cells.split(1 << 17):
            at = (part[:, None] + corners * step).flatten(0, 1)
            new = torch.unique(at[torch.isnan(values[tuple(at.T)])], dim=0)
            for some in new.split(1 << 17):
                points = torch.as_tensor(lattice.points(some.numpy()), dtype=torch.float32)
                values[tuple(some.T)] = torch.sigmoid(function(points)).half()
            asked += len(new)
        if step == 1:
            return asked
        parts = []
        for part in cells.split(1 << 19):
            found = values[tuple((part[:, None] + corners * step).unbind(-1))].float()
            parts.append(part[found.amax(1) - found.amin(1) >= 0.01])
        step //= 2
        cells = (torch.cat(parts)[:, None] + corners * step).flatten(0, 1)


def rows() -> list[dict]:
    """Rows ``surface/512/against_dense`` and ``surface/512/against_published``: seconds a person and frame."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        vertices, faces = body()
        lattice = lattice_around(vertices, RESOLUTION)
        surface = extract_surface(logits, Band(lattice, vertices, faces))
        cost = seconds_per_point()
        octree = published_points(logits, lattice)
    finally:
        torch.set_num_threads(threads)
    asked, own = surface.points_evaluated, surface.seconds["grid"] + surface.seconds["mesh"]
    seconds = asked * cost + own
    detail = (
        f"{asked} points at {1e6 * cost:.1f} us (ours_small, {VIEWS} views, one thread, no masks) and {own:.1f} s of "
        f"grid and mesh, grid {surface.grid_bytes / 1e6:.0f} MB; baseline: "
    )
    dense = (RESOLUTION + 1) ** 3
    out = []
    for name, points, note in (
        ("against_dense", dense, f"{dense} points, extrapolated from a sample of {SAMPLE}"),
        ("against_published", octree, f"{octree} points, 64 to 512, its bookkeeping not counted; {RELEASED}"),
    ):
        out.append(
            {
                "name": f"surface/{RESOLUTION}/{name}",
                "seconds": seconds,
                "baseline_seconds": points * cost,
                "unit": "s a person and frame",
                "detail": detail + note,
            }
        )
    return out
