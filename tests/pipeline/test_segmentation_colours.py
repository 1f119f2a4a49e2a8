"""Colours as the small network is told of them: learned where bodies are sure, over all views of a moment."""

import numpy as np
import pytest

from nets.parsing.inputs import CHANNELS
from pipeline.segmentation.colours import colour_maps, first_guess
from pipeline.segmentation.contest import plain_score
from pipeline.segmentation.evidence import Crop, Evidence
from pipeline.segmentation.parsing import codes_of

RED, BLUE, GREY, GREEN = (200, 30, 30), (30, 30, 200), (120, 120, 120), (30, 200, 30)
SIZE = (90, 120)


def painted(*patches):
    """A grey picture with patches (rows, columns, colour)."""
    image = np.full((*SIZE, 3), GREY, np.uint8)
    for rows, columns, colour in patches:
        image[rows, columns] = colour
    return image


def evidence(image, own, other=None, detector=True):
    """Of a person whose body covers ``own`` (rows, columns), 3 m away, before another's at ``other``."""
    depth, others_depth = np.full(SIZE, np.inf, np.float32), np.full(SIZE, np.inf, np.float32)
    depth[own] = 3.0
    if other is not None:
        others_depth[other] = 3.5
    found = np.isfinite(depth).astype(np.float32) if detector else None
    theirs = (np.isfinite(others_depth) & ~np.isfinite(depth)).astype(np.float32) if other is not None else None
    known = np.zeros(SIZE, bool)
    return Evidence(Crop((0, 0, 120, 90), (120, 90)), image, image, known, found, theirs, depth, others_depth, 100.0)


LEFT, RIGHT = (slice(20, 70), slice(25, 50)), (slice(20, 70), slice(70, 95))


def moment():
    """Two people side by side in two views; in the second a green thing hides the lower half of the left one."""
    clear = painted((*LEFT, RED), (*RIGHT, BLUE))
    hidden = clear.copy()
    hidden[45:70, 25:50] = GREEN
    return [[evidence(v, LEFT, RIGHT), evidence(v, RIGHT, LEFT)] for v in (clear, hidden)]


def test_colours_tell_people_apart_and_from_the_scene():
    views = moment()
    maps = colour_maps([{k: codes_of(e) for k, e in enumerate(view)} for view in views])
    for against_others, against_scene in (maps[0][0], maps[1][0]):
        assert against_others[25:40, 30:45].min() > 0.5 and against_others[25:65, 75:90].max() < -0.5
        assert against_scene[25:40, 30:45].min() > 0.5 and against_scene[2:10, 2:10].max() < -0.5
    assert maps[0][1][0][25:65, 75:90].min() > 0.5  # the other one's own
    # What hides a person in one view is not learned as theirs: the other view shows them without it.
    assert maps[1][0][1][50:65, 30:45].max() < maps[1][0][1][25:40, 30:45].min() - 0.3


def test_nobody_has_more_right_to_a_colour_that_both_have():
    """The left one is red all over, the right one a little; whose red a pixel is colours do not tell."""
    clear = painted((*LEFT, RED), (*RIGHT, BLUE), (slice(20, 26), RIGHT[1], RED))
    codes = [{0: codes_of(evidence(clear, LEFT, RIGHT)), 1: codes_of(evidence(clear, RIGHT, LEFT))}] * 2
    plain, capped = colour_maps(codes, 1.0)[0][1][0], colour_maps(codes, 0.004)[0][1][0]
    assert plain[22:25, 75:90].max() < -0.2 and np.abs(capped[22:25, 75:90]).max() < 1e-6
    assert capped[40:65, 75:90].min() > 0.4  # blue is still the right one's


def test_nothing_is_told_of_colours_that_were_not_learned():
    alone = colour_maps([{0: codes_of(evidence(painted((*LEFT, RED)), LEFT))}])[0][0]
    assert (alone[0] == 0).all() and alone[1].any()  # nobody to be told from
    far = np.full(SIZE, np.inf, np.float32)
    nobody = Evidence(*(getattr(evidence(painted(), LEFT), f) for f in (
        "crop", "image", "background", "known", "detector", "others")), far, far, 100.0)  # fmt: skip
    assert (colour_maps([{0: codes_of(nobody)}])[0][0] == 0).all()


@pytest.mark.parametrize("other", [None, (slice(20, 70), slice(40, 80))])
@pytest.mark.parametrize("detector", [True, False])
def test_the_first_guess_is_the_plain_score(other, detector):
    given = evidence(painted((*LEFT, RED)), LEFT, other, detector)
    codes = codes_of(given)
    assert codes.shape == (len(CHANNELS), *SIZE)
    assert np.abs(first_guess(codes) - plain_score(given)).max() < 0.06  # bytes: a step of REACH_M is 2 mm
