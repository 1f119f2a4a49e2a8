"""What the small network answers is held against what detector and body both say."""

from dataclasses import replace

import numpy as np
import pytest

from nets.checkpoints import write_state
from nets.parsing.small import SmallOptions, SmallParser, metadata
from pipeline.segmentation.evidence import Crop, Evidence
from pipeline.segmentation.parsing import AT_LEAST, NetworkScore

SIZE = (90, 120)


def evidence():
    """A person 25 pixels wide, 1 m a hundred pixels, whom the detector sees whole; nobody else."""
    depth = np.full(SIZE, np.inf, np.float32)
    depth[20:70, 25:50] = 3.0
    image, known = np.full((*SIZE, 3), 200, np.uint8), np.zeros(SIZE, bool)
    detector, nobody = np.isfinite(depth).astype(np.float32), np.full(SIZE, np.inf, np.float32)
    return Evidence(Crop((0, 0, 120, 90), (120, 90)), image, image, known, detector, None, depth, nobody, 100.0)


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory):
    """A network that believes in nobody."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    options = SmallOptions((8, 12, 16, 16), 6)
    state = SmallParser(options).state_dict()
    state["answer.weight"].zero_()
    state["answer.bias"].fill_(-9.0)
    write_state(path, state, metadata(options))
    return NetworkScore(path)


def test_a_network_does_not_overrule_detector_and_body_where_nobody_else_is(doubtful):
    score = doubtful(evidence())
    assert (score[25:65, 30:45] == np.float32(AT_LEAST)).all()  # cloth of the wall's colour stays
    assert score[:20].max() < 0.01 and score[20:22, 25:50].max() < 0.01  # rims are the network's


@pytest.mark.parametrize("which", ["not detected", "thing in front", "others detected", "somebody before", "beside"])
def test_it_is_believed_where_they_are_not_at_one(doubtful, which):
    given, half = evidence(), np.zeros(SIZE, bool)
    half[:45] = True
    changed = {
        "not detected": {"detector": None},
        "thing in front": {"detector": np.where(half, 0.4, given.detector)},
        "others detected": {"others": half.astype(np.float32)},
        "somebody before": {"others_depth": np.where(half, 2.8, np.inf)},
        "beside": {"others_depth": np.where(half, 3.1, np.inf)},
    }
    score = doubtful(replace(given, **changed[which]))
    assert score[25:43, 30:45].max() < 0.01
    assert which == "not detected" or score[50:65, 30:45].min() > 0.5
