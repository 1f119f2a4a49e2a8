"""Our parsing network gives what the published one gives for the same weights (tests/golden/README.md)."""

import numpy as np
import pytest
import torch

from nets.checkpoints import CheckpointError
from nets.parsing.ce2p import HumanParser, Norm, answer, load_published
from nets.parsing.labels import LABEL_SETS, label_set_of
from pipeline.segmentation.human_parsing import HumanParsing, crop_matrix, normalised
from tests.golden.human_parsing import golden_parsing, published_shapes, seeded_image, seeded_parsing_state

TOLERANCE = 1e-4


@pytest.mark.parametrize("classes", [20, 18, 7])
def test_checkpoints_of_all_three_label_sets_fit_key_by_key(classes):
    with torch.device("meta"):
        ours = HumanParser(classes).state_dict()
    assert {k: tuple(v.shape) for k, v in ours.items()} == published_shapes(classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "name", "size"), [(7, "pascal", (257, 193)), (18, "atr", (512, 512)), (20, "lip", (473, 473))]
)
def test_outputs_are_those_of_the_published_network(tmp_path, classes, name, size):
    torch.save({"state_dict": seeded_parsing_state(classes), "epoch": 150}, tmp_path / "checkpoint.pth")
    network, labels = load_published(tmp_path / "checkpoint.pth")
    assert labels == name
    expected = golden_parsing()
    with torch.inference_mode():
        found = network(seeded_image(size))
    for ours, what in zip(found, ("parsing", "fused", "edges"), strict=True):
        published = expected[f"{what}_{classes}"]
        difference = np.abs(ours[:, :, ::9, ::9].numpy() - published).max()
        print(f"{what}, {classes} labels: max difference {difference:.2e} of {np.abs(published).max():.3g}")
        assert published.std(axis=(2, 3)).max() > 1e-2  # not one number all over
        assert difference <= TOLERANCE


def test_crops_are_those_of_the_published_code():
    expected = golden_parsing()
    matrices = iter(expected["crop_matrices"])
    for width, height in expected["crop_sizes"].tolist():
        for name in ("lip", "atr"):
            assert crop_matrix((width, height), LABEL_SETS[name].size) == pytest.approx(next(matrices), abs=1e-4)


def test_a_crop_is_blue_first_with_the_mean_taken_off():
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 2] = 255  # blue, in RGB
    x = normalised(image, (473, 473))
    assert x.shape == (3, 473, 473)
    assert x[:, 200, 200] == pytest.approx([(1 - 0.406) / 0.225, -0.456 / 0.224, -0.485 / 0.229], abs=1e-5)


def test_the_scale_of_a_normalisation_is_its_weights_magnitude():
    norm = Norm(2).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -2.0]))
    x = torch.ones(1, 2, 1, 1)
    assert norm(x).flatten().tolist() == pytest.approx([2.0, 2.0], rel=1e-4)


def test_mirrored_labels_change_places():
    class Left(torch.nn.Module):
        def forward(self, x):  # says "left arm" wherever the image is bright on the left
            out = torch.zeros(1, 20, *x.shape[-2:])
            out[:, 14] = x[:, 0]
            return out, out, out

    x = torch.zeros(1, 3, 8, 8)
    x[..., :4] = 1
    mirrored = LABEL_SETS["lip"].mirrored()
    logits = answer(Left(), x, (8, 8), mirrored)[0]
    assert logits[14, 0, 0] == pytest.approx(0.5)
    assert logits[15, 0, 0] == pytest.approx(0.5)  # the mirrored image says left there, which is right here
    assert logits[14, 0, 7] == logits[15, 0, 7] == 0
    assert sorted(mirrored) == list(range(20)) and label_set_of(18) == "atr"


def test_missing_and_extra_keys_are_named(tmp_path):
    state = {"module." + k: torch.zeros(()).expand(s) for k, s in published_shapes(20).items()}
    del state["module.edge.conv5.bias"]
    state["module.head.weight"] = torch.zeros(3)
    state["module.layer4.2.bn3.num_batches_tracked"] = torch.zeros(())
    torch.save({"state_dict": state}, tmp_path / "lip.pth")
    with pytest.raises(CheckpointError, match=r"missing: edge\.conv5\.bias; unknown: head\.weight, layer4"):
        load_published(tmp_path / "lip.pth")


class Attack:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/troupe_was_here",)


def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path):
    from pathlib import Path

    witness = Path("/tmp/troupe_was_here")
    witness.unlink(missing_ok=True)
    torch.save({"state_dict": {"module.decoder.conv4.weight": Attack()}}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="not a plain file of tensors"):
        HumanParsing(tmp_path / "bad.pth")
    assert not witness.exists()


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    torch.save({"state_dict": {"module.fc.weight": torch.zeros(3, 3)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"decoder\.conv4\.weight"):
        load_published(tmp_path / "other.pth")
    torch.save({"state_dict": {"module.decoder.conv4.weight": torch.zeros(11, 256, 1, 1)}}, tmp_path / "eleven.pth")
    with pytest.raises(CheckpointError, match="11 labels"):
        load_published(tmp_path / "eleven.pth")
