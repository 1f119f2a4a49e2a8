"""Against the released CRMH code: tests/golden/crmh.npz has its numbers and their recipe."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nets.checkpoints import CheckpointError
from nets.mili.boxes import Geometry
from nets.mili.compat import BODY_MODEL, load_crmh
from nets.mili.heads import BodyHead
from nets.mili.network import MiliNetwork
from nets.mili.options import CRMH
from tests.golden.released import FOLDER, seeded

LEGACY = Geometry("legacy")


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "crmh.npz", allow_pickle=False) as file:
        return {k: torch.from_numpy(v) for k, v in file.items()}


def test_the_body_head_gives_what_the_released_one_gives(golden):
    head = BodyHead(CRMH).eval()
    head.load_state_dict({k: seeded(f"smpl_head.{k}", tuple(v.shape)) for k, v in head.state_dict().items()})
    features = torch.from_numpy((np.random.RandomState(11).rand(3, 256, 14, 14) * 2 - 1).astype(np.float32))
    with torch.no_grad():
        found = head(features)
    for name in ("rotations", "betas", "camera"):
        assert (getattr(found, name) - golden[name]).abs().max() < 1e-4, name


def test_legacy_anchors_are_the_released_ones(golden):
    ours = torch.cat([LEGACY.anchors((3, 4), stride, 8.0) for stride in (4, 8, 16, 32, 64)])
    assert torch.equal(ours, golden["anchors"])


def test_legacy_boxes_move_as_the_released_ones_do(golden):
    decoded = LEGACY.decode(golden["boxes"], golden["deltas"], (832, 512), (0.1, 0.1, 0.2, 0.2))
    assert (decoded - golden["decoded"]).abs().max() < 1e-3
    assert (LEGACY.encode(golden["boxes"], golden["decoded"]) - golden["encoded"]).abs().max() < 1e-4


def released_state(network):
    """A checkpoint laid out as released: the network's keys and the body model's, which are of no use here."""
    state = {k: torch.zeros_like(v) for k, v in network.state_dict().items()}
    return state | {f"{start}buffer": torch.zeros(2) for start in BODY_MODEL}


@pytest.fixture(scope="module")
def crmh():
    return MiliNetwork(CRMH)


def test_a_released_checkpoint_loads_strictly(crmh, tmp_path):
    keys = json.loads((Path(__file__).parent.parent / "golden" / "crmh_keys.json").read_text())
    assert {k: list(v.shape) for k, v in crmh.state_dict().items()} == keys
    torch.save({"meta": {}, "state_dict": released_state(crmh)}, tmp_path / "crmh.pth")
    loaded = load_crmh(tmp_path / "crmh.pth")
    assert all(not bool(p.any()) for p in loaded.parameters())


def test_a_checkpoint_with_other_keys_is_refused_by_name(crmh, tmp_path):
    state = released_state(crmh)
    state.pop("bbox_head.fc_cls.bias")
    state["bbox_head.fc_extra.weight"] = torch.zeros(1)
    torch.save({"state_dict": state}, tmp_path / "crmh.pth")
    with pytest.raises(CheckpointError, match=r"missing: bbox_head\.fc_cls\.bias; unknown: bbox_head\.fc_extra"):
        load_crmh(tmp_path / "crmh.pth")
