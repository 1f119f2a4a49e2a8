"""The small network as a judge of evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nets.parsing.inputs import encoded
from pipeline.segmentation.evidence import Evidence

if TYPE_CHECKING:
    from nets.parsing.small import SmallParser

NEAR_M = 0.2
"""Farther from the body than clothes and hair reach, only the detector can see the person."""


def codes_of(evidence: Evidence) -> np.ndarray:
    """(14, h, w) uint8: what the network is given of a person in a view."""
    e = evidence
    return encoded(
        e.image, e.background, e.known, e.detector, e.others, e.depth, e.others_depth, e.reach, e.others_reach
    )


def scored(network: SmallParser, codes: np.ndarray) -> np.ndarray:
    """(h, w) float32 0..1 from (14, h, w) uint8: how sure a pixel is the person's."""
    import torch

    from nets.parsing.inputs import decoded
    from nets.parsing.small import padded

    height, width = codes.shape[1:]
    if not height or not width:
        return np.zeros((height, width), np.float32)
    weight = network.answer.weight
    with torch.inference_mode():
        whole = padded(torch.from_numpy(np.array(codes))[None], network.multiple)
        x = decoded(whole.to(weight.device)).contiguous(memory_format=torch.channels_last)
        return torch.sigmoid(network(x).float())[0, 0, :height, :width].cpu().numpy()


class NetworkScore:
    """``Scorer`` of the small network whose weights are in a file.

    Raises:
        nets.checkpoints.CheckpointError: the file does not fit.
    """

    def __init__(self, weights: Path) -> None:
        import torch

        from nets.parsing.small import folded, load_small

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = folded(load_small(weights)).to(device, memory_format=torch.channels_last)

    def __call__(self, evidence: Evidence) -> np.ndarray:
        codes = codes_of(evidence)
        score = np.zeros(codes.shape[1:], np.float32)
        rows, columns = _where_it_may_be(evidence)
        score[rows, columns] = scored(self.network, codes[:, rows, columns])
        return score


def _where_it_may_be(evidence: Evidence) -> tuple[slice, slice]:
    """Rows and columns of the crop that hold everything near the body or in the detector's mask."""
    near = evidence.reach > -NEAR_M
    if evidence.detector is not None:
        near |= evidence.detector > 0.05
    if not near.any():
        return slice(0, 0), slice(0, 0)
    return tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(near))
