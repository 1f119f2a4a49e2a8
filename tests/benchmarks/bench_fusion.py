"""Temporal fusion: seconds a frame, one thread, against signed distances on a dense grid, by trimesh and by Open3D.

How well exact answers are met is ``run_pipeline.py evaluate fusion``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from data.synthetic.carried_skin import FPS, CarriedSkin, walker
from pipeline.fusion.calm import Calm
from pipeline.fusion.fuse import Fused, WindowFrame, fuse_window, window_frame
from pipeline.fusion.options import FusionOptions
from pipeline.fusion.surface import prepare
from pipeline.fusion.windows import fuse_sequence

VOXEL = 0.003
BEFORE = range(2)
"""Frames of the run before the one that is timed: what a frame shares with its neighbours is there then."""
SAMPLE, SAMPLE_OPEN3D = 100, 500_000  # points of the dense grid that the obvious ways are timed on


def rows() -> list[dict]:
    """Rows ``fusion/against_dense_trimesh`` and ``fusion/against_dense_open3d``: seconds a frame in a run, the window
    as in a session. The obvious way takes the distance of every point of the box's grid to each mesh."""
    options = FusionOptions(voxel_m=VOXEL)
    frames = len(BEFORE) + 1 + 2 * options.reach
    person = walker(frames, 2)
    reconstructed = [_remeshed(person, k) for k in range(frames)]
    ours, ours_used, out = _last_of_a_run(person, reconstructed, options)
    vertices, faces = reconstructed[2]
    low, high = vertices.min(0) - 0.02, vertices.max(0) + 0.02
    points = int(np.prod(np.ceil((high - low) / VOXEL)))
    detail = (
        f"{options.window} meshes of {len(faces)} triangles, voxels of 3 mm, {len(out.faces)} triangles out, processor "
        f"time {ours_used:.1f} s; baseline: {{}} on the dense grid of {points / 1e6:.1f} million points, extrapolated "
        "from {} of them"
    )
    generator, rows = np.random.default_rng(0), []
    for name, distances, sample in (
        ("trimesh", _trimesh(vertices, faces), SAMPLE), ("open3d", _open3d(vertices, faces), SAMPLE_OPEN3D)
    ):  # fmt: skip
        taken = generator.uniform(low, high, (sample, 3))
        distances(taken[:2])  # search trees are built once
        begin = time.perf_counter()
        distances(taken)
        dense = (time.perf_counter() - begin) / sample * points * options.window
        rows.append(
            {
                "name": f"fusion/against_dense_{name}",
                "seconds": ours,
                "baseline_seconds": dense,
                "unit": "s a frame",
                "detail": detail.format(name, sample),
            }
        )
    return rows


def _last_of_a_run(person: CarriedSkin, meshes: list, options: FusionOptions) -> tuple[float, float, Fused]:
    """Seconds, seconds of processor time and result of a frame that follows others: one more is bound, one fused."""
    last = options.reach + len(BEFORE)
    calm = Calm(lambda k: person.bodies[k].vertices if 0 <= k < len(person.bodies) else None, FPS)

    def load(row: int) -> WindowFrame:
        return window_frame(prepare(*meshes[row]), calm.told(row, person.bodies[row]), options)

    rows = range(options.reach, last + 1)
    run = fuse_sequence(np.arange(len(meshes)), np.ones(len(meshes), bool), load, options, wanted=rows, threads=1)
    for _ in BEFORE:
        next(run)
    begin, used = time.perf_counter(), time.process_time()
    _, out = next(run)
    return time.perf_counter() - begin, time.process_time() - used, out


def _trimesh(vertices: np.ndarray, faces: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, process=False)
    return lambda points: trimesh.proximity.signed_distance(mesh, points)


def _open3d(vertices: np.ndarray, faces: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    from pipeline.raster_open3d import RayScene

    return RayScene(vertices, faces, threads=1).signed_distance


def _remeshed(person: CarriedSkin, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The skin as a reconstruction has it: marching cubes at 4 mm (about 512 cells along the body's box)."""
    options = FusionOptions(window=1, voxel_m=0.004)
    alone = fuse_window(
        [window_frame(prepare(person.skin(frame), person.faces), person.bodies[frame], options)], 0, options
    )
    return alone.vertices, alone.faces
