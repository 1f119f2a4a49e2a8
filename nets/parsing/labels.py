"""What the published parsing networks tell apart, and how each wants its input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MEAN = np.array([0.406, 0.456, 0.485], np.float32)
"""Of blue, green and red, in that order: the networks take BGR in 0..1 minus this, divided by ``DEVIATION``."""
DEVIATION = np.array([0.225, 0.224, 0.229], np.float32)


@dataclass(frozen=True)
class LabelSet:
    """A data set's labels.

    Attributes:
        names: by number; 0 is the background.
        size: (height, width) of the network's input, pixels.
        pairs: labels of left and right, which change places when the image is mirrored.
    """

    names: tuple[str, ...]
    size: tuple[int, int]
    pairs: tuple[tuple[int, int], ...] = ()

    def mirrored(self) -> list[int]:
        """For each label, the one that it is in the mirrored image."""
        order = list(range(len(self.names)))
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return order


LABEL_SETS = {
    "lip": LabelSet(
        ("background", "hat", "hair", "glove", "sunglasses", "upper clothes", "dress", "coat", "socks", "trousers",
         "jumpsuit", "scarf", "skirt", "face", "left arm", "right arm", "left leg", "right leg", "left shoe",
         "right shoe"),
        (473, 473),
        ((14, 15), (16, 17), (18, 19)),
    ),
    "atr": LabelSet(
        ("background", "hat", "hair", "sunglasses", "upper clothes", "skirt", "trousers", "dress", "belt", "left shoe",
         "right shoe", "face", "left leg", "right leg", "left arm", "right arm", "bag", "scarf"),
        (512, 512),
        ((9, 10), (12, 13), (14, 15)),
    ),
    "pascal": LabelSet(
        ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs"), (512, 512)
    ),
}  # fmt: skip
"""LIP (20 labels), ATR (18) and Pascal-Person-Part (7), each known by how many labels it has."""


def label_set_of(classes: int) -> str:
    """The name of the set with so many labels. Raises KeyError for another number."""
    for name, labels in LABEL_SETS.items():
        if len(labels.names) == classes:
            return name
    raise KeyError(f"no label set has {classes} labels")
