"""Files of stills networks: ours, which say what they are, and released CRMH checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nets.checkpoints import CheckpointError, check_fit, load_strictly, read_state, write_state
from nets.mili.compat import load_crmh
from nets.mili.network import MiliNetwork
from nets.mili.options import MiliOptions

_MOST = 8192


def save(path: Path, network: MiliNetwork, card: Mapping[str, Any], dtype: torch.dtype = torch.float16) -> None:
    """Write a file of ours; numbers are stored as ``dtype``."""
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in network.state_dict().items()}
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in network.options.to_dict().items()}
    write_state(path, state, {"options": json.dumps(options), "card": json.dumps(dict(card))})


def load_network(path: Path) -> MiliNetwork:
    """The network of a file, in evaluation mode on the CPU.

    Raises:
        CheckpointError: the file cannot be used.
    """
    state, metadata = read_state(path)
    if "options" not in metadata:
        return load_crmh(path)
    with torch.device("meta"):
        network = MiliNetwork(_options(path, metadata["options"]))
    check_fit(network, state, path)
    network = network.to_empty(device="cpu")
    load_strictly(network, state, path)
    return network.eval()


def _options(path: Path, text: str) -> MiliOptions:
    try:
        values = json.loads(text)
        numbers = [n for v in values.values() for n in (v if isinstance(v, list) else [v])]
        if any(isinstance(n, int | float) and not 0 <= n <= _MOST for n in numbers):
            raise ValueError("a size is out of range")
        return MiliOptions.from_dict(values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(path, f"its options cannot be read ({error})", "Get the file again") from error
