"""Temporal fusion: seconds a frame, one thread, against signed distances on a dense grid, by trimesh and by Open3D.

How well exact answers are met is ``run_pipeline.py evaluate fusion``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from data.synthetic.carried_skin import CarriedSkin, walker
from pipeline.fusion.align import Aim
from pipeline.fusion.fuse import WindowFrame, fuse_window, window_frame
from pipeline.fusion.options import FusionOptions
from pipeline.fusion.surface import prepare

VOXEL = 0.003
SAMPLE, SAMPLE_OPEN3D = 100, 500_000  # points of the dense grid that the obvious ways are timed on


def rows() -> list[dict]:
    """Rows ``fusion/against_dense_trimesh`` and ``fusion/against_dense_open3d``: seconds a frame in a run, window of
    three, steadied by two frames before and after. The obvious way takes the distance of every point of the box's grid
    to each of the three meshes."""
    person = walker(5, 2)
    reconstructed = [_remeshed(person, k) for k in range(5)]
    options = FusionOptions(voxel_m=VOXEL)
    begin, used = time.perf_counter(), time.process_time()
    frames = [window_frame(prepare(*reconstructed[0]), person.bodies[0], options)]
    # in a run each frame is bound once, so one binding and one fusion are what a frame costs
    bound, bound_used = time.perf_counter() - begin, time.process_time() - used
    frames += [window_frame(prepare(*reconstructed[k]), person.bodies[k], options) for k in range(1, 5)]
    _aims(frames[1:])  # made once a frame too: of all but one, for the windows before
    begin, used = time.perf_counter(), time.process_time()
    out = fuse_window(frames[1:4], 1, options, threads=1, around={k - 2: f for k, f in enumerate(frames)})
    ours, ours_used = time.perf_counter() - begin + bound, time.process_time() - used + bound_used

    vertices, faces = reconstructed[2]
    low, high = vertices.min(0) - 0.02, vertices.max(0) + 0.02
    points = int(np.prod(np.ceil((high - low) / VOXEL)))
    detail = (
        f"3 meshes of {len(faces)} triangles, voxels of 3 mm, {len(out.faces)} triangles out, processor time "
        f"{ours_used:.1f} s; baseline: {{}} on the dense grid of {points / 1e6:.1f} million points, extrapolated from "
        "{} of them"
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


def _aims(frames: list[WindowFrame]) -> list[Aim]:
    return [frame.aim for frame in frames]


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
