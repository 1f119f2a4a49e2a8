"""Speed of association and skeletons together, single thread, amortised over the sequence.

Rows for ``benchmarks.json``: the Shelf sequence (synthetic people where it is not beside the clone), and cost against
the number of people and cameras. The baseline is the plain association, which solves no skeletons; the original
program's time on this kind of machine stands in the detail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.synthetic.walkers import Flaws, detect, ring_rig, walk
from pipeline.association import graph, plain
from pipeline.association.observations import observe
from pipeline.association.options import AssociationOptions
from pipeline.association.tracking import draft_tracks
from pipeline.cameras import Rig
from pipeline.keypoints.detections import Detections

SHELF = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "shelf"
ORIGINAL_MS = (0.66, 7.4)  # association and solver of the released C++ program, measured once on such a machine


def _least(function: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of processor time, the best of a few runs: others may use the machine."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def shelf() -> tuple[Rig, list[Detections]]:
    """Cameras and candidates of the Shelf sequence (301 frames, five cameras)."""
    from data.calibration.reader import read_calibration
    from data.detections.reader import read_detections

    rig = read_calibration(SHELF / "calibration.json").undistorted()
    frames = list(range(301))
    path = SHELF / "detection"
    return rig, [read_detections("association4d_text", path / f"{c.name}.txt", c, frames) for c in rig.cameras]


def crowd(people: int, cameras: int, frames: int = 60, seed: int = 0) -> tuple[Rig, list[Detections]]:
    """People walking about in a ring of cameras, with bottom-up detections."""
    angle = 2.4 * np.arange(people)
    s = np.linspace(0, 1, frames)[:, None]
    truth = np.stack(
        [
            walk(
                (1 - s) * [2 * np.cos(a), 2 * np.sin(a)] + s * [1.4 * np.cos(a + 0.8), 1.4 * np.sin(a + 0.8)], 25.0,
                phase=a,
            )
            for a in angle
        ],
        1,
    )  # fmt: skip
    rig = ring_rig(cameras)
    return rig, detect(rig, truth, np.random.default_rng(seed), Flaws(), "body25", bottom_up=True)


def _row(name: str, rig: Rig, detections: list[Detections], fps: float, note: str = "", repeats: int = 3) -> dict:
    options = AssociationOptions(fps=fps)
    frames = len(detections[0].frames)
    ours = _least(lambda: graph.associate(rig, detections, options), repeats) / frames
    base = _least(lambda: plain.associate(rig, detections, options), repeats) / frames
    seen = observe(rig, detections, options)
    read = _least(lambda: observe(rig, detections, options), repeats) / frames
    draft = _least(lambda: draft_tracks(seen, options), repeats) / frames
    tracks = graph.associate(rig, detections, options)
    detail = (
        f"{len(rig)} cameras, {tracks.present.sum(1).mean():.1f} people a frame; reading {1e3 * read:.2f} ms, draft "
        f"{1e3 * draft:.2f} ms, skeletons and assigning anew {1e3 * (ours - read - draft):.2f} ms; baseline: plain "
        f"association without skeletons{note}"
    )
    return {
        "name": name,
        "seconds": ours,
        "baseline_seconds": base,
        "ratio": base / ours,
        "unit": "s/frame",
        "detail": detail,
    }


def rows() -> list[dict]:
    """All rows; the Shelf row falls back on five synthetic cameras and four people where the sequence is missing."""
    note = f"; the released C++ program takes {ORIGINAL_MS[0]} + {ORIGINAL_MS[1]} ms a frame on Shelf"
    if SHELF.exists():
        out = [_row("association/shelf", *shelf(), 25.0, note)]
    else:
        out = [_row("association/shelf", *crowd(4, 5), 25.0, note + "; synthetic stand-in: Shelf is not here")]
    for people, cameras in ((1, 4), (2, 4), (4, 4), (8, 4), (4, 2), (4, 8), (4, 12)):
        name = f"association/people_{people}_cameras_{cameras}"
        out.append(_row(name, *crowd(people, cameras), 25.0, repeats=1))
    return out
