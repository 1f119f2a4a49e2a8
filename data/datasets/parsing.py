"""Pictures of single people with a label image each, as the human parsing data sets are laid out (LIP, ATR, Pascal).

Under the root, for each split: ``<split>_images/<name>.jpg`` (or .png), ``<split>_segmentations/<name>.png`` (a label a
pixel, 255 for pixels that nothing is to be learned from), and ``<split>_id.txt`` with one name a line. Splits are
``train`` and ``val``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nets.parsing.labels import LabelSet
from nets.parsing.losses import IGNORED
from pipeline.errors import InputError
from pipeline.segmentation.human_parsing import crop_matrix, standardised

_LAYOUT = "See data/datasets/parsing.py for the layout"


@dataclass(frozen=True)
class ParsingAugmentation:
    """How a picture is changed before it is learned from.

    Attributes:
        scale: largest change of size, a share of it. turn_degrees: largest rotation.
        turned, mirrored: share of pictures that are.
    """

    scale: float = 0.25
    turn_degrees: float = 30.0
    turned: float = 0.6
    mirrored: float = 0.5


class ParsingSplit:
    """The pictures of a split.

    Raises:
        InputError: there is no such split, it is empty, or a picture or its labels are not there.
    """

    def __init__(self, root: Path, split: str, labels: LabelSet) -> None:
        self.labels, listed = labels, root / f"{split}_id.txt"
        try:
            names = listed.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(listed, f"cannot be read ({error})", _LAYOUT) from None
        if not names:
            raise InputError(listed, "names no pictures", _LAYOUT)
        self.files = [_files(root, split, name) for name in names]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """RGB (h, w, 3) uint8 and labels (h, w) uint8.

        Raises:
            InputError: a file that is no picture, sizes that differ, a label that the set does not have.
        """
        picture, labels = self.files[k]
        image, truth = cv2.imread(str(picture)), cv2.imread(str(labels), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise InputError(picture, "is no picture", _LAYOUT)
        if truth is None or truth.ndim != 2 or truth.dtype != np.uint8:
            raise InputError(labels, "is no label image of one channel of 8 bits", _LAYOUT)
        if truth.shape != image.shape[:2]:
            sizes = f"{truth.shape[1]}x{truth.shape[0]}, its picture {image.shape[1]}x{image.shape[0]}"
            raise InputError(labels, f"is {sizes}", "Give labels of the picture's size")
        wrong = np.setdiff1d(truth, [*range(len(self.labels.names)), IGNORED])
        if len(wrong):
            raise InputError(labels, f"has label {wrong[0]} of {len(self.labels.names)}", "Give another label set")
        return np.ascontiguousarray(image[..., ::-1]), truth

    def whole(self, k: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """(3, *size) float32 as the network takes it, and labels (*size) uint8; ``IGNORED`` beside the picture."""
        image, truth = self.read(k)
        return _warped(image, truth, crop_matrix(image.shape[1::-1], size), size)

    def augmented(
        self, k: int, size: tuple[int, int], how: ParsingAugmentation, g: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same, at random."""
        image, truth = self.read(k)
        if g.random() < how.mirrored:
            image = np.ascontiguousarray(image[:, ::-1])
            swapped = np.arange(256, dtype=np.uint8)
            swapped[: len(self.labels.names)] = self.labels.mirrored()
            truth = swapped[truth[:, ::-1]]
        scale = 1 + how.scale * g.uniform(-1, 1)
        angle = np.deg2rad(how.turn_degrees * g.uniform(-1, 1)) * (g.random() < how.turned)
        around = np.array([size[1] - 1, size[0] - 1]) / 2
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        change = np.column_stack([turn, around - turn @ around])
        matrix = crop_matrix(image.shape[1::-1], size)
        matrix = np.column_stack([change[:, :2] @ matrix[:, :2], change[:, :2] @ matrix[:, 2] + change[:, 2]])
        return _warped(image, truth, matrix, size)


def parsing_batches(
    split: ParsingSplit, count: int, size: tuple[int, int], how: ParsingAugmentation, seed: int
) -> Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """For a step, the batches from it on: images (B, 3, *size) float32, labels (B, *size) int64. Every picture comes
    once an epoch, in another order each time."""
    steps = max(1, len(split) // count)

    def start(step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            order = np.random.default_rng([seed, step // steps]).permutation(max(len(split), count)) % len(split)
            g = np.random.default_rng([seed, step, 1])
            first = step % steps * count
            drawn = [split.augmented(k, size, how, g) for k in order[first : first + count]]
            yield np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn]).astype(np.int64)
            step += 1

    return start


def _files(root: Path, split: str, name: str) -> tuple[Path, Path]:
    folder, labels = root / f"{split}_images", root / f"{split}_segmentations" / f"{name}.png"
    pictures = [folder / f"{name}{end}" for end in (".jpg", ".png")]
    for picture in pictures:
        if picture.is_file():
            if labels.is_file():
                return picture, labels
            raise InputError(labels, "is not there", _LAYOUT)
    raise InputError(pictures[0], "is not there", _LAYOUT)


def _warped(image: np.ndarray, truth: np.ndarray, matrix: np.ndarray, size: tuple[int, int]):
    out = standardised(cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR))
    return out, cv2.warpAffine(truth, matrix, size[::-1], flags=cv2.INTER_NEAREST, borderValue=IGNORED)
