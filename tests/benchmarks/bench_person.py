"""A person from six pictures to a mesh by the weights that ship: what one costs, and what drives it.

A scene of the frozen list, its bodies off by 2 cm. Everything a frame takes is timed (crops and maps, predicted
normals, encoding, query, mesh, visibility), one thread, in a process of its own whose peak memory is told. Baselines:
dense evaluation from a sample of points (resolution), points asked in float32 (bfloat16), the first row of the table
times what is counted (views, people).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import torch

from tests.benchmarks.memory import forget_peak, memory_mb

SCENES = {1: "single_00", 3: "three_00"}
VIEWS, SAMPLE, REPEATS = 6, 8192, 2


def rows() -> list[dict]:
    out = []
    for resolution in (128, 256, 512):
        found = _child(1, VIEWS, resolution)
        out.append(_row(f"resolution/{resolution}", found, found["dense"]))
    half = _child(1, VIEWS, 256, "half")
    out.append(_row("bfloat16/256", half["sixteen"], half["thirty_two"]["seconds"], half["told"]))
    by_views = {views: _child(1, views, 256) for views in (2, 4, 6, 8)}
    for views, found in by_views.items():
        out.append(_row(f"views/{views}", found, by_views[2]["seconds"] * views / 2))
    three = _child(3, VIEWS, 256)
    out.append(_row("people/3", three, 3 * by_views[VIEWS]["seconds"]))
    return out


def _row(name: str, found: dict, baseline: float, told: str = "") -> dict:
    parts = ", ".join(f"{k} {v:.2f}" for k, v in found["parts"].items())
    detail = f"{found['points']} points ({parts} s), peak {found['peak_mb']:.0f} MB{told and '; '}{told}"
    return {
        "name": f"person/{name}", "seconds": found["seconds"], "baseline_seconds": baseline, "unit": "s a frame",
        "detail": detail,
    }  # fmt: skip


def _child(people: int, views: int, resolution: int, what: str = "") -> dict:
    command = [sys.executable, "-m", "tests.benchmarks.bench_person", str(people), str(views), str(resolution), what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


class _Scene:
    """What the network is given of a scene."""

    def __init__(self, people: int, views: int) -> None:
        from data.synthetic.surface_scenes import open_synthetic
        from pipeline.surface.networks import load_networks
        from tasks.benchmarks import network_methods, table1

        scene = open_synthetic(None).load(SCENES[people], views)
        setting = table1.SettingConfig(body_error_cm=2.0)
        self.given = table1.prepare(scene, setting, np.random.default_rng(0))
        self.networks = load_networks(network_methods.shipped())

    def frame(self, resolution: int) -> dict:
        """Everybody's meshes, and seconds, parts and points of the quickest of some repetitions."""
        return min((self._once(resolution) for _ in range(REPEATS)), key=lambda found: found["seconds"])

    def _once(self, resolution: int) -> dict:
        from pipeline.raster_open3d import Open3DRaster
        from pipeline.surface.prepare import prepare, with_normals
        from pipeline.surface.reconstruct import reconstruct
        from tasks.benchmarks.network_methods import body_of, views_of

        parts: dict[str, float] = {"prepare": 0.0}
        points, meshes, begin = 0, [], time.perf_counter()
        for k, found in enumerate(self.given.bodies):
            start = time.perf_counter()
            body = body_of(found)
            prepared = prepare(views_of(self.given, k, body), body, self.networks.preset, Open3DRaster(threads=1))
            prepared = with_normals(prepared, self.networks.normals)
            parts["prepare"] += time.perf_counter() - start
            outcome = reconstruct(self.networks, prepared, body, resolution)
            for name, seconds in outcome.seconds.items():
                parts[name] = parts.get(name, 0.0) + seconds
            points += outcome.points
            meshes.append(outcome.mesh)
            self.last = prepared, body
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, "parts": parts, "points": points, "meshes": meshes}

    def dense(self, resolution: int) -> float:
        """Seconds that every node of the grid would take, from a sample of them in the order of the grid."""
        from pipeline.surface.band import lattice_around
        from pipeline.surface.reconstruct import level_of

        prepared, body = self.last
        lattice = lattice_around(body.vertices, resolution)
        level = level_of(self.networks, prepared, body, "cpu")
        side = np.arange(20) * (resolution // 20)
        nodes = np.stack(np.meshgrid(side, side, side, indexing="ij"), -1).reshape(-1, 3)[:SAMPLE]
        points = torch.as_tensor(lattice.points(nodes), dtype=torch.float32)
        begin = time.perf_counter()
        for some in points.split(2048):
            level(some)
        return (time.perf_counter() - begin) / len(points) * (resolution + 1) ** 3


def _compared(scene: _Scene, resolution: int) -> dict:
    """The same surface with points asked in bfloat16 and in float32, and how far apart they are."""
    from pipeline.raster_open3d import RayScene
    from pipeline.surface.band import lattice_around

    found = {}
    for name, pays in (("thirty_two", False), ("sixteen", True)):
        with mock.patch("pipeline.surface.reconstruct.sixteen_bits_pay", lambda *_, pays=pays: pays):
            found[name] = scene.frame(resolution)
    (a,), (b,) = (found[name].pop("meshes") for name in ("sixteen", "thirty_two"))
    near = RayScene(b.vertices.astype(np.float32), b.faces, threads=1).nearest(a.vertices.astype(np.float32))["point"]
    off = np.linalg.norm(near - a.vertices, axis=1) / lattice_around(scene.last[1].vertices, resolution).voxel
    told = (
        f"baseline: float32, from which 99 % of vertices are within {np.quantile(off, 0.99):.3f} voxels, "
        f"99.9 % within {np.quantile(off, 0.999):.3f}"
    )
    return {**found, "told": told}


def main(people: str, views: str, resolution: str, what: str = "") -> None:
    torch.set_num_threads(1)
    scene = _Scene(int(people), int(views))
    forget_peak()  # making the scene is not counted
    if what == "half":
        found = _compared(scene, int(resolution))
        target = found["sixteen"]
    else:
        target = found = scene.frame(int(resolution))
        found.pop("meshes")
        found["dense"] = scene.dense(int(resolution))
    target["peak_mb"] = memory_mb("VmHWM")
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
