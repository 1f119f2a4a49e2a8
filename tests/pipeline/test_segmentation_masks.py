"""Stored masks come back as they were, with who was not there told apart from who was not seen."""

import numpy as np
import pytest

from pipeline.artifacts import Artifact, ArtifactWriter
from pipeline.cameras import Camera, Rig
from pipeline.segmentation.masks import ABSENT, HIDDEN, NO_IMAGE, OUT_OF_VIEW, SEEN, STATES, Masks, MaskWriter

SIZES = {"a": (41, 30), "b": (17, 23)}
PEOPLE, FRAMES = [0, 3], np.array([120, 122, 124])


def rig():
    return Rig(tuple(Camera(n, s, np.eye(3), np.eye(3), np.zeros(3)) for n, s in SIZES.items()))


def plane(camera, *window):
    mask = np.zeros(SIZES[camera][::-1], bool)
    x0, y0, x1, y1 = window
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def written(tmp_path):
    truth = {}
    with ArtifactWriter(tmp_path / "m.h5", stage="segmentation", schema="masks", key="ab" * 32) as writer:
        masks = MaskWriter(writer, rig(), PEOPLE, FRAMES)
        generator = np.random.default_rng(0)
        for frame in (122, 120):  # any order
            owner = generator.integers(0, 3, SIZES["a"][::-1])
            for k, person in enumerate(PEOPLE):
                truth[frame, person] = owner == k + 1, owner == 0
                masks.put("a", frame, person, *truth[frame, person], agreement=0.9)
        masks.put("b", 120, 3, plane("b", 0, 0, 0, 0), plane("b", 3, 4, 9, 20))
        masks.put("b", 120, 0, plane("b", 0, 0, 0, 0), plane("b", 0, 0, 0, 0))
        masks.note("b", 122, 0, ABSENT)
        for person in PEOPLE:
            masks.note("a", 124, person, NO_IMAGE)
        masks.close()
    with Artifact(tmp_path / "m.h5", "masks") as artifact:
        yield Masks(artifact), truth


def test_masks_come_back_bit_for_bit(written):
    masks, truth = written
    assert masks.cameras == ("a", "b") and masks.people == (0, 3) and masks.frames.tolist() == [120, 122, 124]
    for (frame, person), (mask, hidden) in truth.items():
        assert np.array_equal(masks.mask("a", frame, person), mask)
        assert np.array_equal(masks.hidden("a", frame, person), hidden)
        labels = masks.labels("a", frame)
        assert labels.dtype == np.uint8 and np.array_equal(labels == PEOPLE.index(person) + 1, mask)


def test_who_is_not_there_is_told_from_who_is_not_seen(written):
    masks, _ = written
    assert masks.mask("b", 122, 0) is None and masks.mask("a", 124, 3) is None  # absent; no image
    behind = masks.mask("b", 120, 3)
    assert behind is not None and not behind.any() and masks.hidden("b", 120, 3).sum() == 6 * 16
    state = masks.state[masks.cameras.index("b"), 0]
    assert [STATES[s] for s in state] == [STATES[OUT_OF_VIEW], STATES[HIDDEN]]
    assert masks.state[0, 0].tolist() == [SEEN, SEEN]
    assert not masks.labels("a", 124).any() and masks.labels("b", 124).shape == (23, 17)


def test_what_was_never_told_is_no_empty_mask(written):
    masks, _ = written
    for camera, frame, person in (("c", 120, 0), ("a", 121, 0), ("a", 120, 1)):
        with pytest.raises(KeyError, match=str(frame)):
            masks.mask(camera, frame, person)


def test_a_mask_of_the_wrong_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="30 x 41"):  # noqa: SIM117
        with ArtifactWriter(tmp_path / "m.h5", stage="segmentation", schema="masks", key="ab" * 32) as writer:
            MaskWriter(writer, rig(), PEOPLE, FRAMES).put("a", 120, 0, plane("b", 0, 0, 2, 2), plane("b", 0, 0, 2, 2))
    assert not (tmp_path / "m.h5").exists()
