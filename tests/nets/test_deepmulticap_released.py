"""Released files load by one explicit key map: every key used or dropped by name, whatever is wrong named."""

import re

import pytest
import torch

from nets.checkpoints import CheckpointError
from nets.deepmulticap import compat, weights
from nets.deepmulticap.network import build
from nets.deepmulticap.presets import preset
from nets.normals import NormalNetwork
from tests.golden.released import released_keys

KEYS = released_keys()


def zeros(shapes):
    integers = set(KEYS["int64"])
    return {k: torch.zeros(s, dtype=torch.int64 if k in integers else torch.float32) for k, s in shapes.items()}


@pytest.fixture(scope="module")
def released():
    return zeros(KEYS["netG"])


@pytest.fixture(scope="module")
def network():
    return build(preset("released"))


def test_every_released_key_is_used_once_or_dropped_for_a_reason(released, network):
    ours, dropped = compat.released_state(released, "netG")
    assert ours.keys() == network.state_dict().keys()
    assert len(ours) + len(dropped) == len(KEYS["netG"]) == 1054
    assert {compat.released_name(key) for key in ours} == KEYS["netG"].keys() - set(dropped)


def test_no_module_that_the_released_network_runs_is_dropped(released):
    _, dropped = compat.released_state(released, "netG")
    used = set(KEYS["used_modules"])
    # A block's fourth norm is run under its first name; the second one, downsample.0, is the same tensor.
    run = [key for key in dropped if key.rpartition(".")[0] in used]
    assert all(re.fullmatch(r".*\.bn4\.(weight|bias)", key) for key in run)
    assert all(key.replace("bn4", "downsample.0") in KEYS["netG"] for key in run)


def test_with_and_without_prefix_and_at_half_precision(released, network):
    for state in (released, {"module." + k: v.half() if v.is_floating_point() else v for k, v in released.items()}):
        found = compat.load_released(network, state, "netG")
        assert found.coarse_head
        assert len(found.dropped) == 1054 - len(network.state_dict())
        assert all(float(p.detach().abs().max()) == 0 for p in network.parameters())


def test_missing_used_keys_are_named_as_the_file_names_them(released, network):
    gone = ("feature_fusion_n.layer_stack.0.slf_attn.w_qs.weight", "image_filter.conv1_n.bias")
    with pytest.raises(CheckpointError, match=re.escape("missing: " + ", ".join(sorted(gone, reverse=True)))):
        compat.load_released(network, {k: v for k, v in released.items() if k not in gone}, "netG_latest")


def test_missing_unused_keys_do_not_matter(released, network):
    unused = ("color_filter.", "normal_filter.", "image_filter.conv1.")
    kept = {k: v for k, v in released.items() if not k.startswith(unused)}
    assert len(kept) < len(released)
    compat.load_released(network, kept, "netG_latest")


def test_a_file_without_the_coarse_head_says_so(released, network):
    kept = {k: v for k, v in released.items() if not k.startswith("surface_classifier.")}
    assert not compat.load_released(network, kept, "netG").coarse_head
    kept["surface_classifier.conv0.bias"] = released["surface_classifier.conv0.bias"]
    with pytest.raises(CheckpointError, match=r"missing: surface_classifier\.conv"):
        compat.load_released(network, kept, "netG")


def test_unknown_keys_and_other_shapes_are_named(released, network):
    with pytest.raises(CheckpointError, match=r"does not have: optimiser\.state"):
        compat.load_released(network, released | {"optimiser.state": torch.ones(1)}, "netG")
    with pytest.raises(CheckpointError, match=r"fine_sc\.conv0\.weight has shape \(512, 356\)"):
        compat.load_released(network, released | {"fine_sc.conv0.weight": torch.zeros(512, 356, 1)}, "netG")
    with pytest.raises(CheckpointError, match="Give its netG file"):
        compat.load_released(network, zeros(KEYS["netN"]), "netN")


def test_the_normal_network_has_the_released_names_and_shapes():
    with torch.device("meta"):
        own = NormalNetwork().state_dict()
    assert {k: list(v.shape) for k, v in own.items()} == KEYS["netN"]


def test_a_released_file_is_recognised(tmp_path, released):
    path = tmp_path / "netG_latest"
    torch.save({"module." + k: v for k, v in released.items()}, path)
    loaded = weights.load(path)
    assert loaded.surface.preset == preset("released")
    assert loaded.normals is None
    assert not loaded.surface.training
    with pytest.raises(CheckpointError, match=r"'released', not 'ours_small' \(differ in name, coarse, fine"):
        weights.load(path, preset("small"))
