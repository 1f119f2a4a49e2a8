"""Speed of making pictures of synthetic people: on one core, on two, and by the renderer of machines without Open3D."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FRAMES, CAMERAS, SIZE = 5, 6, (640, 480)


def rows() -> list[dict]:
    """Rows ``people/...``: seconds a picture."""
    import numpy as np
    import torch

    from data.synthetic.people import People
    from data.synthetic.scenes import stage

    torch.set_num_threads(1)
    people = People(texture_size=384, fineness=1)
    times = np.arange(FRAMES) / 25
    scene = stage(people, "two_natural", 1, [people.person("train", k) for k in (0, 1)], times)
    one, two, bare = (_seconds(people, scene, *how) for how in ((1, "open3d"), (2, "open3d"), (1, "torch", 1)))
    what = f"two people, {CAMERAS} cameras of {SIZE[0]} x {SIZE[1]}, posed, lit, encoded"
    return [
        _row("people/one_core", one, bare, f"{1 / one:.1f} pictures a second; {what}; baseline: torch on a CPU"),
        _row("people/two_cores", two, one, f"{1 / two:.1f} pictures a second; {what}; baseline: one core"),
    ]


def _row(name: str, seconds: float, baseline: float, detail: str) -> dict:
    return {"name": name, "seconds": seconds, "baseline_seconds": baseline, "unit": "s a picture", "detail": detail}


def _seconds(people, scene, workers: int, renderer: str, frames: int = FRAMES) -> float:
    """A picture, without the room that is drawn once."""
    import numpy as np

    from data.synthetic.cameras import Exposure, ring
    from data.synthetic.capture import film
    from data.synthetic.drawing import Cast, Painter
    from data.synthetic.light import Light
    from data.synthetic.props import thing_mesh
    from data.synthetic.scene import Room
    from pipeline.raster import RENDERER

    before = os.environ.get(RENDERER)
    os.environ[RENDERER] = renderer
    try:
        g = np.random.default_rng(0)
        rig = ring(CAMERAS, g, size=SIZE)
        cast = Cast.of([w.dressed for w in scene.people], scene.act.things)
        painter = Painter(rig, [Exposure.sample(g) for _ in rig.cameras], Light.sample(g), cast, g)

        def posed(frame: int):
            return [p.layers for p in scene.posed(people, frame)], [thing_mesh(t, frame)[0] for t in scene.act.things]

        with ThreadPoolExecutor(workers) as pool, tempfile.TemporaryDirectory() as folder:
            painter.enter(Room.sample(g), pool)
            begin = time.perf_counter()
            film(painter, posed, frames, Path(folder), 25, pool, lambda done: None)
            return (time.perf_counter() - begin) / (frames * CAMERAS)
    finally:
        os.environ.pop(RENDERER)
        if before is not None:
            os.environ[RENDERER] = before
