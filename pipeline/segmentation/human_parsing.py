"""A published parsing network in place of the detector's person masks: which pixels of a crop are anybody's at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from nets.parsing.labels import DEVIATION, LABEL_SETS, MEAN
from pipeline.segmentation.evidence import Evidence

SURE_M = 0.06
"""By how much nearer a body's rim must be for a pixel to be that body's rather than another's."""


def crop_matrix(image_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(2, 3) affine matrix from pixels of an image to those of the network's input, as the published code crops.

    The whole image fits in, its middle in the middle, with black beside it.

    Args:
        image_size: (width, height).
        size: (height, width) of the input.
    """
    width, height = image_size[0] - 1.0, image_size[1] - 1.0
    across = max(width, height * size[1] / size[0])
    scale = (size[1] - 1) / across
    return np.array(
        [[scale, 0, (size[1] - 1) / 2 - scale * width / 2], [0, scale, (size[0] - 1) / 2 - scale * height / 2]]
    )


def normalised(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(3, *size) float32 from an RGB crop (h, w, 3) uint8: affine crop, blue first, mean and deviation removed."""
    matrix = crop_matrix(image.shape[1::-1], size)
    return standardised(cv2.warpAffine(np.ascontiguousarray(image), matrix, size[::-1], flags=cv2.INTER_LINEAR))


def standardised(image: np.ndarray) -> np.ndarray:
    """(3, h, w) float32 from RGB (h, w, 3) uint8: blue first, mean and deviation removed."""
    return np.moveaxis((image[..., ::-1].astype(np.float32) / 255 - MEAN) / DEVIATION, -1, 0)


class HumanParsing:
    """Runs a published checkpoint on crops of one person.

    Args:
        flip: average with the answer for the mirrored crop, which takes twice as long.

    Raises:
        nets.checkpoints.CheckpointError: the file does not fit.
    """

    def __init__(self, checkpoint: Path, flip: bool = True) -> None:
        import torch

        from nets.parsing.ce2p import load_published

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        network, self.name = load_published(checkpoint)
        self.labels = LABEL_SETS[self.name]
        self._network, self._flip = network.to(self._device), flip

    def chances(self, image: np.ndarray) -> np.ndarray:
        """(labels, h, w) float32: softmax over the labels for an RGB crop (h, w, 3) uint8."""
        import torch

        from nets.parsing.ce2p import answer

        size = self.labels.size
        x = torch.from_numpy(normalised(image, size))[None].to(self._device)
        mirrored = self.labels.mirrored() if self._flip else None
        with torch.inference_mode():
            logits = answer(self._network, x, size, mirrored)[0].cpu().numpy()
        matrix = crop_matrix(image.shape[1::-1], size)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        back = np.stack([cv2.warpAffine(p, matrix, image.shape[1::-1], flags=flags) for p in logits])
        shares = np.exp(back - back.max(0))
        return (shares / shares.sum(0)).astype(np.float32)

    def improved(self, evidence: Evidence) -> Evidence:
        """The evidence with this network's mask instead of the detector's, shared out by the bodies: it parses whoever
        is in the crop."""
        somebody = 1 - self.chances(evidence.image)[0]
        nearer = (evidence.reach - evidence.others_reach) / SURE_M
        with np.errstate(invalid="ignore"):
            front = evidence.others_depth - evidence.depth
        both = np.isfinite(evidence.depth) & np.isfinite(evidence.others_depth)
        lead = np.where(both, np.clip(front / SURE_M, -4, 4), np.clip(nearer, -4, 4))
        own = 1 / (1 + np.exp(-lead))
        alone = not np.isfinite(evidence.others_depth).any()
        mine = somebody if alone else somebody * own
        others = None if alone else (somebody * (1 - own)).astype(np.float32)
        return replace(evidence, detector=mine.astype(np.float32), others=others)
