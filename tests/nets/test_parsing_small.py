"""The small network: what it is given, that it learns from it, and what files of weights it refuses."""

import numpy as np
import pytest
import torch

from data.parsing_samples import Augmentation, _clutter, augmented, signed
from nets.checkpoints import CheckpointError, write_state
from nets.parsing.inputs import CHANNELS, decoded, encoded
from nets.parsing.losses import mask_loss
from nets.parsing.small import SmallOptions, SmallParser, folded, load_small, metadata, padded
from pipeline.segmentation.parsing import scored

SMALL = SmallOptions((8, 12, 16, 16), 6)


def evidence(seed=0, size=(40, 56)):
    g = np.random.default_rng(seed)
    image = g.integers(0, 255, (*size, 3)).astype(np.uint8)
    depth, others = np.full(size, np.inf), np.full(size, np.inf)
    depth[8:30, 10:30], others[12:36, 24:44] = 3.0, 2.9
    reach = np.where(np.isfinite(depth), 0.1, -0.1)
    return {
        "image": image, "background": image[::-1], "known": g.random(size) > 0.3, "detector": np.isfinite(depth) * 0.9,
        "others_detector": None, "depth": depth, "others_depth": others, "reach": reach, "others_reach": -reach,
    }  # fmt: skip


def channel(x, name):
    return x[0, CHANNELS.index(name)].numpy()


def test_channels_hold_what_their_names_say():
    given = evidence()
    x = decoded(torch.from_numpy(encoded(**given))[None])
    assert x.shape == (1, len(CHANNELS), 40, 56)
    own, other = np.isfinite(given["depth"]), np.isfinite(given["others_depth"])
    assert np.array_equal(channel(x, "body") > 0.5, own)
    order = channel(x, "order")
    assert np.allclose(order[own & other], -0.1 / 0.15, atol=0.01)  # the other is 10 cm in front
    assert (order[own & ~other] == 1).all() and (order[~own & other] == -1).all() and (order[~own & ~other] == 0).all()
    assert channel(x, "detector")[10, 12] == pytest.approx(0.8, abs=0.01)
    assert (channel(x, "others_detector") == 0).all()  # there is none
    change = channel(x, "red_change")
    assert (change[~given["known"]] == 0).all()
    expected = (given["image"][..., 0].astype(float) - given["background"][..., 0]) / 64
    assert np.allclose(change[given["known"]], np.clip(expected, -2, 2)[given["known"]], atol=1e-5)


def test_any_size_gives_an_answer_of_that_size_and_the_rim_is_not_bent():
    network = SmallParser(SMALL).eval()
    codes = encoded(**evidence(size=(37, 51)))
    score = scored(network, codes)
    assert score.shape == (37, 51) and (score >= 0).all() and (score <= 1).all()
    whole = padded(torch.from_numpy(codes)[None], network.multiple)
    assert whole.shape[-2:] == (48, 64) and torch.equal(whole[..., :37, :51], torch.from_numpy(codes)[None])


def test_folding_normalisations_changes_nothing():
    torch.manual_seed(1)
    network, codes = SmallParser(SMALL), encoded(**evidence())
    for _ in range(3):
        network(torch.randn(2, len(CHANNELS), 32, 32) * 2 + 1)  # so that there is something to fold
    before = scored(network.eval(), codes)
    assert before.std() > 1e-3
    assert np.abs(scored(folded(network), codes) - before).max() < 1e-5


def test_it_learns_who_is_in_front():
    """Two people alike: image and detector cannot tell them apart, the order of the bodies does."""
    torch.manual_seed(0)
    network, g = SmallParser(SMALL), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)

    def example():
        given = evidence(int(g.integers(1000)), (32, 32))
        depth, others = np.full((32, 32), np.inf), np.full((32, 32), np.inf)
        depth[6:26, 8:20], others[8:28, 14:28] = 3.0, 3.0 + g.choice([-0.3, 0.3])
        both = np.isfinite(depth) | np.isfinite(others)
        given |= {"depth": depth, "others_depth": others, "detector": both * 1.0, "others_detector": both * 1.0,
                  "image": np.where(both[..., None], [200] * 3, 60).astype(np.uint8)}
        return encoded(**given), np.isfinite(depth) & (depth < others)

    def batch():
        codes, truth = zip(*[example() for _ in range(8)], strict=True)
        return decoded(torch.from_numpy(np.stack(codes))), torch.from_numpy(np.stack(truth)[:, None].astype(np.float32))

    for _ in range(50):
        x, truth = batch()
        optimizer.zero_grad()
        mask_loss(network(x), truth)["loss"].backward()
        optimizer.step()
    network.eval()
    x, truth = batch()
    found = network(x) > 0
    iou = (found & (truth > 0)).sum() / (found | (truth > 0)).sum()
    assert iou > 0.97


def test_windows_keep_truth_and_channels_together():
    planes = np.concatenate([encoded(**evidence(size=(90, 80))), np.zeros((1, 90, 80), np.uint8)])
    planes[16] = planes[9] > 128  # the truth is the body
    how = Augmentation(size=48, no_detector=0.0, no_scene=0.0, wrong_detector=0.0)
    for seed in range(5):
        codes, truth = augmented(planes, how, np.random.default_rng(seed))
        assert codes.shape == (16, 48, 48) and truth.shape == (1, 48, 48)
        sure = np.abs(truth[0] - 0.5) > 0.4
        assert (((signed(codes, 9) > 0.5) == (truth[0] > 0.5)) | ~sure).mean() > 0.99
        assert 0 < truth.mean() < 1
    without, _ = augmented(planes, Augmentation(size=48, no_detector=1.0, no_scene=1.0), np.random.default_rng(0))
    assert (without[7] == 128).all() and (without[6] == 0).all()


def test_clutter_is_laid_beside_people_only():
    given = evidence(size=(90, 80))
    planes = encoded(**given | {"others_reach": np.where(np.isfinite(given["others_depth"]), 0.1, -0.2)})
    truth = (planes[9] > 128).astype(np.float32)
    laid = planes.copy()
    _clutter(laid, truth, np.random.default_rng(0))
    changed = (laid != planes).any(0)
    assert changed.mean() > 0.03 and not changed[truth > 0].any()
    assert not changed[signed(planes, 10) > 0.5].any()  # nor on others' bodies
    kept = [6, 7, 8, 9, 10, 11, 12, 13]
    assert np.array_equal(laid[kept], planes[kept])  # bodies and detector stay as they were


def test_weights_come_back_with_the_network_they_are_of(tmp_path):
    network = SmallParser(SMALL).eval()
    write_state(tmp_path / "w.safetensors", network.state_dict(), metadata(SMALL))
    again = load_small(tmp_path / "w.safetensors")
    codes = encoded(**evidence())
    assert np.array_equal(scored(network, codes), scored(again, codes))


def test_other_weights_are_refused_by_name(tmp_path):
    state, path = SmallParser(SMALL).state_dict(), tmp_path / "w.safetensors"
    broken = {k: v for k, v in state.items() if k != "answer.bias"} | {"answer.scale": torch.zeros(1)}
    write_state(path, broken, metadata(SMALL))
    with pytest.raises(CheckpointError, match=r"missing: answer\.bias; unknown: answer\.scale"):
        load_small(path)
    write_state(path, state | {"answer.bias": torch.tensor([float("nan")])}, metadata(SMALL))
    with pytest.raises(CheckpointError, match=r"answer\.bias holds NaN"):
        load_small(path)
    write_state(path, state, {"network": "something"})
    with pytest.raises(CheckpointError, match="not of the small parsing network"):
        load_small(path)
    write_state(path, state, metadata(SMALL) | {"channels": "[]"})
    with pytest.raises(CheckpointError, match="other inputs"):
        load_small(path)
