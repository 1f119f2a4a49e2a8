"""Temporal fusion: seconds a frame against signed distances on a dense grid, and how well exact answers are met.

``rows()`` is the speed row; ``python -m tests.benchmarks.bench_fusion`` prints exact figures at full resolution too.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from pipeline.fusion.fuse import Fused, WindowFrame, fuse_window, window_frame
from pipeline.fusion.options import FusionOptions
from pipeline.fusion.surface import prepare, vertex_normals
from tests.pipeline.fusion_person import Person, along_normals, distances, noise, sample, walker, wrinkles

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
    out = fuse_window(frames, 1, options)
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


def accuracy(voxel: float = VOXEL, seed: int = 0, **chosen) -> list[dict]:
    """Both methods against exact answers: p95_mm (clean), error_ratio and flicker_ratio (noise of 5 mm, correlated
    over 3 cm), amplitude_ratio (wrinkles 10 mm from middle to crest, 6 cm long)."""
    person = walker(5, 2)
    rng = np.random.default_rng(seed)
    points = sample(person, 20000, rng)
    clean = [person.skin(k) for k in range(5)]
    noisy = [person.skin(k, noise(person.rest, rng, 0.005, 0.03)) for k in range(5)]
    shape = wrinkles(person.rest)
    folded = [person.skin(k, shape) for k in range(5)]
    found = []
    for method in ("paper", "weighted"):
        options = FusionOptions(voxel_m=voxel, weighted=method == "weighted", **chosen)
        out = _fused(person, clean, (2,), options)[2]
        away = distances(clean[2][points], out.vertices, out.faces)
        found.append({"method": method, "category": "clean", "p95_mm": 1e3 * np.percentile(away, 95)})
        out = _fused(person, noisy, (1, 2, 3), options)
        before = [_off(person, k, noisy[k], person.faces, points) for k in (1, 2, 3)]
        after = [_off(person, k, out[k].vertices, out[k].faces, points) for k in (1, 2, 3)]
        good = np.isfinite([before, after]).all((0, 1))
        error = [np.sqrt(np.square(e)[:, good].mean()) for e in (before, after)]
        flicker = [np.sqrt(np.square(e[0] - 2 * e[1] + e[2])[good].mean()) for e in (before, after)]
        ratios = {"error_ratio": error[1] / error[0], "flicker_ratio": flicker[1] / flicker[0]}
        found.append({"method": method, "category": "noise"} | ratios | {"share_measured": good.mean()})
        out = _fused(person, folded, (2,), options)[2]
        before = _off(person, 2, folded[2], person.faces, points)
        after = _off(person, 2, out.vertices, out.faces, points)
        good = np.isfinite(before) & np.isfinite(after)
        amplitude = (after * shape[points])[good].sum() / (before * shape[points])[good].sum()
        found.append({"method": method, "category": "wrinkles", "amplitude_ratio": amplitude})
    return found


def _fused(person: Person, meshes: list[np.ndarray], centres: tuple[int, ...], options) -> dict[int, Fused]:
    frames: dict[int, WindowFrame] = {}
    for k in range(min(centres) - 1, max(centres) + 2):
        frames[k] = window_frame(prepare(meshes[k], person.faces), person.bodies[k], options)
    return {c: fuse_window([frames[c - 1], frames[c], frames[c + 1]], 1, options) for c in centres}


def _off(person: Person, frame: int, vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    skin = person.skin(frame)
    return along_normals(skin[points], vertex_normals(skin, person.faces)[points], vertices, faces)


def _remeshed(person: Person, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The skin as a reconstruction has it: marching cubes at 4 mm (about 512 cells along the body's box)."""
    options = FusionOptions(window=1, voxel_m=0.004)
    alone = fuse_window(
        [window_frame(prepare(person.skin(frame), person.faces), person.bodies[frame], options)], 0, options
    )
    return alone.vertices, alone.faces


if __name__ == "__main__":
    for row in rows() if "--accuracy" not in sys.argv else []:
        print(row | {"ratio": row["baseline_seconds"] / row["seconds"]})
    for row in accuracy():
        print({k: round(float(v), 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
