"""The query engine at 512^3 against dense evaluation and against an octree as published; cost by views and resolution.

The surface is a synthetic person in loose clothes; its own level function drives all three, and the points each asks
for are counted. What a point costs is measured beside, one thread, random weights, both architectures: plainly, as
published (float32, every token of the last layer, 30000 points at a time), and as the engine asks.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pipeline.surface.band import Band, Lattice, lattice_around
from pipeline.surface.extract import Surface, extract_surface
from tests.pipeline.clothed_person import body, logits

RESOLUTION, SAMPLE = 512, 8192
PUBLISHED_BATCH, BATCH = 30000, 2048
RELEASED = "the released network and octree took 748 s of queries for 4.26 million points on 2 cores, four views"
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "8000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000", "MALLOC_TOP_PAD_": "268435456",
}  # fmt: skip


def seconds_per_point(architecture: str, views: int, plain: bool, sample: int = SAMPLE) -> float:
    """Best of three looks at ``sample`` points near a surface, sorted as the engine asks for them."""
    from dataclasses import replace

    from nets.deepmulticap.network import build
    from nets.deepmulticap.presets import preset
    from pipeline.surface.network_level import encode, network_level, sixteen_bits
    from tests.nets.ball_person import awake, extra, random_inputs, random_points

    torch.manual_seed(0)
    of = replace(preset(architecture), image_size=128)  # maps a quarter as wide; points look at them all the same
    network = awake(build(of)).eval().requires_grad_(False)
    features = encode(network, random_inputs(views, size=128, resolution=64))
    points = random_points(sample)[0]
    points = points[torch.from_numpy(np.lexsort((50 * points).floor().numpy().T))]
    known = extra(network, points[None])
    released = architecture == "released"
    answer = network_level(
        network, features, certain=1e9, coarse_head=not (plain or released), half=not plain and sixteen_bits("cpu"),
        extra=None if known is None else lambda p: known[0, : len(p)],
    )  # fmt: skip

    def ask() -> None:
        if not plain:
            for some in points.split(BATCH):
                answer(some)
            return
        with torch.enable_grad():  # what the layers do where they may not take short cuts; no weight asks for gradients
            for some in points.split(PUBLISHED_BATCH):
                located = network.locate(features, some[None], extra=None if known is None else known[:, : len(some)])
                fused = network.fuse_coarse(features, located)
                embedding = network.embedding(network.coarse.decoder, fused).unflatten(0, (1, len(some)))
                fine = network.fine.fuse(features.fine, located, network.pixels, embedding)
                network.fine.decoder.logits(fine)

    times = []
    for _ in range(3):
        begin = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begin)
    return min(times) / sample


def published_cost(tuned: bool) -> float:
    """``seconds_per_point`` of the released architecture, plainly, in a process with or without a tuned allocator."""
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "from tests.benchmarks.bench_surface import seconds_per_point\n"
        "print(seconds_per_point('released', 4, True))"
    )
    env = {**os.environ, **(TUNED if tuned else {})}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    return float(done.stdout.split()[-1])


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


def error_in_voxels(surface: Surface, voxel: float) -> float:
    """How far 99.9 % of the vertices are off the true level set at most, by the level function's value and slope."""
    points, step = torch.from_numpy(surface.vertices), 1e-4
    value = logits(points)
    slope = torch.stack([(logits(points + d) - logits(points - d)) / (2 * step) for d in step * torch.eye(3)], -1)
    off = value.abs() / slope.norm(dim=-1).clamp_min(1)
    return float(np.quantile(off.numpy(), 0.999)) / voxel


def rows() -> list[dict]:
    """Seconds a person and frame: against dense evaluation and the published octree at 512^3, by architecture; then by
    resolution and by views, against asking as many points plainly."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _rows()
    finally:
        torch.set_num_threads(threads)


def _rows() -> list[dict]:
    vertices, faces = body()
    found = {}
    for resolution in (128, 256, RESOLUTION):
        lattice = lattice_around(vertices, resolution)
        found[resolution] = lattice, extract_surface(logits, Band(lattice, vertices, faces))
    lattice, surface = found[RESOLUTION]
    octree, dense = published_points(logits, lattice), (RESOLUTION + 1) ** 3
    plain = {tuned: published_cost(tuned) for tuned in (False, True)}
    fast = seconds_per_point("released", 4, plain=False)
    own = surface.seconds["grid"] + surface.seconds["mesh"]
    seconds = surface.points_evaluated * fast + own
    detail = (
        f"{surface.points_evaluated} points at {1e6 * fast:.0f} us (released architecture, 4 views, one thread) and "
        f"{own:.1f} s of grid and mesh, grid {surface.grid_bytes / 1e6:.0f} MB, 99.9 % of vertices within "
        f"{error_in_voxels(surface, lattice.voxel):.3f} voxels; baseline: "
    )
    out = [
        _row(f"{RESOLUTION}/against_dense", seconds, dense * plain[True],
             f"{detail}{dense} points at {1e6 * plain[True]:.0f} us, from a sample of {SAMPLE}"),
        _row(f"{RESOLUTION}/against_published", seconds, octree * plain[True],
             f"{detail}{octree} points at {1e6 * plain[True]:.0f} us (allocator tuned; untuned "
             f"{1e6 * plain[False]:.0f}), 64 to 512, its bookkeeping not counted; {RELEASED}"),
    ]  # fmt: skip
    small = {views: [seconds_per_point("ours_small", views, p) for p in (False, True)] for views in (1, 2, 4, 6, 8, 12)}
    for resolution, (_, its) in found.items():
        own = its.seconds["grid"] + its.seconds["mesh"]
        cost, slow = small[6]
        text = f"{its.points_evaluated} points at {1e6 * cost:.0f} us, ours_small, 6 views; baseline: dense, plainly"
        seconds = its.points_evaluated * cost + own
        out.append(_row(f"resolution/{resolution}", seconds, (resolution + 1) ** 3 * slow, text))
    for views, (cost, slow) in small.items():
        asked = surface.points_evaluated
        text = f"{asked} points at {1e6 * cost:.0f} us, ours_small at {RESOLUTION}; baseline: as many points plainly"
        out.append(_row(f"views/{views}", asked * cost, asked * slow, text))
    return out


def _row(name: str, seconds: float, baseline: float, detail: str) -> dict:
    return {
        "name": f"surface/{name}", "seconds": seconds, "baseline_seconds": baseline, "unit": "s a person and frame",
        "detail": detail,
    }  # fmt: skip
