"""Weights are read without running anything, and loaded with every key accounted for."""

import io
import json
import os
import pickle
import struct
import zipfile

import pytest
import torch
from torch import nn

from nets.checkpoints import CheckpointError, load_strictly, read_state, safetensors_bytes, write_state


class Payload:
    """What an attacker pickles: opening the file runs a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def state():
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(3, 4, generator=generator),
        "a.half": torch.randn(5, generator=generator).half(),
        "b.count": torch.tensor(7),
        "c.brain": torch.randn(2, 3, generator=generator).bfloat16(),
        "d.none": torch.zeros(0, 3),
        "e.flag": torch.tensor([True, False, True]),
    }


@pytest.mark.parametrize("wrap", ["plain", "in a state dict", "legacy", "beside tensors"])
def test_a_pickle_with_code_is_refused_and_never_run(tmp_path, wrap):
    proof, path = tmp_path / "executed", tmp_path / "netG_latest"
    payload = Payload(proof)
    if wrap == "plain":
        path.write_bytes(pickle.dumps(payload))
    else:
        content = {"a": payload} if wrap != "beside tensors" else {"w": torch.ones(2), "a": payload}
        torch.save(content, path, _use_new_zipfile_serialization=wrap != "legacy")
    with pytest.raises(CheckpointError, match="never run") as caught:
        read_state(path)
    assert caught.value.where == str(path)
    assert not proof.exists()
    torch.load(path, weights_only=False) if wrap != "plain" else pickle.loads(path.read_bytes())
    assert proof.exists(), "the payload would not have run anyway"


@pytest.mark.parametrize("legacy", [False, True])
def test_a_torch_state_dict_is_read(tmp_path, legacy):
    path = tmp_path / "net.pth"
    for content in (state(), {"state_dict": state()}):
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        tensors, metadata = read_state(path)
        assert metadata == {}
        assert {k: v.tolist() for k, v in tensors.items()} == {k: v.tolist() for k, v in state().items()}


def damaged_archives():
    buffer = io.BytesIO()
    torch.save(state(), buffer)
    good = buffer.getvalue()
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    return {
        "cut short": good[: len(good) // 2],
        "empty": b"",
        "text": b"not a network\n" * 20,
        "zip of nothing": empty.getvalue(),
        "one tensor": saved(torch.ones(3)),
        "a number": saved({"a": torch.ones(3), "epoch": 12}),
        "numbers for keys": saved({0: torch.ones(3)}),
        "nothing": saved({}),
    }


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", damaged_archives())
def test_what_is_no_state_dict_is_refused(tmp_path, kind):
    path = tmp_path / "weights"
    path.write_bytes(damaged_archives()[kind])
    with pytest.raises(CheckpointError):
        read_state(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_state(tmp_path / "absent.safetensors")


def test_our_files_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "net.safetensors"
    write_state(path, state(), {"card": "{}"})
    tensors, metadata = read_state(path)
    assert metadata == {"card": "{}"}
    assert tensors.keys() == state().keys()
    for key, value in state().items():
        assert tensors[key].dtype == value.dtype
        assert torch.equal(tensors[key], value)
    assert list(tmp_path.iterdir()) == [path]
    assert safetensors_bytes(state()) == safetensors_bytes(dict(reversed(state().items())))


def test_our_files_are_what_others_call_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "net.safetensors"
    write_state(path, state(), {"preset": "x"})
    theirs = safetensors.load_file(path)
    assert all(torch.equal(theirs[k], v) for k, v in state().items())
    safetensors.save_file(state(), path, {"by": "them"})
    tensors, metadata = read_state(path)
    assert metadata == {"by": "them"}
    assert all(torch.equal(tensors[k], v) for k, v in state().items())


def with_header(change):
    good = safetensors_bytes({"w": torch.arange(4.0), "v": torch.ones(2)})
    (length,) = struct.unpack("<Q", good[:8])
    header = json.loads(good[8 : 8 + length])
    text = change(header)
    text = (json.dumps(header) if text is None else text).encode()
    return struct.pack("<Q", len(text)) + text + good[8 + length :]


DAMAGE = {
    "past the end": lambda h: h["w"].update(data_offsets=[0, 9999]),
    "negative": lambda h: h["w"].update(data_offsets=[-16, 0]),
    "other size": lambda h: h["w"].update(shape=[5]),
    "overlap": lambda h: h["w"].update(data_offsets=[0, 16]),
    "unknown type": lambda h: h["w"].update(dtype="C64"),
    "huge shape": lambda h: h["w"].update(shape=[1 << 62, 1 << 62]),
    "no shape": lambda h: h["w"].pop("shape") and None,
    "fractions": lambda h: h["w"].update(shape=[4.0]),
    "truth for a number": lambda h: h["w"].update(shape=[4, True]),
    "twice": lambda h: json.dumps(h)[:-1] + ', "w": ' + json.dumps(h["w"]) + "}",
    "deep": lambda h: '{"w": ' + "[" * 100000,
    "metadata": lambda h: h.update(__metadata__={"a": 1}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_safetensors_file_is_refused(tmp_path, kind):
    path = tmp_path / "net.safetensors"
    path.write_bytes(with_header(lambda h: None))
    assert read_state(path)[0]["w"].tolist() == [0, 1, 2, 3]
    path.write_bytes(with_header(DAMAGE[kind]))
    with pytest.raises(CheckpointError, match="damaged safetensors file"):
        read_state(path)


def test_missing_and_unknown_keys_are_named():
    network = nn.Linear(2, 3)
    good = {k: torch.ones_like(v) for k, v in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"keys missing: bias; unknown: extra\."):
        load_strictly(network, {"weight": good["weight"], "extra": torch.ones(1)}, "net.pth")
    with pytest.raises(CheckpointError, match=r"weight has shape \(2, 3\), this network needs \(3, 2\)"):
        load_strictly(network, good | {"weight": torch.ones(2, 3)}, "net.pth")
    with pytest.raises(CheckpointError, match="bias holds NaN"):
        load_strictly(network, good | {"bias": torch.full((3,), float("nan"))}, "net.pth")
    load_strictly(network, {k: v.half() for k, v in good.items()}, "net.pth")
    assert network.weight.dtype == torch.float32
    assert bool((network.weight == 1).all())
