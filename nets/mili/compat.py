"""Released CRMH checkpoints: their keys, and what in them is not ours to keep.

A file holds ``meta``, ``state_dict`` and ``optimizer``; its 404 keys are those of the network and of the licensed body
model, which it repeats (``BODY_MODEL``) and which is left out here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nets.checkpoints import load_strictly, read_state, without_prefix
from nets.mili.network import MiliNetwork
from nets.mili.options import CRMH

BODY_MODEL = ("smpl_head.smpl.", "smpl_head.loss.smpl.", "smpl_head.loss.sdf_loss.")


def without_body_model(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released state dict without the buffers of the licensed body model."""
    return {k: v for k, v in state.items() if not k.startswith(BODY_MODEL)}


def load_crmh(path: Path) -> MiliNetwork:
    """The released network, in evaluation mode.

    Raises:
        CheckpointError: the file is none of CRMH's; missing and unknown keys are named.
    """
    state, _ = read_state(path)
    network = MiliNetwork(CRMH)
    load_strictly(network, without_body_model(without_prefix(state, "module.")), str(path))
    return network.eval()
