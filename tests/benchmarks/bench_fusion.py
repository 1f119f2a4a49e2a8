"""Temporal fusion: seconds a frame, one thread, against signed distances on a dense grid.

How well exact answers are met is ``run_pipeline.py evaluate fusion``.
"""

from __future__ import annotations

import time

import numpy as np

from data.synthetic.carried_skin import CarriedSkin, walker
from pipeline.fusion.fuse import fuse_window, window_frame
from pipeline.fusion.options import FusionOptions
from pipeline.fusion.surface import prepare

VOXEL = 0.003
SAMPLE = 400  # points of the dense grid that the obvious way is timed on


def rows() -> list[dict]:
    """Row ``fusion/against_dense_trimesh``: seconds a frame in a run, window of three."""
    import trimesh

    person = walker(3, 2)
    reconstructed = [_remeshed(person, k) for k in range(3)]
    options = FusionOptions(voxel_m=VOXEL)
    begin, used = time.perf_counter(), time.process_time()
    frames = [window_frame(prepare(*reconstructed[0]), person.bodies[0], options)]
    # in a run each frame is bound once, so one binding and one fusion are what a frame costs
    bound, bound_used = time.perf_counter() - begin, time.process_time() - used
    frames += [window_frame(prepare(*reconstructed[k]), person.bodies[k], options) for k in (1, 2)]
    begin, used = time.perf_counter(), time.process_time()
    out = fuse_window(frames, 1, options, threads=1)
    ours, ours_used = time.perf_counter() - begin + bound, time.process_time() - used + bound_used

    vertices, faces = reconstructed[1]
    low, high = vertices.min(0) - 0.02, vertices.max(0) + 0.02
    points = int(np.prod(np.ceil((high - low) / VOXEL)))
    taken = np.random.default_rng(0).uniform(low, high, (SAMPLE, 3))
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    trimesh.proximity.signed_distance(mesh, taken[:2])  # its search tree is built once
    begin = time.perf_counter()
    trimesh.proximity.signed_distance(mesh, taken)
    dense = (time.perf_counter() - begin) / SAMPLE * points * options.window
    detail = (
        f"3 meshes of {len(faces)} triangles, voxels of 3 mm, {len(out.faces)} triangles out, processor time "
        f"{ours_used:.1f} s; baseline: trimesh on the dense grid of {points / 1e6:.1f} million points, extrapolated "
        f"from {SAMPLE} of them"
    )
    return [
        {
            "name": "fusion/against_dense_trimesh",
            "seconds": ours,
            "baseline_seconds": dense,
            "unit": "s a frame",
            "detail": detail,
        }
    ]


def _remeshed(person: CarriedSkin, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The skin as a reconstruction has it: marching cubes at 4 mm (about 512 cells along the body's box)."""
    options = FusionOptions(window=1, voxel_m=0.004)
    alone = fuse_window(
        [window_frame(prepare(person.skin(frame), person.faces), person.bodies[frame], options)], 0, options
    )
    return alone.vertices, alone.faces
