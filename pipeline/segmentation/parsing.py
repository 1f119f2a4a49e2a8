"""The small network as a judge of evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nets.parsing.inputs import CODE, encoded
from pipeline.segmentation.appearance import BEHIND_M
from pipeline.segmentation.colours import colour_maps
from pipeline.segmentation.evidence import Evidence

if TYPE_CHECKING:
    from nets.parsing.small import SmallParser

NEAR_M = 0.2
"""Farther from the body than clothes and hair reach, only the detector can see the person."""

DETECTED, DETECTED_OTHERS, INSIDE_M, AT_LEAST = 0.9, 0.3, 0.03, 0.6
"""Where the detector is so sure of the person and no surer of others, so far inside their body and with everybody else
well behind, the score is at least the last: networks that know drawn rooms alone doubt cloth of a wall's colour."""


def codes_of(evidence: Evidence) -> np.ndarray:
    """(16, h, w) uint8: what the network is given of a person in a view, but for the colours."""
    e = evidence
    return encoded(
        e.image, e.background, e.known, e.detector, e.others, e.depth, e.others_depth, e.reach, e.others_reach
    )


def with_colours(codes: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(16, h, w) uint8: what the network is given, with (2, h, w) of ``colours.colour_maps`` in place."""
    out = codes.copy()
    out[-2:] = np.rint(128 + CODE * colours)
    return out


def scored(network: SmallParser, codes: np.ndarray) -> np.ndarray:
    """(h, w) float32 0..1 from (16, h, w) uint8: how sure a pixel is the person's."""
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

    Args:
        seen_as: changes the evidence before anything is made of it.

    Raises:
        nets.checkpoints.CheckpointError: the file does not fit.
    """

    def __init__(self, weights: Path, seen_as: Callable[[Evidence], Evidence] | None = None) -> None:
        import torch

        from nets.parsing.small import folded, load_small

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = folded(load_small(weights)).to(device, memory_format=torch.channels_last)
        self._seen_as = seen_as

    def __call__(self, evidence: Evidence) -> np.ndarray:
        return self.moment([[evidence]])[0][0]

    def moment(self, views: Sequence[Sequence[Evidence | None] | None]) -> list[list[np.ndarray | None]]:
        """Scores of everybody in all views of a moment, whose colours tell more together; None as in ``views``."""
        if self._seen_as is not None:
            views = [[None if e is None else self._seen_as(e) for e in view or ()] for view in views]
        seen = [{k: e for k, e in enumerate(view or ()) if e is not None} for view in views]
        codes = [{k: codes_of(e) for k, e in view.items()} for view in seen]
        out: list[list[np.ndarray | None]] = [[None] * len(view or ()) for view in views]
        for c, colours in enumerate(colour_maps(codes)):
            for k, evidence in seen[c].items():
                out[c][k] = self._score(with_colours(codes[c][k], colours[k]), evidence)
        return out

    def _score(self, codes: np.ndarray, evidence: Evidence) -> np.ndarray:
        score = np.zeros(codes.shape[1:], np.float32)
        rows, columns = _where_it_may_be(evidence)
        score[rows, columns] = scored(self.network, codes[:, rows, columns])
        return np.where(undisputed(evidence), np.maximum(score, AT_LEAST), score).astype(np.float32)


def undisputed(evidence: Evidence) -> np.ndarray:
    """(h, w) bool: detector and body both have the person there, well inside, and nobody else is near."""
    if evidence.detector is None:
        return np.zeros(evidence.depth.shape, bool)
    free = evidence.others_depth > evidence.depth + BEHIND_M
    if evidence.others is not None:
        free &= evidence.others < DETECTED_OTHERS
    return free & (evidence.detector > DETECTED) & (evidence.reach > INSIDE_M)


def _where_it_may_be(evidence: Evidence) -> tuple[slice, slice]:
    """Rows and columns of the crop that hold everything near the body or in the detector's mask."""
    near = evidence.reach > -NEAR_M
    if evidence.detector is not None:
        near |= evidence.detector > 0.05
    if not near.any():
        return slice(0, 0), slice(0, 0)
    return tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(near))
