"""GPU leases: one process a GPU, given back when its holder dies, and only GPUs that CUDA would show."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import InputError
from tasks import leases

ROOT = Path(__file__).parent.parent.parent
LISTED = """GPU 0: NVIDIA A (UUID: GPU-aaaa-1)
GPU 1: NVIDIA B (UUID: GPU-bbbb-2)
  MIG 1g.10gb     Device  0: (UUID: MIG-cccc-3)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with two GPUs, one of them with a slice; torch has CUDA."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat <<'E'\n{LISTED}E\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(leases, "_torch_has_cuda", lambda: True)
    return tmp_path / "locks"


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (None, ["GPU-aaaa-1", "GPU-bbbb-2"]),
        ("1", ["GPU-bbbb-2"]),
        ("1,0", ["GPU-bbbb-2", "GPU-aaaa-1"]),
        ("GPU-bb", ["GPU-bbbb-2"]),
        ("MIG-cccc-3", ["MIG-cccc-3"]),
        ("0,7,1", ["GPU-aaaa-1"]),
        ("", []),
        ("-1", []),
    ],
)
def test_gpus_are_those_that_cuda_shows(machine, monkeypatch, shown, found):
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert leases.visible_gpus() == found


def test_two_holders_get_two_gpus_and_the_third_waits(machine, monkeypatch):
    monkeypatch.setattr(leases, "POLL_S", 0.01)
    with leases.leased_device("auto", machine) as device:
        assert device == "cuda:0" and os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa-1"
        others = leases._locked(["GPU-aaaa-1", "GPU-bbbb-2"], machine)
        assert others.__enter__() == "GPU-bbbb-2"
        waits = []

        def sleep(_):
            waits.append(1)
            if len(waits) == 3:
                others.__exit__(None, None, None)

        monkeypatch.setattr(leases.time, "sleep", sleep)
        with leases._locked(["GPU-aaaa-1", "GPU-bbbb-2"], machine) as uuid:
            assert uuid == "GPU-bbbb-2" and len(waits) == 3
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_lease_dies_with_its_holder(machine):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom tasks.leases import _locked\n"
        f"with _locked(['GPU-aaaa-1'], Path({str(machine)!r})):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout.readline() == "held\n"
    file = (machine / "GPU-aaaa-1.lock").open("a+")
    assert not leases._take(file)
    assert f"process {child.pid}" in (machine / "GPU-aaaa-1.lock").read_text()
    child.send_signal(signal.SIGKILL)
    child.wait()
    until = time.monotonic() + 10
    while not leases._take(file) and time.monotonic() < until:
        time.sleep(0.01)
    assert leases._take(file)
    file.close()


def test_a_wish_for_one_gpu_is_kept(machine):
    with leases.leased_device("cuda:1", machine):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb-2"
    with pytest.raises(InputError, match="no cuda:2: 2 GPUs"), leases.leased_device("cuda:2", machine):
        pass
    with pytest.raises(InputError, match="is no device"), leases.leased_device("tpu", machine):
        pass


def test_without_a_gpu_there_is_no_lease(monkeypatch, tmp_path):
    monkeypatch.setattr(leases, "visible_gpus", list)
    for wanted in ("auto", "cpu"):
        with leases.leased_device(wanted, tmp_path / "locks") as device:
            assert device == "cpu"
    assert not (tmp_path / "locks").exists()
    with pytest.raises(InputError, match="there is no GPU"), leases.leased_device("cuda", tmp_path):
        pass
