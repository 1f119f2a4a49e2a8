"""Training the published parsing network, thin and small: it learns, goes on exactly where it stopped, is averaged."""

import cv2
import numpy as np
import pytest
import torch
import yaml

from nets.checkpoints import load_strictly, read_state
from nets.parsing.ce2p import HumanParser
from nets.training import last_state
from pipeline.errors import InputError
from tasks import train, train_parsing

CONFIG = {
    "output": "out", "weights": "out/pascal.safetensors",
    "data": {"root": "pictures", "batch": 4, "size": [32, 32]},
    "network": {"labels": "pascal", "layers": [1, 1, 1, 1], "width": 8, "start": ""},
    "augmentation": {"scale": 0.1, "turn_degrees": 10, "turned": 0.5, "mirrored": 0.5},
    "training": {"steps": 24, "learning_rate": 0.05, "warmup": 2, "weight_decay": 0.0005, "clip": 1000.0, "ema": 0.0,
                 "optimizer": "sgd", "precision": "float32", "validate_every": 24, "record_every": 4},
    "correction": {"cycles": 2, "steps": 4, "learning_rate": 0.02},
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A bright head over a dark torso, somewhere in front of noise."""
    folder, g = tmp_path_factory.mktemp("parsing"), np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for kind in ("images", "segmentations"):
            (folder / "pictures" / f"{split}_{kind}").mkdir(parents=True)
        for k in range(count):
            image, labels = g.integers(90, 150, (48, 40, 3)).astype(np.uint8), np.zeros((48, 40), np.uint8)
            x, y = g.integers(4, 16), g.integers(2, 12)
            labels[y : y + 12, x : x + 20], labels[y + 12 : y + 34, x : x + 20] = 1, 2
            image[labels == 1], image[labels == 2] = 240, 20
            cv2.imwrite(str(folder / "pictures" / f"{split}_images" / f"{k}.png"), image)
            cv2.imwrite(str(folder / "pictures" / f"{split}_segmentations" / f"{k}.png"), labels)
        (folder / "pictures" / f"{split}_id.txt").write_text("\n".join(map(str, range(count))) + "\n")
    return folder


def _job(folder, output="out", **changed):
    config = CONFIG | {"output": output, "weights": f"{output}/pascal.safetensors"} | changed
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return train_parsing.job(train.read_config(path), path)


@pytest.fixture(scope="module")
def trained(pictures):
    job = _job(pictures)
    assert train.run(job, None, "a test") == train.OK
    return job


def test_it_learns_and_corrects_itself(trained, pictures):
    import json

    rows = json.loads((trained.folder / "start" / "curves.json").read_text())
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert rows[-1]["edges"] < rows[0]["edges"]
    card = json.loads((trained.folder / "pascal.json").read_text())
    assert card["averaged"]["networks"] == 3
    assert card["averaged"]["figures"]["mean_iou"] > 0.5  # three labels; the same everywhere would be 0.2
    state, network = read_state(trained.folder / "pascal.safetensors")[0], HumanParser(7, (1, 1, 1, 1), 8)
    load_strictly(network, state, "the weights")
    ends = [last_state(trained.folder / name) for name in ("start", "cycle_1", "cycle_2")]
    expected = torch.stack([end["decoder.conv4.weight"] for end in ends]).mean(0)
    assert state["decoder.conv4.weight"] == pytest.approx(expected, abs=1e-6)


def test_stopped_after_every_step_it_ends_with_the_same_weights(trained, pictures):
    job, calls = _job(pictures, "slices"), 1
    while train.run(job, 0.0, "a test") == train.INCOMPLETE:
        calls += 1
    assert calls > 20
    ours, whole = (read_state(f / "pascal.safetensors")[0] for f in (job.folder, trained.folder))
    assert all(torch.equal(ours[k], whole[k]) for k in whole)


def test_a_backbone_may_be_given(pictures, capsys):
    given = {k: v for k, v in HumanParser(20, (1, 1, 1, 1), 8).state_dict().items() if not k.startswith("decoder")}
    torch.save({"module." + k: v for k, v in given.items()} | {"fc.weight": torch.zeros(3)}, pictures / "start.pth")
    network = CONFIG["network"] | {"start": "start.pth"}
    made = _job(pictures, "begun", network=network).phases[0].make(pictures).network
    assert torch.equal(made.layer3[0].conv1.weight, given["layer3.0.conv1.weight"])
    assert "come from start.pth" in capsys.readouterr().out
    torch.save({"fc.weight": torch.zeros(3)}, pictures / "start.pth")
    with pytest.raises(InputError, match="nothing of this network"):
        _job(pictures, "begun", network=network).phases[0].make(pictures)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"network": CONFIG["network"] | {"labels": "coco"}}, "coco"),
        ({"network": CONFIG["network"] | {"layers": [1, 2]}}, "are not four"),
        ({"data": CONFIG["data"] | {"root": "elsewhere"}}, "train_id.txt"),
        ({"data": CONFIG["data"] | {"size": [32]}}, "two numbers"),
        ({"correction": {"cycles": 1, "steps": 2}}, "learning_rate"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(pictures, block, message):
    with pytest.raises(InputError, match=message):
        _job(pictures, "refused", **block)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((48, 40), 9, np.uint8), "label 9 of 7"),
        (np.zeros((48, 39), np.uint8), "39x48"),
        (np.zeros((48, 40, 3), np.uint8), "one channel"),
    ],
)
def test_labels_that_do_not_fit_name_their_file(pictures, labels, message):
    from data.datasets.parsing import ParsingSplit
    from nets.parsing.labels import LABEL_SETS

    split = ParsingSplit(pictures / "pictures", "val", LABEL_SETS["pascal"])
    good = split.files[1][1].read_bytes()
    try:
        cv2.imwrite(str(split.files[1][1]), labels)
        with pytest.raises(InputError, match=message) as error:
            split.read(1)
        assert "val_segmentations/1.png" in str(error.value)
    finally:
        split.files[1][1].write_bytes(good)
