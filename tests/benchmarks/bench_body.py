"""Speed of fitting a whole track at once, against fitting its frames one by one with the same terms."""

from __future__ import annotations

import time
from dataclasses import replace

from data.body_models import load_body_arrays, open_body_model
from data.synthetic.walkers import detect, ring_rig, walk
from pipeline.association.graph import associate
from pipeline.association.tracks import Tracks

FRAMES, SAMPLE = 60, 6


def rows() -> list[dict]:
    """Row ``body/against_per_frame``: seconds a frame."""
    import numpy as np
    import torch

    from nets.body import BodyModel
    from pipeline.body.fit import fit_track
    from pipeline.body.options import FitOptions

    torch.set_num_threads(1)
    model = BodyModel(load_body_arrays(open_body_model()))
    way = np.column_stack([np.linspace(-1, 1, FRAMES), np.zeros(FRAMES)])
    rig = ring_rig(6)
    tracks = associate(rig, detect(rig, walk(way, 30.0)[:, None], np.random.default_rng(0)))
    options = FitOptions(fps=30.0)
    begin = time.process_time()
    fit_track(model, rig, tracks, options)
    whole = (time.process_time() - begin) / FRAMES
    begin = time.process_time()
    for f in range(SAMPLE):
        fit_track(model, rig, _frames(tracks, slice(10 * f, 10 * f + 1)), replace(options, offsets=False))
    single = (time.process_time() - begin) / SAMPLE
    return [
        {
            "name": "body/against_per_frame",
            "seconds": whole,
            "baseline_seconds": single,
            "unit": "s a frame",
            "detail": f"{FRAMES} frames, six cameras, one thread; baseline: {SAMPLE} of them fitted alone",
        }
    ]


def _frames(tracks: Tracks, rows: slice) -> Tracks:
    arrays = {f: getattr(tracks, f)[rows] for f in Tracks.FIELDS if f != "person_ids"}
    return Tracks(person_ids=tracks.person_ids, **arrays)
