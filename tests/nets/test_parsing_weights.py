"""The weights that ship: they fit, they are small, and their card tells how they were made."""

import json
from pathlib import Path

import yaml

from data.model_files import open_weights
from nets.parsing.small import load_small

ROOT = Path(__file__).parent.parent.parent


def test_the_shipped_weights_fit_and_say_where_they_come_from():
    path = open_weights("parsing")
    network = load_small(path)
    assert path.stat().st_size < 4e6 and sum(p.numel() for p in network.parameters()) < 1e6
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["config"] == yaml.safe_load((ROOT / "configs" / "nets" / "parsing_small.yaml").read_text())
    assert card["made_by"] == "run_pipeline.py train parsing configs/nets/parsing_small.yaml"
    figures = card["best"]["figures"]
    assert figures["iou"] > figures["detector_iou"] + 0.03  # better than what it is given
